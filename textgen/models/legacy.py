"""Conversion of models that Keras 2 saved as HDF5 (`.h5`) to a `LanguageModel`.

`keras.models.load_model` of Keras 3 refuses such files, or loads them without a warning
and computes other results, because its `hard_sigmoid` has another slope.
"""

import itertools
import json
import os
import re
import warnings
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from textgen.layers.cells import CELLS
from textgen.layers.recurrent import keras2_hard_sigmoid
from textgen.models.language_model import LanguageModel
from textgen.text.vocabulary import Vocabulary

_CELLS = {class_name: cell for cell, class_name in CELLS.items()}
_OTHERS = ("InputLayer", "Dropout", "Dense", "Activation")

_ACTIVATIONS = {
    "hard_sigmoid": keras.saving.get_registered_name(keras2_hard_sigmoid),
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "relu": "relu",
}


def convert(path: str | os.PathLike[str], vocabulary: Vocabulary) -> LanguageModel:
    """Converts a Keras 2 `.h5` file to a `LanguageModel`.

    The file must hold a stack of SimpleRNN, GRU or LSTM layers (one kind only), with
    dropout after each layer or after none, and a dense softmax layer over the
    vocabulary. An Adam optimizer is converted with its state. Arguments that do not
    change the result, such as `implementation` and `time_major`, are ignored.

    Args:
        path: str or path of the `.h5` file, written by `model.save` of Keras 2.
        vocabulary: `Vocabulary` of the text that the model was trained on, in lower
            case if the training text was.

    Returns:
        The `LanguageModel`, compiled if the file holds an Adam optimizer.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file holds another kind of model, or the vocabulary has another
            size.

    Warns:
        UserWarning: The optimizer cannot be converted. It is dropped.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"The model file {path} does not exist.")
    if not h5py.is_hdf5(path):
        raise ValueError(f"{path} is not an HDF5 file (.h5), or it is damaged.")
    try:
        with h5py.File(path, "r") as file:
            _refuse_external(file, path)
            return _convert(file, vocabulary, path)
    except (AttributeError, IndexError, KeyError, RecursionError, TypeError) as error:
        raise ValueError(f"{path} is damaged: {error!r}.") from error


def _convert(file: h5py.File, vocabulary: Vocabulary, path: Path) -> LanguageModel:
    layers = _layers(file, path)
    model = _make_model(layers, vocabulary, path)
    weights = [
        _read(file["model_weights"][layer["config"]["name"]])
        for layer in layers
        if layer["class_name"] in (*_CELLS, "Dense")
    ]
    targets = [*model.recurrent_layers, model.output_layer]
    for target, values in zip(targets, weights, strict=True):
        _set_weights(target, values, path)
    _restore_optimizer(model, file, path)
    return model


def _refuse_external(group: h5py.Group, path: Path) -> None:
    """Raises ValueError if the file refers to another file."""
    for name in group:
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise ValueError(f"{path} is refused: {name!r} is a link.")
        item = group[name]
        if isinstance(item, h5py.Group):
            _refuse_external(item, path)
        elif item.external or item.is_virtual:
            raise ValueError(f"{path} is refused: {name!r} is stored in another file.")


def _layers(file: h5py.File, path: Path) -> list[dict]:
    """Returns the configurations of the layers, in order."""
    if "model_config" not in file.attrs or "model_weights" not in file:
        raise ValueError(
            f"{path} holds no model, perhaps only weights. It must be a file that "
            "model.save of Keras 2 wrote."
        )
    config = json.loads(file.attrs["model_config"])["config"]
    layers = config if isinstance(config, list) else config["layers"]
    for layer in layers:
        name = layer["class_name"]
        if name not in (*_CELLS, *_OTHERS):
            raise ValueError(
                f"{path} is refused: it has a layer of class {name!r}. Supported: "
                f"{', '.join((*_CELLS, *_OTHERS))}."
            )
    return layers


def _make_model(
    layers: list[dict], vocabulary: Vocabulary, path: Path
) -> LanguageModel:
    _check_order(layers, path)
    kinds = [layer["class_name"] for layer in layers if layer["class_name"] in _CELLS]
    recurrent = [layer["config"] for layer in layers if layer["class_name"] in _CELLS]
    [dense] = [layer["config"] for layer in layers if layer["class_name"] == "Dense"]
    rates = [
        layer["config"]["rate"] for layer in layers if layer["class_name"] == "Dropout"
    ]
    if len(set(kinds)) != 1:
        raise _refusal(path, f"its recurrent layers must be of one kind, not {kinds}")
    if len(set(rates)) > 1:
        raise _refusal(
            path,
            f"dropout must be equal after all recurrent layers, not {rates}",
        )
    if dense["units"] != len(vocabulary):
        raise ValueError(
            f"{path} predicts {dense['units']} symbols, but the vocabulary has "
            f"{len(vocabulary)}. Use the text that the model was trained on, in lower "
            "case if the training text was."
        )
    _check_recurrent(recurrent, kinds[0], path)
    first = recurrent[0]
    windows = [
        layer["config"]["batch_input_shape"][1]
        for layer in layers
        if layer["config"].get("batch_input_shape")
    ]
    return LanguageModel(
        vocabulary,
        cell=_CELLS[kinds[0]],
        units=[each["units"] for each in recurrent],
        dropout=rates[0] if rates else 0.0,
        recurrent_dropout=first["recurrent_dropout"],
        activation=_ACTIVATIONS[first["activation"]],
        recurrent_activation=_ACTIVATIONS[first.get("recurrent_activation", "sigmoid")],
        return_sequences=recurrent[-1]["return_sequences"],
        **({"sequence_length": windows[0]} if windows and windows[0] else {}),
    )


def _refusal(path: Path, reason: str) -> ValueError:
    return ValueError(f"{path} is refused: {reason}.")


def _check_order(layers: list[dict], path: Path) -> None:
    """Raises ValueError if the layers are not a stack that ends with one softmax."""
    # One code per layer, so that a regular expression checks the order.
    order = "".join(
        "R" if layer["class_name"] in _CELLS else layer["class_name"][:2]
        for layer in layers
    )
    if not re.fullmatch("(In)?(R+|(RDr)+)De(Ac)?", order):
        names = ", ".join(layer["class_name"] for layer in layers)
        raise _refusal(
            path,
            "it must be a stack of recurrent layers, with dropout after each or none, "
            f"and a dense softmax layer, not: {names}",
        )
    for before, layer in itertools.pairwise(layers):
        nodes = layer.get("inbound_nodes")  # a Sequential model has none
        if nodes is not None and [node[0] for node in nodes[0]] != [
            before["config"]["name"]
        ]:
            name = layer["config"]["name"]
            raise _refusal(path, f"the only input of {name} must be the previous layer")
    softmax = [
        layer["config"]["activation"]
        for layer in layers
        if layer["class_name"] in ("Dense", "Activation")
        and layer["config"]["activation"] != "linear"
    ]
    if softmax != ["softmax"]:
        raise _refusal(
            path, f"it must end with one softmax, not with the activations {softmax}"
        )


def _check_recurrent(recurrent: list[dict], kind: str, path: Path) -> None:
    """Raises ValueError if `LanguageModel` does not support a recurrent layer."""
    if not all(each["return_sequences"] for each in recurrent[:-1]):
        raise _refusal(
            path, "a recurrent layer before the last one has return_sequences=False"
        )
    if kind == "GRU" and not all(each.get("reset_after") for each in recurrent):
        raise _refusal(path, "GRU layers without reset_after are not supported")
    for key in ("activation", "recurrent_activation", "recurrent_dropout"):
        if len({each.get(key) for each in recurrent}) != 1:
            raise _refusal(path, f"its recurrent layers differ in {key}")
    for each in recurrent:
        for key in ("go_backwards", "stateful", "dropout"):
            if each.get(key):
                raise _refusal(path, f"a recurrent layer has {key}={each[key]}")
        if not each["use_bias"]:
            raise _refusal(path, "a recurrent layer has no bias")
    first = recurrent[0]
    for key in ("activation", "recurrent_activation"):
        if first.get(key, "tanh") not in _ACTIVATIONS:
            raise _refusal(path, f"{key}={first[key]!r} is not supported")


def _read(group: h5py.Group) -> list[np.ndarray]:
    names = [
        name.decode() if isinstance(name, bytes) else name
        for name in group.attrs["weight_names"]
    ]
    return [np.asarray(group[name]) for name in names]


def _set_weights(layer: Any, values: list[np.ndarray], path: Path) -> None:
    shapes = [tuple(variable.shape) for variable in layer.weights]
    found = [value.shape for value in values]
    if shapes != found:
        raise ValueError(
            f"{path} is damaged: the weights of {layer.name} have shapes {found}, not "
            f"{shapes}."
        )
    layer.set_weights(values)


def _restore_optimizer(model: LanguageModel, file: h5py.File, path: Path) -> None:
    """Compiles the model with the Adam optimizer of the file and its state."""
    if "training_config" not in file.attrs or "optimizer_weights" not in file:
        return
    training = json.loads(file.attrs["training_config"])
    name = training["optimizer_config"]["class_name"]
    config = training["optimizer_config"]["config"]
    loss = training.get("loss", "categorical_crossentropy")
    if (
        name != "Adam"
        or config.get("amsgrad")
        or config.get("decay")
        or loss not in ("categorical_crossentropy", "sparse_categorical_crossentropy")
    ):
        warnings.warn(
            f"{path}: its optimizer, {name} with {config}, for the loss {loss}, cannot "
            "be converted and is dropped. Compile the model with another optimizer.",
            stacklevel=4,
        )
        return
    optimizer = keras.optimizers.Adam(
        learning_rate=config.get("lr", config.get("learning_rate")),
        beta_1=config["beta_1"],
        beta_2=config["beta_2"],
        epsilon=config["epsilon"],
        clipvalue=config.get("clipvalue"),
        clipnorm=config.get("clipnorm"),
    )
    model.compile(optimizer)
    iterations, *moments = _read(file["optimizer_weights"])
    count = len(model.trainable_variables)
    # Keras 2 stores all first moments and then all second moments; Keras 3 stores
    # pairs. Some versions of Keras 2 add unused third moments.
    pairs = zip(moments[:count], moments[count : 2 * count], strict=True)
    optimizer.iterations.assign(int(iterations))
    variables = optimizer.variables[2:]  # after iterations and learning rate
    for variable, value in zip(
        variables, (m for pair in pairs for m in pair), strict=True
    ):
        if tuple(variable.shape) != value.shape:
            raise ValueError(
                f"{path} is damaged: a moment of {variable.name} has shape "
                f"{value.shape}, not {tuple(variable.shape)}."
            )
        variable.assign(value)
