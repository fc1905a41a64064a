import io
import random
import struct
import zipfile

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
        ({"a.txt": b"a", "b.txt": b"b"}, "holds 2 files"),
        ({"folder/": b""}, "holds 0 files"),
        ({"a.txt": b""}, "is empty"),
        ({"a.txt": b"ab\xff"}, "is not valid utf-8: byte 0xff at offset 2"),
    ],
)
def test_zip_file_without_one_text(tmp_path, members, message):
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


@pytest.mark.parametrize("method", METHODS)
def test_damage_is_found(method, tmp_path):
    path = tmp_path / "a.zip"
    whole, source, same = zip_of(TEXT, method), random.Random(0), 0
    for index in range(300):
        data = bytearray(whole)
        if index % 3 == 0:
            data = data[: source.randrange(len(data))]
        for _ in range(index % 3):
            data[source.randrange(len(data))] = source.randrange(256)
        path.write_bytes(data)
        try:
            assert textgen.load_corpus(path) == TEXT.decode()
            same += 1
        except ValueError as error:
            assert type(error) is ValueError
            assert str(error).startswith(str(path))
            assert str(error).isprintable()
            assert len(str(error)) <= len(str(path)) + 230
    assert same < 100


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
    with pytest.raises(ValueError, match="holds 12 files"):
        textgen.load_corpus(tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip", "a") as made:
        for index in range(12, 17):
            made.writestr(zipfile.ZipInfo(chr(65 + index) * 65_535), "")
    with pytest.raises(ValueError, match="its list of files is too long"):
        textgen.load_corpus(tmp_path / "a.zip")
