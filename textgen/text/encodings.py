"""From the bytes of a file to its text, with errors that name the remedy."""

import codecs
import io
import re

from textgen.messages import printable
from textgen.text import archive

# First bytes of common files that are not text.
_BINARY = {
    b"PK\x03\x04": ("a zip file", "Name it .zip or unpack it. Save .docx as text."),
    b"%PDF-": ("a PDF file", "Convert it to text, for example with pdftotext."),
    b"\x89HDF": ("an HDF5 file", "It may be a model file. Give a text file."),
    b"\x89PNG": ("an image", "Give a text file."),
    b"\xff\xd8\xff": ("an image", "Give a text file."),
}

_TAR = slice(257, 262)  # the bytes of a tar archive that are b"ustar"

_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

# Encodings that a hint can name: which characters are frequent in their texts, and
# which share of all non-ASCII characters they have at least. The letters of Russian are
# mostly in lower case; cp1251 and koi8-r exchange the cases of each other. The Chinese
# characters are the most frequent ones of modern and of old texts.
_CHINESE = (
    "[的一是不了人在有我他这這个個们們中来來上大为為和国國之而也其以无無何山风風]"
)
_TYPICAL = {
    "cp1251": ("[а-яё]", 0.7),
    "koi8-r": ("[а-яё]", 0.7),
    "shift_jis": ("[ぁ-ヶ]", 0.2),
    "euc_jp": ("[ぁ-ヶ]", 0.2),
    "euc_kr": ("[가-힣]", 0.7),
    "gb18030": (_CHINESE, 0.05),
    "big5": (_CHINESE, 0.05),
}
_SAMPLE = 1 << 16  # bytes from the first one that is not ASCII


def why_binary(data: bytes, encoding: str) -> str | None:
    """Returns why bytes are no text in any encoding, or `None`.

    The answer is a sentence that lacks its subject, the file, and a remedy.
    """
    if archive.format_of(data):
        return "is compressed twice. Unpack it once."
    if data[_TAR] == b"ustar":
        return "is a tar archive, not a text file. Unpack it, and give its folder."
    for start, (kind, remedy) in _BINARY.items():
        if data.startswith(start):
            return f"is {kind}, not a text file. {remedy}"
    if has_zeros(data, encoding) and not encoding.lower().startswith("utf"):
        return (
            "has zero bytes: it is a binary file, or its encoding is not "
            f"{encoding}. Give a text file, or its encoding, for example 'utf-16'."
        )
    return None


def has_zeros(data: bytes, encoding: str) -> bool:
    """Whether the first bytes have zeros, as in binary files.

    Texts have none, except in UTF-16 and UTF-32. (In UTF-8 they are valid, but rare.)
    """
    wide = re.match(r"utf[-_ ]?(16|32)", encoding.lower())
    return b"\0" in data[:4096] and not data.startswith(_MARKS) and not wide


def decode(data: bytes, encoding: str, source: str) -> str:
    r"""Returns the text of a file, as Python's text files return it.

    `"\r\n"` and `"\r"` become `"\n"`. A byte order mark at the start is removed.

    Args:
        data: bytes.
        encoding: str.
        source: str. Name of the file, for messages.

    Raises:
        ValueError: The encoding is not known, the file is a binary file, or it has
            bytes that are not valid in this encoding. The message gives the offset, and
            an encoding that is more likely.
    """
    if reason := why_binary(data, encoding):
        raise ValueError(f"{source} {reason}")
    try:
        text = data.decode(encoding)
    except LookupError:
        raise ValueError(
            f"encoding={encoding!r} is not known to Python. Try 'utf-8', 'latin-1' or "
            "'cp1252'."
        ) from None
    except ValueError as error:
        if not isinstance(error, UnicodeDecodeError):
            raise ValueError(
                f"{source} is not valid {encoding}: {printable(error)}."
            ) from None
        # Some codecs remove a byte order mark before they decode.
        offset = error.start + len(data) - len(error.object)
        raise ValueError(
            f"{source} is not valid {encoding}: byte 0x{data[offset]:02x} at "
            f"offset {offset}. Give the encoding of the file, for example "
            f"encoding={_guess(data, encoding)!r}."
        ) from None
    newlines = io.IncrementalNewlineDecoder(None, translate=True)
    return newlines.decode(text.removeprefix("\ufeff"), final=True)


def _guess(data: bytes, encoding: str) -> str:
    """Returns a likely encoding of bytes that are not valid in `encoding`."""
    if data.startswith(_MARKS) and "16" not in encoding:
        return "utf-16"
    high = re.search(rb"[\x80-\xff]", data)
    sample = data[high.start() :][:_SAMPLE] if high else b""
    likely = ["utf-8"] if _decoded(sample, "utf-8") else []
    scores = {codec: _score(sample, codec) for codec in _TYPICAL}
    best = max(scores, key=scores.__getitem__)
    # In a text of Western Europe, most bytes that are not ASCII stand alone.
    alone = len(re.findall(rb"(?<![\x80-\xff])[\x80-\xff](?![\x80-\xff])", sample))
    if scores[best] >= 1 and 2 * alone < len(re.findall(rb"[\x80-\xff]", sample)):
        likely.append(best)
    if re.search(rb"[\x80-\x9f]", sample) and _decoded(sample, "cp1252"):
        likely.append("cp1252")  # in latin-1, these bytes are control characters
    failed = codecs.lookup(encoding).name
    return next(
        (each for each in likely if codecs.lookup(each).name != failed), "latin-1"
    )


def _score(sample: bytes, codec: str) -> float:
    """Returns how typical bytes are for an encoding: at least 1 if they may be it."""
    typical, share = _TYPICAL[codec]
    text = re.sub(r"[\0-\x7f]", "", _decoded(sample, codec))
    return len(re.findall(typical, text)) / max(1, len(text)) / share


def _decoded(sample: bytes, codec: str) -> str:
    """Returns a text whose end may be cut off, or `""` if its bytes are not valid."""
    try:
        return codecs.getincrementaldecoder(codec)().decode(sample)
    except UnicodeDecodeError:
        return ""
