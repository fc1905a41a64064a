"""Checks the configuration of a Keras 2 model, which nobody has checked before.

The configuration is JSON. All fields that the conversion uses must have their exact
type and range. Fields that Keras 2 never wrote are refused: a damaged name would
otherwise be a missing field with its default value.
"""

import dataclasses
import itertools
import re
from typing import Any

from textgen.layers import cells
from textgen.messages import printable
from textgen.models import legacy_fields as fields
from textgen.models.legacy_file import damaged

# Recurrent classes: parts of the kernel.
GATES = {cells.CELLS[cell]: gates for cell, gates in cells.GATES.items()}
ACTIVATIONS = ("hard_sigmoid", "sigmoid", "tanh", "relu")
_LOSSES = ("categorical_crossentropy", "sparse_categorical_crossentropy")

# A loss can be custom, a list or a dict; the optimizer is then dropped.
_LOSS: fields.Rule = (
    lambda value: (
        value is None or isinstance(value, list | dict) or fields.plain(value)
    ),
    "a name",
)

_MAX_LAYERS = 100
_MAX_STEPS = 100_000
_MAX_ITERATIONS = 2**31 - 1
_NAME = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_. -]{0,99}")


# === Fields that Keras 2.0 to 2.15 wrote ===
def _fields(*groups: str) -> frozenset[str]:
    return frozenset(" ".join(groups).split())


_ALL = "name trainable dtype batch_input_shape"
_KERNEL = (
    "units activation use_bias kernel_initializer bias_initializer kernel_regularizer "
    "bias_regularizer activity_regularizer kernel_constraint bias_constraint"
)
_RECURRENT = _fields(
    _ALL,
    _KERNEL,
    "recurrent_initializer recurrent_regularizer recurrent_constraint dropout "
    "recurrent_dropout return_sequences return_state go_backwards stateful unroll "
    "implementation time_major zero_output_for_mask",
)
_GATED = _RECURRENT | {"recurrent_activation"}
_LAYERS = {
    "SimpleRNN": _RECURRENT,
    "GRU": _GATED | {"reset_after"},
    "LSTM": _GATED | {"unit_forget_bias"},
    "InputLayer": _fields(_ALL, "sparse ragged"),
    "Dropout": _fields(_ALL, "rate noise_shape seed"),
    "Dense": _fields(_ALL, _KERNEL),
    "Activation": _fields(_ALL, "activation"),
}
_LAYER = _fields(
    "class_name config name inbound_nodes module registered_name build_config "
    "shared_object_id"
)
_MODEL = _fields("class_name config keras_version backend")
_NETWORK = _fields(
    "name trainable dtype layers input_layers output_layers build_input_shape"
)
_TRAINING = _fields(
    "optimizer_config loss metrics weighted_metrics loss_weights sample_weight_mode"
)
_ADAM = _fields(
    "name lr learning_rate beta_1 beta_2 epsilon decay amsgrad clipnorm clipvalue "
    "global_clipnorm weight_decay use_ema ema_momentum ema_overwrite_frequency "
    "jit_compile is_legacy_optimizer"
)


@dataclasses.dataclass(frozen=True)
class Stack:
    """The network of a Keras 2 file.

    Args:
        kind: str. Class of the recurrent layers.
        names: tuple of str. Names of the recurrent layers and of the dense layer.
        units: tuple of int. Units of the recurrent layers.
        symbols: int. Units of the dense layer, and features of the input.
        dropout: float. Rate after each recurrent layer.
        recurrent_dropout: float.
        activation: str. Name in Keras 2.
        recurrent_activation: str. Name in Keras 2.
        return_sequences: bool. Whether the network predicts at every step.
        steps: int or `None`. Steps of the input, if they are fixed.
    """

    kind: str
    names: tuple[str, ...]
    units: tuple[int, ...]
    symbols: int
    dropout: float
    recurrent_dropout: float
    activation: str
    recurrent_activation: str
    return_sequences: bool
    steps: int | None

    def shapes(self) -> list[list[tuple[int, ...]]]:
        """Returns the shapes of kernel, recurrent kernel and bias of each layer."""
        gates = GATES[self.kind]
        shapes: list[list[tuple[int, ...]]] = []
        for inputs, units in zip((self.symbols, *self.units), self.units, strict=False):
            bias = (2, gates * units) if self.kind == "GRU" else (gates * units,)
            shapes.append([(inputs, gates * units), (units, gates * units), bias])
        return [*shapes, [(self.units[-1], self.symbols), (self.symbols,)]]


@dataclasses.dataclass(frozen=True)
class Adam:
    """The Adam optimizer of a Keras 2 file; `None` is no limit of the gradient."""

    learning_rate: float
    beta_1: float
    beta_2: float
    epsilon: float
    clipvalue: float | None
    clipnorm: float | None


def _refusal(reason: str) -> ValueError:
    return ValueError(f"is refused: {reason}")


# === The network ===
def read_stack(text: str) -> Stack:
    """Returns the network that `model_config` describes.

    Raises:
        ValueError: The text is damaged, or the network is not a stack of layers that
            `LanguageModel` supports.
    """
    layers = _layers(text)
    _check_order(layers)
    kinds = [layer["class_name"] for layer in layers if layer["class_name"] in GATES]
    recurrent = [_of(layer) for layer in layers if layer["class_name"] in GATES]
    [dense] = [_of(layer) for layer in layers if layer["class_name"] == "Dense"]
    rates = [
        fields.get(_of(layer), "rate", fields.RATE)
        for layer in layers
        if layer["class_name"] == "Dropout"
    ]
    if len(set(kinds)) != 1:
        raise _refusal(f"its recurrent layers must be of one kind, not {kinds}")
    if len(set(rates)) > 1:
        raise _refusal(f"dropout must be equal after all recurrent layers, not {rates}")
    if not fields.get(dense, "use_bias", fields.FLAG):
        raise _refusal("its dense layer has no bias")
    _check_recurrent(recurrent, kinds[0])
    first = recurrent[0]
    symbols = fields.get(dense, "units", fields.COUNT)
    return Stack(
        kind=kinds[0],
        names=tuple(each["name"] for each in (*recurrent, dense)),
        units=tuple(each["units"] for each in recurrent),
        symbols=symbols,
        dropout=float(rates[0]) if rates else 0.0,
        recurrent_dropout=float(first["recurrent_dropout"]),
        activation=first["activation"],
        recurrent_activation=first.get("recurrent_activation", "sigmoid"),
        return_sequences=recurrent[-1]["return_sequences"],
        steps=_steps(layers[:2], symbols),
    )


def _of(layer: dict) -> dict:
    return layer["config"]


def _layers(text: str) -> list[dict]:
    """Returns the layers, in order; their classes, fields and names are valid."""
    model = fields.object_of(fields.parse(text, "model_config"), "model_config", _MODEL)
    if model.get("class_name") not in ("Sequential", "Model", "Functional"):
        raise _refusal(
            f"it is a model of class {fields.quoted(model.get('class_name'))}"
        )
    network = model.get("config")
    if not isinstance(network, list):  # the list of layers in old Sequential models
        network = fields.object_of(network, "the network", _NETWORK).get("layers")
    if not isinstance(network, list) or not 0 < len(network) <= _MAX_LAYERS:
        raise damaged(f"it must have a list of at most {_MAX_LAYERS} layers")
    names = set()
    for layer in network:
        kind = fields.object_of(layer, "a layer", _LAYER).get("class_name")
        if not isinstance(kind, str) or kind not in _LAYERS:
            known = ", ".join(_LAYERS)
            raise _refusal(
                f"it has a layer of class {fields.quoted(kind)}. Supported: {known}"
            )
        config = fields.object_of(layer.get("config"), f"a {kind} layer", _LAYERS[kind])
        name = config.get("name")
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name in names:
            raise damaged(
                f"the layer name {fields.quoted(name)} is not valid, or used twice"
            )
        if layer.get("name", name) != name:
            raise damaged(
                f"the layer {name} is also named {fields.quoted(layer['name'])}"
            )
        names.add(name)
    if isinstance(model["config"], dict):
        _check_ends(model["config"], network)
    return network


def _check_ends(config: dict, layers: list[dict]) -> None:
    """Raises ValueError if input or output are not the first or the last layer."""
    for key, layer in (("input_layers", layers[0]), ("output_layers", layers[-1])):
        name = layer["config"]["name"]
        if config.get(key) not in (None, [[name, 0, 0]], [name, 0, 0]):
            raise _refusal(f"its {key} must be {name!r} only")


def _check_order(layers: list[dict]) -> None:
    """Raises ValueError if the layers are not a stack that ends with one softmax."""
    # One code per layer, so that a regular expression checks the order.
    order = "".join(
        "R" if layer["class_name"] in GATES else layer["class_name"][:2]
        for layer in layers
    )
    if not re.fullmatch("(In)?(R+|(RDr)+)De(Ac)?", order):
        names = ", ".join(layer["class_name"] for layer in layers)
        raise _refusal(
            "it must be a stack of recurrent layers, with dropout after each or none, "
            f"and a dense softmax layer, not: {printable(names, 80)}"
        )
    if layers[0].get("inbound_nodes") not in (None, []):
        raise _refusal("its first layer has an input")
    for before, layer in itertools.pairwise(layers):
        nodes = layer.get("inbound_nodes")  # a Sequential model has none
        if nodes is not None and not _follows(nodes, before["config"]["name"]):
            name = layer["config"]["name"]
            raise _refusal(f"the only input of {name} must be the previous layer")
    softmax = [
        fields.get(layer["config"], "activation", fields.TEXT)
        for layer in layers
        if layer["class_name"] in ("Dense", "Activation")
    ]
    if sorted(softmax) not in (["softmax"], ["linear", "softmax"]):
        found = fields.quoted(softmax)
        raise _refusal(f"it must end with one softmax, not with {found}")


def _follows(nodes: Any, before: str) -> bool:
    """Tells whether a layer is called once, with the output of the layer before."""
    try:
        [[[name, node, tensor, *arguments]]] = nodes
    except (TypeError, ValueError):
        return False
    return [name, node, tensor] == [before, 0, 0] and arguments in ([], [{}])


def _check_recurrent(recurrent: list[dict], kind: str) -> None:
    """Raises ValueError if `LanguageModel` does not support a recurrent layer."""
    activations = ["activation"] + ["recurrent_activation"] * (kind != "SimpleRNN")
    for each in recurrent:
        for key in activations:
            if fields.get(each, key, fields.TEXT) not in ACTIVATIONS:
                raise _refusal(f"{key}={fields.quoted(each[key])} is not supported")
        for key in ("go_backwards", "stateful"):
            if fields.get(each, key, fields.FLAG):
                raise _refusal(f"a recurrent layer has {key}=True")
        if fields.get(each, "dropout", fields.RATE):
            raise _refusal(f"a recurrent layer has dropout={each['dropout']}")
        if not fields.get(each, "use_bias", fields.FLAG):
            raise _refusal("a recurrent layer has no bias")
        # Early versions of Keras 2 did not have this field.
        if kind == "GRU" and not fields.get(
            {"reset_after": False, **each}, "reset_after", fields.FLAG
        ):
            raise _refusal("GRU layers without reset_after are not supported")
        fields.get(each, "units", fields.COUNT)
        fields.get(each, "return_sequences", fields.FLAG)
        fields.get(each, "recurrent_dropout", fields.RATE)
    if not all(each["return_sequences"] for each in recurrent[:-1]):
        raise _refusal("a recurrent layer before the last has return_sequences=False")
    for key in (*activations, "recurrent_dropout"):
        if len({each[key] for each in recurrent}) != 1:
            raise _refusal(f"its recurrent layers differ in {key}")


def _steps(layers: list[dict], symbols: int) -> int | None:
    """Returns the fixed number of steps of the input, from the first two layers."""
    found: int | None = None
    for layer in layers:
        shape = layer["config"].get("batch_input_shape")
        if shape is None and layer["class_name"] != "InputLayer":
            continue
        if not (
            isinstance(shape, list)
            and len(shape) == 3
            and all(each is None or fields.count(each) for each in shape[:2])
            and type(shape[2]) is int
        ):
            raise damaged(f"batch_input_shape={fields.quoted(shape)} is not a shape")
        if shape[2] != symbols:
            raise _refusal(f"it reads {shape[2]} symbols, but predicts {symbols}")
        if shape[1] is not None and shape[1] > _MAX_STEPS:
            raise _refusal(f"a text of {shape[1]:,} steps is too long")
        found = found or shape[1]
    return found


# === The optimizer ===
def read_optimizer(text: str) -> Adam | str:
    """Returns the optimizer that `training_config` describes.

    Returns:
        `Adam`, or a description of another optimizer, which cannot be converted.

    Raises:
        ValueError: The text is damaged.
    """
    what = "training_config"
    training = fields.object_of(fields.parse(text, what), what, _TRAINING)
    optimizer = fields.object_of(training.get("optimizer_config"), "the optimizer")
    name = fields.get(optimizer, "class_name", fields.NAME)
    config = fields.object_of(optimizer.get("config"), name)
    loss = fields.get(training, "loss", _LOSS)
    quoted = [fields.quoted(each) for each in (name, config, loss)]
    other = "{} with {}, for the loss {}".format(*quoted)
    if name != "Adam" or loss not in _LOSSES:
        return other
    fields.object_of(config, name, _ADAM)
    rates = [key for key in ("lr", "learning_rate") if key in config]
    if len(rates) != 1:
        raise damaged("the optimizer must have one learning rate")
    for key in ("amsgrad", "use_ema"):
        if key in config and fields.get(config, key, fields.FLAG):
            return other
    for key in ("decay", "weight_decay"):
        if config.get(key) is not None and fields.get(config, key, fields.SHARE):
            return other
    if _limit(config, "global_clipnorm"):
        return other
    if isinstance(config[rates[0]], dict):
        fields.get(config[rates[0]], "class_name", fields.NAME)  # a schedule
        return other
    return Adam(
        learning_rate=float(fields.get(config, rates[0], fields.SPEED)),
        beta_1=float(fields.get(config, "beta_1", fields.RATE)),
        beta_2=float(fields.get(config, "beta_2", fields.RATE)),
        epsilon=float(fields.get(config, "epsilon", fields.SHARE)),
        clipvalue=_limit(config, "clipvalue"),
        clipnorm=_limit(config, "clipnorm"),
    )


def _limit(config: dict, key: str) -> float | None:
    return (
        None
        if config.get(key) is None
        else float(fields.get(config, key, fields.LIMIT))
    )


def iterations_of(value: float) -> int:
    """Returns the number of steps of an optimizer, stored as any number."""
    if not (0 <= value <= _MAX_ITERATIONS and value == int(value)):
        raise damaged(f"the optimizer has {value} iterations")
    return int(value)
