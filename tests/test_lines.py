import itertools
import tracemalloc
from collections import Counter

import numpy as np
import pytest

from textgen import array_file
from textgen import lines as lines_
from textgen.lines import Lines, choose_buckets


def naive_lines(ids, end):
    """Starts and lengths by the definition."""
    found, start = [], 0
    for index in range(len(ids) + 1):
        if index == len(ids) or ids[index] == end:
            if index > start:
                found.append((start, index - start))
            start = index + 1
    return found


@pytest.mark.parametrize("in_memory", [0, 100, 10_000])
@pytest.mark.parametrize("chunk", [1, 7, 64, 1000])
@pytest.mark.parametrize("share", [0.02, 0.2, 0.8])
def test_lines_against_a_loop(chunk, share, in_memory, monkeypatch):
    monkeypatch.setattr(lines_, "_CHUNK", chunk)
    monkeypatch.setattr(array_file, "_IN_MEMORY", in_memory)
    for seed in range(5):
        generator = np.random.default_rng(seed)
        ids = generator.integers(1, 9, 128 + seed).astype(np.int8)
        ids[generator.random(len(ids)) < share] = 0
        lines = Lines(ids, 0)
        assert list(zip(lines.starts, lines.lengths, strict=True)) == naive_lines(
            ids, 0
        )
        assert lines.starts.dtype == np.uint32
        assert len(lines) == len(lines.starts)
        numbers = generator.integers(0, len(lines), 30)
        taken = lines.take(numbers)
        assert taken.starts.tolist() == lines.starts[numbers].tolist()
        assert taken.lengths.tolist() == lines.lengths[numbers].tolist()


@pytest.mark.parametrize(
    ("longest", "dtype"), [(254, np.uint8), (255, np.uint16), (70_000, np.uint32)]
)
def test_lengths_have_the_smallest_dtype(longest, dtype, monkeypatch):
    monkeypatch.setattr(lines_, "_CHUNK", 100)
    ids = np.ones(longest + 20, np.uint8)
    ids[[3, 10, 15, 19]] = 0
    lines = Lines(ids, 0)
    assert lines.lengths.tolist() == [3, 6, 4, 3, longest]
    assert lines.lengths.dtype == dtype


def test_lines_of_a_large_file_take_little_memory(tmp_path):
    # A sparse file: zeros, and a line end after each 100 ids of its last tenth.
    size, number = 100_000_000, 100_000
    ids = np.memmap(tmp_path / "ids", np.int8, "w+", shape=(size,))
    ids[-100 * number :: 100] = 1
    tracemalloc.start()
    try:
        lines = Lines(ids, 1)
        used, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(lines) == number + 1
    assert lines.ids is ids
    assert used < 13 * number
    assert peak < 26 * number + 4e6


def test_take():
    ids = np.array([1, 0, 2, 3, 0, 0, 4, 5, 6])
    lines = Lines(ids, 0)
    taken = lines.take([2, 0, 2])
    assert (taken.starts.tolist(), taken.lengths.tolist()) == ([6, 0, 6], [3, 1, 3])
    assert taken.ids is ids
    assert taken.end_of_line == 0
    assert (len(taken), len(lines)) == (3, 3)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ([0, 3], "Line 3 does not exist: the text has 3 lines"),
        ([-1, 1], "Line -1 does not exist"),
        ([], r"not empty; got shape \(0,\)"),
        ([0.0], "dtype float64"),
        ([True, False, True], "dtype bool"),
        ([[0]], r"shape \(1, 1\)"),
        (1, r"shape \(\)"),
    ],
)
def test_numbers_of_no_lines(numbers, message):
    with pytest.raises(ValueError, match=message):
        Lines(np.array([1, 0, 2, 3, 0, 0, 4]), 0).take(numbers)


@pytest.mark.parametrize("steps", [1, 2, 4, 9])
def test_examples_against_the_definition(steps):
    ids = np.array([4, -1, 7, 0, 5, 0, 6, 7, 8, 9], np.int16)
    lines = [[4, -1, 7], [5], [6, 7, 8, 9]]
    numbers = np.array([2, 0, 1, 1])
    x, y = Lines(ids, 0).examples(numbers, steps)
    padding = [-1] * steps
    for row, number in enumerate(numbers):
        line = lines[number]
        assert x[row].tolist() == [-1, *line, *padding][:steps]
        assert y[row].tolist() == [*line, 0, *padding][:steps]
    assert x.dtype == y.dtype == np.int32


# === Buckets ===


def cost(lengths, rows, widths, tokens=10**9):
    """Steps of all batches, with a share of a batch for each line."""
    usual = lengths[int(0.99 * (len(lengths) - 1))].item() + 1
    total = 0
    for length, number in Counter(lengths.tolist()).items():
        width = next((each for each in widths if length + 1 <= each), widths[-1])
        fewer = min(rows, max(1, max(tokens, rows * usual) // width))
        total += number * width / (rows if width == widths[0] else fewer)
    return total


@pytest.mark.parametrize("tokens", [1, 10**6])
@pytest.mark.parametrize("rows", [1, 3, 8])
@pytest.mark.parametrize("steps", [11, 25, 40])
@pytest.mark.parametrize("least", [0, 40, 10**6])
def test_buckets_are_the_best_choice(rows, steps, least, tokens, monkeypatch):
    monkeypatch.setattr(lines_, "_LEAST_STEPS", least)
    monkeypatch.setattr(lines_, "_MOST_TOKENS", tokens)
    for seed in range(4):
        generator = np.random.default_rng(seed)
        lengths = generator.choice([1, 2, 3, 5, 8, 9, 12, 20, 24], 200)
        lengths[lengths > 8] -= np.where(generator.random(200) < 0.9, 8, 0)[lengths > 8]
        lengths = np.sort(np.append(lengths, [24])).astype(np.uint8)
        possible = sorted({int(each) + 1 for each in lengths if each + 1 < steps})
        best = []
        for count in range(4):
            costs = [
                cost(lengths, rows, [*inner, steps], tokens)
                for inner in itertools.combinations(possible, count)
            ]
            best.append(min(costs))
            if count and best[-2] - best[-1] < max(least, 0.03 * best[-2]):
                best.pop()
                break
        found = choose_buckets(lengths, steps, rows, 4)
        widths = found.steps.tolist()
        assert widths == sorted(set(widths), reverse=True)
        if len(widths) == len(best):  # otherwise others fill up one of the buckets
            paid = cost(lengths, rows, widths[::-1], tokens)
            assert paid == pytest.approx(best[-1])
        assert len(widths) <= len(best)


@pytest.mark.parametrize(
    ("numbers", "buckets"),
    [
        # 99 % of the lines have at most 9 tokens: a batch has at most 8 x 10 of them.
        # 10 lines need 20 steps: 3 batches of 4 lines. 298 more need 10 steps: 38
        # batches of 8. The other 4,994 lines are 625 batches of 8.
        ([5000, 300, 7, 3], [(20, 4, 12, 3), (10, 8, 316, 41), (4, 8, 5310, 666)]),
        # 99 % have 3 tokens: at most 32 tokens. 37 lines need 19 batches of 2.
        ([5000, 30, 7, 3], [(20, 1, 3, 3), (11, 2, 41, 22), (4, 8, 5040, 647)]),
    ],
)
def test_buckets_are_filled_up(numbers, buckets, monkeypatch):
    monkeypatch.setattr(lines_, "_LEAST_STEPS", 10)
    monkeypatch.setattr(lines_, "_MOST_TOKENS", 1)
    lengths = np.repeat([3, 9, 10, 19], numbers).astype(np.uint8)
    assert list(zip(*choose_buckets(lengths, 20, 8, 8), strict=True)) == buckets


def test_many_different_lengths():
    """The best of 256 candidates is near the best of all numbers of steps."""
    generator = np.random.default_rng(0)
    lengths = np.sort(generator.lognormal(4, 1, 20_000).astype(np.uint32) + 1)
    steps = int(lengths[-1]) + 1
    found = choose_buckets(lengths, steps, 1, 2)
    best = min(cost(lengths, 1, [inner, steps]) for inner in range(2, steps, 7))
    assert found.steps @ np.diff(found.ends, prepend=0) < 1.02 * best


def test_equal_lengths_are_one_bucket():
    found = choose_buckets(np.full(10**6, 7, np.uint8), 8, 4, 8)
    assert [column.tolist() for column in found] == [[8], [4], [10**6], [250_000]]


def naive_example(line, labels, end, steps):
    """Inputs and targets of one line by the definition."""
    read = [-1, *labels, *line]
    wanted = [*[-1] * len(labels), *line, end]
    padding = [-1] * steps
    return (read + padding)[:steps], (wanted + padding)[:steps]


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 12])
def test_examples_with_labels_against_a_loop(steps):
    rng = np.random.default_rng(steps)
    ids = rng.integers(0, 6, 200).astype(np.uint8)
    found = naive_lines(ids, 0)
    labels = rng.integers(6, 9, (len(found), 3))
    labels[np.arange(3) >= rng.integers(0, 4, (len(found), 1))] = -1
    lines = Lines(ids, 0, labels)
    own = [[each for each in row if each >= 0] for row in labels.tolist()]
    texts = [ids[start : start + size].tolist() for start, size in found]
    assert lines.lengths.tolist() == [
        len(line) + len(row) for line, row in zip(texts, own, strict=True)
    ]
    numbers = rng.permutation(len(found))[:20]
    unlabelled = rng.random(20) < 0.3
    x, y = lines.examples(numbers, steps, unlabelled)
    for row, number in enumerate(numbers):
        kept = [] if unlabelled[row] else own[number]
        expected = naive_example(texts[number], kept, 0, steps)
        assert (x[row].tolist(), y[row].tolist()) == expected
    taken = lines.take(numbers)
    x, y = taken.examples(np.arange(20), steps)
    for row, number in enumerate(numbers):
        expected = naive_example(texts[number], own[number], 0, steps)
        assert (x[row].tolist(), y[row].tolist()) == expected
    assert [each.tolist() for each in taken] == [
        [*own[number], *texts[number], 0] for number in numbers
    ]


def test_labels_that_do_not_fit():
    ids = np.array([1, 0, 0, 2], np.int8)
    with pytest.raises(ValueError, match="for 3 lines, but the text has 2"):
        Lines(ids, 0, np.zeros((3, 1), int))
    for labels in (np.zeros(2, int), np.zeros((2, 1)), [["a"], ["b"]]):
        with pytest.raises(ValueError, match="integer array of shape"):
            Lines(ids, 0, labels)
