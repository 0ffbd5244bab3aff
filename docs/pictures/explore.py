"""Draw explore.png, the explorer as a browser shows it: python docs/pictures/explore.py RUN [options of genkit explore]

Needs Debian's Chromium, and playwright. The picture in the README is of `genkit train vae --dataset mnist --epochs 4`,
with `--method tsne`.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

#: Test images between which the walk goes: a 0, a 6, a 4 and a 7; and the frame of it that is seen.
STOPS, FRAME = (10, 11, 4, 0), 36


def main() -> None:
    command = [sys.executable, "-m", "genkit", "explore", *sys.argv[1:], "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server, sync_playwright() as playwright:
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 880})
        page.goto(address)
        walk(page)
        content = page.screenshot()
        server.terminate()
    # Few colours are enough, and make it a third as large.
    picture = Image.open(io.BytesIO(content)).convert("RGB").quantize(128, dither=Image.Dither.NONE)
    picture.save(Path(__file__).with_suffix(".png"), optimize=True)


def walk(page: Page) -> None:
    page.wait_for_selector("body[data-ready=true]")
    page.click("#tab-walk")
    page.select_option("#stop-kind", "point")
    for number, stop in enumerate(STOPS, 1):
        page.fill("#stop-number", str(stop))
        page.click("#stop-add")
        page.wait_for_selector(f"#stops .item:nth-child({number})")
    page.wait_for_selector(f"#player[data-frames='{15 * (len(STOPS) - 1) + 1}']:not([hidden])")
    page.locator("#scrub").fill(str(FRAME))
    page.mouse.move(0, 0)
    page.wait_for_timeout(500)


if __name__ == "__main__":
    main()
