"""Make the pictures of the app from the app itself: `python -m docs.screenshots` (needs Chromium).

Stills of the first screen at two sizes in light and dark, the report of 32 samples, and a short animation of a decode.
"""

import io
import shutil
import time
from pathlib import Path
from typing import Any

from em_hf.app.models import Models, loaded
from em_hf.app.ui import build, launch_options
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, sync_playwright

IMAGES = Path(__file__).parent / "images"
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
DESKTOP, PHONE = (1280, 800), (390, 844)
SECONDS_PER_TOKEN, LAST_SECONDS = 0.15, 5
COLOURS = 96


def opened(browser: Browser, url: str, size: tuple[int, int], theme: str) -> Page:
    """Return the page with its finished example."""
    page = browser.new_page(viewport={"width": size[0], "height": size[1]})
    page.goto(f"{url}?__theme={theme}")
    page.wait_for_selector("#em-rows .em-view[data-state=done]")
    page.wait_for_timeout(500)
    return page


def few_colours(picture: bytes) -> Image.Image:
    return Image.open(io.BytesIO(picture)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)


def still(browser: Browser, url: str, name: str, size: tuple[int, int], theme: str) -> None:
    page = opened(browser, url, size, theme)
    few_colours(page.screenshot()).save(IMAGES / name, optimize=True)
    page.close()


def report(browser: Browser, url: str, name: str) -> None:
    """Save a picture of the example's 32 samples, which are on the page when it opens."""
    page = opened(browser, url, DESKTOP, "light")
    few_colours(page.locator("#em-repeat-out").screenshot()).save(IMAGES / name, optimize=True)
    page.close()


def box(place: Locator) -> dict[str, float]:
    found = place.bounding_box()
    assert found is not None
    return dict(found)


def animation(browser: Browser, url: str) -> None:
    """Record the sentence, the two panes and the chart during a decode, slowed down so that the eye can follow."""
    hook = loaded("pocket-reasoner").model.register_forward_hook(lambda *_: time.sleep(SECONDS_PER_TOKEN))
    try:
        page = opened(browser, url, (1280, 900), "light")
        top, chart = box(page.locator("#em-prompt")), box(page.locator("#em-rows .em-lower"))
        height = chart["y"] + chart["height"] - top["y"]
        clip: Any = {"x": top["x"] - 4, "y": top["y"] - 4, "width": top["width"] + 8, "height": height + 8}
        page.evaluate("document.querySelector('#em-rows .em-view').dataset.state = 'before'")
        page.click("#em-generate")
        page.wait_for_selector("#em-rows .em-view[data-state=busy] .em-row-0 .em-text span", state="attached")
        frames, durations, began = [], [], time.monotonic()
        while not page.locator("#em-rows .em-view[data-state=done]").count():
            frames.append(few_colours(page.screenshot(clip=clip)))
            page.wait_for_timeout(100)
            durations.append(int(1000 * (time.monotonic() - began)))
            began = time.monotonic()
        page.wait_for_timeout(400)
        frames.append(few_colours(page.screenshot(clip=clip)))
        durations.append(1000 * LAST_SECONDS)
        first, *others = frames
        first.save(IMAGES / "app.gif", save_all=True, append_images=others, duration=durations, loop=0, optimize=True)
        page.close()
    finally:
        hook.remove()


def main() -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("Chromium is not here: apt-get install chromium")
    IMAGES.mkdir(exist_ok=True)
    demo = build(Models(["pocket-reasoner"]))
    _, url, _ = demo.launch(**launch_options(), prevent_thread_lock=True, quiet=True)
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
            still(browser, url, "app-light.png", DESKTOP, "light")
            still(browser, url, "app-dark.png", DESKTOP, "dark")
            still(browser, url, "app-phone.png", PHONE, "light")
            still(browser, url, "app-phone-dark.png", PHONE, "dark")
            report(browser, url, "app-repeat.png")
            animation(browser, url)
            browser.close()
    finally:
        demo.close()


if __name__ == "__main__":
    main()
