"""The lines of a text: where they are, and how many steps batches of them have.

Names of dimensions: N lines in a batch, T steps.
"""

import copy
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from textgen.array_file import GrowingArray
from textgen.batches import as_ids, check_integers
from textgen.text.prepared import PreparedCorpus
from textgen.text.tokenizer import NO_SYMBOL, Tokenizer

_CHUNK = 2**20  # ids that are searched at once

# A bucket must save so many steps of batches in an epoch, because compiling a training
# step for another shape takes about a second.
_LEAST_STEPS = 2500
# It must also save this share: batches of lines of any length are a better sample.
_LEAST_SHARE = 0.03

_CANDIDATES = 256  # numbers of steps that are compared

# Tokens of a batch that is not larger than those of usual lines: a training step of 128
# units needs about 100 MB for them.
_MOST_TOKENS = 2**13


class Lines:
    """The lines of a text that are not empty, without a copy of the ids.

    They take 5 to 8 bytes per line, above 16 MB in a temporary file. The ids are read
    once, in parts.

    Args:
        ids: integer array of shape `(tokens,)`, or a memory map. It is not copied.
        end_of_line: int. The id that ends a line. The last line may end without it.
        labels: int array of shape `(lines, K)`, or `None`. The ids of the labels of
            each line, as `LineLabels.ids` returns them: -1 after the last label of a
            line. Defaults to `None`, no labels.

    Attributes:
        ids: The ids.
        end_of_line: int.
        starts: uint32 array of shape `(lines,)` (uint64 from 2**32 tokens on). Index of
            the first id of each line.
        lengths: unsigned integer array of shape `(lines,)`, of the smallest dtype.
            Labels and tokens of each line, without `end_of_line`.
        labels: The labels, int32, or `None`.

    Raises:
        ValueError: An argument is out of range, the text has no line, or the labels are
            for another number of lines.

    Example:

    ```python
    lines = Lines(ids, vocabulary.ids["\\n"])
    order = np.random.default_rng(0).permutation(len(lines))
    train, validation = (
        textgen.LineDataset(ids, lines.end_of_line, lines=lines.take(part))
        for part in np.split(order, [len(lines) * 9 // 10])
    )
    ```
    """

    def __init__(
        self, ids: np.ndarray, end_of_line: int, labels: np.ndarray | None = None
    ) -> None:
        self.ids = as_ids(ids)
        check_integers(0, end_of_line=end_of_line)
        if end_of_line > np.iinfo(np.int32).max:
            raise ValueError(f"end_of_line={end_of_line} must be an id of the text.")
        self.end_of_line = int(end_of_line)
        dtype = np.uint32 if len(self.ids) < 2**32 else np.uint64
        starts, lengths, longest = GrowingArray(dtype), GrowingArray(dtype), 0
        for part, part_lengths in _find(self.ids, self.end_of_line):
            starts.append(part)
            lengths.append(part_lengths)
            longest = max(longest, int(part_lengths.max()))
        if not longest:
            raise ValueError(
                f"These {len(self.ids)} ids have no line that is not empty. Check the "
                f"text and end_of_line={end_of_line}."
            )
        self.starts = starts.array()
        # One more than the longest length must fit, too.
        smallest = np.min_scalar_type(longest + 1)
        self.lengths = _taken(lengths.array(), None, smallest)
        self.labels = None if labels is None else self._checked(labels)
        if self.labels is not None:
            sizes = self.lengths + np.count_nonzero(self.labels >= 0, axis=1)
            self.lengths = sizes.astype(np.min_scalar_type(int(sizes.max()) + 1))

    def __len__(self) -> int:
        return len(self.starts)

    def take(self, numbers: np.ndarray) -> "Lines":
        """Returns some of the lines, in the given order; the ids are not read.

        Args:
            numbers: integer array of shape `(lines,)`. Numbers of lines, counted
                from 0.

        Raises:
            ValueError: `numbers` is not such an array, is empty, or has a number that
                is out of range.
        """
        numbers = np.asarray(numbers)
        if numbers.ndim != 1 or numbers.dtype.kind not in "iu" or not len(numbers):
            raise ValueError(
                "The numbers of lines must be a one-dimensional integer array that is "
                f"not empty; got shape {numbers.shape} and dtype {numbers.dtype}."
            )
        for number in (numbers.min(), numbers.max()):
            if not 0 <= number < len(self):
                raise ValueError(
                    f"Line {number} does not exist: the text has {len(self):,} lines "
                    "that are not empty, counted from 0."
                )
        taken = copy.copy(self)
        taken.starts = _taken(self.starts, numbers, self.starts.dtype)
        taken.lengths = _taken(self.lengths, numbers, self.lengths.dtype)
        if self.labels is not None:
            taken.labels = self.labels[numbers]
        return taken

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yields the ids of each line: its labels, its tokens and its end."""
        for number, start in enumerate(self.starts):
            labels: Any = () if self.labels is None else self.labels[number]
            labels = [label for label in labels if label >= 0]
            end = int(start) + int(self.lengths[number]) - len(labels)
            ids = self.ids[int(start) : end].astype(np.int32)
            yield np.concatenate([labels, ids, [self.end_of_line]]).astype(np.int32)

    def examples(
        self, numbers: np.ndarray, steps: int, unlabelled: np.ndarray | None = None
    ) -> tuple:
        """Returns inputs and targets of some lines.

        Args:
            numbers: integer array of shape `(N,)`.
            steps: int. Number of steps, T. Longer lines are cut.
            unlabelled: bool array of shape `(N,)`, or `None`. The lines whose labels
                are left out. Defaults to `None`: none.

        Returns:
            `x` and `y`, both int32 of shape `(N, T)`: a start step (-1), the labels and
            the line; and the line and its end, in the place before that of `x`. -1
            means no target before the line, and padding after it.
        """
        starts = self.starts[numbers].astype(np.int64)
        ends = self.lengths[numbers].astype(np.int64)
        columns = np.arange(steps)
        y = np.full((len(numbers), steps), NO_SYMBOL, np.int32)
        x = np.full_like(y, NO_SYMBOL)
        firsts = np.zeros((len(numbers), 1), np.int64)  # the steps before each line
        if self.labels is not None:
            labels = self.labels[numbers]
            counts = np.count_nonzero(labels >= 0, axis=1)
            if unlabelled is not None:
                ends = ends - np.where(unlabelled, counts, 0)
                labels = np.where(unlabelled[:, np.newaxis], NO_SYMBOL, labels)
                counts = np.where(unlabelled, 0, counts)
            firsts = counts[:, np.newaxis]
            labels = labels[:, : steps - 1]
            x[:, 1 : 1 + labels.shape[1]] = labels
        inside = (columns >= firsts) & (columns < ends[:, np.newaxis])
        places = starts[:, np.newaxis] - firsts + columns
        y[inside] = self.ids[places[inside]]
        # The end-of-line token is a target only.
        x[:, 1:] = np.where(inside[:, :-1], y[:, :-1], x[:, 1:])
        y[columns == ends[:, np.newaxis]] = self.end_of_line
        return x, y

    def _checked(self, labels: np.ndarray) -> np.ndarray:
        """Returns the labels of all lines."""
        labels = np.asarray(labels)
        if labels.ndim != 2 or labels.dtype.kind not in "iu":
            raise ValueError(
                "labels must be an integer array of shape (lines, K), as "
                f"LineLabels.ids returns it; got shape {labels.shape} and dtype "
                f"{labels.dtype}."
            )
        if len(labels) != len(self):
            raise ValueError(
                f"There are labels for {len(labels):,} lines, but the text has "
                f"{len(self):,} lines that are not empty."
            )
        return labels.astype(np.int32, copy=False)


def lines_of_corpus(
    corpus: PreparedCorpus, labels: Sequence[str] | None = None
) -> Lines:
    """Returns the lines of a corpus, with their labels.

    Args:
        corpus: `PreparedCorpus`.
        labels: Sequence of str, or `None`. The labels of a model that has others than
            the corpus, too. Defaults to `None`, those of the corpus.

    Raises:
        ValueError: The corpus has no lines, or a label that is not in `labels`.
    """
    ids = None
    if corpus.labels is not None:
        ids = corpus.labels.ids(corpus.tokenizer, labels)
    return Lines(corpus.ids, end_of_line(corpus.tokenizer), ids)


def end_of_line(tokenizer: Tokenizer) -> int:
    """Returns the id of the newline; raises ValueError if there is none."""
    if "\n" not in tokenizer:
        raise ValueError("lines=True needs a text of several lines.")
    return tokenizer.ids["\n"]


def _find(ids: np.ndarray, end_of_line: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields starts and lengths of the lines that end in each part of a text."""
    start, size = 0, len(ids)
    for at in range(0, size, _CHUNK):
        ends = np.flatnonzero(ids[at : at + _CHUNK] == end_of_line) + at
        if at + _CHUNK >= size:
            ends = np.append(ends, size)
        if not len(ends):
            continue
        starts = np.append(start, ends[:-1] + 1)
        start = int(ends[-1]) + 1
        kept = ends > starts
        if kept.any():
            yield starts[kept], (ends - starts)[kept]


def _taken(values: np.ndarray, numbers: np.ndarray | None, dtype: Any) -> np.ndarray:
    """Returns the values of these numbers, or all; a large result is in a file."""
    result = GrowingArray(dtype)
    for at in range(0, len(values if numbers is None else numbers), _CHUNK):
        part = slice(at, at + _CHUNK)
        result.append(values[part] if numbers is None else values[numbers[part]])
    return result.array()


class Buckets(NamedTuple):
    """Classes of batches by their number of steps, from the longest to the shortest.

    Args:
        steps: int64 array of shape `(buckets,)`, descending. Steps of the batches.
        rows: int64 array of shape `(buckets,)`. Lines of each batch; the last one of
            the shortest bucket may have fewer.
        lines: int64 array of shape `(buckets,)`. Number of lines up to the end of each
            bucket.
        ends: int64 array of shape `(buckets,)`. Number of batches up to the end of each
            bucket.
    """

    steps: np.ndarray
    rows: np.ndarray
    lines: np.ndarray
    ends: np.ndarray


def choose_buckets(lengths: np.ndarray, steps: int, rows: int, most: int) -> Buckets:
    """Chooses the numbers of steps of batches, so that little is padded.

    A batch has the lines of one bucket. In the shortest bucket it has `rows` lines, in
    another one at most so many that it has no more tokens than `rows` lines as long as
    99 % of all, or 8,192 tokens if this is more. The bucket of the longest lines is
    filled up to a full batch with lines of the next one, and so on: only one batch is
    not full. For each number of buckets, the choice has the smallest sum of steps over
    all batches, not counting what fills them up; a further bucket must save enough.

    Args:
        lengths: unsigned integer array of shape `(lines,)`, sorted. Its dtype holds the
            longest length plus one.
        steps: int. Number of steps of the longest lines, which may be cut, and of a
            single bucket.
        rows: int. Number of lines in a batch.
        most: int. Maximum number of buckets.
    """
    shortest, longest = int(lengths[0]) + 1, int(lengths[-1]) + 1
    inner = np.geomspace(shortest, longest, _CANDIDATES).astype(lengths.dtype)
    inner = np.unique(np.append(inner, lengths.dtype.type(longest)))
    inner = inner[inner < steps]
    # Number of lines that do not fit; none for the last choice.
    longer = np.append(len(lengths) - np.searchsorted(lengths, inner), 0)
    choices = np.append(inner.astype(np.int64), steps)
    usual = int(lengths[int(0.99 * (len(lengths) - 1))]) + 1
    tokens = max(_MOST_TOKENS, rows * usual)
    fewer = np.clip(tokens // choices, 1, rows)
    # Sum of steps if the shortest bucket ends at a choice, and of one bucket from a
    # choice (first axis) to a larger or the same one (second axis).
    sums = (len(lengths) - longer) * (choices / rows)
    between = (longer[:, np.newaxis] - longer) * (choices / fewer)
    larger = np.tri(len(choices), dtype=bool).T
    previous: list[np.ndarray] = []
    while len(previous) + 1 < most:
        through = np.where(larger, sums[:, np.newaxis] + between, np.inf)
        best = through.argmin(axis=0)
        smaller = through.min(axis=0)
        if sums[-1] - smaller[-1] < max(_LEAST_STEPS, _LEAST_SHARE * sums[-1]):
            break
        previous.append(best)
        sums = smaller
    chosen = [len(choices) - 1]
    for best in reversed(previous):
        chosen.append(int(best[chosen[-1]]))
    needed = np.append(longer[chosen[1:]], len(lengths))
    rows_of = np.append(fewer[chosen[:-1]], rows)
    return _filled_up(choices[chosen], rows_of, needed)


def _filled_up(steps: np.ndarray, rows: np.ndarray, needed: np.ndarray) -> Buckets:
    """Returns buckets of full batches.

    Args:
        steps: int64 array of shape `(buckets,)`. Steps of the batches, descending.
        rows: int64 array of shape `(buckets,)`. Lines of a batch.
        needed: int64 array of shape `(buckets,)`. Number of lines that fit into no
            shorter bucket; for the last one, of all lines.
    """
    buckets = []
    lines = batches = 0
    for width, size, end in zip(steps, rows, needed, strict=True):
        more = -(-(end - lines) // size)
        if more > 0:  # otherwise these lines fill up longer batches
            batches += more
            lines = min(lines + more * size, needed[-1])
            buckets.append((width, size, lines, batches))
    return Buckets(*np.array(buckets, np.int64).T)
