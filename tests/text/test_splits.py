import random
import tracemalloc

import numpy as np
import pytest

import textgen
from textgen.text.splits import split_line_numbers


@pytest.mark.parametrize(
    ("items", "validation", "sizes"),
    [
        (10, 0.1, (9, 1)),
        (10, 0.25, (7, 3)),
        (1_000, 0.1, (900, 100)),
        (3, 0.5, (1, 2)),
        (7, 0, (7, 0)),
        (1, 0.1, (0, 1)),
        (0, 0.1, (0, 0)),
        (10, 0.9, (1, 9)),
        (10, 0.8, (2, 8)),
    ],
)
def test_split_sizes(items, validation, sizes):
    text = "".join(chr(ord("a") + index % 26) for index in range(items))
    train, held_out = textgen.split(text, validation)
    assert (len(train), len(held_out)) == sizes
    assert train + held_out == text


def test_split_at_the_index_of_nanogpt():
    n = 1_115_394
    train, validation = textgen.split(range(n), validation=0.1)
    assert train == range(int(0.9 * n))
    assert validation == range(int(0.9 * n), n)


def test_split_keeps_the_type():
    assert textgen.split(["a", "b", "c", "d"], 0.5) == (["a", "b"], ["c", "d"])
    ids = np.arange(10, dtype=np.int8)
    train, validation = textgen.split(ids, 0.3)
    np.testing.assert_array_equal(train, ids[:7])
    np.testing.assert_array_equal(validation, ids[7:])
    assert np.shares_memory(train, ids)


@pytest.mark.parametrize("validation", [-0.1, 1, 1.0, 10, float("nan"), float("inf")])
def test_split_share_out_of_range(validation):
    with pytest.raises(ValueError, match=f"validation={validation}"):
        textgen.split("text", validation)


@pytest.mark.parametrize("seed", [0, 1, 2**40])
@pytest.mark.parametrize(("validation", "held_out"), [(0, 0), (0.1, 3), (0.5, 12)])
def test_split_lines_is_a_sample_of_the_lines(validation, held_out, seed):
    lines = [f"line {number}" for number in range(24)]
    # Only "\n" ends a line, as in the datasets; `str.splitlines` has more separators.
    lines[3], lines[7], lines[8] = "a\x85b", "\x0c", " "
    order = random.Random(seed).sample(range(24), 24)
    train, validation_lines = textgen.split_lines("\n".join(lines), validation, seed)
    assert train == [lines[index] for index in order[: 24 - held_out]]
    assert validation_lines == [lines[index] for index in order[24 - held_out :]]


def test_split_lines_defaults():
    lines = [str(number) for number in range(50)]
    expected = textgen.split_lines("\n".join(lines), validation=0.1, seed=0)
    assert textgen.split_lines("\n".join(lines)) == expected
    assert len(expected[1]) == 5


def test_split_lines_skips_empty_lines():
    lines = ["one", "two", "three", "four"]
    text = "\n\none\ntwo\n\n\nthree\nfour\n\n"
    assert textgen.split_lines(text, 0.5) == textgen.split_lines("\n".join(lines), 0.5)
    assert textgen.split_lines("\n\n") == ([], [])


def test_a_million_lines_are_split_with_little_memory():
    """The order is that of NumPy's generator; 4 bytes for each line."""
    tracemalloc.start()
    try:
        train, held_out = split_line_numbers(1_000_003, 0.1, seed=7)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    order = np.random.default_rng(7).permutation(1_000_003)
    np.testing.assert_array_equal(train, order[:900_002])
    np.testing.assert_array_equal(held_out, order[900_002:])
    assert peak < 5e6


def test_split_lines_share_out_of_range():
    with pytest.raises(ValueError, match=r"validation=1\.5 must be a share"):
        textgen.split_lines("a\nb", 1.5)
