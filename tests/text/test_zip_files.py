"""Zip files of several texts."""

import gzip
import io
import json
import random
import stat
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import pytest

import textgen
from textgen.text import archive
from textgen.text.reading import CorpusReader

BOM = b"\xef\xbb\xbf"

# What is read of a zip file, in this order: that of the paths of a folder.
MEMBERS = {
    "B.txt": b"B\r\n",
    "a/2.txt": BOM + b"two\r",
    "a/b/c": "naïve".encode(),
    "a.md": BOM + b"a",
    "empty.txt": b"",
    "z.txt": b"last",
}
JOINED = "B\ntwo\nnaïve\na\nlast"

HIDDEN = {
    ".hidden": b"\xff",
    ".git/config": b"\xff",
    "a/.DS_Store": b"\xff",
    "__MACOSX/a/2.txt": b"\xff",
    "__MACOSX/._z.txt": b"\xff",
    "folder/": b"",
}

BINARY = {
    "b.png": b"\x89PNG",
    "c.docx": b"PK\x03\x04",
    "d/e.gz": gzip.compress(b"text"),
    "d/nul": b"\0",
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def zipped(members, name="a.zip", method=zipfile.ZIP_DEFLATED):
    Path(name).parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(name, "w", method) as made:
        for each, data in members.items():
            made.writestr(each, data)
    return name


def shuffled(members, seed):
    names = list(members)
    random.Random(seed).shuffle(names)
    return {name: members[name] for name in names}


@pytest.mark.parametrize("seed", range(3))
def test_texts_are_read_in_the_order_of_a_folder(seed):
    for name, data in MEMBERS.items():
        Path("folder", name).parent.mkdir(parents=True, exist_ok=True)
        Path("folder", name).write_bytes(data)
    paths = sorted(each for each in Path("folder").rglob("*") if each.is_file())
    assert [str(each.relative_to("folder")) for each in paths] == list(MEMBERS)
    texts = [text for each in paths if (text := each.read_text("utf-8-sig"))]
    lines = [text if text.endswith("\n") else f"{text}\n" for text in texts]
    assert "".join(lines) == f"{JOINED}\n"
    zipped(shuffled(MEMBERS | HIDDEN, seed))
    assert textgen.load_corpus("a.zip") == JOINED
    assert textgen.load_corpus("a.zip", lowercase=True) == JOINED.lower()


def test_other_names():
    """Two files of one name are both read, and folders may be named as `./a`."""
    members = {"./b": b"b", "../a": b"a", "./a": b"first", "/c": b"c"}
    zipped(members)
    with (
        pytest.warns(UserWarning, match="Duplicate name"),
        zipfile.ZipFile("a.zip", "a") as made,
    ):
        made.writestr("./b", "b2")
    assert textgen.load_corpus("a.zip") == "a\nc\nfirst\nb\nb2"


def test_methods_in_one_file():
    with zipfile.ZipFile("a.zip", "w") as made:
        made.writestr("c", "stored" * 9000, zipfile.ZIP_STORED)
        made.writestr("a", "deflated" * 9000, zipfile.ZIP_DEFLATED)
        made.writestr("b", "bzip2" * 9000, zipfile.ZIP_BZIP2)
    expected = "\n".join([each * 9000 for each in ("deflated", "bzip2", "stored")])
    assert textgen.load_corpus("a.zip") == expected


def test_links_are_left_out():
    zipped({"a": b"a", "b": b"b"})
    with zipfile.ZipFile("a.zip", "a") as made:
        link = zipfile.ZipInfo("c")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        made.writestr(link, "a")
    assert textgen.load_corpus("a.zip") == "a\nb"


@pytest.mark.parametrize("name", [".hidden", "../a", "a.zip", "a b\n", "詩", ".a/b"])
def test_file_of_one_text_with_any_name(name):
    zipped({name: b"one", "__MACOSX/a": b"two", "folder/": b""})
    assert textgen.load_corpus("a.zip") == "one"


@pytest.mark.parametrize("others", [{}, {"b": b"two"}])
def test_empty_name(others):
    data = Path(zipped({"?": b"one", **others})).read_bytes()
    Path("a.zip").write_bytes(data.replace(b"?", b"\0"))
    assert textgen.load_corpus("a.zip") == ("one\ntwo" if others else "one")


def test_zip_files_among_others():
    zipped(MEMBERS, "folder/b.ZIP")
    zipped({"one": b"one"}, "folder/c.zip")
    Path("folder/a.txt").write_text("first")
    Path("folder/d.txt").write_text("end\n")
    expected = f"first\n{JOINED}\none\nend\n"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert textgen.load_corpus("folder") == expected
        assert textgen.load_corpus("folder/*") == expected
        given = ["folder/c.zip", "folder/b.ZIP", "folder/b.ZIP"]
        assert textgen.load_corpus(given) == f"one\n{JOINED}\n{JOINED}"


def test_each_text_is_decoded_alone():
    texts = {"a": "\ufeffa詩".encode("utf-16-le"), "b": "\ufeffb".encode("utf-16-be")}
    zipped(texts)
    assert textgen.load_corpus("a.zip", encoding="utf-16") == "a詩\nb"
    zipped({"a": b"1\xc3", "b": b"\xa9\r", "c": b"\n3"})
    with pytest.raises(ValueError, match=r"^a\.zip: a is not valid utf-8: .* offset 1"):
        textgen.load_corpus("a.zip")
    reader = CorpusReader("a.zip", replace=True)
    assert "".join(reader) == "1\ufffd\n\ufffd\n\n3"
    assert reader.replaced == 2


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_binary_files_are_left_out_with_a_warning(encoding):
    texts = {"a": b"a", "e": b"e"}
    zipped(texts | BINARY)
    with pytest.warns(UserWarning, match=r"^a\.zip: 4 binary files left") as caught:
        assert textgen.load_corpus("a.zip", encoding=encoding) == "a\ne"
    assert len(caught) == 1
    assert all(name in str(caught[0].message) for name in BINARY)
    assert caught[0].filename == __file__


def test_zip_files_without_a_text_are_binary_files_of_a_folder():
    zipped(BINARY, "folder/images.zip")
    zipped({}, "folder/empty.zip")
    with pytest.raises(FileNotFoundError, match="The folder folder has no text file"):
        textgen.load_corpus("folder")
    with pytest.raises(ValueError, match=r"^folder/images\.zip has no text file"):
        textgen.load_corpus(["folder/images.zip"])
    # The only text of a folder can be in a zip file.
    zipped({"a": b"a", **BINARY}, "folder/texts.zip")
    with pytest.warns(UserWarning, match="binary files left out") as caught:
        assert textgen.load_corpus("folder") == "a"
    first, second = sorted(str(each.message) for each in caught)
    assert (
        first
        == "folder/texts.zip: 4 binary files left out: "
        + ", ".join(sorted(BINARY))
        + "."
    )
    assert second == "folder: 2 binary files left out: empty.zip, images.zip."


def test_limit_holds_for_all_texts_together(monkeypatch):
    monkeypatch.setattr(archive, "_UNPACKED_BYTES", 30_000)
    zipped({each: b"a" * 10_000 for each in "abc"})
    assert len(textgen.load_corpus("a.zip")) == 30_002
    zipped({**{each: b"a" * 10_000 for each in "abc"}, "d": b"a"})
    with pytest.raises(ValueError, match=r"^a\.zip is refused: its .* than 30,000, "):
        textgen.load_corpus("a.zip")
    # Hidden files are not unpacked.
    zipped({**{each: b"a" * 10_000 for each in "abc"}, ".d": b"a"})
    assert len(textgen.load_corpus("a.zip")) == 30_002


def encrypted(data):
    """Sets the encryption flag of the second file, in its header and the directory."""
    second = data.index(b"PK\x03\x04", 4)
    listed = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 4)
    spoiled = bytearray(data)
    spoiled[second + 6] |= 1
    spoiled[listed + 8] |= 1
    return bytes(spoiled)


def spoiled_content(data):
    place = data.index(b"PK\x03\x04", 4) + 31  # 30 bytes of the header, and the name
    return (
        data[:place]
        + bytes(each ^ 0xFF for each in data[place : place + 9])
        + (data[place + 9 :])
    )


def spoiled_name(data):
    place = data.index(b"PK\x03\x04", 4) + 30
    return data[:place] + b"x" + data[place + 1 :]


@pytest.mark.parametrize(
    ("spoil", "method", "message"),
    [
        (encrypted, zipfile.ZIP_DEFLATED, "cannot be read: it is encrypted. Unpack it"),
        (spoiled_content, zipfile.ZIP_DEFLATED, "is damaged: "),
        (spoiled_content, zipfile.ZIP_STORED, "is damaged: Bad CRC-32"),
        (spoiled_content, zipfile.ZIP_BZIP2, "is damaged: it was cut short or"),
        (spoiled_name, zipfile.ZIP_DEFLATED, "is damaged: File name in directory"),
        (bytes, zipfile.ZIP_LZMA, "cannot be read: the compression method is not sup"),
    ],
)
def test_error_names_the_file_and_its_member(spoil, method, message):
    with zipfile.ZipFile("a.zip", "w") as made:
        made.writestr("a", "text " * 20, zipfile.ZIP_DEFLATED)
        made.writestr("b", "text " * 20, method)
    data = Path("a.zip").read_bytes()
    Path("a.zip").write_bytes(spoil(data))
    reader = iter(CorpusReader("a.zip"))
    assert next(reader) == "text " * 20
    with pytest.raises(ValueError, match=f"a.zip: b {message}"):
        list(reader)
    with pytest.raises(ValueError, match=r"^a\.zip: b "):
        textgen.load_corpus("a.zip")


def test_name_in_an_error_is_short_and_printable():
    zipped({"\x1b[31m" * 1000: b"\xff", "b": b"b"})
    with pytest.raises(ValueError, match=r"^a\.zip: \\x1b\[31m.* utf-8") as info:
        textgen.load_corpus("a.zip")
    assert str(info.value).isprintable()
    assert len(str(info.value)) < 250


def test_damaged_files():
    """They are refused, or read without a text whose entry in the list is damaged."""
    whole = Path(zipped({"a": b"one " * 50, "b": b"two " * 50})).read_bytes()
    one, two = "one " * 50, "two " * 50
    source, refused = random.Random(0), 0
    for _ in range(1000):
        data = bytearray(whole)
        data[source.randrange(len(data))] = source.randrange(256)
        Path("a.zip").write_bytes(data)
        try:
            found = textgen.load_corpus("a.zip")
        except ValueError as error:
            assert str(error).startswith("a.zip")
            refused += 1
        else:
            assert found in (f"{one}\n{two}", f"{two}\n{one}", one, two)
    assert refused > 400


# === Fields ===

CSV = b"id,text,author\n1,one,A\n2,two,B\n"
JSON = json.dumps({"text": "three", "author": "C"}).encode()


def test_field_of_each_member():
    zipped({"b.jsonl": JSON, "a.csv": CSV})
    corpus = textgen.prepare("a.zip", field="text", label_field="author")
    assert corpus.tokenizer.decode(corpus.ids) == "one\ntwo\nthree\n"
    labels = corpus.labels
    assert labels.names == ("A", "B", "C")


@pytest.mark.parametrize(
    ("name", "members", "lines"),
    [
        ("a.csv.zip", ["odd"], 2),
        ("a.csv.zip", ["odd", "d/odd.txt", "c.jsonl"], 6),
        ("a.zip", ["b.csv"], 2),
        ("v1.2.zip", ["b.csv"], 2),
        ("v1.2.zip", ["b.csv", "v1.csv/x.CSV"], 4),
    ],
)
def test_suffix_that_counts_for_a_field(name, members, lines):
    zipped(dict.fromkeys(members, CSV), name)
    text = "".join(CorpusReader(name, field="text"))
    assert text == "one\ntwo\n" * (lines // 2)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"a.csv": CSV, "b.txt": CSV}, "needs a file .*; a.zip: b.txt has another"),
        ({"a.csv": CSV, "v.csv/b": CSV}, "needs a file .*; a.zip: v.csv/b has another"),
        ({"b.txt": CSV}, "needs a file .*; a.zip has another"),
        ({"a.csv": CSV, "b.csv": b"x"}, "^a.zip: b.csv has no column 'text'"),
        ({"b.csv": b"x"}, "^a.zip has no column 'text'"),
    ],
)
def test_errors_of_fields(members, message):
    zipped(members)
    with pytest.raises(ValueError, match=message):
        list(CorpusReader("a.zip", field="text"))


# === Progress and memory ===


def test_progress_is_that_of_the_zip_file():
    texts = [random.Random(seed).randbytes(100_000).hex() for seed in range(4)]
    zipped({str(at): text.encode() for at, text in enumerate(texts)})
    Path("b.txt").write_text("b")
    reader = CorpusReader(["a.zip", "b.txt"])
    size = Path("a.zip").stat().st_size
    expected = [{"name": "a.zip", "bytes": size}, {"name": "b.txt", "bytes": 1}]
    assert reader.files == expected
    assert reader.size == size + 1
    read, done = 0, [0]
    for piece in reader:
        read += len(piece)
        done.append(reader.done)
        # The packed texts have about half of their characters.
        assert abs(reader.done - read / 800_000 * size) < 0.15 * size
    assert done == sorted(done)
    assert reader.done == size + 1


def peak_of(source):
    """Returns the memory that reading a corpus takes, and its length."""
    tracemalloc.start()
    try:
        length = sum(map(len, CorpusReader(source)))
        return tracemalloc.get_traced_memory()[1], length
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_memory_does_not_grow_with_the_texts(method):
    texts = [random.Random(at).randbytes(100_000).hex().encode() for at in range(30)]
    members = {str(at): text for at, text in enumerate(texts)}
    zipped({"0": texts[0], "1": texts[1]}, "few.zip", method)
    zipped(members, "many.zip", method)
    few, length = peak_of("few.zip")
    assert length == 400_001
    many, length = peak_of("many.zip")
    assert length == 30 * 200_001 - 1
    assert many < few + 100_000


@pytest.mark.filterwarnings("ignore:many.zip")
def test_memory_of_binary_files():
    noise = random.Random(0).randbytes(100_000)
    members = {f"{at}.png": b"\x89PNG" + noise for at in range(50)}
    zipped({"a": b"a", "b.png": members["0.png"]}, "few.zip")
    zipped({"a": b"a", **members}, "many.zip")
    with pytest.warns(UserWarning, match="few.zip: 1 binary file left out"):
        few, _ = peak_of("few.zip")
    many, _ = peak_of("many.zip")
    assert many < few + 200_000


def test_prepared_corpus_has_the_zip_file_as_its_source():
    zipped(MEMBERS)
    calls = io.StringIO()
    corpus = textgen.prepare(
        "a.zip", progress=lambda done, size: calls.write(f"{done} of {size}\n")
    )
    assert corpus.tokenizer.decode(corpus.ids) == JOINED
    size = Path("a.zip").stat().st_size
    assert corpus.sources == [{"name": "a.zip", "bytes": size}]
    assert calls.getvalue().endswith(f" of {size}\n")
