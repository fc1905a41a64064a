"""Texts of others in messages and at a terminal."""

import sys

import pytest

from textgen.messages import printable, without_controls

EVERYTHING = "".join(map(chr, range(sys.maxunicode + 1)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain é 床", "plain é 床"),
        (" a \n\n b\tc\r\n\u2028d ", "a b c d"),
        ("\x1b[2J\x9b\x07\x7f", r"\x1b[2J\x9b\x07\x7f"),
        ("\u202e\ud800\U000e0001", r"\u202e\ud800\U000e0001"),
        (ValueError("a\nb"), "a b"),
        (None, "None"),
    ],
)
def test_printable(text, expected):
    assert printable(text) == expected


def test_printable_has_one_line_of_limited_length():
    for limit in (1, 50, 300):
        for text in (EVERYTHING, "\x1b" * 10_000, "x" * 10_000, "x y " * 10_000):
            shown = printable(text, limit)
            assert shown.isprintable()
            assert len(shown) <= limit
    assert printable("x" * 300) == "x" * 300
    assert printable("x" * 301) == "x" * 299 + "…"
    assert printable("\x1b" * 75) == r"\x1b" * 75
    assert printable("\x1b" * 76).endswith("…")


def test_without_controls_changes_control_characters_only():
    controls = {*map(chr, [*range(32), *range(127, 160)])} - {"\n", "\t"}
    for character in EVERYTHING:
        shown = without_controls(character)
        if character in controls:
            assert shown == f"\\x{ord(character):02x}".replace("\\x0d", "\\r")
        else:
            assert shown == character
    assert without_controls("a\x1b[1mb\r\n") == r"a\x1b[1mb\r" + "\n"
