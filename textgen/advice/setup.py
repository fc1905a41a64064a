"""All choices of a training: kind of data, network, optimizer."""

import dataclasses
import math
import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from textgen.datasets import LineDataset, SequenceDataset, WindowDataset
from textgen.models.language_model import LanguageModel
from textgen.text.vocabulary import Vocabulary

WINDOW = 40  # default sequence length, in tokens

LONG_LINE = 64  # tokens; by default, no line up to this length is cut

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

    def model(self, vocabulary: Vocabulary, length: int | None = None) -> LanguageModel:
        """Builds the model, not compiled.

        Args:
            vocabulary: `Vocabulary`.
            length: int or `None`. As for `model_arguments`.
        """
        return LanguageModel(vocabulary, **self.model_arguments(length))

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

    def datasets(
        self,
        train_ids: np.ndarray,
        validation_ids: np.ndarray | None,
        vocabulary: Vocabulary,
        seed: int = 0,
    ) -> tuple[Any, Any, int]:
        """Builds the datasets of training and validation.

        Args:
            train_ids: integer array of shape `(tokens,)`.
            validation_ids: integer array of shape `(tokens,)`, or `None`.
            vocabulary: `Vocabulary`. It knows the newline, for `"lines"`.
            seed: int. Seed of the order.

        Returns:
            A tuple `(train, validation, sequence_length)`; `validation` is `None`
            without ids.

        Raises:
            ValueError: A part of the text is too short for a batch, or has no lines.
        """
        length = self.sequence_length
        if length is None:
            length = WINDOW
            if self.kind == "lines":
                length = usual_length(train_ids, vocabulary)
        try:
            train = self._dataset(train_ids, vocabulary, length, seed)
        except ValueError as error:
            raise ValueError(f"The training part of the text: {error}") from error
        if validation_ids is None:
            return train, None, length
        try:
            held_out = self._dataset(validation_ids, vocabulary, length, seed, True)
        except ValueError as error:
            raise ValueError(f"The validation part of the text: {error}") from error
        return train, held_out, length

    def _dataset(
        self,
        ids: np.ndarray,
        vocabulary: Vocabulary,
        length: int,
        seed: int,
        held_out: bool = False,
    ) -> Any:
        rows = self.batch_size
        if self.kind == "lines":
            return _lines(ids, vocabulary, length, rows, seed)
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


def usual_length(ids: np.ndarray, vocabulary: Vocabulary) -> int:
    """Returns the length in tokens at which longer lines are cut by default.

    All lines of a batch are padded to the longest line of the text, so without a limit
    one line of a megabyte would make every batch a megabyte wide.

    Args:
        ids: integer array of shape `(tokens,)`.
        vocabulary: `Vocabulary`.
    """
    newlines = np.flatnonzero(ids == vocabulary.ids.get("\n", -1))
    lengths = np.diff(newlines, prepend=-1, append=len(ids)) - 1
    usual = np.percentile(lengths[lengths > 0], 99) if lengths.any() else 0
    return max(LONG_LINE, math.ceil(2 * usual))


def _lines(
    ids: np.ndarray, vocabulary: Vocabulary, length: int, rows: int, seed: int
) -> LineDataset:
    """Builds a dataset of lines; warns if some lines are cut."""
    if "\n" not in vocabulary:
        raise ValueError("lines=True needs a text of several lines.")

    def cut_at(steps: int | None) -> LineDataset:
        newline = vocabulary.ids["\n"]
        return LineDataset(ids, newline, steps, batch_size=rows, seed=seed)

    dataset = cut_at(None)
    if dataset.sequence_length <= length:
        return dataset
    dataset = cut_at(length)
    if dataset.num_cut:
        warnings.warn(
            f"{dataset.num_cut:,} of {dataset.num_examples:,} lines are longer than "
            f"{length:,} tokens and are cut there (sequence_length sets another "
            "length)",
            stacklevel=2,
        )
    return dataset
