import tracemalloc

import numpy as np
import pytest

from textgen import array_file
from textgen.array_file import GrowingArray


@pytest.mark.parametrize("dtype", [np.uint8, np.uint32, np.uint64])
@pytest.mark.parametrize("in_memory", [0, 50, 10**6])
def test_all_values_in_order(dtype, in_memory, monkeypatch):
    monkeypatch.setattr(array_file, "_IN_MEMORY", in_memory)
    generator = np.random.default_rng(0)
    array, expected = GrowingArray(dtype), []
    for size in (0, 5, 1, 0, 30, 7):
        values = generator.integers(0, 200, size)
        array.append(values)
        expected += values.tolist()
    result = array.array()
    assert result.tolist() == expected
    assert result.dtype == dtype


@pytest.mark.parametrize("in_memory", [0, 50])
def test_no_values(in_memory, monkeypatch):
    monkeypatch.setattr(array_file, "_IN_MEMORY", in_memory)
    assert GrowingArray(np.uint8).array().tolist() == []


def test_a_large_array_takes_little_memory():
    part = np.arange(10**6, dtype=np.uint32)
    tracemalloc.start()
    try:
        array = GrowingArray(np.uint32)
        for _ in range(30):
            array.append(part)
        result = array.array()
        used, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(result) == 30 * 10**6
    assert result[-1] == 10**6 - 1
    assert used < 1e6
    # What is in memory, while its buffer grows, and one part.
    assert peak < 2 * 2**24 + 2 * part.nbytes
