"""The time the app adds to a decode: SmolLM2 without it, as a live decode, over HTTP, and in a page of Chromium.

    python -m benchmarks.app_latency [--quick] [--no-page] [--output FILE.json]

All decode the same prompts from the same noise, two rows (plain and EM-INF) of the same steps, in turn. A long run of
1,000 steps then shows whether the bytes sent and the time between messages grow with the length.
"""

import argparse
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
from em_hf.app.models import Models, loaded
from em_hf.app.request import DecodeRequest
from em_hf.app.ui import build, launch_options

from benchmarks.common import describe, environment, quartiles, ratios, spread, table, write
from benchmarks.rows import QUESTIONS
from em_hf.compare.side_by_side import compare_decoding, decode_steps
from tests.smollm2 import smollm2_folder

KINDS = {
    "generate": "`generate`, no per-token view",
    "live": "live decode, no server",
    "http": "app over HTTP",
    "page": "app in Chromium",
}
LONG = 1000
# Presses the button, and returns milliseconds until the first token is in a pane and until the view says it is done.
CLOCK_IN_PAGE = """() => new Promise((resolve) => {
  const view = document.querySelector("#em-rows .em-view"), start = performance.now();
  let first = null, busy = false;
  const watch = new MutationObserver(() => {
    busy ||= view.dataset.state === "busy";
    if (busy && first === null && view.querySelector(".em-row-0 .em-text span")) first = performance.now();
    if (!busy || view.dataset.state !== "done") return;
    watch.disconnect();
    resolve([first - start, performance.now() - start]);
  });
  watch.observe(view, { attributes: true, childList: true, subtree: true });
  view.querySelectorAll(".em-text").forEach((text) => text.replaceChildren());
  document.querySelector("#em-generate").click();
})"""


@dataclass
class Taken:
    """Seconds of each decode: to its first token, and in total."""

    first: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)


@dataclass
class Message:
    at: float
    bytes: int
    text: str


@contextmanager
def served(folder: str) -> Iterator[tuple[str, Any]]:
    demo = build(Models([folder]))
    _, url, _ = demo.launch(**launch_options(), prevent_thread_lock=True, quiet=True)
    try:
        yield url, demo
    finally:
        demo.close()


def over_http(url: str, demo: Any, asked: DecodeRequest, session: str) -> list[Message]:
    """Return every line of the event stream that belongs to this decode, with its time of arrival."""
    fn = next(f for f in demo.fns.values() if f.api_name == "live")
    body = {"data": [*asked.to_dict().values(), ""], "fn_index": fn._id, "session_hash": session}
    found = []
    with httpx.Client(timeout=600) as client:
        client.post(f"{url}gradio_api/queue/join", json=body).raise_for_status()
        with client.stream("GET", f"{url}gradio_api/queue/data?session_hash={session}") as answer:
            for line in answer.iter_lines():
                if "process_generating" in line or "process_completed" in line:
                    found.append(Message(time.perf_counter(), len(line), line))
    return found


class Clocks:
    """Timed decodes, one method for each kind."""

    def __init__(self, folder: str, url: str, demo: Any, page: Any) -> None:
        self.one = loaded(folder)
        self.url, self.demo, self.page = url, demo, page
        self.sessions = 0

    def generate(self, asked: DecodeRequest) -> tuple[float | None, float]:
        start = time.perf_counter()
        inputs, room = self.one.encode(asked.prompt, asked.max_new_tokens)
        compare_decoding(
            self.one.model, self.one.tokenizer, inputs, asked.config(), seed=asked.seed, max_new_tokens=room
        )
        return None, time.perf_counter() - start

    def live(self, asked: DecodeRequest) -> tuple[float | None, float]:
        start = time.perf_counter()
        inputs, room = self.one.encode(asked.prompt, asked.max_new_tokens)
        rows = [None, asked.config()]
        steps = decode_steps(self.one.model, self.one.tokenizer, inputs, rows, seed=asked.seed, max_new_tokens=room)
        next(steps)
        first = time.perf_counter() - start
        for _ in steps:
            pass
        return first, time.perf_counter() - start

    def http(self, asked: DecodeRequest) -> tuple[float | None, float]:
        self.sessions += 1
        start = time.perf_counter()
        found = over_http(self.url, self.demo, asked, f"bench-{self.sessions}")
        first = next(message.at for message in found if '\\"kind\\":\\"steps\\"' in message.text)
        return first - start, found[-1].at - start

    def in_page(self, asked: DecodeRequest) -> tuple[float | None, float]:
        self.page.fill("#em-prompt textarea", asked.prompt)
        milliseconds = self.page.evaluate(CLOCK_IN_PAGE)
        return milliseconds[0] / 1000, milliseconds[1] / 1000


def measure(
    calls: dict[str, Callable[[DecodeRequest], tuple[float | None, float]]], runs: int, tokens: int
) -> dict[str, Taken]:
    times = {name: Taken() for name in calls}
    names = list(calls)
    for run in range(-1, runs):  # the first warms up
        asked = DecodeRequest(QUESTIONS[run % len(QUESTIONS)], "SmolLM2-135M-Instruct", max_new_tokens=tokens)
        turn = run % len(names)
        for name in names[turn:] + names[:turn]:
            first, whole = calls[name](asked)
            if run >= 0:
                times[name].whole.append(whole)
                if first is not None:
                    times[name].first.append(first)
    return times


def long_run(folder: str, url: str, demo: Any, tokens: int) -> dict[str, Any]:
    """Return bytes per message and seconds between messages in the first and last fifth of a run without early end."""
    one = loaded(folder)
    kept, one.model.generation_config.eos_token_id = one.model.generation_config.eos_token_id, None
    try:
        asked = DecodeRequest(QUESTIONS[1], "SmolLM2-135M-Instruct", max_new_tokens=tokens)
        found = over_http(url, demo, asked, "bench-long")
    finally:
        one.model.generation_config.eos_token_id = kept
    found = [message for message in found if '\\"kind\\":\\"steps\\"' in message.text]
    fifth = len(found) // 5
    gaps = [after.at - before.at for before, after in pairwise(found)]
    return {
        "steps": tokens,
        "messages": len(found),
        "bytes_first": quartiles([m.bytes for m in found[1:fifth]]),
        "bytes_last": quartiles([m.bytes for m in found[-fifth:]]),
        "gap_first": quartiles(gaps[1:fifth]),
        "gap_last": quartiles(gaps[-fifth:]),
        "longest_gap": max(gaps),
    }


def report(times: dict[str, Taken], long: dict[str, Any]) -> tuple[str, list[dict[str, Any]]]:
    results = []
    for name, taken in times.items():
        results.append(
            {
                "name": name,
                "first_seconds": quartiles(taken.first) if taken.first else None,
                "whole_seconds": quartiles(taken.whole),
                "over_generate": ratios(taken.whole, times["generate"].whole),
                "over_live": ratios(taken.whole, times["live"].whole),
            }
        )
    rows = [
        [
            KINDS[r["name"]],
            spread(r["first_seconds"], 1000, 0) if r["first_seconds"] else "-",
            spread(r["whole_seconds"]),
            "-" if r["name"] == "generate" else spread(r["over_generate"], digits=3),
        ]
        for r in results
    ]
    text = table(("decode", "first token, ms", "whole, s", "over `generate`"), rows)
    size = f"{spread(long['bytes_first'], 1, 0)} in the first fifth, {spread(long['bytes_last'], 1, 0)} in the last"
    gaps = f"{spread(long['gap_first'], 1000, 0)} and {spread(long['gap_last'], 1000, 0)}"
    text += f"\n\n{long['steps']} steps in {long['messages']} messages. Bytes a message: {size}; milliseconds from one "
    text += f"message to the next: {gaps}, the longest {1000 * long['longest_gap']:.0f}."
    return text, results


@contextmanager
def chromium_page(url: str, wanted: bool, tokens: int) -> Iterator[Any]:
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if not wanted or path is None:
        yield None
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(f"{url}?seed=0&max_new_tokens={tokens}")
        page.wait_for_selector("#em-rows .em-panes")
        page.wait_for_timeout(1000)
        yield page
        browser.close()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few steps, figures not to be kept")
    parser.add_argument("--no-page", action="store_true", help="leave Chromium out")
    parser.add_argument("--output", type=Path, help="JSON to write; the table goes beside it as .md")
    options = parser.parse_args(arguments)
    record = environment("benchmarks.app_latency")
    folder = str(smollm2_folder())
    runs, tokens, long_tokens = (2, 16, 60) if options.quick else (8, 80, LONG)
    with served(folder) as (url, demo), chromium_page(url, not options.no_page, tokens) as page:
        clocks = Clocks(folder, url, demo, page)
        calls = {"generate": clocks.generate, "live": clocks.live, "http": clocks.http}
        if page is not None:
            calls["page"] = clocks.in_page
        times = measure(calls, runs, tokens)
        long = long_run(folder, url, demo, long_tokens)
    text, results = report(times, long)
    text = f"{describe(record)}\n\n{text}"
    print(text)
    write(options.output, json.loads(json.dumps({**record, "results": results, "long": long})), text)


if __name__ == "__main__":
    main()
