"""Zip files that hold one text: nothing is unpacked to disk, or beyond a limit."""

import errno
import os
import struct
import zipfile
import zlib
from typing import Any, BinaryIO

from textgen.messages import printable

# Limits of the unpacked size: in bytes, or as a multiple of the zip file, whichever is
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


def read(file: BinaryIO, name: str) -> bytes:
    """Returns the only file in a zip file.

    Args:
        file: Binary file, open for reading.
        name: str. Its name, for messages.

    Raises:
        OSError: The disk cannot be read.
        ValueError: It is not a zip file, it is damaged, it does not hold exactly one
            file, or this file is larger than 64 MB and than 50 times the zip file.
    """
    size = os.fstat(file.fileno()).st_size
    bounded: Any = _Bounded(file)
    try:
        with zipfile.ZipFile(bounded) as archive:
            return _unpack(archive, size)
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
    """What is wrong with a valid zip file; the message starts with a verb."""


def _unpack(archive: zipfile.ZipFile, size: int) -> bytes:
    """Returns the only file of a zip file of `size` bytes."""
    members = [
        info
        for info in archive.infolist()
        if not info.is_dir() and not info.filename.startswith("__MACOSX/")
    ]
    if len(members) != 1:
        raise _Refused(
            f"holds {len(members)} files; a corpus is one file. Unpack it and choose "
            "one."
        )
    [member] = members
    limit = max(_UNPACKED_BYTES, _UNPACKED_RATIO * size)
    too_long = _Refused(
        f"is refused: its {size:,} bytes unpack to more than {limit:,}, which no text "
        "does. If it is a text, unpack it with another program."
    )
    if member.file_size > limit:
        raise too_long
    if member.compress_type not in _METHODS:
        raise NotImplementedError("the compression method is not supported")
    data = bytearray()
    with archive.open(member) as file:
        while block := file.read(_METHODS[member.compress_type]):
            data += block
            if len(data) > limit:  # the declared size was wrong
                raise too_long
    return bytes(data)
