"""Loading models by path or by name, from files that may be damaged or hostile.

The order is the point: sizes, checksums, configuration, names and shapes are checked
before anything is built with values, and nothing in a file is imported or called.
"""

import copy
import math
import os
import string
import warnings
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from textgen import hdf5, keras_internals, model_file
from textgen.models import allowed, catalogue, configuration, fields
from textgen.models.keras_writer import KerasWriter
from textgen.models.language_model import LanguageModel
from textgen.training.freezing import freeze, frozen

_OPTIMIZER = "optimizer/"

# The states of Keras's stateful layers are not part of a file. They may be as large as
# the file, and this.
_STATE_BYTES = 1 << 26


def load(path: str | os.PathLike[str], limits: Mapping[str, int] | None = None) -> Any:
    """Loads a saved or pretrained model, for generation or further training.

    The file may come from a stranger: it cannot run code, read other files, use the
    network, or need much more memory than its own size. See `docs/reliability.md`.

    Args:
        path: str or path of a `.keras` file, or a name in `textgen.PRETRAINED`.
        limits: dict of name and int, or `None`. Larger models than these are refused:
            `"weight_bytes"` (4 GiB), `"config_bytes"` (32 MiB), `"layers"` (256),
            `"units"` of a layer or symbols of a vocabulary (1,048,576), `"steps"` of a
            window (100,000) and `"batch_size"` of a stateful model (65,536). Defaults
            to `None`, these values.

    Returns:
        The `LanguageModel` or the model that `textgen.from_keras` returned, with its
        vocabulary and the state of its optimizer.

    Raises:
        FileNotFoundError: No file and no pretrained model has this name.
        ModelFileError: The file is damaged, does not contain a textgen model, or
            contains something that a textgen model does not need; or it exceeds a
            limit. It is a ValueError.
        ValueError: The file of a pretrained model was changed after its installation,
            or `limits` contains an unknown name.

    Warns:
        UserWarning: The optimizer, the loss or a metric is your own code, which is not
            registered with `keras.saving.register_keras_serializable`. The model is not
            compiled.

    Example:

    ```python
    print(textgen.load("shakespeare").generate("shall i compare ", max_lines=4))
    ```
    """
    for name in limits or {}:
        if name not in allowed.LIMITS:
            raise ValueError(
                f"limits has {name!r}; its names are {', '.join(allowed.LIMITS)}."
            )
    limits = {**allowed.LIMITS, **(limits or {})}
    path = catalogue.find(path)
    with model_file.refusing(path):
        _check_name(path.name)
        contents = model_file.read(path, limits["weight_bytes"], limits["config_bytes"])
        return _load(contents, limits)


def _check_name(name: str) -> None:
    """Raises ValueError for the files of other formats."""
    if name.endswith(".weights.h5"):
        raise ValueError(
            "it contains weights only, as written by Keras's save_weights: create "
            "the model with the same arguments, and call model.load_weights"
        )
    if name.endswith((".h5", ".hdf5")):
        raise ValueError(
            "it is a model of an older Keras version: convert it to a .keras file "
            "with textgen.models.legacy.convert (command line: textgen convert)"
        )


def _load(contents: model_file.Contents, limits: Mapping[str, int]) -> Any:
    """Checks the contents of a file, and returns the model."""
    config = contents.config
    versioned = "textgen_version" in contents.metadata
    kind = configuration.check(config, limits, versioned)
    unknown = compilation = None
    try:
        compilation = configuration.check_compilation(
            config.get("compile_config"), limits
        )
    except configuration.UnknownCodeError as error:
        unknown = str(error)
    if versioned:
        _check_groups(contents)
    arrays: dict[str, hdf5.Stored] = {}
    slots: dict[str, hdf5.Stored] = {}
    for path, stored in contents.arrays.items():
        (slots if path.startswith(_OPTIMIZER) else arrays)[path] = stored

    model = _build(kind, config["config"], arrays, contents.data)
    if compilation is not None:
        _compile(model, compilation, slots, contents.data)
    elif unknown is not None:
        warnings.warn(
            "The model is not compiled: its optimizer, its loss or a metric is not "
            f"part of Keras or textgen. Compile it before training. ({unknown})",
            stacklevel=4,
        )
    elif slots:
        raise ValueError(f"it has the array {min(slots)!r}, but is not compiled")
    _check_unchanged(config, model, compilation)
    return model


def _check_groups(contents: model_file.Contents) -> None:
    """Raises ValueError for groups without arrays, which older versions wrote."""
    used = set()
    for path in contents.arrays:
        while "/" in path:
            path = path.rsplit("/", maxsplit=1)[0]
            used.add(path)
    if extra := contents.groups - used:
        raise ValueError(f"it has the group {min(extra)!r} without arrays")


# === Weights ===


def _build(
    kind: str, config: dict[str, Any], arrays: Mapping[str, hdf5.Stored], data: bytes
) -> Any:
    """Returns the model with its weights; it is built with values last."""
    model_class: Any = KerasWriter if kind == "textgen>KerasWriter" else LanguageModel
    if model_class is LanguageModel and config["stateful"]:
        _check_carried(config, arrays)
    plan = copy.deepcopy(config)
    states = _stateful_units(config.get("network"))
    if states:  # Keras creates these states with values
        plan = _without_states(plan)
    with keras_internals.without_values() as created, keras_internals.sharing():
        model = model_class.from_config(plan)
    expected = keras_internals.state_of(model)
    _compare(arrays, expected)
    _check_values(arrays, expected, data)
    if not states:
        values = _values(arrays, expected, data)
        keras_internals.give_values(
            created, {id(expected[path]): value for path, value in values.items()}
        )
        return model
    rows = model.network.inputs[0].shape[0] or 1
    if 8 * rows * sum(states) > _STATE_BYTES + len(data):
        raise ValueError(f"the states of its {rows:,} rows are too large")
    with keras_internals.sharing():
        model = model_class.from_config(copy.deepcopy(config))
    expected = keras_internals.state_of(model)
    _compare(arrays, expected)
    _assign(arrays, expected, data)
    return model


def _check_carried(
    config: Mapping[str, Any], arrays: Mapping[str, hdf5.Stored]
) -> None:
    """Raises ValueError unless the states of a `LanguageModel` are in the file.

    The walk over the model that `_compare` needs reads them, and so gives them values.
    """
    copies = 2 if config["cell"] == "lstm" else 1
    sizes = [size for size in config["units"] for _ in range(copies)]
    for index, size in enumerate(sizes):
        path, shape = f"carried_states/vars/{index}", (config["batch_size"], size)
        if path not in arrays or arrays[path].shape != shape:
            raise ValueError(f"the array {path!r} of the shape {shape} is missing")


def _stateful_units(value: Any) -> list[int]:
    """Returns the size of each state of the stateful layers of a Keras network."""
    if isinstance(value, list):
        return [size for item in value for size in _stateful_units(item)]
    if not isinstance(value, dict):
        return []
    if value.get("stateful") and "units" in value:
        return [value["units"]] * (2 if "unit_forget_bias" in value else 1)
    return [size for item in value.values() for size in _stateful_units(item)]


def _without_states(value: Any) -> Any:
    """Returns a copy of a configuration whose layers are not stateful."""
    if isinstance(value, list):
        return [_without_states(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: False if name == "stateful" else _without_states(item)
        for name, item in value.items()
    }


def _compare(arrays: Mapping[str, hdf5.Stored], expected: Mapping[str, Any]) -> None:
    """Raises ValueError unless names, shapes and dtypes are those of the model."""
    missing = {
        path
        for path in expected
        # The states of random generators are missing in files of older versions.
        if path not in arrays and not path.startswith("vars/seed_")
    }
    if missing:
        raise ValueError(f"the array {min(missing)!r} is missing")
    if extra := set(arrays) - set(expected):
        raise ValueError(f"the array {min(extra)!r} is not part of its model")
    for path, stored in arrays.items():
        variable = expected[path]
        if stored.shape != tuple(variable.shape):
            raise ValueError(
                f"the array {path!r} has the shape {stored.shape}, but its model needs "
                f"{tuple(variable.shape)}"
            )
        dtype = keras.backend.standardize_dtype(variable.dtype)
        if not _same_kind(stored, dtype):
            raise ValueError(
                f"the array {path!r} has the dtype {stored.dtype}, but its model needs "
                f"{dtype}"
            )


def _same_kind(stored: hdf5.Stored, dtype: str) -> bool:
    """Whether an array has the dtype of its variable.

    Backends store counters and random states as different integers, and a learning rate
    may have been created in another precision.
    """
    if dtype.startswith(("int", "uint")):
        return stored.dtype.kind in "iu"
    if dtype == "bfloat16":
        return stored.dtype.str == "|V2" or not stored.shape
    return stored.dtype == np.dtype(dtype) or (
        not stored.shape and stored.dtype.kind == "f"
    )


def _values(
    arrays: Mapping[str, hdf5.Stored], expected: Mapping[str, Any], data: bytes
) -> dict[str, Any]:
    """Returns a function for each array that returns its values."""

    def reader(path: str, stored: hdf5.Stored) -> Any:
        dtype = np.dtype(expected[path].dtype) if stored.dtype.kind == "V" else None
        return lambda: stored.value(data, dtype)

    return {path: reader(path, stored) for path, stored in arrays.items()}


def _assign(
    arrays: Mapping[str, hdf5.Stored], expected: Mapping[str, Any], data: bytes
) -> None:
    """Sets the variables of a model."""
    for path, value in _values(arrays, expected, data).items():
        expected[path].assign(value())


def _check_values(
    arrays: Mapping[str, hdf5.Stored], expected: Mapping[str, Any], data: bytes
) -> None:
    """Raises ValueError if an array contains values that are not finite."""
    for path, value in _values(arrays, expected, data).items():
        if arrays[path].dtype.kind in "fV" and not np.isfinite(value()).all():
            raise ValueError(f"the array {path!r} has values that are not finite")


# === Optimizer ===


def _compile(
    model: Any,
    config: dict[str, Any],
    slots: Mapping[str, hdf5.Stored],
    data: bytes,
) -> None:
    """Compiles the model, and loads the state of its optimizer."""
    options = config["optimizer"].get("config") or {}
    options = (options.get("inner_optimizer") or {}).get("config") or options
    flags = ("amsgrad", "centered", "use_ema", "gradient_accumulation_steps")
    # Every optimizer of Keras has at most two states for a weight, and these.
    copies = 2 + sum(bool(options.get(name)) for name in flags)
    now = frozen(model)
    freeze(model, config.get("frozen", now))
    weights = sum(map(_bytes, model.trainable_variables))
    freeze(model, now)
    if copies * weights > 2 * len(data):
        raise ValueError("it does not contain the state that its optimizer needs")
    model.compile_from_config(copy.deepcopy(config), strict=True)
    expected = _slots(model.optimizer)
    _compare(slots, expected)
    _check_values(slots, expected, data)
    values = _values(slots, expected, data)
    for path, variable in expected.items():
        if len(variable.shape) == 0:
            value, is_rate = values[path](), variable.name == "learning_rate"
            if value < 0 or (is_rate and value > fields.LARGEST_RATE):
                raise ValueError(f"the array {path!r} has the value {value:g}")
    _assign(slots, expected, data)


def _slots(optimizer: Any, path: str = _OPTIMIZER) -> dict[str, Any]:
    """Returns the variables of an optimizer by their path in a file."""
    found = {
        f"{path}vars/{index}": variable
        for index, variable in enumerate(optimizer.variables)
    }
    if (inner := getattr(optimizer, "inner_optimizer", None)) is not None:
        found |= _slots(inner, f"{path}inner_optimizer/")
    return found


def _bytes(variable: Any) -> int:
    """Returns the size of a variable in bytes."""
    name = keras.backend.standardize_dtype(variable.dtype)
    return math.prod(variable.shape) * int(name.lstrip(string.ascii_letters)) // 8


# === Configuration ===


def _check_unchanged(
    config: Mapping[str, Any], model: Any, compilation: Mapping[str, Any] | None
) -> None:
    """Raises ValueError if the model has another configuration than its file."""
    found = keras_internals.serialized(model)
    _check_equal(config["config"], found["config"], "model")
    _check_equal(config.get("build_config"), found.get("build_config"), "build_config")
    if compilation is not None:
        _check_equal(compilation, found["compile_config"], "compile")


def _check_equal(given: Any, found: Any, where: str) -> None:
    """Raises ValueError if a value of the file is not that of the model."""
    if isinstance(given, dict) and isinstance(found, dict):
        registered = given.get("registered_name")
        if ">" in str(registered) and not str(registered).startswith("textgen>"):
            return  # a class of the user, whose `get_config` may do anything
        for name, value in given.items():
            # Backends and versions differ in these.
            if name in ("module", "shared_object_id", "jit_compile"):
                continue
            new = "reset_policy" if name == "reset_states" else name
            if new not in found:
                raise ValueError(f"{where} has the unknown field {name!r}")
            _check_equal(value, found[new], f"{where}.{name}")
    elif isinstance(given, list) and isinstance(found, list | tuple):
        if len(given) != len(found):
            raise ValueError(f"{where} has another length in the model")
        for index, (one, other) in enumerate(zip(given, found, strict=True)):
            _check_equal(one, other, f"{where}[{index}]")
    elif given != found and not (given is not None and _both_nan(given, found)):
        fields.refuse(given, where, f"{found!r}, as in the model that it describes")


def _both_nan(one: Any, other: Any) -> bool:
    return isinstance(one, float) and one != one and other != other
