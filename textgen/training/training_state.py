"""The complete state of a training, as a copy in memory.

A `Snapshot` holds the values of all variables of model, optimizer and metrics, the
notes of the model, the random generators of Python and NumPy, and the states of the
callbacks.
"""

import contextlib
import json
import math
import random
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np

from textgen.training import callback_states


class Snapshot:
    """State of a training after a step.

    Args:
        model: Compiled model.
        facts: dict of JSON values. Position and description of the training.
        callbacks: list of callbacks.

    Attributes:
        training: dict of JSON values, for the file of a checkpoint.
        arrays: dict of arrays, for the same file: states that the model file lacks.
    """

    def __init__(self, model: Any, facts: dict[str, Any], callbacks: list) -> None:
        self._values = [(each, _copy(each)) for each in _variables(model)]
        self._notes = json.dumps(model.notes)
        self.facts = facts
        weights = {id(each) for each in model.trainable_variables}
        metrics = {id(each) for each in model.metrics_variables}
        kept = {id(each) for each in [*model.weights, *model.optimizer.variables]}
        arrays: dict[str, np.ndarray] = {}
        state = {
            "metrics": [value for each, value in self._values if id(each) in metrics],
            # Generators, mainly; `model.save` saves them too.
            "others": [
                value
                for each, value in self._values
                if id(each) not in kept and id(each) not in metrics
            ],
            "random": _random_state(),
            "callbacks": callback_states.states_of(callbacks),
        }
        self.training = {
            **facts,
            "iterations": int(model.optimizer.iterations),
            "fingerprint": checksum(
                [value for each, value in self._values if id(each) in weights]
            ),
            "state": pack(state, arrays),
        }
        self.arrays = arrays

    def not_finite(self) -> str | None:
        """Returns the name of a variable that has an infinite or NaN value."""
        for variable, value in self._values:
            if not _is_finite(value):
                return variable.path
        return None

    def restore(self, model: Any) -> None:
        """Sets the variables and the notes of the model to this state."""
        for variable, value in self._values:
            variable.assign(value)
        model.notes = json.loads(self._notes)

    @contextlib.contextmanager
    def in_model(self, model: Any) -> Iterator[None]:
        """Sets the model to this state inside a `with` block."""
        notes = json.dumps(model.notes)
        try:
            with unchanged(model):
                self.restore(model)
                yield
        finally:
            model.notes = json.loads(notes)


@contextlib.contextmanager
def unchanged(model: Any) -> Iterator[None]:
    """Restores all variables of a training at the end of a `with` block."""
    values = [(each, _copy(each)) for each in _variables(model)]
    try:
        yield
    finally:
        for variable, value in values:
            variable.assign(value)


def check_model(model: Any, training: dict[str, Any], path: Any) -> None:
    """Raises ValueError if a model does not have the weights of a checkpoint."""
    values = [_copy(each) for each in model.trainable_variables]
    iterations = int(model.optimizer.iterations)
    if (checksum(values), iterations) == (
        training["fingerprint"],
        training["iterations"],
    ):
        return
    raise ValueError(
        f"The training continues from {path}, after {training['iterations']:,} steps "
        f"of the optimizer, but this model has other weights or another optimizer "
        f"({iterations:,} steps): load it with textgen.load(checkpoints.last), and do "
        "not compile it again."
    )


def restore_metrics(model: Any, state: dict[str, Any], batch: Any) -> None:
    """Restores the means of loss and metrics of an unfinished epoch.

    Args:
        model: Compiled model.
        state: As `unpack` returned it.
        batch: Tuple of arrays: a batch of the training data.
    """
    for metric in model.metrics:
        if not getattr(metric, "built", True):
            # Keras creates some metrics at the first step only.
            x, y = (_symbolic(array) for array in batch[:2])
            shape = model.compute_output_shape(x.shape)
            metric.build(y, keras.KerasTensor(shape, model.variable_dtype))
    variables, values = model.metrics_variables, state["metrics"]
    if [tuple(each.shape) for each in variables] != [each.shape for each in values]:
        raise ValueError(
            "The training stopped within an epoch, and this model has other metrics: "
            "do not compile it again before the epoch ends."
        )
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def restore_generators(model: Any, state: dict[str, Any]) -> None:
    """Restores the generators of the layers, of Python and of NumPy."""
    metrics = {id(each) for each in model.metrics_variables}
    kept = {id(each) for each in [*model.weights, *model.optimizer.variables]}
    others = [
        each
        for each in _variables(model)
        if id(each) not in kept and id(each) not in metrics
    ]
    for variable, value in zip(others, state["others"], strict=False):
        if tuple(variable.shape) == value.shape:
            variable.assign(value)
    version, words, gauss = state["random"]["python"]
    random.setstate((version, tuple(words.tolist()), gauss))
    np.random.set_state(tuple(state["random"]["numpy"]))


def _variables(model: Any) -> list:
    """Returns all variables of a training, each once."""
    found = [
        *model.variables,
        *model.optimizer.variables,
        *model.metrics_variables,
    ]
    return list({id(each): each for each in found}.values())


def _copy(variable: Any) -> np.ndarray:
    """Returns the value of a variable, as an array that no step changes."""
    value = keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(variable))
    # JAX and PyTorch return views.
    return value if value.flags.owndata and value.flags.writeable else value.copy()


def _symbolic(array: np.ndarray) -> Any:
    return keras.KerasTensor((None, *array.shape[1:]), array.dtype.name)


def _random_state() -> dict[str, list]:
    version, words, gauss = random.getstate()
    return {
        "python": [version, np.array(words, np.uint32), gauss],
        "numpy": list(np.random.get_state()),
    }


def checksum(arrays: Iterable[np.ndarray]) -> int:
    """Returns the CRC-32 of the bytes of arrays."""
    result = 0
    for array in arrays:
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        result = zlib.crc32(data, result)  # type: ignore[arg-type]
    return result


def _is_finite(array: np.ndarray) -> bool:
    if array.dtype.kind in "biu":
        return True
    # A sum is faster than a test of each value. It can overflow, so only a finite sum
    # proves something.
    with np.errstate(all="ignore"):
        return bool(np.isfinite(array.sum()) or np.isfinite(array).all())


# === Python values as JSON ===


def pack(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """Converts a value to JSON; NumPy arrays and numbers are added to `arrays`.

    Raises:
        TypeError: A type is not supported.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, np.ndarray | np.generic):
        if not value.size:
            return {"empty": [list(value.shape), value.dtype.name]}
        name = str(len(arrays))
        array = np.asarray(value)
        arrays[name] = array.copy() if value.flags.writeable else array
        if value.dtype.name == "bfloat16":  # a type that HDF5 does not have
            arrays[name] = arrays[name].view(np.uint16)
            return {"bfloat16": name}
        return {"array" if isinstance(value, np.ndarray) else "number": name}
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": str(value)}
    if isinstance(value, list | tuple):
        return [pack(each, arrays) for each in value]
    if isinstance(value, dict):
        return {"dict": [[pack(k, arrays), pack(v, arrays)] for k, v in value.items()]}
    if keras.ops.is_tensor(value):
        return pack(keras.ops.convert_to_numpy(value), arrays)
    raise TypeError(
        f"The state of a callback contains a {type(value).__name__}; get_state must "
        "return numbers, str, None, arrays, and lists and dicts of these."
    )


def unpack(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """Returns the value that `pack` converted; tuples have become lists."""
    if isinstance(value, list):
        return [unpack(each, arrays) for each in value]
    if not isinstance(value, dict):
        return value
    [(kind, content)] = value.items()
    if kind == "dict":
        return {unpack(k, arrays): unpack(v, arrays) for k, v in content}
    if kind == "float":
        return float(content)
    if kind == "empty":
        return np.zeros(*content)
    if kind == "bfloat16":
        return arrays[content].view("bfloat16")
    return arrays[content] if kind == "array" else arrays[content][()]
