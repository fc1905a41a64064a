"""Bytes as tokens, and UTF-8 in pieces."""

import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from textgen import ByteTokenizer, Vocabulary
from textgen.text.tokenizer import Tokenizer
from textgen.text.utf8 import symbol_of, text_of, token_of

# The same examples each time, without a limit of their time.
SAME = settings(derandomize=True, database=None, deadline=None)

BYTES = ByteTokenizer()

# Any str, lone surrogates included.
ANY_TEXT = st.text(st.characters(codec=None))
# Bytes that are often parts of characters.
PARTS = [b"\xc3", b"\xa9", b"\xe5\xba", b"\xf0\x9f\xa6", b"\xed\xa0", b"\xf4\x90", b"a"]
ANY_BYTES = st.lists(st.sampled_from(PARTS) | st.binary()).map(b"".join)


def in_pieces(decoder, ids, cuts):
    """Decodes ids that were cut at some positions."""
    ends = sorted({min(cut, len(ids)) for cut in cuts})
    pieces = [decoder.feed(each) for each in np.split(ids, ends)]
    return "".join([*pieces, decoder.flush()])


@SAME
@given(ANY_TEXT)
@example("né床🦕\n\x00")
@example("\ud83d\ude00 \udcff")
def test_every_text_is_restored(text):
    ids = BYTES.encode(text)
    assert ids.astype(np.uint8).tobytes() == text.encode("utf-8", "surrogatepass")
    assert BYTES.decode(ids) == text


@SAME
@given(ANY_TEXT, st.lists(st.integers(0, 20)))
def test_a_text_is_encoded_in_pieces(text, cuts):
    encoder = BYTES.encoder()
    ends = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [encoder.feed(text[a:b]) for a, b in itertools.pairwise(ends)]
    ids = np.concatenate([*pieces, encoder.flush()])
    assert ids.dtype == BYTES.dtype == np.int16
    assert ids.tolist() == BYTES.encode(text).tolist()


@SAME
@given(ANY_BYTES, st.lists(st.integers(0, 20)))
@example(b"\xed\xa0\x80\xed\xa0a\xed\xa0", [1, 2, 4, 5])
def test_any_bytes_are_decoded_in_pieces(data, cuts):
    ids = np.frombuffer(data, np.uint8).astype(int)
    found = in_pieces(BYTES.decoder(), ids, cuts)
    assert found == BYTES.decode(ids)
    # Python's own decoder; it does not accept surrogates, which are three wrong bytes.
    expected = data.decode("utf-8", "replace")
    kept = "".join("\ufffd" * 3 if "\ud800" <= x <= "\udfff" else x for x in found)
    assert kept == expected


def test_half_a_character_is_never_shown():
    decoder = BYTES.decoder()
    ids = BYTES.encode("aé床🦕")
    pieces = [decoder.feed(ids[at : at + 1]) for at in range(len(ids))]
    expected = [*"a", *("", "é"), *("", "", "床"), *("", "", "", "🦕")]
    assert pieces == expected
    assert BYTES.text_lengths(ids).tolist() == list(map(len, expected))
    assert decoder.feed(np.array([0xF0, -1, 0x9F])) == ""
    assert decoder.flush() == "\ufffd"
    assert decoder.flush() == ""


@SAME
@given(ANY_BYTES, st.sets(st.integers(0, 20)))
@example(b"\xed\xa0\x80\xed\xa0a\xf0\x9f\xa6\xf0\xe0\x80\xc1", set())
def test_lengths_are_those_of_the_decoder(data, gaps):
    values = list(data)
    for gap in sorted(gaps, reverse=True):
        if gap <= len(values):
            values.insert(gap, -1)
    ids = np.array(values, np.int16)
    # The definition: one id after the other.
    expected = Tokenizer.text_lengths(BYTES, ids)
    found = BYTES.text_lengths(ids)
    assert found.dtype == np.int64
    assert found.tolist() == expected.tolist()


def test_symbols():
    assert len(BYTES) == 256
    assert BYTES.symbols[ord("a")] == "a"
    assert BYTES.symbols[0x80] == "<0x80>"
    assert len(set(BYTES.symbols)) == 256
    assert [BYTES.ids[symbol] for symbol in BYTES.symbols] == list(range(256))
    assert "é" not in BYTES


@SAME
@given(st.binary(max_size=12))
@example(b"<0xE9>")
@example(b"<0x<0xE9>\xe9>")
@example("é<0x3C>".encode())
def test_names_of_tokens(token):
    symbol = symbol_of(token)
    assert token_of(symbol) == token
    try:
        assert text_of(symbol) == token.decode()
    except UnicodeDecodeError:
        assert text_of(symbol) is None


def test_names_are_readable():
    assert symbol_of(" né床".encode()) == " né床"
    assert symbol_of(b"n\xc3") == "n<0xC3>"
    assert text_of("\ud800") == "\ud800"  # a symbol of a vocabulary
    for wrong in ("<0x41>", "<0xC3><0xA9>", "\ud800"):
        with pytest.raises(ValueError, match="is not the name of a token"):
            token_of(wrong)


def test_what_forbidden_symbols_are():
    assert BYTES.ids_with("ab") == [97, 98]
    assert BYTES.ids_with(["<0xC3>"]) == [0xC3]
    assert BYTES.ids_with([]) == []
    for symbol in ("é", "ab"):
        with pytest.raises(ValueError, match=f"'{symbol}' is not a single byte"):
            BYTES.ids_with([symbol])


def test_configuration():
    assert ByteTokenizer.from_config(BYTES.get_config()) == BYTES
    assert ByteTokenizer.from_json(BYTES.to_json()) == BYTES
    assert Vocabulary("ab") != BYTES
    for wrong in ({}, {"level": "byte", "size": 1}, [], {"level": "word"}):
        with pytest.raises(ValueError, match="is not a byte tokenizer"):
            ByteTokenizer.from_config(wrong)


PROMPTS = [  # the form of the text of a training, a prompt, and the same in this form
    ({"lowercase": True}, "Shall I, ΣΑΣ?", "shall i, σας?"),
    ({"lowercase": True}, "E\u0301\ud800", "e\u0301\ud800"),
    ({"normalization": "nfc"}, "Cafe\u0301 Ａ", "Café Ａ"),
    ({"normalization": "nfkc"}, "Cafe\u0301 ＡＢ ﬁ", "Café AB fi"),
    ({"lowercase": True, "normalization": "nfkc"}, "CAFE\u0301 ＡＢ ﬁ", "café ab fi"),
    ({"lowercase": True, "normalization": "nfc"}, "", ""),
]


@pytest.mark.parametrize(("form", "prompt", "expected"), PROMPTS)
def test_prompts_have_the_form_of_the_training_text(form, prompt, expected):
    tokenizer = ByteTokenizer(**form)
    ids = tokenizer.encode(prompt, match_case=False)
    assert ids.astype(np.uint8).tobytes() == expected.encode("utf-8", "surrogatepass")
    # Other texts are encoded as they are.
    assert tokenizer.decode(tokenizer.encode(prompt)) == prompt
    encoder = tokenizer.encoder()
    assert tokenizer.decode([*encoder.feed(prompt), *encoder.flush()]) == prompt
    assert BYTES.decode(BYTES.encode(prompt, match_case=False)) == prompt


def test_form_in_the_configuration():
    assert BYTES.get_config() == {"level": "byte"}
    assert repr(BYTES) == "ByteTokenizer()"
    for form in ({"lowercase": True}, {"lowercase": True, "normalization": "nfkc"}):
        tokenizer = ByteTokenizer(**form)
        assert tokenizer.get_config() == {"level": "byte", **form}
        copy = ByteTokenizer.from_json(tokenizer.to_json())
        assert copy == tokenizer != BYTES
        assert copy.lowercase is True
        assert copy.normalization == form.get("normalization")
    assert repr(copy) == "ByteTokenizer(lowercase=True, normalization='nfkc')"


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"lowercase": 1}, "lowercase=1 must be True or False"),
        ({"lowercase": None}, "lowercase=None must be True or False"),
        ({"normalization": "nfd"}, "normalization='nfd' must be nfc or nfkc"),
        ({"normalization": ["nfc"]}, r"normalization=\['nfc'\] must be nfc or nfkc"),
        ({"normalization": "n" * 10_000}, "normalization='nnn"),
    ],
)
def test_wrong_forms(form, message):
    for build in (
        lambda: ByteTokenizer(**form),
        lambda: ByteTokenizer.from_config({"level": "byte", **form}),
    ):
        with pytest.raises(ValueError, match=message) as raised:
            build()
        assert len(str(raised.value)) < 250


def test_nothing_is_unknown():
    assert BYTES.encode("é", "skip", match_case=False).tolist() == [0xC3, 0xA9]
    assert BYTES.encode("é", "a").tolist() == [0xC3, 0xA9]
    for encode in (BYTES.encode, lambda _, unknown: BYTES.encoder(unknown)):
        with pytest.raises(ValueError, match="unknown='é' must be 'error', 'skip' or"):
            encode("x", "é")
