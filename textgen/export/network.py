"""The layers of a model, as the exported page computes them, and their weights.

`network.js` has a function for each kind of layer. Kernels are stored transposed, so
that a product with a vector reads the weights in their order; a kernel that multiplies
one-hot vectors is stored as it is, so that an id is a row.

Names of dimensions: V ids, D inputs, H units, G gates.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from textgen.decoding.readers import Reader, WindowReader
from textgen.layers.cells import CELLS, GATES
from textgen.layers.inputs import OneHot
from textgen.models import network as networks
from textgen.models.keras_writer import KerasWriter
from textgen.models.language_model import LanguageModel

# The names in `network.js`.
ACTIVATIONS = (
    "elu",
    "exponential",
    "hard_sigmoid",
    "keras2_hard_sigmoid",
    "linear",
    "relu",
    "selu",
    "sigmoid",
    "silu",
    "softsign",
    "tanh",
)

# They have no effect on a text that is generated.
_TRAINING_ONLY = ("Dropout", "GaussianDropout", "GaussianNoise", "SpatialDropout1D")

_REMEDY = (
    "The page can compute LSTM, GRU, SimpleRNN, Embedding, OneHot, LayerNormalization, "
    "Dense, Dropout and Activation, one after the other: build the network with them, "
    "or generate with textgen."
)


class Stack:
    """The layers of a network in their order, for the page.

    Args:
        inputs: int. Number of ids, V.

    Attributes:
        layers: list of dict. The descriptions, as values that JSON can hold.
        arrays: list of float arrays. The weights, in the order in which `network.js`
            takes them.
    """

    def __init__(self, inputs: int) -> None:
        self.layers: list[dict[str, Any]] = []
        self.arrays: list[np.ndarray] = []
        self._size = inputs
        self._reads_ids = True  # no layer has converted the ids to vectors yet

    def add(self, layer: Any) -> None:
        """Adds a layer of Keras or of textgen.

        Raises:
            ValueError: The page cannot compute it. The message says what to do.
        """
        kind = type(layer).__name__
        if networks.is_recurrent(layer):
            self._add_recurrent(layer)
        elif isinstance(layer, keras.layers.Embedding) and self._reads_ids:
            self._add_embedding(layer)
        elif kind == "LayerNormalization" and not self._reads_ids:
            self._add_norm(layer)
        elif kind == "Dense":
            self._add_dense(layer)
        elif kind in ("Activation", "Softmax") and not self._reads_ids:
            self._add_activation(layer)
        elif not isinstance(layer, OneHot) and kind not in _TRAINING_ONLY:
            raise ValueError(
                f"The layer {layer.name!r} ({kind}) cannot be exported. {_REMEDY}"
            )

    def add_tied(self, layer: Any) -> None:
        """Adds a `TiedOutput`, whose kernel is the table of the embedding."""
        self._append("dense", layer.size, activation="linear", tied=True)
        self.arrays.append(array_of(layer.bias))

    def _append(self, kind: str, units: int, **more: Any) -> None:
        lookup, self._reads_ids = self._reads_ids, False
        sizes = {"inputs": self._size, "units": units, "lookup": lookup}
        self.layers.append({"kind": kind, **sizes, **more})
        self._size = units

    def _add_kernel(self, kernel: Any) -> None:
        array = array_of(kernel)
        self.arrays.append(array if self._reads_ids else array.T)

    def _add_embedding(self, layer: Any) -> None:
        self._size = layer.input_dim
        self.arrays.append(array_of(layer.embeddings))
        self._append("embedding", layer.output_dim)

    def _add_norm(self, layer: Any) -> None:
        axes = layer.axis if isinstance(layer.axis, list | tuple) else [layer.axis]
        if getattr(layer, "rms_scaling", False) or list(axes) not in ([-1], [2]):
            raise ValueError(
                f"The layer {layer.name!r} (LayerNormalization) has rms_scaling or "
                "another axis than the last: build it without."
            )
        size = self._size
        self.arrays.append(array_of(layer.gamma) if layer.scale else np.ones(size))
        self.arrays.append(array_of(layer.beta) if layer.center else np.zeros(size))
        self._append("layer_norm", size, epsilon=float(layer.epsilon))

    def _add_dense(self, layer: Any) -> None:
        self._add_kernel(layer.kernel)
        self.arrays.append(
            array_of(layer.bias) if layer.use_bias else np.zeros(layer.units)
        )
        name = _name_of(layer.activation)
        # The page samples from logits: a softmax at the end changes nothing.
        plain = "linear" if name in ("softmax", "log_softmax") else name
        self._append("dense", layer.units, activation=_known(plain, layer))
        self.layers[-1]["softmax"] = plain != name

    def _add_activation(self, layer: Any) -> None:
        is_softmax = type(layer).__name__ == "Softmax"
        name = "softmax" if is_softmax else _name_of(layer.activation)
        plain = "linear" if name in ("softmax", "log_softmax") else name
        self._append("activation", self._size, activation=_known(plain, layer))
        self.layers[-1]["softmax"] = plain != name

    def _add_recurrent(self, layer: Any) -> None:
        if layer.go_backwards:
            raise ValueError(
                f"The layer {layer.name!r} reads backwards, which the page does not "
                "compute. Build it with go_backwards=False."
            )
        cell, units = layer.cell, layer.units
        [kind] = [key for key, name in CELLS.items() if name == type(layer).__name__]
        width = GATES[kind] * units
        self._add_kernel(cell.kernel)
        self.arrays.append(array_of(cell.recurrent_kernel).T)
        more: dict[str, Any] = {"activation": _known(_name_of(cell.activation), layer)}
        bias = array_of(cell.bias) if cell.use_bias else np.zeros(width)
        if kind != "simple_rnn":
            more["gates"] = _known(_name_of(cell.recurrent_activation), layer)
        if kind == "gru":
            more["reset_after"] = bool(cell.reset_after)
            if bias.ndim == 1:  # only one bias, without reset_after
                bias = np.stack([bias, np.zeros(width)])
        self.arrays.append(bias)
        self._append(kind, units, **more)


def stack_of(model: Any) -> Stack:
    """Returns the layers of a model, and its weights.

    Args:
        model: `LanguageModel`, or the result of `textgen.from_keras`.

    Raises:
        ValueError: The page cannot compute the model; the message says what to do.
    """
    if type(model) is LanguageModel:
        stack = Stack(model.num_inputs)
        stack.add(model.input_layer)
        for index, layer in enumerate(model.recurrent_layers):
            stack.add(layer)
            if model.norm_layers:
                stack.add(model.norm_layers[index])
        if model.tie_weights:
            stack.add_tied(model.output_layer)
        else:
            stack.add(model.output_layer)
    elif type(model) is KerasWriter:
        stack = _wrapped(model)
    else:
        raise ValueError(
            f"A {type(model).__name__} cannot be exported: only a LanguageModel, or a "
            "network that textgen.from_keras wraps, becomes a page. Of a blend, export "
            "one of its models."
        )
    for array in stack.arrays:
        if not np.all(np.isfinite(array)):
            raise ValueError(
                "The model has weights that are not finite numbers: its training "
                "diverged. Export an earlier state, or train it again."
            )
    return stack


def _wrapped(model: KerasWriter) -> Stack:
    for layer in networks.layers_in(model.network):
        if getattr(layer, "mask_zero", False):
            raise ValueError(
                f"The layer {layer.name!r} ({type(layer).__name__}) has mask_zero=True"
                ", which the page does not compute. Build it without."
            )
    layers = networks.chain_of(model.network)
    if layers is None:
        raise ValueError(
            f"The network {model.network.name!r} is not a plain stack of layers. "
            + _REMEDY
        )
    stack = Stack(len(model.vocabulary))
    for layer in layers:
        stack.add(layer)
    inner, last = stack.layers[:-1], stack.layers[-1]
    softmax = last.get("softmax", False)
    if any(each.get("softmax") for each in inner) or (
        model.output_kind == "probabilities" and not softmax
    ):
        raise ValueError(
            f"The network {model.network.name!r} must end with logits or with a "
            "softmax, and have no other softmax, to be exported."
        )
    return stack


def reading_of(reader: Reader) -> dict[str, Any]:
    """Returns how a model reads ids, for the page.

    Returns:
        dict of `window`, the length or `None`; `start`, the id before a text; and
        `start_step`, whether every text begins with it.
    """
    return {
        "window": reader.length if isinstance(reader, WindowReader) else None,
        "start": reader.start_id,
        "start_step": bool(reader.start_step),
    }


def array_of(weight: Any) -> np.ndarray:
    """Returns a weight of any dtype as a float32 array."""
    return np.asarray(ops.convert_to_numpy(ops.cast(weight, "float32")))


def _name_of(activation: Any) -> str:
    return getattr(activation, "__name__", type(activation).__name__)


def _known(name: str, layer: Any) -> str:
    if name not in ACTIVATIONS:
        raise ValueError(
            f"The layer {layer.name!r} ({type(layer).__name__}) has the activation "
            f"{name}, which the page does not compute. It knows "
            f"{', '.join(ACTIVATIONS)}."
        )
    return name
