"""From the bytes of a file to its text, with errors that name the remedy."""

import codecs
import contextlib
import io
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator

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

_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)

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


def is_binary(data: bytes, encoding: str) -> bool:
    """Whether a file that begins with these bytes is no text."""
    return why_binary(data, encoding) is not None or has_zeros(data, encoding)


def has_zeros(data: bytes, encoding: str) -> bool:
    """Whether the first bytes have zeros, as in binary files.

    Texts have none, except in UTF-16 and UTF-32. (In UTF-8 they are valid, but rare.)
    """
    wide = re.match(r"utf[-_ ]?(16|32)", encoding.lower())
    return b"\0" in data[:4096] and not data.startswith(_MARKS) and not wide


class Decoding:
    r"""The text of a file that comes in blocks, as Python's text files return it.

    `"\r\n"` and `"\r"` become `"\n"`. A byte order mark at the start is removed.

    Args:
        encoding: str.
        source: str. Name of the file, for messages.
        replace: bool. Whether invalid bytes become U+FFFD. Defaults to `False`: they
            are an error.
        newlines: bool. Whether to convert line ends. Defaults to `True`.

    Attributes:
        replaced: int. How many times U+FFFD stands for invalid bytes.

    Raises:
        ValueError: The encoding is not known.
    """

    def __init__(
        self, encoding: str, source: str, replace: bool = False, newlines: bool = True
    ) -> None:
        self._encoding, self._source = encoding, source
        self.replaced = 0
        self._new_decoder, self._errors = _decoder(encoding), "strict"
        if replace:
            self._errors = _REPLACE
        self._decoder: codecs.IncrementalDecoder | None = None
        self._newlines = (
            io.IncrementalNewlineDecoder(None, translate=True) if newlines else None
        )
        self._started = False  # whether a character was decoded
        self._read = 0  # bytes
        self._sample = b""  # the bytes that a hint at another encoding looks at

    def pieces(self, blocks: Iterable[bytes]) -> Iterator[str]:
        """Yields the text.

        Args:
            blocks: Iterable of bytes, not empty.

        Raises:
            ValueError: The file is a binary file, or it has bytes that are not valid in
                this encoding. The message gives the offset, and an encoding that is
                more likely.
        """
        blocks = iter(blocks)
        for block in blocks:
            if self._decoder is None:
                if reason := why_binary(block, self._encoding):
                    raise ValueError(f"{self._source} {reason}")
                self._decoder = self._decoder_for(block)
            self._take(block)
            yield from self._decoded(self._decoder, block, False, blocks)
        if self._decoder is not None:
            yield from self._decoded(self._decoder, b"", True, blocks)

    def _decoder_for(self, block: bytes) -> codecs.IncrementalDecoder:
        """Returns the decoder of a file that begins with a block."""
        name = codecs.lookup(self._encoding).name
        if name in ("utf-16", "utf-32") and not block.startswith(_MARKS):
            # Without a byte order mark, the order is that of the machine, as for
            # `bytes.decode`. The decoder of the standard library asks for the mark.
            order = "le" if sys.byteorder == "little" else "be"
            return codecs.getincrementaldecoder(f"{name}-{order}")(self._errors)
        return self._new_decoder(self._errors)

    def _take(self, block: bytes) -> None:
        """Counts a block, and keeps its part of the sample."""
        self._read += len(block)
        if not self._sample:
            high = re.search(rb"[\x80-\xff]", block)
            block = block[high.start() :] if high else b""
        self._sample += block[: max(0, _SAMPLE - len(self._sample))]

    def _decoded(
        self,
        decoder: codecs.IncrementalDecoder,
        block: bytes,
        final: bool,
        rest: Iterator[bytes],
    ) -> Iterator[str]:
        before = _replaced.count
        try:
            text = decoder.decode(block, final)
        except UnicodeDecodeError as error:
            # The object of the error is what was held back, and the block.
            offset = self._read - len(error.object) + error.start
            for more in rest:
                if len(self._sample) >= _SAMPLE:
                    break
                self._take(more)
            raise ValueError(
                f"{self._source} is not valid {self._encoding}: byte "
                f"0x{error.object[error.start]:02x} at offset {offset}. Give the "
                "encoding of the file, for example "
                f"encoding={_guess(self._sample, self._encoding)!r}."
            ) from None
        except ValueError as error:
            raise ValueError(
                f"{self._source} is not valid {self._encoding}: {printable(error)}."
            ) from None
        self.replaced += _replaced.count - before
        if text and not self._started:
            text, self._started = text.removeprefix("\ufeff"), True
        if self._newlines is not None:
            text = self._newlines.decode(text, final)
        if text:
            yield text


def _decoder(encoding: str) -> Callable[[str], codecs.IncrementalDecoder]:
    """Returns the class of the decoder of an encoding.

    Raises:
        ValueError: Python has no such encoding of texts.
    """
    try:
        with contextlib.suppress(UnicodeError):  # one byte can be too few
            b"0".decode(encoding)  # refuses codecs that are no encodings of texts
        return codecs.getincrementaldecoder(encoding)
    except (LookupError, ValueError):
        raise ValueError(
            f"encoding={encoding!r} is not known to Python. Try 'utf-8', 'latin-1' or "
            "'cp1252'."
        ) from None


class _Replaced(threading.local):
    """Counts the invalid bytes that were replaced in this thread."""

    count = 0

    def replace(self, error: UnicodeError) -> tuple[str, int]:
        self.count += 1
        return codecs.replace_errors(error)  # type: ignore[return-value]


_replaced = _Replaced()
_REPLACE = "textgen.replace"
codecs.register_error(_REPLACE, _replaced.replace)


def _guess(sample: bytes, encoding: str) -> str:
    """Returns a likely encoding of bytes that are not valid in `encoding`.

    Args:
        sample: bytes. The text from its first byte that is not ASCII.
        encoding: str.
    """
    if sample.startswith(_MARKS) and "16" not in encoding:
        return "utf-16"
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
