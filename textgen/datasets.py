"""Ids to batches: each dataset holds one array of ids and slices batches out of it.

All are `keras.utils.PyDataset`s that yield `(x, y)` of int32 and no sample weights.
Their order is a function of `seed` and of the epoch alone, whoever reads them, and is
computed index by index, so that shuffling a billion windows takes no memory.

Names of dimensions: N examples in a batch, T steps, V symbols of the vocabulary.
"""

import math
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

# Keras has no public name for the class of what it reads without reordering it.
from keras.src.trainers.data_adapters import data_adapter_utils
from keras.src.trainers.data_adapters.data_adapter import DataAdapter

from textgen.vocabulary import NO_SYMBOL


class Batches(keras.utils.PyDataset, DataAdapter):
    """Base class: batches of ids that Keras reads in their order.

    Keras shuffles the batches of a `PyDataset` in `fit` unless it is told not to, which
    would tear apart what continues from batch to batch. It takes a `DataAdapter` as it
    is, and a dataset is one for that reason.

    Subclasses implement `__len__`, `__iter__`, which is one pass, and the properties.
    """

    # A property without a setter in `DataAdapter`.
    batch_size: int | None = None

    @property
    def steps(self) -> int | None:
        """Steps of the inputs, `None` where batches differ in them."""
        raise NotImplementedError

    @property
    def target_steps(self) -> tuple:
        """The shape of the targets after the batch axis."""
        return (self.steps,)

    @property
    def largest_batch(self) -> int:
        """Examples in the largest batch, at most."""
        raise NotImplementedError

    def get_numpy_iterator(self) -> Iterator:
        """Called by Keras; returns an iterator over one pass."""
        return iter(self)

    def get_jax_iterator(self) -> Iterator:
        """Called by Keras; returns an iterator over one pass."""
        return iter(self)

    def get_torch_dataloader(self) -> Any:
        """Called by Keras; returns a loader of one pass."""
        return data_adapter_utils.get_torch_dataloader(self)

    def get_tf_dataset(self) -> Any:
        """Called by Keras; returns a `tf.data.Dataset` of one pass."""
        import tensorflow as tf

        spec = (
            tf.TensorSpec((None, self.steps), tf.int32),
            tf.TensorSpec((None, *self.target_steps), tf.int32),
        )
        # The generator begins when the first batch is asked for, so that a pass that
        # nobody reads is none.
        return tf.data.Dataset.from_generator(
            lambda: iter(self), output_signature=spec
        ).prefetch(tf.data.AUTOTUNE)


class Dataset(Batches):
    """Base class: batches in an order that depends on `seed` and `epoch` only.

    An epoch is one pass over the batches: each iteration begins the next one, in `fit`
    and in a loop of your own. Keras does not pass `class_weight` on to a dataset;
    models of textgen apply it themselves.

    Subclasses implement `__len__` and `batch`.

    Args:
        ids: integer array of shape `(symbols,)`, as `Vocabulary.encode` returns it; a
            memory map will do. It is not copied.
        batch_size: int. Examples in a batch.
        seed: int. Seed of the order.

    Raises:
        ValueError: An argument is out of its range, or the ids are too few.
    """

    # Whether an example begins with a start step, the id -1.
    start_step = False

    def __init__(self, ids: np.ndarray, batch_size: int, seed: int) -> None:
        super().__init__()
        _check_integers(1, batch_size=batch_size)
        _check_integers(0, seed=seed)
        self.ids = _as_ids(ids)
        self.batch_size: int = batch_size
        self.seed = seed
        self.epoch = 0
        self._begun = False

    def batch(self, index: int, epoch: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Returns a batch.

        Args:
            index: int. The number of the batch in its epoch.
            epoch: int, or `None` for the order of the text.

        Returns:
            `x` and `y`, as the dataset yields them.
        """
        raise NotImplementedError

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        if not 0 <= index < len(self):
            raise IndexError(f"Batch {index} is not one of {len(self)}.")
        return self.batch(index, self.epoch)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        self.epoch, self._begun = self.next_epoch, True
        epoch = self.epoch
        for index in range(len(self)):
            yield self.batch(index, epoch)

    @property
    def largest_batch(self) -> int:
        """Examples in the largest batch, at most."""
        return self.batch_size

    @property
    def carries_state(self) -> bool:
        """Whether each batch continues the one before, as a stateful model needs."""
        return False

    def set_epoch(self, epoch: int) -> None:
        """Makes `epoch` (counted from 0) the next one that is read.

        Without this call, epochs count up from 0, through as many `fit`s as there
        are. `LanguageModel.fit` calls it, so that a resumed training goes on with the
        order that an uninterrupted one would have had.
        """
        self.epoch, self._begun = epoch, False

    @property
    def next_epoch(self) -> int:
        """The epoch that is read next."""
        return self.epoch + 1 if self._begun else self.epoch


class View(Batches):
    """A dataset in one order, whatever its epoch.

    Args:
        dataset: `Dataset`.
        epoch: int, or `None` for the order of the text.
    """

    def __init__(self, dataset: Dataset, epoch: int | None) -> None:
        super().__init__()
        self.dataset = dataset
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.dataset)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return (self.dataset.batch(i, self.epoch) for i in range(len(self)))

    @property
    def steps(self) -> int | None:
        """Steps of the inputs, `None` where batches differ in them."""
        return self.dataset.steps

    @property
    def target_steps(self) -> tuple:
        """The shape of the targets after the batch axis."""
        return self.dataset.target_steps

    @property
    def largest_batch(self) -> int:
        """Examples in the largest batch, at most."""
        return self.dataset.largest_batch


class Feed(View):
    """A dataset cut into parts of so many batches, pass after pass.

    What Keras calls an epoch then need not be a pass: an epoch of the dataset ends
    where its pass ends.

    Args:
        dataset: `Dataset`.
        num_batches: int. Batches of a part.

    Attributes:
        first: int. The number of the first batch of the next part, counted through all
            passes from 0.
    """

    def __init__(self, dataset: Dataset, num_batches: int) -> None:
        super().__init__(dataset, 0)
        self.first = 0
        self._length = num_batches

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for number in range(self.first, self.first + len(self)):
            epoch, index = divmod(number, len(self.dataset))
            yield self.dataset.batch(index, epoch)


class WindowDataset(Dataset):
    """Many-to-one: windows of the text, each with the symbol that follows it.

    Window i is `ids[i * sequence_stride : i * sequence_stride + sequence_length]`,
    for every i that leaves a target. The last batch may be smaller than the others.

    Args:
        ids: integer array of shape `(symbols,)`, as `Vocabulary.encode` returns it; a
            memory map will do. It is not copied.
        sequence_length: int. Symbols in a window. Defaults to `40`.
        sequence_stride: int. Symbols from the start of a window to the start of the
            next. Defaults to `3`.
        batch_size: int. Windows in a batch. Defaults to `128`.
        shuffle: bool. Whether each epoch has an order of its own. Defaults to `True`.
        seed: int. Seed of the order. Defaults to `0`.

    Yields:
        `x`, int32 of shape `(N, sequence_length)`, and `y`, int32 of shape `(N,)`.

    Raises:
        ValueError: The text is shorter than one window and its target.

    Example:

    ```python
    ids = vocabulary.encode(text)
    train = textgen.WindowDataset(ids, sequence_length=40, sequence_stride=3)
    model.fit(train, epochs=5)
    ```
    """

    def __init__(
        self,
        ids: np.ndarray,
        sequence_length: int = 40,
        sequence_stride: int = 3,
        batch_size: int = 128,
        shuffle: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__(ids, batch_size, seed)
        self.num_examples = _count_windows(
            len(self.ids), sequence_length, sequence_stride
        )
        self.sequence_length = sequence_length
        self.sequence_stride = sequence_stride
        self.shuffle = shuffle

    def __len__(self) -> int:
        return math.ceil(self.num_examples / self.batch_size)

    @property
    def steps(self) -> int:
        """Steps of a window."""
        return self.sequence_length

    @property
    def target_steps(self) -> tuple:
        """The shape of the targets after the batch axis: one for a window."""
        return ()

    def batch(self, index: int, epoch: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Returns a batch; `epoch` is `None` for the order of the text."""
        first = index * self.batch_size
        last = min(first + self.batch_size, self.num_examples)
        examples = np.arange(first, last)
        if self.shuffle and epoch is not None:
            examples = permute(examples, self.num_examples, (self.seed, epoch))
        starts = examples * self.sequence_stride
        windows = np.asarray(
            self.ids[starts[:, np.newaxis] + np.arange(self.sequence_length + 1)],
            np.int32,
        )
        return windows[:, :-1], windows[:, -1]


class SequenceDataset(Dataset):
    """Many-to-many: sequences of the text, with the same moved on by one as targets.

    `sampling="random"` cuts the text into sequences that do not overlap, and shuffles
    them. `sampling="consecutive"` cuts the text into `batch_size` equal strands and
    moves along all of them at once, so that row n of a batch continues row n of the
    batch before: what a stateful model needs. A last batch that is not full is left
    out.

    Args:
        ids: integer array of shape `(symbols,)`, as `Vocabulary.encode` returns it; a
            memory map will do. It is not copied.
        sequence_length: int. Steps of a sequence. Defaults to `64`.
        batch_size: int. Sequences in a batch. Defaults to `32`.
        sampling: `"random"` or `"consecutive"`. Defaults to `"random"`.
        random_offset: bool. Whether each epoch starts at an offset of its own, drawn
            from the first `sequence_length` symbols, or always at 0. Defaults to
            `True`.
        seed: int. Seed of the order and the offsets. Defaults to `0`.

    Yields:
        `x` and `y`, both int32 of shape `(batch_size, sequence_length)`.

    Raises:
        ValueError: The text is too short for one batch; the message says how long it
            must be.
    """

    def __init__(
        self,
        ids: np.ndarray,
        sequence_length: int = 64,
        batch_size: int = 32,
        sampling: str = "random",
        random_offset: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__(ids, batch_size, seed)
        _check_integers(1, sequence_length=sequence_length)
        if sampling not in ("random", "consecutive"):
            raise ValueError(
                f"sampling={sampling!r} must be 'random' or 'consecutive'."
            )
        self.sequence_length = sequence_length
        self.sampling = sampling
        self.random_offset = random_offset
        # Every epoch has as many batches as one at the largest offset.
        usable = len(self.ids) - (sequence_length - 1 if random_offset else 0)
        if sampling == "random":
            self.num_examples = max(usable - 1, 0) // sequence_length
            self._batches = self.num_examples // batch_size
            needed = batch_size * sequence_length + 1
        else:
            self._strand = usable // batch_size  # symbols in a strand
            self._batches = max(self._strand - 1, 0) // sequence_length
            self.num_examples = self._batches * batch_size
            needed = batch_size * (sequence_length + 1)
        if not self._batches:
            raise ValueError(
                f"A text of {len(self.ids)} symbols is too short for one batch of "
                f"{batch_size} sequences of {sequence_length} steps: it needs "
                f"{needed + len(self.ids) - usable}. Use a smaller batch_size or "
                "sequence_length."
            )

    def __len__(self) -> int:
        return self._batches

    @property
    def carries_state(self) -> bool:
        """Whether each batch continues the one before."""
        return self.sampling == "consecutive"

    @property
    def steps(self) -> int:
        """Steps of a sequence."""
        return self.sequence_length

    def batch(self, index: int, epoch: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Returns a batch; `epoch` is `None` for the order of the text."""
        if self.sampling == "random":
            first = index * self.batch_size
            examples = np.arange(first, first + self.batch_size)
            if epoch is not None:
                examples = permute(examples, self.num_examples, (self.seed, epoch))
            starts = examples * self.sequence_length
        else:
            strands = np.arange(self.batch_size) * self._strand
            starts = strands + index * self.sequence_length
        if self.random_offset and epoch is not None:
            generator = np.random.default_rng((self.seed, epoch))
            starts = starts + generator.integers(self.sequence_length)
        sequences = np.asarray(
            self.ids[starts[:, np.newaxis] + np.arange(self.sequence_length + 1)],
            np.int32,
        )
        return sequences[:, :-1], sequences[:, 1:]


class LineDataset(Dataset):
    """Many-to-many: one line (a name, a couplet, a poem) an example.

    The input is a start step (-1, the zero vector) and then the line; the target is
    the line and then the end-of-line symbol. Shorter lines are padded with -1, which
    is left out of the loss and the metrics. Empty lines are left out. The last batch
    may be smaller than the others.

    Args:
        ids: integer array of shape `(symbols,)`, as `Vocabulary.encode` returns it; a
            memory map will do. It is not copied. The last line may or may not end
            with `end_of_line`.
        end_of_line: int. The id that ends a line, such as
            `vocabulary.ids["\\n"]`.
        sequence_length: int or `None`. Steps of every batch: what goes beyond them of
            a longer line is left out. `None` makes room for the longest line. Defaults
            to `None`.
        batch_size: int. Lines in a batch. Defaults to `32`.
        shuffle: bool. Whether each epoch has an order of its own. With `False`, lines
            come in the order of the text. Defaults to `True`.
        stateful: bool. Whether only lines of equal length share a batch, without
            padding, so that a carried state is the one at the end of the line. Batches
            then differ in their steps. Without shuffling, a batch comes where its first
            line stands in the text, so that with `batch_size=1` the order is that of
            the text. Defaults to `False`.
        seed: int. Seed of the order. Defaults to `0`.

    Attributes:
        num_cut: int. Lines that are longer than `sequence_length` and were cut there.

    Yields:
        `x` and `y`, both int32 of shape `(N, T)`, where T is `sequence_length`, or one
        more than the length of the longest line; with `stateful=True`, of the longest
        line of the batch. One shape for all keeps a compiled training step from being
        compiled again.

    Raises:
        ValueError: There is no line, or `end_of_line` is not an id.
    """

    start_step = True

    def __init__(
        self,
        ids: np.ndarray,
        end_of_line: int,
        sequence_length: int | None = None,
        batch_size: int = 32,
        shuffle: bool = True,
        stateful: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(ids, batch_size, seed)
        _check_integers(0, end_of_line=end_of_line)
        ends = np.append(np.flatnonzero(self.ids == end_of_line), len(self.ids))
        starts = np.append(0, ends[:-1] + 1)
        kept = ends > starts
        if not kept.any():
            raise ValueError(
                f"There is no line in these {len(self.ids)} ids: every one is empty."
            )
        self._starts, self._ends = starts[kept], ends[kept]
        lengths = self._ends - self._starts
        if sequence_length is None:
            sequence_length = int(lengths.max()) + 1
        _check_integers(1, sequence_length=sequence_length)
        self.num_cut = int(np.sum(lengths > sequence_length))
        self.sequence_length = sequence_length
        self.num_examples = len(self._starts)
        self.end_of_line = end_of_line
        self.shuffle = shuffle
        self.stateful = stateful
        self._batches = self._batches_of_equal_length() if stateful else None

    def __len__(self) -> int:
        if self._batches is not None:
            return len(self._batches)
        return math.ceil(self.num_examples / self.batch_size)

    @property
    def steps(self) -> int | None:
        """Steps of a line; `None` where they differ from batch to batch."""
        return None if self.stateful else self.sequence_length

    def batch(self, index: int, epoch: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Returns a batch; `epoch` is `None` for the order of the text."""
        key = (self.seed, epoch) if self.shuffle and epoch is not None else None
        if self._batches is None:
            first = index * self.batch_size
            last = min(first + self.batch_size, self.num_examples)
            lines = np.arange(first, last)
            if key is not None:
                lines = permute(lines, self.num_examples, key)
        else:
            if key is not None:
                [index] = permute(np.array([index]), len(self._batches), key)
            lines = self._batches[index]
        starts, ends = self._starts[lines], self._ends[lines]
        steps = self.sequence_length
        if self.stateful:
            steps = min(steps, int((ends - starts).max()) + 1)
        # One column more than needed: the start step.
        rows = np.full((len(lines), steps + 1), NO_SYMBOL, np.int32)
        for row, start, end in zip(rows, starts, ends, strict=True):
            line = self.ids[start : min(end, start + steps)]
            row[1 : len(line) + 1] = line
            if len(line) < steps:
                row[len(line) + 1] = self.end_of_line
        x, y = rows[:, :-1], rows[:, 1:]
        # The end is a target only.
        return np.where(x == self.end_of_line, NO_SYMBOL, x), y

    @property
    def carries_state(self) -> bool:
        """Whether the state at the end of a line is one to go on from."""
        return self.stateful

    @property
    def largest_batch(self) -> int:
        """Examples in the largest batch."""
        if self._batches is not None:
            return max(map(len, self._batches))
        return super().largest_batch

    def _batches_of_equal_length(self) -> list[np.ndarray]:
        """The lines of each batch; the composition is the same in all epochs."""
        lengths = self._ends - self._starts
        by_length = np.argsort(lengths, kind="stable")
        changes = np.flatnonzero(np.diff(lengths[by_length])) + 1
        batches = [
            group[at : at + self.batch_size]
            for group in np.split(by_length, changes)
            for at in range(0, len(group), self.batch_size)
        ]
        return sorted(batches, key=lambda lines: lines[0])


def vectorize(
    ids: np.ndarray,
    vocabulary_size: int,
    sequence_length: int = 40,
    sequence_stride: int = 3,
) -> tuple[np.ndarray, np.ndarray]:
    """Makes the whole one-hot arrays of the windows of a text, for `model.fit(x, y)`.

    The windows and targets are those of `WindowDataset`, in order. The arrays take
    `sequence_length * vocabulary_size` bytes a window: for long texts, use
    `WindowDataset`.

    Args:
        ids: integer array of shape `(symbols,)`.
        vocabulary_size: int. Number of symbols, V.
        sequence_length: int. Symbols in a window. Defaults to `40`.
        sequence_stride: int. Symbols from the start of a window to the start of the
            next. Defaults to `3`.

    Returns:
        `x`, bool of shape `(windows, sequence_length, V)`, and `y`, bool of shape
        `(windows, V)`. An id of -1 becomes a row of zeros.

    Raises:
        ValueError: The text is shorter than one window and its target, or an id is
            not below `vocabulary_size`.
    """
    ids = _as_ids(ids)
    windows = _count_windows(len(ids), sequence_length, sequence_stride)
    _check_integers(1, vocabulary_size=vocabulary_size)
    highest = int(ids.max())
    if highest >= vocabulary_size:
        raise ValueError(
            f"Id {highest} does not fit into vocabulary_size={vocabulary_size}."
        )
    symbols = np.arange(vocabulary_size)
    x = np.empty((windows, sequence_length, vocabulary_size), bool)
    # Step by step, since one comparison for all would need index arrays of eight
    # times the size of the result.
    ends = windows * sequence_stride
    for step in range(sequence_length):
        at_step = ids[step : step + ends : sequence_stride][:windows]
        np.equal(at_step[:, np.newaxis], symbols, out=x[:, step])
    targets = ids[sequence_length : sequence_length + ends : sequence_stride]
    return x, targets[:windows, np.newaxis] == symbols


def permute(indices: np.ndarray, size: int, key: tuple[int, int]) -> np.ndarray:
    """Maps indices through a pseudo-random permutation of `range(size)`.

    It is a generalised Feistel network with cycle walking (Black and Rogaway,
    "Ciphers with Arbitrary Finite Domains", CT-RSA 2002), so that a shuffled index is
    computed on the spot, and no permutation is ever held in memory.

    Args:
        indices: integer array, each in `range(size)`.
        size: int. Number of items permuted.
        key: `(seed, epoch)`. What the permutation depends on.

    Returns:
        int64 array of the shape of `indices`.
    """
    rows = math.isqrt(size - 1) + 1
    columns = -(-size // rows)
    round_keys = np.random.default_rng(key).integers(0, 2**63, 6, np.uint64)
    result = np.array(indices, np.uint64)
    outside = np.ones(result.shape, bool)
    while outside.any():
        left, right = np.divmod(result[outside], np.uint64(columns))
        for round_key in round_keys:
            # Either half is moved by a hash of the other; sides change each round.
            left = (left + _hash(right ^ round_key) % np.uint64(rows)) % np.uint64(rows)
            left, right = right, left
            rows, columns = columns, rows
        result[outside] = left * np.uint64(columns) + right
        outside = result >= size
    return result.astype(np.int64)


def _hash(values: np.ndarray) -> np.ndarray:
    """Mixes uint64 values: the finaliser of SplitMix64 (Steele et al., OOPSLA 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _count_windows(length: int, sequence_length: int, sequence_stride: int) -> int:
    _check_integers(1, sequence_length=sequence_length, sequence_stride=sequence_stride)
    if length <= sequence_length:
        raise ValueError(
            f"A text of {length} symbols is shorter than one window: "
            f"sequence_length={sequence_length} and the symbol after it need "
            f"{sequence_length + 1}. Use a longer text or a smaller sequence_length."
        )
    return len(range(0, length - sequence_length, sequence_stride))


def _as_ids(ids: np.ndarray) -> np.ndarray:
    ids = np.asanyarray(ids)
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise ValueError(
            "ids must be one-dimensional and integer, as Vocabulary.encode returns "
            f"them; got shape {ids.shape} and dtype {ids.dtype}."
        )
    return ids


def _check_integers(least: int, **values: int) -> None:
    for name, value in values.items():
        if not isinstance(value, int | np.integer) or value < least:
            raise ValueError(
                f"{name}={value!r} must be an integer of at least {least}."
            )
