"""`prepare`, compared with plain Python."""

import collections
import gzip
import hashlib
import io
import random
import re
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import textgen
from textgen.text import learning, preparing
from textgen.text.unknown import UnknownSymbolsError

TEXT = "To be, or not to be: that’s the question.\r\nWhether 'tis nobler\n" * 5
SPLIT = {
    "character": list,
    "word": re.compile(r"\w+(?:['’]\w+)*|.", re.DOTALL).findall,
}


def write(folder, text, name="a.txt"):
    path = folder / name
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    return path


def assert_corpus(corpus, text, level="character"):
    """Compares a corpus with symbols that are numbered in sorted order."""
    symbols = SPLIT[level](text)
    order = sorted(set(symbols))
    assert list(corpus.tokenizer.symbols) == order
    assert corpus.tokenizer.level == level
    assert corpus.ids.tolist() == [order.index(symbol) for symbol in symbols]
    assert corpus.ids.dtype == np.min_scalar_type(len(order) - 1)
    counted = collections.Counter(symbols)
    assert corpus.counts.tolist() == [counted[symbol] for symbol in order]
    assert corpus.characters == len(text)
    assert len(corpus) == len(symbols)


@pytest.mark.parametrize("level", SPLIT)
@pytest.mark.parametrize("stored", [False, True])
def test_ids_of_a_file(level, stored, tmp_path):
    path = write(tmp_path, TEXT)
    output = tmp_path / "a.ids" if stored else None
    corpus = textgen.prepare(path, output, level=level)
    text = TEXT.replace("\r\n", "\n")
    assert_corpus(corpus, text, level)
    assert corpus.sha256 == hashlib.sha256(text.encode()).hexdigest()
    assert corpus.sources == [{"name": "a.txt", "bytes": len(TEXT.encode())}]
    assert corpus.path == output
    if stored:
        assert isinstance(corpus.ids.base, np.memmap)
        assert_corpus(textgen.PreparedCorpus.load(output), text, level)
    names = ["a.ids", "a.txt"] if stored else ["a.txt"]
    assert sorted(each.name for each in tmp_path.iterdir()) == names


@pytest.mark.parametrize("many", [1, 255, 256, 257, 65_536, 65_537, 70_000])
def test_type_of_the_ids(many, tmp_path):
    """The type grows with the vocabulary while the text is read."""
    codes = [code for code in range(0x20000) if not 0xD800 <= code < 0xE000]
    codes = [code for code in codes if chr(code) not in "\r\ufeff"][-many:]
    random.Random(0).shuffle(codes)
    text = "".join(map(chr, codes)) * 2
    corpus = textgen.prepare(iter([text]), tmp_path / "a.ids")
    order = {code: number for number, code in enumerate(sorted(codes))}
    assert corpus.ids.tolist() == [order[code] for code in codes] * 2
    expected = "uint8" if many <= 256 else "uint16" if many <= 65_536 else "uint32"
    assert corpus.ids.dtype == expected
    assert corpus.tokenizer.decode(corpus.ids) == text


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"vocabulary_size": 3}, "ab\ufffd"),
        ({"min_count": 3}, "ab\ufffd"),
        ({"min_count": 2, "vocabulary_size": 4}, "abc\ufffd"),
        ({"min_count": 2, "unknown": "d"}, "abcd"),
        ({"vocabulary_size": 2, "unknown": "skip"}, "ab"),
    ],
)
def test_vocabulary_of_limited_size(options, kept, stored, tmp_path):
    text = "abcaabbcadba"  # 5 a, 4 b, 2 c, 1 d
    corpus = textgen.prepare(
        iter([text]), tmp_path / "a.ids" if stored else None, **options
    )
    other = kept[-1] if options.get("unknown") != "skip" else ""
    expected = "".join(each if each in kept else other for each in text)
    assert "".join(corpus.tokenizer.symbols) == kept
    assert corpus.tokenizer.decode(corpus.ids) == expected
    assert corpus.counts.tolist() == [expected.count(each) for each in kept]


def test_known_tokenizer(tmp_path):
    vocabulary = textgen.Vocabulary("abc \n")
    path = write(tmp_path, "abc cab\nb")
    corpus = textgen.prepare(path, tokenizer=vocabulary)
    assert corpus.tokenizer is vocabulary
    assert corpus.ids.tolist() == ["\n abc".index(each) for each in "abc cab\nb"]
    assert corpus.counts.tolist() == [1, 1, 2, 3, 2]
    with pytest.raises(UnknownSymbolsError, match="'d' at position 4"):
        textgen.prepare(iter(["abc", "d"]), tokenizer=vocabulary)
    corpus = textgen.prepare(iter(["abcd"]), tokenizer=vocabulary, unknown="skip")
    assert corpus.ids.tolist() == [2, 3, 4]


def test_sources(tmp_path, monkeypatch):
    write(tmp_path, "one\r\n", "1.txt")
    (tmp_path / "2.gz").write_bytes(gzip.compress(b"two"))
    corpus = textgen.prepare([tmp_path / "1.txt", tmp_path / "2.gz"])
    assert_corpus(corpus, "one\ntwo")
    assert [each["name"] for each in corpus.sources] == ["1.txt", "2.gz"]
    assert_corpus(
        textgen.prepare(iter(["one\n", "two", "", "three"])), "one\ntwo\nthree"
    )
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"three")))
    assert_corpus(textgen.prepare("-"), "three")
    with pytest.raises(TypeError, match="gave 3, which is no str"):
        textgen.prepare(iter(["a", 3]))


def test_options(tmp_path):
    path = write(tmp_path, "Fu\u0308r\r\n")
    corpus = textgen.prepare(
        path, lowercase=True, normalization="nfc", newlines=False, encoding="utf-8"
    )
    assert_corpus(corpus, "für\r\n")
    assert corpus.options["lowercase"] is True
    assert corpus.options["normalization"] == "nfc"
    path.write_bytes(b"a\xffb")
    corpus = textgen.prepare(path, replace=True)
    assert_corpus(corpus, "a\ufffdb")
    assert corpus.options["replaced"] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": "letter"}, "level='letter'"),
        ({"vocabulary_size": 0}, "max_size=0"),
        ({"min_count": 0}, "min_count=0"),
        ({"min_count": 9}, "min_count=9: no symbol"),
        ({"min_count": 2, "unknown": "error"}, "unknown='error'"),
        ({"normalization": "x"}, "normalization='x'"),
        ({"encoding": "x"}, "encoding='x'"),
    ],
)
def test_invalid_options(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        textgen.prepare(write(tmp_path, "abc"), tmp_path / "a.ids", **options)
    assert not (tmp_path / "a.ids").exists()


@pytest.mark.parametrize("stored", [False, True])
def test_empty_text(stored, tmp_path):
    with pytest.raises(ValueError, match="is empty"):
        textgen.prepare(write(tmp_path, ""), tmp_path / "b.ids" if stored else None)
    assert [each.name for each in tmp_path.iterdir()] == ["a.txt"]


def test_interruption_leaves_nothing(tmp_path):
    path, calls = write(tmp_path, "abc" * 100_000), []

    def stop(done, size):
        calls.append((done, size))
        if done > 100_000:
            raise KeyboardInterrupt

    output = tmp_path / "a.ids"
    output.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        textgen.prepare(path, output, progress=stop)
    assert calls[0][1] == 300_000
    assert output.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2


def test_output_that_cannot_be_written(tmp_path):
    path = write(tmp_path, "abc")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        textgen.prepare(path, tmp_path)
    with pytest.raises(FileNotFoundError):
        textgen.prepare(path, tmp_path / "no" / "a.ids")


def test_memory(tmp_path):
    path = write(tmp_path, TEXT * 10_000)  # 3 MB
    textgen.prepare(path, tmp_path / "a.ids")
    tracemalloc.start()
    textgen.prepare(path, tmp_path / "a.ids")
    peaks = [tracemalloc.get_traced_memory()[1]]
    tracemalloc.reset_peak()
    write(tmp_path, TEXT * 40_000)
    tracemalloc.reset_peak()
    textgen.prepare(path, tmp_path / "a.ids")
    peaks.append(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
    assert peaks[1] < peaks[0] + 200_000


class Reused:
    """Calls `prepare_or_reuse`, and says whether the text was read."""

    def __init__(self, monkeypatch, folder):
        monkeypatch.setenv("TEXTGEN_CACHE", str(folder / "cache"))
        monkeypatch.setattr(preparing, "IN_MEMORY", 1000)
        self.folder = folder / "cache"

    def __call__(self, path, **options):
        calls = []
        corpus = preparing.prepare_or_reuse(path, lambda *_: calls.append(1), **options)
        return corpus, bool(calls)


@pytest.fixture
def reuse(monkeypatch, tmp_path):
    return Reused(monkeypatch, tmp_path)


def test_short_text_stays_in_memory(reuse, tmp_path):
    path = write(tmp_path, "ab" * 500)
    for _ in range(2):
        corpus, read = reuse(path)
        assert_corpus(corpus, "ab" * 500)
        assert corpus.path is None
        assert read


def test_long_text_is_prepared_once(reuse, tmp_path):
    path = write(tmp_path, "abC" * 500)
    corpus, read = reuse(path)
    assert read
    assert corpus.path.parent == reuse.folder / "prepared"
    again, read = reuse(path)
    assert not read
    assert again.path == corpus.path
    assert_corpus(again, "abC" * 500)
    other, read = reuse(path, lowercase=True)
    assert read
    assert_corpus(other, "abc" * 500)
    write(tmp_path, "abCd" * 500)
    corpus, read = reuse(path)
    assert read
    assert_corpus(corpus, "abCd" * 500)


def test_damaged_file_of_the_cache_is_made_again(reuse, tmp_path):
    path = write(tmp_path, "abc" * 500)
    corpus, _ = reuse(path)
    corpus.path.write_bytes(corpus.path.read_bytes()[:-1])
    again, read = reuse(path)
    assert read
    assert_corpus(again, "abc" * 500)
    assert [each.name for each in corpus.path.parent.iterdir()] == [again.path.name]


def test_long_text_from_standard_input(reuse, monkeypatch):
    for _ in range(2):
        stdin = io.TextIOWrapper(io.BytesIO(b"abc" * 500))
        monkeypatch.setattr(sys, "stdin", stdin)
        corpus, read = reuse("-")
        assert read
        assert corpus.path is not None
        assert_corpus(corpus, "abc" * 500)


def test_ids_of_another_tokenizer_are_made_once(reuse, tmp_path, monkeypatch):
    corpus, _ = reuse(write(tmp_path, "abc" * 500))
    tokenizer = corpus.tokenizer.extended("A")
    expected = [1, 2, 3] * 500
    other = preparing.convert_or_reuse(corpus, tokenizer)
    assert other.ids.tolist() == expected
    assert other.path.parent == reuse.folder / "prepared"
    assert other.path != corpus.path
    third = preparing.convert_or_reuse(corpus, tokenizer.extended("B"))
    assert third.ids.tolist() == [2, 3, 4] * 500
    other.path.write_bytes(other.path.read_bytes()[:-1])  # damaged: made again
    assert preparing.convert_or_reuse(corpus, tokenizer).ids.tolist() == expected
    monkeypatch.setattr(textgen.PreparedCorpus, "with_tokenizer", None)  # not made
    again = preparing.convert_or_reuse(corpus, tokenizer)
    assert (again.path, again.ids.tolist()) == (other.path, expected)
    assert len(list(corpus.path.parent.iterdir())) == 3


def test_ids_of_another_tokenizer_in_memory(reuse, tmp_path):
    corpus, _ = reuse(write(tmp_path, "abc"))
    other = preparing.convert_or_reuse(corpus, corpus.tokenizer.extended("A"))
    assert (other.path, other.ids.tolist()) == (None, [1, 2, 3])
    assert not reuse.folder.exists()


CODECS = ["utf-8", "utf-16", "utf-32", "latin-1", "cp1251", "shift_jis", "gb18030"]


@settings(deadline=None, max_examples=60)
@given(
    st.text(min_size=1),
    st.sampled_from(CODECS),
    st.booleans(),
    st.sampled_from(["character", "word"]),
)
def test_any_text_in_any_codec(tmp_path_factory, text, codec, compress, level):
    data = text.encode(codec, "ignore")
    # As Python's text files read it.
    expected = io.TextIOWrapper(io.BytesIO(data), codec).read().removeprefix("\ufeff")
    path = tmp_path_factory.getbasetemp() / ("a.gz" if compress else "a.txt")
    path.write_bytes(gzip.compress(data) if compress else data)
    if not expected or (b"\0" in data and not codec.startswith("utf")):
        return
    corpus = textgen.prepare(path, encoding=codec, level=level)
    vocabulary = textgen.Vocabulary.from_text(expected, level)
    assert corpus.tokenizer == vocabulary
    assert corpus.ids.tolist() == vocabulary.encode(expected).tolist()
    assert corpus.tokenizer.decode(corpus.ids) == expected


@settings(deadline=None, max_examples=60)
@given(st.lists(st.text()), st.sampled_from(["character", "word"]))
def test_any_cut_of_a_text_into_pieces(pieces, level):
    text = "".join(pieces) + "\n"
    learner = preparing._Options(level=level).learner(None)
    ids = [learner.feed(piece) for piece in [*pieces, "\n"]]
    ids = np.concatenate([*ids, learner.flush()])
    counts = np.bincount(ids)
    tokenizer, table = learner.finish(counts)
    built = textgen.Vocabulary.from_text(text, level)
    assert tokenizer == built
    assert table[ids].tolist() == built.encode(text).tolist()


KINDS = ["byte", "bpe", "unigram"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stored", [False, True])
def test_bytes_and_subwords(kind, stored, tmp_path, monkeypatch):
    """Learned from the beginning of a text that comes in pieces."""
    monkeypatch.setattr(learning, "_LEARNED", 600)
    lines = [f"{TEXT[at % 200 :]}naïve 詩 {at}\n" for at in range(40)]
    size = None if kind == "byte" else 300
    corpus = textgen.prepare(
        iter(lines),
        tmp_path / "a.ids" if stored else None,
        level=kind,
        vocabulary_size=size,
    )
    text = "".join(lines)
    assert corpus.tokenizer.decode(corpus.ids) == text
    assert corpus.characters == len(text)
    if kind == "byte":
        assert corpus.ids.tolist() == list(text.encode())
        assert corpus.ids.dtype == np.uint8
    else:
        learned, held = [], 0
        for line in lines:
            learned.append(line)
            held += len(line)
            if held >= 600:
                break
        tokenizer = textgen.SubwordTokenizer.train("".join(learned), 300, kind)
        assert corpus.tokenizer == tokenizer
        assert corpus.ids.tolist() == tokenizer.encode(text).tolist()
    expected = np.bincount(corpus.ids, minlength=len(corpus.tokenizer))
    assert corpus.counts.tolist() == expected.tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_form_of_the_text_is_that_of_prompts(kind, tmp_path):
    text = "Cafe\u0301 NOIR, Ｃafé au lait.\n" * 9
    options = {"lowercase": True, "normalization": "nfkc"}
    size = None if kind == "byte" else 270
    corpus = textgen.prepare(
        iter([text]), tmp_path / "a.ids", level=kind, vocabulary_size=size, **options
    )
    tokenizer = textgen.PreparedCorpus.load(tmp_path / "a.ids").tokenizer
    assert tokenizer == corpus.tokenizer
    assert tokenizer.lowercase is True
    assert tokenizer.normalization == "nfkc"
    assert tokenizer.decode(corpus.ids) == "café noir, café au lait.\n" * 9
    assert tokenizer.encode(text, match_case=False).tolist() == corpus.ids.tolist()
    # A tokenizer that is given stays as it is.
    plain = textgen.prepare(iter([text]), level=kind, vocabulary_size=size).tokenizer
    assert plain.get_config().keys().isdisjoint(options)
    again = textgen.prepare(iter([text]), tokenizer=plain, **options)
    assert again.tokenizer is plain
    assert plain.decode(again.ids) == "café noir, café au lait.\n" * 9


def test_limits_that_are_not_for_bytes():
    with pytest.raises(ValueError, match="min_count=2 needs characters or words"):
        textgen.prepare(iter(["a"]), level="bpe", min_count=2)
    with pytest.raises(ValueError, match="size=9: bytes have no size"):
        textgen.prepare(iter(["a"]), level="byte", vocabulary_size=9)


def test_labels_need_the_field_of_their_texts(tmp_path):
    with pytest.raises(ValueError, match="label_field='author'"):
        textgen.prepare(iter(["a"]), label_field="author")
    (tmp_path / "a.csv").write_text("text,author\n?,Poe\na,Keats\n")
    options = {"field": "text", "label_field": "author"}
    with pytest.raises(ValueError, match="unknown='skip' with label_field"):
        textgen.prepare(tmp_path / "a.csv", unknown="skip", **options)
    known = textgen.Vocabulary("a\n")
    with pytest.raises(ValueError, match="unknown='skip' with label_field"):
        textgen.prepare(tmp_path / "a.csv", tokenizer=known, unknown="skip", **options)
