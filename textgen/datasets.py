"""Ids to batches: each dataset holds one array of ids and slices batches out of it.

All yield `(x, y)` of int32 and no sample weights. Their order is computed index by
index, so that shuffling a billion windows takes no memory.

Names of dimensions: N examples in a batch, T steps, V symbols of the vocabulary.
"""

import math

import numpy as np

from textgen.batches import Dataset, as_ids, check_integers, permute
from textgen.text.vocabulary import NO_SYMBOL


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
        check_integers(1, sequence_length=sequence_length)
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
        check_integers(0, end_of_line=end_of_line)
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
        check_integers(1, sequence_length=sequence_length)
        self.num_cut = int(np.sum(lengths > sequence_length))
        self.sequence_length = sequence_length
        self.num_examples = len(self._starts)
        self.end_of_line = int(end_of_line)
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
    ids = as_ids(ids)
    windows = _count_windows(len(ids), sequence_length, sequence_stride)
    check_integers(1, vocabulary_size=vocabulary_size)
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


def _count_windows(length: int, sequence_length: int, sequence_stride: int) -> int:
    check_integers(1, sequence_length=sequence_length, sequence_stride=sequence_stride)
    if length <= sequence_length:
        raise ValueError(
            f"A text of {length} symbols is shorter than one window: "
            f"sequence_length={sequence_length} and the symbol after it need "
            f"{sequence_length + 1}. Use a longer text or a smaller sequence_length."
        )
    return len(range(0, length - sequence_length, sequence_stride))
