"""Compressed files of one text: nothing is unpacked to disk, or beyond a limit."""

import bz2
import dataclasses
import errno
import io
import lzma
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from textgen.messages import printable

# Limits of the unpacked size: in bytes, or as a multiple of the file, whichever is
# larger. Deflate packs up to 1,000 zeros into one byte, but no text is like that.
_UNPACKED_BYTES = 1 << 26
_UNPACKED_RATIO = 50

_DIRECTORY_BYTES = 1 << 20  # of the list of files in a zip file

# Supported compression methods, and how many bytes are read at a time. A block of bzip2
# unpacks to up to 20,000 times its size, as a whole.
_METHODS = {
    zipfile.ZIP_STORED: 1 << 16,
    zipfile.ZIP_DEFLATED: 1 << 16,
    zipfile.ZIP_BZIP2: 1 << 12,
}

_BLOCK = 1 << 16  # bytes that are read and unpacked at a time

# Memory of a decoder of xz; `xz -9` needs 65 MiB. A file can ask for 4 GiB.
_XZ_MEMORY = 1 << 28


@dataclasses.dataclass(frozen=True)
class _Format:
    """A format of compressed files.

    Args:
        name: str.
        suffix: str. End of the names of its files.
        start: Pattern of the first bytes. No text begins like this.
        decoder: Function that returns a new decoder of the standard library.
    """

    name: str
    suffix: str
    start: re.Pattern[bytes]
    decoder: Callable[[], Any]


_FORMATS = (
    _Format(
        *("gzip", ".gz", re.compile(rb"\x1f\x8b\x08")),
        decoder=lambda: zlib.decompressobj(wbits=31),  # 31: with the header of gzip
    ),
    _Format(
        # "BZh" alone could be a text.
        *("bzip2", ".bz2", re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)")),
        decoder=bz2.BZ2Decompressor,
    ),
    _Format(
        *("xz", ".xz", re.compile(rb"\xfd7zXZ\x00")),
        decoder=lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, _XZ_MEMORY),
    ),
)


def format_of(data: bytes) -> str | None:
    """Returns the name of the compressed format that bytes begin with, or `None`."""
    return next((each.name for each in _FORMATS if each.start.match(data)), None)


def read(file: BinaryIO, name: str) -> bytes:
    """Returns the content of a file; that of a compressed file is unpacked.

    Files of gzip, bzip2 and xz are recognised by their first bytes or their suffix, zip
    files by their suffix only, since a .docx is a zip file too.

    Args:
        file: Binary file with random access, at its start.
        name: str. Its name, for the suffix and for messages.

    Raises:
        OSError: The disk cannot be read.
        ValueError: The file is compressed, and is damaged or cut short, or its content
            is larger than 64 MB and than 50 times the file. Or it is a zip file that
            does not hold exactly one file.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    limit = max(_UNPACKED_BYTES, _UNPACKED_RATIO * size)
    suffix = os.path.splitext(name)[1].lower()
    if suffix == ".zip":
        return _read_zip(file, name, size, limit)
    start = file.read(16)
    file.seek(0)
    for each in _FORMATS:
        if each.start.match(start):
            return _read_compressed(file, name, each, size, limit)
    for each in _FORMATS:
        if suffix == each.suffix:  # damaged, and perhaps no text in its encoding
            raise ValueError(
                f"{name} is not a valid {each.name} file: it begins with other bytes. "
                f"Get the file again, or give it a name without {suffix}."
            )
    return file.read()


def _read_compressed(
    file: BinaryIO, name: str, form: _Format, size: int, limit: int
) -> bytes:
    """Returns the content of a file of gzip, bzip2 or xz of `size` bytes."""
    try:
        return _collect(_unpacked(file, form.decoder), size, limit)
    except _Refused as error:
        raise ValueError(f"{name} {error}") from None
    except (zlib.error, lzma.LZMAError, EOFError, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the operating system; a damaged bzip2 stream has no number
        reason = printable(error, 160)
        if isinstance(error, OSError | EOFError):
            reason = "it was cut short or damaged"
        raise ValueError(
            f"{name} is not a valid {form.name} file: {reason}. Get the file again, or "
            "unpack it with another program."
        ) from None


def _unpacked(file: BinaryIO, make: Callable[[], Any]) -> Iterator[bytes]:
    """Yields the content of a compressed file, at most `_BLOCK` bytes at a time.

    A file has one stream or several, one after the other, and zeros at the end. The
    file objects of Python's `bz2` and `lzma` ignore a damaged second stream; here, it
    is an error.

    Raises:
        EOFError: The file ends within a stream, or it is empty.
    """
    data = file.read(_BLOCK)
    while True:
        decoder = make()
        while not decoder.eof:
            block = decoder.decompress(data, _BLOCK)
            yield block
            # Input that is left: zlib returns it, the other decoders keep it.
            data = getattr(decoder, "unconsumed_tail", b"")
            if decoder.eof or data or not getattr(decoder, "needs_input", True):
                continue
            data = file.read(_BLOCK)
            if not data and not block:
                raise EOFError
        data = decoder.unused_data.lstrip(b"\0")
        while not data:
            data = file.read(_BLOCK)
            if not data:
                return
            data = data.lstrip(b"\0")


def _collect(blocks: Iterator[bytes], size: int, limit: int) -> bytes:
    """Returns the joined blocks.

    Raises:
        _Refused: They are longer than `limit` bytes.
    """
    content = io.BytesIO()  # `getvalue` does not copy
    for block in blocks:
        content.write(block)
        if content.tell() > limit:
            raise _too_long(size, limit)
    return content.getvalue()


class _Bounded:
    """File for `zipfile` that refuses to read a list of millions of files."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        most = _DIRECTORY_BYTES + 1
        data = self._file.read(most if size < 0 else min(size, most))
        if len(data) > _DIRECTORY_BYTES:
            raise zipfile.BadZipFile("its list of files is too long")
        return data


def _read_zip(file: BinaryIO, name: str, size: int, limit: int) -> bytes:
    """Returns the only file in a zip file of `size` bytes."""
    bounded: Any = _Bounded(file)
    try:
        with zipfile.ZipFile(bounded) as archive:
            return _unpack(archive, size, limit)
    except _Refused as error:
        raise ValueError(f"{name} {error}") from None
    except (RuntimeError, NotImplementedError) as error:
        # A password, or an unknown compression method.
        raise ValueError(
            f"{name} cannot be read: {printable(error, 160)}. Unpack it with another "
            "program."
        ) from None
    except (
        *(zipfile.BadZipFile, zlib.error, EOFError, OSError, OverflowError),
        *(struct.error, ValueError),
    ) as error:
        # The operating system gives the number of its errors; EINVAL is an offset that
        # is not in the file, and a damaged bzip2 stream has no number.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        reason = printable(error, 160)
        if isinstance(error, OSError | EOFError):
            reason = "it was cut short or damaged"
        raise ValueError(f"{name} is not a valid zip file: {reason}.") from None


class _Refused(ValueError):
    """What is wrong with a valid file; the message starts with a verb."""


def _too_long(size: int, limit: int) -> _Refused:
    return _Refused(
        f"is refused: its {size:,} bytes unpack to more than {limit:,}, which no text "
        "does. If it is a text, unpack it with another program."
    )


def _unpack(archive: zipfile.ZipFile, size: int, limit: int) -> bytes:
    """Returns the only file of a zip file of `size` bytes."""
    members = [
        info
        for info in archive.infolist()
        if not info.is_dir() and not info.filename.startswith("__MACOSX/")
    ]
    if len(members) != 1:
        raise _Refused(
            f"holds {len(members)} files, not one. Unpack it, and give the files or "
            "their folder."
        )
    [member] = members
    if member.file_size > limit:
        raise _too_long(size, limit)
    if member.compress_type not in _METHODS:
        raise NotImplementedError("the compression method is not supported")
    step = _METHODS[member.compress_type]
    with archive.open(member) as file:
        # Also here: the declared size may be wrong.
        return _collect(iter(lambda: file.read(step), b""), size, limit)
