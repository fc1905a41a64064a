"""Any network of Keras's own layers as a model that writes, scores and is one file.

Names of dimensions: N texts, T steps, L steps of a window, V symbols of the vocabulary,
F features.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras import ops

from textgen.decoding.readers import Reader, StateReader, WindowReader
from textgen.decoding.writer import Writer
from textgen.models import network as networks
from textgen.models.saving import OneFile
from textgen.text.vocabulary import NO_SYMBOL, Vocabulary
from textgen.training.losses import log_of
from textgen.training.trainer import Trainer


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
        end_token: int or `None`. As for `LanguageModel`.
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
        end_token: int | None = None,
        **kwargs: Any,
    ) -> None:
        if not isinstance(vocabulary, Vocabulary):
            raise ValueError(f"vocabulary={vocabulary!r} must be a textgen.Vocabulary.")
        networks.check_network(network)
        kind = networks.input_kind(network, len(vocabulary), input)
        padding, start_id = networks.padding_of(network, vocabulary, kind, padding)
        kwargs.setdefault("dtype", network.dtype_policy)
        # The network casts its input itself, and knows whether it is ids.
        super().__init__(autocast=False, **kwargs)

        # The same layers, as a model that is not compiled: it is saved without a
        # second optimizer.
        [first], [last] = network.inputs, network.outputs
        self.network = keras.Model(first, last, name=network.name)
        self.vocabulary = vocabulary
        self.input_kind = kind
        self.output_kind = networks.output_kind(network, len(vocabulary), output)
        self.sequence_length = networks.window_length(network, sequence_length)
        self.padding = padding
        self.return_sequences = len(last.shape) == 3
        self.carries_state = (
            self.return_sequences and networks.stack_of(network) is not None
        )
        self.end_token = end_token
        self.stateful = bool(self._stateful_layers())
        self.reader: Reader
        if self.carries_state:
            self.reader = StateReader(
                self._states,
                self._step,
                self._read,
                lambda: self.network.variables,
                start_id,
                start_step,
            )
        else:
            networks.check_not_stateful(network)
            self.reader = WindowReader(
                self._predict_windows,
                lambda: self.network.variables,
                self.sequence_length,
                start_id,
                start_step,
            )
        self.built = True

    def __repr__(self) -> str:
        names = ", ".join(type(layer).__name__ for layer in self.network.layers)
        return (
            f"KerasWriter({names}; {len(self.vocabulary):,} {self.vocabulary.level}s, "
            f"{self.count_params():,} weights)"
        )

    def build(self, input_shape: tuple) -> None:
        """Makes nothing: the network is built."""

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Returns the network's output, logits or probabilities."""
        if self.input_kind == "one_hot" and len(inputs.shape) == 2:
            inputs = self._fed(inputs)  # ids, as textgen's datasets yield them
        start_id = self.reader.start_id
        if self.input_kind == "ids" and start_id != NO_SYMBOL:
            # Keras's Embedding knows no -1: texts are padded with a symbol instead.
            start = ops.cast(start_id, inputs.dtype)
            inputs = ops.where(inputs == NO_SYMBOL, start, inputs)
        return self.network(inputs, training=training)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Returns `(N, V)` or `(N, T, V)`."""
        return self.network.compute_output_shape(input_shape)

    # === Carried states, which are the layers' own ===

    def _stateful_layers(self) -> list:
        layers = networks.layers_in(self.network)
        return [layer for layer in layers if getattr(layer, "stateful", False)]

    def reset_state(self) -> None:
        """Sets the states that stateful layers carry to zero."""
        for layer in self._stateful_layers():
            layer.reset_state()

    @contextlib.contextmanager
    def separate_states(self, x: Any, batch_size: int | None) -> Iterator[None]:
        """Keeps the states of `fit` apart from those of an evaluation."""
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

    def _states(self, rows: int) -> list:
        return [
            layer.get_initial_state(batch_size=rows)
            for layer in networks.stack_of(self.network) or ()
            if networks.is_recurrent(layer)
        ]

    def _step(self, ids: Any, carry: list) -> tuple[Any, list]:
        def step(layer: Any, x: Any, state: list) -> tuple:
            x, state = layer.cell(x[:, 0], state)
            return ops.expand_dims(x, 1), *state

        _, logits, carry = self._walk(ops.expand_dims(ids, 1), carry, step)
        return logits[:, 0], carry

    def _read(self, ids: Any, carry: list) -> tuple[Any, Any, list]:
        with _for_reading(self.network, return_state=True, stateful=False):
            return self._walk(
                ids, carry, lambda layer, x, state: layer(x, initial_state=state)
            )

    def _predict_windows(self, windows: Any) -> tuple[Any, Any]:
        outputs = self.network.outputs[0]
        found = networks.before_last_dense(outputs)
        with _for_reading(self.network):
            both = keras.Model(self.network.inputs[0], [found, outputs])
            found, outputs = map(self._last, both(self._fed(windows)))
        return ops.reshape(found, (windows.shape[0], -1)), self._logits(outputs)

    def _walk(self, ids: Any, carry: list, advance: Callable) -> tuple[Any, Any, list]:
        """Goes through the stack, with `advance` at each recurrent layer.

        Returns:
            The output of the last recurrent layer, the logits, and the carry.
        """
        x = features = self._fed(ids)
        states: list = []
        for layer in networks.stack_of(self.network) or ():
            if networks.is_recurrent(layer):
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
            "end_token": self.end_token,
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
        for layer in networks.layers_in(network):
            if not networks.is_recurrent(layer):
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
