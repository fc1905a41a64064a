"""Preliminary ids of a text that is read once, while its vocabulary is learned."""

from collections.abc import Iterator
from typing import IO

import numpy as np

_CHUNK = 1 << 20  # ids


class Spool:
    """Preliminary ids in a temporary file, in the smallest type for each part.

    Args:
        file: Binary file, open for reading and writing.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._parts: list[tuple[np.dtype, int]] = []

    def append(self, ids: np.ndarray, size: int, counts: np.ndarray) -> np.ndarray:
        """Adds ids, and counts them.

        Args:
            ids: integer array of shape `(tokens,)`.
            size: int. All ids so far are smaller.
            counts: int64 array. How often each id occurred before.

        Returns:
            The counts with these ids, int64, at least `size` of them.
        """
        dtype, count = np.dtype(np.min_scalar_type(max(0, size - 1))), len(ids)
        self._file.write(ids.astype(dtype).data)
        if self._parts and self._parts[-1][0] == dtype:
            count += self._parts.pop()[1]
        self._parts.append((dtype, count))
        if len(counts) < size:
            counts = np.pad(counts, (0, 2 * size - len(counts)))
        if size < 4 * len(ids):
            counts[:size] += np.bincount(ids, minlength=size)
        else:  # a large vocabulary: most counts do not change
            found, number = np.unique(ids, return_counts=True)
            counts[found] += number
        return counts

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yields all ids in pieces."""
        self._file.seek(0)
        for dtype, count in self._parts:
            for at in range(0, count, _CHUNK):
                data = self._file.read(min(_CHUNK, count - at) * dtype.itemsize)
                yield np.frombuffer(data, dtype)
