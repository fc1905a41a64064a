"""`hdf5.read` finds plain arrays, and refuses everything else.

`tests/hostile_files.py` makes more files, with the models around them.
"""

import contextlib
import io
import itertools
import os
import struct

import h5py
import numpy as np
import pytest

from textgen import hdf5

ARRAYS = {
    "a/b/0": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a/1": np.arange(3, dtype=np.int64),
    "scalar": np.float64(0.5),
    "flag": np.array([True, False]),
    "half": np.ones((2, 1), np.float16),
    "empty": np.zeros((0, 4), np.uint8),
}


def test_arrays_survive():
    data = hdf5.write(ARRAYS)
    found, groups = hdf5.read(data)
    assert groups == {"a", "a/b"}
    assert set(found) == set(ARRAYS)
    for name, value in ARRAYS.items():
        stored = found[name]
        assert (stored.shape, stored.dtype) == (value.shape, value.dtype)
        assert stored.size == value.nbytes
        np.testing.assert_array_equal(stored.value(data), value)
        # Without reading: the bytes are where the header says.
        assert data[stored.offset : stored.offset + stored.size] == value.tobytes()
    assert hdf5.write(ARRAYS) == data  # no dates
    found["a/1"].value(data)[0] = 5  # a copy


def test_bfloat16_survives():
    import ml_dtypes

    value = np.array([[1.5, -2], [0, 3]], ml_dtypes.bfloat16)
    data = hdf5.write({"x": value})
    [stored] = hdf5.read(data)[0].values()
    assert stored.dtype == "V2"
    found = stored.value(data, value.dtype)
    np.testing.assert_array_equal(found.astype(float), value.astype(float))


def read(change):
    file = io.BytesIO(hdf5.write(ARRAYS))
    with h5py.File(file, "r+") as content:
        change(content)
    return hdf5.read(file.getvalue())


def virtual(file):
    layout = h5py.VirtualLayout((3,), "f4")
    layout[...] = h5py.VirtualSource("other.h5", "x", (3,))
    file.create_virtual_dataset("x", layout)


def nested(file):
    for _ in range(70):
        file = file.create_group("x")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.__setitem__("x", h5py.ExternalLink("other.h5", "y")), "a link"),
        (lambda f: f.__setitem__("x", h5py.SoftLink("/a")), "a link"),
        (lambda f: f.__setitem__("x", f["a/1"]), "another name"),
        (lambda f: f.__setitem__("a/x", f["a"]), "another name"),
        (lambda f: f.__setitem__("x", np.dtype("f4")), "neither an array nor a group"),
        (virtual, "stored in another file"),
        (
            lambda f: f.create_dataset("x", (3,), "f4", external=[("o", 0, 99)]),
            "stored in another file",
        ),
        (lambda f: f.create_dataset("x", (9,), "f4", chunks=(3,)), "in pieces"),
        (lambda f: f.create_dataset("x", (10**9,), "f4"), "4,000,000,000 bytes that"),
        (lambda f: f.create_dataset("x", data=h5py.Empty("f4")), "no shape"),
        (lambda f: f.create_dataset("x", data="text"), "type object"),
        (lambda f: f.create_dataset("x", (2,), [("a", "i4")]), "type"),
        (lambda f: f.create_dataset("x", data=np.ones(2, "c8")), "type complex64"),
        (lambda f: f.create_dataset("x", data=np.ones(2, "V4")), "type"),
        (nested, "more than 64 deep"),
    ],
)
def test_everything_else_is_refused(change, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        read(change)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("data", [b"", b"text", bytes(5000)])
def test_no_hdf5(data):
    with pytest.raises(ValueError, match="structure is damaged"):
        hdf5.read(data)


def test_free_blocks_in_a_circle():
    """The HDF5 library allocates memory without an end for such a file."""
    data = bytearray(hdf5.write({"a/x": np.ones(3)}))
    at = data.index(b"HEAP")
    _, block, address = struct.unpack_from("<QQQ", data, at + 8)
    data[address + block : address + block + 8] = block.to_bytes(8, "little")
    with pytest.raises(ValueError, match=r"damaged \(a circle\)"):
        hdf5.read(bytes(data))


def test_groups_in_a_circle():
    """A node of a group is its own neighbour; `h5o.get_info` would never return."""
    data = bytearray(hdf5.write({"a/x": np.ones(3)}))
    at = data.index(b"TREE")
    while at >= 0:
        data[at + 16 : at + 24] = at.to_bytes(8, "little")
        at = data.find(b"TREE", at + 1)
    assert set(hdf5.read(bytes(data))[0]) == {"a/x"}


def test_impossible_addresses():
    data = hdf5.write({"a/x": np.ones(3)})
    for at, low in itertools.product(range(0, len(data) - 8, 8), (b"\xff", b"\xbf")):
        changed = data[:at] + low + b"\xff" * 7 + data[at + 8 :]
        found = {}
        with contextlib.suppress(ValueError):  # and no other type of error
            found, _ = hdf5.read(changed)
        assert set(found) <= {"a/x"}


def test_truncation():
    data = hdf5.write(ARRAYS)
    for end in range(0, len(data), 97):
        with pytest.raises(ValueError):
            hdf5.read(data[:end])


def test_overlapping_arrays():
    one, other = (
        hdf5.Stored((4,), np.dtype("f4"), 10),
        hdf5.Stored((1,), np.dtype("f4"), 20),
    )
    with pytest.raises(ValueError, match="'b' is not where"):
        hdf5._check_places({"a": one, "b": other}, 100)
    with pytest.raises(ValueError, match="'a' is not where"):
        hdf5._check_places({"a": one}, 25)
    hdf5._check_places({"a": one}, 26)
