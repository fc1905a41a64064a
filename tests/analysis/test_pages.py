"""The data of the pages, and the picture."""

import base64
import hashlib
import html
import io
import json
import math
import re

import numpy as np
import pytest
from PIL import Image

import textgen
from textgen.analysis import cells_page, picture, ranking, surprise_page
from textgen.analysis.activations import Activations
from textgen.analysis.features import FEATURES
from textgen.analysis.page import page
from textgen.analysis.surprise_page import Channel

BASELINE = dict.fromkeys(FEATURES, 0.123)

HOSTILE = "</script><script>alert(1)</script>&amp;{{title}}<!--\u2028\ud800"


def parts_of(text):
    """Returns the data, the script, the style and the policy of a page."""
    [data] = re.findall(
        r'<script type="application/json" id="data">(.*?)</script>', text
    )
    [script] = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    [style] = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    [policy] = re.findall(r'Policy" content="(.*?)"', text)
    return json.loads(data), script, style, policy


def sha256(text):
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@pytest.mark.parametrize("name", ["cells", "surprise"])
def test_page_is_one_file_that_runs_its_own_script_only(name):
    text = page(name, HOSTILE, {"title": HOSTILE})
    data, script, style, policy = parts_of(text)
    assert data == {"title": HOSTILE}
    assert policy == (
        f"default-src 'none'; script-src 'sha256-{sha256(script)}'; "
        f"style-src 'sha256-{sha256(style)}'; base-uri 'none'; form-action 'none'"
    )
    assert f"<title>{html.escape(HOSTILE[:-1])}?</title>" in text
    assert text.count("</script>") == 2
    assert not re.search(r"(src|href)=|https?:|url\(|@import", text)
    text.encode()


def activations(tokens, values, layers=(("one", 3),)):
    values = np.array(values, np.float32)
    ids = np.zeros(len(tokens), np.int32)
    return Activations(tuple(tokens), ids, values, layers, np.array([0]))


def numbers(text, scale):
    """Returns the numbers of the bytes 1 to 255, as the page computes them."""
    return (np.frombuffer(base64.b64decode(text), np.uint8) - 128.0) / 127 * scale


def test_cells_of_a_page():
    generator = np.random.default_rng(0)
    tokens = tuple("a B\n" * 20)
    values = generator.normal(size=(80, 3))
    values[:, 1] = np.tile([0, 0, 1, 0], 20) * 0.25
    values[:, 2] = 0
    found = activations(tokens, values)
    measured = ranking.measure(found)
    text = cells_page.cells_page(found, measured, "A title", "about", BASELINE)
    data, *_ = parts_of(text)
    assert data["tokens"] == list(tokens)
    assert data["layers"] == [["one", 3]]
    assert data["scales"][1:] == [0.25, 0]
    for cell in range(3):
        shown = numbers(data["cells"][cell], data["scales"][cell])
        assert np.abs(shown - found.values[:, cell]).max() <= data["scales"][cell] / 254
    best = data["features"][0]
    assert data["first"] == 1
    assert best["name"] in ("capital", "word start")
    assert best["r"] == [round(each, 3) for each in measured.whole[0].tolist()]
    assert best["r"][1:] == [1, 0]
    assert best["untrained"] == 0.12
    position = next(x for x in data["features"] if x["name"] == "line position")
    np.testing.assert_allclose(
        numbers(position["values"], position["scale"]), [1, 2, 3, 0] * 20, atol=0.02
    )


def test_page_without_features():
    found = activations("ab", [[1, 2, 3], [0, 0, 0]])
    text = cells_page.cells_page(found, ranking.measure(found), "A", "b", {})
    data, *_ = parts_of(text)
    assert data["features"] == []
    assert data["first"] == 0


def test_page_has_at_most_so_many_tokens(monkeypatch):
    monkeypatch.setattr(cells_page, "MAX_VALUES", 10)
    tokens = tuple("abcd\n" * 20)
    found = activations(tokens, np.random.default_rng(0).normal(size=(100, 3)))
    assert cells_page.tokens_shown(found) == 3
    measured = ranking.measure(found)
    data, *_ = parts_of(cells_page.cells_page(found, measured, "", "", BASELINE))
    assert data["tokens"] == ["a", "b", "c"]
    assert {len(base64.b64decode(each)) for each in data["cells"]} == {3}
    assert data["features"][0]["r"] == measured.whole[0].round(3).tolist()
    assert "100 tokens" in data["caution"]
    monkeypatch.setattr(cells_page, "MAX_VALUES", 2)
    assert cells_page.tokens_shown(found) == 1


# === Surprisal ===


def surprisal(tokens, bits):
    return textgen.Surprisal(tuple(tokens), np.array(bits, float), None)


def test_channels_of_one_model():
    found = surprisal("abc\n", [math.nan, 2, 9, 0.5])
    pieces, [channel] = surprise_page.channels_of(found, None, ["one"])
    assert pieces == tuple("abc\n")
    assert channel.name == "surprisal for one"
    assert channel.signed is False
    np.testing.assert_array_equal(channel.values, found.bits)
    assert channel.limit == pytest.approx(2 + 7 * 0.99)


def test_channels_of_two_models():
    found = [
        surprisal("ab cd", [1, 2, 3, 4, 5]),
        surprisal(("ab", " ", "cd"), [6, 1, 8]),
    ]
    pieces, channels = surprise_page.channels_of(*found, ["one", "two"])
    names = ["two minus one", "surprisal for one", "surprisal for two"]
    assert pieces == tuple("ab cd")
    assert [each.name for each in channels] == names
    difference, one, two = (each.values for each in channels)
    assert one.tolist() == [1, 2, 3, 4, 5]
    assert two.tolist() == [3, 3, 1, 4, 4]
    assert difference.tolist() == [2, 1, -2, 0, -1]
    assert channels[0].signed
    assert channels[1].limit == channels[2].limit


def test_nothing_is_known():
    _, [channel] = surprise_page.channels_of(surprisal("a", [math.nan]), None, ["one"])
    assert channel.limit == 4


def test_surprising_places():
    values = np.array([1, math.nan, 5, 3, 5])
    assert surprise_page.most_surprising(values, 3) == [2, 4, 3]
    assert surprise_page.most_surprising(values, 9) == [2, 4, 3, 0]
    long = tuple("x" * 50)
    before, piece, after = surprise_page.context((*long, "new", *long), 50)
    assert (before, piece, after) == ("x" * 24, "new", "x" * 24)
    assert surprise_page.context(("a", "bcd"), 0) == ("", "a", "bcd")


def test_mean_per_character():
    values = np.array([math.nan, 3.0, -1.0])
    assert surprise_page.mean_per_character(("abc", "de", ""), values) == 1.0
    assert math.isnan(surprise_page.mean_per_character(("a",), values[:1]))


def test_page_of_surprisal():
    channel = Channel("bits", np.array([math.nan, 2.5]), False, 4.0)
    text = surprise_page.surprise_page(("<b>", "c"), [channel], "A", "b")
    data, *_ = parts_of(text)
    assert data["tokens"] == ["<b>", "c"]
    [shown] = data["channels"]
    assert shown["values"] == [None, 2.5]
    assert shown["places"] == [[1, "<b>", "c", ""]]
    assert (shown["limit"], shown["signed"]) == (4.0, False)


# === The picture ===


def test_layout():
    places, lines = picture.layout(("ab\n", "深", "e\u0301"))
    assert places == [
        ("a", 0, 0, 0, 1),
        ("b", 0, 0, 1, 1),
        ("\n", 0, 0, 2, 1),
        ("深", 1, 1, 0, 2),
        ("e", 2, 1, 2, 1),
        ("\u0301", 2, 1, 3, 0),
    ]
    assert lines == 2
    places, lines = picture.layout(["x" * 81, "\n"])
    assert [each[2:4] for each in places[79:]] == [(0, 79), (1, 0), (1, 1)]
    places, lines = picture.layout(["x" * 79 + "深"])
    assert places[-1][2:] == (1, 0, 2)
    places, lines = picture.layout(["a\n"] * 70)
    assert lines == picture.MAX_LINES
    assert len(places) == 2 * picture.MAX_LINES
    assert picture.layout(["a\nb"])[1] == 2
    assert picture.layout([]) == ([], 0)


def pixel_of_box(image, line, column):
    """Returns the colour of the upper left corner of a box of 48 columns."""
    unit = image.width / 54
    x = (3 + column + 0.06) * unit
    y = (3 + line + 0.06) * 1.7 * unit
    return image.getpixel((round(x), round(y)))


def test_picture(recwarn, caplog):
    values = np.array([0, 1, 2, -2, math.nan])
    channel = Channel("bits", values, True, 2.0)
    data, missing = picture.picture([*"aceo", "\n" * 40], channel, "A title")
    assert missing == ""
    assert [str(each.message) for each in recwarn] == []
    assert caplog.records == []
    image = Image.open(io.BytesIO(data)).convert("RGB")
    expected = [
        (255, 255, 255),
        (250, 202, 158),
        (246, 150, 62),
        (96, 165, 235),
        (230, 230, 230),
    ]
    for column, colour in enumerate(expected):
        found = pixel_of_box(image, 0, column)
        assert np.abs(np.subtract(found, colour)).max() <= 8, column


def test_private_and_control_characters_have_no_glyph():
    channel = Channel("bits", np.zeros(3), False, 4.0)
    _, missing = picture.picture(["a", "\U0010fffd", "\x07"], channel, "")
    assert missing == ""


def test_characters_without_a_font(monkeypatch):
    monkeypatch.setattr(picture._Fonts, "_ordered", lambda self: [])
    channel = Channel("bits", np.zeros(2), False, 4.0)
    data, missing = picture.picture(["深a", "深春"], channel, "")
    assert missing == "春深"
    assert data.startswith(b"\x89PNG")


def test_matplotlib_is_missing(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install 'keras-textgen\[plot\]'"):
        picture.check_matplotlib()
