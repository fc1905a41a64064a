"""Logits to the next id: pure functions, on any backend.

Names of dimensions: N rows, V symbols of the vocabulary.
"""

from typing import Any

import keras
from keras import ops


def sample(logits: Any, uniforms: Any, temperature: Any) -> Any:
    """Draws one id a row from `softmax(logits / temperature)`.

    Args:
        logits: float tensor of shape `(N, V)`; -inf for an id that must not be drawn.
        uniforms: float tensor of shape `(N,)`, uniform on [0, 1): all the randomness
            there is, so equal uniforms give equal ids.
        temperature: float tensor of shape `(N,)`, at least 0. At 0 the id of the
            largest logit is taken, the first of equally large ones.

    Returns:
        int32 tensor of shape `(N,)`.
    """
    logits = at_least_float32(logits)
    temperature = ops.cast(temperature, logits.dtype)
    greedy = temperature == 0
    divisor = ops.expand_dims(ops.where(greedy, 1, temperature), -1)
    # The largest logit is subtracted first: quotients then overflow only to -inf,
    # which is a probability of 0.
    scaled = (logits - ops.max(logits, axis=-1, keepdims=True)) / divisor
    return ops.where(
        greedy, ops.cast(ops.argmax(logits, axis=-1), "int32"), draw(scaled, uniforms)
    )


def draw(logits: Any, uniforms: Any) -> Any:
    """Draws one id a row from `softmax(logits)`, by inverting its cumulative sum.

    Args:
        logits: float tensor of shape `(N, V)`.
        uniforms: float tensor of shape `(N,)`, uniform on [0, 1).

    Returns:
        int32 tensor of shape `(N,)`. An id of probability 0 is never drawn.
    """
    # Not divided by their sum: the sum is the last of the cumulative ones.
    probabilities = ops.exp(logits - ops.max(logits, axis=-1, keepdims=True))
    cumulative = ops.cumsum(probabilities, axis=-1)
    uniforms = ops.cast(ops.expand_dims(uniforms, -1), cumulative.dtype)
    # A rounded sum need not grow monotonically, so ids of probability 0 are ruled out
    # by name, and where no id is left the most probable one is taken.
    beyond = (cumulative > uniforms * cumulative[:, -1:]) & (probabilities > 0)
    return ops.cast(
        ops.where(
            ops.any(beyond, axis=-1),
            ops.argmax(ops.cast(beyond, "int32"), axis=-1),
            ops.argmax(probabilities, axis=-1),
        ),
        "int32",
    )


def at_least_float32(logits: Any) -> Any:
    """Casts half-precision logits to float32, and leaves others as they are."""
    return ops.cast(logits, keras.backend.result_type(logits.dtype, "float32"))
