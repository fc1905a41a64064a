"""Compressed files and zip files: nothing is unpacked to disk, or beyond a limit."""

import bz2
import contextlib
import dataclasses
import errno
import functools
import lzma
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
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

_HEAD = 1 << 12  # bytes that show what a file is

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


class Counted:
    """Binary file that counts the bytes that were read.

    Args:
        file: Binary file.

    Attributes:
        done: int. Number of bytes that were read so far, at most `size`: the list of
            files in a zip file is read twice.
        size: int or `None`. Number of bytes of the file, at its start; `None` if it
            cannot be known, as for standard input.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.done = 0
        self.size = None
        if file.seekable():
            self.size = file.seek(0, os.SEEK_END)
            file.seek(0)

    def read(self, size: int = -1) -> bytes:
        """Reads at most `size` bytes."""
        data = self._file.read(size)
        self.done += len(data)
        if self.size is not None:
            self.done = min(self.done, self.size)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        """Moves to another place of the file."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Returns the place in the file."""
        return self._file.tell()

    def seekable(self) -> bool:
        """Whether the file has random access."""
        return self._file.seekable()


@dataclasses.dataclass(frozen=True)
class Text:
    """A text in a file.

    Args:
        source: str. Name of the file, for messages. If a zip file has several texts, it
            is followed by the name of the text.
        member: str or `None`. Name of the text in its zip file; `None` if the file is
            no zip file.
        read: Function that returns an iterator over the content, in blocks of any size.
    """

    source: str
    member: str | None
    read: Callable[[], Iterator[bytes]]

    def blocks(self) -> Iterator[bytes]:
        """Yields the content of the text in blocks.

        All texts of a file share its position: read one after the other.

        Yields:
            bytes, not empty. The first block has at least 4,096 bytes if the content
            has so many, so that it shows what the content is.

        Raises:
            OSError: The disk cannot be read.
            ValueError: The file is compressed, and is damaged or cut short, or its
                content is larger than 64 MB and than 50 times the file. Or the text is
                encrypted, or its compression method is not supported. The message
                begins with `source`.
        """
        head = b""
        each = self.read()
        for block in each:
            head += block
            if len(head) >= _HEAD:
                break
        if head:
            yield head
        yield from each


def texts(file: Counted, name: str) -> list[Text]:
    """Returns the texts in a file: those of a zip file, or the file itself.

    Files of gzip, bzip2 and xz are recognised by their first bytes or their suffix, and
    are unpacked. Zip files are recognised by their suffix only, since a .docx is a zip
    file too. Their files are sorted like the paths of a folder. If a zip file has
    several files, hidden ones are left out, and also links.

    Args:
        file: `Counted`, at its start. A zip file needs random access.
        name: str. Its name, for the suffix and for messages.

    Returns:
        list of `Text`. It is empty if a zip file has none. The texts of a zip file may
        be binary files.

    Raises:
        OSError: The disk cannot be read.
        ValueError: A zip file is damaged, or its content is larger than 64 MB and than
            50 times the file.
    """
    if os.path.splitext(name)[1].lower() == ".zip":
        return _texts_of_zip(file, name)
    return [Text(name, None, functools.partial(_blocks, file, name))]


def _blocks(file: Counted, name: str) -> Iterator[bytes]:
    """Yields the content of a file, which is unpacked if it is compressed."""
    suffix = os.path.splitext(name)[1].lower()
    first = file.read(max(_BLOCK, _HEAD))
    for each in _FORMATS:
        if each.start.match(first):
            yield from _blocks_of_compressed(file, first, name, each)
            return
    for each in _FORMATS:
        if suffix == each.suffix:  # damaged, and perhaps no text in its encoding
            raise ValueError(
                f"{name} is not a valid {each.name} file: it begins with other bytes. "
                f"Get the file again, or give it a name without {suffix}."
            )
    while first:
        yield first
        first = file.read(_BLOCK)


def _blocks_of_compressed(
    file: Counted, first: bytes, name: str, form: _Format
) -> Iterator[bytes]:
    """Yields the content of a file of gzip, bzip2 or xz that begins with `first`."""
    try:
        yield from _limited(_unpacked(file, first, form.decoder), file)
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


def _unpacked(file: Counted, data: bytes, make: Callable[[], Any]) -> Iterator[bytes]:
    """Yields the content of a compressed file, at most `_BLOCK` bytes at a time.

    `data` are its first bytes. A file has one stream or several, one after the other,
    and zeros at the end. The file objects of Python's `bz2` and `lzma` ignore a damaged
    second stream; here, it is an error.

    Raises:
        EOFError: The file ends within a stream, or it is empty.
    """
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


def _limited(blocks: Iterator[bytes], file: Counted) -> Iterator[bytes]:
    """Yields the blocks that are not empty.

    Raises:
        _Refused: They are longer than the limit for this file.
    """
    total = 0
    for block in filter(None, blocks):
        total += len(block)
        if total > _limit(file):
            raise _too_long(file)
        yield block


def _limit(file: Counted) -> int:
    """Returns how many bytes a file may unpack to."""
    return max(_UNPACKED_BYTES, _UNPACKED_RATIO * _size(file))


def _size(file: Counted) -> int:
    return file.done if file.size is None else file.size


class _Bounded:
    """File for `zipfile` that refuses to read a list of millions of files."""

    def __init__(self, file: Counted) -> None:
        self._file = file
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        most = _DIRECTORY_BYTES + 1
        data = self._file.read(most if size < 0 else min(size, most))
        if len(data) > _DIRECTORY_BYTES:
            raise zipfile.BadZipFile("its list of files is too long")
        return data


def _texts_of_zip(file: Counted, name: str) -> list[Text]:
    """Returns the texts of a zip file."""
    bounded: Any = _Bounded(file)
    with _named_errors(name, True):
        archive = zipfile.ZipFile(bounded)
        members = _members(archive)
        if sum(each.file_size for each in members) > _limit(file):
            raise _too_long(file)
    is_only = len(members) == 1
    found = []
    for each in members:
        source = name if is_only else f"{name}: {printable(each.filename, 100)}"
        read = functools.partial(_blocks_of_member, archive, each, source, is_only)
        found.append(Text(source, each.filename, read))
    return found


def _members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Returns the files of a zip file that count, in the order of their paths."""
    files = [
        each
        for each in archive.infolist()
        if not each.filename.endswith("/")  # `is_dir` fails for an empty name
        and not each.filename.startswith("__MACOSX/")
    ]
    if len(files) > 1:
        files = [each for each in files if not _is_hidden(each)]
    return sorted(files, key=lambda each: PurePosixPath(each.filename))


def _is_hidden(member: zipfile.ZipInfo) -> bool:
    """Whether a file or one of its folders is hidden, or it is a link."""
    parts = PurePosixPath(member.filename).parts
    hidden = any(each.startswith(".") and each != ".." for each in parts)
    return hidden or stat.S_ISLNK(member.external_attr >> 16)  # the mode in Unix


def _blocks_of_member(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, source: str, is_only: bool
) -> Iterator[bytes]:
    """Yields the content of a file in a zip file."""
    with _named_errors(source, is_only):
        if member.flag_bits & 1:
            raise NotImplementedError("it is encrypted")
        if member.compress_type not in _METHODS:
            raise NotImplementedError("the compression method is not supported")
        step = _METHODS[member.compress_type]
        with archive.open(member) as content:
            # `zipfile` stops at the declared size, for which the limit was checked.
            yield from iter(lambda: content.read(step), b"")


@contextlib.contextmanager
def _named_errors(source: str, is_whole: bool) -> Iterator[None]:
    """Converts the errors of `zipfile` to ValueErrors that begin with `source`.

    Args:
        source: str. Name of a zip file, or of one of its files.
        is_whole: bool. Whether it is that of the zip file.
    """
    try:
        yield
    except _Refused as error:
        raise ValueError(f"{source} {error}") from None
    except (RuntimeError, NotImplementedError) as error:
        # Encrypted, or an unknown compression method.
        raise ValueError(
            f"{source} cannot be read: {printable(error, 160)}. Unpack it with another "
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
        what = "is not a valid zip file" if is_whole else "is damaged"
        raise ValueError(f"{source} {what}: {reason}.") from None


class _Refused(ValueError):
    """What is wrong with a valid file; the message starts with a verb."""


def _too_long(file: Counted) -> _Refused:
    return _Refused(
        f"is refused: its {_size(file):,} bytes unpack to more than {_limit(file):,}, "
        "which no text does. If it is a text, unpack it with another program."
    )
