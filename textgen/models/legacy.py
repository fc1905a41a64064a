"""Conversion of models that Keras 2 saved as HDF5 (`.h5`) to a `LanguageModel`.

`keras.models.load_model` of Keras 3 refuses such files, or loads them without a warning
and computes other results, because its `hard_sigmoid` has another slope.
"""

import dataclasses
import os
import re
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np

from textgen import files
from textgen.layers.cells import CELLS
from textgen.layers.recurrent import keras2_hard_sigmoid
from textgen.messages import printable
from textgen.model_file import ModelFileError
from textgen.models import legacy_config
from textgen.models.language_model import LanguageModel
from textgen.models.legacy_config import Adam, Stack
from textgen.models.legacy_file import Array, Group, LegacyFile, damaged
from textgen.text.tokenizer import Tokenizer

_CELLS = {class_name: cell for cell, class_name in CELLS.items()}

_ROLES = (("kernel", "recurrent_kernel", "bias"), ("kernel", "bias"))


def convert(path: str | os.PathLike[str], vocabulary: Tokenizer) -> LanguageModel:
    """Converts a Keras 2 `.h5` file to a `LanguageModel`.

    The file must hold a stack of SimpleRNN, GRU or LSTM layers (one kind only), with
    dropout after each layer or after none, and a dense softmax layer over the
    vocabulary. An Adam optimizer is converted with its state. Arguments that do not
    change the result, such as `implementation` and `time_major`, are ignored.

    The file may come from a stranger: nothing in it is run or imported, and no other
    file is read. Structure, fields of the configuration, shapes and sizes are checked
    before an array is read or the network is built. The memory is at most a constant
    plus four times the stored arrays.

    Damage is found in the structure of the file, in names and types of the
    configuration, and in numbers that are not possible: NaN, infinity, a negative
    second moment, a rate of 1. HDF5 has no checksum here. Therefore another possible
    value in place of the right one cannot be found if no shape depends on it: a weight,
    a moment, the iterations, a rate, a number of the optimizer, the number of steps,
    the activation, `return_sequences` of the last layer, or an address of an array that
    now lies in an unused part of the file.

    Args:
        path: str or path of the `.h5` file, written by `model.save` of Keras 2.
        vocabulary: `Vocabulary` of the text that the model was trained on, in lower
            case if the training text was.

    Returns:
        The `LanguageModel`, compiled if the file holds an Adam optimizer.

    Raises:
        FileNotFoundError: The file does not exist.
        OSError: The file cannot be read, or it is a folder, a device or a named pipe.
        ModelFileError: The file is damaged or holds another kind of model, or the
            vocabulary has another size. It is a ValueError of one line, at most 300
            characters.

    Warns:
        UserWarning: The optimizer cannot be converted. It is dropped.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"The model file {path} does not exist.")
    contents = read(path, vocabulary)
    model = _make_model(contents.stack, vocabulary)
    for layer, values in zip(
        [*model.recurrent_layers, model.output_layer], contents.weights, strict=True
    ):
        layer.set_weights(values)
    if contents.adam is not None:
        _compile(model, contents.adam, contents.iterations, contents.moments)
    return model


def _short(path: Path) -> str:
    """Returns the end of a path, for a message."""
    text = printable(path, 4096)
    return text if len(text) <= 100 else "…" + text[-99:]


@dataclasses.dataclass(frozen=True)
class Contents:
    """What a Keras 2 file holds: the network, its weights and its optimizer.

    Args:
        stack: `Stack`.
        weights: Arrays of each recurrent layer and of the dense layer, float32.
        adam: `Adam`, or `None` for a model without an optimizer.
        iterations: int. Steps of the optimizer.
        moments: All first moments and then all second moments, float32.
    """

    stack: Stack
    weights: list[list[np.ndarray]]
    adam: Adam | None
    iterations: int
    moments: list[np.ndarray]


def read(path: Path, vocabulary: Tokenizer) -> Contents:
    """Returns the contents of a file; they are completely checked.

    Raises:
        OSError: As for `convert`.
        ModelFileError: As for `convert`.
    """
    try:
        with files.open_regular(path) as file:
            return _read_contents(LegacyFile(file), vocabulary, path)
    except ValueError as error:
        cause = printable(error, 190)
        raise ModelFileError(f"{_short(path)} {cause}.") from error


def _read_contents(source: LegacyFile, vocabulary: Tokenizer, path: Path) -> Contents:
    # All headers are checked before an array is read.
    stack, groups = _read_stack(source, vocabulary)
    headers = [
        _find(source, group, name, shapes, _ROLES[len(shapes) == 2])
        for name, group, shapes in zip(stack.names, groups, stack.shapes(), strict=True)
    ]
    adam, state = _find_optimizer(source, stack, path)
    iterations, moments = 0, _read(source, state[1:])
    if any((moment < 0).any() for moment in moments[len(moments) // 2 :]):
        raise damaged("a second moment of the optimizer is negative")
    if state:
        iterations = legacy_config.iterations_of(source.array(state[0]).item())
    weights = [_read(source, each) for each in headers]
    return Contents(stack, weights, adam, iterations, moments)


def _read_stack(source: LegacyFile, vocabulary: Tokenizer) -> tuple[Stack, list[Group]]:
    """Returns the network, and the groups of its layers with weights."""
    root = source.root
    stored = root.members.get("model_weights")
    if "model_config" not in root.attributes or not isinstance(stored, Group):
        raise ValueError(
            "holds no model, perhaps only weights. It must be a file that model.save "
            "of Keras 2 wrote"
        )
    for name in root.members:
        if name not in ("model_weights", "optimizer_weights"):
            raise damaged(f"it has an unknown part, {printable(repr(name), 60)}")
    stack = legacy_config.read_stack(source.text(root, "model_config"))
    if stack.symbols != len(vocabulary):
        raise ValueError(
            f"predicts {stack.symbols} symbols, but the vocabulary has "
            f"{len(vocabulary)}. Use the text that the model was trained on, in lower "
            "case if the training text was"
        )
    groups = []
    for name in stack.names:
        group = stored.members.get(name)
        if not isinstance(group, Group):
            raise damaged(f"the weights of {name} are missing")
        groups.append(group)
    if stored.arrays() != sum(group.arrays() for group in groups):
        raise damaged("it has weights of a layer that does not exist")
    return stack, groups


def _find(
    source: LegacyFile,
    group: Group,
    name: str,
    shapes: list[tuple[int, ...]],
    roles: tuple[str, ...] = (),
) -> list[Array]:
    """Returns the headers of all arrays of a group, in the order of Keras 2."""
    names = source.texts(group, "weight_names")
    arrays = [group.find(each) for each in names]
    found = [each.shape if isinstance(each, Array) else None for each in arrays]
    if found != shapes or len(set(names)) != len(names):
        raise damaged(f"the weights of {name} have shapes {found}, not {shapes}")
    if group.arrays() != len(names):
        raise damaged(f"{name} has weights without a use")
    for each, role in zip(names, roles, strict=False):
        if not re.fullmatch(rf"(.*/)?{role}(_\d+)?(:0)?", each):
            raise damaged(f"{printable(repr(each), 60)} is not the {role} of {name}")
    return [each for each in arrays if isinstance(each, Array)]


def _read(source: LegacyFile, headers: list[Array]) -> list[np.ndarray]:
    """Reads arrays of finite float32 numbers."""
    arrays = []
    for header in headers:
        if header.dtype.kind != "f":
            raise damaged(f"weights of type {header.dtype} are not real numbers")
        with np.errstate(over="ignore"):
            values = source.array(header).astype(np.float32, copy=False)
        if not np.isfinite(values).all():
            raise damaged("it has weights or moments that are not finite")
        arrays.append(values)
    return arrays


def _make_model(stack: Stack, vocabulary: Tokenizer) -> LanguageModel:
    hard_sigmoid = keras.saving.get_registered_name(keras2_hard_sigmoid)
    names = {name: name for name in legacy_config.ACTIVATIONS}
    names["hard_sigmoid"] = hard_sigmoid
    length: dict[str, Any] = {"sequence_length": stack.steps} if stack.steps else {}
    return LanguageModel(
        vocabulary,
        cell=_CELLS[stack.kind],
        units=stack.units,
        dropout=stack.dropout,
        recurrent_dropout=stack.recurrent_dropout,
        activation=names[stack.activation],
        recurrent_activation=names[stack.recurrent_activation],
        return_sequences=stack.return_sequences,
        **length,
    )


def _find_optimizer(
    source: LegacyFile, stack: Stack, path: Path
) -> tuple[Adam | None, list[Array]]:
    """Returns the Adam optimizer, and the headers of its iterations and moments."""
    root = source.root
    group = root.members.get("optimizer_weights")
    if "training_config" not in root.attributes:
        if group is not None:
            raise damaged("the configuration of its optimizer is missing")
        return None, []
    optimizer = legacy_config.read_optimizer(source.text(root, "training_config"))
    if group is None:
        return None, []
    if not isinstance(group, Group):
        raise damaged("the state of its optimizer is not a group")
    shapes = [shape for shapes in stack.shapes() for shape in shapes]
    count = len(source.texts(group, "weight_names"))
    # Keras 2.11 and later store pairs of moments, and the learning rate.
    if isinstance(optimizer, str) or count == 2 + 2 * len(shapes):
        warnings.warn(
            f"{_short(path)}: its optimizer, {optimizer}, cannot be converted and is "
            "dropped. Compile the model with another optimizer.",
            stacklevel=5,
        )
        return None, []
    # Keras 2 stores all first moments and then all second moments. Some versions add
    # unused third moments, each a zero.
    unused = [(1,)] * len(shapes) if count == 1 + 3 * len(shapes) else []
    expected = [(), *shapes, *shapes, *unused]
    headers = _find(source, group, "the optimizer", expected)
    return optimizer, headers[: len(headers) - len(unused)]


def _compile(
    model: LanguageModel, adam: Adam, iterations: int, moments: list[np.ndarray]
) -> None:
    """Compiles the model with an Adam optimizer and its state."""
    optimizer = keras.optimizers.Adam(
        learning_rate=adam.learning_rate,
        beta_1=adam.beta_1,
        beta_2=adam.beta_2,
        epsilon=adam.epsilon,
        clipvalue=adam.clipvalue,
        clipnorm=adam.clipnorm,
    )
    model.compile(optimizer)
    optimizer.iterations.assign(iterations)
    # Keras 3 stores pairs of first and second moments.
    half = len(moments) // 2
    pairs = zip(moments[:half], moments[half:], strict=True)
    variables = optimizer.variables[2:]  # after iterations and learning rate
    for variable, value in zip(
        variables, (moment for pair in pairs for moment in pair), strict=True
    ):
        variable.assign(value)
