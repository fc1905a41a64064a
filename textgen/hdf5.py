"""Named arrays in HDF5, without the features of HDF5 that a hostile file could use.

An HDF5 file can refer to other files, compress a huge array to a few bytes, or declare
arrays that it does not contain. `read` accepts plain arrays only, and reads no values:
it returns where they are. All errors are ValueErrors that name the array.
"""

import dataclasses
import io
import math
import struct
from collections.abc import Iterator, Mapping
from typing import Any

import h5py
import numpy as np

# Limits against files whose headers alone would take minutes to read.
_MAXIMUM_DEPTH = 64
_MAXIMUM_OBJECTS = 200_000
_MAXIMUM_FREE_BLOCKS = 1_000_000


@dataclasses.dataclass(frozen=True)
class Stored:
    """Array in the bytes of an HDF5 file; its values have not been read."""

    shape: tuple[int, ...]
    dtype: np.dtype
    offset: int

    @property
    def size(self) -> int:
        """Number of bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    def value(self, data: bytes, dtype: Any = None) -> np.ndarray:
        """Returns a copy of the array.

        Args:
            data: bytes. The complete HDF5 file.
            dtype: Dtype of the same size, or `None` for the stored one. HDF5 has no
                bfloat16, so such arrays are stored as two opaque bytes each.
        """
        count = math.prod(self.shape)
        dtype = self.dtype if dtype is None else dtype
        view = np.frombuffer(data, dtype, count, self.offset)
        return view.reshape(self.shape).copy()


def write(arrays: Mapping[str, Any]) -> bytes:
    """Returns an HDF5 file.

    Args:
        arrays: Mapping of path, such as `"layers/dense/vars/0"`, and array.
    """
    file = io.BytesIO()
    with h5py.File(file, "w") as hdf5:
        for path, value in arrays.items():
            value = np.asarray(value)
            dataset = hdf5.create_dataset(path, data=value)
            if value.dtype.name == "bfloat16":
                dataset.attrs["dtype"] = "bfloat16"  # for Keras, which reads it
    return file.getvalue()


def read(data: bytes) -> tuple[dict[str, Stored], set[str]]:
    """Finds the arrays in an HDF5 file.

    Args:
        data: bytes. The complete HDF5 file.

    Returns:
        The arrays by path, and the paths of all groups.

    Raises:
        ValueError: The file is damaged, or is more than plain arrays in groups: links,
            compressed or external arrays, arrays that share their bytes.
    """
    arrays: dict[str, Stored] = {}
    groups: set[str] = set()
    seen: set[int] = set()
    _check_heaps(data)
    try:
        with h5py.File(io.BytesIO(data), "r") as hdf5:
            for path, item in _items(hdf5.id, "", seen, 0):
                if isinstance(item, h5py.h5g.GroupID):
                    groups.add(path)
                else:
                    arrays[path] = _stored(item, path)
    except (
        *(ArithmeticError, AttributeError, KeyError, OSError, RuntimeError),
        *(MemoryError, TypeError),
    ) as error:
        # The library has many types of errors for damaged files.
        reason = " ".join(str(error).split())
        raise ValueError(f"its HDF5 structure is damaged ({reason})") from error
    _check_places(arrays, len(data))
    return arrays, groups


def _check_heaps(data: bytes) -> None:
    """Raises ValueError if a list of free blocks is a circle.

    The HDF5 library would follow it for ever, and allocate memory at each step.
    """
    steps = 0
    at = data.find(b"HEAP\0")
    while 0 <= at <= len(data) - 32:
        size, block, address = struct.unpack_from("<QQQ", data, at + 8)
        seen: set[int] = set()
        while block < size and address + block <= len(data) - 16 and block != 1:
            steps += 1
            if block in seen or steps > _MAXIMUM_FREE_BLOCKS:
                raise ValueError("its HDF5 structure is damaged (a circle)")
            seen.add(block)
            [block] = struct.unpack_from("<Q", data, address + block)
        at = data.find(b"HEAP\0", at + 1)


def _items(
    group: Any, parent: str, seen: set[int], depth: int
) -> Iterator[tuple[str, Any]]:
    """Yields the path and the identifier of everything in a group, recursively."""
    if depth > _MAXIMUM_DEPTH:
        raise ValueError(f"its groups are nested more than {_MAXIMUM_DEPTH} deep")
    if group.get_num_objs() + len(seen) > _MAXIMUM_OBJECTS:
        raise ValueError(f"it has more than {_MAXIMUM_OBJECTS:,} arrays and groups")
    for raw in group:
        name = raw.decode("utf-8")
        path = f"{parent}/{name}" if parent else name
        # Not h5o.get_info: it follows the list of the nodes of a group, and a list that
        # is a circle has no end.
        link = group.links.get_info(raw)
        if link.type != h5py.h5l.TYPE_HARD:
            raise ValueError(f"{path!r} is a link")
        address = link.u
        if address in seen:
            raise ValueError(f"{path!r} is another name of an array or a group")
        seen.add(address)
        item = h5py.h5o.open(group, raw)
        yield path, item
        if isinstance(item, h5py.h5g.GroupID):
            yield from _items(item, path, seen, depth + 1)


def _stored(item: Any, path: str) -> Stored:
    if not isinstance(item, h5py.h5d.DatasetID):
        raise ValueError(f"{path!r} is neither an array nor a group")
    # The layout comes first: other calls could open the source files of a virtual
    # dataset.
    properties = item.get_create_plist()
    if properties.get_layout() == h5py.h5d.VIRTUAL or properties.get_external_count():
        raise ValueError(f"{path!r} is stored in another file")
    if properties.get_layout() != h5py.h5d.CONTIGUOUS or properties.get_nfilters():
        raise ValueError(f"{path!r} is compressed or stored in pieces")
    space, kind = item.get_space(), item.get_type()
    if space.get_simple_extent_type() == h5py.h5s.NULL:
        raise ValueError(f"{path!r} has no shape")
    dtype = kind.dtype
    plain = dtype.kind in "biuf" or dtype == np.dtype("V2")
    if not plain or kind != h5py.h5t.py_create(dtype, logical=True):
        raise ValueError(f"{path!r} has the type {dtype}, which is not supported")
    shape = tuple(map(int, space.shape))
    size = math.prod(shape) * dtype.itemsize
    offset = item.get_offset() if size else 0
    if offset is None or (size and item.get_storage_size() != size):
        raise ValueError(f"{path!r} declares {size:,} bytes that it does not contain")
    return Stored(shape, dtype, offset)


def _check_places(arrays: Mapping[str, Stored], length: int) -> None:
    """Raises ValueError if arrays overlap or end after the file."""
    end = 0
    for path, stored in sorted(arrays.items(), key=lambda item: item[1].offset):
        if not stored.size:
            continue
        if stored.offset < end or stored.offset + stored.size > length:
            raise ValueError(f"{path!r} is not where its header says")
        end = stored.offset + stored.size
