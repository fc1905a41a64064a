import bz2
import gzip
import io
import lzma
import random
import struct
import sys
import tracemalloc
import zipfile
import zlib

import pytest

import textgen
from textgen.text import archive


def zipped(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_zip_file(tmp_path):
    members = {"folder/": b"", "folder/text.txt": "Naïve\r\n".encode("latin-1")}
    path = zipped(tmp_path / "text.zip", members)
    assert textgen.load_corpus(path, True, "latin-1") == "naïve\n"


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({}, "has no text file. Hidden files and binary files do not"),
        ({"folder/": b"", "__MACOSX/a.txt": b"a"}, "has no text file"),
        ({"a/.b.txt": b"a", ".a/b.txt": b"b"}, "has no text file"),
        ({"a.png": b"\x89PNG", "b.txt": b"\0"}, "has no text file"),
        ({"a.txt": b""}, "is empty"),
        ({"a.txt": b"", "b.txt": b""}, "is empty"),
        ({"a.txt": b"%PDF-", ".b.txt": b"b"}, "is a PDF file"),
        ({"a.txt": b"%PDF-"}, "is a PDF file"),
        ({"a.txt": gzip.compress(b"a")}, "is compressed twice"),
        ({"a.txt": b"ab\xff"}, "is not valid utf-8: byte 0xff at offset 2"),
    ],
)
def test_zip_file_without_a_text(tmp_path, members, message):
    with pytest.raises(ValueError, match=rf"text\.zip {message}"):
        textgen.load_corpus(zipped(tmp_path / "text.zip", members))


def replace_all(data):
    return b"no zip file"


def spoil_content(data):
    # After the 30 bytes of the header of the member and its name, "a".
    return data[:31] + bytes(byte ^ 0xFF for byte in data[31:41]) + data[41:]


def encrypt(data):
    # The encryption flag, in the header of the member and in the directory.
    directory = data.index(b"PK\x01\x02")
    spoiled = bytearray(data)
    spoiled[6] |= 1
    spoiled[directory + 8] |= 1
    return bytes(spoiled)


@pytest.mark.parametrize(
    "spoil",
    [
        replace_all,
        spoil_content,
        encrypt,
    ],
)
def test_damaged_zip_file(tmp_path, spoil):
    path = zipped(tmp_path / "text.zip", {"a": b"text " * 20})
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(ValueError, match=r"text\.zip"):
        textgen.load_corpus(path)


METHODS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2]
TEXT = b"shall i compare thee to a summer's day\n" * 30


def zip_of(data, method=zipfile.ZIP_DEFLATED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as made:
        made.writestr("a.txt", data)
    return file.getvalue()


@pytest.mark.parametrize("method", METHODS)
def test_methods(method, tmp_path):
    (tmp_path / "a.zip").write_bytes(zip_of(TEXT, method))
    assert textgen.load_corpus(tmp_path / "a.zip") == TEXT.decode()


def test_other_method(tmp_path):
    (tmp_path / "a.zip").write_bytes(zip_of(TEXT, zipfile.ZIP_LZMA))
    with pytest.raises(ValueError, match=r"is not supported\. Unpack it with another"):
        textgen.load_corpus(tmp_path / "a.zip")


def texts_of_damaged(path, whole, longest):
    """Yields the texts that 300 damaged files give, and whether the file was cut.

    The others are refused, each with an error of at most `longest` characters and the
    path.
    """
    source = random.Random(0)
    for index in range(300):
        data = bytearray(whole)
        if index % 3 == 0:
            data = data[: source.randrange(len(data))]
        for _ in range(index % 3):
            data[source.randrange(len(data))] = source.randrange(256)
        path.write_bytes(data)
        try:
            text = textgen.load_corpus(path)
        except ValueError as error:
            assert type(error) is ValueError
            assert str(error).startswith(str(path))
            assert str(error).isprintable()
            assert len(str(error)) <= len(str(path)) + longest
        else:
            yield text, index % 3 == 0


@pytest.mark.parametrize("method", METHODS)
def test_damage_is_found(method, tmp_path):
    found = list(texts_of_damaged(tmp_path / "a.zip", zip_of(TEXT, method), 230))
    assert all(text == TEXT.decode() for text, _ in found)
    assert len(found) < 100


def test_bomb_is_refused_by_its_declared_size(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "_METHODS", {})  # nothing is unpacked
    (tmp_path / "a.zip").write_bytes(zip_of(bytes(80 << 20)))
    with pytest.raises(ValueError, match=r"bytes unpack to more than 67,108,864"):
        textgen.load_corpus(tmp_path / "a.zip")


def test_text_within_the_limits(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "_UNPACKED_BYTES", 1000)
    (tmp_path / "a.zip").write_bytes(zip_of(b"a" * 1000))
    assert textgen.load_corpus(tmp_path / "a.zip") == "a" * 1000
    (tmp_path / "a.zip").write_bytes(zip_of(b"a" * 10_000))
    with pytest.raises(ValueError, match=r"\d+ bytes unpack to more than \d,\d{3}, "):
        textgen.load_corpus(tmp_path / "a.zip")
    text = random.Random(0).randbytes(250).hex().encode()
    (tmp_path / "a.zip").write_bytes(zip_of(text * 20))  # a ratio of about 20
    assert len(textgen.load_corpus(tmp_path / "a.zip")) == 10_000


@pytest.mark.parametrize("method", METHODS[1:])
def test_size_that_is_not_true(method, tmp_path):
    data = bytearray(zip_of(bytes(10_000_000), method))
    for start, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        place = data.index(start) + at
        data[place : place + 4] = struct.pack("<I", 1000)
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(ValueError, match="Bad CRC-32"):
        textgen.load_corpus(tmp_path / "a.zip")


def test_long_list_of_files(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as made:
        for index in range(12):
            made.writestr(zipfile.ZipInfo(chr(65 + index) * 65_535), "")
    with pytest.raises(ValueError, match=r"a\.zip is empty"):
        textgen.load_corpus(tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip", "a") as made:
        for index in range(12, 17):
            made.writestr(zipfile.ZipInfo(chr(65 + index) * 65_535), "")
    with pytest.raises(ValueError, match="its list of files is too long"):
        textgen.load_corpus(tmp_path / "a.zip")


# === gzip, bzip2 and xz ===

# Functions of the standard library that compress, and those that unpack a whole.
KINDS = {
    "gz": (gzip.compress, gzip.decompress),
    "bz2": (bz2.compress, bz2.decompress),
    "xz": (lzma.compress, lzma.decompress),
}
kinds = pytest.mark.parametrize("kind", KINDS)


@kinds
@pytest.mark.parametrize("name", ["a.txt.KIND", "A.KIND", "a.txt", "a"])
def test_compressed_file(kind, name, tmp_path):
    name = name.replace("KIND", kind if name.islower() else kind.upper())
    text = "Naïve\r\n".encode("latin-1") * 5000
    (tmp_path / name).write_bytes(KINDS[kind][0](text))
    found = textgen.load_corpus(tmp_path / name, True, "latin-1")
    assert found == "naïve\n" * 5000
    assert [path.name for path in tmp_path.iterdir()] == [name]


@kinds
def test_compressed_standard_input(kind, monkeypatch):
    data = io.BytesIO(KINDS[kind][0](TEXT))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(data))
    assert textgen.load_corpus("-") == TEXT.decode()


@kinds
@pytest.mark.parametrize("block", [1, 7, 64, 1 << 16])
@pytest.mark.parametrize("zeros", [0, 4, 200])
def test_several_streams_and_zeros_at_the_end(
    kind, block, zeros, tmp_path, monkeypatch
):
    monkeypatch.setattr(archive, "_BLOCK", block)
    compress, decompress = KINDS[kind]
    parts = [b"", TEXT, b"x", b"", bytes(300) + TEXT]
    data = b"".join(map(compress, parts))
    assert decompress(data) == b"".join(parts)
    (tmp_path / "a").write_bytes(data + bytes(zeros))
    with open(tmp_path / "a", "rb") as file:
        [text] = archive.texts(archive.Counted(file), "a")
        blocks = list(text.blocks())
    assert b"".join(blocks) == b"".join(parts)
    assert all(blocks)


@kinds
def test_first_block_shows_what_the_content_is(kind, tmp_path):
    """Also of a file of many short streams."""
    data = bytes(257) + b"ustar" + bytes(5000)
    parts = [data[at : at + 10] for at in range(0, len(data), 10)]
    (tmp_path / "a").write_bytes(b"".join(map(KINDS[kind][0], parts)))
    with open(tmp_path / "a", "rb") as file:
        [text] = archive.texts(archive.Counted(file), "a")
        first = next(text.blocks())
    assert 4096 <= len(first) < len(data)
    assert data.startswith(first)


@kinds
def test_empty_compressed_file(kind, tmp_path):
    path = tmp_path / f"a.{kind}"
    path.write_bytes(KINDS[kind][0](b""))
    with pytest.raises(ValueError, match=rf"a\.{kind} is empty: a corpus needs"):
        textgen.load_corpus(path)


@kinds
@pytest.mark.parametrize("name", ["a.KIND", "a"])
def test_compressed_file_that_is_cut(kind, name, tmp_path):
    path = tmp_path / name.replace("KIND", kind)
    whole = KINDS[kind][0](TEXT)
    for end in range(0 if path.suffix else 16, len(whole)):
        path.write_bytes(whole[:end])
        with pytest.raises(
            ValueError, match=r"is not a valid \w+ file: .*Get the file"
        ):
            textgen.load_corpus(path)


@kinds
def test_damage_in_a_compressed_file(kind, tmp_path):
    compress, _ = KINDS[kind]
    whole = compress(TEXT[:500]) + compress(TEXT[500:])
    found = list(texts_of_damaged(tmp_path / f"a.{kind}", whole, 300))
    for text, cut in found:
        # Cut between the streams, it is a valid file.
        assert text == TEXT.decode() or (text == TEXT[:500].decode() and cut)
    assert len(found) < 60


@kinds
def test_text_after_a_compressed_file(kind, tmp_path):
    """Python's `bz2.open` and `lzma.open` would ignore it."""
    path = tmp_path / f"a.{kind}"
    path.write_bytes(KINDS[kind][0](TEXT) + b"more")
    with pytest.raises(ValueError, match=rf"a\.{kind} is not a valid \w+ file"):
        textgen.load_corpus(path)


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".GZ"])
@pytest.mark.parametrize("data", [b"text", b"", b"\x1f"])
def test_file_that_only_has_the_name(suffix, data, tmp_path):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(data)
    with pytest.raises(
        ValueError, match=f"begins with other .* without {suffix.lower()}"
    ):
        textgen.load_corpus(path, encoding="latin-1")


def test_text_that_begins_like_bzip2(tmp_path):
    (tmp_path / "a.txt").write_text("BZh9 is a text")
    assert textgen.load_corpus(tmp_path / "a.txt") == "BZh9 is a text"


@kinds
def test_limit_of_a_compressed_file(kind, tmp_path, monkeypatch):
    compress, _ = KINDS[kind]
    path = tmp_path / "a"
    monkeypatch.setattr(archive, "_UNPACKED_BYTES", 1000)
    path.write_bytes(compress(b"a" * 1000))
    assert textgen.load_corpus(path) == "a" * 1000
    # A larger file may unpack to 50 times its size, and to no byte more.
    data = compress(b"a" * 100_000)
    path.write_bytes(data + bytes(2000 - len(data)))
    assert textgen.load_corpus(path) == "a" * 100_000
    path.write_bytes(data + bytes(1999 - len(data)))
    message = r"a is refused: its 1,999 bytes unpack to more than 99,950, .*If it is a"
    with pytest.raises(ValueError, match=message):
        textgen.load_corpus(path)


@kinds
def test_bomb_is_given_up_at_the_limit(kind, tmp_path):
    path = tmp_path / "a"
    # 200 MB of zeros.
    path.write_bytes(KINDS[kind][0](bytes(20_000_000)) * 10)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"unpack to more than 67,108,864"):
            textgen.load_corpus(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 160e6  # a buffer of 64 MB grows to a larger one


@kinds
def test_memory_of_a_compressed_file(kind, tmp_path):
    """It is that of the plain file: nothing is held twice."""
    text = random.Random(0).randbytes(1_000_000).hex().encode()
    # The decoder of xz has a memory of its own, at least 256 kB here.
    compress = {"xz": lambda data: lzma.compress(data, preset=0)}.get(
        kind, KINDS[kind][0]
    )
    peaks = []
    for data in (text, compress(text)):
        (tmp_path / "a").write_bytes(data)
        tracemalloc.start()
        assert len(textgen.load_corpus(tmp_path / "a")) == len(text)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 5e5


def test_xz_file_that_asks_for_much_memory(tmp_path):
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 20}]
    data = lzma.compress(TEXT, filters=filters)
    # The size of the dictionary: 3 GB. The header has a checksum.
    place = data.index(b"\x21\x01") + 2
    header = bytearray(data[12 : 12 + 4 * (data[12] + 1)])
    header[place - 12] = 39
    header[-4:] = struct.pack("<I", zlib.crc32(header[:-4]))
    data = data[:12] + bytes(header) + data[12 + len(header) :]
    (tmp_path / "a.xz").write_bytes(data)
    message = r"a\.xz is not .*: Memory usage limit exceeded\. .*with another program"
    with pytest.raises(ValueError, match=message):
        textgen.load_corpus(tmp_path / "a.xz")
