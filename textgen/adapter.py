"""Any network of Keras's own layers as a model that writes, scores and is one file.

Names of dimensions: N texts, T steps, L steps of a window, V symbols of the vocabulary,
F features.
"""

import contextlib
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import keras
from keras import ops

from textgen import layers
from textgen.metrics import log_of
from textgen.saving import OneFile
from textgen.training import Trainer
from textgen.vocabulary import NO_SYMBOL, Vocabulary
from textgen.writing import Writer, windows_of

_MODELS = ("Sequential", "Functional")
_RECURRENT = ("LSTM", "GRU", "SimpleRNN")

# Of Keras, what says the same at a step whatever comes at the others, ...
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
# ... and all that a network may be made of.
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
_OWN_INPUTS = (layers.OneHot, layers.Embedding)  # which take -1 for no symbol
_OWN_RECURRENT = (layers.LSTM, layers.GRU, layers.SimpleRNN)

# What changes neither logits nor probabilities.
_SILENT = (
    "Dropout",
    "Flatten",
    "GaussianDropout",
    "GaussianNoise",
    "Reshape",
    "SpatialDropout1D",
)


def from_keras(
    network: keras.Model,
    vocabulary: Vocabulary,
    input: str | None = None,
    output: str | None = None,
    sequence_length: int | None = None,
    padding: str | None = None,
) -> "KerasWriter":
    """Makes a model that writes of a network of one's own.

    The weights are shared, not copied: training either trains both. If the network is
    compiled, the result is so too, and goes on from the optimizer's state.

    Args:
        network: `keras.Sequential`, or functional `keras.Model`, built, with one input
            and one output, of the layers in `LAYERS` and of textgen's own. Input: ids
            `(N, T)`, or one-hot `(N, T, V)`. Output: logits or probabilities of the
            next symbol, `(N, V)`, or `(N, T, V)` at each step.
        vocabulary: `Vocabulary`. Its symbols are the ids of input and output.
        input: `"ids"`, `"one_hot"`, or `None` to tell by the shape. Defaults to `None`.
        output: `"logits"`, `"probabilities"`, or `None` to tell by the activation of
            the last layer. Defaults to `None`.
        sequence_length: int or `None`. Steps of the window by which the model writes,
            where the network leaves them open. Defaults to `None`: those of the
            network, or 40.
        padding: str or `None`. The symbol with which a text is padded on the left, for
            a network that takes ids. Defaults to `None`: none, for a network that
            begins with textgen's `OneHot` or `Embedding`, which know "no symbol";
            otherwise the newline, the space, or the first symbol, whichever the
            vocabulary has. For one-hot input it is rows of zeros.

    Returns:
        A `KerasWriter`.

    Raises:
        ValueError: The network is not such a one, it does not fit the vocabulary, or an
            argument contradicts it.

    Example:

    ```python
    vocabulary = textgen.Vocabulary.from_text(text)
    network = keras.Sequential(
        [
            keras.Input((40,), dtype="int32"),
            keras.layers.Embedding(len(vocabulary), 16),
            keras.layers.Bidirectional(keras.layers.GRU(64)),
            keras.layers.Dense(len(vocabulary), activation="softmax"),
        ]
    )
    network.compile("adam", "sparse_categorical_crossentropy")
    model = textgen.LanguageModel.from_keras(network, vocabulary)
    model.fit(textgen.WindowDataset(vocabulary.encode(text), 40), epochs=5)
    print(model.generate("shall i compare ", temperature=0.7))
    ```
    """
    writer = KerasWriter(network, vocabulary, input, output, sequence_length, padding)
    if network.compiled:
        writer.compile_from_config(network.get_compile_config())
    if writer.compiled:
        old, new = network.optimizer, writer.optimizer
        if old.built and [v.shape for v in old.variables] == [
            v.shape for v in new.variables
        ]:
            for mine, known in zip(new.variables, old.variables, strict=True):
                mine.assign(known)
    return writer


@keras.saving.register_keras_serializable(package="textgen")
class KerasWriter(OneFile, Writer, Trainer):
    """A network of Keras's own layers that carries its vocabulary and writes text.

    `from_keras` makes it, and says what the arguments mean. Input and output are those
    of the network, whose layers are shared, not copied: training either trains both.
    `fit`, `evaluate` and `predict` are those of `LanguageModel`.

    A plain stack of recurrent layers with `return_sequences=True`, and otherwise of
    layers that work step by step, writes by carrying its state from symbol to symbol
    (`carries_state`). Anything else writes by sliding a window of `sequence_length`
    symbols, padded on the left, of which it is asked for the last step.

    Args:
        network: `keras.Sequential` or functional `keras.Model`.
        vocabulary: `Vocabulary`.
        input: `"ids"`, `"one_hot"` or `None`.
        output: `"logits"`, `"probabilities"` or `None`.
        sequence_length: int or `None`.
        padding: str or `None`.
        start_step: bool. Whether texts begin with a start step, of zeros or of the
            padding; only for a network that carries its state. `fit` sets the attribute
            to what the dataset does. Defaults to `False`.
        **kwargs: `name`, and `dtype`, which is that of the network by default.

    Raises:
        ValueError: As for `from_keras`.
    """

    def __init__(
        self,
        network: keras.Model,
        vocabulary: Vocabulary,
        input: str | None = None,
        output: str | None = None,
        sequence_length: int | None = None,
        padding: str | None = None,
        start_step: bool = False,
        **kwargs: Any,
    ) -> None:
        if not isinstance(vocabulary, Vocabulary):
            raise ValueError(f"vocabulary={vocabulary!r} must be a textgen.Vocabulary.")
        _check_network(network)
        kind = _input_kind(network, len(vocabulary), input)
        padding, start_id = _padding(network, vocabulary, kind, padding)
        kwargs.setdefault("dtype", network.dtype_policy)
        # The network casts its input itself, and knows whether it is ids.
        super().__init__(autocast=False, **kwargs)

        # The same layers, as a model that is not compiled: it is saved without a
        # second optimizer.
        [first], [last] = network.inputs, network.outputs
        self.network = keras.Model(first, last, name=network.name)
        self.vocabulary = vocabulary
        self.input_kind = kind
        self.output_kind = _output_kind(network, len(vocabulary), output)
        self.sequence_length = _window(network, sequence_length)
        self.padding = padding
        self.return_sequences = len(last.shape) == 3
        self.carries_state = self.return_sequences and _stack(network) is not None
        self.start_step = start_step
        self._start_id = start_id
        self.stateful = bool(self._stateful_layers())
        if not self.carries_state:
            _check_not_stateful(network)
            self._slide(self.sequence_length)
        self.built = True

    def build(self, input_shape: tuple) -> None:
        """Makes nothing: the network is built."""

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Returns the network's output, logits or probabilities."""
        if self.input_kind == "one_hot" and len(inputs.shape) == 2:
            inputs = self._fed(inputs)  # ids, as textgen's datasets yield them
        if self.input_kind == "ids" and self._start_id != NO_SYMBOL:
            # Keras's Embedding knows no -1: texts are padded with a symbol instead.
            start = ops.cast(self._start_id, inputs.dtype)
            inputs = ops.where(inputs == NO_SYMBOL, start, inputs)
        return self.network(inputs, training=training)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Returns `(N, V)` or `(N, T, V)`."""
        return self.network.compute_output_shape(input_shape)

    # === Carried states, which are the layers' own ===

    def _stateful_layers(self) -> list:
        layers = _inside(self.network)
        return [layer for layer in layers if getattr(layer, "stateful", False)]

    def reset_state(self) -> None:
        """Sets the states that stateful layers carry to zero."""
        for layer in self._stateful_layers():
            layer.reset_state()

    @contextlib.contextmanager
    def _evaluating(self, x: Any, batch_size: int | None) -> Iterator[None]:
        states = [
            state
            for layer in self._stateful_layers()
            for state in keras.tree.flatten(layer.states)
        ]
        before = [ops.copy(state) for state in states]
        self.reset_state()
        try:
            yield
        finally:
            for state, value in zip(states, before, strict=True):
                state.assign(value)

    # === Reading, for all that `Writer` does ===

    def _reading(self) -> Sequence:
        return self.network.variables

    def _states(self, rows: int) -> list:
        return [
            layer.get_initial_state(batch_size=rows)
            for layer in _stack(self.network) or ()
            if _is_recurrent(layer)
        ]

    def _step(self, ids: Any, carry: list) -> tuple[Any, list]:
        ids = ops.expand_dims(ids, 1)
        if not self.carries_state:
            window = ops.concatenate([carry[0][:, 1:], ids], axis=1)
            with _for_reading(self.network):
                outputs = self.network(self._fed(window))
            return self._logits(self._last(outputs)), [window]

        def step(layer: Any, x: Any, state: list) -> tuple:
            x, state = layer.cell(x[:, 0], state)
            return ops.expand_dims(x, 1), *state

        _, logits, carry = self._walk(ids, carry, step)
        return logits[:, 0], carry

    def _read(self, ids: Any, carry: list) -> tuple[Any, Any, list]:
        if self.carries_state:
            with _for_reading(self.network, return_state=True, stateful=False):
                return self._walk(
                    ids, carry, lambda layer, x, state: layer(x, initial_state=state)
                )
        windows, last = windows_of(carry[0], ids)
        outputs = self.network.outputs[0]
        found = _before_last_dense(outputs)
        with _for_reading(self.network):
            both = keras.Model(self.network.inputs[0], [found, outputs])
            found, outputs = map(self._last, both(self._fed(windows)))
        features = ops.reshape(found, (*ids.shape, -1))
        logits = ops.reshape(self._logits(outputs), (*ids.shape, -1))
        return features, logits, [last]

    def _walk(self, ids: Any, carry: list, advance: Callable) -> tuple[Any, Any, list]:
        """Goes through the stack, with `advance` at each recurrent layer.

        Returns:
            The output of the last recurrent layer, the logits, and the carry.
        """
        x = features = self._fed(ids)
        states: list = []
        for layer in _stack(self.network) or ():
            if _is_recurrent(layer):
                x, *state = advance(layer, x, carry[len(states)])
                states.append([ops.cast(each, layer.compute_dtype) for each in state])
                features = x
            else:
                x = layer(x)
        return features, self._logits(x), states

    def _fed(self, ids: Any) -> Any:
        """What the network takes for ids, `(N, T)`; -1 is a row of zeros."""
        if self.input_kind == "ids":
            return ids
        return ops.one_hot(
            ids, len(self.vocabulary), dtype=self.network.inputs[0].dtype
        )

    def _last(self, outputs: Any) -> Any:
        """The last step of an output, `(N, F)`."""
        return outputs[:, -1] if len(outputs.shape) == 3 else outputs

    def _logits(self, outputs: Any) -> Any:
        """Logits, for an output of the network."""
        return outputs if self.output_kind == "logits" else log_of(outputs)

    # === Saving ===

    def get_config(self) -> dict:
        """Returns the arguments of the constructor, as JSON can hold them."""
        return {
            "name": self.name,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
            "network": keras.saving.serialize_keras_object(self.network),
            "vocabulary": self.vocabulary.get_config(),
            "input": self.input_kind,
            "output": self.output_kind,
            "sequence_length": self.sequence_length,
            "padding": self.padding,
            "start_step": self.start_step,
        }

    @classmethod
    def from_config(
        cls, config: dict, custom_objects: dict | None = None
    ) -> "KerasWriter":
        """Makes the model that `get_config` describes, with new weights."""
        config = dict(config)
        config["network"] = keras.saving.deserialize_keras_object(
            config["network"], custom_objects
        )
        config["vocabulary"] = Vocabulary(**config["vocabulary"])
        config["dtype"] = keras.dtype_policies.deserialize(config["dtype"])
        return cls(**config)


@contextlib.contextmanager
def _for_reading(network: keras.Model, **settings: Any) -> Iterator[None]:
    """Has the recurrent layers compute as a compiled function without training needs.

    cuDNN's kernels cannot be part of one, an unrolled loop makes it large, and Keras
    draws dropout masks even where it does not use them, which would move the seed of
    the training on.

    Args:
        network: Model.
        **settings: Further attributes of the recurrent layers to set meanwhile.
    """
    settings = {"use_cudnn": False, "unroll": False, **settings}
    before: list[tuple[Any, str, Any]] = []
    try:
        for layer in _inside(network):
            if not _is_recurrent(layer):
                continue
            wanted = [(layer, name, value) for name, value in settings.items()]
            for name in ("dropout", "recurrent_dropout"):
                wanted.append((layer.cell, name, 0.0))
            for owner, name, value in wanted:
                if hasattr(owner, name):
                    before.append((owner, name, getattr(owner, name)))
                    setattr(owner, name, value)
        yield
    finally:
        for owner, name, value in reversed(before):
            setattr(owner, name, value)


# === What a network is made of ===


def _is_own(thing: Any, names: Iterable[str]) -> bool:
    """Whether the class of an object is exactly one of Keras's own, of these names."""
    kind = type(thing)
    return kind.__module__.split(".")[0] == "keras" and kind.__name__ in names


def _is_recurrent(layer: Any) -> bool:
    return type(layer) in _OWN_RECURRENT or _is_own(layer, _RECURRENT)


def _inside(layer: Any) -> Iterator[Any]:
    """All layers in a layer, and in these; and operations that are no layers."""
    inner: list = []
    if _is_own(layer, ["Functional"]):
        inner = layer.operations
    elif _is_own(layer, ["Sequential"]):
        inner = layer.layers
    elif _is_own(layer, ["TimeDistributed"]):
        inner = [layer.layer]
    elif _is_own(layer, ["Bidirectional"]):
        inner = [layer.forward_layer, layer.backward_layer]
    for name in ("activation", "recurrent_activation"):
        if isinstance(activation := getattr(layer, name, None), keras.Layer):
            inner = [*inner, activation]
    for each in inner:
        yield each
        yield from _inside(each)


def _check_network(network: Any) -> None:
    if not _is_own(network, _MODELS):
        raise ValueError(
            f"A network of the class {type(network).__name__} cannot be taken over: it "
            "is unknown what its code does with the input, and its file could not be "
            "loaded without that code. Make it with keras.Sequential(layers) or "
            "keras.Model(inputs, outputs)."
        )
    if not network.built or not getattr(network, "_functional", True):
        raise ValueError(
            f"The network {network.name!r} is not built, so that its shapes are "
            "unknown. Begin it with keras.Input((steps,), dtype='int32'), for example."
        )
    for name in ("inputs", "outputs"):
        if (count := len(getattr(network, name))) != 1:
            raise ValueError(
                f"The network {network.name!r} has {count} {name}; it must have one "
                "input, the text, and one output, the next symbol. Make a keras.Model "
                "of these alone."
            )
    for layer in _inside(network):
        is_layer = isinstance(layer, keras.Layer)
        if (
            type(layer) in (*_OWN_INPUTS, *_OWN_RECURRENT)
            or (is_layer and _is_own(layer, LAYERS))
            or _makes_mask(layer)
        ):
            continue
        what = "layer" if is_layer else "operation"
        raise ValueError(
            f"The {what} {layer.name!r} ({type(layer).__name__}) cannot be taken over: "
            "it is none of those that are known to load safely from a file, wherever "
            "that is. Put one of Keras's own layers in its place; "
            "textgen.adapter.LAYERS names those that are accepted."
        )
    for layer in _inside(network):
        for owner in (layer, getattr(layer, "cell", None)):
            for name, value in vars(owner).items() if owner is not None else ():
                module = getattr(value, "__module__", None) or ""
                if callable(value) and module.split(".")[0] not in ("keras", "textgen"):
                    raise ValueError(
                        f"The layer {layer.name!r} ({type(layer).__name__}) has "
                        f"{name}={getattr(value, '__name__', value)!r}, which is not "
                        "Keras's own: a file of the model could not be loaded without "
                        "its code. Use one that Keras has a name for."
                    )


def _makes_mask(operation: Any) -> bool:
    """Whether it is one of the operations with which Keras's layers make masks."""
    return type(operation).__module__.startswith("keras.src.ops.") and all(
        output.dtype == "bool"
        for node in operation._inbound_nodes
        for output in node.outputs
    )


def _check_not_stateful(network: keras.Model) -> None:
    for layer in _inside(network):
        if getattr(layer, "stateful", False):
            raise ValueError(
                f"The layer {layer.name!r} ({type(layer).__name__}) is stateful, in a "
                "network that writes by its window: its state would go on from one "
                "window to the next, though they overlap. Make it with stateful=False."
            )


def _origin(tensor: Any) -> tuple[Any, Any]:
    """The operation that a tensor of a network comes from, and the node of its call."""
    operation, index, _ = tensor._keras_history
    return operation, operation._inbound_nodes[index]


def _sources(node: Any) -> list:
    """The tensors that a layer was called with, but for masks."""
    return [
        tensor
        for tensor in node.input_tensors
        if isinstance(_origin(tensor)[0], keras.Layer)
    ]


def _stack(network: keras.Model) -> list | None:
    """The layers of a network that carries its state, in order; otherwise `None`."""
    found = _chain(network)
    if found is None or not all(map(_works_step_by_step, found)):
        return None
    return found if any(map(_is_recurrent, found)) else None


def _chain(network: keras.Model) -> list | None:
    """The layers of a network, if each takes just the output of the one before it."""
    found: list = []
    tensor = network.outputs[0]
    while tensor is not network.inputs[0]:
        operation, node = _origin(tensor)
        arguments = [*node.arguments.args[1:], *node.arguments.kwargs.values()]
        if (
            len(_sources(node)) != 1
            or tensor is not node.outputs[0]
            or any(each is not None and each is not False for each in arguments)
        ):
            return None
        part: list | None = [operation]
        if _is_own(operation, _MODELS):
            part = _chain(operation)
        elif _is_own(operation, ["TimeDistributed"]):
            part = [operation.layer]  # which does the same to all steps at once
            if not _is_own(operation.layer, ["Dense", "Activation"]):
                return None
        if part is None:
            return None
        found = part + found
        [tensor] = _sources(node)
    return found


def _works_step_by_step(layer: Any) -> bool:
    if _is_recurrent(layer):
        return layer.return_sequences and not layer.go_backwards
    if getattr(layer, "mask_zero", False) or not _on_last_axis(layer):
        return False
    activation = getattr(layer, "activation", None)
    if isinstance(activation, keras.Layer) and not _works_step_by_step(activation):
        return False
    return type(layer) in _OWN_INPUTS or _is_own(layer, _STEPWISE)


def _on_last_axis(layer: Any) -> bool:
    """Whether a layer that works along an axis does so along the last one of three."""
    axes = getattr(layer, "axis", -1)
    return all(
        axis in (-1, 2) for axis in (axes if isinstance(axes, list | tuple) else [axes])
    )


def _before_last_dense(outputs: Any) -> Any:
    """The input of the last Dense layer, as a tensor of the network; or `outputs`."""
    tensor = outputs
    while True:
        operation, node = _origin(tensor)
        if len(_sources(node)) != 1:
            return outputs
        [tensor] = _sources(node)
        if _is_own(getattr(operation, "layer", operation), ["Dense"]):
            return tensor if len(tensor.shape) in (2, 3) else outputs


# === What goes in and comes out ===


def _lookups(network: keras.Model) -> list:
    """The layers in which ids are looked up."""
    return [
        layer
        for layer in _inside(network)
        if type(layer) in _OWN_INPUTS or _is_own(layer, ["Embedding"])
    ]


def _input_kind(network: keras.Model, size: int, named: str | None) -> str:
    """`"ids"` or `"one_hot"`, as named or by the shape."""
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
            f"The network's input has the shape {shape}, which is not that of "
            f"{named or 'ids or one_hot'}: ids are (batch, steps), and one-hot is "
            f"(batch, steps, {size}) with this vocabulary of {size} symbols."
        )
    integers = keras.backend.is_int_dtype(tensor.dtype)
    if kind == "ids" and named is None and not lookups and not integers:
        raise ValueError(
            f"The network's input of shape {shape} and dtype {tensor.dtype} is looked "
            "up in no Embedding and no textgen.OneHot. If it is ids all the same, say "
            f"input='ids'; one-hot is (batch, steps, {size})."
        )
    for layer in lookups:
        known = layer.size if isinstance(layer, layers.OneHot) else layer.input_dim
        if known < size:
            raise ValueError(
                f"The layer {layer.name!r} ({type(layer).__name__}) knows {known} ids, "
                f"and the vocabulary has {size} symbols. Make both equal."
            )
    return kind


def _output_kind(network: keras.Model, size: int, named: str | None) -> str:
    """`"logits"` or `"probabilities"`, as named or by the last activation."""
    if named not in (None, "logits", "probabilities"):
        raise ValueError(f"output={named!r} must be 'logits', 'probabilities' or None.")
    shape = tuple(network.outputs[0].shape)
    if len(shape) not in (2, 3) or shape[-1] != size:
        raise ValueError(
            f"The network's output has the shape {shape}; with this vocabulary of "
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
            "which does not tell what its output is: say output='logits' or "
            "output='probabilities'."
        )
    if kind is not None and named not in (None, kind):
        raise ValueError(
            f"output={named!r} contradicts the activation {activation!r} of the last "
            f"layer, {layer.name!r} ({type(layer).__name__}): its output is {kind}."
        )
    return named or kind or ""


def _last_activation(network: keras.Model) -> tuple[Any, str]:
    """The last layer that computes, and its activation; `""` where it has none."""
    tensor = network.outputs[0]
    while True:
        operation, node = _origin(tensor)
        if not _is_own(operation, _SILENT):
            break
        [tensor] = _sources(node)
    while _is_own(operation, ["TimeDistributed"]):
        operation = operation.layer
    if _is_own(operation, _MODELS):
        return _last_activation(operation)
    activation = getattr(operation, "activation", operation)
    if _is_own(activation, ["Softmax"]):
        axis = activation.axis
        return operation, "softmax" if axis in (-1, len(tensor.shape) - 1) else ""
    # The output of an LSTM or a GRU is more than its activation.
    named = not hasattr(operation, "cell")
    return operation, getattr(activation, "__name__", "") if named else ""


def _window(network: keras.Model, named: int | None) -> int:
    """Steps of a window, as named or as the network's input has them."""
    fixed = network.inputs[0].shape[1]
    if named is not None and operator.index(named) < 1:
        raise ValueError(f"sequence_length={named} must be at least 1.")
    if fixed is not None and named not in (None, fixed):
        raise ValueError(
            f"sequence_length={named} contradicts the network's input, which has "
            f"{fixed} steps. Leave sequence_length out."
        )
    return fixed or named or 40


def _padding(
    network: keras.Model, vocabulary: Vocabulary, kind: str, named: str | None
) -> tuple[str | None, int]:
    """The symbol with which texts are padded, and its id; `None` for no symbol."""
    if kind == "one_hot":
        if named is not None:
            raise ValueError(
                f"padding={named!r} is for networks that take ids; one-hot input is "
                "padded with rows of zeros."
            )
        return None, NO_SYMBOL
    if named is None:
        lookups = _lookups(network)
        if lookups and all(type(layer) in _OWN_INPUTS for layer in lookups):
            return None, NO_SYMBOL
        known = [symbol for symbol in ("\n", " ") if symbol in vocabulary]
        named = [*known, vocabulary.symbols[0]][0]
    if named not in vocabulary:
        raise ValueError(
            f"padding={named!r} is not in the vocabulary of {len(vocabulary)} symbols."
        )
    return named, vocabulary.ids[named]
