import itertools
import json
import random
import re
import sys
import tracemalloc

import numpy as np
import pytest

from textgen import Vocabulary
from textgen.text import levels, vocabulary
from textgen.text.unknown import UnknownSymbolsError

LEVELS = ("character", "word")
TEXTS = {
    "words": "It's the lark, the herald-of-the-morn; no 'nightingale'.\n",
    "newlines": "a\r\nb\n\n\rc\x0b\x0c\x85\u2028\u2029",
    "nul": "\x00\x00a\x00",
    "controls": "\x1b[0m\x7f\t\ufeff\u200b",
    "combining": "e\u0301 a\u0300\u0316 \u0301 é",
    "emoji": "\U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f1eb\U0001f1f7",
    "surrogates": "\ud800 \udfff\ud83d\ude00 \U0001f600",
    "astral": "\U00010348x\U0010ffff\U00020bb7野家",
    "chinese": "白日依山盡,黃河入海流。",
    "scripts": "straße Ǆ İi ıI नमस्ते שלום ١٢ ²³ _a_1",
    "apostrophes": "''a' 'b's'c’’d’e's' rock’n’roll",
    "one": "a",
    "empty": "",
}


def random_text(seed):
    source = random.Random(seed)
    pools = [
        range(0x80),
        range(0x300, 0x370),
        range(0xD800, 0xE000),
        range(0x110000),
        [ord(character) for character in "aAbB_1'’ \n\r\x00\u200d"],
    ]
    size = source.randrange(300)
    return "".join(chr(source.choice(source.choice(pools))) for _ in range(size))


def assert_round_trip(text, level):
    built = Vocabulary.from_text(text + "\n", level)
    ids = built.encode(text)
    assert built.decode(ids) == text
    read = Vocabulary.from_json(built.to_json())
    assert read == built
    np.testing.assert_array_equal(read.encode(text), ids)
    assert read.decode(ids.tolist()) == text
    assert "".join(built.tokens(text)) == text


def cut_at_random(text, source):
    """Returns the text in pieces, some of them empty or single characters."""
    cuts = sorted(source.randrange(len(text) + 1) for _ in range(source.randrange(30)))
    return [text[a:b] for a, b in itertools.pairwise([0, *cuts, len(text)])]


@pytest.mark.parametrize("level", LEVELS)
def test_pieces_of_a_text_have_the_ids_of_the_text(level):
    source = random.Random(0)
    texts = [*TEXTS.values(), *map(random_text, range(30)), "don't y'all''d 'tis o'"]
    for text in texts * 5:
        built = Vocabulary.from_text(text + "\n", level)
        encoder = built.encoder()
        pieces = [encoder.feed(piece) for piece in cut_at_random(text, source)]
        ids = np.concatenate([*pieces, encoder.flush()])
        np.testing.assert_array_equal(ids, built.encode(text))
        assert ids.dtype == built.dtype


def test_pieces_with_unknown_symbols():
    built = Vocabulary.from_text("it is a 'word'", "word")
    encoder = built.encoder()
    encoder.feed("it is a wo")
    with pytest.raises(UnknownSymbolsError, match="'world' at position 8"):
        encoder.feed("rld 'word'")
    encoder = built.encoder("skip")
    ids = [*encoder.feed("a wo"), *encoder.feed("rld wor"), *encoder.feed("d is")]
    assert built.decode([*ids, *encoder.flush()]) == "a  word is"
    with pytest.raises(ValueError, match="unknown='x' must be"):
        built.encoder("x")


def test_a_word_in_pieces_is_not_longer_than_a_symbol():
    encoder = Vocabulary.from_text("a", "word").encoder()
    with pytest.raises(ValueError, match="more than 65,536"):
        for _ in range(100):
            encoder.feed("a" * 1000)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_round_trip(text, level):
    assert_round_trip(text, level)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("seed", range(25))
def test_round_trip_of_random_text(seed, level, monkeypatch):
    if seed % 2:
        monkeypatch.setattr(levels, "_PIECE", 1 + seed % 7)
    assert_round_trip(random_text(seed), level)


def test_json_is_ascii():
    text = Vocabulary("a\ud800é\U0001f996\x00").to_json()
    assert text.isascii()
    assert json.loads(text)["symbols"] == ["\x00", "a", "é", "\ud800", "\U0001f996"]


@pytest.mark.parametrize("level", LEVELS)
def test_ids_count_up_in_sorted_order(level):
    text = "the cat and the dog\n\U0001f408 é Z"
    built = Vocabulary.from_text(text, level)
    assert list(built.symbols) == sorted(built.symbols)
    assert built.ids == {symbol: index for index, symbol in enumerate(built.symbols)}
    assert len(built) == len(built.symbols) == len(set(built.tokens(text)))


@pytest.mark.parametrize("max_size", [None, 4])
@pytest.mark.parametrize("level", LEVELS)
def test_order_of_the_text_does_not_matter(level, max_size):
    text = "the cat and the dog and a mouse ran up a clock"
    tokens = re.split(" ", text)
    expected = Vocabulary.from_text(text, level, max_size=max_size)
    for seed in range(10):
        random.Random(seed).shuffle(tokens)
        built = Vocabulary.from_text(" ".join(tokens), level, max_size=max_size)
        assert built.symbols == expected.symbols


@pytest.mark.parametrize(
    ("size", "dtype"),
    [
        (1, np.int8),
        (127, np.int8),
        (128, np.int8),
        (129, np.int16),
        (32_768, np.int16),
        (32_769, np.int32),
        (40_000, np.int32),
    ],
)
def test_dtype_grows_with_the_vocabulary(size, dtype):
    built = Vocabulary(map(chr, range(size)))
    ids = built.encode(chr(size - 1) + chr(0))
    assert ids.dtype == built.dtype == dtype
    assert ids.tolist() == [size - 1, 0]
    assert built.encode("").dtype == dtype


@pytest.mark.parametrize(
    ("name", "lowercase", "size"),
    [
        ("dinosaurs-reference", True, 27),
        ("shakespeare", True, 38),
        ("tinyshakespeare", False, 65),
        ("tang-poems", False, 5_387),
    ],
)
def test_size_for_corpus(corpus_text, name, lowercase, size):
    text = corpus_text(name, lowercase=lowercase)
    built = Vocabulary.from_text(text)
    assert len(built) == size
    assert built.decode(built.encode(text)) == text


@pytest.mark.parametrize("piece", [1, 3, 1 << 20])
@pytest.mark.parametrize(
    ("level", "known", "text", "symbol", "position"),
    [
        ("character", "abc", "abcabczabc", "'z'", 6),
        ("character", "abc", "z", "'z'", 0),
        ("character", "a", "aaaaaaa\U0001f996", "'\U0001f996'", 7),
        ("character", "b", "bbbba", "'a'", 4),
        ("word", "to be or not", "to be or not to bee", "'bee'", 16),
        ("word", "to be", "to be, to", "','", 5),
    ],
)
def test_error_names_symbol_and_position(
    monkeypatch, piece, level, known, text, symbol, position
):
    monkeypatch.setattr(levels, "_PIECE", piece)
    built = Vocabulary.from_text(known, level)
    message = rf" {len(built)} symbols: {symbol} at position {position}.*unknown="
    with pytest.raises(ValueError, match=message):
        built.encode(text)


@pytest.mark.parametrize("piece", [1, 2, 1 << 20])
@pytest.mark.parametrize(
    ("level", "known", "unknown", "text", "expected"),
    [
        ("character", "abc", "skip", "xaxxbxcx", "abc"),
        ("character", "abc", "skip", "xyz", ""),
        ("character", "abc", "c", "xaxb", "cacb"),
        ("character", "ab\x00", "\x00", "aéb\U0001f996", "a\x00b\x00"),
        ("word", "a cat", "skip", "a big cat", "a  cat"),
        ("word", "a cat", "cat", "a dog", "a cat"),
    ],
)
def test_unknown_policies(monkeypatch, piece, level, known, unknown, text, expected):
    monkeypatch.setattr(levels, "_PIECE", piece)
    policy_of_vocabulary = Vocabulary.from_text(known, level, unknown=unknown)
    assert policy_of_vocabulary.decode(policy_of_vocabulary.encode(text)) == expected
    policy_of_call = Vocabulary.from_text(known, level)
    assert policy_of_call.decode(policy_of_call.encode(text, unknown)) == expected


def test_policy_of_a_call_replaces_that_of_the_vocabulary():
    with pytest.raises(ValueError, match="'x' at position 1"):
        Vocabulary("ab", unknown="skip").encode("ax", unknown="error")


@pytest.mark.parametrize("policy", ["ignore", "x", "", "ab"])
def test_policy_that_is_none(policy):
    with pytest.raises(ValueError, match=f"unknown='{policy}'"):
        Vocabulary("ab", unknown=policy)
    with pytest.raises(ValueError, match=f"unknown='{policy}'"):
        Vocabulary("ab").encode("a", unknown=policy)


@pytest.mark.parametrize(
    ("level", "known", "text", "expected"),
    [
        ("character", "abc", "ABC", "abc"),
        ("character", "ABC", "abC", "ABC"),
        ("character", "aAb", "AaB", "Aab"),
        ("character", "σ", "ς", "σ"),
        ("character", "ß", "ẞ", "ß"),
        ("word", "the lark", "The LARK", "the lark"),
        ("word", "The THE lark", "the", "THE"),
        ("word", "strasse", "Straße", "strasse"),
        ("character", "it's \"-", "it’s “—", "it's \"-"),
        ("character", "it's", '“it”"', "'it''"),
        ("character", "it’s", "it’s", "it’s"),
        ("character", "a b", "a\tb\u00a0a", "a b a"),
        ("character", "cafe", "café", "cafe"),
        ("character", "café", "cafe\u0301", "café"),
        ("character", "cafe\u0301", "cafe\u0301", "cafe\u0301"),
        ("character", "café", "CAFE\u0301", "café"),
        ("character", "cafe", "ＣＡＦＥ", "cafe"),
        ("word", "the café", "ＴＨＥ CAFE\u0301", "the café"),
        ("character", "of i.", "ﬀ oﬃ…", "ff offi..."),
        ("character", "ガ", "ｶﾞ", "ガ"),
        ("word", "a.", "a…", "a..."),
        ("character", "a²2", "A²２", "a²2"),
        ("character", "a\nb", "a\r\nb\ra", "a\nb\na"),
        ("character", "a\r\nb", "a\r\nb", "a\r\nb"),
        ("word", "don't naive", "don’t naïve", "don't naive"),
    ],
)
def test_match_case(level, known, text, expected):
    built = Vocabulary.from_text(known, level)
    assert built.decode(built.encode(text, match_case=False)) == expected


def test_match_case_by_default():
    with pytest.raises(ValueError, match="'A' at position 0"):
        Vocabulary("ab").encode("A")


def test_match_case_before_the_policy():
    built = Vocabulary("ab", unknown="b")
    assert built.decode(built.encode("Ax", match_case=False)) == "ab"
    with pytest.raises(ValueError, match="'x' at position 1"):
        built.encode("Ax", unknown="error", match_case=False)


@pytest.mark.parametrize("piece", [2, 1 << 20])
def test_all_unknown_symbols_are_named_at_once(monkeypatch, piece):
    monkeypatch.setattr(levels, "_PIECE", piece)
    built = Vocabulary("ab")
    with pytest.raises(UnknownSymbolsError) as info:
        built.encode("axbyaxz")
    assert info.value.symbols == {"x": 1, "y": 3, "z": 6}
    message = str(info.value)
    assert "of 2 symbols: 'x' at position 1, 'y' at position 3, 'z' at pos" in message
    assert "unknown='skip'" in message
    with pytest.raises(ValueError, match=r"'4' at position 11 and 4 more\."):
        built.encode("abcdefgh12347890")
    with pytest.raises(ValueError, match="'the' at position 2, ' ' at position 5"):
        Vocabulary(["a", "\n"], level="word").encode("a\nthe a the")


def test_the_caller_of_an_error_names_the_remedy():
    with pytest.raises(UnknownSymbolsError) as info:
        Vocabulary("ab").encode("ab[a]")
    assert info.value.describe("Use --extend-vocabulary to add them.") == (
        "Not in the vocabulary of 2 symbols: '[' at position 2, ']' at position 4. "
        "Use --extend-vocabulary to add them."
    )


@pytest.mark.parametrize(
    ("level", "added", "expected"),
    [
        ("character", "abba [c]", " []abcx"),
        ("character", ["[", "b", "["], "[abx"),
        ("character", "", "abx"),
        ("word", "a book, a box", ["a", "b", "x", " ", ",", "book", "box"]),
        ("word", ["book", "a"], ["a", "b", "x", "book"]),
        ("word", iter(["book"]), ["a", "b", "x", "book"]),
    ],
)
def test_extended(level, added, expected):
    built = Vocabulary("xba", level, unknown="b")
    result = built.extended(added)
    assert result.get_config() == {
        "level": level,
        "unknown": "b",
        "symbols": sorted(expected),
    }
    assert built.symbols == ("a", "b", "x")


def test_extended_by_what_is_no_symbol():
    with pytest.raises(ValueError, match="'ab' is not a single symbol at character"):
        Vocabulary("a").extended(["ab"])
    with pytest.raises(ValueError, match="Symbol 7 must be a str"):
        Vocabulary("a").extended([7])


@pytest.mark.parametrize("piece", [2, 1 << 20])
@pytest.mark.parametrize(
    ("text", "max_size", "expected"),
    [
        ("bbbaac", 1, "b"),
        ("bbbaac", 2, "ab"),
        ("bbbaac", 3, "abc"),
        ("bbbaac", 10, "abc"),
        ("dcba", 2, "ab"),
        ("ddcba", 3, "abd"),
        ("abcabc\U0001f996\U0001f996\U0001f996", 2, "a\U0001f996"),
    ],
)
def test_max_size_keeps_the_most_frequent(monkeypatch, piece, text, max_size, expected):
    monkeypatch.setattr(levels, "_PIECE", piece)
    assert "".join(Vocabulary.from_text(text, max_size=max_size).symbols) == expected


@pytest.mark.parametrize(
    ("text", "stand_in", "max_size", "expected"),
    [
        ("aaabbc", "?", None, "?abc"),
        ("aaabbc", "?", 2, "?a"),
        ("aaabbc", "c", 2, "ac"),
        ("aaabbc", "a", 2, "ab"),
        ("aaabbc", "?", 1, "?"),
    ],
)
def test_stand_in_is_part_of_the_vocabulary(text, stand_in, max_size, expected):
    built = Vocabulary.from_text(text, max_size=max_size, unknown=stand_in)
    assert "".join(built.symbols) == expected
    kept = "".join(symbol if symbol in expected else stand_in for symbol in text)
    assert built.decode(built.encode(text)) == kept


def peak_memory(function):
    """What a function returns, and the most bytes that it held at once."""
    function()  # what is computed once, such as the pattern of words, is there now
    tracemalloc.start()
    try:
        result = function()
        return result, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("max_size", [None, 100])
@pytest.mark.parametrize("level", LEVELS)
def test_from_text_takes_no_memory_for_the_text(level, max_size):
    # 700 words, so that a copy of the text would be seen, and its vocabulary is not.
    words = [f"wörd{number}" for number in range(700)]
    text = " ".join(random.Random(0).choices(words, k=300_000))
    _, peak = peak_memory(
        lambda: Vocabulary.from_text(text, level, max_size, unknown="error")
    )
    # For each symbol: the str, and places in a set, a counter, a list, a dict.
    assert peak < 701 * (sys.getsizeof(words[-1]) + 400) + 10_000
    assert peak < sys.getsizeof(text) / 5


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("unknown", ["error", "skip"])
def test_encode_takes_the_memory_of_its_result(level, unknown):
    words = ["ä", *(f"word{number}" for number in range(700))]
    text = " ".join(random.Random(0).choices(words[unknown == "error" :], k=300_000))
    built = Vocabulary.from_text(text.replace("ä", ""), level)
    ids, peak = peak_memory(lambda: built.encode(text, unknown))

    # One piece: a word as a str, its place in a list, and its id in a few arrays; the
    # growing array has an eighth to spare.
    piece = levels._PIECE * (sys.getsizeof(words[-1]) + 8 + 24)
    assert peak < ids.nbytes * 9 / 8 + piece + 10_000
    assert peak < ids.nbytes + 0.75 * sys.getsizeof(text)

    symbols = text
    if level == "word":
        spaces = itertools.repeat(" ")
        symbols = [*itertools.chain(*zip(text.split(" "), spaces, strict=False))][:-1]
    assert ids.tolist() == [built.ids[symbol] for symbol in symbols if symbol != "ä"]
    assert ids.flags.owndata


@pytest.mark.parametrize("max_size", [0, -1])
def test_max_size_below_one(max_size):
    with pytest.raises(ValueError, match=f"max_size={max_size}"):
        Vocabulary.from_text("abc", max_size=max_size)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("to be", ["to", " ", "be"]),
        ("don't", ["don't"]),
        ("don’t", ["don’t"]),
        ("'tis the lovers'", ["'", "tis", " ", "the", " ", "lovers", "'"]),
        ("a--b,\n\n c_1", ["a", "-", "-", "b", ",", "\n", "\n", " ", "c_1"]),
        ("  ", [" ", " "]),
        ("naïve 詩人", ["naïve", " ", "詩人"]),
        ("\r\n\U0001f996", ["\r", "\n", "\U0001f996"]),
    ],
)
def test_word_tokens(text, expected):
    built = Vocabulary.from_text(text, "word")
    assert list(built.tokens(text)) == expected
    assert [built.symbols[index] for index in built.encode(text)] == expected


def test_decode_leaves_out_no_symbol():
    built = Vocabulary("abc")
    assert built.decode(np.array([-1, 2, -1, 0, -1])) == "ca"
    assert built.decode([-1]) == ""
    assert built.decode(iter([1, 0])) == "ba"
    assert built.decode(np.array([1, 2], np.uint8)) == "bc"


@pytest.mark.parametrize("empty", [[], (), np.empty(0, np.int8)], ids=repr)
def test_decode_nothing(empty):
    assert Vocabulary("abc").decode(empty) == ""


@pytest.mark.parametrize("bad", [3, -2, 1_000_000])
def test_id_out_of_range(bad):
    built = Vocabulary("abc")
    for method in (built.decode, built.one_hot):
        with pytest.raises(ValueError, match=f"Id {bad} .* 3 symbols"):
            method([0, bad, 1])


@pytest.mark.parametrize("bad", [[0.0, 1.0], [True], ["a"]], ids=repr)
def test_ids_that_are_no_integers(bad):
    for method in (Vocabulary("abc").decode, Vocabulary("abc").one_hot):
        with pytest.raises(ValueError, match="must be integers"):
            method(bad)


@pytest.mark.parametrize("shape", [(7,), (2, 3), (2, 1, 4), (0,), ()])
@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.uint8])
def test_one_hot(shape, dtype):
    ids = np.random.default_rng(0).integers(0, 5, shape).astype(dtype)
    rows = Vocabulary("abcde").one_hot(ids)
    assert rows.dtype == bool
    assert rows.shape == (*shape, 5)
    np.testing.assert_array_equal(rows, np.eye(5, dtype=bool)[ids])


def test_one_hot_of_no_symbol():
    rows = Vocabulary("abc").one_hot([0, -1, 2])
    assert rows.tolist() == [
        [True, False, False],
        [False, False, False],
        [False, False, True],
    ]


def test_one_hot_of_nothing():
    assert Vocabulary("abc").one_hot([]).shape == (0, 3)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "3",
        "[]",
        '"abc"',
        "{}",
        '{"level": "character", "unknown": "error"}',
        '{"symbols": ["a"], "unknown": "error"}',
        '{"symbols": ["a"], "level": "character"}',
        '{"symbols": [], "level": "character", "unknown": "error"}',
        '{"symbols": ["ab"], "level": "character", "unknown": "error"}',
        '{"symbols": ["a b"], "level": "word", "unknown": "error"}',
        '{"symbols": [1], "level": "character", "unknown": "error"}',
        '{"symbols": [1], "level": "word", "unknown": "error"}',
        '{"symbols": ["a", 1], "level": "character", "unknown": "error"}',
        '{"symbols": [["a"]], "level": "character", "unknown": "error"}',
        '{"symbols": null, "level": "character", "unknown": "error"}',
        '{"symbols": ["a"], "level": "byte", "unknown": "error"}',
        '{"symbols": ["a"], "level": "character", "unknown": "b"}',
        '{"symbols": ["a"], "level": "character", "unknown": null}',
        '{"symbols": ["a"], "level": "character", "unknown": []}',
    ],
)
def test_json_of_something_else(text):
    with pytest.raises(ValueError):
        Vocabulary.from_json(text)


CONFIG = {"level": "character", "unknown": "error", "symbols": ["a", "b"]}


def test_config():
    for built in (Vocabulary("ba"), Vocabulary.from_text("to be", "word", None)):
        assert Vocabulary.from_config(built.get_config()) == built
    assert Vocabulary.from_config(CONFIG).get_config() == CONFIG


WRONG = [None, True, 0, 1.5, float("nan"), "", "ab", "\x1b[31m", [], {}, b"a", object()]


@pytest.mark.parametrize(
    "config",
    [
        *WRONG,
        {},
        *({key: CONFIG[key] for key in CONFIG if key != left} for left in CONFIG),
        {**CONFIG, "other": 1},
        *({**CONFIG, key: value} for key in CONFIG for value in WRONG),
        *({**CONFIG, "symbols": ["a", value]} for value in WRONG),
        *(
            {**CONFIG, "level": "word", "symbols": ["a", value]}
            for value in WRONG
            if value != "ab"  # a word
        ),
        *({**CONFIG, "symbols": each} for each in ("ab", ("a", "b"), {"a": 0}, {"a"})),
        *({**CONFIG, "symbols": each} for each in (["b", "a"], ["a", "a"], [["a"]])),
        {**CONFIG, "symbols": ["a\x1b[31m" * 100_000]},
        {**CONFIG, "level": "word", "symbols": ["a" * 65_537]},
        {**CONFIG, "level": "\x1b[31m" * 100_000},
        {**CONFIG, "unknown": "\x1b[31m\n" * 100_000},
        {**CONFIG, "unknown": ["\x1b[31m\n"] * 100_000},
    ],
    ids=itertools.count(),
)
def test_config_of_something_else(config):
    with pytest.raises(ValueError) as info:
        Vocabulary.from_config(config)
    assert type(info.value) is ValueError
    assert str(info.value).isprintable()
    assert len(str(info.value)) <= 300
    if isinstance(config, dict) and set(config) == set(CONFIG):
        # The constructor sorts, and takes any iterable, but no other types.
        for arguments in ({**config, "symbols": [1]}, {**config, "symbols": 1}):
            with pytest.raises(ValueError) as info:
                Vocabulary(**arguments)
            assert str(info.value).isprintable()


def test_number_of_symbols_is_limited(monkeypatch):
    monkeypatch.setattr(vocabulary, "_MAX_SYMBOLS", 3)
    assert len(Vocabulary("abca")) == 3
    with pytest.raises(ValueError, match="4 symbols are more than 3"):
        Vocabulary("abcd")


def test_longest_symbol():
    word = "a" * 65_536
    assert Vocabulary.from_text(word, "word").symbols == (word,)
    with pytest.raises(ValueError, match=r"has 65,537 characters.*level='character'"):
        Vocabulary.from_text(word + "a", "word")


def test_error_about_a_long_unknown_word_is_short():
    text = "\x1b[31m" + "word" * 100_000
    with pytest.raises(UnknownSymbolsError) as info:
        Vocabulary("abc", level="word").encode(text)
    assert str(info.value).isprintable()
    assert len(str(info.value)) < 400


def test_json_keeps_level_and_policy():
    built = Vocabulary.from_text("to be or", "word", unknown="be")
    read = Vocabulary.from_json(built.to_json())
    assert (read.symbols, read.level, read.unknown) == (
        (" ", "be", "or", "to"),
        "word",
        "be",
    )


def test_equality():
    assert Vocabulary("abc") == Vocabulary(["c", "b", "a", "a"])
    assert Vocabulary("abc") != Vocabulary("ab")
    assert Vocabulary("abc") != Vocabulary("abc", level="word")
    assert Vocabulary("abc") != Vocabulary("abc", unknown="skip")
    assert Vocabulary("abc") != "abc"
    with pytest.raises(TypeError):
        hash(Vocabulary("abc"))


def test_contains_and_repr():
    built = Vocabulary("abc", unknown="skip")
    assert "a" in built
    assert "d" not in built
    assert 0 not in built
    assert repr(built) == "Vocabulary(3 symbols, level='character', unknown='skip')"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"symbols": []}, "at least one symbol"),
        ({"symbols": ["ab"]}, "'ab' is not a single symbol at character level"),
        ({"symbols": ["a", ""]}, "'' is not a single symbol"),
        (
            {"symbols": ["to be"], "level": "word"},
            "'to be' is not a single symbol at word",
        ),
        ({"symbols": ["a-b"], "level": "word"}, "'a-b' is not a single symbol"),
        ({"symbols": "abc", "level": "byte"}, "level='byte'.*character, word"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Vocabulary(**arguments)


@pytest.mark.parametrize(
    "unknown",
    [
        "error",
        "?",
    ],
)
@pytest.mark.parametrize("max_size", [None, 5])
def test_empty_text(unknown, max_size):
    with pytest.raises(ValueError):
        Vocabulary.from_text("", max_size=max_size, unknown=unknown)


def test_level_of_a_text_is_checked():
    with pytest.raises(ValueError, match="level='byte'"):
        Vocabulary.from_text("abc", level="byte")
