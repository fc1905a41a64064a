"""Subwords, compared with the definitions of byte-pair encoding and unigram models."""

import collections
import itertools
import sys

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from textgen import SubwordTokenizer, load_corpus
from textgen.text.pretokens import MAX_BYTES, words_of
from textgen.text.tokenizer import Tokenizer

TEXT = (
    "It is a truth universally acknowledged, that a single man in possession of a "
    "good fortune, must be in want of a wife.\n\tHowever little known the feelings or "
    "views of such a man may be on his first entering a neighbourhood, this truth is "
    "so well fixed in the minds of the surrounding families, that he is considered "
    "the rightful property of some one or other of their daughters.\n"
    "床前明月光，疑是地上霜。举头望明月，低头思故乡。\nПервые дни, первые дни.\n"
)
TOKENIZERS = {
    model: SubwordTokenizer.train(3 * TEXT, 320, model) for model in ("bpe", "unigram")
}
EACH = pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)

# The same examples each time, without a limit of their time.
SAME = settings(derandomize=True, database=None, deadline=None)

# Texts that are close to the one that was learned, and others.
CHARACTERS = st.sampled_from(TEXT + " \n'\t0") | st.characters(codec="utf-8")
TEXTS = st.lists(st.sampled_from(TEXT.split(" ")) | CHARACTERS, max_size=30).map(
    "".join
)


def token_bytes(tokenizer):
    """The bytes of each token: what its symbol says."""
    return [
        bytes([index])
        if index < 256
        else b"".join(
            bytes.fromhex(part[3:5]) if part.startswith("<0x") else part.encode()
            for part in symbol.replace("<0x", "\0<0x").replace(">", ">\0").split("\0")
        )
        for index, symbol in enumerate(tokenizer.symbols)
    ]


@EACH
@SAME
@given(text=TEXTS)
@example(text="")
@example(text="a  b\n\n  c 12345\r\n")
def test_every_text_is_restored(tokenizer, text):
    ids = tokenizer.encode(text)
    assert ids.dtype == tokenizer.dtype == np.int16
    assert tokenizer.decode(ids) == text
    found = tokenizer.text_lengths(ids)
    assert found.tolist() == Tokenizer.text_lengths(tokenizer, ids).tolist()
    assert found.sum() == len(text)


@EACH
@SAME
@given(text=TEXTS, cuts=st.lists(st.integers(0, 100)))
@example(text="  a", cuts=[1])
@example(text=" " * 40 + "x" * 80 + "(" * 40 + "9" * 8, cuts=[32, 39, 70, 73, 159, 165])
def test_a_text_is_encoded_in_pieces(tokenizer, text, cuts):
    encoder = tokenizer.encoder()
    ends = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [encoder.feed(text[a:b]) for a, b in itertools.pairwise(ends)]
    ids = np.concatenate([*pieces, encoder.flush()])
    assert ids.dtype == tokenizer.dtype
    assert ids.tolist() == tokenizer.encode(text).tolist()


@EACH
@SAME
@given(
    ids=st.lists(st.integers(-1, 319)).map(np.array),
    cuts=st.lists(st.integers(0, 30)),
)
@example(
    ids=np.array([*b"\xed\xa0\x80", 300, *b"\xed\xa0a\xed\xb0"]), cuts=[1, 2, 6, 8]
)
def test_any_ids_are_decoded_in_pieces(tokenizer, ids, cuts):
    ids = ids.astype(int)
    decoder = tokenizer.decoder()
    pieces = np.split(ids, sorted(min(cut, len(ids)) for cut in cuts))
    found = "".join([*map(decoder.feed, pieces), decoder.flush()])
    assert found == tokenizer.decode(ids)
    known = token_bytes(tokenizer)
    data = b"".join(known[index] for index in ids if index >= 0)
    assert found == data.decode("utf-8", "replace")
    assert (
        tokenizer.text_lengths(ids).tolist()
        == Tokenizer.text_lengths(tokenizer, ids).tolist()
    )


# === Words ===


@SAME
@given(TEXTS, TEXTS)
@example("a" * 31 + "b", "b")
@example("x ", "1")
@example("…\u0301", "\u0301a")
def test_all_words_but_the_last_are_certain(text, more):
    words = words_of(text)
    assert "".join(words) == text
    assert all(len(word.encode()) <= MAX_BYTES for word in words)
    assert all("\n" not in word or word == "\n" for word in words)
    assert words[:-1] == words_of(text + more)[: max(0, len(words) - 1)]


@pytest.mark.parametrize(
    "words",
    [
        ["I", " don", "'t", " know", ",", ' "', "Why", '?"', "\n", "  ", " Yes"],
        ["x", " 123", "456", "7", " =", " -", "1", "e5"],
        ["हिन्दी", " किताब", " naïve", " foo_bar"],
        ["\n", "\n", "   ", "\n", "\treturn", " x", "\r", "\n"],
        ["床" * 32, "床" * 8, "，床前"],
        ["=" * 32, "=", " " * 32, " " * 3, " a"],
    ],
    ids=lambda words: words[0],
)
def test_words(words):
    assert words_of("".join(words)) == words


def test_a_text_without_spaces_is_not_held_back():
    tokenizer = TOKENIZERS["bpe"]
    encoder = tokenizer.encoder()
    ids = encoder.feed("床" * 1000)
    assert tokenizer.decode(ids) == "床" * (1000 - 1000 % 32)


# === Definitions ===


def merged(word, merges):
    """Byte-pair encoding of a word: the first merge of the list that applies, again
    and again, at its first place."""
    parts = [bytes([byte]) for byte in word.encode()]
    while True:
        pairs = set(itertools.pairwise(parts))
        found = next((pair for pair in merges if pair in pairs), None)
        if found is None:
            return parts
        at = 0
        while at < len(parts) - 1:
            if (parts[at], parts[at + 1]) == found:
                parts[at : at + 2] = [found[0] + found[1]]
            at += 1


@SAME
@given(TEXTS)
@example("that the families acknowledged 明月明月")
def test_byte_pair_encoding(text):
    tokenizer = TOKENIZERS["bpe"]
    known = token_bytes(tokenizer)
    merges = [(known[left], known[right]) for left, right in tokenizer.merges]
    expected = [part for word in words_of(text) for part in merged(word, merges)]
    assert [known[index] for index in tokenizer.encode(text)] == expected


def test_merges_are_of_the_most_frequent_pairs():
    tokenizer = TOKENIZERS["bpe"]
    known = token_bytes(tokenizer)
    counts = collections.Counter(words_of(3 * TEXT))
    assert len(tokenizer) == 320
    for number in range(len(tokenizer.merges)):
        merges = [(known[a], known[b]) for a, b in tokenizer.merges[: number + 1]]
        pairs = collections.Counter()
        for word, count in counts.items():
            parts = merged(word, merges[:-1])
            for pair in itertools.pairwise(parts):
                pairs[pair] += count
        assert pairs[merges[-1]] == max(pairs.values())


def best(word, scores):
    """The highest score of a word, by dynamic programming."""
    data = word.encode()
    found = [0.0, *[-np.inf] * len(data)]
    for end in range(1, len(data) + 1):
        for start in range(end):
            score = found[start] + scores.get(data[start:end], -np.inf)
            found[end] = max(found[end], score)
    return found[-1]


@SAME
@given(TEXTS)
@example("that the families acknowledged 明月明月")
def test_unigram_takes_the_most_probable_tokens(text):
    tokenizer = TOKENIZERS["unigram"]
    scores = dict(zip(token_bytes(tokenizer), tokenizer.scores, strict=True))
    expected = sum(best(word, scores) for word in words_of(text))
    found = sum(tokenizer.scores[index] for index in tokenizer.encode(text))
    assert found == pytest.approx(expected, abs=1e-6)


def test_scores_are_probabilities():
    tokenizer = TOKENIZERS["unigram"]
    assert len(tokenizer) == 320
    assert np.exp(tokenizer.scores).sum() == pytest.approx(1, abs=1e-4)
    # Most tokens are longer than a byte, and a byte that never occurs is improbable.
    assert max(map(len, token_bytes(tokenizer))) > 4
    assert tokenizer.scores[0xFF] == min(tokenizer.scores)


# === Training ===


@pytest.mark.parametrize("model", TOKENIZERS)
def test_training_is_deterministic(model):
    text = load_corpus("dinosaurs")[:6000]
    first = SubwordTokenizer.train(text, 300, model)
    assert len(first) == 300
    for _ in range(3):
        assert SubwordTokenizer.train([text[:0], text], 300, model) == first


@pytest.mark.parametrize("model", TOKENIZERS)
@pytest.mark.parametrize("text", ["a", "\n", "\x00\x00", "ab ab ab ab", "床"])
def test_short_texts(text, model):
    tokenizer = SubwordTokenizer.train(text, 300, model)
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert 256 <= len(tokenizer) < 300


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"text": ""}, "The text is empty"),
        ({"text": []}, "The text is empty"),
        ({"size": 256}, "size=256 must be an integer from 257 to 262,144"),
        ({"size": 2.5}, "size=2.5 must be"),
        ({"size": 10**6}, "size=1000000 must be"),
        ({"model": "wordpiece"}, "model='wordpiece' must be one of bpe, unigram"),
        ({"text": ["ab", "c\udc80"]}, r"lone surrogate '\\udc80' at position 1,"),
    ],
    ids=str,
)
def test_impossible_trainings(options, message):
    with pytest.raises(ValueError, match=message):
        SubwordTokenizer.train(**{"text": TEXT, **options})


@EACH
def test_lone_surrogates_are_an_error(tokenizer):
    encoder = tokenizer.encoder()
    encoder.feed("ab c")
    with pytest.raises(ValueError, match=r"'\\ud800' at position 4, which is not a"):
        for piece in ("\ud800", " d"):
            encoder.feed(piece)
    with pytest.raises(ValueError, match="at position 100000, "):
        tokenizer.encode("b" * 100_000 + "\udfff")


def test_without_the_library(monkeypatch):
    copy = SubwordTokenizer.from_config(TOKENIZERS["bpe"].get_config())
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    assert copy.decode([97, 98]) == "ab"
    for call in (copy.encode, SubwordTokenizer.train):
        with pytest.raises(
            ImportError, match=r"pip install 'keras-textgen\[subword\]'"
        ):
            call("text")


# === Symbols and configuration ===


@EACH
def test_symbols(tokenizer):
    assert len(set(tokenizer.symbols)) == len(tokenizer) == 320
    assert all(tokenizer.ids[each] == at for at, each in enumerate(tokenizer.symbols))
    assert tokenizer.ids["\n"] == 10
    assert " the" in tokenizer
    assert tokenizer.encode("a\n\n").tolist() == [97, 10, 10]
    found = tokenizer.ids_with("t")
    texts = [each for each in tokenizer.symbols if "t" in each]
    assert [tokenizer.symbols[index] for index in found] == texts


@EACH
def test_configuration(tokenizer):
    copy = SubwordTokenizer.from_json(tokenizer.to_json())
    assert copy == tokenizer
    assert copy.symbols == tokenizer.symbols
    assert copy.encode(TEXT).tolist() == tokenizer.encode(TEXT).tolist()
    assert repr(copy).startswith("SubwordTokenizer(320 tokens, model=")


@EACH
def test_prompts_have_the_form_of_the_training_text(tokenizer):
    form = {"lowercase": True, "normalization": "nfkc"}
    text = TEXT.lower()
    trained = SubwordTokenizer.train(text, 300, tokenizer.model, **form)
    plain = SubwordTokenizer.train(text, 300, tokenizer.model)
    assert trained.symbols == plain.symbols
    assert trained.get_config() == {**plain.get_config(), **form}
    assert repr(trained).endswith(", lowercase=True, normalization='nfkc')")
    copy = SubwordTokenizer.from_json(trained.to_json())
    assert copy == trained != plain
    for prompt, expected in (
        ("A TRUTH Universally", "a truth universally"),
        ("Ｆａｍｉｌｉｅｓ Cafe\u0301", "families café"),
    ):
        ids = copy.encode(prompt, match_case=False).tolist()
        assert ids == plain.encode(expected).tolist()
        assert copy.encode(prompt).tolist() == plain.encode(prompt).tolist()
        assert plain.encode(prompt, match_case=False).tolist() == (
            plain.encode(prompt).tolist()
        )
        assert copy.decode(copy.encode(prompt)) == prompt
    # The position is that in the prompt, not in its shorter form.
    with pytest.raises(ValueError, match=r"position 2\b"):
        copy.encode("e\u0301\ud800", match_case=False)


def test_wrong_forms_of_a_training():
    with pytest.raises(ValueError, match="lowercase='yes' must be True or False"):
        SubwordTokenizer.train(TEXT, lowercase="yes")
    with pytest.raises(ValueError, match="normalization='nfd' must be nfc or nfkc"):
        SubwordTokenizer.train(TEXT, normalization="nfd")


BPE = {"level": "subword", "model": "bpe"}
UNIGRAM = {"level": "subword", "model": "unigram"}
SCORES = [-5.0] * 256


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "None is not a subword tokenizer"),
        (BPE, "it must have the fields"),
        ({**BPE, "merges": [], "more": 1}, "it must have the fields"),
        ({**BPE, "lowercase": True}, "it must have the fields"),
        ({**BPE, "merges": [], "lowercase": 1}, "lowercase=1 must be True or False"),
        ({**BPE, "merges": [], "normalization": "nfd"}, "must be nfc or nfkc"),
        ({**BPE, "level": "byte", "merges": []}, "it must have the fields"),
        ({**BPE, "model": ["bpe"], "merges": []}, "model="),
        ({**BPE, "model": "unigram", "merges": []}, "model='unigram' needs symbols"),
        ({**UNIGRAM, "model": "bpe", "symbols": [], "scores": []}, "needs merges"),
        ({**BPE, "merges": "ab"}, "merges='ab' must be a list of pairs"),
        ({**BPE, "merges": [97]}, "must be a list of pairs"),
        ({**BPE, "merges": [97, 256]}, r"merges has \(97, 256\)"),
        ({**BPE, "merges": [97, -1]}, r"merges has \(97, -1\)"),
        ({**BPE, "merges": [97, True]}, "merges has"),
        ({**BPE, "merges": [97, [98]]}, "merges has"),
        ({**BPE, "merges": [97, 98, 97, 98]}, "different from all other pairs"),
        ({**BPE, "merges": [10, 97]}, "no newline"),
        (
            {**BPE, "merges": [97, 97, *(x for n in range(8) for x in [256 + n] * 2)]},
            "b'aa",
        ),
        ({**BPE, "merges": [97] * (1 << 20)}, "a list of at most 262,144"),
        ({**UNIGRAM, "symbols": ["a"], "scores": [*SCORES, -1]}, "2 to 132 bytes"),
        ({**UNIGRAM, "symbols": [1], "scores": [*SCORES, -1]}, "symbols has 1"),
        ({**UNIGRAM, "symbols": ["<0x41>b"], "scores": [*SCORES, -1]}, "not the name"),
        ({**UNIGRAM, "symbols": ["ab", "ab"], "scores": [-1] * 258}, "twice"),
        ({**UNIGRAM, "symbols": ["ab"], "scores": SCORES}, "must be 257 numbers"),
        ({**UNIGRAM, "symbols": [], "scores": [*SCORES[1:], 1.0]}, "from -1,000,000"),
        ({**UNIGRAM, "symbols": [], "scores": [*SCORES[1:], None]}, "must be 256"),
        ({**UNIGRAM, "symbols": [], "scores": [*SCORES[1:], np.nan]}, "must be 256"),
        ({**UNIGRAM, "symbols": {}, "scores": SCORES}, "symbols={} must be a list"),
    ],
)
def test_configurations_of_strangers(config, message):
    with pytest.raises(ValueError, match=message) as raised:
        SubwordTokenizer.from_config(config)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 250
