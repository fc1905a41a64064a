"""`LineDataset`: batches of lines, of like length where this saves much padding.

Names of dimensions: N lines in a batch, T steps.
"""

import math
import warnings

import numpy as np

from textgen.array_file import GrowingArray
from textgen.batches import Dataset, check_integers
from textgen.lines import Lines, choose_buckets
from textgen.permutation import permute

# Tokens of a batch up to which no line is cut by default: 32 lines of 512 tokens. They
# need about 250 MB in a training step of 256 units.
_LARGE_BATCH = 2**14

_CHUNK = 2**20  # lines that are searched at once

_LABELS = 1  # makes the draws of `label_dropout` differ from other ones


class LineDataset(Dataset):
    """Many-to-many: one line (a name, a couplet, a poem) per example.

    The input is a start step (-1, the zero vector) and then the line. The target is
    the line and then the end-of-line token. Shorter lines are padded with -1, which
    loss and metrics ignore. Empty lines are skipped. The last batch may be smaller.

    A long text is read in buckets: a batch holds lines of like length, and its number
    of steps is that of its bucket. There are at most `max_buckets` different numbers of
    steps, since a training step is compiled for each. They are chosen so that little is
    padded; a bucket that would save less than 3 % of the steps, or less than 2,500
    steps of a batch in an epoch, is not used, so a short text has one bucket. A batch
    of a longer bucket has fewer lines where it would have more than 8,192 tokens, and
    more than `batch_size` lines as long as 99 % of all. Each bucket is filled up with
    lines of the next shorter one, so that only one batch of an epoch is not full. The
    order of the batches and of the lines in a bucket is another one in each epoch.

    A training step takes the mean over the targets of its batch, so a target counts
    more in a batch of short lines than in one of long lines. The reported loss and
    metrics are means over all targets, with any buckets.

    The lines take 5 to 8 bytes each, and 4 more with several buckets, above 16 MB in
    temporary files.

    A line can have labels, such as its author: the network reads them after the start
    step, in place of targets they have -1. A `LanguageModel` with these `labels` then
    generates lines with given labels.

    Args:
        ids: integer array of shape `(tokens,)`, as `Vocabulary.encode` returns it, or
            a memory map. It is not copied. The last line may end without
            `end_of_line`.
        end_of_line: int. The id that ends a line, such as `vocabulary.ids["\\n"]`.
        sequence_length: int or `None`. Maximum number of steps; longer lines are cut.
            `None` fits the longest line, unless it is longer than twice 99 % of the
            lines and a batch of such lines had more than 16,384 tokens (512 steps with
            32 rows): then lines are cut there, with a warning. Defaults to `None`.
        batch_size: int. Number of lines in a batch; batches of long lines have fewer.
            Defaults to `32`.
        shuffle: bool. Whether to shuffle the lines, differently in each epoch. `False`
            keeps the order of the text; the number of steps of a batch then is that of
            the bucket of its longest line. Defaults to `True`.
        stateful: bool. Whether a batch holds only lines of equal length, without
            padding, so that a carried state is the state at the end of the line. The
            number of steps then differs between batches. With `shuffle=False`, batches
            are sorted by the position of their first line, so that `batch_size=1`
            keeps the order of the text. Defaults to `False`.
        seed: int. Seed of the order. Defaults to `0`.
        lines: The lines to use, in this order: an integer array of numbers of lines
            that are not empty, counted from 0; `textgen.lines.Lines` of these ids; or
            `None` for all lines. Defaults to `None`.
        max_buckets: int. Maximum number of buckets. With 1, all batches have
            `sequence_length` steps, as a network with a fixed number of steps needs.
            Defaults to `8`.
        labels: int array of shape `(lines, K)`, or `None`. The ids of the labels of all
            lines of the text that are not empty, as `LineLabels.ids` returns them; also
            if `lines` chooses some of them. Defaults to `None`: no labels, or those of
            `lines`.
        label_dropout: float in [0, 1]. Share of the lines whose labels are left out, in
            each epoch of other lines, so that the model also learns to generate without
            labels (as in Ho and Salimans, "Classifier-Free Diffusion Guidance", 2022).
            Defaults to `0`.

    Attributes:
        num_cut: int. Number of lines that are cut at `sequence_length`.
        bucket_steps: tuple of int, ascending. The numbers of steps of the batches;
            empty with `stateful=True`.

    Yields:
        `x` and `y`, both int32 of shape `(N, T)`. T is one of `bucket_steps`; with one
        bucket, it is `sequence_length`, by default the length of the longest line plus
        one. With `stateful=True`, T is at most the length of the lines of the batch
        plus one. `predict` reads the lines in the order of the text, all with
        `sequence_length` steps.

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
        lines: np.ndarray | Lines | None = None,
        max_buckets: int = 8,
        labels: np.ndarray | None = None,
        label_dropout: float = 0.0,
    ) -> None:
        super().__init__(ids, batch_size, seed)
        check_integers(1, max_buckets=max_buckets)
        if sequence_length is not None:
            check_integers(1, sequence_length=sequence_length)
        if not 0 <= label_dropout <= 1 or (label_dropout and stateful):
            raise ValueError(
                f"label_dropout={label_dropout} must be between 0 and 1, and 0 with "
                "stateful=True, where all lines of a batch have equal length."
            )
        self.label_dropout = label_dropout
        self._lines = _lines_of(self.ids, end_of_line, lines, labels)
        self.end_of_line = self._lines.end_of_line
        self.num_examples = len(self._lines)
        self.shuffle = shuffle
        self.stateful = stateful
        lengths = np.sort(self._lines.lengths)
        self.sequence_length = int(sequence_length or self._default_steps(lengths))
        self.num_cut = int(np.count_nonzero(lengths > self.sequence_length))
        if self.num_cut and sequence_length is None:
            warnings.warn(
                f"{self.num_cut:,} of {self.num_examples:,} lines are longer than "
                f"{self.sequence_length:,} tokens and are cut there: the longest one, "
                f"of {lengths[-1]:,} tokens, would make batches too large. "
                "sequence_length sets another length.",
                stacklevel=2,
            )
        self.bucket_steps: tuple[int, ...] = ()
        self._order: np.ndarray | None = None  # numbers of lines; None: as in the text
        if stateful:
            self._sort_by_length()
        else:
            self._sort_into_buckets(lengths, max_buckets)

    def __len__(self) -> int:
        return len(self._firsts) if self.stateful else int(self._buckets.ends[-1])

    @property
    def text_batches(self) -> int:
        """Number of batches in the order of the text."""
        if self.stateful:
            return len(self)
        return math.ceil(self.num_examples / self.batch_size)

    @property
    def steps(self) -> int | None:
        """Number of steps of a batch; `None` if it differs between batches."""
        return self.bucket_steps[0] if len(self.bucket_steps) == 1 else None

    @property
    def mean_steps(self) -> float:
        """Mean number of steps of the batches."""
        if self.stateful:
            assert self._order is not None
            longest = self._lines.lengths[self._order[self._firsts]]
            return float(np.minimum(longest + 1.0, self.sequence_length).mean())
        batches = np.diff(self._buckets.ends, prepend=0)
        return float(self._buckets.steps @ batches / len(self))

    @property
    def few_lengths(self) -> bool:
        """Whether the number of steps has only a few different values."""
        return not self.stateful

    @property
    def carries_state(self) -> bool:
        """Whether a carried state is the state at the end of the lines."""
        return self.stateful

    @property
    def largest_batch(self) -> int:
        """Number of examples in the largest batch."""
        if self.stateful:
            return int((self._ends - self._firsts).max())
        return super().largest_batch

    def plan(self, index: int, epoch: int | None) -> tuple[np.ndarray, int]:
        """Returns the numbers of the lines of a batch, and its number of steps.

        A line without its labels has the complement of its number.
        """
        key = (self.seed, epoch) if self.shuffle and epoch is not None else None
        if self.stateful:
            numbers, steps = self._of_equal_length(index, key)
        elif key is None:
            numbers, steps = self._of_text(index, padded=epoch is None)
        else:
            numbers, steps = self._of_bucket(index, key)
        numbers = numbers.astype(np.int64, copy=False)
        if self.label_dropout and self._lines.labels is not None and epoch is not None:
            drawn = np.random.default_rng([self.seed, epoch, index, _LABELS])
            unlabelled = drawn.random(len(numbers)) < self.label_dropout
            numbers = np.where(unlabelled, ~numbers, numbers)
        return numbers, steps

    def examples(self, rows: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns inputs and targets of some lines."""
        without = rows < 0
        return self._lines.examples(np.where(without, ~rows, rows), steps, without)

    # === Batches of numbers of lines ===

    def _of_text(self, index: int, padded: bool) -> tuple[np.ndarray, int]:
        """Returns lines in the order of the text, and their number of steps."""
        first = index * self.batch_size
        numbers = np.arange(first, min(first + self.batch_size, self.num_examples))
        if padded:
            return numbers, self.bucket_steps[-1]
        longest = int(self._lines.lengths[numbers].max()) + 1
        fitting = np.searchsorted(self.bucket_steps[:-1], longest)
        return numbers, self.bucket_steps[fitting]

    def _of_bucket(self, index: int, key: tuple[int, int]) -> tuple[np.ndarray, int]:
        """Returns shuffled lines of one bucket, and their number of steps."""
        ends = self._buckets.ends
        if len(ends) > 1:
            [index] = permute(np.array([index]), len(self), key)
        bucket = int(np.searchsorted(ends, index, side="right"))
        steps, rows, last, _ = (int(column[bucket]) for column in self._buckets)
        first = int(self._buckets.lines[bucket - 1]) if bucket else 0
        begin = (int(index) - int(ends[bucket - 1]) if bucket else int(index)) * rows
        places = np.arange(begin, min(begin + rows, last - first))
        places = first + permute(places, last - first, key)
        return places if self._order is None else self._order[places], steps

    def _of_equal_length(
        self, index: int, key: tuple[int, int] | None
    ) -> tuple[np.ndarray, int]:
        """Returns lines of equal length, and their number of steps."""
        assert self._order is not None
        if key is not None:
            [index] = permute(np.array([index]), len(self), key)
        numbers = self._order[self._firsts[index] : self._ends[index]]
        length = int(self._lines.lengths[numbers[0]])
        return numbers, min(length + 1, self.sequence_length)

    # === Preparation ===

    def _default_steps(self, lengths: np.ndarray) -> int:
        """Returns the number of steps of the longest lines.

        Args:
            lengths: integer array of shape `(lines,)`, sorted.
        """
        usual = int(lengths[int(0.99 * (len(lengths) - 1))])
        rows = min(self.batch_size, len(lengths))
        return min(int(lengths[-1]) + 1, max(_LARGE_BATCH // rows, 2 * usual))

    def _sort_into_buckets(self, lengths: np.ndarray, most: int) -> None:
        """Chooses the buckets, and groups the lines by bucket, the longest first."""
        rows = self.batch_size
        if not self.shuffle:  # the batches are given
            firsts = np.arange(0, self.num_examples, rows)
            lengths = np.sort(np.maximum.reduceat(self._lines.lengths, firsts))
            rows = 1
        buckets = choose_buckets(lengths, self.sequence_length, rows, most)
        self._buckets = buckets
        self.bucket_steps = tuple(buckets.steps[::-1].tolist())
        if len(buckets.steps) == 1 or not self.shuffle:
            return
        dtype = np.min_scalar_type(len(buckets.steps))
        shorter = np.zeros(self.num_examples, dtype)  # buckets that are too short
        for steps in self.bucket_steps[:-1]:
            shorter += self._lines.lengths >= steps
        order = GrowingArray(np.min_scalar_type(self.num_examples))
        for bucket in reversed(range(len(buckets.steps))):
            for at in range(0, self.num_examples, _CHUNK):
                order.append(at + np.flatnonzero(shorter[at : at + _CHUNK] == bucket))
        self._order = order.array()

    def _sort_by_length(self) -> None:
        """Cuts the lines into batches of equal length, the same in all epochs."""
        lengths = self._lines.lengths
        order = np.argsort(lengths, kind="stable")
        changes = np.flatnonzero(np.diff(lengths[order])) + 1
        groups = np.diff(changes, prepend=0, append=len(order))
        place = np.arange(len(order)) - np.repeat(np.append(0, changes), groups)
        firsts = np.flatnonzero(place % self.batch_size == 0)
        ends = np.append(firsts[1:], len(order))
        by_first = np.argsort(order[firsts])
        self._order = order.astype(np.min_scalar_type(len(order)))
        self._firsts, self._ends = firsts[by_first], ends[by_first]


def _lines_of(
    ids: np.ndarray,
    end_of_line: int,
    lines: np.ndarray | Lines | None,
    labels: np.ndarray | None,
) -> Lines:
    """Returns the lines that a dataset uses."""
    if not isinstance(lines, Lines):
        found = Lines(ids, end_of_line, labels)
        return found if lines is None else found.take(lines)
    if labels is not None:
        raise ValueError("labels: give them to the Lines, Lines(ids, …, labels).")
    if lines.ids is not ids or lines.end_of_line != end_of_line:
        raise ValueError(
            "lines must be the Lines of the same ids, with the same end_of_line="
            f"{end_of_line}; it has end_of_line={lines.end_of_line}."
        )
    return lines
