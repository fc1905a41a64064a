"""A headless Chromium for the tests of pages: the one that the system has installed.

`make test-browser` runs these tests. Where no Chromium is installed, they fail if the
variable CI is set, and are skipped otherwise.
"""

import os
import shutil

import pytest

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
SERIOUS = ("serious", "critical")

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe")


@pytest.fixture(scope="session")
def browser():
    """Chromium, which reaches only this machine: pages need no network."""
    program = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if program is None:
        message = "no Chromium is installed: apt-get install chromium"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(message)
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(
            executable_path=program,
            args=[
                "--no-sandbox",  # CI runs as root
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            ],
        )
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser):
    """An empty page. The test fails if a script on the page throws an error."""
    with browser.new_context(viewport={"width": 1200, "height": 800}) as context:
        opened = context.new_page()
        errors = []
        opened.on("pageerror", lambda error: errors.append(str(error)))
        yield opened
        assert errors == []


@pytest.fixture
def serious_problems():
    """Finds what axe calls serious or critical: `serious_problems(page)`, a list."""

    def find(page):
        found = axe.Axe().run(page).response["violations"]
        return [
            f"{each['id']}: {each['help']} {node['html']}"
            for each in found
            if each["impact"] in SERIOUS
            for node in each["nodes"]
        ]

    return find
