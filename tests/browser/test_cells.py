"""The pages of `textgen cells` and `textgen surprise` in a browser."""

import math
import re

import numpy as np
import pytest

from textgen.analysis import cells_page, ranking, surprise_page
from textgen.analysis.activations import Activations
from textgen.analysis.features import FEATURES
from textgen.analysis.surprise_page import Channel

TEXT = "Ab (c d)\n" * 12
VALUES = np.random.default_rng(0).uniform(-0.8, 0.8, (len(TEXT), 5)).astype(np.float32)
VALUES[:, 3] = np.tile([-0.5, -0.25, 0.0, 0.25, 0.5, 0.4, 0.3, 0.2, 0.1], 12)
HOSTILE = ["<img src=x onerror=alert(1)>", "</script>", "\u202e", "\x1b[2J", "\ud800"]
LIGHT = {1: (246, 150, 62), -1: (96, 165, 235)}
DARK = {1: (168, 80, 0), -1: (28, 96, 176)}


@pytest.fixture
def requests(page):
    """The addresses that the page asks for."""
    found = []
    page.on("request", lambda request: found.append(request.url))
    return found


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def cells(tmp_path):
    """The address of a page of cells in two layers."""
    layers = (("first", 3), ("second", 2))
    ids, starts = np.zeros(len(TEXT), np.int32), np.array([0])
    found = Activations(tuple(TEXT), ids, VALUES, layers, starts)
    measured, baseline = ranking.measure(found), dict.fromkeys(FEATURES, 0.125)
    text = cells_page.cells_page(found, measured, "A title", "about it", baseline)
    return write(tmp_path / "cells.html", text)


@pytest.fixture
def surprise(tmp_path):
    """The address of a page with the difference of two models."""
    bits = np.array([math.nan, *np.linspace(0, 5, len(TEXT) - 1)])
    channels = [
        Channel("b minus a", 2 - bits, True, 2.0),
        Channel("surprisal for a", bits, False, 4.0),
    ]
    text = surprise_page.surprise_page(tuple(TEXT), channels, "A title", "about it")
    return write(tmp_path / "surprise.html", text)


def shown_colours(page, count):
    """Returns red, green, blue and alpha of the first tokens."""
    texts = page.evaluate(
        "count => [...document.querySelectorAll('#text span')].slice(0, count)"
        ".map(span => getComputedStyle(span).backgroundColor)",
        count,
    )
    numbers = [[float(x) for x in re.findall(r"[\d.]+", each)] for each in texts]
    return [(*each, 1.0)[:4] for each in numbers]


def check_colours(page, values, limit, ends=LIGHT):
    """Compares the colours of the first tokens with those of these numbers."""
    found = shown_colours(page, len(values))
    for (*colour, alpha), value in zip(found, values, strict=True):
        share = 0 if math.isnan(value) else max(-1, min(1, value / limit))
        assert alpha == pytest.approx(abs(share), abs=0.01)
        if alpha > 0.01:
            assert tuple(colour) == ends[1 if share > 0 else -1]


def check_cell(page, cell, ends=LIGHT):
    check_colours(page, VALUES[:20, cell].tolist(), np.abs(VALUES[:, cell]).max(), ends)


def test_slider_and_keys(page, cells, requests):
    page.goto(cells)
    best = page.locator("#features button[aria-pressed=true]").first.inner_text()
    first = int(re.search(r"· (\d)", best)[1]) + 3 * best.startswith("second")
    check_cell(page, first)
    page.goto(f"{cells}#cell=1")
    page.reload()
    slider = page.get_by_role("slider", name="Cell on a slider")
    assert slider.input_value() == "1"
    check_cell(page, 1)
    slider.focus()
    page.keyboard.press("ArrowRight")
    check_cell(page, 2)
    assert slider.get_attribute("aria-valuetext") == "cell first · 2"
    page.keyboard.press("ArrowRight")  # the last cell of the layer
    check_cell(page, 2)
    page.get_by_role("button", name="Next cell").press("Enter")
    check_cell(page, 3)
    assert page.locator("#layer").input_value() == "1"
    assert page.url.endswith("#cell=3")
    page.get_by_role("button", name="Next cell").press("Enter")
    page.get_by_role("button", name="Next cell").press("Enter")
    check_cell(page, 0)
    page.get_by_role("button", name="Previous cell").press("Enter")
    check_cell(page, 4)
    page.get_by_label("Layer").select_option("first")
    check_cell(page, 0)
    number = page.get_by_role("spinbutton", name="Cell")
    number.fill("2")
    check_cell(page, 2)
    for wrong in ("7", "", "-1"):
        number.fill(wrong)
        check_cell(page, 2)
    assert set(requests) == {cells, f"{cells}#cell=1"} or set(requests) == {cells}


def test_features(page, cells):
    page.goto(cells)
    page.get_by_role("button", name="brackets").click()
    depth = [0, 0, 0, 1, 1, 1, 1, 0, 0] * 2
    check_colours(page, depth, 1)
    assert page.get_by_role("status").inner_text() == (
        "The feature “brackets” itself: number of open brackets"
    )
    row = page.locator("tr", has=page.get_by_role("button", name="brackets"))
    best = row.get_by_role("button").nth(1)
    assert re.fullmatch(r"(first|second) · \d [+−]\d\.\d\d", best.inner_text())
    assert row.locator("td").last.inner_text() == "0.12"
    best.press("Enter")
    assert best.get_attribute("aria-pressed") == "true"
    layer, cell = re.match(r"(\w+) · (\d)", best.inner_text()).groups()
    check_cell(page, int(cell) + 3 * (layer == "second"))
    assert "brackets" in page.get_by_role("status").inner_text()


def test_value_at_the_pointer(page, cells):
    page.goto(f"{cells}#cell=3")
    text = page.get_by_role("region", name="The text, coloured")
    point = page.locator("#point")
    text.locator("span").nth(3).hover()
    assert point.inner_text() == "“(”: +0.25, token 4"
    text.focus()
    page.keyboard.press("ArrowRight")
    assert point.inner_text() == "“c”: +0.50, token 5"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert point.inner_text() == "space: +0.00, token 3"
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
    assert point.inner_text() == "“A”: −0.50, token 1"
    assert page.locator(".marked").count() == 1
    content = "span => [span.textContent, getComputedStyle(span, '::before').content]"
    assert text.locator(".newline").count() == 12
    assert text.locator("span").nth(8).evaluate(content) == ["\n", '"↵"']


def test_surprise(page, surprise, requests):
    page.goto(surprise)
    bits = [math.nan, *np.linspace(0, 5, len(TEXT) - 1)][:20]
    check_colours(page, [2 - each for each in bits], 2)
    point = page.locator("#point")
    assert point.inner_text() == "“A”: the model does not predict it"
    places = page.locator("#places button")
    assert places.first.inner_text().split("\n")[0].strip().startswith("+2.0")
    page.get_by_label("Coloured by").select_option("surprisal for a")
    check_colours(page, bits, 4)
    places.first.press("Enter")  # the last token, a newline with 5 bits
    assert point.inner_text() == "newline: 5.00 bits, probability 3.1 %"
    assert page.locator("#ends").inner_text().split() == ["0", "4.0", "bits"]
    assert set(requests) == {surprise}


@pytest.mark.parametrize("address", ["cells", "surprise"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessible(page, address, scheme, request, serious_problems):
    page.emulate_media(color_scheme=scheme)
    page.goto(request.getfixturevalue(address))
    assert serious_problems(page) == []
    page.set_viewport_size({"width": 390, "height": 844})
    assert serious_problems(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_colours_change_with_the_theme(page, cells):
    page.goto(f"{cells}#cell=3")
    check_cell(page, 3)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(
        "document.querySelector('#text span').style.backgroundColor.includes('28, 96')"
    )
    check_cell(page, 3, DARK)


def luminance(colour):
    """Relative luminance, WCAG 2."""
    parts = [each / 255 for each in colour]
    parts = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
    return sum(
        x * weight for x, weight in zip(parts, (0.2126, 0.7152, 0.0722), strict=True)
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable_on_the_strongest_colours(page, cells, scheme):
    page.emulate_media(color_scheme=scheme)
    page.goto(cells)
    style = "getComputedStyle(document.body).color"
    ink = [int(each) for each in re.findall(r"\d+", page.evaluate(style))]
    for colour in (LIGHT if scheme == "light" else DARK).values():
        low, high = sorted([luminance(ink), luminance(colour)])
        assert (high + 0.05) / (low + 0.05) >= 4.5


def test_hostile_tokens_and_names_are_inert(page, tmp_path, requests):
    tokens = tuple(HOSTILE * 5)
    values = np.random.default_rng(0).normal(size=(25, 2)).astype(np.float32)
    layers = ((HOSTILE[0], 1), (HOSTILE[1], 1))
    ids, starts = np.zeros(25, np.int32), np.array([0])
    found = Activations(tokens, ids, values, layers, starts)
    measured = ranking.measure(found)
    title = "".join(HOSTILE)
    text = cells_page.cells_page(
        found, measured, title, title, dict.fromkeys(FEATURES, 0.125)
    )
    address = write(tmp_path / "hostile.html", text)
    page.goto(address)
    assert page.locator("img").count() == 0
    assert page.locator("#text span").count() == 25
    spans = page.locator("#text span")
    texts = [spans.nth(at).evaluate("span => span.textContent") for at in range(4)]
    assert texts == [*HOSTILE[:2], "\\u202e", "\\u001b[2J"]
    assert page.locator("#layer option").first.inner_text() == HOSTILE[0]
    channel = Channel(HOSTILE[0], np.arange(25.0), False, 20.0)
    address = write(
        tmp_path / "other.html",
        surprise_page.surprise_page(tokens, [channel], title, title),
    )
    page.goto(address)
    assert page.locator("img").count() == 0
    assert page.locator("#places button").count() == 12
    assert all(each.startswith("file:") for each in requests)


def test_no_script_of_others_runs(page, cells):
    page.goto(cells)
    page.evaluate(
        "() => { const script = document.createElement('script');"
        "script.textContent = 'window.ran = true'; document.body.append(script); }"
    )
    assert page.evaluate("window.ran") is None
