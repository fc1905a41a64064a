"""Writes the pictures of the README: `python tests/browser/pictures.py docs/pictures`.

Needs Chromium and the packages of `make test-browser`.
"""

import argparse
import shutil
from pathlib import Path

from playwright.sync_api import expect, sync_playwright
from serving import serving

from textgen.models.catalogue import PRETRAINED

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
MODEL = "sonnets-large"
BEGINNING = "Shall I compare thee to a summer's day?\nThou art "
SEED = 9
WAIT = 120_000  # milliseconds
MAX_BYTES = 200_000


def idle(page):
    """Waits for the end of the text and of its probabilities."""
    busy = page.locator("#editor")
    expect(busy).to_have_attribute("aria-busy", "false", timeout=WAIT)
    tokens = page.locator("#tokens")
    expect(tokens).not_to_have_attribute("aria-busy", "true", timeout=WAIT)


def write_a_sonnet(page, address):
    """Leaves a text with a few others in the tree, and its probabilities on view."""
    page.goto(address)
    expect(page.locator("#go")).to_be_enabled(timeout=WAIT)
    page.locator("#model").select_option(MODEL)
    page.locator("#seed").fill(str(SEED))
    page.locator("#length").fill("400")
    page.locator("#temperature").fill("0.6")
    page.locator("#text").fill(BEGINNING)
    page.locator("#go").click()
    idle(page)
    for _ in range(2):
        page.locator("#another").click()
        idle(page)
    page.locator("#shade").click()
    idle(page)


def point_at(page, place):
    """Points at a token of the text, which shows the alternatives."""
    page.locator("#tokens > *").nth(place).hover()
    expect(page.locator("#popover")).to_be_visible()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    program = next(filter(None, map(shutil.which, CHROMIUM)))
    names = [MODEL, *(each for each in PRETRAINED if each != MODEL)]
    with serving({name: name for name in names}) as address, sync_playwright() as start:
        browser = start.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(
            viewport={"width": 1200, "height": 800}, reduced_motion="reduce"
        )
        write_a_sonnet(page, address)
        place = page.locator("#tokens").text_content().index("the action") + 4
        for scheme, name in (("light", "page.png"), ("dark", "page-dark.png")):
            page.emulate_media(color_scheme=scheme)
            page.mouse.move(0, 0)
            page.wait_for_timeout(500)
            point_at(page, place)
            path = folder / name
            path.write_bytes(page.screenshot())
            assert path.stat().st_size <= MAX_BYTES, path
            print(path)
        browser.close()


if __name__ == "__main__":
    main()
