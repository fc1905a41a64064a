import pytest

from textgen.messages import printable


@pytest.mark.parametrize(
    "text, expected",
    [
        ("plain text", "plain text"),
        ("two\nlines \t and  spaces\n", "two lines and spaces"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("right-to-left \u202e, lone \ud800", "right-to-left \\u202e, lone \\ud800"),
        ("d\u00e9j\u00e0 vu, \u674e\u767d", "d\u00e9j\u00e0 vu, \u674e\u767d"),
        (ValueError("units=0"), "units=0"),
    ],
)
def test_text_is_one_printable_line(text, expected):
    assert printable(text) == expected


def test_long_text_is_shortened():
    assert printable("a" * 10**6) == "a" * 299 + "\u2026"
    assert printable("a" * 300) == "a" * 300
    assert len(printable("\x00" * 10**6, limit=50)) == 50
