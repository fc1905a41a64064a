"""Readable features, compared with lists that were written by hand."""

import numpy as np
import pytest

from textgen.analysis.features import FEATURES, MEANINGS, readable_features

EXPECTED = [
    ("quotes", 'a "bc" d', "00111000"),
    ("quotes", '"a\nb\n\nc"', "11111001"),
    ("quotes", "“a” «b» 「c」", "11001100110"),
    ("quotes", 'say “a "b" c” d', "000011111111000"),
    ("brackets", "a(b[c]d)e", "011221100"),
    ("brackets", ":) (a] b) c", "00011111000"),
    ("line position", "ab\n\ncde", "1200123"),
    ("indentation", "  a b\n\tc\nd", "1222201100"),
    ("line number", "a\nb\n\n\nc\n", "11220011"),
    ("word position", "ab don't 'tis", "1201233400123"),
    ("word start", "ab don't 'tis", "1001000000100"),
    ("word start", "dogs' 2b", "10000010"),
    ("vowel", "AbÉcюæy", "1010110"),
    ("capital", "aB É1", "01010"),
    ("space", "a b\n\tc", "010110"),
    ("punctuation", "a, b! -+", "01001010"),
    ("digit", "a1٣ ²", "01100"),
    ("name", "ROMEO:\nO: me", "111110010000"),
    ("name", "First Citizen:\nWe", "1" * 13 + "0000"),
    ("name", "if so: no\nNote 2: x", "0" * 19),
    ("name", "KING.\nWe\nI", "1111100000"),
    ("name", "Mrs. O'Neil-Li: a", "1" * 14 + "000"),
    ("name", "A" * 41 + ":", "0" * 42),
    ("comment", "a # b\nc // d", "001110001111"),
    ("comment", "a /* b */ c", "00111111000"),
    ("comment", "http://a /*/ */b", "0000000001111100"),
]


@pytest.mark.parametrize(("name", "text", "expected"), EXPECTED)
def test_features(name, text, expected):
    found = readable_features(text)[name]
    assert found.dtype == np.float32
    assert "".join(str(int(each)) for each in found) == expected


def test_every_feature_is_there():
    found = readable_features("Ab\n")
    assert list(found) == list(FEATURES) == list(MEANINGS)
    assert {each.shape for each in found.values()} == {(3,)}
    assert {name for name, *_ in EXPECTED} == set(FEATURES)
    documented = readable_features.__doc__
    places = [documented.index(f"- `{name}`:") for name in FEATURES]
    assert places == sorted(places)


def test_of_nothing():
    assert {each.shape for each in readable_features("").values()} == {(0,)}
