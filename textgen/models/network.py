"""Checks and describes the Keras network of a user: layers, input and output."""

import operator
from collections.abc import Iterable, Iterator
from typing import Any

import keras

from textgen import keras_internals
from textgen.layers import inputs
from textgen.layers.cells import CELLS, layer_class
from textgen.text.tokenizer import NO_SYMBOL, Tokenizer

_MODELS = ("Sequential", "Functional")

_RECURRENT = tuple(CELLS.values())


# Keras layers whose output at a step depends on that step only.
_STEPWISE = (
    "Activation",
    "BatchNormalization",
    "Dense",
    "Dropout",
    "ELU",
    "Embedding",
    "GaussianDropout",
    "GaussianNoise",
    "LayerNormalization",
    "LeakyReLU",
    "ReLU",
    "Softmax",
    "SpatialDropout1D",
    "TimeDistributed",
    "UnitNormalization",
)


# All Keras layers that a network may contain.
LAYERS = (
    *_MODELS,
    *_RECURRENT,
    *_STEPWISE,
    "Add",
    "AdditiveAttention",
    "Attention",
    "Average",
    "AveragePooling1D",
    "Bidirectional",
    "Concatenate",
    "Conv1D",
    "Cropping1D",
    "Dot",
    "Flatten",
    "GlobalAveragePooling1D",
    "GlobalMaxPooling1D",
    "InputLayer",
    "Masking",
    "MaxPooling1D",
    "Maximum",
    "Minimum",
    "MultiHeadAttention",
    "Multiply",
    "PReLU",
    "Permute",
    "RepeatVector",
    "Reshape",
    "SeparableConv1D",
    "Subtract",
    "ZeroPadding1D",
)

_TEXTGEN_INPUTS = (inputs.OneHot, inputs.Embedding)  # -1 means "no symbol"

_TEXTGEN_RECURRENT = tuple(map(layer_class, CELLS))


# Layers that keep logits as logits, and probabilities as probabilities.
_PASS_THROUGH = (
    "Dropout",
    "Flatten",
    "GaussianDropout",
    "GaussianNoise",
    "Reshape",
    "SpatialDropout1D",
)


# === Layers ===


def _is_keras(thing: Any, names: Iterable[str]) -> bool:
    """Whether the class of an object is exactly a Keras class of these names."""
    kind = type(thing)
    return kind.__module__.split(".")[0] == "keras" and kind.__name__ in names


def is_recurrent(layer: Any) -> bool:
    """Whether a layer is a SimpleRNN, GRU or LSTM of Keras or of textgen."""
    return type(layer) in _TEXTGEN_RECURRENT or _is_keras(layer, _RECURRENT)


def layers_in(layer: Any) -> Iterator[Any]:
    """Yields all layers and operations inside a layer, recursively."""
    inner: list = []
    if _is_keras(layer, ["Functional"]):
        inner = keras_internals.operations_of(layer)
    elif _is_keras(layer, ["Sequential"]):
        inner = layer.layers
    elif _is_keras(layer, ["TimeDistributed"]):
        inner = [layer.layer]
    elif _is_keras(layer, ["Bidirectional"]):
        inner = [layer.forward_layer, layer.backward_layer]
    for name in ("activation", "recurrent_activation"):
        if isinstance(activation := getattr(layer, name, None), keras.Layer):
            inner = [*inner, activation]
    for each in inner:
        yield each
        yield from layers_in(each)


def check_network(network: Any) -> None:
    """Raises ValueError if a network cannot be wrapped; the message says why."""
    if not _is_keras(network, _MODELS):
        raise ValueError(
            f"A network of class {type(network).__name__} is not supported: the effect "
            "of its code on the input is unknown, and its file could not be loaded "
            "without that code. Build it with keras.Sequential(layers) or "
            "keras.Model(inputs, outputs)."
        )
    if not keras_internals.has_graph(network):
        raise ValueError(
            f"The network {network.name!r} is not built, so its shapes are unknown. "
            "Start it with an input, for example keras.Input((steps,), dtype='int32')."
        )
    for name in ("inputs", "outputs"):
        if (count := len(getattr(network, name))) != 1:
            raise ValueError(
                f"The network {network.name!r} has {count} {name}; it must have one "
                "input, the text, and one output, the next token. Build a keras.Model "
                "with only these."
            )
    for layer in layers_in(network):
        is_layer = isinstance(layer, keras.Layer)
        if (
            type(layer) in (*_TEXTGEN_INPUTS, *_TEXTGEN_RECURRENT)
            or (is_layer and _is_keras(layer, LAYERS))
            or _makes_mask(layer)
        ):
            continue
        what = "layer" if is_layer else "operation"
        raise ValueError(
            f"The {what} {layer.name!r} ({type(layer).__name__}) is not supported: it "
            "is not known to load safely from a file. Replace it with one of the Keras "
            "layers in textgen.models.network.LAYERS."
        )
    for layer in layers_in(network):
        for owner in (layer, getattr(layer, "cell", None)):
            for name, value in vars(owner).items() if owner is not None else ():
                module = getattr(value, "__module__", None) or ""
                if callable(value) and module.split(".")[0] not in ("keras", "textgen"):
                    raise ValueError(
                        f"The layer {layer.name!r} ({type(layer).__name__}) has "
                        f"{name}={getattr(value, '__name__', value)!r}, which is not "
                        "part of Keras: a file of the model could not be loaded "
                        "without its code. Use a function of Keras."
                    )


def _makes_mask(operation: Any) -> bool:
    """Whether an operation is one that Keras layers add to compute masks."""
    return type(operation).__module__.startswith("keras.src.ops.") and all(
        output.dtype == "bool"
        for node in keras_internals.calls_of(operation)
        for output in node.outputs
    )


def check_not_stateful(network: keras.Model) -> None:
    """Raises ValueError if a layer of a network is stateful."""
    for layer in layers_in(network):
        if getattr(layer, "stateful", False):
            raise ValueError(
                f"The layer {layer.name!r} ({type(layer).__name__}) is stateful, but "
                "the network generates with a sliding window: its state would continue "
                "from one window to the next, although the windows overlap. Build it "
                "with stateful=False."
            )


def _sources(node: Any) -> list:
    """Returns the input tensors of a call of a layer, without masks."""
    return [
        tensor
        for tensor in node.input_tensors
        if isinstance(keras_internals.origin_of(tensor)[0], keras.Layer)
    ]


def stack_of(network: keras.Model) -> list | None:
    """Returns the layers of a network that can carry its state; otherwise `None`."""
    found = chain_of(network)
    if found is None or not all(map(_works_step_by_step, found)):
        return None
    return found if any(map(is_recurrent, found)) else None


def chain_of(network: keras.Model) -> list | None:
    """Returns the layers, if each takes only the output of the previous one."""
    found: list = []
    tensor = network.outputs[0]
    while tensor is not network.inputs[0]:
        operation, node = keras_internals.origin_of(tensor)
        arguments = [*node.arguments.args[1:], *node.arguments.kwargs.values()]
        if (
            len(_sources(node)) != 1
            or tensor is not node.outputs[0]
            or any(each is not None and each is not False for each in arguments)
        ):
            return None
        part: list | None = [operation]
        if _is_keras(operation, _MODELS):
            part = chain_of(operation)
        elif _is_keras(operation, ["TimeDistributed"]):
            part = [operation.layer]  # applied to all steps in the same way
            if not _is_keras(operation.layer, ["Dense", "Activation"]):
                return None
        if part is None:
            return None
        found = part + found
        [tensor] = _sources(node)
    return found


def _works_step_by_step(layer: Any) -> bool:
    if is_recurrent(layer):
        return layer.return_sequences and not layer.go_backwards
    if getattr(layer, "mask_zero", False) or not _on_last_axis(layer):
        return False
    activation = getattr(layer, "activation", None)
    if isinstance(activation, keras.Layer) and not _works_step_by_step(activation):
        return False
    return type(layer) in _TEXTGEN_INPUTS or _is_keras(layer, _STEPWISE)


def _on_last_axis(layer: Any) -> bool:
    """Whether the axis of a layer, if it has one, is the last of three."""
    axes = getattr(layer, "axis", -1)
    return all(
        axis in (-1, 2) for axis in (axes if isinstance(axes, list | tuple) else [axes])
    )


def before_last_dense(outputs: Any) -> Any:
    """Returns the input of the last Dense layer; `outputs` without such a layer."""
    tensor = outputs
    while True:
        operation, node = keras_internals.origin_of(tensor)
        if len(_sources(node)) != 1:
            return outputs
        [tensor] = _sources(node)
        if _is_keras(getattr(operation, "layer", operation), ["Dense"]):
            return tensor if len(tensor.shape) in (2, 3) else outputs


# === Input and output ===


def _lookups(network: keras.Model) -> list:
    """Returns the layers that look up ids."""
    return [
        layer
        for layer in layers_in(network)
        if type(layer) in _TEXTGEN_INPUTS or _is_keras(layer, ["Embedding"])
    ]


def input_kind(network: keras.Model, size: int, named: str | None) -> str:
    """Returns `"ids"` or `"one_hot"`: the given kind, or the kind of the shape."""
    if named not in (None, "ids", "one_hot"):
        raise ValueError(f"input={named!r} must be 'ids', 'one_hot' or None.")
    [tensor] = network.inputs
    shape = tuple(tensor.shape)
    lookups = _lookups(network)
    kind = "one_hot" if len(shape) == 3 and shape[-1] == size else None
    if len(shape) == 2:
        kind = "ids"
    if kind is None or named not in (None, kind):
        raise ValueError(
            f"The input of the network has shape {shape}, which does not fit "
            f"{named or 'ids or one_hot'}: ids have shape (batch, steps), and one_hot "
            f"has (batch, steps, {size}) with this vocabulary of {size} symbols."
        )
    integers = keras.backend.is_int_dtype(tensor.dtype)
    if kind == "ids" and named is None and not lookups and not integers:
        raise ValueError(
            f"The input of the network has shape {shape} and dtype {tensor.dtype}, but "
            "the network has no Embedding and no textgen.OneHot. If the input is ids, "
            f"use input='ids'; one-hot input has shape (batch, steps, {size})."
        )
    for layer in lookups:
        known = layer.size if isinstance(layer, inputs.OneHot) else layer.input_dim
        if known < size:
            raise ValueError(
                f"The layer {layer.name!r} ({type(layer).__name__}) has {known} ids, "
                f"but the vocabulary has {size} symbols. Build it with {size} ids."
            )
    return kind


def output_kind(network: keras.Model, size: int, named: str | None) -> str:
    """Returns `"logits"` or `"probabilities"`: given, or from the last activation."""
    if named not in (None, "logits", "probabilities"):
        raise ValueError(f"output={named!r} must be 'logits', 'probabilities' or None.")
    shape = tuple(network.outputs[0].shape)
    if len(shape) not in (2, 3) or shape[-1] != size:
        raise ValueError(
            f"The output of the network has shape {shape}; with this vocabulary of "
            f"{size} symbols it must be (batch, {size}) or (batch, steps, {size})."
        )
    layer, activation = _last_activation(network)
    kinds = {
        "linear": "logits",
        "log_softmax": "logits",
        "softmax": "probabilities",
    }
    kind = kinds.get(activation)
    if kind is None and named is None:
        raise ValueError(
            f"The last layer of the network, {layer.name!r} ({type(layer).__name__}), "
            f"has {f'activation={activation!r}' if activation else 'no activation'}, "
            "so the kind of its output is unknown. Use output='logits' or "
            "output='probabilities'."
        )
    if kind is not None and named not in (None, kind):
        raise ValueError(
            f"output={named!r} contradicts the activation {activation!r} of the last "
            f"layer, {layer.name!r} ({type(layer).__name__}). Omit output."
        )
    return named or kind or ""


def _last_activation(network: keras.Model) -> tuple[Any, str]:
    """Returns the last layer with an effect and its activation; `""` for none."""
    tensor = network.outputs[0]
    while True:
        operation, node = keras_internals.origin_of(tensor)
        if not _is_keras(operation, _PASS_THROUGH):
            break
        [tensor] = _sources(node)
    while _is_keras(operation, ["TimeDistributed"]):
        operation = operation.layer
    if _is_keras(operation, _MODELS):
        return _last_activation(operation)
    activation = getattr(operation, "activation", operation)
    if _is_keras(activation, ["Softmax"]):
        axis = activation.axis
        return operation, "softmax" if axis in (-1, len(tensor.shape) - 1) else ""
    # The output of an LSTM or a GRU is not the output of its activation.
    named = not hasattr(operation, "cell")
    return operation, getattr(activation, "__name__", "") if named else ""


def window_length(network: keras.Model, named: int | None) -> int:
    """Returns the steps of a window: given, or of the input of the network."""
    fixed = network.inputs[0].shape[1]
    if named is not None and operator.index(named) < 1:
        raise ValueError(f"sequence_length={named} must be at least 1.")
    if fixed is not None and named not in (None, fixed):
        raise ValueError(
            f"sequence_length={named} contradicts the input of the network, which has "
            f"{fixed} steps. Omit sequence_length."
        )
    return fixed or named or 40


def padding_of(
    network: keras.Model, vocabulary: Tokenizer, kind: str, named: str | None
) -> tuple[str | None, int]:
    """Returns the symbol that pads texts (`None`: no symbol) and its id."""
    if kind == "one_hot":
        if named is not None:
            raise ValueError(
                f"padding={named!r} is for networks that take ids; one-hot input is "
                "padded with rows of zeros. Omit padding."
            )
        return None, NO_SYMBOL
    if named is None:
        lookups = _lookups(network)
        if lookups and all(type(layer) in _TEXTGEN_INPUTS for layer in lookups):
            return None, NO_SYMBOL
        known = [symbol for symbol in ("\n", " ") if symbol in vocabulary]
        named = [*known, vocabulary.symbols[0]][0]
    if named not in vocabulary:
        raise ValueError(
            f"padding={named!r} must be one of the {len(vocabulary)} known symbols."
        )
    return named, vocabulary.ids[named]
