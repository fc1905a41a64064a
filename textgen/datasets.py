"""Datasets: cut the ids of a text into batches for training.

- `WindowDataset`: windows; the target is the token after the window (many-to-one).
- `SequenceDataset`: sequences; a target at each step, the next token (many-to-many).
- `LineDataset`: one line per example (many-to-many); see `textgen.line_dataset`.
- `vectorize`: the windows as two one-hot arrays, without a dataset.

All datasets yield `(x, y)`, both int32, without sample weights. A dataset holds one
array of ids and slices each batch from it. The shuffled order is computed index by
index, so that shuffling a billion windows takes no additional memory.

Names of dimensions: N examples in a batch, T steps, V symbols in the vocabulary.
"""

import math

import numpy as np

from textgen.batches import Dataset, as_ids, check_integers
from textgen.line_dataset import LineDataset as LineDataset
from textgen.permutation import permute


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

    def plan(self, index: int, epoch: int | None) -> tuple[np.ndarray, int]:
        """Returns the starts of the windows of a batch, and their number of steps."""
        first = index * self.batch_size
        last = min(first + self.batch_size, self.num_examples)
        examples = np.arange(first, last)
        if self.shuffle and epoch is not None:
            examples = permute(examples, self.num_examples, (self.seed, epoch))
        return examples * self.sequence_stride, self.sequence_length

    def examples(self, rows: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the windows at some starts, and the tokens after them."""
        windows = _cut(self.ids, rows, steps + 1)
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

    def plan(self, index: int, epoch: int | None) -> tuple[np.ndarray, int]:
        """Returns the starts of the sequences of a batch, and their number of steps."""
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
        return starts, self.sequence_length

    def examples(self, rows: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the sequences at some starts, and the same shifted by one token."""
        sequences = _cut(self.ids, rows, steps + 1)
        return sequences[:, :-1], sequences[:, 1:]


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


def _cut(ids: np.ndarray, starts: np.ndarray, size: int) -> np.ndarray:
    """Returns pieces of a text, int32 of shape `(N, size)`."""
    return np.asarray(ids[starts[:, np.newaxis] + np.arange(size)], np.int32)


def _count_windows(length: int, sequence_length: int, sequence_stride: int) -> int:
    check_integers(1, sequence_length=sequence_length, sequence_stride=sequence_stride)
    if length <= sequence_length:
        raise ValueError(
            f"The text has {length} tokens. One window of "
            f"sequence_length={sequence_length} and the token after it need "
            f"{sequence_length + 1}. Use a longer text or a smaller sequence_length."
        )
    return len(range(0, length - sequence_length, sequence_stride))
