"""Makes the README's pictures of the app from the app itself: python -m docs.screenshots (needs Chromium and SmolLM2).

Still pictures at three widths, and a short animation of a live decode of SmolLM2.
"""

import io
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from em_hf.app.models import Models, loaded
from em_hf.app.ui import build, launch_options
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from tests.smollm2 import smollm2_folder

IMAGES = Path(__file__).parent / "images"
FRAMES, FRAME_MILLISECONDS = 60, 220
POEM = {
    "model": "SmolLM2-135M-Instruct",
    "prompt": "Write a short poem about the sea in winter.",
    "seed": 1,
    "max_new_tokens": 90,
    "threshold": 0.3,
    "n_grad_steps": 10,
}


def opened(browser: Browser, url: str, *, width: int, theme: str, settings: dict[str, Any]) -> Page:
    page = browser.new_page(viewport={"width": width, "height": 1500})
    page.goto(f"{url}?__theme={theme}&{urlencode(settings)}")
    page.wait_for_selector("#em-rows .em-panes")
    page.wait_for_timeout(1500)
    return page


def still(browser: Browser, url: str, name: str, **options: Any) -> None:
    page = opened(browser, url, settings={}, **options)
    page.click("#em-generate")
    page.wait_for_selector("#em-rows .em-view[data-state=done]", timeout=120_000)
    page.wait_for_timeout(500)
    page.screenshot(path=IMAGES / name, full_page=True)
    page.close()


def animation(browser: Browser, url: str) -> None:
    """The two panes, the legend and the chart while they grow."""
    page = opened(browser, url, width=900, theme="light", settings=POEM)
    page.add_style_tag(content="#em-rows .em-text { min-height: 260px !important; max-height: 260px !important; }")
    page.click("#em-generate")
    page.wait_for_selector("#em-rows .em-row-0 .em-text span")
    top, chart = (page.locator(f"#em-rows {part}").bounding_box() for part in (".em-status", ".em-chart"))
    assert top is not None and chart is not None
    clip = {
        "x": top["x"] - 6,
        "y": top["y"] - 4,
        "width": top["width"] + 12,
        "height": chart["y"] + chart["height"] - top["y"] + 10,
    }
    frames = []
    for _ in range(FRAMES):
        frames.append(Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB"))
        page.wait_for_timeout(FRAME_MILLISECONDS)
        if page.locator("#em-rows .em-view[data-state=done]").count():
            break
    page.wait_for_selector("#em-rows .em-view[data-state=done]", timeout=120_000)
    page.wait_for_timeout(500)
    frames.append(Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB"))
    small = [frame.quantize(32, dither=Image.Dither.NONE) for frame in frames]
    durations = [FRAME_MILLISECONDS] * (len(small) - 1) + [4000]
    small[0].save(IMAGES / "app.gif", save_all=True, append_images=small[1:], duration=durations, loop=0, optimize=True)
    page.close()


def main() -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("Chromium is not here: apt-get install chromium")
    IMAGES.mkdir(exist_ok=True)
    folder = str(smollm2_folder())
    loaded(folder)
    demo = build(Models(["pocket-reasoner", folder]))
    _, url, _ = demo.launch(**launch_options(), prevent_thread_lock=True, quiet=True)
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            still(browser, url, "app-light.png", width=1024, theme="light")
            still(browser, url, "app-dark.png", width=1024, theme="dark")
            still(browser, url, "app-phone.png", width=390, theme="light")
            animation(browser, url)
            browser.close()
    finally:
        demo.close()


if __name__ == "__main__":
    main()
