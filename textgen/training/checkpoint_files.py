"""The folder of the checkpoints: file names, lock, disk space, and what is removed."""

import contextlib
import errno
import os
import re
import shutil
import warnings
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from textgen import files, model_file

_NAME = re.compile(r"step-(\d{9,})\.keras")
_TEMPORARY = re.compile(r"\.(step-\d{9,}|best)\.keras\.[0-9a-f]{16}\.tmp")
_OLD = "previous-"  # prefix of the files of a training that is being replaced
_LAST_OF_OLDER_VERSIONS = "last.keras"

# Folders with a lock of this process, by their real paths.
_locked: "weakref.WeakValueDictionary[str, Folder]" = weakref.WeakValueDictionary()


class Folder:
    """Folder with the checkpoints of one training.

    `step-000000500.keras` is the state after 500 training batches, `best.keras` the
    state after the best epoch.

    Args:
        path: Path of the folder.
        keep: int. Number of the newest states to keep.

    Attributes:
        in_use: bool. Whether a training is running.
    """

    def __init__(self, path: Path, keep: int) -> None:
        self.path = path
        self.keep = keep
        self.in_use = False
        self.replaces = False  # whether the first write removes an older training
        self._lock: files.Lock | None = None
        self._seen: dict[str, tuple] | None = None
        self._process = os.getpid()
        self._created = False
        self._finalizer: Any = None

    @property
    def best(self) -> Path:
        """Path of the best state."""
        return self.path / "best.keras"

    def file(self, batches: int) -> Path:
        """Returns the path of the state after a number of training batches."""
        return self.path / f"step-{batches:09}.keras"

    def states(self) -> list[Path]:
        """Returns the states in the folder, the newest first."""
        found = [
            (int(match[1]), path)
            for path in self.path.glob("*.keras")
            if (match := _NAME.fullmatch(path.name))
        ]
        return [path for _, path in sorted(found, reverse=True)]

    def contains_training(self) -> bool:
        """Whether a new training would replace something."""
        old = self.path / _LAST_OF_OLDER_VERSIONS
        return old.exists() or any(
            path == self.best or _NAME.fullmatch(path.name.removeprefix(_OLD))
            for path in self.path.glob("*.keras")
        )

    def read_newest(self) -> tuple[Path, Any, dict[str, np.ndarray]]:
        """Reads the newest state that is not damaged.

        Returns:
            Its path, its JSON value and its arrays.

        Raises:
            FileNotFoundError: There is no state.
            ValueError: All states are damaged.
        """
        if not self.states():
            # A training that replaces another one was killed before its first state.
            for path in self.path.glob(f"{_OLD}*.keras"):
                os.replace(path, path.with_name(path.name.removeprefix(_OLD)))
        states = self.states()
        if not states:
            raise FileNotFoundError(
                f"{self.path} contains no step-*.keras file, so there is no training "
                "to resume: start without resume."
            )
        for path in states:
            try:
                return (path, *model_file.read_training(path))
            except (OSError, ValueError) as error:
                warnings.warn(
                    f"This checkpoint is damaged, and the one before is used: {error}",
                    stacklevel=4,
                )
        raise ValueError(
            f"All checkpoints in {self.path} are damaged, or textgen.Checkpoints did "
            "not write them: start without resume, in another folder."
        )

    # === Lock ===

    def lock(self) -> None:
        """Locks the folder, if it exists.

        Raises:
            BlockingIOError: Another training uses the folder.
            OSError: The folder cannot be written.
            ValueError: Another training has used the folder in the meantime.
        """
        if self._lock is not None or not self.path.is_dir():
            return
        key = os.path.realpath(self.path)
        owner = _locked.get(key)
        # An object that was created before, and does not train, gives its lock away.
        if owner not in (None, self) and not owner.in_use:
            owner.release()
        self._lock = files.Lock(self.path / ".lock", f"The folder {self.path}")
        self._finalizer = weakref.finalize(self, _release_in, self._process, self._lock)
        _locked[key] = self
        seen = self._seen
        if seen is not None and seen != self._files():
            self.release()
            self._seen = seen
            raise ValueError(
                f"Another training has written to {self.path} since this Checkpoints "
                "was created: create it again."
            )
        self._seen = None

    def release(self) -> None:
        """Releases the lock."""
        if self._lock is not None:
            self._finalizer()
            self._lock = None
            self._seen = self._files()
        if self._created:
            with contextlib.suppress(OSError):
                self.path.rmdir()  # unless it contains a checkpoint

    def _files(self) -> dict[str, tuple]:
        """Returns number, time and size of each model file."""
        found = {}
        for path in self.path.glob("*.keras"):
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                found[path.name] = (status.st_ino, status.st_mtime_ns, status.st_size)
        return found

    # === Before the training ===

    def prepare(self, size: int) -> None:
        """Creates, locks, cleans and checks the folder.

        Args:
            size: int. Approximate size of one state in bytes.

        Raises:
            OSError: The folder cannot be written, or the disk is too small.
        """
        try:
            if not self.path.exists():
                self.path.mkdir(parents=True)
                self._created = True
            self.lock()
            for path in self.path.iterdir():
                if _TEMPORARY.fullmatch(path.name):  # of a process that was killed
                    path.unlink()
        except BlockingIOError:
            raise
        except OSError as error:
            raise _error(
                error,
                f"The checkpoints cannot be written to {self.path}: "
                f"{error.strerror or error}.",
            ) from error
        if not os.access(self.path, os.W_OK | os.X_OK):
            raise _error(
                PermissionError(errno.EACCES, ""),
                f"The checkpoints cannot be written to {self.path}: it is read-only.",
            )
        existing = sum(path.stat().st_size for path in self.path.glob("*.keras"))
        # The best state, and a new one while the oldest one still exists.
        needed = size * (self.keep + 2) - existing
        free = shutil.disk_usage(self.path).free
        if free < needed:
            raise _error(
                OSError(errno.ENOSPC, ""),
                f"The checkpoints in {self.path} need {needed / 1e6:,.0f} MB, and the "
                f"disk has {free / 1e6:,.0f} MB free: delete something, or use another "
                "folder or a smaller keep.",
            )

    # === Writing ===

    def write(self, batches: int, model: Any, training: Any, arrays: dict) -> Path:
        """Writes a state; removes the states that are not kept.

        Returns:
            The path of the state.
        """
        if self.replaces:
            self._set_aside()
        path = self.file(batches)
        model.write(path, training=training, arrays=arrays)
        self.replaces = False
        # Files with a greater number are damaged, or the resumed training would have
        # continued from them.
        older = [each for each in self.states() if each.name < path.name]
        kept = {path.name, *(each.name for each in older[: self.keep - 1])}
        removed = [each for each in self.states() if each.name not in kept]
        for each in [*removed, *self.path.glob(f"{_OLD}*.keras")]:
            with contextlib.suppress(OSError):
                each.unlink()
        return path

    def write_best(self, model: Any, training: Any, arrays: dict) -> None:
        """Writes the best state."""
        if self.replaces:
            self._set_aside()
        model.write(self.best, training=training, arrays=arrays)

    def _set_aside(self) -> None:
        """Renames the files of the training that this one replaces.

        They are removed after the first state of this training has been written.
        """
        old = self.path / _LAST_OF_OLDER_VERSIONS
        for path in [*self.states(), self.best, old]:
            if path.exists():
                os.replace(path, path.with_name(_OLD + path.name))
        self.replaces = False


class Reader(Folder):
    """Folder that another process writes; this one only reads the newest state."""

    def contains_training(self) -> bool:
        """The process that writes checks it."""
        return False

    def lock(self) -> None:
        """The process that writes has the lock."""

    def prepare(self, size: int) -> None:
        """The process that writes prepares the folder."""

    def write(self, batches: int, model: Any, training: Any, arrays: dict) -> Path:
        """Returns the path at which the other process writes this state."""
        return self.file(batches)

    def write_best(self, model: Any, training: Any, arrays: dict) -> None:
        """The other process writes it."""


def _release_in(process: int, lock: files.Lock) -> None:
    """Releases a lock, but not in a process that was forked."""
    if os.getpid() == process:
        lock.release()


def _error(error: OSError, message: str) -> OSError:
    """Returns an error of the same type and number, with another message."""
    changed = type(error)(message)
    changed.errno = error.errno
    return changed
