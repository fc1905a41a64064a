"""Lower case and Unicode normalization, wherever the text was cut."""

import itertools
import random
import unicodedata

import pytest

from textgen.text.normalization import normalized

TEXTS = [
    "ὈΔΥΣΣΕΎΣ ΚΑῚ ΣΊΣΥΦΟΣ, ΣΑΣ'Σ\nΣ",  # a sigma at the end of a word is another letter
    "e\u0301a\u0323\u0307 \u0301a \u0344\u0345\n\u0301",
    "ﬁn １２ ａＢ　㎏ ℡ Ⅳ ½ \u00a8 İI",
    "\u1100\u1161\u11a8 각 \u115f",
    "",
    " ",
    "Straße ǅ ẞ",
]
DEFINITIONS = {
    (False, None): lambda text: text,
    (True, None): str.lower,
    (False, "nfc"): lambda text: unicodedata.normalize("NFC", text),
    (False, "nfkc"): lambda text: unicodedata.normalize("NFKC", text),
    (True, "nfkc"): lambda text: unicodedata.normalize(
        "NFKC", unicodedata.normalize("NFKC", text).lower()
    ),
}


@pytest.mark.parametrize("options", DEFINITIONS, ids=str)
@pytest.mark.parametrize("text", TEXTS)
def test_text_in_pieces(text, options):
    source = random.Random(0)
    expected = DEFINITIONS[options](text)
    for _ in range(50):
        cuts = [0, *sorted(source.choices(range(len(text) + 1), k=4)), len(text)]
        pieces = [text[a:b] for a, b in itertools.pairwise(cuts)]
        assert "".join(normalized(pieces, *options)) == expected


def test_text_is_not_held_back_beyond_a_line():
    given = []

    def lines():
        for number in range(100):
            given.append(number)
            yield f"LINE {number}\n"

    for number, piece in enumerate(normalized(lines(), lowercase=True)):
        assert len(given) <= number + 2
        assert piece == piece.lower()


def test_unknown_form():
    with pytest.raises(ValueError, match="normalization='nfd' must be nfc or nfkc"):
        list(normalized(["a"], form="nfd"))
