"""`GrowingArray`: an array that is written once, from its beginning to its end."""

import tempfile
from typing import IO, Any

import numpy as np

_IN_MEMORY = 2**24  # bytes


class GrowingArray:
    """A one-dimensional array that grows at its end; a large one is in a file.

    Above 16 MB, it moves to a temporary file without a name, which is removed with the
    last array that reads it, also if the process is killed. The system keeps in memory
    what is used of it, as long as there is room.

    Args:
        dtype: dtype of the array.
    """

    def __init__(self, dtype: Any) -> None:
        self.dtype = np.dtype(dtype)
        self._memory = bytearray()
        self._file: IO[bytes] | None = None

    def append(self, values: np.ndarray) -> None:
        """Adds values at the end; raises OSError if the disk is full."""
        data = values.astype(self.dtype, copy=False).tobytes()
        if self._file is None and len(self._memory) + len(data) > _IN_MEMORY:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115
            self._file.write(self._memory)
            self._memory = bytearray()
        if self._file is None:
            self._memory += data
        else:
            self._file.write(data)

    def array(self) -> np.ndarray:
        """Returns all values; nothing can be added afterwards."""
        if self._file is None:
            return np.frombuffer(self._memory, self.dtype)
        self._file.flush()
        return np.asarray(np.memmap(self._file, self.dtype, "r"))
