"""Wraps a network of Keras layers: it generates and scores text, and is one file.

Names of dimensions: N texts, T steps, V tokens of the vocabulary, F features.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras import ops

from textgen import backend
from textgen.decoding.readers import Reader, StateReader, WindowReader
from textgen.decoding.writer import Writer
from textgen.layers.architecture import architecture_of
from textgen.models import network as networks
from textgen.models.saving import OneFile
from textgen.text import tokenizers
from textgen.text.tokenizer import NO_SYMBOL, Tokenizer
from textgen.training.losses import log_of
from textgen.training.trainer import Trainer


def from_keras(
    network: keras.Model,
    vocabulary: Tokenizer,
    input: str | None = None,
    output: str | None = None,
    sequence_length: int | None = None,
    padding: str | None = None,
) -> "KerasWriter":
    """Wraps your Keras network for text generation.

    The weights are shared, not copied: training one of the two models trains both. If
    the network is compiled, the result is compiled too, with the same state of the
    optimizer.

    Args:
        network: `keras.Sequential` or functional `keras.Model`, built, with one input
            and one output. It may contain the layers in
            `textgen.models.network.LAYERS` and textgen's layers. Input: ids `(N, T)`,
            or one-hot `(N, T, V)`. Output: logits or probabilities of the next token,
            `(N, V)`, or `(N, T, V)` for a prediction at each step.
        vocabulary: `Vocabulary`, `ByteTokenizer` or `SubwordTokenizer`. Maps the ids of
            input and output to tokens.
        input: `"ids"`, `"one_hot"`, or `None` to detect it from the shape. Defaults to
            `None`.
        output: `"logits"`, `"probabilities"`, or `None` to detect it from the
            activation of the last layer. Defaults to `None`.
        sequence_length: int or `None`. Steps of the window for generation, if the
            number of steps of the network is not fixed. Defaults to `None`: the fixed
            number of steps of the network, or 40.
        padding: str or `None`. Token that pads a text on the left, for a network with
            ids as input. Defaults to `None`: no token for a network that begins with
            textgen's `OneHot` or `Embedding`, which accept "no symbol" (id -1);
            otherwise the newline, the space, or the first token, in this order of
            preference. One-hot input is padded with rows of zeros.

    Returns:
        A `KerasWriter`.

    Raises:
        ValueError: The network contains an unsupported layer or does not fit the
            vocabulary, or an argument contradicts the network.

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
    model = textgen.from_keras(network, vocabulary)
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
    """A Keras network with a vocabulary, which generates text.

    Use `textgen.from_keras` to create it; the arguments are documented there. Input and
    output are those of the network. The layers are shared, not copied: training one of
    the two models trains both. `fit`, `evaluate` and `predict` are the same as in
    `LanguageModel`.

    There are two ways of generation. A plain stack of recurrent layers with
    `return_sequences=True` and of layers whose output at a step depends on that step
    only carries its state from token to token (`carries_state`). Any other network
    reads a sliding window of `sequence_length` tokens, padded on the left, and the
    prediction is that of the last step.

    Args:
        network: `keras.Sequential` or functional `keras.Model`.
        vocabulary: `Tokenizer`.
        input: `"ids"`, `"one_hot"` or `None`.
        output: `"logits"`, `"probabilities"` or `None`.
        sequence_length: int or `None`.
        padding: str or `None`.
        start_step: bool. Whether texts begin with a start step, of zeros or of the
            padding; only for a network that carries its state. `fit` copies the value
            from the dataset. Defaults to `False`.
        end_token: int or `None`. As for `LanguageModel`.
        **kwargs: `name` and `dtype`. `dtype` defaults to the dtype of the network.

    Raises:
        ValueError: As for `from_keras`.
    """

    def __init__(
        self,
        network: keras.Model,
        vocabulary: Tokenizer,
        input: str | None = None,
        output: str | None = None,
        sequence_length: int | None = None,
        padding: str | None = None,
        start_step: bool = False,
        end_token: int | None = None,
        **kwargs: Any,
    ) -> None:
        tokenizers.check_tokenizer(vocabulary)
        networks.check_network(network)
        kind = networks.input_kind(network, len(vocabulary), input)
        padding, start_id = networks.padding_of(network, vocabulary, kind, padding)
        kwargs.setdefault("dtype", network.dtype_policy)
        # The network casts its own input; a cast here would convert ids to floats.
        super().__init__(autocast=False, **kwargs)

        # An uncompiled model of the same layers: a file must not contain a second
        # optimizer.
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
                self._architecture,
            )
        else:
            networks.check_not_stateful(network)
            self.reader = WindowReader(
                self._predict_windows,
                lambda: self.network.variables,
                self.sequence_length,
                start_id,
                start_step,
                self._architecture,
            )
        self.built = True

    def __repr__(self) -> str:
        names = ", ".join(type(layer).__name__ for layer in self.network.layers)
        return (
            f"KerasWriter({names}; {len(self.vocabulary):,} {self.vocabulary.level}s, "
            f"{self.count_params():,} weights)"
        )

    def build(self, input_shape: tuple) -> None:
        """Does nothing: the network is already built."""

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Returns the network's output, logits or probabilities."""
        if self.input_kind == "one_hot" and len(inputs.shape) == 2:
            inputs = self._network_input(inputs)  # ids of textgen's datasets
        start_id = self.reader.start_id
        if self.input_kind == "ids" and start_id != NO_SYMBOL:
            # Keras's Embedding does not accept -1: the padding token replaces it.
            start = ops.cast(start_id, inputs.dtype)
            inputs = ops.where(inputs == NO_SYMBOL, start, inputs)
        with backend.exclusive():
            return self.network(inputs, training=training)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Returns `(N, V)` or `(N, T, V)`."""
        return self.network.compute_output_shape(input_shape)

    # === Carried states, which the stateful layers own ===

    def _stateful_layers(self) -> list:
        layers = networks.layers_in(self.network)
        return [layer for layer in layers if getattr(layer, "stateful", False)]

    def carried_variables(self) -> list:
        """Returns the variables of the states of the stateful layers."""
        states = [layer.states for layer in self._stateful_layers()]
        return keras.tree.flatten(states)

    @property
    def non_trainable_variables(self) -> list:
        """Includes the states: a step of JAX keeps the values of these variables only.

        Keras does not count the states of a recurrent layer as its variables.
        """
        return super().non_trainable_variables + self.carried_variables()

    @contextlib.contextmanager
    def separate_states(self, x: Any, batch_size: int | None) -> Iterator[None]:
        """Starts an evaluation from zero, and restores the state of `fit` after it."""
        before = self.carried_state
        self.reset_state()
        try:
            yield
        finally:
            self.reset_state(before)

    # === Functions for the reader ===

    def _architecture(self) -> str | None:
        """Describes the functions below, without the values of the variables."""
        if type(self) is not KerasWriter:  # a subclass may do anything
            return None
        return architecture_of(
            [self.network], len(self.vocabulary), self.input_kind, self.output_kind
        )

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

        with backend.exclusive():
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
            found, outputs = map(self._last, both(self._network_input(windows)))
        return ops.reshape(found, (windows.shape[0], -1)), self._logits(outputs)

    def _walk(self, ids: Any, carry: list, advance: Callable) -> tuple[Any, Any, list]:
        """Applies the layers of the stack, and `advance` for each recurrent layer.

        Returns:
            The output of the last recurrent layer, the logits, and the new carry.
        """
        x = features = self._network_input(ids)
        states: list = []
        for layer in networks.stack_of(self.network) or ():
            if networks.is_recurrent(layer):
                x, *state = advance(layer, x, carry[len(states)])
                states.append([ops.cast(each, layer.compute_dtype) for each in state])
                features = x
            else:
                x = layer(x)
        return features, self._logits(x), states

    def _network_input(self, ids: Any) -> Any:
        """Converts ids, `(N, T)`, to the input of the network; -1 is a row of zeros."""
        if self.input_kind == "ids":
            return ids
        return ops.one_hot(
            ids, len(self.vocabulary), dtype=self.network.inputs[0].dtype
        )

    def _last(self, outputs: Any) -> Any:
        """Returns the last step of an output, `(N, F)`."""
        return outputs[:, -1] if len(outputs.shape) == 3 else outputs

    def _logits(self, outputs: Any) -> Any:
        """Converts an output of the network to logits."""
        return outputs if self.output_kind == "logits" else log_of(outputs)

    # === Saving ===

    def _seeds(self) -> list:
        """Returns the states of the random generators, which Keras does not save."""
        weights = {id(weight) for weight in self.network.weights}
        return [each for each in self.network.variables if id(each) not in weights]

    def save_own_variables(self, store: Any) -> None:
        """Saves the states of the random generators."""
        for index, state in enumerate(self._seeds()):
            store[f"seed_{index}"] = state

    def load_own_variables(self, store: Any) -> None:
        """Loads the states of the random generators."""
        saved = set(store.keys())
        for index, state in enumerate(self._seeds()):
            if f"seed_{index}" in saved:  # missing in files of older versions
                state.assign(store[f"seed_{index}"])

    def get_config(self) -> dict:
        """Returns the arguments of the constructor and the notes, as JSON values."""
        return {
            "name": self.name,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
            "network": keras.saving.serialize_keras_object(self.network),
            "vocabulary": self.vocabulary.get_config(),
            "input": self.input_kind,
            "output": self.output_kind,
            "sequence_length": self.sequence_length,
            "padding": self.padding,
            "start_step": bool(self.start_step),
            "end_token": self.end_token,
            "notes": self.notes,
        }

    @classmethod
    def from_config(
        cls, config: dict, custom_objects: dict | None = None
    ) -> "KerasWriter":
        """Creates the model that `get_config` describes, with new weights."""
        config = dict(config)
        config["network"] = keras.saving.deserialize_keras_object(
            config["network"], custom_objects
        )
        config["vocabulary"] = tokenizers.from_config(config["vocabulary"])
        config["dtype"] = keras.dtype_policies.deserialize(config["dtype"])
        notes = config.pop("notes", {})  # missing in files of older versions
        model = cls(**config)
        model.notes = notes
        return model


@contextlib.contextmanager
def _for_reading(network: keras.Model, **settings: Any) -> Iterator[None]:
    """Sets the recurrent layers for a compiled function without training.

    XLA cannot compile cuDNN's kernels, and an unrolled loop makes the function large.
    Keras draws dropout masks even if it does not use them, which would change the state
    of the random generators that training uses.

    Args:
        network: Model.
        **settings: Further attributes of the recurrent layers to set in the context.
    """
    settings = {"use_cudnn": False, "unroll": False, **settings}
    before: list[tuple[Any, str, Any]] = []
    with backend.exclusive():
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
