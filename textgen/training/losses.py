"""The cross-entropy loss of a language model, and its helpers.

Targets are ids of shape `(N,)` or `(N, T)`, or rows of shape `(N, V)` or `(N, T, V)`:
one-hot vectors, or distributions over the vocabulary as floats. Predictions are logits
or probabilities, `(N, V)` or `(N, T, V)`. The target id -1, or a row of zeros, means
"no target": loss and metrics ignore it.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from textgen import keras_internals
from textgen.text.tokenizer import NO_SYMBOL


@keras.saving.register_keras_serializable(package="textgen")
class CrossEntropy(keras.losses.Loss):
    """Cross-entropy in nats, for targets as ids or distributions.

    The rank of the targets decides between ids and distributions. This is the default
    loss of `LanguageModel.compile`. Its value is the weighted mean over the targets of
    a batch: the sum of weight times nats, divided by the sum of the weights.

    Args:
        reduction: As in `keras.losses.Loss`; `"sum"` adds the nats of a batch. Defaults
            to `"mean_with_sample_weight"`, the mean over all existing targets;
            `"sum_over_batch_size"` means the same here.
        name: str. Defaults to `"cross_entropy"`.
        dtype: Dtype of the computation, at least float32. Defaults to
            `keras.config.floatx()`.
        from_logits: bool or `None`. Whether predictions are logits (`True`) or
            probabilities (`False`). `None` means the output of the model that is
            compiled with the loss, and logits outside a model. Defaults to `None`.

    Raises:
        ValueError: The shape of the targets or of the weights does not fit the shape of
            the predictions.
    """

    def __init__(
        self,
        reduction: str = "mean_with_sample_weight",
        name: str = "cross_entropy",
        dtype: Any = None,
        from_logits: bool | None = None,
    ) -> None:
        # The base class also casts the targets, and half precision would round ids.
        dtype = keras.backend.result_type(dtype or keras.config.floatx(), "float32")
        if reduction == "sum_over_batch_size":
            reduction = "mean_with_sample_weight"
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.from_logits = from_logits

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Returns the loss of a batch.

        Args:
            y_true: Targets; see the module docstring.
            y_pred: Predictions; see the module docstring.
            sample_weight: `None`, or weights of examples, `(N,)` or `(N, 1)`, or of
                targets, `(N, T)`.
        """
        y_true = targets_of(y_true, y_pred)
        weights = target_weights(y_true, y_pred, sample_weight, self.dtype)
        return super().__call__(y_true, y_pred, sample_weight=weights)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns the nats of each target, in the shape of the ids; 0 for no target."""
        return cross_entropies(y_true, y_pred, self.from_logits)

    def get_config(self) -> dict:
        """Returns the arguments of the constructor."""
        return {
            **super().get_config(),
            "dtype": self.dtype,
            "from_logits": self.from_logits,
        }


def cross_entropies(y_true: Any, y_pred: Any, from_logits: bool | None) -> Any:
    """Returns the nats of each target.

    Args:
        y_true: Result of `targets_of`, of any dtype.
        y_pred: float tensor of shape `(…, V)`.
        from_logits: bool or `None`. See `CrossEntropy`.

    Returns:
        Tensor of the shape of `y_pred` without its last axis; 0 for no target.
    """
    if from_logits is False:
        y_pred = log_of(y_pred)
    if len(y_true.shape) == len(y_pred.shape):
        y_true = ops.cast(y_true, y_pred.dtype)
        return -ops.sum(y_true * ops.log_softmax(y_pred, axis=-1), axis=-1)
    ids = ops.cast(y_true, "int32")
    nats = ops.sparse_categorical_crossentropy(
        ops.maximum(ids, 0), y_pred, from_logits=True
    )
    return ops.where(ids == NO_SYMBOL, 0, nats)


def log_of(probabilities: Any) -> Any:
    """Returns the logarithms of probabilities, in at least float32.

    Probabilities that were rounded to 0 get a finite logarithm, so they stay possible.
    """
    dtype = keras.backend.result_type(probabilities.dtype, "float32")
    least = float(np.finfo(dtype).tiny)
    return ops.log(ops.maximum(ops.cast(probabilities, dtype), least))


def target_weights(
    y_true: Any, y_pred: Any, sample_weight: Any, dtype: Any, mask: Any = None
) -> Any:
    """Returns the weight of each target; 0 for no target.

    Args:
        y_true: Result of `targets_of`.
        y_pred: Predictions, `(…, V)`.
        sample_weight: `None`, weights of examples, `(N,)` or `(N, 1)`, or of targets,
            `(N, T)`.
        dtype: Dtype of the result.
        mask: bool tensor or `None`. Mask of the predictions, as Keras's layers create
            it. Defaults to `None`, the mask that is attached to `y_pred`.

    Returns:
        Tensor of the shape of `y_pred` without its last axis.

    Raises:
        ValueError: The weights have another shape.
    """
    if len(y_true.shape) == len(y_pred.shape):
        known = ops.any(ops.cast(y_true, "bool"), axis=-1)
    else:
        known = y_true != NO_SYMBOL
    weights = ops.cast(known, dtype)
    mask = keras_internals.mask_of(y_pred) if mask is None else mask
    if mask is not None and len(mask.shape) == len(weights.shape):
        weights = weights * ops.cast(mask, dtype)
    if sample_weight is None:
        return weights
    return weights * weights_like(ops.cast(sample_weight, dtype), weights)


def weights_like(sample_weight: Any, targets: Any) -> Any:
    """Returns weights in a shape that broadcasts to the shape of the targets.

    Args:
        sample_weight: Tensor of weights of examples, `(N,)` or `(N, 1)`, of targets,
            `(N, T)`, or one weight for all, `()`.
        targets: Tensor of shape `(N,)` or `(N, T)`.

    Raises:
        ValueError: The weights have another shape.
    """
    wanted = tuple(targets.shape)
    if getattr(sample_weight.shape, "rank", 0) is None:
        # TensorFlow traced the graph for weights of several shapes.
        return ops.reshape(sample_weight, (ops.shape(targets)[0], -1)[: len(wanted)])
    shape = tuple(sample_weight.shape)
    if not shape:
        return sample_weight
    if len(shape) == len(wanted) + 1 and shape[-1] == 1:  # (N, 1) for (N,)
        sample_weight, shape = ops.squeeze(sample_weight, -1), shape[:-1]
    if len(shape) == 1 and len(wanted) == 2:  # (N,) for (N, T)
        sample_weight, shape = ops.expand_dims(sample_weight, -1), (*shape, 1)
    if len(shape) != len(wanted) or any(
        a not in (1, b) for a, b in zip(shape, wanted, strict=True) if a and b
    ):
        raise ValueError(
            f"Weights of shape {shape} do not fit targets of shape {wanted}: pass one "
            "weight per example, shape (batch,), or one weight per target."
        )
    return sample_weight


def targets_of(y_true: Any, y_pred: Any) -> Any:
    """Converts targets of any supported form to ids or distributions.

    Args:
        y_true: Ids, `(…)` or `(…, 1)`, or one-hot rows or distributions, `(…, V)`.
        y_pred: Predictions, `(…, V)`.

    Returns:
        int32 ids of shape `(…)`, -1 for no target. Floats of shape `(…, V)` are
        returned unchanged.

    Raises:
        ValueError: The shapes of targets and predictions do not fit.
    """
    y_true = ops.convert_to_tensor(y_true)
    shape, wanted = tuple(y_true.shape), tuple(y_pred.shape)
    rows = len(shape) == len(wanted) and shape[-1] == wanted[-1] != 1
    if len(shape) == len(wanted) and shape[-1] == 1:
        y_true, shape = ops.squeeze(y_true, -1), shape[:-1]
    leading = shape[:-1] if rows else shape
    # In a graph, a size of None is not known yet.
    if len(leading) != len(wanted) - 1 or any(
        a != b for a, b in zip(leading, wanted[:-1], strict=True) if a and b
    ):
        raise ValueError(
            f"Targets of shape {shape} do not fit logits of shape {wanted}. A "
            "many-to-one model (return_sequences=False) needs ids (batch,) or one-hot "
            "(batch, vocabulary), as from WindowDataset or vectorize; a many-to-many "
            "model (return_sequences=True) needs ids (batch, steps), as from "
            "SequenceDataset or LineDataset."
        )
    if not rows:
        return ops.cast(y_true, "int32")
    if keras.backend.is_float_dtype(y_true.dtype):
        return y_true
    ids = ops.cast(ops.argmax(y_true, axis=-1), "int32")
    return ops.where(ops.any(ops.cast(y_true, "bool"), axis=-1), ids, NO_SYMBOL)


def weights_by_id(given: dict[int, float], size: int, dtype: str) -> np.ndarray:
    """Returns the weight of each id, `(V,)`; 1 for ids without a given weight.

    Args:
        given: dict. The argument `class_weight` of `fit`.
        size: int. Number of tokens of the vocabulary.
        dtype: str. Dtype of the result.

    Raises:
        ValueError: A key is not an id of the vocabulary, or a weight is out of range.
    """
    weights = np.ones(size, dtype)
    for index, value in given.items():
        if not isinstance(index, int | np.integer) or not 0 <= index < size:
            raise ValueError(
                f"class_weight has the key {index!r}, but its keys must be ids from 0 "
                f"to {size - 1}: use vocabulary.ids[symbol]."
            )
        if not 0 <= value < float("inf"):
            raise ValueError(
                f"class_weight[{index}]={value} must be finite and at least 0."
            )
        weights[index] = value
    return weights


def class_weights(weights: Any, y_true: Any, rank: int) -> Any:
    """Returns the class weight of each target.

    Args:
        weights: float tensor of shape `(V,)`. Weight of each id.
        y_true: Targets: ids, one-hot rows, or distributions. The most probable id of a
            distribution decides.
        rank: int. Number of axes of targets in the form of ids.

    Returns:
        Tensor of the shape of the ids; 1 for no target.
    """
    y_true = ops.convert_to_tensor(y_true)
    if len(y_true.shape) > rank:
        if y_true.shape[-1] == 1:
            y_true = ops.squeeze(y_true, -1)
        else:
            y_true = ops.argmax(y_true, axis=-1)
    ids = ops.cast(y_true, "int32")
    found = ops.take(weights, ops.maximum(ids, 0), axis=0)
    return ops.where(ids < 0, 1, found)


def weighted(data: Any, weights: np.ndarray, rank: int) -> tuple[Any, Any, Any]:
    """Returns a batch whose sample weights are multiplied by class weights.

    Args:
        data: Batch, as in `train_step` of Keras.
        weights: float array of shape `(V,)`. Weight of each id.
        rank: int. Number of axes of targets in the form of ids.
    """
    x, y, given = keras.utils.unpack_x_y_sample_weight(data)
    by_class = class_weights(ops.convert_to_tensor(weights), y, rank)
    if given is not None:
        by_class = by_class * weights_like(ops.cast(given, by_class.dtype), by_class)
    return x, y, by_class
