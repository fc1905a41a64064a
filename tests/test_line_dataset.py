import math

import numpy as np
import pytest

import textgen
from textgen import LineDataset, Vocabulary
from textgen import lines as lines_
from textgen.batches import View
from textgen.lines import Lines
from textgen.permutation import permute


def batches(dataset, epoch=None):
    if epoch is not None:
        dataset.set_epoch(epoch)
    return [dataset[index] for index in range(len(dataset))]


def encode_lines(text):
    built = Vocabulary("\nabcdefgh")
    return built.encode(text), built


def read_lines(batches, vocabulary):
    """Checks the layout of batches and returns their lines."""
    end = vocabulary.ids["\n"]
    lines = []
    for x, y in batches:
        assert x.shape == y.shape
        for inputs, targets in zip(x, y, strict=True):
            size = targets.tolist().index(end)
            assert inputs[0] == -1
            np.testing.assert_array_equal(inputs[1 : size + 1], targets[:size])
            assert (targets[:size] >= 0).all()
            assert (inputs[size + 1 :] == -1).all()
            assert (targets[size + 1 :] == -1).all()
            lines.append(vocabulary.decode(targets[:size]))
    return lines


def test_two_lines():
    ids, built = encode_lines("bad\na\n")
    [(x, y)] = batches(LineDataset(ids, built.ids["\n"], shuffle=False))
    assert x.tolist() == [[-1, 2, 1, 4], [-1, 1, -1, -1]]
    assert y.tolist() == [[2, 1, 4, 0], [1, 0, -1, -1]]


@pytest.mark.parametrize("stateful", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(
    "text",
    [
        "ab\ncab\nface\n",
        "ab\ncab\nface",
        "\n\nab\n\n\ncab\n",
        "a",
        "a\n",
        "abcdefg\nabcdefgh\na\nbadge\nb\nbed\nabcdefghabcdefgh\ng\nab",
    ],
)
def test_lines(text, shuffle, stateful):
    ids, built = encode_lines(text)
    dataset = LineDataset(
        ids, built.ids["\n"], batch_size=3, shuffle=shuffle, stateful=stateful
    )
    expected = [line for line in text.split("\n") if line]
    assert dataset.num_examples == len(expected)
    for epoch in range(3):
        lines = read_lines(batches(dataset, epoch), built)
        assert sorted(lines) == sorted(expected)
        if not shuffle and not stateful:
            assert lines == expected


def test_partial_batch_of_lines_is_kept():
    ids, built = encode_lines("a\nb\nc\nd\ne")
    dataset = LineDataset(ids, built.ids["\n"], batch_size=2)
    assert [len(x) for x, _ in batches(dataset)] == [2, 2, 1]


def test_all_batches_of_lines_have_room_for_the_longest():
    ids, built = encode_lines("a\nb\nabcdef\ncd\ne\n")
    dataset = LineDataset(ids, built.ids["\n"], batch_size=2)
    assert dataset.sequence_length == 7
    for epoch in range(3):
        shapes = [x.shape for x, _ in batches(dataset, epoch)]
        assert shapes == [(2, 7), (2, 7), (1, 7)]


@pytest.mark.parametrize("stateful", [False, True])
def test_long_lines_are_cut(stateful):
    ids, built = encode_lines("abcdef\nabc\nab\na\n")
    end = built.ids["\n"]
    dataset = LineDataset(ids, end, 3, batch_size=1, shuffle=False, stateful=stateful)
    rows = [(x[0].tolist(), y[0].tolist()) for x, y in batches(dataset)]
    full = [([-1, 1, 2], [1, 2, 3])] * 2 + [([-1, 1, 2], [1, 2, 0])]
    if stateful:
        assert sorted(rows) == sorted([*full, ([-1, 1], [1, 0])])
    else:
        assert rows == [*full, ([-1, 1, -1], [1, 0, -1])]


def test_stateful_batches_have_no_padding():
    rng = np.random.default_rng(0)
    lines = ["".join(rng.choice([*"abcdefgh"], rng.integers(1, 6))) for _ in range(100)]
    ids, built = encode_lines("\n".join(lines))
    dataset = LineDataset(ids, built.ids["\n"], batch_size=4, stateful=True)
    orders = []
    for epoch in range(3):
        read = batches(dataset, epoch)
        for x, y in read:
            assert 1 <= len(x) <= 4
            assert (x[:, 1:] >= 0).all()
            assert (y >= 0).all()
        assert sorted(read_lines(read, built)) == sorted(lines)
        orders.append([x.tobytes() for x, _ in read])
    assert orders[0] != orders[1] != orders[2]
    # At most one batch per length of line is not full.
    assert len(dataset) <= 100 / 4 + 5


@pytest.mark.parametrize("end_of_line", [0, 3])
def test_any_symbol_may_end_a_line(end_of_line):
    ids = np.array([1, 2, end_of_line, 4], np.uint8)
    [(_, y)] = batches(LineDataset(ids, end_of_line, shuffle=False))
    assert y[:, :3].tolist() == [[1, 2, end_of_line], [4, end_of_line, -1]]


@pytest.mark.parametrize("batch_size", [1, 3])
def test_lines_that_carry_a_state_stay_in_order(batch_size):
    lines = ["ccc", "a", "bb", "dd", "e", "f", "ggg", "h", "ii"]
    vocabulary = Vocabulary.from_text("\n".join(lines))
    dataset = LineDataset(
        vocabulary.encode("\n".join(lines)),
        vocabulary.ids["\n"],
        batch_size=batch_size,
        shuffle=False,
        stateful=True,
    )
    found = [
        [vocabulary.decode(row).rstrip("\n") for row in dataset[index][1]]
        for index in range(len(dataset))
    ]
    expected = {
        1: [[line] for line in lines],
        3: [["ccc", "ggg"], ["a", "e", "f"], ["bb", "dd", "ii"], ["h"]],
    }
    assert found == expected[batch_size]


@pytest.mark.parametrize(("length", "cut"), [(None, 0), (3, 0), (2, 1), (1, 2)])
def test_cut_lines_are_counted(length, cut):
    dataset = LineDataset(np.array([1, 2, 3, 0, 1, 2, 0, 1]), 0, length)
    assert dataset.num_cut == cut


# === Buckets ===

ROWS = 4


def random_lines(number, seed=0):
    """Lines of log-normal lengths; each is a list of ids from 1 to 99."""
    generator = np.random.default_rng(seed)
    lengths = generator.lognormal(2.3, 0.9, number).astype(int) + 1
    return [generator.integers(1, 100, length).tolist() for length in lengths]


def as_ids(lines):
    return np.array([each for line in lines for each in [*line, 0]], np.int8)


MANY = random_lines(1600)


def padded(lines, steps):
    """Inputs and targets of lines by the definition."""
    x, y = np.full((2, len(lines), steps), -1, np.int32)
    for row, line in enumerate(lines):
        inputs, targets = [-1, *line][:steps], [*line, 0][:steps]
        x[row, : len(inputs)], y[row, : len(targets)] = inputs, targets
    return x, y


def lines_in(batches):
    """Lines of batches in which no line is cut."""
    return [tuple(row[: row.tolist().index(0)]) for _, y in batches for row in y]


def one_width(lines, rows, seed, epoch, steps=None):
    """All batches without buckets: the lines in the order of `permute`."""
    steps = steps or max(map(len, lines)) + 1
    order = range(len(lines))
    if epoch is not None:
        order = permute(np.arange(len(lines)), len(lines), (seed, epoch))
    chosen = [lines[number] for number in order]
    return [padded(chosen[at : at + rows], steps) for at in range(0, len(chosen), rows)]


def assert_same(batches, others):
    assert len(batches) == len(others)
    for batch, other in zip(batches, others, strict=True):
        for array, array2 in zip(batch, other, strict=True):
            np.testing.assert_array_equal(array, array2)
            assert array.dtype == array2.dtype == np.int32


@pytest.mark.parametrize("steps", [None, 7, 60])
@pytest.mark.parametrize("epoch", [None, 0, 3])
def test_few_lines_are_in_one_bucket(steps, epoch):
    lines = random_lines(90)
    dataset = LineDataset(as_ids(lines), 0, steps, batch_size=ROWS, seed=5)
    read = [dataset.batch(index, epoch) for index in range(len(dataset))]
    assert_same(read, one_width(lines, ROWS, 5, epoch, steps))
    assert dataset.bucket_steps == (dataset.sequence_length,) == (dataset.steps,)


def test_dinosaur_names_are_in_one_bucket():
    names = textgen.load_corpus("dinosaurs").lower()
    vocabulary = Vocabulary.from_text(names)
    lines = [vocabulary.encode(name).tolist() for name in names.split("\n") if name]
    assert vocabulary.ids["\n"] == 0
    dataset = LineDataset(vocabulary.encode(names), 0, batch_size=16)
    assert_same(batches(dataset, 2), one_width(lines, 16, 0, 2))


@pytest.mark.parametrize("number", [1600, 1599, 1598, 1597])
def test_each_line_once_per_epoch_in_few_shapes(number):
    lines = MANY[:number]
    dataset = LineDataset(as_ids(lines), 0, batch_size=ROWS, seed=1)
    steps = dataset.bucket_steps
    assert 1 < len(steps) <= 8
    assert steps[-1] == dataset.sequence_length == max(map(len, lines)) + 1
    assert list(steps) == sorted(set(steps))
    assert (dataset.steps, len(dataset)) == (None, math.ceil(number / ROWS))
    for epoch in range(2):
        read = batches(dataset, epoch)
        found = lines_in(read)
        assert sorted(found) == sorted(map(tuple, lines))
        at = 0
        for x, y in read:
            rows = found[at : at + len(x)]
            at += len(x)
            assert_same([(x, y)], [padded(rows, x.shape[1])])
        partial = [x.shape for x, _ in read if len(x) < ROWS]
        assert partial == ([(number % ROWS, steps[0])] if number % ROWS else [])
        assert {x.shape for x, _ in read} == {
            *((ROWS, each) for each in steps),
            *partial,
        }


@pytest.mark.parametrize("number", [1600, 1599, 1581])
def test_batches_of_long_lines_have_fewer_lines(number, monkeypatch):
    monkeypatch.setattr(lines_, "_MOST_TOKENS", 1)
    lines = MANY[:number]
    dataset = LineDataset(as_ids(lines), 0, batch_size=ROWS, seed=1)
    steps = dataset.bucket_steps
    usual = sorted(map(len, lines))[int(0.99 * (number - 1))] + 1
    rows = {each: min(ROWS, ROWS * usual // each) for each in steps}
    assert 1 <= rows[steps[-1]] < rows[steps[0]] == ROWS
    for epoch in range(2):
        read = batches(dataset, epoch)
        assert len(read) == len(dataset) > math.ceil(number / ROWS)
        assert sorted(lines_in(read)) == sorted(map(tuple, lines))
        partial = [x for x, _ in read if len(x) < rows[x.shape[1]]]
        assert len(partial) <= 1
        assert all(x.shape[1] == steps[0] for x in partial)
    assert dataset.mean_steps == pytest.approx(np.mean([x.shape[1] for x, _ in read]))
    # `predict` reads batches of ROWS lines in the order of the text.
    assert_same(list(View(dataset, None)), one_width(lines, ROWS, 0, None))
    assert len(View(dataset, None)) == math.ceil(number / ROWS)
    assert len(View(dataset, 0)) == len(dataset)


def test_a_line_is_in_the_shortest_bucket_that_fits_or_fills_the_next_one():
    dataset = LineDataset(as_ids(MANY), 0, batch_size=ROWS)
    steps = dataset.bucket_steps
    fillers = dict.fromkeys(steps, 0)
    for x, y in batches(dataset, 0):
        for line in lines_in([(x, y)]):
            bucket = min(each for each in steps if each > len(line))
            if bucket != x.shape[1]:
                assert x.shape[1] == steps[steps.index(bucket) + 1]
                fillers[x.shape[1]] += 1
    assert all(count < ROWS for count in fillers.values())


def test_buckets_save_most_of_the_padding():
    dataset = LineDataset(as_ids(MANY), 0, batch_size=1)
    read = batches(dataset, 0)
    targets = sum((y >= 0).sum() for _, y in read)
    assert targets > 0.6 * sum(y.size for _, y in read)
    assert targets < 0.15 * len(MANY) * dataset.sequence_length
    assert dataset.mean_steps == pytest.approx(np.mean([x.shape[1] for x, _ in read]))


def test_order_of_batches_and_of_lines_is_that_of_seed_and_epoch():
    ids = as_ids(MANY)
    used = LineDataset(ids, 0, batch_size=ROWS, seed=1)
    orders = {}
    for seed, epoch in ((0, 0), (0, 50), (1, 0), (1, 1), (2**40, 1)):
        fresh = LineDataset(ids, 0, batch_size=ROWS, seed=seed)
        read = batches(fresh, epoch)
        if seed == 1:
            backward = [used.batch(at, epoch) for at in reversed(range(len(used)))]
            assert_same(read, backward[::-1])
        orders[seed, epoch] = (
            [x.shape[1] for x, _ in read],
            {frozenset(lines_in([batch])) for batch in read},
        )
    keys = list(orders)
    for index, key in enumerate(keys):
        for other in keys[:index]:
            assert orders[key][0] != orders[other][0]
            assert len(orders[key][1] & orders[other][1]) < 10


def test_buckets_are_mixed():
    """In each quarter of an epoch, there are about a quarter of each bucket."""
    dataset = LineDataset(as_ids(MANY), 0, batch_size=ROWS)
    quarters = np.array_split([x.shape[1] for x, _ in batches(dataset, 0)], 4)
    whole = np.concatenate(quarters)
    for steps in dataset.bucket_steps:
        number = (whole == steps).sum()
        for quarter in quarters:  # four standard deviations
            assert abs((quarter == steps).sum() - number / 4) < 2 * number**0.5


def test_longer_lines_are_cut_at_sequence_length():
    dataset = LineDataset(as_ids(MANY), 0, 40, batch_size=ROWS)
    assert dataset.num_cut == sum(len(line) > 40 for line in MANY) > 0
    assert len(dataset.bucket_steps) > 1
    assert dataset.bucket_steps[-1] == 40
    read = batches(dataset, 0)
    found = sorted(tuple(row[row >= 0]) for _, y in read for row in y)
    assert found == sorted(tuple([*line, 0][:40]) for line in MANY)


def test_one_bucket_pads_all_batches():
    for steps in (None, 50, 200):
        dataset = LineDataset(as_ids(MANY), 0, steps, ROWS, max_buckets=1)
        assert_same(batches(dataset, 1), one_width(MANY, ROWS, 0, 1, steps))


def test_no_batch_is_longer_than_its_bucket_needs():
    """A large `sequence_length` costs nothing if no line needs it."""
    dataset = LineDataset(as_ids(MANY), 0, 10_000, batch_size=ROWS)
    longest = max(map(len, MANY)) + 1
    assert dataset.bucket_steps[-1] == longest
    assert dataset.batch(0, None)[0].shape == (ROWS, longest)


@pytest.mark.parametrize("shuffle", [False, True])
def test_order_of_the_text(shuffle):
    dataset = LineDataset(as_ids(MANY), 0, batch_size=ROWS, shuffle=shuffle)
    in_text = one_width(MANY, ROWS, 0, None)
    # `predict` concatenates the batches.
    assert_same(list(View(dataset, None)), in_text)
    if shuffle:
        return
    steps = dataset.bucket_steps
    assert len(steps) > 1
    for epoch in range(2):
        read = batches(dataset, epoch)
        for (x, y), at in zip(read, range(0, len(MANY), ROWS), strict=True):
            group = MANY[at : at + ROWS]
            needed = max(map(len, group)) + 1
            width = min(each for each in steps if each >= needed)
            assert_same([(x, y)], [padded(group, width)])
    assert dataset.mean_steps == pytest.approx(np.mean([x.shape[1] for x, _ in read]))


# === A line that is much longer than the others ===


def with_long_line(length, others=99):
    ids = np.tile(np.array([1, 2, 3, 0], np.int8), others)
    return np.concatenate([ids, np.ones(length, np.int8)])


def test_a_very_long_line_does_not_make_a_large_batch():
    with pytest.warns(UserWarning, match=r"1 of 400 lines .* 512 tokens .*50,000"):
        dataset = LineDataset(with_long_line(50_000, 399), 0)
    assert (dataset.sequence_length, dataset.num_cut) == (512, 1)
    sizes = [x.size for x, _ in batches(dataset, 0)]
    # 8,192 tokens: 16 lines. The other lines have four steps.
    assert max(sizes) == 16 * 512
    assert sum(sizes) == 16 * 512 + (400 - 16) * 4


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("ids", "arguments", "steps"),
    [
        (with_long_line(511), {}, 512),
        (with_long_line(1023), {"batch_size": 16}, 1024),
        (with_long_line(50_000, 0), {}, 50_001),  # the only line
        (with_long_line(50_000), {"sequence_length": 50_001}, 50_001),
        (with_long_line(50_000), {"sequence_length": 5}, 5),
        # Many lines are as long.
        (np.repeat([1, 0] * 40, [5000, 1] * 40), {}, 5001),
    ],
)
def test_what_is_not_cut(ids, arguments, steps):
    assert LineDataset(ids, 0, **arguments).sequence_length == steps


# === Some of the lines ===


@pytest.mark.parametrize("stateful", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("number", [40, 1600])
def test_lines_of_given_numbers(number, shuffle, stateful):
    arguments = {"batch_size": ROWS, "shuffle": shuffle, "stateful": stateful}
    numbers = np.random.default_rng(1).integers(0, len(MANY), number)
    alone = LineDataset(as_ids([MANY[each] for each in numbers]), 0, **arguments)
    every = range(len(alone))
    expected = [[alone.batch(at, epoch) for at in every] for epoch in (None, 1)]
    ids = as_ids([[], *MANY, [], []])  # numbers do not count empty lines
    for lines in (numbers.astype(np.uint16), Lines(ids, 0).take(numbers)):
        dataset = LineDataset(ids, 0, lines=lines, **arguments)
        assert np.shares_memory(dataset.ids, ids)
        assert dataset.num_examples == number
        for name in ("bucket_steps", "sequence_length", "num_cut", "mean_steps"):
            assert getattr(dataset, name) == getattr(alone, name)
        for epoch, read in zip((None, 1), expected, strict=True):
            assert_same([dataset.batch(at, epoch) for at in every], read)


def test_lines_of_other_ids():
    ids = as_ids(MANY)
    with pytest.raises(ValueError, match=r"Lines of the same ids.*end_of_line=0"):
        LineDataset(ids, 0, lines=Lines(ids.copy(), 0))
    with pytest.raises(ValueError, match=r"end_of_line=0; it has end_of_line=5"):
        LineDataset(ids, 0, lines=Lines(ids, 5))


@pytest.mark.parametrize("stateful", [False, True])
def test_mean_steps(stateful):
    dataset = LineDataset(as_ids(MANY[:200]), 0, 30, ROWS, stateful=stateful)
    steps = [x.shape[1] for x, _ in batches(dataset, 0)]
    assert dataset.mean_steps == pytest.approx(np.mean(steps))
    assert View(dataset, 0).mean_steps == dataset.mean_steps


def test_few_lengths():
    ids = as_ids(MANY)
    for stateful in (False, True):
        dataset = LineDataset(ids, 0, stateful=stateful)
        assert dataset.steps is None
        assert dataset.few_lengths == View(dataset, 0).few_lengths == (not stateful)


LABELLED = np.array([1, 0, 2, 2, 0, 3, 0] * 40, np.int8)  # three lines, 40 times
LABELS = np.tile([[4, 5], [5, -1], [-1, -1]], (40, 1))


def rows_of(dataset, epoch=0):
    """Returns inputs and targets of all examples of an epoch, without padding."""
    rows = []
    for index in range(len(dataset)):
        for x, y in zip(*dataset.batch(index, epoch), strict=True):
            size = int(np.flatnonzero(y == 0)[0]) + 1
            rows.append((tuple(x[:size].tolist()), tuple(y[:size].tolist())))
    return rows


def test_labels_come_before_their_lines():
    rows = rows_of(LineDataset(LABELLED, 0, batch_size=8, labels=LABELS))
    assert sorted(rows) == sorted(
        [
            ((-1, 4, 5, 1), (-1, -1, 1, 0)),
            ((-1, 5, 2, 2), (-1, 2, 2, 0)),
            ((-1, 3), (3, 0)),
        ]
        * 40
    )
    chosen = np.array([4, 0])
    part = LineDataset(LABELLED, 0, lines=chosen, labels=LABELS, shuffle=False)
    assert [x for x, _ in rows_of(part)] == [(-1, 5, 2, 2), (-1, 4, 5, 1)]


def test_label_dropout():
    dataset = LineDataset(
        LABELLED, 0, batch_size=8, labels=LABELS, label_dropout=0.25, seed=3
    )
    epochs = [rows_of(dataset, epoch) for epoch in range(25)]
    assert rows_of(dataset, 1) == epochs[1] != epochs[2]
    every = [row for epoch in epochs for row in epoch]
    left_out = every.count(((-1, 1), (1, 0))) / (25 * 40)
    assert left_out + every.count(((-1, 4, 5, 1), (-1, -1, 1, 0))) / (25 * 40) == 1
    assert abs(left_out - 0.25) < 5 * np.sqrt(0.25 * 0.75 / 1000)
    for index in range(len(dataset)):  # `predict` and `evaluate` in order of the text
        x, _ = dataset.batch(index, None)
        np.testing.assert_array_equal(x[:, 1:3].max(), 5)
    everything = LineDataset(LABELLED, 0, labels=LABELS, label_dropout=1.0)
    assert {x for x, _ in rows_of(everything)} == {(-1, 1), (-1, 2, 2), (-1, 3)}


def test_stateful_labels():
    dataset = LineDataset(LABELLED, 0, batch_size=8, labels=LABELS, stateful=True)
    for index in range(len(dataset)):
        _, y = dataset.batch(index, 0)
        assert (y[:, -1] == 0).all()  # no padding
    with pytest.raises(ValueError, match="label_dropout"):
        LineDataset(LABELLED, 0, labels=LABELS, stateful=True, label_dropout=0.1)
    with pytest.raises(ValueError, match="label_dropout"):
        LineDataset(LABELLED, 0, labels=LABELS, label_dropout=1.5)
    lines = Lines(LABELLED, 0)
    with pytest.raises(ValueError, match="give them to the Lines"):
        LineDataset(lines.ids, 0, lines=lines, labels=LABELS)
