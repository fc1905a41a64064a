"""The cross-entropy of a language model, as a loss, and what is derived from it.

Targets are ids of shape `(N,)` or `(N, T)`, or one-hot of shape `(N, V)` or
`(N, T, V)`; predictions are logits, `(N, V)` or `(N, T, V)`. The target id -1, or a
one-hot row of zeros, is left out everywhere.
"""

import math
from typing import Any

import keras
from keras import ops

from textgen.vocabulary import NO_SYMBOL


@keras.saving.register_keras_serializable(package="textgen")
class CrossEntropy(keras.losses.Loss):
    """Cross-entropy from logits in nats, for targets as ids or one-hot.

    What the targets are is seen from their rank. This is the loss that
    `LanguageModel.compile` picks.

    Args:
        reduction: As in `keras.losses.Loss`; `"sum"` adds up the nats of a batch.
            Defaults to `"sum_over_batch_size"`, the mean over all targets but those
            left out.
        name: str. Defaults to `"cross_entropy"`.
        dtype: Dtype of the computation, at least float32. Defaults to
            `keras.config.floatx()`.

    Raises:
        ValueError: The shape of the targets does not fit that of the logits.
    """

    def __init__(
        self,
        reduction: str = "sum_over_batch_size",
        name: str = "cross_entropy",
        dtype: Any = None,
    ) -> None:
        # The base class casts the targets too, and half precision rounds ids.
        dtype = keras.backend.result_type(dtype or keras.config.floatx(), "float32")
        super().__init__(name=name, reduction=reduction, dtype=dtype)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns nats, of the shape of the ids; 0 where there is no target."""
        # Keras attaches the mask of ignored targets to the result; the reduction of
        # the base class reads it there.
        return keras.losses.sparse_categorical_crossentropy(
            target_ids(y_true, y_pred), y_pred, from_logits=True, ignore_class=NO_SYMBOL
        )

    def get_config(self) -> dict:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "dtype": self.dtype}


class _MeanOverTargets(keras.metrics.Metric):
    """Base class: the mean of something over all targets of all batches."""

    def __init__(self, name: str, dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)
        self.total = self.add_variable((), "zeros", dtype=self.dtype, name="total")
        self.count = self.add_variable((), "zeros", dtype=self.dtype, name="count")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds a batch; weights are for one target or one example each."""
        y_pred = ops.cast(y_pred, self.dtype)
        ids = target_ids(y_true, y_pred)
        weights = ops.cast(ids != NO_SYMBOL, self.dtype)
        if sample_weight is not None:
            sample_weight = ops.cast(sample_weight, self.dtype)
            # As many axes as the targets have: (N, 1) for (N,), or (N,) for (N, T).
            shape = (*ops.shape(sample_weight), 1)[: len(weights.shape)]
            weights *= ops.reshape(sample_weight, shape)
        self.total.assign_add(ops.sum(self._values(ids, y_pred) * weights))
        self.count.assign_add(ops.sum(weights))

    def _values(self, ids: Any, y_pred: Any) -> Any:
        """What the mean is of, of the shape of the ids: nats here."""
        return keras.losses.sparse_categorical_crossentropy(
            ids, y_pred, from_logits=True, ignore_class=NO_SYMBOL
        )

    def result(self) -> Any:
        """Returns the mean over the batches so far."""
        return ops.divide_no_nan(self.total, self.count)


@keras.saving.register_keras_serializable(package="textgen")
class Accuracy(_MeanOverTargets):
    """The share of targets to which the largest logit belongs.

    Args:
        name: str. Defaults to `"accuracy"`.
        dtype: Dtype of the computation. Defaults to `keras.config.floatx()`.
    """

    def __init__(self, name: str = "accuracy", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)

    def _values(self, ids: Any, y_pred: Any) -> Any:
        best = ops.cast(ops.argmax(y_pred, axis=-1), "int32")
        return ops.cast(best == ids, self.dtype)


@keras.saving.register_keras_serializable(package="textgen")
class MeanCrossEntropy(_MeanOverTargets):
    """Mean cross-entropy in nats a target, over all targets.

    Args:
        name: str. Defaults to `"cross_entropy"`.
        dtype: Dtype of the computation. Defaults to `keras.config.floatx()`.
    """

    def __init__(self, name: str = "cross_entropy", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)


@keras.saving.register_keras_serializable(package="textgen")
class Perplexity(_MeanOverTargets):
    """Perplexity: exp of the mean cross-entropy in nats, over all targets.

    Args:
        name: str. Defaults to `"perplexity"`.
        dtype: Dtype of the computation. Defaults to `keras.config.floatx()`.
    """

    def __init__(self, name: str = "perplexity", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)

    def result(self) -> Any:
        """Returns the perplexity over the batches so far."""
        return ops.exp(super().result())


@keras.saving.register_keras_serializable(package="textgen")
class BitsPerCharacter(_MeanOverTargets):
    """Mean cross-entropy in bits a target: nats divided by ln 2.

    At word level it is bits a word.

    Args:
        name: str. Defaults to `"bits_per_character"`.
        dtype: Dtype of the computation. Defaults to `keras.config.floatx()`.
    """

    def __init__(self, name: str = "bits_per_character", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)

    def result(self) -> Any:
        """Returns the bits a character over the batches so far."""
        return super().result() / math.log(2)


def target_ids(y_true: Any, y_pred: Any) -> Any:
    """Targets as int32 ids of shape `y_pred.shape[:-1]`, whatever they came as."""
    y_true = ops.convert_to_tensor(y_true)
    shape, wanted = tuple(y_true.shape), tuple(y_pred.shape)
    one_hot = len(shape) == len(wanted) and shape[-1] == wanted[-1] != 1
    if len(shape) == len(wanted) and shape[-1] == 1:
        y_true, shape = ops.squeeze(y_true, -1), shape[:-1]
    leading = shape[:-1] if one_hot else shape
    # A size of None is known only when the batch is there.
    if len(leading) != len(wanted) - 1 or any(
        a != b for a, b in zip(leading, wanted[:-1], strict=True) if a and b
    ):
        raise ValueError(
            f"Targets of shape {shape} do not fit logits of shape {wanted}. A "
            "many-to-one model (return_sequences=False) wants the ids (batch,) or "
            "one-hot (batch, vocabulary) that WindowDataset and vectorize make; a "
            "many-to-many model (return_sequences=True) wants the ids (batch, steps) "
            "of SequenceDataset and LineDataset."
        )
    if not one_hot:
        return ops.cast(y_true, "int32")
    ids = ops.cast(ops.argmax(y_true, axis=-1), "int32")
    return ops.where(ops.any(ops.cast(y_true, "bool"), axis=-1), ids, NO_SYMBOL)
