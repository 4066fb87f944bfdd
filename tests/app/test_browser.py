"""The page in a real Chromium: what a visitor does, and that nothing goes wrong on the way."""

import csv
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from em_hf.app.examples import OPENING_SEED as SEED
from em_hf.app.examples import settings_for
from playwright.sync_api import Browser, Page, expect, sync_playwright

from em_hf.compare.side_by_side import compare_decoding
from em_hf.generation.config import EntropyMinConfig
from em_hf.models import encode_prompts, load_model
from tests.app.conftest import PROMPT, Served

ARTIFACTS = Path(os.environ.get("EM_HF_ARTIFACTS", Path(__file__).parents[1] / "artifacts")) / "app"
Opened = Callable[..., Page]
PATIENCE = 300_000  # ms: what is waited for takes seconds, or minutes on a busy machine
COUNTS = """([state, before]) => {
  const view = document.querySelector("#em-rows .em-view");
  const tokens = (row) => view.querySelectorAll(`.em-row-${row} .em-text span`).length;
  const now = [tokens(0), tokens(1), Number(view.querySelector(".em-chart").dataset.points)];
  return view.dataset.state === state && now.every((count, i) => count > before[i]) && now;
}"""
expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # --no-sandbox: Chromium's own sandbox does not start as root, as in containers.
        found = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def opened(browser: Browser, served: Served, request: pytest.FixtureRequest) -> Iterator[Opened]:
    """Opens the page; after the test a screenshot is kept and the browser's console must hold no error."""
    pages: list[Page] = []
    wrong: list[str] = []

    def open_page(
        search: str = "", *, width: int = 1024, height: int = 900, theme: str = "light", **context: Any
    ) -> Page:
        page = browser.new_context(viewport={"width": width, "height": height}, **context).new_page()
        page.set_default_timeout(PATIENCE)
        page.on("console", lambda message: message.type == "error" and wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: wrong.append(f"dialog: {dialog.message}") or dialog.dismiss())
        page.goto(f"{served.url}?__theme={theme}&{search}")
        page.wait_for_selector("#em-rows .em-panes")
        pages.append(page)
        return page

    yield open_page
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    for i, page in enumerate(pages):
        name = request.node.name.replace("[", "-").replace("]", "").replace("/", "-")
        page.screenshot(path=ARTIFACTS / f"{name}-{i}.png", full_page=True)
        page.context.close()
    assert wrong == []


def generate(page: Page, state: str = "done") -> None:
    page.evaluate("document.querySelector('#em-rows .em-view').dataset.state = 'before'")  # an example is done already
    page.click("#em-generate")
    page.wait_for_selector(f"#em-rows .em-view[data-state={state}]")


def repeat(page: Page) -> None:
    page.evaluate("document.querySelector('#em-repeat-out .em-view').dataset.state = 'before'")
    page.click("#em-repeat")
    page.wait_for_selector("#em-repeat-out [data-state=done]")


def shown(page: Page, row: int) -> str:
    return page.locator(f"#em-rows .em-row-{row} .em-text").inner_text()


def tokens(page: Page, row: int) -> int:
    return page.locator(f"#em-rows .em-row-{row} .em-text span").count()


def counts(page: Page, state: str, before: Sequence[int] = (0, 0, 0)) -> list[int]:
    """Tokens of both panes and points of the chart, as soon as the view is in `state` with more of each than before."""
    return list(page.wait_for_function(COUNTS, arg=[state, before]).json_value())


def expected(prompt: str, seed: int) -> Any:
    model, tokenizer = load_model("pocket-reasoner")
    config = EntropyMinConfig(**settings_for("pocket-reasoner"))
    return compare_decoding(model, tokenizer, encode_prompts(tokenizer, [prompt]), config, seed=seed)


def test_load_and_generate_shows_what_the_library_decodes(opened: Opened) -> None:
    page = opened()
    prompt = page.input_value("#em-prompt textarea")
    right = expected(prompt, SEED)
    # A finished example stands there before anything is pressed, and decoding it again gives the same.
    for _ in range(2):
        assert shown(page, 0) == right.plain.text and shown(page, 1) == right.em.text
        said = page.inner_text("#em-rows .em-status")
        assert said.startswith("Plain drew “") and right.divergence.sentence() in said and "which is right" in said
        assert "wrong" in page.inner_text("#em-rows .em-row-0 .em-mark")
        assert "right" in page.inner_text("#em-rows .em-row-1 .em-mark")
        generate(page)
    assert shown(page, 0) == right.plain.text and shown(page, 1) == right.em.text
    assert page.locator("#em-rows .em-row-1 .em-parting").get_attribute("data-at") == str(right.diverges_at)
    assert page.locator("#em-rows .em-row-1 .em-adjusted").count() == sum(right.em.adjusted)
    numbers = page.inner_text("#em-rows .em-numbers")
    assert f"First difference: token {right.diverges_at}." in numbers
    mean = sum(right.em.entropy_after) / len(right.em.tokens)
    assert f"{mean:.3f}" in numbers and f"{100 * sum(right.em.adjusted) / len(right.em.tokens):.0f}%" in numbers


@pytest.mark.parametrize("size", [(1280, 800), (390, 844)])
def test_prompt_button_sentence_and_both_panes_are_on_the_first_screen(opened: Opened, size: tuple[int, int]) -> None:
    page = opened(width=size[0], height=size[1])
    for place in ("#em-prompt textarea", "#em-generate", "#em-rows .em-status", ".em-row-0", ".em-row-1"):
        box = page.locator(place).first.bounding_box()
        assert box is not None and box["y"] >= 0 and box["y"] + min(box["height"], 120) <= size[1], place
    panes, detail = page.locator(".em-panes").first.bounding_box(), page.locator(".em-detail").first.bounding_box()
    assert panes is not None and detail is not None
    if size[0] < 1000:  # what a tap shows is right below the panes
        assert 0 < detail["y"] - (panes["y"] + panes["height"]) < 20
    else:  # panes, chart and both distributions in one view
        chart = page.locator("#em-rows .em-chart").bounding_box()
        assert chart is not None and chart["y"] + chart["height"] <= size[1]
        assert detail["y"] + detail["height"] <= size[1]
        # The controls stand in a side column.
        side, main = page.locator("#em-side").bounding_box(), page.locator("#em-main").bounding_box()
        assert side is not None and main is not None and side["x"] >= main["x"] + main["width"]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious(opened: Opened, theme: str) -> None:
    page = opened(theme=theme)
    page.click("#em-rows .em-row-1 .em-text span[data-at='2']")
    repeat(page)
    found = Axe().run(page).response["violations"]
    serious = [
        (one["id"], [node["html"][:200] for node in one["nodes"]])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == [], "\n".join(map(str, serious))


def test_an_example_brings_its_model_answer_and_settings(opened: Opened) -> None:
    page = opened()
    page.locator("#em-examples tbody tr").filter(has_text="endless").first.click()
    page.wait_for_function("document.querySelector('#em-prompt textarea').value.includes('sky')")
    expect(page.locator("input[aria-label='Model']")).to_have_value("endless")
    expect(page.get_by_label("Known answer").first).to_have_value("")


def test_both_panes_and_the_chart_grow_and_stop_stops(opened: Opened, slow_steps: list[float]) -> None:
    page = opened("model=endless&prompt=hello&max_new_tokens=1024")
    expect(page.locator("#em-prompt textarea")).to_have_value("hello")
    page.click("#em-generate")
    seen = [0, 0, 0]
    for _ in range(3):
        seen = counts(page, "busy", seen)
    page.click("#em-stop")
    stopped, also, points = counts(page, "stopped")
    assert seen[0] <= stopped == also < 1024 and points == 2 * stopped  # the chart too has all that came
    assert f"Stopped after {stopped} tokens" in page.inner_text("#em-rows .em-status")
    assert len(slow_steps) < 1024


def test_a_thousand_tokens_all_arrive(opened: Opened) -> None:
    page = opened("model=endless&prompt=hello&max_new_tokens=1024")
    expect(page.locator("#em-prompt textarea")).to_have_value("hello")
    generate(page)
    assert counts(page, "done") == [1024, 1024, 2048]


def test_a_chosen_token_shows_its_distribution_by_click_by_key_and_from_the_chart(opened: Opened) -> None:
    page = opened()
    generate(page)
    right = expected(page.input_value("#em-prompt textarea"), SEED)
    at = right.diverges_at
    detail = page.locator("#em-rows .em-detail")
    for row, run in ((0, right.plain), (1, right.em)):
        page.click(f"#em-rows .em-row-{row} .em-text span[data-at='{at}']")
        assert f"token {at}" in detail.inner_text() and f"{run.entropy_before[at]:.3f} nats" in detail.inner_text()
        # At the first difference both panes have one distribution, and the table shows which token each drew.
        drawn = detail.locator("tr.em-drawn .em-name").all_inner_texts()
        name = ("Plain", "EM-INF")[row]
        assert f"{run.tokens[at]} {name}" in [text.replace("␣", " ") for text in drawn]
        assert detail.locator("tbody tr").count() >= 7
    page.hover("#em-rows .em-row-1 .em-text span[data-at='1']")
    assert "token 1:" in detail.inner_text()
    page.hover("#em-generate")
    assert f"token {at}:" in detail.inner_text()
    page.focus("#em-rows .em-row-1 .em-text")
    page.keyboard.press("Home")
    assert "token 0" in detail.inner_text()
    page.keyboard.press("ArrowRight")
    assert "token 1:" in detail.inner_text()
    page.keyboard.press("End")
    assert f"token {len(right.em.tokens) - 1}" in detail.inner_text()
    page.locator("#em-rows .em-chart").click(position={"x": 40, "y": 100})
    assert "token 0" in detail.inner_text()


def test_special_tokens_and_spaces_show_on_request_and_colours_go(opened: Opened) -> None:
    page = opened()
    generate(page)
    assert "<|end|>" not in shown(page, 0) and "␣" not in shown(page, 0)
    page.get_by_label("special tokens").first.check()
    assert "<|end|>" in shown(page, 0) and "␣" in shown(page, 0) and "⏎" in shown(page, 0)
    shaded = (
        "[...document.querySelectorAll('#em-rows .em-text span:not(.em-selected)')]"
        ".map(node => getComputedStyle(node).backgroundColor)"
    )
    assert any(colour not in ("rgba(0, 0, 0, 0)", "rgba(0, 158, 115, 0)") for colour in page.evaluate(shaded))
    page.get_by_label("colours").first.uncheck()
    assert set(page.evaluate(shaded)) == {"rgba(0, 0, 0, 0)"}


def test_a_changed_setting_acts_and_lasts_in_the_address(opened: Opened) -> None:
    page = opened()
    generate(page)
    assert f"seed={SEED}" in page.url and "threshold=0.05" in page.url
    page.click("#em-next")
    page.wait_for_function(f"location.search.includes('seed={SEED + 1}')")
    page.wait_for_selector("#em-rows .em-view[data-state=done]")
    right = expected(page.input_value("#em-prompt textarea"), SEED + 1)
    assert shown(page, 0) == right.plain.text
    again = opened(page.url.split("?")[1].replace("__theme=light&", ""))
    expect(again.get_by_label("Seed").first).to_have_value(str(SEED + 1))
    generate(again)
    assert shown(again, 0) == shown(page, 0) and shown(again, 1) == shown(page, 1)


def test_an_address_sets_a_model_and_other_settings_together(opened: Opened) -> None:
    page = opened(
        "model=endless&seed=9&threshold=0.7&n_grad_steps=7&max_new_tokens=3&temperature=0.5&entropy_min=false"
    )
    expect(page.get_by_label("Seed").first).to_have_value("9")
    generate(page)
    for setting in (
        "model=endless",
        "seed=9",
        "threshold=0.7",
        "n_grad_steps=7",
        "max_new_tokens=3",
        "temperature=0.5",
    ):
        assert setting in page.url
    assert tokens(page, 0) == 3 and shown(page, 0) == shown(page, 1)
    assert page.locator("#em-rows .threshold").count() == 0 and "entropy_min=false" in page.url


def test_greedy_decoding_says_why_both_are_the_same(opened: Opened) -> None:
    page = opened("temperature=0")
    expect(page.get_by_label("number input for Temperature")).to_have_value("0")
    generate(page)
    assert "largest logit stays the largest" in page.inner_text("#em-rows .em-status")
    assert shown(page, 0) == shown(page, 1) and page.locator("#em-rows .em-text .em-parting").count() == 0


def test_what_is_exported_is_what_was_decoded(opened: Opened, tmp_path: Path) -> None:
    page = opened()
    generate(page)
    right = expected(page.input_value("#em-prompt textarea"), SEED)

    page.get_by_text("Save or reproduce this run").click()

    def taken(kind: str) -> Path:
        with page.expect_download() as download:
            page.click(f"#em-rows [data-export={kind}]")
        download.value.save_as(tmp_path / kind)
        return tmp_path / kind

    trace = json.loads(taken("json").read_text(encoding="utf-8"))
    assert trace["diverges_at"] == right.diverges_at and trace["settings"]["seed"] == SEED
    for name, run in (("plain", right.plain), ("em", right.em)):
        assert [t["token"] for t in trace[name]] == run.tokens
        assert [t["entropy_before"] for t in trace[name]] == pytest.approx(run.entropy_before, rel=1e-4)
        assert [t["adjusted"] for t in trace[name]] == run.adjusted
    rows = list(csv.DictReader(taken("csv").read_text(encoding="utf-8").splitlines(keepends=True)))
    assert len(rows) == len(right.plain.tokens) + len(right.em.tokens)
    assert [row["token"] for row in rows if row["row"] == "EM-INF"] == [
        "'" + token if token[:1] in "=+-@" and token else token for token in right.em.tokens
    ]
    assert taken("png").read_bytes().startswith(b"\x89PNG")


def test_link_program_and_command_can_be_copied(opened: Opened) -> None:
    page = opened(permissions=["clipboard-read", "clipboard-write"])
    generate(page)
    page.get_by_text("Save or reproduce this run").click()

    def copied(what: str) -> str:
        page.evaluate("navigator.clipboard.writeText('')")
        page.click(f"#em-rows [data-export=copy-{what}]")
        return str(page.wait_for_function("() => navigator.clipboard.readText()").json_value())

    assert copied("link") == page.url
    page.locator("#em-rows summary", has_text="Python").click()
    assert f"CoupledSampling({SEED})" in copied("python")
    page.locator("#em-rows summary", has_text="Command line").click()
    assert copied("command").startswith(f"em-hf generate --model pocket-reasoner --seed {SEED}")


def test_markup_in_prompt_and_tokens_is_shown_and_not_run(opened: Opened, served: Served) -> None:
    from em_hf.app.models import loaded

    attack = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    # Make a tokenizer of this page's model write markup: the pieces of a text pass through it alone.
    tokenizer = loaded("pocket-reasoner").tokenizer
    real = type(tokenizer).decode
    page = opened()
    page.fill("#em-prompt textarea", attack + PROMPT)
    try:
        tokenizer.decode = lambda ids, **options: real(tokenizer, ids, **options).replace("has", attack)
        generate(page)
    finally:
        del tokenizer.decode
    assert page.locator("#em-rows .em-text img, #em-rows .em-text script").count() == 0
    assert page.locator("#em-rows .em-detail img").count() == 0
    page.get_by_text("Save or reproduce this run").click()
    page.locator("#em-rows summary", has_text="Python").click()
    assert attack in page.inner_text("#em-rows pre")


def test_errors_are_said_where_the_result_would_be(opened: Opened) -> None:
    page = opened()
    page.fill("#em-prompt textarea", "   ")
    generate(page, "error")
    assert "the prompt is empty" in page.inner_text("#em-rows .em-status.error")
    page.fill("#em-prompt textarea", "apples " * 2500)
    generate(page, "error")
    assert "shorten the prompt" in page.inner_text("#em-rows .em-status.error")
    page.fill("#em-prompt textarea", PROMPT)
    generate(page)
    assert tokens(page, 0) > 0
    page.fill("#em-prompt textarea", " ")
    generate(page, "error")
    assert tokens(page, 0) == 0  # an earlier result is not left there
    expect(page.locator("#em-rows .em-numbers")).to_be_empty()


def test_a_failure_of_the_server_is_said_and_the_next_run_works(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    import em_hf.app.view

    def fails(*_: Any) -> Any:
        raise RuntimeError("secret details")

    page = opened()
    with monkeypatch.context() as broken:
        broken.setattr(em_hf.app.view, "batches", fails)
        generate(page, "error")
    assert "too busy, or failed" in page.inner_text("#em-rows .em-status") and "secret" not in page.content()
    generate(page)


def test_repeat_draws_samples_of_both_and_compares_them(opened: Opened) -> None:
    page = opened()
    # The example's report stands there before anything is pressed, and drawing it again gives the same.
    for _ in range(2):
        text = page.inner_text("#em-repeat-out")
        assert "In 32 samples each" in text and "EM-INF minus plain" in text and "(known)" in text
        assert page.input_value("#em-prompt textarea") in text
        assert page.locator("#em-repeat-out .em-span").count() == 2
        repeat(page)


def test_a_stopped_repeat_keeps_what_there_is(opened: Opened, slow_steps: list[float]) -> None:
    page = opened()
    page.locator("input[aria-label='Model']:visible").click()
    page.get_by_role("option", name="endless").click()
    page.click("#em-repeat")
    page.wait_for_selector("#em-repeat-out [data-state=busy]")
    page.click("#em-repeat-stop")
    page.wait_for_selector("#em-repeat-out [data-state=stopped]")
    assert "Stopped." in page.inner_text("#em-repeat-out")


def test_base_and_trained_run_stand_side_by_side(opened: Opened) -> None:
    page = opened()
    page.get_by_role("tab", name="Trained run").click()
    page.click("#em-trained-generate")
    page.wait_for_selector("#em-models .em-view[data-state=done]")
    assert page.inner_text("#em-models .em-row-0 h3") == "pocket-reasoner"
    assert page.inner_text("#em-models .em-row-1 h3") == "first"
    assert page.locator("#em-models .em-row-1 .em-text span").count() > 3
    assert "mean entropy" in page.inner_text("#em-models .em-numbers")
    # Orange is EM-INF's own colour: a trained run has another.
    colour = "node => getComputedStyle(node).borderTopColor"
    trained, em = (page.locator(f"#em-{kind} .em-row-1").evaluate(colour) for kind in ("models", "rows"))
    assert trained != em


@pytest.mark.parametrize(("width", "theme"), [(390, "light"), (1024, "dark"), (1600, "light")])
def test_nothing_sticks_out_and_the_panes_stand_side_by_side(opened: Opened, width: int, theme: str) -> None:
    page = opened(width=width, theme=theme)
    generate(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    left, right = (page.locator(f"#em-rows .em-row-{row}").bounding_box() for row in (0, 1))
    assert left is not None and right is not None
    assert right["x"] >= left["x"] + left["width"] and right["y"] == left["y"]
    if page.locator(".overflow-menu > button:visible").count():  # gradio puts tabs without room into a menu
        page.click(".overflow-menu > button")
        page.click(".overflow-dropdown button:has-text('Method')")
    else:
        page.get_by_role("tab", name="Method").click()
    page.wait_for_selector(".katex")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.get_by_role("tab", name="Side by side").click()


def test_by_keyboard_alone(opened: Opened) -> None:
    page = opened()
    page.evaluate("document.querySelector('#em-rows .em-view').dataset.state = 'before'")
    page.focus("#em-generate")
    page.keyboard.press("Enter")
    page.wait_for_selector("#em-rows .em-view[data-state=done]")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "em-stop"
    for _ in range(4):
        page.keyboard.press("Tab")
        if "em-text" in page.evaluate("document.activeElement.className"):
            break
    page.keyboard.press("ArrowRight")
    assert page.locator("#em-rows .em-text .em-selected").count() >= 1
