"""Files that are complete or absent: writing, locking, and opening them.

All files that textgen writes go through `replacing`.
"""

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Opens a new file that replaces `path` when the `with` block ends.

    The data are written to a temporary file in the same folder. It is flushed to the
    disk, renamed, and the folder is flushed to the disk. After an error, a full disk,
    or a power failure, `path` therefore contains its old data or its new data, and
    nothing in between.

    An existing file keeps its permissions. If `path` is a symbolic link, its target is
    replaced. Temporary files of writers that were killed are removed.

    Args:
        path: str or path. Its folder must exist.

    Yields:
        Binary file, opened for reading and writing.

    Raises:
        OSError: The file cannot be written; the subclass and `errno` say why. The old
            file is unchanged.
    """
    target = Path(os.path.realpath(path))
    temporary = None
    try:
        mode = _mode_of(target)
        _remove_abandoned(target)
        file, temporary = _create(target, mode)
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            # Still locked: another writer must not take it for an abandoned file.
            os.replace(temporary, target)
        _flush_folder(target.parent)
    except OSError as error:
        if temporary and error.filename not in (None, str(temporary)):
            raise  # an error of the caller's own files
        unchanged = " The old file is unchanged." if target.exists() else ""
        reason = error.strerror or str(error)
        raise _error(
            type(error), error.errno, f"{path} cannot be written: {reason}.{unchanged}"
        ) from error
    finally:
        if temporary:
            temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes a text file in UTF-8 with `replacing`.

    Raises:
        OSError: As for `replacing`.
    """
    with replacing(path) as file:
        file.write(text.encode("utf-8"))


def _mode_of(target: Path) -> int | None:
    """Returns the permissions of an existing file, `None` for a new file."""
    try:
        status = target.stat()
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder")
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is a device or a named pipe")
    if not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, "it is read-only")
    return stat.S_IMODE(status.st_mode)


def _create(target: Path, mode: int | None) -> tuple[BinaryIO, Path]:
    """Creates a locked temporary file; a link at its place is not followed."""
    flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_BINARY", 0)
    while True:
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
        # The data may be private from the first byte on.
        handle = os.open(temporary, flags, 0o666 if mode is None else mode & 0o600)
        file = os.fdopen(handle, "w+b")
        if _has_lock(file, temporary):
            break
        # Before it was locked, another writer took it for abandoned, and removes it.
        file.close()
    if mode is not None:
        os.chmod(temporary, mode)
    return file, temporary


def _has_lock(file: Any, path: Path) -> bool:
    """Locks an open file; returns whether it is locked and still at its path."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except (BlockingIOError, FileNotFoundError):
        return False


def _remove_abandoned(target: Path) -> None:
    """Removes temporary files whose writer was killed: nothing locks them."""
    if fcntl is None:
        return
    prefix = f".{target.name}."
    with contextlib.suppress(OSError), os.scandir(target.parent) as entries:
        found = [
            entry.path
            for entry in entries
            if entry.name.startswith(prefix)
            and entry.name.endswith(".tmp")
            and len(entry.name) == len(prefix) + len(".tmp") + 16
        ]
        for path in found:
            with contextlib.suppress(OSError), open_regular(path) as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(path)


def _flush_folder(folder: Path) -> None:
    """Flushes the entries of a folder to the disk, where the system supports it."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Opens a regular file for reading in binary mode.

    Reading from a named pipe would wait for ever, and from a device such as
    `/dev/zero`, it would fill the memory.

    Raises:
        OSError: The file does not exist or cannot be read, or the path is not that of
            a regular file.
    """
    handle = os.open(
        path,
        os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0),
    )
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        kind = "a folder" if stat.S_ISDIR(mode) else "a device or a named pipe"
        message = f"{os.fspath(path)} is {kind}; it must be a regular file."
        raise _error(OSError, errno.EINVAL, message)
    return os.fdopen(handle, "rb")


def _error(kind: type[OSError], number: int | None, message: str) -> OSError:
    """Returns an error whose text is the message only, without the number."""
    error = kind(message)
    error.errno = number
    return error


class Lock:
    """Lock that only one process at a time has; it ends with the process.

    The lock is a hidden file, which contains the number of the process. A file that a
    killed process left does not lock.

    Args:
        path: str or path of the lock file. Its folder must exist.
        what: str. What is locked, for the message: `"The folder poet.checkpoints"`.

    Raises:
        OSError: The lock file cannot be written.
        BlockingIOError: Another process, or another object of this one, has the lock.
    """

    def __init__(self, path: str | os.PathLike[str], what: str) -> None:
        self.path = Path(path)
        self._file: Any = None
        if fcntl is None:
            return
        while True:
            handle = os.open(
                self.path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644
            )
            file = os.fdopen(handle, "r+")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                owner = file.read(20).strip()
                file.close()
                raise BlockingIOError(
                    f"{what} is in use by another run"
                    f"{f' (process {owner})' if owner.isdigit() else ''}: wait until "
                    "it ends, or use another name."
                ) from error
            # The owner may have removed the file between `open` and `flock`.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle), os.stat(self.path)):
                    break
            file.close()
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        self._file = file

    def release(self) -> None:
        """Releases the lock, and removes its file."""
        if self._file is not None:
            self.path.unlink(missing_ok=True)
            self._file.close()
            self._file = None

    def __enter__(self) -> "Lock":
        return self

    def __exit__(self, *_: Any) -> None:
        self.release()
