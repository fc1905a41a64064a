"""The norm of the gradient, which a training step adds to its logs.

Keras gives the gradient to the optimizer and to nobody else. While a step is traced, a
method of the optimizer is therefore replaced by one that computes the norm first.
"""

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import keras
from keras import ops

from textgen import backend

NAME = "gradient_norm"


@contextlib.contextmanager
def recorded(optimizer: Any) -> Iterator[list]:
    """Computes the norm of each gradient that an optimizer gets in the `with` block.

    Args:
        optimizer: Keras optimizer.

    Yields:
        A list, which gets a scalar for each gradient: the square root of the sum of the
        squares of all components, before clipping, and without the factor of mixed
        precision.
    """
    norms: list = []
    jax = keras.backend.backend() == "jax"
    name = "stateless_apply" if jax else "apply"
    original = getattr(optimizer, name)

    def apply(*arguments: Any, **options: Any) -> Any:
        scope: Any = contextlib.nullcontext()
        if jax:  # `(optimizer_variables, gradients, trainable_variables)`
            values, gradients = arguments[:2]
            mapping = zip(optimizer.variables, values, strict=True)
            scope = keras.StatelessScope(state_mapping=[*mapping])
        else:
            gradients = arguments[0]
        with scope:
            norms.append(_norm(gradients) / _factor(optimizer))
        return original(*arguments, **options)

    # Not with `setattr`, by which Keras tracks what an object consists of.
    vars(optimizer)[name] = apply
    try:
        yield norms
    finally:
        del vars(optimizer)[name]


def added(result: Any, norms: list) -> Any:
    """Returns the result of `train_step`, with the norm in its logs."""
    logs, *state = result if isinstance(result, tuple) else (result,)
    logs = {**logs, NAME: norms[-1]} if norms else logs
    return (logs, *state) if state else logs


def _norm(gradients: Any) -> Any:
    squares = [
        ops.sum(ops.square(_wide(backend.dense(each))))
        for each in gradients
        if each is not None
    ]
    return ops.sqrt(sum(squares[1:], squares[0]))


def _wide(gradient: Any) -> Any:
    narrow = keras.backend.standardize_dtype(gradient.dtype) in ("float16", "bfloat16")
    return ops.cast(gradient, "float32") if narrow else gradient


def _factor(optimizer: Any) -> Any:
    """Returns the factor of the loss that keeps gradients of 16 bits above zero."""
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return ops.convert_to_tensor(optimizer.dynamic_scale)
    return optimizer.loss_scale_factor or 1.0


class Mean:
    """Mean of the norms of an epoch.

    Steps that mixed precision skips, because the gradient is infinite, do not count.
    """

    def __init__(self) -> None:
        self.state: dict[str, Any] = {"sum": 0.0, "steps": 0}

    def add(self, logs: dict | None) -> None:
        """Adds the norm in the logs of a step, if there is one."""
        norm = (logs or {}).get(NAME)
        if norm is not None and math.isfinite(norm):
            self.state["sum"] += float(norm)
            self.state["steps"] += 1

    @property
    def value(self) -> float | None:
        """The mean; `None` without a step."""
        steps = self.state["steps"]
        return self.state["sum"] / steps if steps else None
