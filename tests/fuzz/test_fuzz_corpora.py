"""Corpora: any bytes in any encoding, in one file or several, compressed or not."""

import bz2
import codecs
import gzip
import io
import lzma
import math
import zipfile

from command_line import TEXT
from fuzz_tools import check, empty_folder, run
from hypothesis import example, given
from hypothesis import strategies as st

import textgen

ENCODINGS = st.sampled_from(
    [
        *["utf-8", "latin-1"] * 8,
        *("utf-8-sig", "ascii", "cp1252", "utf-16", "utf-16-le", "utf-32", "utf-7"),
        *("gb18030", "shift_jis", "big5", "iso2022_jp", "koi8-r", "cp037", "hz"),
    ]
)
LINES = st.one_of(
    st.binary(max_size=40),
    st.text(max_size=20).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.sampled_from([b"the quick", b"a" * 5000, b"\0", b"\xff\xfe", b"\xef\xbb\xbf"]),
    st.sampled_from([b"\xed\xa0\x80", b"\x1b[2J", b"\x85", b"\xe2\x80\xa8", b"\x1a"]),
)
COMPRESSIONS = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}
MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r", b"\n\n", b"\r\r\n", b""])


@st.composite
def corpora(draw):
    """Draws the bytes of a text file, or something near to it."""
    lines = draw(st.lists(st.tuples(LINES, ENDS), max_size=8))
    data = b"".join(line + end for line, end in lines) * draw(st.sampled_from([1, 50]))
    data = draw(st.sampled_from([b"", TEXT.encode()])) + data
    return draw(st.sampled_from([b"", codecs.BOM_UTF8, codecs.BOM_UTF16_LE])) + data


def expected(data, encoding):
    """Returns the text of a file by Python's own reader, `None` for an error."""
    if encoding in ("utf-16", "utf-32") and not data.startswith(MARKS):
        encoding += "-le"  # Python's reader would refuse it
    try:
        text = io.TextIOWrapper(io.BytesIO(data), encoding).read()
    except ValueError:
        return None
    return text.removeprefix("\ufeff")


@given(corpora(), ENCODINGS)
@example(b"", "utf-8")
@example(b"x", "utf-8")
@example(b"\r", "utf-8")
@example(b"\n\n", "utf-16")
def test_a_text_is_read_as_python_reads_it_or_refused(data, encoding):
    with empty_folder() as folder:
        (folder / "text.txt").write_bytes(data)
        try:
            text = textgen.load_corpus("text.txt", encoding=encoding)
        except ValueError as error:
            assert "text.txt" in str(error)
            refused = data.startswith(
                (b"\x1f\x8b\x08", b"BZh", b"PK", b"%PDF", b"\xff\xd8")
            )
            assert refused or b"\0" in data[:4096] or not expected(data, encoding)
        else:
            assert text
            assert text == expected(data, encoding)


@given(corpora(), st.sampled_from(["character", "word"]))
def test_a_vocabulary_restores_any_text(data, level):
    text = data.decode("utf-8", "surrogateescape")
    if text:
        vocabulary = textgen.Vocabulary.from_text(text, level)
        assert vocabulary.decode(vocabulary.encode(text)) == text
        assert textgen.Vocabulary.from_json(vocabulary.to_json()) == vocabulary


@given(
    corpora(), ENCODINGS, st.sampled_from(["evaluate", "train", "convert"]), st.data()
)
def test_commands_read_any_bytes(files, data, encoding, command, choices):
    draw = choices.draw
    flags = draw(
        st.lists(
            st.sampled_from(["--lines", "--lowercase", "--many-to-many"]), max_size=2
        )
    )
    names = ["bytes.txt", "-", "bytes.zip", "bytes.txt.gz", "folder", "folder/*"]
    name = draw(st.sampled_from(names))
    arguments = {
        "evaluate": ["evaluate", files / "sequence.keras", name, "--unknown", "skip"],
        "train": ["train", name, "--units", 4, "--sequence-length", 3],
        "convert": ["convert", files / "old.h5", "new.keras", "--corpus", name],
    }[command]
    if command == "train":
        arguments += ["--level", draw(st.sampled_from(["character", "word"]))]
    known = {"train": 3, "evaluate": 2, "convert": 0}[command]
    flags = [each for each in flags if each in sorted(flags)[:known]]
    if command != "train":
        flags = [each for each in flags if each != "--many-to-many"]
    if command == "convert":
        flags = []
    with empty_folder() as folder:
        (folder / "bytes.txt").write_bytes(data)
        with zipfile.ZipFile(folder / "bytes.zip", "w") as archive:
            archive.writestr("text", data)
        (folder / "bytes.txt.gz").write_bytes(gzip.compress(data))
        (folder / "folder").mkdir()
        (folder / "folder" / "a.xz").write_bytes(lzma.compress(data, preset=0))
        (folder / "folder" / "b.txt").write_bytes(data)
        result = run([*arguments, "--encoding", encoding, *flags], data)
        check(result)
    if result.code == 0:
        numbers = dict(line.split(":") for line in result.output.splitlines())
        bits = float(numbers["bits"].split()[0])
        assert math.isnan(bits) or bits >= 0


@given(st.binary(max_size=300), st.integers(0, 400), st.booleans())
def test_damaged_zip_files(damage, place, cut):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("text.txt", TEXT)
    data = buffer.getvalue()
    data = data[:place] + damage + (b"" if cut else data[place + len(damage) :])
    with empty_folder() as folder:
        (folder / "text.zip").write_bytes(data)
        try:
            text = textgen.load_corpus("text.zip")
        except (ValueError, OSError) as error:
            assert str(error)
        else:
            assert isinstance(text, str)
            check(run(["evaluate", "none.keras", "text.zip"]), codes=(2,))


# A zero would mean a binary file, and a byte order mark is removed from each file.
CHARACTERS = st.characters(exclude_characters="\0\r\ufeff", exclude_categories=["Cs"])


@given(st.lists(st.text(CHARACTERS), min_size=1, max_size=8), st.data())
def test_a_text_in_several_files_is_the_text(lines, choices):
    draw = choices.draw
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    text = "".join(line.replace("\n", end) + end for line in lines)
    pieces = [line + end for line in text.split(end)[:-1]]
    with empty_folder() as folder:
        (folder / "plain.txt").write_bytes(text.encode())
        (folder / "parts").mkdir()
        given = []
        while pieces:
            count = draw(st.integers(1, len(pieces)))
            data = "".join(pieces[:count]).encode()
            pieces = pieces[count:]
            kind = draw(st.sampled_from(["txt", *COMPRESSIONS]))
            if compress := COMPRESSIONS.get(kind):
                # Some programs write several streams, one after the other.
                cut = draw(st.integers(0, len(data)))
                data = compress(data[:cut]) + compress(data[cut:])
            path = folder / "parts" / f"{len(given)}.{kind}"
            path.write_bytes(data)
            given.append(path)
        expected = textgen.load_corpus("plain.txt")
        assert expected == (folder / "plain.txt").read_text("utf-8")
        for source in (given, "parts", "parts/*"):
            assert textgen.load_corpus(source) == expected


@given(
    st.sampled_from([*COMPRESSIONS]),
    st.binary(max_size=300),
    st.integers(0, 400),
    st.booleans(),
)
def test_damaged_compressed_files(kind, damage, place, cut):
    data = COMPRESSIONS[kind](TEXT.encode())
    data = data[:place] + damage + (b"" if cut else data[place + len(damage) :])
    with empty_folder() as folder:
        (folder / f"text.{kind}").write_bytes(data)
        try:
            text = textgen.load_corpus(f"text.{kind}")
        except ValueError as error:
            assert f"text.{kind} is" in str(error)
        else:
            assert text == TEXT
