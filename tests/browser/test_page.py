"""The page of `textgen serve`, in a browser, with small models."""

import json
import re
from urllib.parse import urlsplit

import numpy as np
import pytest
from small_models import VOCABULARY, make, of_text

import textgen

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
pytest.importorskip("uvicorn", reason="needs the extra web")

from serving import Paced, serving  # noqa: E402

expect = playwright.expect
expect.set_options(timeout=30_000)  # the first text of a model is compiled
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True}
NEWLINE = VOCABULARY.ids["\n"]


@pytest.fixture(scope="module")
def models():
    """`letters` writes texts, `names` single lines with labels, `slow` when allowed."""
    letters = make(return_sequences=True, start_step=True)
    names = make(
        return_sequences=True, start_step=True, end_token=NEWLINE, labels=("old", "new")
    )
    words = make(
        textgen.Vocabulary.from_text("bed bad cab\n", level="word"),
        return_sequences=True,
        start_step=True,
    )
    bytes_ = make(textgen.ByteTokenizer(), return_sequences=True, start_step=True)
    return {
        "letters": letters,
        "names": names,
        "slow": Paced(letters),
        "words": words,
        "bytes": bytes_,
    }


@pytest.fixture(scope="module")
def url(models):
    with serving(models) as address:
        yield address


@pytest.fixture
def opened(page, url):
    """The page, when its models are known."""
    return visit(page, url)


@pytest.fixture
def new_page(browser):
    """Opens a page in a new browser profile; arguments as for `new_context`."""
    contexts = []

    def new(**kwargs):
        contexts.append(browser.new_context(**kwargs))
        return contexts[-1].new_page()

    yield new
    for context in contexts:
        context.close()


@pytest.fixture
def slow(models):
    models["slow"].reset()
    yield models["slow"]
    models["slow"].reset()


def visit(page, address):
    page.goto(address)
    expect(page.locator("#go")).to_be_enabled()
    return page


def text_of(page):
    return page.input_value("#text")


def is_idle(page):
    """Waits for the end of the text and of its probabilities."""
    expect(page.locator("#editor")).to_have_attribute("aria-busy", "false")
    expect(page.locator("#tokens")).not_to_have_attribute("aria-busy", "true")
    return page


def write(page, text, **settings):
    """Types a text with these settings, and lets the model continue it."""
    configure(page, **settings)
    page.locator("#text").fill(text)
    page.locator("#text").press("Control+Enter")
    return is_idle(page)


def configure(page, **settings):
    for name, value in settings.items():
        page.locator(f"#{name}").fill(str(value))


def begin_slowly(page, text, **settings):
    """Lets `slow` continue a text; it waits for `slow.allow`."""
    page.locator("#model").select_option("slow")
    configure(page, **settings)
    page.locator("#text").fill(text)
    page.locator("#text").press("Control+Enter")
    expect(page.locator("#go")).to_have_text("Stop")


def shade(page):
    page.locator("#shade").click()
    return is_idle(page)


def token(page, index):
    return page.locator(f"#tokens > :nth-child({index + 1})")


def tree(page):
    """The texts that were tried: `(author, first words, is current)`."""
    return [
        (
            each.locator(".author").inner_text(),
            each.locator(".words").inner_text(),
            each.get_attribute("aria-current") == "true",
        )
        for each in page.locator("#tree button").all()
    ]


def shown_percent(probability):
    """A probability as the page shows it."""
    value = 100 * probability
    if value < 0.1:
        return "< 0.1 %"
    return f"{value:.1f} %" if value < 9.95 else f"{value:.0f} %"


# ---- Type, stream, stop


def test_text_is_that_of_generate(opened, models):
    write(opened, "abc", seed=7, length=60, temperature=1.2)
    expected = models["letters"].generate("abc", 60, 1.2, seed=7)
    assert text_of(opened) == expected
    assert opened.locator("#mirror .model").inner_text() == expected[3:].strip("\n")
    assert opened.locator("#status").inner_text() == (
        "Wrote 60 characters with seed 7."
    )


def test_top_p_reaches_the_model(opened, models):
    write(opened, "abc", seed=7, length=60, temperature=2, top_p=0.4)
    expected = models["letters"].generate("abc", 60, 2.0, top_p=0.4, seed=7)
    assert text_of(opened) == expected
    assert expected != models["letters"].generate("abc", 60, 2.0, seed=7)


def test_empty_text_can_be_continued(opened, models):
    configure(opened, seed=3, length=20)
    expect(opened.locator("#welcome")).to_contain_text("Write a beginning")
    opened.locator("#go").click()
    is_idle(opened)
    assert text_of(opened) == models["letters"].generate("", 20, 0.7, seed=3)


def test_text_grows_until_it_is_stopped(opened, slow, models):
    begin_slowly(opened, "abc", seed=5, length=100)
    expected = models["letters"].generate("abc", 100, 0.7, seed=5)
    for count in (1, 6):
        slow.allow(count - slow.sent)
        expect(opened.locator("#text")).to_have_value(expected[: 3 + count])
    opened.keyboard.press("Escape")
    is_idle(opened)
    expect(opened.locator("#status")).to_have_text("Stopped after 6 characters.")
    slow.allow(90)
    opened.wait_for_timeout(200)
    assert text_of(opened) == expected[:9]
    assert slow.sent <= 7  # the server knows that nobody reads
    assert tree(opened)[-1] == ("model", "…" + shown(expected[3:9]), True)


def test_button_stops(opened, slow):
    begin_slowly(opened, "abc")
    slow.allow(2)
    expect(opened.locator("#text")).to_have_value(re.compile("^.{5}$", re.DOTALL))
    opened.locator("#go").click()
    is_idle(opened)
    expect(opened.locator("#go")).to_have_text("Continue")


def test_typing_stops_too(opened, slow):
    begin_slowly(opened, "abc")
    slow.allow(2)
    expect(opened.locator("#text")).to_have_value(re.compile("^.{5}$", re.DOTALL))
    opened.keyboard.type("!")
    is_idle(opened)
    slow.allow(9)
    opened.wait_for_timeout(100)
    assert re.fullmatch("(?s)abc..!", text_of(opened))
    assert opened.locator("#mirror .person").last.inner_text() == "!"


def test_end_of_the_text_stays_in_view(opened, slow):
    begin_slowly(opened, "a\n" * 60, length=50)
    slow.allow(50)
    is_idle(opened)
    text, bar = (opened.locator(each).bounding_box() for each in ("#editor", ".bar"))
    assert text["y"] + text["height"] <= bar["y"] + 60


def test_cursor_is_never_behind_the_bar(opened):
    opened.locator("#text").fill("a\n" * 60)
    opened.locator("#text").press("Control+Home")
    for _ in range(30):
        opened.keyboard.press("ArrowDown")
    opened.keyboard.type("bcd")
    lines = text_of(opened).split("\n")
    line = lines.index("bcda")
    text, bar = (opened.locator(each).bounding_box() for each in ("#text", ".bar"))
    height = (text["height"] - 32) / len(lines)  # without the padding
    assert text["y"] + 8 + height * (line + 1) <= bar["y"]


def test_undo_takes_back_what_the_model_wrote(opened):
    opened.locator("#text").press_sequentially("abc de")
    opened.keyboard.press("Control+Enter")
    is_idle(opened)
    written = text_of(opened)
    assert len(written) == 206
    opened.keyboard.press("Control+z")
    assert text_of(opened) == "abc de"
    opened.keyboard.press("Control+z")
    assert text_of(opened) == ""
    for _ in range(2):
        opened.keyboard.press("Control+Shift+z")
    assert text_of(opened) == written


# ---- Who wrote what


def marks(page):
    """The parts of the text: `[(author, text)]`, without the last, empty part."""
    parts = page.locator("#mirror span").all()[:-1]
    return [(each.get_attribute("class"), each.text_content()) for each in parts]


def test_change_inside_the_text_of_the_model(opened):
    write(opened, "abc", seed=2, length=30)
    written = text_of(opened)
    opened.evaluate("document.querySelector('#text').setSelectionRange(10, 12)")
    opened.keyboard.type("dd")
    assert text_of(opened) == written[:10] + "dd" + written[12:]
    assert "".join(text for _, text in marks(opened)) == text_of(opened)
    authors = [author for author, text in marks(opened) for _ in text]
    changed = [each for each in range(10, 12) if written[each] != "d"]
    assert all(authors[each] == "person" for each in [0, 1, 2, *changed])
    assert authors[3:10] == ["model"] * 7
    assert authors[12:] == ["model"] * (len(written) - 12)


def test_ranges_follow_any_edit(opened):
    """Compared with one author for each character, which the edit moves along."""
    generator = np.random.default_rng(0)
    cases, expected = [], []
    for _ in range(200):
        size = generator.integers(1, 12)
        before = "".join(generator.choice(list("abc"), size))
        authors = generator.choice([0, 1], size).tolist()
        at = int(generator.integers(0, size + 1))
        end = int(generator.integers(at, size + 1))
        # Letters that are not in the text: it is clear which part was replaced.
        new = "xyz"[: generator.integers(0, 4)]
        if end == at and not new:
            new = "x"
        after = before[:at] + new + before[end:]
        # After a deletion alone, several places can give the same text.
        if not new and len({*before}) < size:
            continue
        cases.append([runs(authors), before, after])
        expected.append(runs(authors[:at] + [0] * len(new) + authors[end:]))
    assert len(cases) > 100
    found = opened.evaluate(
        """async (cases) => {
          const { moveRanges } = await import("/static/editor.js");
          return cases.map((each) => moveRanges(...each));
        }""",
        cases,
    )
    assert found == expected


def runs(authors):
    """The ranges of the ones."""
    edges = np.flatnonzero(np.diff([0, *authors, 0]))
    return edges.reshape(-1, 2).tolist()


# ---- Probabilities


def test_tokens_have_the_probabilities_of_the_model(opened, models):
    text = "fade bad cab"
    opened.locator("#text").fill(text)
    shade(opened)
    probabilities = np.exp(of_text(models["letters"], text))
    found = opened.locator("#tokens > *").evaluate_all(
        "all => all.map((each) => [each.textContent, each.ariaLabel, each.className])"
    )
    for each, (shown_text, label, level), value in zip(
        text, found, probabilities, strict=True
    ):
        name = {" ": "space"}.get(each, each)
        number = np.searchsorted([0.01, 0.03, 0.1, 0.2, 0.5], value, side="right")
        assert shown_text == each
        assert label == f"{name}, {shown_percent(value)}"
        assert level == f"token p{number}"


def test_alternatives_are_the_next_symbols(opened, models):
    text = "fade bad cab"
    opened.locator("#text").fill(text)
    shade(opened)
    for index in (0, 4, 11):
        token(opened, index).hover()
        expected = models["letters"].next_symbols(text[:index], 5)
        found = opened.locator("#popover button").all()
        assert [each.get_attribute("aria-label") for each in found] == [
            f"{number}: {NAMES.get(symbol, symbol)}, {shown_percent(value)}"
            for number, (symbol, value) in enumerate(expected, 1)
        ]
        [own] = np.exp(of_text(models["letters"], text)[index : index + 1])
        expect(opened.locator("#popover p").first).to_contain_text(shown_percent(own))


NAMES = {" ": "space", "\n": "new line"}


@pytest.mark.parametrize("way", ["digit", "mouse", "list"])
def test_choosing_rewrites_from_there(opened, models, way):
    write(opened, "abc", seed=4, length=40)
    before = text_of(opened)
    shade(opened)
    alternatives = models["letters"].next_symbols(before[:8], 5)
    # One that is not there already.
    number = 1 + (alternatives[1][0] == before[8])
    if way == "mouse":
        token(opened, 8).hover()
        opened.locator("#popover button").nth(number).click()
    else:
        token(opened, 8).focus()
        if way == "digit":
            opened.keyboard.press(str(number + 1))
        else:
            for key in ["Enter", *["ArrowDown"] * number, "Enter"]:
                opened.keyboard.press(key)
    is_idle(opened)
    begun = before[:8] + alternatives[number][0]
    expected = models["letters"].generate(begun, 40, 0.7, seed=4)
    found = opened.locator("#tokens").text_content()
    assert found == expected
    opened.locator("#shade").click()
    assert text_of(opened) == expected
    assert [author for author, *_ in tree(opened)] == [
        "you",
        "model",
        "choice",
        "model",
    ]
    assert marks(opened)[-1] == ("model", expected[9:])
    if alternatives[number][0] != before[8]:
        assert ("person", begun[-1]) in marks(opened)


def test_focus_returns_to_the_place_of_the_choice(opened):
    write(opened, "abc", seed=4, length=40)
    shade(opened)
    token(opened, 8).focus()
    opened.keyboard.press("2")
    is_idle(opened)
    expect(token(opened, 8)).to_be_focused()


def test_arrow_keys_move_through_the_tokens(opened):
    opened.locator("#text").fill("abc\n\ndef fed\nfeed")
    shade(opened)
    token(opened, 6).focus()
    for key, index in [
        ("ArrowRight", 7),
        ("ArrowLeft", 6),
        ("ArrowDown", 14),
        ("ArrowUp", 6),
        ("End", 16),
        ("ArrowRight", 16),
        ("Home", 0),
        ("ArrowLeft", 0),
    ]:
        opened.keyboard.press(key)
        expect(token(opened, index)).to_be_focused()
        assert opened.locator("#tokens [tabindex='0']").count() == 1
        expect(opened.locator("#popover")).to_be_visible()
    opened.keyboard.press("Escape")
    expect(opened.locator("#popover")).to_be_hidden()


def test_alternatives_never_cover_the_buttons(opened):
    opened.locator("#text").fill("abc\n" * 14)
    shade(opened)
    for line in range(14):
        token(opened, 4 * line + 1).focus()
        popover, bar, own = (
            opened.locator(each).bounding_box()
            for each in ("#popover", "#bar", ".open")
        )
        assert popover["y"] + popover["height"] <= bar["y"]
        assert popover["y"] >= own["y"] + own["height"] or (
            popover["y"] + popover["height"] <= own["y"]
        )


def test_unknown_symbols_keep_their_places(opened, models):
    text = "Ab“é!c“ d"  # read as "ab" and so on, without what is not known
    opened.locator("#text").fill(text)
    shade(opened)
    found = opened.locator("#tokens > *").evaluate_all(
        "all => all.map((each) => [each.textContent, each.classList[1]])"
    )
    known = models["letters"].vocabulary.encode(text, "skip", match_case=False)
    assert VOCABULARY.decode(known) == "abec d"
    assert [each for each, name in found if name != "unknown"] == list("Abéc d")
    assert "".join(each for each, _ in found) == text


def test_tokens_can_be_words(opened, models):
    opened.locator("#model").select_option("words")
    configure(opened, length=10, seed=1)
    opened.locator("#text").fill("bad cab bed")
    shade(opened)
    expect(opened.locator("#unit")).to_have_text("word")
    tokens = models["words"].vocabulary.tokens("bad cab bed")
    found = opened.locator("#tokens > *")
    assert found.all_text_contents() == list(tokens)
    place = found.all_text_contents().index("cab")
    [_, (word, _), *_] = models["words"].next_symbols("bad ", 5)
    token(opened, place).focus()
    opened.keyboard.press("2")
    is_idle(opened)
    expected = models["words"].generate("bad " + word, 10, 0.7, seed=1)
    opened.locator("#shade").click()
    assert text_of(opened) == expected


def test_characters_can_be_several_tokens(opened, models):
    opened.locator("#model").select_option("bytes")
    opened.locator("#text").fill("aé字 b")
    shade(opened)
    scores = of_text(models["bytes"], "aé字 b")
    assert opened.locator("#tokens > *").all_text_contents() == list("aé字 b")
    for index, part in ((1, scores[1:3]), (2, scores[3:6])):
        expect(token(opened, index)).to_have_attribute(
            "aria-label", f"{'aé字'[index]}, {shown_percent(np.exp(part.sum()))}"
        )
    # Half a character cannot be chosen.
    halves = re.compile("<0x")
    token(opened, 2).focus()
    for button in opened.locator("#popover button").filter(has_text=halves).all():
        expect(button).to_be_disabled()
    assert opened.locator("#popover button").filter(has_text=halves).count() > 0


def test_another_model_measures_anew(opened, models):
    opened.locator("#text").fill("fade bad")
    shade(opened)
    opened.locator("#model").select_option("names")
    is_idle(opened)
    expected = np.exp(of_text(models["names"], "fade bad"))
    expect(token(opened, 3)).to_have_attribute(
        "aria-label", f"e, {shown_percent(expected[3])}"
    )


# ---- The tree


def test_tree_goes_back_to_every_text(opened, models):
    generate = models["letters"].generate
    write(opened, "abc", seed=1, length=20)
    first = text_of(opened)
    assert first == generate("abc", 20, 0.7, seed=1)
    opened.locator("#another").click()
    is_idle(opened)
    second = text_of(opened)
    assert second == generate("abc", 20, 0.7, seed=2)
    opened.locator("#text").fill(second + "fff")
    configure(opened, temperature=1.5)
    assert tree(opened) == [
        ("you", "abc", False),
        ("model", "…" + shown(first[3:]), False),
        ("model", "…" + shown(second[3:]), True),
    ]
    opened.locator("#tree button").nth(1).click()
    assert text_of(opened) == first
    assert opened.locator("#temperature").input_value() == "0.7"
    assert opened.locator("#seed").input_value() == "1"
    # What was typed meanwhile is a text too.
    assert tree(opened)[-1] == ("you", "fff", False)
    opened.locator("#tree button").nth(3).click()
    assert text_of(opened) == second + "fff"
    opened.locator("#tree button").first.click()
    assert text_of(opened) == "abc"
    # Two texts follow the first one, and one the second.
    branches = opened.locator("#tree > li > ol > li > ol")
    assert [each.locator("button").count() for each in branches.all()] == [1, 2]


def shown(text):
    """The first words of a text, as the tree shows them."""
    words = re.sub(r"\s+", " ", text.strip())
    return words if len(words) <= 48 else re.sub(r" \S*$", "", words[:48]) + "…"


def test_new_text_keeps_the_old_ones(opened):
    write(opened, "abc", length=20)
    before = text_of(opened)
    opened.locator("#fresh").click()
    assert text_of(opened) == ""
    expect(opened.locator("#text")).to_be_focused()
    opened.locator("#tree button").last.click()
    assert text_of(opened) == before


def test_all_is_forgotten_after_a_question(opened):
    write(opened, "abc", length=20)
    opened.once("dialog", lambda dialog: dialog.dismiss())
    opened.locator("#forget").click()
    assert len(tree(opened)) == 2
    opened.once("dialog", lambda dialog: dialog.accept())
    opened.locator("#forget").click()
    assert tree(opened) == []
    assert len(text_of(opened)) == 23


def test_text_is_never_markup(opened):
    text = "<img src=x onerror=throw> <b>bold</b>"
    write(opened, text, length=10)
    shade(opened)
    assert opened.locator("img, #tree b, #tokens b, #mirror b").count() == 0
    assert tree(opened)[0][1] == text


# ---- Nothing is lost


def test_reload_keeps_everything(opened, models):
    write(opened, "abc", seed=6, length=20, temperature=1.1)
    opened.locator("#text").press("Control+End")
    opened.keyboard.type("fed")
    before = text_of(opened), tree(opened), marks(opened)
    opened.reload()
    expect(opened.locator("#go")).to_be_enabled()
    assert (text_of(opened), tree(opened), marks(opened)) == before
    assert opened.locator("#temperature").input_value() == "1.1"
    assert opened.locator("#seed").input_value() == "6"
    configure(opened, length=30)
    opened.locator("#go").click()
    is_idle(opened)
    expected = models["letters"].generate(before[0], 30, 1.1, seed=6)
    assert text_of(opened) == expected


def test_reload_keeps_model_and_label(opened):
    opened.locator("#model").select_option("names")
    opened.locator("#label").select_option("new")
    opened.locator("#text").fill("abc")
    opened.reload()
    expect(opened.locator("#go")).to_be_enabled()
    assert opened.locator("#model").input_value() == "names"
    assert opened.locator("#label").input_value() == "new"


def test_new_window_begins_with_the_last_text(opened, url):
    write(opened, "abc", seed=6, length=20)
    opened.wait_for_timeout(400)
    other = visit(opened.context.new_page(), url)
    assert text_of(other) == text_of(opened)


def test_text_is_kept_while_the_models_load(page, url, models):
    page.route("**/models", lambda route: None)  # never answered
    page.goto(url)
    page.locator("#text").fill("abcabc")
    expect(page.locator("#go")).to_be_disabled()
    page.unroute_all(behavior="ignoreErrors")
    page.reload()
    expect(page.locator("#go")).to_be_enabled()
    assert text_of(page) == "abcabc"


def test_models_are_asked_for_until_they_come(page, url):
    page.route("**/models", lambda route: route.abort(), times=1)
    page.goto(url)
    expect(page.locator("#status")).to_contain_text("The server does not answer.")
    expect(page.locator("#go")).to_be_enabled()
    expect(page.locator("#status")).to_have_text("")


@pytest.mark.parametrize(
    "work",
    [
        {"nodes": [{"parent": 5, "kind": "you", "text": "a"}], "current": 0},
        {"nodes": [{"parent": None, "kind": "you", "text": 3}], "current": 0},
        {"nodes": [], "current": 3},
        {"nodes": 5},
        [],
    ],
)
def test_damaged_storage_is_left_out(page, url, work):
    kept = {"text": "abc", **work} if work else work
    page.goto(f"{url}/static/icon.svg")
    page.evaluate("(work) => localStorage.setItem('textgen', work)", json.dumps(kept))
    visit(page, url)
    expect(page.locator("#text")).to_have_value("")
    expect(page.locator("#status")).to_contain_text("damaged")


# ---- Links


def link_of(page):
    page.locator("#link").click()
    expect(page.locator("#status")).to_contain_text("The link is copied")
    return page.url


def test_link_restores_text_and_settings(opened, url, new_page):
    opened.context.grant_permissions(["clipboard-read", "clipboard-write"])
    opened.locator("#model").select_option("names")
    opened.locator("#label").select_option("new")
    configure(opened, top_p=0.9)
    write(opened, "bad “é” 字\n", seed=9, length=30, temperature=1.3)
    address = link_of(opened)
    assert opened.evaluate("navigator.clipboard.readText()") == address
    other = visit(new_page(), address)
    assert text_of(other) == text_of(opened)
    assert marks(other) == marks(opened)
    for name in ("model", "temperature", "top_p", "length", "seed", "label"):
        values = [each.locator(f"#{name}").input_value() for each in (other, opened)]
        assert values[0] == values[1]
    # Reloaded, it is the same again, once in the tree.
    other.reload()
    expect(other.locator("#go")).to_be_enabled()
    assert text_of(other) == text_of(opened)
    assert other.locator("#label").input_value() == "new"
    assert len(tree(other)) == 1


def test_link_loses_no_text_of_its_reader(opened, url, new_page):
    write(opened, "abc", seed=9, length=30)
    address = link_of(opened)
    other = visit(new_page(), url)
    other.locator("#text").fill("my own")
    other.goto(address)
    expect(other.locator("#text")).to_have_value(text_of(opened))
    assert tree(other)[0][1] == "my own"


def test_link_goes_when_the_text_changes(opened):
    write(opened, "abc", seed=9, length=30)
    link_of(opened)
    assert urlsplit(opened.url).fragment
    opened.locator("#text").press("a")
    assert not urlsplit(opened.url).fragment


def test_link_without_compression(opened, new_page):
    """Of a browser that cannot compress; and values that no control has."""
    opened.locator("#text").fill("abc ü")
    state = {"text": "dea", "settings": {"temperature": "hot", "length": 1e9}}
    fragment = opened.evaluate(
        """async (state) => {
          const { encode } = await import("/static/link.js");
          delete window.CompressionStream;
          return await encode(state);
        }""",
        {**state, "ranges": [[0, 99]], "model": "none"},
    )
    assert fragment.startswith("#0")
    opened.goto(opened.url + fragment)
    expect(opened.locator("#status")).to_contain_text("no model none")
    assert text_of(opened) == "dea"
    assert marks(opened) == [("person", "dea")]
    assert opened.locator("#temperature").input_value() == "0.7"
    assert opened.locator("#length").input_value() == "1000"


@pytest.mark.parametrize("fragment", ["#1AAAA", "#0e30", "#9abc", "#0%%%", "#x"])
def test_damaged_link(page, url, fragment):
    visit(page, url).locator("#text").fill("abc")
    page.wait_for_timeout(400)
    page.goto(url + "/" + fragment)
    page.reload()
    expect(page.locator("#go")).to_be_enabled()
    assert text_of(page) == "abc"
    if fragment != "#x":
        expect(page.locator("#status")).to_contain_text("damaged")


# ---- Seeds, copying, saving


def test_seed_is_shown_and_can_be_kept(opened, models):
    write(opened, "abc", length=30)
    [seed] = re.findall(r"\d+", opened.locator("#used span").inner_text())
    expected = models["letters"].generate("abc", 30, 0.7, seed=int(seed))
    assert text_of(opened) == expected
    opened.locator("#keep").click()
    assert opened.locator("#seed").input_value() == seed
    write(opened, "abc", length=30)
    assert text_of(opened) == expected


def test_texts_differ_without_a_seed(opened):
    write(opened, "abc", length=40)
    first = text_of(opened)
    opened.locator("#another").click()
    is_idle(opened)
    assert text_of(opened) != first


def test_copy_and_save(opened):
    opened.context.grant_permissions(["clipboard-read", "clipboard-write"])
    opened.locator("#text").fill("fad é字\nbe a")
    opened.locator("#copy").click()
    expect(opened.locator("#status")).to_have_text("The text is copied.")
    assert opened.evaluate("navigator.clipboard.readText()") == "fad é字\nbe a"
    with opened.expect_download() as download:
        opened.locator("#save").click()
    assert download.value.suggested_filename == "fad-é字-be-a.txt"
    assert download.value.path().read_text(encoding="utf-8") == "fad é字\nbe a"


def test_copy_without_https(opened):
    """Browsers have no clipboard there but the old command."""
    opened.add_init_script(
        "Object.defineProperty(navigator, 'clipboard', { value: undefined })"
    )
    opened.reload()
    opened.locator("#text").fill("fad é字\nbe a")
    opened.locator("#copy").click()
    expect(opened.locator("#status")).to_have_text("The text is copied.")
    opened.locator("#text").fill("")
    opened.locator("#text").press("Control+v")
    assert text_of(opened) == "fad é字\nbe a"


# ---- Models of lines, labels


def test_model_of_lines_writes_one_after_another(opened, models):
    opened.locator("#model").select_option("names")
    opened.locator("#label").select_option("old")
    configure(opened, seed=1, length=100)
    expected = []
    for prompt in ("fa", "", ""):
        if prompt:
            opened.locator("#text").fill(prompt)
        opened.locator("#go").click()
        is_idle(opened)
        expected.append(models["names"].generate(prompt, 100, 0.7, seed=1, label="old"))
        assert text_of(opened) == "\n".join(expected)
    shade(opened)
    labels = opened.locator("#tokens > *").evaluate_all(
        "all => all.map((each) => each.ariaLabel)"
    )
    ids = models["names"].label_ids("old")
    line = expected[1] + "\n"
    logits = models["names"].predict_on_batch(
        np.array([[-1, *ids, *models["names"].vocabulary.encode(line)]])
    )[0]
    values = np.exp(logits - logits.max(-1, keepdims=True))
    values /= values.sum(-1, keepdims=True)
    start = len(expected[0]) + 1
    for at, each in enumerate(line):
        value = values[1 + at, VOCABULARY.ids[each]]
        name = NAMES.get(each, each)
        assert labels[start + at] == f"{name}, {shown_percent(value)}"


# ---- Errors


def test_busy_server_is_asked_again(opened):
    answers = iter([503, 503])

    def answer(route):
        status = next(answers, None)
        if status is None:
            route.continue_()
        else:
            body = json.dumps({"error": "busy"})
            route.fulfill(status=status, headers={"Retry-After": "0.2"}, body=body)

    opened.route("**/generate", answer)
    opened.locator("#text").fill("abc")
    opened.locator("#go").click()
    expect(opened.locator("#status")).to_contain_text(
        "The server is busy. Trying again"
    )
    is_idle(opened)
    assert len(text_of(opened)) == 203


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"status": 422, "body": '{"error": "Too long."}'}, "Too long."),
        ({"status": 500, "body": "<html>"}, "The server answered 500."),
        (None, "The server does not answer."),
        (
            {"body": 'event: text\ndata: {"text": "ff"}\n\n', "status": 200},
            "The text broke off",
        ),
        (
            {"body": 'event: error\ndata: {"message": "No."}\n\n', "status": 200},
            "No.",
        ),
    ],
)
def test_errors_leave_the_text(opened, answer, message):
    opened.route(
        "**/generate",
        lambda route: route.fulfill(**answer) if answer else route.abort(),
    )
    opened.locator("#text").fill("abc")
    opened.locator("#go").click()
    is_idle(opened)
    expect(opened.locator("#status")).to_contain_text(message)
    assert text_of(opened).startswith("abc")
    expect(opened.locator("#go")).to_have_text("Continue")


def test_error_of_the_server_is_shown(opened):
    """The real one: a text without a token that the model can measure."""
    opened.locator("#text").fill("!?")
    shade(opened)
    expect(opened.locator("#status")).to_contain_text("nothing to score")


# ---- Dark and light, a phone, the keyboard, screen readers


def luminance(color):
    """Relative luminance, as WCAG 2.2 defines it."""
    values = np.array([int(each) for each in re.findall(r"\d+", color)[:3]]) / 255
    linear = np.where(
        values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4
    )
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colors_follow_the_system_and_are_readable(opened, scheme):
    opened.emulate_media(color_scheme=scheme)
    opened.locator("#text").fill("abc")
    shade(opened)
    body = opened.evaluate(
        "[getComputedStyle(document.body).backgroundColor,"
        " getComputedStyle(document.body).color]"
    )
    paper, ink = map(luminance, body)
    assert (paper > 0.8) if scheme == "light" else (paper < 0.02)
    levels = opened.locator("#scale .swatch").evaluate_all(
        "all => all.map((each) => getComputedStyle(each).backgroundColor)"
    )
    shades = [luminance(each) for each in levels[1:]]
    assert levels[0] == "rgba(0, 0, 0, 0)"
    # In one direction, so that they are told apart without colours.
    steps = np.diff([paper, *shades])
    assert (steps < 0).all() if scheme == "light" else (steps > 0).all()
    for each in [paper, *shades]:
        assert (max(each, ink) + 0.05) / (min(each, ink) + 0.05) >= 4.5


def test_phone(new_page, url, models):
    page = visit(new_page(**PHONE), url)
    expect(page.locator("#seed")).to_be_hidden()
    page.locator("#text").fill("abc")
    page.locator("#settings summary").tap()
    configure(page, seed=7, length=60)
    page.locator("#go").tap()
    is_idle(page)
    assert text_of(page) == models["letters"].generate("abc", 60, 0.7, seed=7)
    page.locator("#shade").tap()
    is_idle(page)
    page.locator("#tried summary").tap()
    token(page, 8).tap()
    expect(page.locator("#popover")).to_be_visible()
    targets = page.locator("button, select, summary, input").evaluate_all(
        "all => all.map((each) => [each.outerHTML, each.offsetHeight])"
        ".filter(([html, height]) => 0 < height && height < 44)"
    )
    assert targets == []
    box = page.locator("#popover").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.set_viewport_size({"width": 320, "height": 600})
    expect(page.locator("#popover")).to_be_hidden()
    assert page.evaluate("document.documentElement.scrollWidth") == 320
    page.set_viewport_size(PHONE["viewport"])
    token(page, 8).tap()
    page.locator("#popover button").nth(1).tap()
    is_idle(page)
    assert [author for author, *_ in tree(page)] == ["you", "model", "choice", "model"]


def tab_to(page, selector):
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("(s) => document.activeElement.matches(s)", selector):
            return
    raise AssertionError(f"Tab does not reach {selector}")


def test_keyboard_alone(opened, models):
    press, generate = opened.keyboard.press, models["letters"].generate
    tab_to(opened, "#length")
    press("Home")  # ten characters
    tab_to(opened, "#seed")
    opened.keyboard.type("3")
    tab_to(opened, "#text")
    opened.keyboard.type("abc")
    press("Control+Enter")
    is_idle(opened)
    first = text_of(opened)
    assert first == generate("abc", 10, 0.7, seed=3)
    press("Control+Shift+Enter")
    is_idle(opened)
    second = text_of(opened)
    assert second == generate("abc", 10, 0.7, seed=4)
    press("Alt+p")
    is_idle(opened)
    press("Home")
    for _ in range(5):
        press("ArrowRight")
    expect(token(opened, 5)).to_be_focused()
    press("2")
    is_idle(opened)
    [_, (symbol, _)] = models["letters"].next_symbols(second[:5], 2)
    press("Alt+p")
    expect(opened.locator("#text")).to_be_focused()
    assert text_of(opened) == generate(second[:5] + symbol, 10, 0.7, seed=4)
    tab_to(opened, "#tree [data-node='1']")
    press("Enter")
    assert text_of(opened) == first
    expect(opened.locator("#tree [data-node='1']")).to_be_focused()
    tab_to(opened, "#link")
    press("Enter")
    expect(opened.locator("#status")).to_contain_text("link")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("device", [{}, PHONE])
def test_nothing_serious_for_axe(new_page, url, serious_problems, scheme, device):
    page = visit(new_page(color_scheme=scheme, **device), url)
    assert serious_problems(page) == []
    if device:
        page.locator("#settings summary").tap()
        page.locator("#tried summary").tap()
    write(page, "abc XYZ", length=60)
    page.locator("#another").click()
    is_idle(page)
    assert serious_problems(page) == []
    shade(page)
    token(page, 8).focus()
    expect(page.locator("#popover")).to_be_visible()
    assert serious_problems(page) == []


def test_screen_readers_hear_whole_pieces(opened, slow, models):
    region = opened.locator("#announcer")
    assert region.get_attribute("aria-live") == "polite"
    assert opened.locator("#status").get_attribute("role") == "status"
    opened.evaluate(
        """() => { window.heard = [];
          new MutationObserver((changes) => changes.forEach((change) =>
            change.addedNodes.forEach((node) => heard.push(node.textContent))
          )).observe(document.querySelector("#announcer"), { childList: true }); }"""
    )
    begin_slowly(opened, "abc", seed=5, length=100, temperature=1.5)
    for _ in range(10):
        slow.allow(10)
        opened.wait_for_timeout(200)
    is_idle(opened)
    expected = models["letters"].generate("abc", 100, 1.5, seed=5)[3:]
    assert "\n" in expected
    heard = opened.evaluate("heard")
    assert "".join("".join(heard).split()) == "".join(expected.split())
    assert len(heard) > 1
    at = 0
    for piece in heard[:-1]:
        at = expected.index(piece, at) + len(piece)
        assert "\n" in re.match(r"\s*", expected[at:])[0]


# ---- Size and privacy


def test_long_texts(opened, models):
    text = "abcdef fed bad\n" * 6667
    opened.evaluate(
        """(text) => { const area = document.querySelector("#text");
          area.value = text; area.dispatchEvent(new Event("input")); }""",
        text,
    )
    opened.locator("#text").press("Control+End")
    opened.keyboard.type("fed")
    text += "fed"
    opened.keyboard.press("Control+Enter")
    is_idle(opened)
    assert len(text_of(opened)) == len(text) + 200
    shade(opened)
    assert opened.locator("#tokens > *").count() == 4000
    expect(opened.locator("#shaded-note")).to_have_text(
        "Only the last 4,000 characters are shown here."
    )
    written = text_of(opened)
    own = np.exp(of_text(models["letters"], written[-5000:]))[-4000]
    expect(token(opened, 0)).to_have_attribute(
        "aria-label",
        f"{NAMES.get(written[-4000], written[-4000])}, {shown_percent(own)}",
    )
    token(opened, 3990).focus()
    opened.keyboard.press("1")
    is_idle(opened)
    opened.locator("#shade").click()
    assert text_of(opened)[:-201] == written[:-10]
    address = link_of(opened)
    assert len(address) < 10_000


def test_no_request_leaves_the_machine(page, url):
    requests = []
    page.context.on("request", lambda request: requests.append(request.url))
    visit(page, url)
    write(page, "abc", seed=1, length=30)
    shade(page)
    token(page, 5).focus()
    page.keyboard.press("1")
    is_idle(page)
    link = link_of(page)
    page.goto(link)
    page.reload()
    expect(page.locator("#go")).to_be_enabled()
    own = urlsplit(url).netloc
    assert len(requests) > 20
    assert {urlsplit(each).netloc for each in requests} == {own}
    paths = {urlsplit(each).path.split("/")[1] for each in requests}
    assert paths == {"", "static", "models", "generate", "score"}


def test_all_of_the_page_is_its_own(page, url):
    """No script or style inside the page, and no address of another place."""
    html = page.request.get(url).text()
    assert not re.search(r"<style|style=|<script(?![^>]*src=)|\son\w+=", html)
    for address in re.findall(r'(?:src|href)="([^"]+)"', html):
        answer = page.request.get(f"{url}/{address}")
        assert answer.ok
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", answer.text())
