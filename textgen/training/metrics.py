"""Metrics of a language model: means over all targets of all batches.

Shapes of targets and predictions: see `textgen.training.losses`.
"""

import math
from typing import Any

import keras
from keras import ops

from textgen import keras_internals
from textgen.training.losses import (
    cross_entropies,
    target_weights,
    targets_of,
)


class WeightedMean(keras.metrics.Metric):
    """Weighted mean that stays exact over billions of values.

    Each of the two sums (values and weights) is stored as the unevaluated sum of two
    floats (Knuth, "The Art of Computer Programming" 2, section 4.2.2), because float32
    has 24 bits and cannot add 1 to 16,777,216. A saved model does not contain the sums.
    """

    def __init__(self, name: str, dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)
        for part in ("total", "count"):
            for digits in ("high", "low"):
                name = f"{part}_{digits}"
                setattr(
                    self,
                    name,
                    self.add_variable((), "zeros", dtype=self.dtype, name=name),
                )

    def update_state(self, value: Any, weight: Any) -> None:
        """Adds the mean of a batch and its weight; both are scalars."""
        weight = ops.cast(weight, self.dtype)
        self.add(ops.cast(value, self.dtype) * weight, weight)

    def add(self, total: Any, count: Any) -> None:
        """Adds a weighted sum of values and the sum of weights; both are scalars."""
        for part, added in (("total", total), ("count", count)):
            high, low = getattr(self, f"{part}_high"), getattr(self, f"{part}_low")
            before = ops.convert_to_tensor(high)
            after = before + added
            of_added = after - before
            lost = (before - (after - of_added)) + (added - of_added)
            low.assign_add(lost)
            high.assign(after)

    def result(self) -> Any:
        """Returns the mean so far; 0 if the sum of the weights is 0."""
        return ops.divide_no_nan(
            self.total_high + self.total_low, self.count_high + self.count_low
        )

    def save_own_variables(self, store: Any) -> None:
        """Saves nothing."""

    def load_own_variables(self, store: Any) -> None:
        """Loads nothing."""


class _MeanOverTargets(WeightedMean):
    """Base class: mean of a value over all targets of all batches."""

    def __init__(
        self, name: str, dtype: Any = None, from_logits: bool | None = None
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self.from_logits = from_logits

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds a batch; weights may be per target or per example."""
        mask = keras_internals.mask_of(y_pred)
        y_pred = ops.cast(y_pred, self.dtype)
        y_true = targets_of(y_true, y_pred)
        weights = target_weights(y_true, y_pred, sample_weight, self.dtype, mask)
        values = ops.cast(self._values(y_true, y_pred), self.dtype)
        self.add(ops.sum(values * weights), ops.sum(weights))

    def _values(self, y_true: Any, y_pred: Any) -> Any:
        """Returns the averaged values, in the shape of the ids: nats by default."""
        return cross_entropies(y_true, y_pred, self.from_logits)

    def get_config(self) -> dict:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "from_logits": self.from_logits}


@keras.saving.register_keras_serializable(package="textgen")
class Accuracy(_MeanOverTargets):
    """Fraction of targets whose logit is the largest.

    Args:
        name: str. Defaults to `"accuracy"`.
        dtype: Dtype of the computation. Defaults to `keras.config.floatx()`.
        from_logits: bool or `None`. As for `CrossEntropy`.
    """

    def __init__(
        self,
        name: str = "accuracy",
        dtype: Any = None,
        from_logits: bool | None = None,
    ) -> None:
        super().__init__(name, dtype, from_logits)

    def _values(self, y_true: Any, y_pred: Any) -> Any:
        if len(y_true.shape) == len(y_pred.shape):
            y_true = ops.argmax(y_true, axis=-1)
        return ops.argmax(y_pred, axis=-1) == ops.cast(y_true, "int32")


@keras.saving.register_keras_serializable(package="textgen")
class MeanCrossEntropy(_MeanOverTargets):
    """Mean cross-entropy in nats per target, over all targets.

    Args:
        name: str. Defaults to `"cross_entropy"`.
        dtype: Dtype of the computation. Defaults to `keras.config.floatx()`.
        from_logits: bool or `None`. As for `CrossEntropy`.
    """

    def __init__(
        self,
        name: str = "cross_entropy",
        dtype: Any = None,
        from_logits: bool | None = None,
    ) -> None:
        super().__init__(name, dtype, from_logits)


@keras.saving.register_keras_serializable(package="textgen")
class Perplexity(_MeanOverTargets):
    """Perplexity: exp of the mean cross-entropy in nats, over all targets.

    Args:
        name: str. Defaults to `"perplexity"`.
        dtype: Dtype of the computation. Defaults to `keras.config.floatx()`.
        from_logits: bool or `None`. As for `CrossEntropy`.
    """

    def __init__(
        self,
        name: str = "perplexity",
        dtype: Any = None,
        from_logits: bool | None = None,
    ) -> None:
        super().__init__(name, dtype, from_logits)

    def result(self) -> Any:
        """Returns the perplexity over the batches so far."""
        return ops.exp(super().result())


@keras.saving.register_keras_serializable(package="textgen")
class BitsPerCharacter(_MeanOverTargets):
    """Mean cross-entropy in bits per target: nats divided by ln 2.

    If tokens are words, bytes or subwords, these are bits per token.

    Args:
        name: str. Defaults to `"bits_per_character"`.
        dtype: Dtype of the computation. Defaults to `keras.config.floatx()`.
        from_logits: bool or `None`. As for `CrossEntropy`.
    """

    def __init__(
        self,
        name: str = "bits_per_character",
        dtype: Any = None,
        from_logits: bool | None = None,
    ) -> None:
        super().__init__(name, dtype, from_logits)

    def result(self) -> Any:
        """Returns the bits per character over the batches so far."""
        return super().result() / math.log(2)
