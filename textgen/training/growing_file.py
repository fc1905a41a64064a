"""`GrowingFile`: a text file that gets lines during a training."""

import contextlib
import os
import warnings
from collections.abc import Iterator

from textgen import files


class GrowingFile:
    """A text file that gets lines during a training.

    An error while it is written must not end the training: it is one warning.

    Args:
        path: str or path. Its folder must exist.
        what: str. What the file is, for the warning: `"log"`.
    """

    def __init__(self, path: str | os.PathLike[str], what: str) -> None:
        self.path = path
        self._what = what
        self._warned = False
        self._broken = False  # whether the last line may be incomplete

    def read(self) -> list[str]:
        """Returns the complete lines; none if there is no such text file."""
        try:
            with files.open_regular(self.path) as file:
                text = file.read().decode("utf-8")
        except (OSError, UnicodeDecodeError):
            return []
        # A process that was killed may have left a part of a line.
        return text.replace("\r\n", "\n").split("\n")[:-1]

    def replace(self, lines: list[str]) -> None:
        """Writes all lines."""
        with self._warning():
            text = "".join(f"{line}\n" for line in lines)
            files.write_text(
                self.path, text.encode("utf-8", "backslashreplace").decode()
            )
            self._broken = False

    def append(self, lines: list[str]) -> None:
        """Adds lines at the end; half of a surrogate pair becomes `\\udc80`."""
        if self._broken:
            self.replace([*self.read(), *lines])
            return
        data = "".join(f"{line}\n" for line in lines)
        with self._warning(), open(self.path, "ab") as file:
            file.write(data.encode("utf-8", "backslashreplace"))

    @contextlib.contextmanager
    def _warning(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if not self._warned:
                reason = error.strerror or str(error)
                warnings.warn(
                    f"The {self._what} {self.path} cannot be written ({reason}); the "
                    "training continues.",
                    stacklevel=2,
                )
            self._warned = self._broken = True
