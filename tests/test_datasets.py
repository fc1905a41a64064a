import itertools
import math
import re
import tracemalloc

import keras
import numpy as np
import pytest

from textgen import (
    LineDataset,
    SequenceDataset,
    Vocabulary,
    WindowDataset,
    vectorize,
)
from textgen import batches as batches_

WINDOW_CASES = [
    # symbols, sequence_length, sequence_stride, batch_size
    (50, 10, 3, 4),
    (52, 10, 3, 7),
    (11, 10, 3, 4),
    (12, 10, 1, 1),
    (100, 1, 1, 9),
    (60, 4, 9, 3),
    (23, 5, 30, 2),
    (41, 40, 3, 128),
    (97, 8, 8, 6),
]
SAMPLINGS = ("random", "consecutive")


def make_ids(size, dtype=np.int16):
    return np.random.default_rng(size).integers(0, 100, size).astype(dtype)


def naive_windows(ids, length, stride):
    windows, targets = [], []
    start = 0
    while start + length < len(ids):
        windows.append([ids[start + step] for step in range(length)])
        targets.append(ids[start + length])
        start += stride
    return np.array(windows), np.array(targets)


def batches(dataset, epoch=None):
    if epoch is not None:
        dataset.set_epoch(epoch)
    return [dataset[index] for index in range(len(dataset))]


def all_rows(dataset, epoch=None):
    xs, ys = zip(*batches(dataset, epoch), strict=True)
    return np.concatenate(xs), np.concatenate(ys)


def same(batches, others):
    return all(
        np.array_equal(array, other)
        for batch, other_batch in zip(batches, others, strict=True)
        for array, other in zip(batch, other_batch, strict=True)
    )


@pytest.mark.parametrize(("symbols", "length", "stride", "batch_size"), WINDOW_CASES)
def test_windows_against_a_loop(symbols, length, stride, batch_size):
    ids = make_ids(symbols)
    dataset = WindowDataset(ids, length, stride, batch_size, shuffle=False)
    windows, targets = naive_windows(ids, length, stride)
    assert dataset.num_examples == len(windows)
    x, y = all_rows(dataset)
    np.testing.assert_array_equal(x, windows)
    np.testing.assert_array_equal(y, targets)
    *full, last = [len(y) for _, y in batches(dataset)]
    assert full == [batch_size] * (len(windows) // batch_size - (last == batch_size))
    assert last == (len(windows) % batch_size or batch_size)


@pytest.mark.parametrize(("symbols", "length", "stride", "batch_size"), WINDOW_CASES)
def test_vectorize_against_a_loop(symbols, length, stride, batch_size):
    ids = make_ids(symbols, np.int8)
    x, y = vectorize(ids, 100, length, stride)
    windows, targets = naive_windows(ids, length, stride)
    assert x.dtype == y.dtype == bool
    np.testing.assert_array_equal(x, np.eye(100, dtype=bool)[windows])
    np.testing.assert_array_equal(y, np.eye(100, dtype=bool)[targets])


def test_vectorize_no_symbol_as_zeros():
    x, y = vectorize(np.array([0, -1, 1, -1]), 2, 2, 1)
    assert x.astype(int).tolist() == [[[1, 0], [0, 0]], [[0, 0], [0, 1]]]
    assert y.astype(int).tolist() == [[0, 1], [0, 0]]


def test_vectorize_id_beyond_the_vocabulary():
    with pytest.raises(ValueError, match=r"Id 7 .*vocabulary_size=7"):
        vectorize(np.array([1, 2, 7, 3]), 7, 2, 1)


def test_default_windows_are_those_of_the_notebooks(corpus_text):
    text = corpus_text("shakespeare", lowercase=True)
    ids = Vocabulary.from_text(text).encode(text)
    dataset = WindowDataset(ids, sequence_length=40, sequence_stride=3)
    assert dataset.num_examples == 31_412
    assert dataset[0][0].shape == (128, 40)
    assert len(dataset) == math.ceil(31_412 / 128)
    assert len(dataset[len(dataset) - 1][1]) == 31_412 % 128


@pytest.mark.parametrize("epoch", [0, 1, 7])
@pytest.mark.parametrize("symbols", [11, 12, 30, 500])
def test_shuffle_covers_every_window_once(symbols, epoch):
    ids = np.arange(symbols)
    x, y = all_rows(WindowDataset(ids, 10, 3, 8, seed=3), epoch)
    windows, _ = naive_windows(ids, 10, 3)
    np.testing.assert_array_equal(x[np.argsort(y)], windows)
    np.testing.assert_array_equal(y, x[:, -1] + 1)


def make_window(seed):
    return WindowDataset(np.arange(300), 10, 3, 16, seed=seed)


def make_random(seed):
    return SequenceDataset(np.arange(300), 7, 5, random_offset=False, seed=seed)


def make_lines(seed, stateful=False):
    ids = np.arange(1_500)
    ids[np.cumsum(np.arange(300) % 9 + 1)] = 0
    return LineDataset(ids, 0, batch_size=4, stateful=stateful, seed=seed)


def make_stateful_lines(seed):
    return make_lines(seed, stateful=True)


@pytest.mark.parametrize(
    "make", [make_window, make_random, make_lines, make_stateful_lines]
)
def test_order_is_a_function_of_seed_and_epoch(make):
    orders = {
        (seed, epoch): batches(make(seed), epoch)
        for seed in (0, 1, 2**40)
        for epoch in (0, 1, 100)
    }
    used = make(1)
    for epoch in (100, 0, 1, 0):
        assert same(batches(used, epoch), orders[1, epoch])
    keys = list(orders)
    for index, key in enumerate(keys):
        for other in keys[:index]:
            assert not same(orders[key], orders[other])


@pytest.mark.parametrize("make", [make_window, make_random, make_stateful_lines])
def test_batches_do_not_depend_on_the_order_of_access(make):
    dataset = make(0)
    forward = batches(dataset)
    backward = [dataset[index] for index in reversed(range(len(dataset)))]
    assert same(forward, backward[::-1])


@pytest.mark.parametrize("make", [WindowDataset, LineDataset])
def test_no_shuffle_is_the_order_of_the_text(make):
    dataset = make(np.arange(200) % 50, 9, shuffle=False)
    first, *rest = [batches(dataset, epoch) for epoch in range(3)]
    assert all(same(first, other) for other in rest)
    assert first[0][1].flat[0] == (9 if make is WindowDataset else 0)


def test_consecutive_sequences():
    dataset = SequenceDataset(np.arange(30), 6, 2, "consecutive", random_offset=False)
    assert len(dataset) == 2
    for index, starts in enumerate([(0, 15), (6, 21)]):
        expected = np.array([range(start, start + 6) for start in starts])
        x, y = dataset[index]
        np.testing.assert_array_equal(x, expected)
        np.testing.assert_array_equal(y, expected + 1)


@pytest.mark.parametrize("epoch", range(4))
def test_random_sequences(epoch):
    dataset = SequenceDataset(np.arange(30), 6, 2, "random", random_offset=False)
    assert dataset.num_examples == 4
    assert [x.shape for x, _ in batches(dataset)] == [(2, 6), (2, 6)]
    x, y = all_rows(dataset, epoch)
    assert sorted(x.flat) == list(range(24))
    np.testing.assert_array_equal(x[:, :1] + np.arange(6), x)
    np.testing.assert_array_equal(y, x + 1)


def test_random_sequences_are_shuffled():
    dataset = SequenceDataset(np.arange(30), 6, 2, "random", random_offset=False)
    orders = {tuple(all_rows(dataset, epoch)[0][:, 0]) for epoch in range(20)}
    assert len(orders) > 10


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_random_offset_below_sequence_length(sampling):
    dataset = SequenceDataset(np.arange(200), 8, 3, sampling, seed=4)
    offsets = set()
    for epoch in range(60):
        x, y = all_rows(dataset, epoch)
        np.testing.assert_array_equal(y, x + 1)
        if sampling == "random":
            [offset] = set(x[:, 0] % 8)
            assert len(set(x[:, 0])) == len(x)
        else:
            offset = x[0, 0]
        assert offset < 8
        offsets.add(int(offset))
    assert offsets == set(range(8))


@pytest.mark.parametrize("random_offset", [False, True])
@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize(("length", "batch_size"), [(5, 3), (1, 1), (1, 4), (9, 1)])
def test_short_texts(length, batch_size, sampling, random_offset):
    def make(size):
        return SequenceDataset(
            np.arange(size), length, batch_size, sampling, random_offset
        )

    size = 0
    while True:
        try:
            make(size)
            break
        except ValueError as error:
            needed = int(re.search(r"needs at least (\d+)", str(error)).group(1))
        size += 1
    assert size == needed
    for longer in range(size, size + 2 * length * batch_size):
        dataset = make(longer)
        count = len(dataset)
        for epoch in range(25):
            x, y = all_rows(dataset, epoch)
            assert len(dataset) == count == len(x) // batch_size
            assert x.shape == y.shape == (count * batch_size, length)
            np.testing.assert_array_equal(y, x + 1)
            assert len(set(x.flat)) == x.size


def test_shortest_text_of_one_batch():
    for sampling, symbols in [("random", 2 * 6 + 1), ("consecutive", 2 * (6 + 1))]:
        for random_offset, more in [(False, 0), (True, 5)]:
            arguments = (6, 2, sampling, random_offset)
            assert len(SequenceDataset(np.arange(symbols + more), *arguments)) == 1
            with pytest.raises(ValueError, match=f"needs at least {symbols + more}"):
                SequenceDataset(np.arange(symbols + more - 1), *arguments)


@pytest.mark.parametrize("random_offset", [False, True])
@pytest.mark.parametrize("epoch", [0, 5])
def test_consecutive_rows_continue(random_offset, epoch):
    ids = np.arange(1_000)
    dataset = SequenceDataset(ids, 7, 4, "consecutive", random_offset)
    read = batches(dataset, epoch)
    assert len(read) > 20
    for (_, before), (x, _) in itertools.pairwise(read):
        np.testing.assert_array_equal(x[:, 0], before[:, -1])


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_partial_batch_is_left_out(sampling):
    # 38 tokens hold seven sequences of five; a strand of twelve holds two.
    dataset = SequenceDataset(np.arange(38), 5, 3, sampling, random_offset=False)
    assert [x.shape for x, _ in batches(dataset)] == [(3, 5), (3, 5)]


def as_memmap(ids, path):
    memmap = np.memmap(path / "ids", np.int16, "w+", shape=ids.shape)
    memmap[:] = ids
    return memmap


ID_KINDS = {
    "int8": lambda ids, path: ids.astype(np.int8),
    "int16": lambda ids, path: ids.astype(np.int16),
    "uint8": lambda ids, path: ids.astype(np.uint8),
    "int64": lambda ids, path: ids.astype(np.int64),
    "uint64": lambda ids, path: ids.astype(np.uint64),
    "memmap": as_memmap,
    "strided": lambda ids, path: np.repeat(ids, 2)[::2],
    "readonly": lambda ids, path: np.frombuffer(ids.astype(np.int8).tobytes(), np.int8),
}
MAKERS = {
    "windows": lambda ids: WindowDataset(ids, 5, 3, 4),
    "random": lambda ids: SequenceDataset(ids, 5, 4, "random"),
    "consecutive": lambda ids: SequenceDataset(ids, 5, 4, "consecutive"),
    "lines": lambda ids: LineDataset(ids, 7, batch_size=4),
    "stateful lines": lambda ids: LineDataset(ids, 7, batch_size=4, stateful=True),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize("kind", ID_KINDS.values(), ids=ID_KINDS)
def test_any_integers_to_int32_without_a_copy(kind, make, tmp_path):
    plain = make_ids(90, np.int32)
    ids = kind(plain, tmp_path)
    dataset = make(ids)
    assert np.shares_memory(dataset.ids, ids)
    read = batches(dataset)
    assert all(array.dtype == np.int32 for batch in read for array in batch)
    assert all(isinstance(batch, tuple) and len(batch) == 2 for batch in read)
    assert same(read, batches(make(plain)))


@pytest.mark.parametrize(
    "make",
    [
        lambda ids: WindowDataset(ids),
        lambda ids: SequenceDataset(ids),
        lambda ids: SequenceDataset(ids, sampling="consecutive"),
    ],
)
def test_large_text_takes_no_memory(make, tmp_path):
    # A sparse file: 300 MB of zeros that take no disk space.
    ids = np.memmap(tmp_path / "ids", np.int8, "w+", shape=(300_000_000,))
    tracemalloc.start()
    try:
        dataset = make(ids)
        for index in range(5):
            x, _ = dataset[index * len(dataset) // 5]
            assert x.size >= 32 * 40
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20e6


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((30, 2), int),
        np.zeros(30),
        np.zeros(30, bool),
        np.array("text"),
        np.array(3),
        [0.0] * 30,
    ],
    ids=["2-D", "float", "bool", "str", "scalar", "list of floats"],
)
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_ids_of_another_kind(make, bad):
    array = np.asarray(bad)
    message = re.escape(f"shape {array.shape} and dtype {array.dtype}")
    with pytest.raises(ValueError, match=message):
        make(bad)


@pytest.mark.parametrize("symbols", [0, 1, 39, 40])
def test_text_shorter_than_a_window(symbols):
    ids = np.zeros(symbols, np.int8)
    message = f"text has {symbols} tokens.*sequence_length=40 .*need 41"
    with pytest.raises(ValueError, match=message):
        WindowDataset(ids, 40)
    with pytest.raises(ValueError, match=message):
        vectorize(ids, 5, 40)


@pytest.mark.parametrize("ids", [[], [5], [5, 5, 5]])
def test_text_without_a_line(ids):
    with pytest.raises(
        ValueError, match=f"{len(ids)} ids have no line .*end_of_line=5"
    ):
        LineDataset(np.array(ids, np.int8), 5)


@pytest.mark.parametrize(
    ("make", "arguments"),
    [
        (WindowDataset, {"sequence_length": 0}),
        (WindowDataset, {"sequence_stride": 0}),
        (WindowDataset, {"sequence_stride": -3}),
        (WindowDataset, {"batch_size": 0}),
        (SequenceDataset, {"sequence_length": 0}),
        (SequenceDataset, {"batch_size": -1}),
        (SequenceDataset, {"sampling": "sequential"}),
        (LineDataset, {"end_of_line": 1, "batch_size": 0}),
        (LineDataset, {"end_of_line": -1}),
        (LineDataset, {"end_of_line": 1, "sequence_length": 0}),
        (vectorize, {"vocabulary_size": 9, "sequence_length": -1}),
        (vectorize, {"vocabulary_size": 9, "sequence_stride": 0}),
    ],
)
def test_argument_out_of_range(make, arguments):
    name, value = list(arguments.items())[-1]
    with pytest.raises(ValueError, match=f"{name}={value!r}"):
        make(np.arange(9).repeat(30), **arguments)


@pytest.mark.parametrize("size", range(1, 201))
def test_permute_is_a_bijection(size):
    for key in [(0, 0), (1, 7)]:
        result = batches_.permute(np.arange(size), size, key)
        np.testing.assert_array_equal(np.sort(result), np.arange(size))


@pytest.mark.parametrize("size", [65_536, 65_537, 99_856, 100_003])
def test_permute_many(size):
    everything = batches_.permute(np.arange(size), size, (3, 1))
    inverse = np.full(size, -1)
    inverse[everything] = np.arange(size)
    assert (inverse >= 0).all()
    some = np.random.default_rng(0).integers(0, size, (10, 20))
    result = batches_.permute(some, size, (3, 1))
    assert result.dtype == np.int64
    np.testing.assert_array_equal(inverse[result], some)


@pytest.mark.parametrize("size", [2**31 + 11, 10**10, 2**40 - 1])
def test_permute_samples_of_a_large_range(size):
    indices = np.random.default_rng(0).choice(10**9, 20_000, replace=False)
    indices = np.unique(np.concatenate([indices, size - 1 - indices]))
    result = batches_.permute(indices, size, (0, 5))
    assert result.min() >= 0
    assert result.max() < size
    assert len(np.unique(result)) == len(indices)


def test_permute_mixes():
    size = 10_000
    result = batches_.permute(np.arange(size), size, (0, 0))
    # Three standard deviations of the correlation between two random orders.
    assert abs(np.corrcoef(np.arange(size), result)[0, 1]) < 3 / math.sqrt(size)
    assert abs(np.corrcoef(result[1:], result[:-1])[0, 1]) < 3 / math.sqrt(size)
    # On average, a random order keeps one item in place and two pairs of neighbours.
    assert (result == np.arange(size)).sum() < 8
    assert (abs(np.diff(result)) == 1).sum() < 12


def test_each_iteration_is_the_next_epoch():
    dataset = make_window(0)
    assert (dataset.epoch, dataset.next_epoch) == (0, 0)
    for epoch in range(3):
        assert dataset.next_epoch == epoch
        assert same(list(dataset), batches(make_window(0), epoch))
        assert dataset.epoch == epoch


def test_iteration_that_is_not_read_is_no_epoch():
    dataset = make_window(0)
    iter(dataset)
    assert dataset.next_epoch == 0


def test_set_epoch():
    dataset = make_window(0)
    next(iter(dataset))
    dataset.set_epoch(5)
    assert dataset.next_epoch == 5
    for epoch in (5, 6):
        assert same(list(dataset), batches(make_window(0), epoch))
        assert dataset.epoch == epoch
    assert dataset.next_epoch == 7


@pytest.mark.parametrize("epoch", [0, 3])
def test_view_of_an_epoch_leaves_the_dataset_alone(epoch):
    dataset = make_window(0)
    dataset.set_epoch(2)
    view = batches_.View(dataset, epoch)
    for _ in range(2):
        assert same(list(view), batches(make_window(0), epoch))
    assert dataset.next_epoch == 2


@pytest.mark.parametrize(
    "make", [make_window, make_random, make_lines, make_stateful_lines]
)
def test_view_of_the_text_is_in_its_order(make):
    dataset = make(0)
    dataset.random_offset = True
    starts = [x[:, 0].tolist() for x, _ in batches_.View(dataset, None)]
    if make in (make_window, make_random):  # the ids are consecutive integers
        step = 3 if make is make_window else 7
        flat = list(itertools.chain(*starts))
        assert flat == list(range(0, step * len(flat), step))
    else:
        lines = [y[:, 0].tolist() for _, y in batches_.View(dataset, None)]
        assert [each[0] for each in lines] == sorted(each[0] for each in lines)
        if make is make_lines:
            flat = list(itertools.chain(*lines))
            assert flat == sorted(flat)


@pytest.mark.parametrize("length", [1, 7, 18, 19, 45])
def test_feed_continues_at_its_first_batch(length):
    dataset = make_window(0)
    number = len(dataset)
    passes = [batches(make_window(0), epoch) for epoch in range(14)]
    every = [batch for each in passes for batch in each]
    feed = batches_.Feed(dataset, length)
    assert len(feed) == length
    for first in (0, length, number + 2):
        feed.first = first
        assert same(list(feed), every[first : first + length])


class Recorder(keras.Model):
    """Model that records the batches that Keras reads and does not train."""

    def __init__(self):
        super().__init__()
        self.seen = []
        self.built = True  # otherwise Keras reads a batch to build it, which is a pass

    def call(self, inputs):
        return inputs

    def train_step(self, *args):
        *state, data = args  # on JAX, a step also gets and returns the state
        self.seen.append([np.asarray(array) for array in data])
        return ({"loss": 0.0}, *state) if state else {"loss": 0.0}


@pytest.mark.parametrize("make", [make_window, make_random, make_stateful_lines])
def test_keras_reads_each_epoch_in_its_order(make):
    model = Recorder()
    model.compile(run_eagerly=True)
    dataset = make(0)
    model.fit(dataset, epochs=2, verbose=0)  # Keras shuffles a PyDataset
    model.fit(dataset, epochs=1, verbose=0)
    expected = [batch for epoch in range(3) for batch in batches(make(0), epoch)]
    assert same(model.seen, expected)


def test_plain_keras_ends_an_epoch_where_the_pass_ends():
    model = Recorder()
    model.compile(run_eagerly=True)
    dataset = make_window(0)
    number = len(dataset)
    # The third epoch of Keras reaches the end of the pass and ends there.
    with pytest.warns(UserWarning, match="ran out of data"):
        model.fit(dataset, epochs=4, steps_per_epoch=number // 2, verbose=0)
    expected = [batch for epoch in range(2) for batch in batches(make_window(0), epoch)]
    assert number % 2 == 1
    assert same(model.seen, expected[: number + number // 2])


def test_iteration_ends():
    assert same(list(make_window(0)), batches(make_window(0)))


@pytest.mark.tensorflow("its kind of dataset")
@pytest.mark.parametrize("make", [make_window, make_random, make_lines])
def test_tf_dataset_has_the_shapes(make):
    dataset = make(0)
    spec = dataset.get_tf_dataset().element_spec
    for index in range(len(dataset)):
        for array, known in zip(dataset[index], spec, strict=True):
            assert known.shape.as_list() == [None, *array.shape[1:]]
            assert known.dtype.as_numpy_dtype == array.dtype


def test_repr_of_datasets():
    ids = np.arange(100, dtype=np.int8)
    assert repr(WindowDataset(ids, 40, 3, 8)) == (
        "WindowDataset(100 ids: 3 batches of up to 8 examples of 40 steps)"
    )
    lines = LineDataset(np.array([1, 2, 0, 1, 0]), 0, stateful=True)
    assert repr(lines) == "LineDataset(5 ids: 2 batches of up to 1 examples)"
