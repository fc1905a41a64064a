import itertools

import numpy as np
import pytest

from textgen.decoding.stops import ClusterFilter, StopFilter


def filtered(pieces, stops):
    """Feeds the pieces; returns the text shown, and whether it stopped."""
    gate, shown = StopFilter(stops), ""
    for piece in pieces:
        shown += gate.feed(piece)
        if gate.stopped:
            assert gate.flush() == ""
            return shown, True
    return shown + gate.flush(), False


def cut(text, stops):
    """What `filtered` should return: the text before the first stop string."""
    found = [at for stop in stops if (at := text.find(stop)) >= 0]
    return text[: min(found, default=len(text))], bool(found)


def cuttings(text):
    """All 2^(n - 1) ways of cutting a text into pieces."""
    for bits in range(1 << (len(text) - 1)):
        pieces, start = [], 0
        for at in range(1, len(text)):
            if bits >> (at - 1) & 1:
                pieces.append(text[start:at])
                start = at
        yield [*pieces, text[start:]]


@pytest.mark.parametrize(
    ("text", "stops"),
    [
        ("abcabdab", ["abd"]),
        ("aaaabaaa", ["aab"]),
        ("abababc", ["ababc"]),
        ("one\n\ntwo", ["\n\n", "two"]),
        ("xabyabz", ["abz", "by"]),
        ("abcde", ["abcdef", "cdf"]),
        ("abc", ["a"]),
        ("abc", []),
    ],
)
def test_stop_strings_cut_in_every_way(text, stops):
    for pieces in cuttings(text):
        assert filtered(pieces, stops) == cut(text, stops), pieces


def test_stop_strings_at_random():
    generator = np.random.default_rng(0)

    def string(low, high):
        return "".join(generator.choice(["a", "b"], generator.integers(low, high)))

    stopped = 0
    for _ in range(2000):
        text = string(1, 20)
        stops = [string(1, 6) for _ in range(generator.integers(1, 4))]
        # Where one holds another, "first" may mean the start or the end.
        stops = [
            stop
            for stop in stops
            if not any(stop != other and other in stop for other in stops)
        ]
        edges = np.sort(generator.integers(0, len(text) + 1, 3))
        pieces = ["".join(part) for part in np.split(np.array(list(text)), edges)]
        assert "".join(pieces) == text
        assert filtered(pieces, stops) == cut(text, stops), (pieces, stops)
        stopped += cut(text, stops)[1]
    assert 500 < stopped < 1900


@pytest.mark.parametrize(
    ("text", "stops"), [("abcd", ["abcd", "c"]), ("xabcaby", ["bcab", "ca", "aby"])]
)
def test_cutting_does_not_matter_where_a_stop_holds_another(text, stops):
    results = {filtered(pieces, stops) for pieces in cuttings(text)}
    assert len(results) == 1


def test_text_is_shown_as_soon_as_it_can_be():
    gate = StopFilter(["\n--"])
    assert gate.feed("ab") == "ab"
    assert gate.feed("c\n") == "c"
    assert gate.feed("-") == ""
    assert gate.feed("d") == "\n-d"
    assert gate.feed("\n\n-") == "\n"
    assert not gate.stopped
    assert gate.flush() == "\n-"
    assert gate.flush() == ""


def test_lines_are_counted_however_the_text_is_cut():
    text = "a\nb\n \n\nc\nd\n"
    for sizes in itertools.product((1, 2, 3), repeat=3):
        gate, shown, at = StopFilter(["\n\nX"], 3), "", 0
        for size in itertools.cycle(sizes):
            shown += gate.feed(text[at : at + size])
            at += size
            if gate.stopped or at > 20:
                break
        assert (shown, gate.stopped) == ("a\nb\n \n\nc", True)


@pytest.mark.parametrize(("blank", "shown"), [(True, "\n\na"), (False, "")])
def test_line_that_the_text_continues_counts_if_it_is_not_blank(blank, shown):
    assert StopFilter([], 1, blank).feed("\n\na\nb") == shown


# === User-perceived characters ===

CLUSTERS = [
    "a",
    "e\u0301",
    "\r\n",
    "\n",
    "\u0915\u093f",  # Devanagari, with a vowel sign
    "\U0001f469\u200d\U0001f4bb",  # a woman at a computer
    "\U0001f44d\U0001f3fd",
    "\U0001f1eb\U0001f1f7",  # two flags, of two halves each
    "\U0001f1e9\U0001f1ea",
    "\u1112\u1161\u11ab",
    "각\u11a8",
    "한",
    "x\u0300\u0301",
]


def test_user_perceived_characters_stay_whole():
    text = "".join(CLUSTERS)
    starts = set(np.cumsum([0, *map(len, CLUSTERS)]).tolist())
    for size in range(1, 8):
        gate, at = ClusterFilter(), 0
        for start in range(0, len(text), size):
            at += len(gate.feed(text[start : start + size]))
            assert at in starts
        assert text[at:] == gate.flush()
