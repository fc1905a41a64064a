"""Datasets: cut the ids of a text into batches for training.

- `WindowDataset`: windows; the target is the token after the window (many-to-one).
- `SequenceDataset`: sequences; a target at each step, the next token (many-to-many).
- `LineDataset`: one line per example (many-to-many).
- `vectorize`: the windows as two one-hot arrays, without a dataset.

All datasets yield `(x, y)`, both int32, without sample weights. A dataset holds one
array of ids and slices each batch from it. The shuffled order is computed index by
index, so that shuffling a billion windows takes no additional memory.

Names of dimensions: N examples in a batch, T steps, V symbols in the vocabulary.
"""

import math

import numpy as np

from textgen.batches import Dataset, as_ids, check_integers, permute
from textgen.text.tokenizer import NO_SYMBOL


class WindowDataset(Dataset):
    """Many-to-one: windows of the text, each with the next token as target.

    Window i is `ids[i * sequence_stride : i * sequence_stride + sequence_length]`.
    All windows that have a target are used. The last batch may be smaller.

    Args:
        ids: integer array of shape `(tokens,)`, as `Vocabulary.encode` returns it, or
            a memory map. It is not copied.
        sequence_length: int. Number of tokens in a window. Defaults to `40`.
        sequence_stride: int. Tokens between two window starts. Defaults to `3`.
        batch_size: int. Number of windows in a batch. Defaults to `128`.
        shuffle: bool. Whether to shuffle the windows, differently in each epoch.
            Defaults to `True`.
        seed: int. Seed of the order. Defaults to `0`.

    Yields:
        `x`, int32 of shape `(N, sequence_length)`, and `y`, int32 of shape `(N,)`.

    Raises:
        ValueError: An argument is out of range, or the text is too short.

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
        """Number of steps of a window."""
        return self.sequence_length

    @property
    def target_steps(self) -> tuple:
        """Shape of the targets without the batch axis: one target per window."""
        return ()

    def batch(self, index: int, epoch: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Returns one batch; `epoch=None` is the order of the text."""
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
    """Many-to-many: sequences of the text; the targets are shifted by one token.

    `sampling="random"` cuts the text into sequences that do not overlap and shuffles
    them. `sampling="consecutive"` is for stateful models: it cuts the text into
    `batch_size` strands of equal length, and each batch takes the next sequence of
    every strand, so that row n of a batch continues row n of the previous batch. A
    last batch that is not full is dropped.

    Args:
        ids: integer array of shape `(tokens,)`, as `Vocabulary.encode` returns it, or
            a memory map. It is not copied.
        sequence_length: int. Number of steps of a sequence. Defaults to `64`.
        batch_size: int. Number of sequences in a batch. Defaults to `32`.
        sampling: `"random"` or `"consecutive"`. Defaults to `"random"`.
        random_offset: bool. Whether each epoch starts at a random offset below
            `sequence_length`, so that the text is cut at other places. `False` starts
            at 0. Defaults to `True`.
        seed: int. Seed of the order and of the offsets. Defaults to `0`.

    Yields:
        `x` and `y`, both int32 of shape `(batch_size, sequence_length)`. `y[n, t]` is
        the token after `x[n, t]`.

    Raises:
        ValueError: An argument is out of range, or the text is too short.
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
            self._strand = usable // batch_size  # length in tokens
            self._batches = max(self._strand - 1, 0) // sequence_length
            self.num_examples = self._batches * batch_size
            needed = batch_size * (sequence_length + 1)
        if not self._batches:
            raise ValueError(
                f"The text has {len(self.ids)} tokens. One batch of {batch_size} "
                f"sequences of {sequence_length} steps needs at least "
                f"{needed + len(self.ids) - usable}. Use a longer text, or a smaller "
                "batch_size or sequence_length."
            )

    def __len__(self) -> int:
        return self._batches

    @property
    def carries_state(self) -> bool:
        """Whether each batch continues the previous one."""
        return self.sampling == "consecutive"

    @property
    def steps(self) -> int:
        """Number of steps of a sequence."""
        return self.sequence_length

    def batch(self, index: int, epoch: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Returns one batch; `epoch=None` is the order of the text."""
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
    """Many-to-many: one line (a name, a couplet, a poem) per example.

    The input is a start step (-1, the zero vector) and then the line. The target is
    the line and then the end-of-line token. Shorter lines are padded with -1, which
    loss and metrics ignore. Empty lines are skipped. The last batch may be smaller.

    Args:
        ids: integer array of shape `(tokens,)`, as `Vocabulary.encode` returns it, or
            a memory map. It is not copied. The last line may end without
            `end_of_line`.
        end_of_line: int. The id that ends a line, such as `vocabulary.ids["\\n"]`.
        sequence_length: int or `None`. Number of steps of every batch. Longer lines
            are cut. `None` fits the longest line. Defaults to `None`.
        batch_size: int. Number of lines in a batch. Defaults to `32`.
        shuffle: bool. Whether to shuffle the lines, differently in each epoch. `False`
            keeps the order of the text. Defaults to `True`.
        stateful: bool. Whether a batch holds only lines of equal length, without
            padding, so that a carried state is the state at the end of the line. The
            number of steps then differs between batches. With `shuffle=False`, batches
            are sorted by the position of their first line, so that `batch_size=1`
            keeps the order of the text. Defaults to `False`.
        seed: int. Seed of the order. Defaults to `0`.

    Attributes:
        num_cut: int. Number of lines that were cut at `sequence_length`.

    Yields:
        `x` and `y`, both int32 of shape `(N, T)`. T is `sequence_length`, by default
        the length of the longest line plus one; it is the same in all batches, so that
        a training step is not compiled again for other lengths. With `stateful=True`,
        T is at most the length of the lines of the batch plus one.

    Raises:
        ValueError: An argument is out of range, or the text has no line.

    Example:

    ```python
    vocabulary = textgen.Vocabulary("\\nabcde")  # ids: "\\n" 0, "a" 1, "b" 2, ...
    ids = vocabulary.encode("ab\\ncde\\n")
    x, y = textgen.LineDataset(ids, end_of_line=0, shuffle=False)[0]
    # x: [[-1, 1, 2, -1], [-1, 3, 4, 5]]
    # y: [[1, 2, 0, -1], [3, 4, 5, 0]]
    ```
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
        if end_of_line > np.iinfo(np.int32).max:
            raise ValueError(f"end_of_line={end_of_line} must be an id of the text.")
        ends = np.append(np.flatnonzero(self.ids == end_of_line), len(self.ids))
        starts = np.append(0, ends[:-1] + 1)
        kept = ends > starts
        if not kept.any():
            raise ValueError(
                f"These {len(self.ids)} ids have no line that is not empty. Check the "
                f"text and end_of_line={end_of_line}."
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
        """Number of steps of a line; `None` if it differs between batches."""
        return None if self.stateful else self.sequence_length

    def batch(self, index: int, epoch: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Returns one batch; `epoch=None` is the order of the text."""
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
        # One more column than steps, since the targets are shifted by one.
        rows = np.full((len(lines), steps + 1), NO_SYMBOL, np.int32)
        for row, start, end in zip(rows, starts, ends, strict=True):
            line = self.ids[start : min(end, start + steps)]
            row[1 : len(line) + 1] = line
            if len(line) < steps:
                row[len(line) + 1] = self.end_of_line
        x, y = rows[:, :-1], rows[:, 1:]
        # The end-of-line token is a target only.
        return np.where(x == self.end_of_line, NO_SYMBOL, x), y

    @property
    def carries_state(self) -> bool:
        """Whether a carried state is the state at the end of the lines."""
        return self.stateful

    @property
    def largest_batch(self) -> int:
        """Number of examples in the largest batch."""
        if self._batches is not None:
            return max(map(len, self._batches))
        return super().largest_batch

    def _batches_of_equal_length(self) -> list[np.ndarray]:
        """Returns the indices of the lines of each batch, the same in all epochs."""
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
    """Returns all windows of a text as one-hot arrays, for `model.fit(x, y)`.

    The windows and targets are those of `WindowDataset`, in the order of the text.
    The arrays take `sequence_length * vocabulary_size` bytes per window: for long
    texts, use `WindowDataset`.

    Args:
        ids: integer array of shape `(tokens,)`.
        vocabulary_size: int. Number of symbols in the vocabulary, V.
        sequence_length: int. Number of tokens in a window. Defaults to `40`.
        sequence_stride: int. Tokens between two window starts. Defaults to `3`.

    Returns:
        `x`, bool of shape `(windows, sequence_length, V)`, and `y`, bool of shape
        `(windows, V)`. An id of -1 becomes a row of zeros.

    Raises:
        ValueError: An argument is out of range, the text is too short, or an id is
            not less than `vocabulary_size`.
    """
    ids = as_ids(ids)
    windows = _count_windows(len(ids), sequence_length, sequence_stride)
    check_integers(1, vocabulary_size=vocabulary_size)
    highest = int(ids.max())
    if highest >= vocabulary_size:
        raise ValueError(
            f"Id {highest} is not less than vocabulary_size={vocabulary_size}. Use "
            "len(vocabulary) of the vocabulary that encoded the text."
        )
    symbols = np.arange(vocabulary_size)
    x = np.empty((windows, sequence_length, vocabulary_size), bool)
    # Step by step: one comparison for all steps would need index arrays eight times
    # as large as the result.
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
            f"The text has {length} tokens. One window of "
            f"sequence_length={sequence_length} and the token after it need "
            f"{sequence_length + 1}. Use a longer text or a smaller sequence_length."
        )
    return len(range(0, length - sequence_length, sequence_stride))
