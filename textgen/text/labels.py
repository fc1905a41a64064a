"""The labels of the lines of a corpus, such as their author or their genre.

The ids of labels follow those of the tokens: the label with number n has the id
`len(tokenizer) + n`. A network reads them before the line, and never predicts them
(Keskar et al., "CTRL: A Conditional Transformer Language Model for Controllable
Generation", 2019, has such control codes).
"""

from array import array
from collections.abc import Iterable, Sequence

import numpy as np

from textgen.text.levels import quoted
from textgen.text.tokenizer import NO_SYMBOL, Tokenizer

MAX_LABELS = 65_536  # more are probably no labels, but numbers of records

MAX_LENGTH = 256  # characters of a label

_MAX_NAMED = 20  # labels that a message names


class LineLabels:
    """Which line of a corpus has which labels.

    Args:
        rows: Iterable with an item for each line that is not empty: a str, the label of
            the line; a sequence of str, several labels; or `None` or `""` for no label.
            Spaces around a label are removed.

    Attributes:
        names: tuple of str. All labels, sorted by code point.
        numbers: int32 array of shape `(lines, K)`. The numbers of the labels of each
            line, ascending: indices of `names`. K is the largest number of labels of a
            line; a line with fewer ends with -1.

    Raises:
        ValueError: A label is no str or too long, there are too many different ones, or
            no line has a label.

    Example:

    ```python
    labels = textgen.LineLabels(["poe", "keats", ("poe", "gothic")])
    train = textgen.LineDataset(
        ids, vocabulary.ids["\\n"], labels=labels.ids(vocabulary)
    )
    model = textgen.LanguageModel(
        vocabulary, labels=labels.names, return_sequences=True
    )
    model.compile("adam")
    model.fit(train)
    model.generate(label=["poe", "gothic"])
    ```
    """

    def __init__(self, rows: Iterable[str | Sequence[str] | None]) -> None:
        collector = LabelCollector()
        for row in rows:
            collector.append(row)
        self.names, self.numbers = collector.finish()

    @classmethod
    def from_numbers(cls, names: Iterable[str], numbers: np.ndarray) -> "LineLabels":
        """Builds the labels from their names and numbers, as a file has them.

        Raises:
            ValueError: They are not such names and numbers.
        """
        self = cls.__new__(cls)
        self.names = check_names(names)
        self.numbers = numbers
        if numbers.ndim != 2 or not numbers.size:
            raise ValueError(f"the numbers of the labels have shape {numbers.shape}.")
        if numbers.min() < -1 or numbers.max() >= len(self.names):
            raise ValueError("a number of a label is out of range.")
        return self

    def __len__(self) -> int:
        """Number of lines."""
        return len(self.numbers)

    def __repr__(self) -> str:
        return f"LineLabels({len(self):,} lines, {len(self.names):,} labels)"

    def ids(
        self, tokenizer: Tokenizer, names: Sequence[str] | None = None
    ) -> np.ndarray:
        """Returns the ids of the labels of each line, for `LineDataset`.

        Args:
            tokenizer: `Tokenizer`. Its tokens have the ids before those of the labels.
            names: Sequence of str or `None`. The labels of a model that has others too.
                Defaults to `None`, these labels.

        Returns:
            int32 array of shape `(lines, K)`; -1 for no label.

        Raises:
            ValueError: A label is not among `names`; the message lists them.
        """
        names = self.names if names is None else names
        found = label_ids(names, self.names, len(tokenizer))
        table = np.array([*found, NO_SYMBOL], np.int32)
        return _without_gaps(table[self.numbers])


class LabelCollector:
    """Collects the labels of lines, in 4 bytes for each line and label."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._found = array("i")
        self._counts = array("i")

    def append(self, row: str | Sequence[str] | None) -> None:
        """Adds the labels of the next line.

        Raises:
            ValueError: A label is no str or too long, or there are too many labels.
        """
        labels = _as_labels(row)
        for label in labels:
            if label not in self._numbers:
                self._numbers[check_name(label)] = len(self._numbers)
                if len(self._numbers) > MAX_LABELS:
                    raise ValueError(
                        f"There are more than {MAX_LABELS:,} different labels, such as "
                        f"{quoted(label)}: use a field with fewer different values."
                    )
        self._found.extend(self._numbers[label] for label in labels)
        self._counts.append(len(labels))

    def finish(self) -> tuple[tuple[str, ...], np.ndarray]:
        """Returns the names and numbers of `LineLabels`."""
        if not self._numbers:
            raise ValueError("No line has a label.")
        names = tuple(sorted(self._numbers))
        table = np.empty(len(names), np.int32)
        table[[self._numbers[name] for name in names]] = np.arange(len(names))
        counts = np.frombuffer(self._counts, np.int32)
        numbers = np.full((len(counts), counts.max()), NO_SYMBOL, np.int32)
        numbers[np.arange(numbers.shape[1]) < counts[:, np.newaxis]] = table[
            self._found
        ]
        return names, _without_gaps(numbers)


def label_ids(known: Sequence[str], labels: Iterable[str], size: int) -> list[int]:
    """Returns the id of each label.

    Args:
        known: Sequence of str. The labels of a model.
        labels: Iterable of str.
        size: int. Number of tokens of the tokenizer.

    Raises:
        ValueError: A label is not known; the message lists those that are.
    """
    ids = {name: size + number for number, name in enumerate(known)}
    for label in labels:
        if label not in ids:
            named = ", ".join(map(quoted, known[:_MAX_NAMED]))
            more = len(known) - _MAX_NAMED
            raise ValueError(
                f"The model has no label {quoted(label)}. It has "
                + (
                    f"{named}{f' and {more:,} more' if more > 0 else ''}."
                    if known
                    else "no labels at all."
                )
            )
    return [ids[label] for label in labels]


def check_names(names: Iterable[str]) -> tuple[str, ...]:
    """Returns the labels of a model.

    Raises:
        ValueError: They are no labels, or one is there twice.
    """
    if isinstance(names, str):
        raise ValueError(f"labels={quoted(names)} must be a sequence of str.")
    names = tuple(names)
    for name in names:
        if check_name(name) != name.strip():
            raise ValueError(f"The label {quoted(name)} has spaces around it.")
    if len(set(names)) < len(names) or len(names) > MAX_LABELS:
        raise ValueError(
            f"The labels must be different, and at most {MAX_LABELS:,}; there are "
            f"{len(names):,}, and {len(set(names)):,} different ones."
        )
    return names


def check_name(label: object) -> str:
    """Returns a label; raises ValueError if it is none."""
    if not isinstance(label, str) or not 0 < len(label) <= MAX_LENGTH:
        raise ValueError(
            f"The label {quoted(label)} must be a str of 1 to {MAX_LENGTH} characters."
        )
    return label


def _as_labels(row: object) -> list[str]:
    """Returns the different labels of a line, without empty ones."""
    labels = [row] if isinstance(row, str) or row is None else row
    if not isinstance(labels, Iterable):
        raise ValueError(f"The label {quoted(row)} must be a str.")
    kept: dict[str, None] = {}
    for each in labels:
        if each is None or (isinstance(each, str) and not each.strip()):
            continue
        kept[each.strip() if isinstance(each, str) else check_name(each)] = None
    return list(kept)


def _without_gaps(numbers: np.ndarray) -> np.ndarray:
    """Returns each row in ascending order, with -1 at its end."""
    last = np.iinfo(numbers.dtype).max
    numbers = np.sort(np.where(numbers < 0, last, numbers), axis=1)
    return np.where(numbers == last, NO_SYMBOL, numbers).astype(np.int32)
