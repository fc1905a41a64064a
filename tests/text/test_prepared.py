"""The file of prepared ids: what is written is read, and damage is found."""

import json
import random
import struct
import tracemalloc

import numpy as np
import pytest

import textgen
from textgen.text import prepared

TEXT = "one\ntwo \ud800 three\n" * 9


@pytest.fixture
def path(tmp_path):
    textgen.prepare(iter([TEXT]), tmp_path / "a.ids")
    return tmp_path / "a.ids"


def parts_of(path):
    """Returns the header and the bytes of the ids."""
    data = path.read_bytes()
    assert data[:16] == b"textgen ids 1\n\0\0"
    (length,) = struct.unpack("<Q", data[16:24])
    return json.loads(data[24 : 24 + length]), data[24 + length :]


def with_header(path, header, ids):
    data = json.dumps(header).encode()
    path.write_bytes(b"textgen ids 1\n\0\0" + struct.pack("<Q", len(data)) + data + ids)


def test_layout(path):
    header, ids = parts_of(path)
    symbols = sorted(set(TEXT))
    assert header["tokenizer"]["symbols"] == symbols
    assert list(ids) == [symbols.index(each) for each in TEXT]
    assert (len(path.read_bytes()) - len(ids)) % 64 == 0


def test_save_and_load(path, tmp_path):
    corpus = textgen.PreparedCorpus.load(path)
    corpus.save(tmp_path / "b.ids")
    assert (tmp_path / "b.ids").read_bytes() == path.read_bytes()
    memory = textgen.prepare(iter([TEXT]))
    memory.save(tmp_path / "b.ids")
    assert (tmp_path / "b.ids").read_bytes() == path.read_bytes()
    assert corpus.tokenizer.decode(corpus.ids) == TEXT
    assert repr(corpus) == (
        f"PreparedCorpus({len(TEXT)} characters, {len(TEXT)} tokens of "
        f"{len(set(TEXT))}, {path})"
    )


def test_ids_cannot_be_changed(path):
    with pytest.raises(ValueError, match="read-only"):
        textgen.PreparedCorpus.load(path).ids[0] = 1


def test_is_prepared(path, tmp_path):
    assert prepared.is_prepared(path)
    assert not prepared.is_prepared(__file__)
    assert not prepared.is_prepared(tmp_path / "none")
    assert not prepared.is_prepared(tmp_path)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        textgen.PreparedCorpus.load(tmp_path / "none.ids")


MESSAGE = r"a\.ids is not a valid file of prepared ids: .* Prepare the corpus again\."


def test_file_that_is_cut(path):
    data = path.read_bytes()
    for end in range(0, len(data), 7):
        path.write_bytes(data[:end])
        with pytest.raises(ValueError, match=MESSAGE):
            textgen.PreparedCorpus.load(path)
    path.write_bytes(data + b"\0")
    with pytest.raises(ValueError, match=MESSAGE):
        textgen.PreparedCorpus.load(path)


def test_damage_is_found_or_harmless(path):
    data, source = path.read_bytes(), random.Random(0)
    found = 0
    for _ in range(500):
        damaged = bytearray(data)
        damaged[source.randrange(len(data))] ^= 1 << source.randrange(8)
        path.write_bytes(damaged)
        try:
            corpus = textgen.PreparedCorpus.load(path)
        except ValueError as error:
            found += 1
            assert str(error).isprintable()
            assert len(str(error)) < len(str(path)) + 300
        else:
            corpus.tokenizer.decode(corpus.ids)
    assert found > 100


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "int8"},
        {"dtype": "uint64"},
        {"dtype": "object"},
        {"dtype": "x"},
        {"tokens": 0},
        {"tokens": -1},
        {"tokens": 10**30},
        {"tokens": "3"},
        {"counts": []},
        {"counts": [1] * 200},
        {"counts": ["a"]},
        {"tokenizer": {}},
        {"tokenizer": {"level": "letter"}},
        {"tokenizer": {"level": "word", "symbols": 1, "unknown": "error"}},
        {"counts": [1] * 11},
        {"more": 1},
        {"sources": "x"},
    ],
    ids=str,
)
def test_header_that_does_not_fit(path, change):
    header, ids = parts_of(path)
    with_header(path, {**header, **change}, ids)
    with pytest.raises(ValueError, match=MESSAGE):
        textgen.PreparedCorpus.load(path)


@pytest.mark.parametrize("header", [[], "x", None, {}])
def test_header_of_another_kind(path, header):
    with_header(path, header, b"\0")
    with pytest.raises(ValueError, match=MESSAGE):
        textgen.PreparedCorpus.load(path)


def test_id_that_is_not_in_the_vocabulary(path):
    header, ids = parts_of(path)
    with_header(path, header, ids[:-1] + bytes([len(set(TEXT))]))
    with pytest.raises(ValueError, match="an id is not in its vocabulary"):
        textgen.PreparedCorpus.load(path)


def test_datasets_take_the_ids(path):
    corpus = textgen.PreparedCorpus.load(path)
    ids = [sorted(set(TEXT)).index(each) for each in TEXT]
    x, y = textgen.SequenceDataset(corpus.ids, 4, 2, random_offset=False).batch(0, None)
    np.testing.assert_array_equal(x, [ids[:4], ids[4:8]])
    np.testing.assert_array_equal(y, [ids[1:5], ids[5:9]])
    assert x.dtype == np.int32
    x, y = textgen.WindowDataset(corpus.ids, 5, shuffle=False)[0]
    np.testing.assert_array_equal(x[1], ids[3:8])
    assert y[1] == ids[8]
    end = corpus.tokenizer.ids["\n"]
    x, y = textgen.LineDataset(corpus.ids, end, shuffle=False)[0]
    assert y[0, :4].tolist() == ids[:4]
    assert x[0, 0] == -1


@pytest.fixture
def labelled(tmp_path):
    (tmp_path / "a.csv").write_text("text,author\none,Poe\ntwo,\nthree,Keats\n")
    textgen.prepare(
        tmp_path / "a.csv", tmp_path / "a.ids", field="text", label_field="author"
    )
    return tmp_path / "a.ids"


def test_labels_of_a_file(labelled, tmp_path):
    header, data = parts_of(labelled)
    size = header["tokens"]
    assert header["labels"] == ["Keats", "Poe"]
    assert np.frombuffer(data[size:], "<i4").tolist() == [1, -1, 0]
    corpus = textgen.PreparedCorpus.load(labelled)
    assert corpus.tokenizer.decode(corpus.ids) == "one\ntwo\nthree\n"
    assert corpus.labels.names == ("Keats", "Poe")
    assert corpus.labels.numbers.tolist() == [[1], [-1], [0]]
    corpus.save(tmp_path / "b.ids")
    assert (tmp_path / "b.ids").read_bytes() == labelled.read_bytes()
    memory = textgen.prepare(tmp_path / "a.csv", field="text", label_field=("author",))
    assert memory.labels.numbers.tolist() == [[1], [-1], [0]]


@pytest.mark.parametrize(
    "change",
    [
        {"labels": ["Poe"]},
        {"labels": ["Poe", "Poe"]},
        {"labels": [1, 2]},
        {"labels": "Poe"},
        {"labels_shape": [3, 2]},
        {"labels_shape": [3]},
        {"labels_shape": [-1, -3]},
        {"labels_shape": ["3", 1]},
        {"labels_shape": [0, 0]},
    ],
)
def test_damaged_labels(labelled, change):
    header, data = parts_of(labelled)
    with_header(labelled, header, data)
    textgen.PreparedCorpus.load(labelled)
    with_header(labelled, {**header, **change}, data)
    with pytest.raises(ValueError, match=r"a\.ids is not a valid file"):
        textgen.PreparedCorpus.load(labelled)
    with_header(labelled, {**header, **change}, data[:-1])
    with pytest.raises(ValueError, match=r"a\.ids is not a valid file"):
        textgen.PreparedCorpus.load(labelled)


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("from_file", [False, True])
def test_with_tokenizer(path, tmp_path, stored, from_file, monkeypatch):
    monkeypatch.setattr(prepared, "_CHUNK", 7)
    corpus = textgen.PreparedCorpus.load(path)
    if not from_file:
        corpus = textgen.prepare(iter([TEXT]))
    more = [chr(code) for code in range(0x4E00, 0x4E00 + 300)]
    tokenizer = corpus.tokenizer.extended(["\0", *more])
    output = tmp_path / "b.ids" if stored else None
    other = corpus.with_tokenizer(tokenizer, output)
    symbols = sorted({*TEXT, "\0", *more})
    assert other.ids.tolist() == [symbols.index(each) for each in TEXT]
    assert other.ids.dtype == np.uint16
    assert other.counts.tolist() == [TEXT.count(each) for each in symbols]
    assert list(other.tokenizer.symbols) == symbols
    assert (other.path, other.sha256) == (output, corpus.sha256)
    assert (other.characters, other.options) == (len(TEXT), corpus.options)
    names = ["a.ids", "b.ids"] if stored else ["a.ids"]
    assert sorted(each.name for each in tmp_path.iterdir()) == names


def test_with_tokenizer_that_lacks_symbols(path, tmp_path):
    corpus = textgen.PreparedCorpus.load(path)
    fewer = textgen.Vocabulary(set(TEXT) - {"w"})
    with pytest.raises(ValueError, match="lacks the symbol 'w' of the corpus"):
        corpus.with_tokenizer(fewer, tmp_path / "b.ids")
    words = textgen.Vocabulary(set(TEXT), "word")
    with pytest.raises(ValueError, match="the level 'word', and the corpus 'char"):
        corpus.with_tokenizer(words, tmp_path / "b.ids")
    assert [each.name for each in tmp_path.iterdir()] == ["a.ids"]


def test_with_tokenizer_that_is_interrupted(path, tmp_path, monkeypatch):
    corpus = textgen.PreparedCorpus.load(path)
    (tmp_path / "b.ids").write_text("old")

    def pieces():
        yield corpus.ids[:9]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        corpus.with_ids(pieces(), tmp_path / "b.ids")
    assert (tmp_path / "b.ids").read_text() == "old"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.ids", "b.ids"]


def test_memory_of_with_tokenizer(tmp_path, monkeypatch):
    monkeypatch.setattr(prepared, "_CHUNK", 1 << 12)
    textgen.prepare(iter([TEXT * 10_000]), tmp_path / "a.ids")
    corpus = textgen.PreparedCorpus.load(tmp_path / "a.ids")
    tokenizer = corpus.tokenizer.extended("xyz")
    tracemalloc.start()
    other = corpus.with_tokenizer(tokenizer, tmp_path / "b.ids")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(other) == len(TEXT) * 10_000
    assert peak < len(other) / 4
