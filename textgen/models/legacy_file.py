"""Reader of the HDF5 files that Keras 2 wrote, for files that nobody has checked.

Keras 2 used a small part of HDF5: superblock 0, groups with symbol tables, attributes
in object headers, contiguous arrays. This module reads this part only, in Python. The
HDF5 library (1.14.6) is not made for hostile files: in a file of 2,456 bytes whose heap
has a free block that names itself as the next one, it follows this list without an end
when it lists a group, and allocates 1 GB per second. All sizes are compared with the
size of the file before anything is read, all parts of the file must lie apart, and
everything else (links, chunks, filters, external storage, newer forms) is refused.

The names of fields are those of the HDF5 File Format Specification, version 3.0.
"""

import contextlib
import dataclasses
import math
import os
import re
import struct
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from textgen.messages import printable

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_NAME = re.compile(r"[A-Za-z0-9_.:>+ -]{1,255}")

_MAX_DEPTH = 16  # groups inside each other
_MAX_OBJECTS = 5_000  # groups and arrays
_MAX_METADATA = 1 << 20  # bytes of one object header, heap or text
_MAX_DATA = 1 << 31  # bytes of all arrays

# Datatype messages of the arrays that Keras 2 wrote, little-endian.
_DTYPES = {
    bytes.fromhex("11200f00020000000000 10000a05000a0f000000"): "<f2",
    bytes.fromhex("11201f00040000000000 2000170800177f000000"): "<f4",
    bytes.fromhex("11203f00080000000000 4000340b0034ff030000"): "<f8",
    bytes.fromhex("10080000040000000000 2000"): "<i4",
    bytes.fromhex("10080000080000000000 4000"): "<i8",
}

# Types of messages in object headers.
_DATASPACE, _DATATYPE, _LAYOUT, _ATTRIBUTE, _TABLE = 0x01, 0x03, 0x08, 0x0C, 0x11
_CONTINUATION = 0x10
_IGNORED = {0x00, 0x04, 0x05, 0x0E, 0x12}  # nothing, fill values, modification times
_REFUSED = {
    0x02: "holds links",
    0x06: "holds links",
    0x07: "is stored in another file",
    0x0B: "is compressed or filtered",
}


@dataclasses.dataclass(frozen=True)
class Array:
    """Header of an array: `shape`, `dtype`, and its place in the file in bytes."""

    shape: tuple[int, ...]
    dtype: np.dtype
    address: int


@dataclasses.dataclass(frozen=True)
class Group:
    """A group: `members` and the undecoded messages of `attributes`, by name."""

    members: dict[str, "Group | Array"]
    attributes: dict[str, bytes]

    def find(self, name: str) -> "Group | Array | None":
        """Returns the member at a path with slashes, or `None`."""
        item: Group | Array | None = self
        for part in name.split("/"):
            item = item.members.get(part) if isinstance(item, Group) else None
        return item

    def arrays(self) -> int:
        """Returns the number of arrays in this group and in those inside it."""
        return sum(
            member.arrays() if isinstance(member, Group) else 1
            for member in self.members.values()
        )


class LegacyFile:
    """The groups, texts and arrays of a file.

    Args:
        file: Binary file, open for reading.

    Attributes:
        root: `Group`. The headers of the complete file; no array is read yet.

    Raises:
        ValueError: The file is damaged, or it has parts that Keras 2 never wrote. The
            message is a reason that starts with "is", for the name of the file.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = os.fstat(file.fileno()).st_size
        self._used: list[tuple[int, int]] = []  # start and end of each part, in bytes
        self._objects: set[int] = set()
        self._heaps: dict[int, dict[int, bytes]] = {}
        self._data = self._metadata = 0  # bytes of all arrays, of all other parts
        if self._size < 96 or self._read(0, 8) != _SIGNATURE:
            raise ValueError("is not an HDF5 file (.h5), or it is damaged")
        head = self._take(0, 96)
        sizes = (head[13], head[14])  # of addresses and lengths
        base, _, end, driver, _, root = struct.unpack_from("<6Q", head, 24)
        if head[8:13] != bytes(5) or sizes != (8, 8) or base or driver != 2**64 - 1:
            raise ValueError(
                "is refused: it is not in the HDF5 form that Keras 2 wrote"
            )
        if end > self._size:
            raise damaged(f"it has {self._size:,} bytes of {end:,}: it was cut short")
        item = self._object(root, "/", 0)
        if not isinstance(item, Group):
            raise damaged("its root is not a group")
        self.root = item
        self._check_parts()

    def text(self, group: Group, name: str) -> str:
        """Returns an attribute that is one text."""
        texts = self.texts(group, name)
        if len(texts) != 1:
            raise damaged(f"{name} is not a text")
        return texts[0]

    def texts(self, group: Group, name: str) -> list[str]:
        """Returns an attribute that is a list of texts."""
        if name not in group.attributes:
            raise damaged(f"{name} is missing")
        with _described(name):
            texts = [each.decode("utf-8") for each in self._strings(group, name)]
        self._check_parts()
        return texts

    def array(self, header: Array) -> np.ndarray:
        """Reads an array."""
        length = math.prod(header.shape) * header.dtype.itemsize
        data = self._read(header.address, length)
        return np.frombuffer(data, header.dtype).reshape(header.shape)

    def _read(self, at: int, length: int) -> bytes:
        if at + length > self._size:
            raise damaged("a part lies outside of the file")
        self._file.seek(at)
        data = self._file.read(length)
        if len(data) != length:
            raise damaged("it became shorter while it was read")
        return data

    def _take(self, at: int, length: int) -> bytes:
        """Reads a part of the file that belongs to nothing else."""
        if length > _MAX_METADATA:
            raise damaged(f"a header has {length:,} bytes")
        self._metadata += length
        self._use(at, length)
        return self._read(at, length)

    def _use(self, at: int, length: int) -> None:
        self._used.append((at, at + length))
        if self._metadata + self._data > self._size:
            raise damaged("its parts are longer than the file")

    def _check_parts(self) -> None:
        """Raises ValueError if two parts overlap: their addresses are wrong."""
        self._used.sort()
        ends = [0, *(end for _, end in self._used)]
        if any(start < end for (start, _), end in zip(self._used, ends, strict=False)):
            raise damaged("two parts of the file overlap")

    def _object(self, address: int, name: str, depth: int) -> Group | Array:
        """Reads the header of a group or array, and all groups inside."""
        if depth > _MAX_DEPTH or len(self._objects) >= _MAX_OBJECTS:
            raise damaged("it has too many groups")
        if address in self._objects:
            raise ValueError(f"is refused: {name} is a link to another part")
        self._objects.add(address)
        found: dict[int, bytes] = {}
        attributes: dict[str, bytes] = {}
        with _described(name):
            for kind, body in self._messages(address, name):
                if kind == _ATTRIBUTE:
                    [length] = struct.unpack_from("<H", body, 2)
                    key = body[8 : 8 + length].split(b"\0")[0].decode("ascii")
                    if key in attributes:
                        raise damaged(f"{name} has the attribute {key!r} twice")
                    attributes[key] = body
                elif kind in found:
                    raise damaged(f"the header of {name} has a part twice")
                else:
                    found[kind] = body
            if set(found) == {_TABLE}:
                members = self._members(found[_TABLE], depth)
                return Group(dict(members), attributes)
            if set(found) == {_DATASPACE, _DATATYPE, _LAYOUT}:
                return self._array_header(found, name)
        raise damaged(f"{name} is neither a group nor an array")

    def _messages(self, address: int, name: str) -> Iterator[tuple[int, bytes]]:
        """Yields type and body of the messages of an object header."""
        version, size = struct.unpack_from("<B7xI", self._read(address, 12))
        if version != 1:
            raise damaged(f"{name} has no header of version 1")
        blocks = [(address, self._take(address, 16 + size)[16:])]
        for _, data in blocks:
            at = 0
            while at + 8 <= len(data):
                kind, size, flags = struct.unpack_from("<HHB", data, at)
                body = data[at + 8 : at + 8 + size]
                at += 8 + size
                if kind in _REFUSED:
                    raise ValueError(f"is refused: {name} {_REFUSED[kind]}")
                if len(body) != size or flags & 2:  # 2: the body is elsewhere
                    raise damaged(f"the header of {name} is not complete")
                if kind == _CONTINUATION:
                    more, length = struct.unpack_from("<QQ", body)
                    blocks.append((more, self._take(more, length)))
                    if len(blocks) > 100:
                        raise damaged(f"the header of {name} does not end")
                elif kind in (_DATASPACE, _DATATYPE, _LAYOUT, _ATTRIBUTE, _TABLE):
                    yield kind, body
                elif kind not in _IGNORED:
                    raise damaged(f"the header of {name} has an unknown part, {kind}")

    def _members(self, body: bytes, depth: int) -> Iterator[tuple[str, Group | Array]]:
        """Yields the members of a group; `body` is its symbol table message."""
        tree, heap = struct.unpack_from("<QQ", body)
        head = self._take(heap, 32)
        if head[:5] != b"HEAP\0":
            raise damaged("a group has no names")
        length, _, address = struct.unpack_from("<QQQ", head, 8)
        names = self._take(address, length)
        seen = set()
        for node in self._nodes(tree, _MAX_DEPTH):
            head = self._read(node, 8)
            if head[:5] != b"SNOD\1":
                raise damaged("a group has no members")
            entries = self._take(node, 8 + 40 * struct.unpack_from("<H", head, 6)[0])
            for at in range(8, len(entries), 40):
                offset, target, cache = struct.unpack_from("<QQI", entries, at)
                name = names[offset : offset + 256].split(b"\0")[0].decode("ascii")
                if not _NAME.fullmatch(name) or name in seen:
                    raise damaged(f"the name {name!r} is not valid")
                if cache > 1:
                    raise ValueError(f"is refused: {name} is a link")
                seen.add(name)
                yield name, self._object(target, name, depth + 1)

    def _nodes(self, address: int, above: int) -> Iterator[int]:
        """Yields the addresses of the symbol table nodes of a B-tree, in order."""
        head = self._read(address, 8)
        level, count = struct.unpack_from("<BH", head, 5)
        if head[:5] != b"TREE\0" or level >= above:
            raise damaged("a group has no list of members")
        keys = self._take(address, 24 + 8 + 16 * count)[24:]
        for at in range(8, 16 * count, 16):
            [child] = struct.unpack_from("<Q", keys, at)
            if level:
                yield from self._nodes(child, level)
            else:
                yield child

    def _array_header(self, found: dict[int, bytes], name: str) -> Array:
        shape = _shape(found[_DATASPACE])
        kind = found[_DATATYPE]
        dtype = next((_DTYPES[key] for key in _DTYPES if kind.startswith(key)), None)
        if dtype is None:
            raise ValueError(f"is refused: the numbers of {name} have an unknown type")
        version, layout = found[_LAYOUT][:2]
        if (version, layout) != (3, 1):
            raise ValueError(f"is refused: {name} is not stored as one block")
        address, length = struct.unpack_from("<QQ", found[_LAYOUT], 2)
        array = Array(shape, np.dtype(dtype), address)
        if length != math.prod(shape) * array.dtype.itemsize or not length:
            raise damaged(f"{name}, of shape {shape}, has {length:,} bytes")
        if address + length > self._size:
            raise damaged(f"{name}, of {length:,} bytes, lies outside of the file")
        self._data += length
        if self._data > _MAX_DATA:
            raise ValueError(f"is refused: its arrays have over {_MAX_DATA:,} bytes")
        self._use(address, length)
        return array

    def _strings(self, group: Group, name: str) -> Iterator[bytes]:
        """Yields the strings of an attribute, of fixed or of variable length."""
        body = group.attributes[name]
        version, *lengths = struct.unpack_from("<BxHHH", body)
        # Name, type and shape are padded to 8 bytes.
        ends = [8, *(-(-length // 8) * 8 for length in lengths)]
        kind_at, shape_at, data_at = (sum(ends[:count]) for count in (2, 3, 4))
        shape, data = _shape(body[shape_at:data_at]), body[data_at:]
        kind, bits, size = struct.unpack_from("<BBxxI", body, kind_at)
        count = math.prod(shape)
        if count == 0:
            return
        is_variable = kind & 15 == 9 and bits & 15 == 1 and size == 16
        if version != 1 or not (is_variable or kind & 15 == 3) or not size:
            raise damaged(f"{name} is not a text")
        if count * size > len(data):
            raise damaged(f"{name} is not complete")
        for at in range(0, count * size, size):
            if is_variable:
                yield self._heap_text(*struct.unpack_from("<IQI", data, at))
            else:
                yield data[at : at + size].rstrip(b"\0")

    def _heap_text(self, length: int, address: int, index: int) -> bytes:
        """Returns an object of a global heap, which must have this length."""
        if address not in self._heaps:
            head = self._read(address, 16)
            if head[:5] != b"GCOL\1":
                raise damaged("a text is missing")
            data = self._take(address, *struct.unpack_from("<Q", head, 8))
            objects, at = {}, 16
            while at + 16 <= len(data):
                number, size = struct.unpack_from("<H6xQ", data, at)
                if number == 0:  # the rest is free
                    break
                objects[number] = data[at + 16 : at + 16 + size]
                at += 16 + -(-size // 8) * 8
            self._heaps[address] = objects
        text = self._heaps[address].get(index, b"")
        if len(text) != length:
            raise damaged(f"a text of {length:,} bytes has {len(text):,}")
        return text


def damaged(reason: str) -> ValueError:
    """Returns the error for a damaged file."""
    return ValueError(f"is damaged: {reason}")


@contextlib.contextmanager
def _described(name: str) -> Iterator[None]:
    """Turns errors of decoding into the error for a damaged file."""
    try:
        yield
    except (struct.error, UnicodeDecodeError, IndexError) as error:
        raise damaged(f"{name}: {printable(error, 100)}") from error


def _shape(body: bytes) -> tuple[int, ...]:
    """Returns the shape of a dataspace message."""
    version, rank, flags = struct.unpack_from("<BBB", body)
    if version != 1 or rank > 8 or flags > 1:
        raise damaged("the shape of an array is not valid")
    return struct.unpack_from(f"<{rank}Q", body, 8)
