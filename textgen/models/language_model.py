"""`LanguageModel`: a configurable recurrent network with its vocabulary.

Names of dimensions: N examples in a batch, T steps, V tokens of the vocabulary, H units
of a layer.

(More than 400 lines: a third is the list of the model's arguments, in its docstring,
its constructor and its configuration.)
"""

import contextlib
import functools
import operator
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from textgen import backend
from textgen.decoding.readers import Reader, StateReader, WindowReader
from textgen.decoding.writer import Writer
from textgen.layers.architecture import architecture_of
from textgen.layers.carried_states import CarriedStates
from textgen.layers.cells import layer_class
from textgen.layers.inputs import (
    Embedding,
    OneHot,
    TiedOutput,
    is_one_hot,
    logits_of,
)
from textgen.models import keras_writer
from textgen.models.arguments import (
    check_arguments,
    find_activation,
    make_initializers,
)
from textgen.models.extending import Extendable
from textgen.models.saving import OneFile
from textgen.text import tokenizers
from textgen.text.labels import check_names
from textgen.text.tokenizer import Tokenizer
from textgen.training import sampled_softmax
from textgen.training.feeding import batch_shape
from textgen.training.freezing import freeze, frozen
from textgen.training.trainer import Trainer

# Rows of the evaluation states if the batch size is not known in advance.
_EVALUATION_ROWS = 1024


@keras.saving.register_keras_serializable(package="textgen")
class LanguageModel(OneFile, Extendable, Writer, Trainer):
    """A recurrent network that predicts the next token of a text.

    It is a Keras model. Its one `.keras` file contains weights, configuration,
    optimizer and vocabulary.

    Input: integer ids of shape `(N, T)`, where -1 is the zero vector, or one-hot of
    shape `(N, T, V)` (with labels, `(N, T, V + labels)`). Output, also from `predict`:
    logits of shape `(N, V)`, or `(N, T, V)` with `return_sequences=True`.

    A many-to-one model (`return_sequences=False`) is trained on windows that start from
    a zero state (`WindowDataset`, `vectorize`). It generates with a sliding window of
    the same length, left-padded with zero vectors. A many-to-many model is trained on
    `SequenceDataset` or `LineDataset`. It generates by carrying its state from token to
    token, and reads a text as in training: from a zero state and the first token, or,
    with `start_step`, after one step of zeros, which `LineDataset` adds before each
    line. An empty prompt always starts with this step.

    Args:
        vocabulary: `Vocabulary`, `ByteTokenizer` or `SubwordTokenizer`. Maps the ids of
            input and output to tokens.
        cell: `"simple_rnn"`, `"gru"` or `"lstm"`. Defaults to `"lstm"`.
        units: int or tuple of int. Units of each recurrent layer, from input to
            output. Defaults to `(128,)`.
        dropout: float in [0, 1). Dropout after each recurrent layer. Defaults to `0`.
        recurrent_dropout: float in [0, 1). Dropout of the recurrent state. Defaults to
            `0`.
        weight_dropout: float in [0, 1). Dropout of the recurrent weights, with one mask
            per batch (Merity et al., ICLR 2018). Defaults to `0`.
        embedding: int or `None`. Size of the embedding vectors; `None` uses one-hot
            vectors. Defaults to `None`.
        layer_norm: bool. Whether to normalise the output of each recurrent layer.
            Defaults to `False`.
        tie_weights: bool. Whether the output uses the embedding's weights, transposed
            (Press and Wolf, 2017); the last units must equal `embedding`. Defaults to
            `False`.
        activation: str. Name of the activation of the recurrent layers, as in Keras.
            Defaults to `"tanh"`.
        recurrent_activation: str. Activation of the gates of GRU and LSTM. Defaults to
            `"sigmoid"`.
        return_sequences: bool. Whether the model predicts at every step (many-to-many)
            or after the last step (many-to-one). Defaults to `False`.
        stateful: bool. Whether `fit` carries the state from batch to batch; requires
            `return_sequences=True`. `evaluate` then carries a separate state;
            `predict`, `generate` and direct calls start from zero. Defaults to `False`.
        batch_size: int or `None`. Maximum batch size in `fit`; required for a stateful
            model. Defaults to `None`.
        reset_policy: `"epoch"` or `"never"`. When `fit` sets the carried state to
            zero: at the start of each epoch, or never, so that only `reset_state()`
            does. Defaults to `"epoch"`.
        sequence_length: int. Length of the window of a many-to-one model, in tokens.
            Defaults to `40`.
        initializer: str, `keras.initializers.Initializer` or `None`. Initializer of
            every kernel and embedding; biases use Keras's defaults. `None` uses Keras's
            defaults for all. Defaults to `None`.
        start_step: bool. Whether texts begin with a start step of zeros. `fit` copies
            the value from the dataset: `LineDataset` has a start step. Defaults to
            `False`.
        end_token: int or `None`. The id that ends a text, for example that of the
            newline; generation stops there. `fit` copies the value from the dataset:
            `end_of_line` of a `LineDataset`. Defaults to `None`.
        labels: Sequence of str. Labels that a text can have, such as its author: the
            `names` of `LineLabels`, for a `LineDataset` with `labels`. Their ids follow
            those of the tokens; the model reads them, and never predicts them. Defaults
            to none.
        **kwargs: `name` and `dtype`. `dtype` applies to every layer: `"float32"`,
            `"float64"`, `"mixed_bfloat16"`, …

    Raises:
        ValueError: An argument is out of range, or two contradict each other.

    Example:

    ```python
    vocabulary = textgen.Vocabulary.from_text(text)
    model = textgen.LanguageModel(vocabulary, cell="lstm", units=(128, 128))
    model.compile(keras.optimizers.Adam(1e-3, clipvalue=5.0))
    model.fit(textgen.WindowDataset(vocabulary.encode(text)), epochs=5)
    print(model.generate("shall i compare ", temperature=0.7))
    ```
    """

    def __init__(
        self,
        vocabulary: Tokenizer,
        cell: str = "lstm",
        units: int | Sequence[int] = (128,),
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        weight_dropout: float = 0.0,
        embedding: int | None = None,
        layer_norm: bool = False,
        tie_weights: bool = False,
        activation: str = "tanh",
        recurrent_activation: str = "sigmoid",
        return_sequences: bool = False,
        stateful: bool = False,
        batch_size: int | None = None,
        reset_policy: str = "epoch",
        sequence_length: int = 40,
        initializer: Any = None,
        start_step: bool = False,
        end_token: int | None = None,
        labels: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        labels = check_names(labels)
        layers = units if isinstance(units, Sequence | np.ndarray) else [units]
        units = tuple(operator.index(size) for size in layers)
        check_arguments(locals())

        super().__init__(**kwargs)

        # === Config ===
        self.vocabulary = vocabulary
        self.cell = cell
        self.units = units
        self.dropout = dropout
        self.recurrent_dropout = recurrent_dropout
        self.weight_dropout = weight_dropout
        self.embedding = embedding
        self.layer_norm = layer_norm
        self.tie_weights = tie_weights
        self.activation = activation
        self.recurrent_activation = recurrent_activation
        self.return_sequences = return_sequences
        self.stateful = stateful
        self.batch_size = batch_size
        self.reset_policy = reset_policy
        self.sequence_length = sequence_length
        self.initializer = initializer
        self.end_token = end_token
        self.labels = labels

        # === Layers and state ===
        self._make_layers()
        self._thread = threading.local()
        self.reader: Reader = self._make_reader(start_step)
        self.build((None, None))

    def _make_layers(self) -> None:
        policy = self.dtype_policy
        initial = make_initializers(self.initializer)
        self.input_layer = self._make_input(initial)
        activations = {"activation": find_activation(self.activation)}
        if self.cell != "simple_rnn":
            activations["recurrent_activation"] = find_activation(
                self.recurrent_activation
            )
        # The order of creation is the order in `summary`.
        self.recurrent_layers: list = []
        self.norm_layers: list = []
        self.dropout_layers: list = []
        for index, size in enumerate(self.units):
            self.recurrent_layers.append(
                layer_class(self.cell)(
                    size,
                    **activations,
                    **initial("kernel_initializer", "recurrent_initializer"),
                    recurrent_dropout=self.recurrent_dropout,
                    weight_dropout=self.weight_dropout,
                    return_sequences=self.return_sequences
                    or index < len(self.units) - 1,
                    return_state=True,
                    dtype=policy,
                    name=f"{self.cell}_{index}",
                )
            )
            if self.layer_norm:
                self.norm_layers.append(
                    keras.layers.LayerNormalization(
                        dtype=policy, name=f"layer_norm_{index}"
                    )
                )
            if self.dropout:
                self.dropout_layers.append(
                    keras.layers.Dropout(
                        self.dropout, dtype=policy, name=f"dropout_{index}"
                    )
                )
        self.output_layer = self._make_output(initial)
        self.carried_states: Any = None
        if self.stateful:
            sizes = [
                size for layer in self.recurrent_layers for size in layer.state_size
            ]
            self.carried_states = CarriedStates(
                sizes, dtype=policy, name="carried_states"
            )
            for purpose in ("training", "evaluation"):
                self.carried_states.prepare(purpose, self.batch_size)

    def _make_input(self, initial: Callable[..., dict]) -> Any:
        if self.embedding is None:
            return OneHot(self.num_inputs, dtype=self.dtype_policy, name="one_hot")
        return Embedding(
            self.num_inputs,
            self.embedding,
            **initial("embeddings_initializer"),
            dtype=self.dtype_policy,
            name="embedding",
        )

    def _make_output(self, initial: Callable[..., dict]) -> Any:
        # In mixed precision too, the logits have the precision of the weights.
        exact = keras.DTypePolicy(self.variable_dtype)
        if self.tie_weights:
            return TiedOutput(
                self.input_layer, len(self.vocabulary), dtype=exact, name="tied_output"
            )
        return keras.layers.Dense(
            len(self.vocabulary),
            **initial("kernel_initializer"),
            dtype=exact,
            name="logits",
        )

    def _make_reader(self, start_step: bool) -> Reader:
        if self.return_sequences:
            return StateReader(
                self._states,
                self._step,
                self._read,
                lambda: self.variables,
                start_step=start_step,
                architecture=self._architecture,
            )
        return WindowReader(
            self._predict_windows,
            lambda: self.variables,
            self.sequence_length,
            start_step=start_step,
            architecture=self._architecture,
        )

    @property
    def num_inputs(self) -> int:
        """Number of ids that the model reads: tokens and labels."""
        return len(self.vocabulary) + len(self.labels)

    def __repr__(self) -> str:
        kind = "many-to-many" if self.return_sequences else "many-to-one"
        layers = ", ".join(f"{self.cell} {size}" for size in self.units)
        return (
            f"LanguageModel({layers}, {kind}, {len(self.vocabulary):,} "
            f"{self.vocabulary.level}s, {self.count_params():,} weights)"
        )

    def build(self, input_shape: tuple) -> None:
        """Creates the weights; they do not depend on the input shape."""
        steps = None if self.return_sequences else self.sequence_length
        size = self.embedding or self.num_inputs
        self.input_layer.build((None, steps))
        shape: tuple = (None, steps, size)
        for index, layer in enumerate(self.recurrent_layers):
            layer.build(shape)
            size = self.units[index]
            shape = (None, steps, size) if layer.return_sequences else (None, size)
            for others in (self.norm_layers, self.dropout_layers):
                if others:
                    others[index].build(shape)
        self.output_layer.build(shape)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Returns logits, `(N, V)` or `(N, T, V)`, from ids or one-hot vectors."""
        rows = ops.shape(inputs)[0]
        states: list = [None] * len(self.recurrent_layers)
        carrying = self.stateful and self._purpose is not None
        if self._purpose is not None:
            self._check_batch(*inputs.shape[:2])
            if not self.return_sequences and inputs.shape[1] is None:
                backend.assert_steps(inputs, self.sequence_length)
        if carrying:
            states = self._by_layer(self.carried_states.read(self._purpose, rows))
        x, states = self._features(inputs, states, training)
        if carrying:
            self.carried_states.write(self._purpose, keras.tree.flatten(states))
        return x if self._sampling else self.output_layer(x)

    def _features(self, inputs: Any, states: list, training: bool = False) -> tuple:
        """Returns the input of the output layer, and the final states of each layer.

        Args:
            inputs: As for `call`.
            states: The states of each layer before the first step; `None` for zero.
            training: bool.
        """
        states = list(states)
        looking_up, x = self._first_input(inputs)
        for index, layer in enumerate(self.recurrent_layers):
            # Keras draws masks of recurrent dropout even outside training, which would
            # change the seed state in scoring and generation.
            dropout = self.recurrent_dropout if training else 0.0
            before = states[index]
            with backend.exclusive(), contextlib.nullcontext() if index else looking_up:
                layer.cell.recurrent_dropout = dropout
                x, *states[index] = layer(x, initial_state=before, training=training)
                layer.cell.recurrent_dropout = self.recurrent_dropout
            if self.norm_layers:
                x = self.norm_layers[index](x)
            if self.dropout_layers:
                x = self.dropout_layers[index](x, training=training)
        return x, states

    def _first_input(self, inputs: Any) -> tuple[Any, Any]:
        """Returns the context and the input of the first recurrent layer.

        If it can, this layer looks up ids itself, which saves most of the work.
        """
        usual: Any = contextlib.nullcontext()
        size, first = self.num_inputs, self.recurrent_layers[0]
        if is_one_hot(inputs, size) or size == 1:
            return usual, self.input_layer(inputs)
        if self.embedding is None:
            return usual, ops.expand_dims(inputs, -1)
        if not first.reads_vectors(size, self.embedding):
            return usual, self.input_layer(inputs)
        vectors = first.reading_vectors(self.input_layer.embeddings)
        return vectors, ops.expand_dims(inputs, -1)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Returns `(N, V)` or `(N, T, V)`."""
        steps = input_shape[1:2] if self.return_sequences else ()
        return (input_shape[0], *steps, len(self.vocabulary))

    def computation(self) -> str:
        """Returns device, dtype and the implementation of the layers in one line.

        Example: `CPU (2 cores), float32, lstm time-batched (on a CPU)`. The recurrent
        layers are `time-batched` (see `textgen.layers.recurrence`) or computed
        `by Keras`, with cuDNN if the reason in parentheses says so.
        """
        # One layer stands for all: they differ in their sizes only.
        with backend.exclusive():
            path, reason = self.recurrent_layers[0].path()
        path = path if path == "time-batched" else "by Keras"
        return f"{super().computation()}, {self.cell} {path} ({reason})"

    def layers_with_weights(self) -> list:
        """Returns input, recurrent, normalisation and output layers."""
        middle = [*self.recurrent_layers, *self.norm_layers]
        return [self.input_layer, *middle, self.output_layer]

    def count_params(self) -> int:
        """Returns the number of weights, without the carried states."""
        total = super().count_params()
        return total - (self.carried_states.count_params() if self.stateful else 0)

    # === Training ===

    def _check_batch(self, rows: int | None, steps: int | None) -> None:
        """Raises ValueError if a batch does not fit; `None` is an unknown size."""
        if not self.return_sequences and steps not in (None, self.sequence_length):
            raise ValueError(
                f"The windows are {steps} steps long, but this many-to-one model has "
                f"sequence_length={self.sequence_length}: both must be equal."
            )
        if not self.stateful or self._purpose == "evaluation":
            return
        if rows is not None and rows > (self.batch_size or 0):
            raise ValueError(
                f"A batch has {rows} rows, but this stateful model has "
                f"batch_size={self.batch_size}: use smaller batches, or a model with a "
                "larger batch_size."
            )

    def check_data(self, x: Any, batch_size: int | None) -> None:
        """Raises ValueError if windows or batches of the data do not fit the model."""
        self._check_batch(*batch_shape(x, batch_size))

    @contextlib.contextmanager
    def separate_states(self, x: Any, batch_size: int | None) -> Iterator[None]:
        """Prepares separate states for an evaluation."""
        if self.stateful:
            rows, _ = batch_shape(x, batch_size)
            rows = rows or max(self.batch_size or 0, _EVALUATION_ROWS)
            if self.carried_states.prepare("evaluation", rows) and self.compiled:
                self.make_test_function(force=True)  # the old one has smaller states
        yield

    def train_step(self, *args: Any, **kwargs: Any) -> Any:
        """Trains on one batch; a stateful model starts from its carried state."""
        with self._carrying("training"):
            return super().train_step(*args, **kwargs)

    def test_step(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluates one batch; a stateful model carries a separate state."""
        with self._carrying("evaluation"):
            return super().test_step(*args, **kwargs)

    @property
    def _sampling(self) -> bool:
        """Whether this is a training step, and computes some of the logits only."""
        return self.sampled_softmax > 0 and self._purpose == "training"

    def candidates(self, y: Any, y_pred: Any) -> tuple[Any, Any]:
        """Returns targets and logits for the loss; some logits of a sampled softmax."""
        if not self._sampling:
            return y, y_pred
        ends = self._draws
        if ends is None:  # the data are not a dataset of textgen
            ends = sampled_softmax.limits(None, len(self.vocabulary))
        return sampled_softmax.candidate_logits(
            y,
            y_pred,
            self.sampled_softmax,
            ends,
            functools.partial(logits_of, self.output_layer),
        )

    def carried_variables(self) -> list:
        """Returns the variables of the state that `fit` carries from batch to batch."""
        return self.carried_states.states("training") if self.stateful else []

    @property
    def _purpose(self) -> str | None:
        """Selects the carried states: "training" or "evaluation" within a step."""
        # Another thread may generate, predict or call the model at the same time.
        return getattr(self._thread, "purpose", None)

    @contextlib.contextmanager
    def _carrying(self, purpose: str) -> Iterator[None]:
        self._thread.purpose = purpose
        try:
            yield
        finally:
            self._thread.purpose = None

    def _by_layer(self, states: Sequence) -> list[list]:
        """Splits a flat list of states into one list per layer."""
        remaining = iter(states)
        return [
            [next(remaining) for _ in layer.state_size]
            for layer in self.recurrent_layers
        ]

    # === Functions for the reader ===

    def _architecture(self) -> str | None:
        """Describes the functions below, without the values of the variables."""
        if type(self) is not LanguageModel:  # a subclass may do anything
            return None
        return architecture_of(
            self.layers_with_weights(), len(self.vocabulary), self.recurrent_dropout
        )

    def _states(self, rows: int) -> list:
        return [
            [ops.zeros((rows, size), self.compute_dtype) for size in layer.state_size]
            for layer in self.recurrent_layers
        ]

    def _step(self, ids: Any, carry: list) -> tuple[Any, list]:
        x = self.input_layer(ops.expand_dims(ids, 1))[:, 0]
        states = []
        for index, layer in enumerate(self.recurrent_layers):
            with backend.exclusive():
                x, state = layer.cell(x, carry[index])
            states.append(list(state))
            if self.norm_layers:
                x = self.norm_layers[index](x)
        return self.output_layer(x), states

    def _read(self, ids: Any, carry: list) -> tuple[Any, Any, list]:
        with self._for_xla():
            features, carry = self._features(ids, carry)
        carry = keras.tree.map_structure(
            lambda state: ops.cast(state, self.compute_dtype), carry
        )
        return features, self.output_layer(features), carry

    def _predict_windows(self, windows: Any) -> tuple[Any, Any]:
        with self._for_xla():
            features, _ = self._features(windows, [None] * len(self.recurrent_layers))
        return features, self.output_layer(features)

    @contextlib.contextmanager
    def _for_xla(self) -> Iterator[None]:
        """Switches cuDNN off within the context: XLA cannot compile its kernels."""
        layers = [each for each in self.recurrent_layers if hasattr(each, "use_cudnn")]
        with backend.exclusive():
            before = [layer.use_cudnn for layer in layers]
            try:
                for layer in layers:
                    layer.use_cudnn = False
                yield
            finally:
                for layer, value in zip(layers, before, strict=True):
                    layer.use_cudnn = value

    # The old name of `textgen.from_keras`, kept for one release.
    from_keras = staticmethod(keras_writer.from_keras)

    # === Saving ===

    def stripped(self) -> "LanguageModel":
        """Returns a copy for generation: no optimizer, no carried states, float32."""
        config = {
            **self.get_config(),
            "dtype": keras.dtype_policies.serialize(keras.DTypePolicy("float32")),
            "stateful": False,
            "batch_size": None,
            "frozen": [],
        }
        copy = LanguageModel.from_config(config)
        for layer, target in zip(
            self.layers_with_weights(), copy.layers_with_weights(), strict=True
        ):
            for value, variable in zip(layer.weights, target.weights, strict=True):
                variable.assign(value)
        return copy

    def _seeds(self) -> list:
        """Returns the states of the random generators, which Keras does not save."""
        layers = [layer.cell for layer in self.recurrent_layers] + self.dropout_layers
        return [layer.seed_generator.state for layer in layers]

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
        """Returns constructor arguments, frozen layers and notes, as JSON values."""
        return {
            "name": self.name,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
            "vocabulary": self.vocabulary.get_config(),
            "cell": self.cell,
            "units": list(self.units),
            "dropout": self.dropout,
            "recurrent_dropout": self.recurrent_dropout,
            "weight_dropout": self.weight_dropout,
            "embedding": self.embedding,
            "layer_norm": bool(self.layer_norm),
            "tie_weights": bool(self.tie_weights),
            "activation": self.activation,
            "recurrent_activation": self.recurrent_activation,
            "return_sequences": bool(self.return_sequences),
            "stateful": bool(self.stateful),
            "batch_size": self.batch_size,
            "reset_policy": self.reset_policy,
            "sequence_length": self.sequence_length,
            "initializer": keras.saving.serialize_keras_object(self.initializer),
            "start_step": bool(self.start_step),
            "end_token": self.end_token,
            **({"labels": list(self.labels)} if self.labels else {}),
            "frozen": frozen(self),
            "notes": self.notes,
        }

    @classmethod
    def from_config(
        cls, config: dict, custom_objects: dict | None = None
    ) -> "LanguageModel":
        """Creates the model that `get_config` describes, with new weights."""
        config = dict(config)
        config["vocabulary"] = tokenizers.from_config(config["vocabulary"])
        config["dtype"] = keras.dtype_policies.deserialize(config["dtype"])
        # Files of older versions lack some keys, or use their old names.
        if "reset_states" in config:
            config["reset_policy"] = config.pop("reset_states")
        if initializer := config.get("initializer"):
            config["initializer"] = keras.saving.deserialize_keras_object(initializer)
        paths, notes = config.pop("frozen", []), config.pop("notes", {})
        model = cls(**config)
        freeze(model, paths)
        model.notes = notes
        return model
