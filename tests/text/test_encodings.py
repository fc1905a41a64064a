"""The hint at the encoding of a text that is not valid UTF-8."""

import itertools
import random

import pytest

import textgen
from textgen.text import encodings

FRENCH = "L'été dernier, à l'école, les élèves étaient très déçus.\n"
RUSSIAN = "Мой дядя самых честных правил, когда не в шутку занемог.\n"
TEXTS = {
    "latin-1": "Über die größten Bäume hüpfen süße Mäuse, naïve.\n",
    "cp1252": "Elle a dit « été » – et l’autre : “à bientôt”, l’œuvre…\n",
    "cp1251": RUSSIAN,
    "koi8-r": RUSSIAN,
    "shift_jis": "吾輩は猫である。名前はまだ無い。\n",
    "euc_jp": "どこで生れたかとんと見当がつかぬ。\n",
    "euc_kr": "나라의 말이 중국과 달라 문자와 서로 통하지 아니하므로\n",
    "gb18030": "白日依山尽，黄河入海流。我们的国家是这样的。\n",
    "big5": "白日依山盡，黃河入海流。我們的國家是這樣的。\n",
    "utf-16": "naïve\n",
}


def hint(data, path, encoding="utf-8"):
    path.write_bytes(data)
    with pytest.raises(ValueError, match=rf"text\.txt is not valid {encoding}") as info:
        textgen.load_corpus(path, encoding=encoding)
    words, _, name = str(info.value).partition("for example encoding=")
    assert words.endswith("Give the encoding of the file, ")
    return name.strip("'.")


@pytest.mark.parametrize(("encoding", "text"), TEXTS.items(), ids=TEXTS)
@pytest.mark.parametrize("many", [1, 3000])
def test_hints(encoding, text, many, tmp_path):
    data = ("All in ASCII.\n" * 9 + text * many).encode(encoding)
    path = tmp_path / "text.txt"
    assert hint(data, path) == encoding
    # It is only a hint; but with it, the text is read.
    assert textgen.load_corpus(path, encoding=encoding) == data.decode(encoding)


def test_a_french_text_is_not_taken_for_a_russian_one(tmp_path):
    assert hint(FRENCH.encode("latin-1"), tmp_path / "text.txt") == "latin-1"


def test_hint_is_never_the_encoding_that_failed(tmp_path):
    path = tmp_path / "text.txt"
    assert hint("é".encode(), path, "ascii") == "utf-8"
    assert hint(b"caf\x81 \x93\xe9\x94", path, "cp1252") == "latin-1"
    # Valid up to the last byte.
    data = RUSSIAN.encode() * 2000 + b"\xff"
    assert hint(data, path) != "utf-8"
    assert hint(data, path, "UTF8") != "utf-8"


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_byte_order_marks(encoding, tmp_path):
    data = "\ufefftext".encode(encoding)
    assert hint(data, tmp_path / "text.txt") == "utf-16"


def decoded(data, blocks, encoding, **options):
    """Returns the text of bytes that come in `blocks` pieces of random length."""
    decoding = encodings.Decoding(encoding, "a.txt", **options)
    source = random.Random(blocks)
    cuts = sorted({0, len(data), *source.choices(range(len(data) + 1), k=blocks)})
    parts = [data[a:b] for a, b in itertools.pairwise(cuts)]
    return "".join(decoding.pieces(parts)), decoding.replaced


@pytest.mark.parametrize("blocks", [0, 1, 5, 40])
@pytest.mark.parametrize(("encoding", "text"), TEXTS.items(), ids=TEXTS)
def test_text_in_blocks(encoding, text, blocks):
    text = f"a\r\n\r{text}\r"
    data = text.encode(encoding)
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    assert decoded(data, blocks, encoding) == (lines, 0)
    assert decoded(data, blocks, encoding, newlines=False) == (text, 0)


@pytest.mark.parametrize("blocks", [0, 1, 5, 40])
@pytest.mark.parametrize(
    ("data", "expected", "count"),
    [
        (b"a\xffb\xc3", "a\ufffdb\ufffd", 2),
        (
            b"\xe4\xbd\xa0\xe4\xbd \xef\xbf\xbd\x80\x80",
            "你\ufffd \ufffd\ufffd\ufffd",
            3,
        ),
        ("naïve".encode(), "naïve", 0),
    ],
)
def test_invalid_bytes_are_replaced_and_counted(data, expected, count, blocks):
    assert data.decode("utf-8", "replace") == expected
    assert decoded(data, blocks, "utf-8", replace=True) == (expected, count)


@pytest.mark.parametrize("blocks", range(9))
def test_offset_of_an_invalid_byte_in_blocks(blocks):
    data = "ä€\n".encode() * 30 + b"\xe2\x82x"
    message = "a.txt is not valid utf-8: byte 0xe2 at offset 180"
    with pytest.raises(ValueError, match=message):
        decoded(data, blocks, "utf-8")


def test_hint_looks_at_the_blocks_after_the_first_invalid_one():
    data = "\n".join(["a", *[RUSSIAN] * 50]).encode("cp1251")
    for blocks in range(1, 60, 7):
        with pytest.raises(ValueError, match="for example encoding='cp1251'"):
            decoded(data, blocks, "utf-8")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
@pytest.mark.parametrize("blocks", range(4))
def test_wide_encoding_without_a_mark(encoding, blocks):
    """The order of the bytes is that of the machine, as for `bytes.decode`."""
    data = "näïve".encode(encoding)[len("".encode(encoding)) :]
    assert data.decode(encoding) == "näïve"
    assert decoded(data, blocks, encoding) == ("näïve", 0)


@pytest.mark.parametrize("encoding", ["hex", "rot13", "no-such", "a\0"])
def test_codecs_that_are_no_encodings(encoding):
    with pytest.raises(ValueError, match="is not known to Python"):
        encodings.Decoding(encoding, "a.txt")
