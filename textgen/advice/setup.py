"""All choices of a training: kind of data, network, optimizer."""

import dataclasses
import math
import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from textgen.datasets import LineDataset, SequenceDataset, WindowDataset
from textgen.lines import Lines, end_of_line, lines_of_corpus
from textgen.models.language_model import LanguageModel
from textgen.text.prepared import PreparedCorpus
from textgen.text.splits import split, split_line_numbers
from textgen.text.tokenizer import Tokenizer

WINDOW = 40  # default sequence length, in tokens

LONG_LINE = 64  # tokens; by default, no line up to this length is cut

LABEL_DROPOUT = 0.1  # share of the lines whose labels are left out in an epoch

# A pass of at least so many batches has a multiple of so many batches.
PARTS = ((100_000, 1200), (10_000, 120), (1000, 12))


@dataclasses.dataclass(frozen=True)
class Setup:
    """All choices of a training. The defaults are those of the courses.

    Attributes:
        kind: `"windows"` (many-to-one), `"sequences"` (many-to-many on running text)
            or `"lines"` (many-to-many, each line a text of its own).
        cell, units, embedding, tie_weights, layer_norm, dropout, recurrent_dropout,
            weight_dropout: As for `LanguageModel`.
        stateful: bool. With `"sequences"`: whether batches continue each other, and the
            state is carried.
        sequence_length: int or `None`. As for the dataset. `None` is 40, or with
            `"lines"` the length of usual lines.
        sequence_stride: int. As for `WindowDataset`.
        batch_size: int.
        learning_rate: float. Adam's; the highest one of a schedule.
        beta_2: float. Adam's.
        weight_decay: float. Adam's decoupled weight decay; 0 switches it off.
        clip_value: float or `None`. Limit of each component of the gradients.
        clip_norm: float or `None`. Limit of the norm of all gradients together.
        gradient_accumulation_steps: int. As for Keras's optimizers.
        precision: str. A dtype policy of Keras.
        sampled_softmax: int. As for `LanguageModel.compile`; 0 switches it off.
    """

    kind: str = "windows"
    cell: str = "lstm"
    units: Sequence[int] = (128,)
    embedding: int | None = None
    tie_weights: bool = False
    layer_norm: bool = False
    dropout: float = 0.0
    recurrent_dropout: float = 0.0
    weight_dropout: float = 0.0
    stateful: bool = False
    sequence_length: int | None = None
    sequence_stride: int = 3
    batch_size: int = 128
    learning_rate: float = 1e-3
    beta_2: float = 0.999
    weight_decay: float = 0.0
    clip_value: float | None = 5.0
    clip_norm: float | None = None
    gradient_accumulation_steps: int = 1
    precision: str = "float32"
    sampled_softmax: int = 0

    def model_arguments(self, length: int | None = None) -> dict[str, Any]:
        """Returns the arguments of `LanguageModel`, apart from the vocabulary.

        Args:
            length: int or `None`. The sequence length, if `sequence_length` is `None`.
        """
        return {
            "cell": self.cell,
            "units": tuple(self.units),
            "dropout": self.dropout,
            "recurrent_dropout": self.recurrent_dropout,
            "weight_dropout": self.weight_dropout,
            "embedding": self.embedding,
            "layer_norm": self.layer_norm,
            "tie_weights": self.tie_weights,
            "return_sequences": self.kind != "windows",
            "stateful": self.stateful,
            "batch_size": self.batch_size if self.stateful else None,
            "sequence_length": self.sequence_length or length or WINDOW,
            "dtype": self.precision,
        }

    def model(
        self,
        vocabulary: Tokenizer,
        length: int | None = None,
        labels: Sequence[str] = (),
    ) -> LanguageModel:
        """Builds the model, not compiled.

        Args:
            vocabulary: `Vocabulary`.
            length: int or `None`. As for `model_arguments`.
            labels: Sequence of str. The labels of the lines. Defaults to none.
        """
        arguments = self.model_arguments(length)
        return LanguageModel(vocabulary, labels=labels, **arguments)

    def optimizer(self, rate: Any = None) -> keras.optimizers.Optimizer:
        """Returns the optimizer.

        Args:
            rate: float, schedule, or `None` for `learning_rate`.
        """
        accumulated = self.gradient_accumulation_steps
        return keras.optimizers.Adam(
            self.learning_rate if rate is None else rate,
            beta_2=self.beta_2,
            clipvalue=self.clip_value,
            global_clipnorm=self.clip_norm,
            weight_decay=self.weight_decay or None,
            gradient_accumulation_steps=accumulated if accumulated > 1 else None,
        )

    def split(
        self,
        corpus: PreparedCorpus,
        validation: float = 0.1,
        seed: int = 0,
        labels: Sequence[str] | None = None,
    ) -> tuple[Any, Any]:
        """Splits a corpus into a part for training and a held-out part.

        Args:
            corpus: `PreparedCorpus`. Its ids are not copied.
            validation: float in [0, 1). Share of the lines, drawn with the seed, for
                `"lines"`; otherwise of the tokens, at the end of the text.
            seed: int. Seed of the split of lines.
            labels: Sequence of str, or `None`. The labels of a model that has others
                than the corpus, too. Defaults to `None`, those of the corpus.

        Returns:
            A tuple `(train, validation)` for `datasets`: arrays of ids, or `Lines`.
            `validation` is `None` for a share of 0.

        Raises:
            ValueError: `validation` is out of range, the text has no lines, or
                the corpus has a label that is not in `labels`, or labels without lines.
        """
        if self.kind != "lines":
            if corpus.labels is not None:
                raise ValueError(
                    f"The corpus has labels, which belong to lines: kind={self.kind!r} "
                    "must be 'lines'."
                )
            parts = split(corpus.ids, validation)
            return parts[0], parts[1] if validation else None
        lines = lines_of_corpus(corpus, labels)
        numbers = split_line_numbers(len(lines), validation, seed)
        if not len(numbers[0]) or (validation and not len(numbers[1])):
            raise ValueError(
                f"The text has {len(lines)} lines: too few to hold out "
                f"validation={validation} of them."
            )
        held_out = lines.take(numbers[1]) if validation else None
        return lines.take(numbers[0]), held_out

    def datasets(
        self,
        train: np.ndarray | Lines,
        validation: np.ndarray | Lines | None,
        vocabulary: Tokenizer,
        seed: int = 0,
    ) -> tuple[Any, Any, int]:
        """Builds the datasets of training and validation.

        Args:
            train: integer array of shape `(tokens,)`, or for `"lines"` also `Lines`.
            validation: the same, or `None`.
            vocabulary: `Tokenizer`. It knows the newline, for `"lines"`.
            seed: int. Seed of the order.

        Returns:
            A tuple `(train, validation, sequence_length)`; `validation` is `None`
            without ids.

        Raises:
            ValueError: A part of the text is too short for a batch, or has no lines.
        """
        length = self.sequence_length or WINDOW
        try:
            if self.kind == "lines":
                train = _as_lines(train, vocabulary)
                length = self.sequence_length or usual_length(train.lengths)
            dataset = self._dataset(train, length, seed)
        except ValueError as error:
            raise ValueError(f"The training part of the text: {error}") from error
        if validation is None:
            return dataset, None, length
        try:
            if self.kind == "lines":
                validation = _as_lines(validation, vocabulary)
            held_out = self._dataset(validation, length, seed, True)
        except ValueError as error:
            raise ValueError(f"The validation part of the text: {error}") from error
        return dataset, held_out, length

    def _dataset(
        self,
        ids: Any,
        length: int,
        seed: int,
        held_out: bool = False,
    ) -> Any:
        rows = self.batch_size
        if self.kind == "lines":
            return _line_dataset(ids, length, rows, seed, held_out)
        if self.kind == "windows":
            return WindowDataset(ids, length, self.sequence_stride, rows, seed=seed)
        if not self.stateful:
            if held_out:  # a short text must fill one batch
                rows = max(1, min(rows, len(ids) // (2 * length)))
            return SequenceDataset(ids, length, rows, seed=seed)
        if held_out:
            # Few rows, because each one starts from a zero state; long sequences, which
            # are read faster.
            rows = max(1, min(rows, 8, len(ids) // (4 * length)))
            length = min(8 * length, max(1, len(ids) // rows - 1))

        def continuing(ids: np.ndarray) -> SequenceDataset:
            return SequenceDataset(
                ids,
                length,
                rows,
                sampling="consecutive",
                random_offset=not held_out,
                seed=seed,
            )

        dataset = continuing(ids)
        parts = next((parts for many, parts in PARTS if len(dataset) >= many), 1)
        extra = len(dataset) % parts
        if held_out or not extra:
            return dataset
        # `fit` can evaluate a stateful model after a divisor of the batches only. The
        # last few batches of a long text are worth less than that.
        steps = (len(dataset) - extra) * length
        return continuing(ids[: rows * (steps + 1) + length - 1])


def usual_length(lengths: np.ndarray) -> int:
    """Returns the length in tokens at which longer lines are cut by default.

    A few very long lines would take most of the time.

    Args:
        lengths: integer array of shape `(lines,)`. Tokens of each line.
    """
    return max(LONG_LINE, math.ceil(2 * np.percentile(lengths, 99)))


def _as_lines(part: Any, vocabulary: Tokenizer) -> Lines:
    """Returns the lines of a part of a text."""
    if isinstance(part, Lines):
        return part
    return Lines(part, end_of_line(vocabulary))


def _line_dataset(
    lines: Lines, length: int, rows: int, seed: int, held_out: bool
) -> LineDataset:
    """Builds a dataset of lines; warns if some lines are cut."""
    longest = int(lines.lengths.max()) + 1
    dataset = LineDataset(
        lines.ids,
        lines.end_of_line,
        min(length, longest),
        batch_size=rows,
        seed=seed,
        lines=lines,
        label_dropout=0.0 if held_out else LABEL_DROPOUT,
    )
    if dataset.num_cut:
        warnings.warn(
            f"{dataset.num_cut:,} of {dataset.num_examples:,} lines are longer than "
            f"{length:,} tokens and are cut there (sequence_length sets another "
            "length)",
            stacklevel=2,
        )
    return dataset
