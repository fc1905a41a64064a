"""The configurable network, which carries its vocabulary and writes text.

Names of dimensions: N examples in a batch, T steps, V symbols of the vocabulary, H
units of a layer.
"""

import contextlib
import inspect
import operator
import os
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from textgen import adapter, catalogue, metrics
from textgen.datasets import Dataset, as_keras_input
from textgen.layers import (
    GRU,
    LSTM,
    CarriedStates,
    Embedding,
    OneHot,
    SimpleRNN,
    accelerator,
    is_one_hot,
)
from textgen.saving import OneFile
from textgen.vocabulary import Vocabulary
from textgen.writing import Writer, windows_of

CELLS = {
    "simple_rnn": SimpleRNN,
    "gru": GRU,
    "lstm": LSTM,
}

# Names by which users of Keras ask for the one loss of a language model.
_CROSS_ENTROPIES = ("categorical_crossentropy", "sparse_categorical_crossentropy")

# Names of metrics that textgen has for logits, and for targets as ids or one-hot.
_METRICS = {
    **dict.fromkeys(
        (*_CROSS_ENTROPIES, "crossentropy", "ce"), metrics.MeanCrossEntropy
    ),
    **dict.fromkeys(
        ("accuracy", "acc", "categorical_accuracy", "sparse_categorical_accuracy"),
        metrics.Accuracy,
    ),
}


@keras.saving.register_keras_serializable(package="textgen")
class LanguageModel(OneFile, Writer, keras.Model):
    """A recurrent network that predicts the next symbol of a text.

    It is a Keras model in every respect, and its one `.keras` file holds weights,
    configuration, optimizer and vocabulary.

    Input: ids of shape `(N, T)`, integers, where -1 is the zero vector, or one-hot of
    shape `(N, T, V)`. Output: logits (also from `predict`), of shape `(N, V)`, or
    `(N, T, V)` with `return_sequences=True`.

    A many-to-one model (`return_sequences=False`) learns from windows that start from
    a zero state (`WindowDataset`, `vectorize`), and writes by sliding such a window,
    left-padded with zero vectors. A many-to-many model learns from `SequenceDataset`
    or `LineDataset`, and writes by carrying its state from symbol to symbol, after one
    start step of zeros.

    Args:
        vocabulary: `Vocabulary`. Its symbols are the ids of input and output.
        cell: `"simple_rnn"`, `"gru"` or `"lstm"`. Defaults to `"lstm"`.
        units: int or tuple of int. Units of each recurrent layer, from input to
            output. Defaults to `(128,)`.
        dropout: float in [0, 1). Dropout after each recurrent layer. Defaults to `0`.
        recurrent_dropout: float in [0, 1). Dropout of the state from step to step.
            Defaults to `0`.
        weight_dropout: float in [0, 1). Dropout of the recurrent weights, the same for
            a whole batch (Merity et al., ICLR 2018). Defaults to `0`.
        embedding: int or `None`. Size of the vectors that stand for the symbols;
            `None` feeds one-hot vectors. Defaults to `None`.
        layer_norm: bool. Whether to normalise the output of each recurrent layer.
            Defaults to `False`.
        tie_weights: bool. Whether the output uses the embedding's weights, transposed
            (Press and Wolf, 2017); the last units must equal `embedding`. Defaults to
            `False`.
        activation: str. Activation of the recurrent layers, by the name Keras gives
            it. Defaults to `"tanh"`.
        recurrent_activation: str. Activation of the gates of GRU and LSTM. Defaults to
            `"sigmoid"`.
        return_sequences: bool. Whether the model predicts at every step
            (many-to-many) or after the last (many-to-one). Defaults to `False`.
        stateful: bool. Whether `fit` carries the state from batch to batch; only
            with `return_sequences=True`. `evaluate` then carries a state of its own,
            and `predict`, `generate` and direct calls start from zero. Defaults to
            `False`.
        batch_size: int or `None`. The largest batch of a stateful model.
        reset_states: `"epoch"` or `"never"`. When `fit` sets the carried state to
            zero: at the start of each epoch, or only in `reset_state()`. Defaults to
            `"epoch"`.
        sequence_length: int. The window of a many-to-one model, in symbols. Defaults
            to `40`.
        **kwargs: `name`, and `dtype`, which reaches every layer: `"float32"`,
            `"float64"`, `"mixed_bfloat16"`, …

    Raises:
        ValueError: An argument is out of its range, or two contradict each other.

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
        vocabulary: Vocabulary,
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
        reset_states: str = "epoch",
        sequence_length: int = 40,
        **kwargs: Any,
    ) -> None:
        layers = units if isinstance(units, Sequence | np.ndarray) else [units]
        units = tuple(operator.index(size) for size in layers)
        _check_arguments(locals())

        # === Layers ===
        super().__init__(**kwargs)
        policy = self.dtype_policy
        if embedding is None:
            self.input_layer = OneHot(len(vocabulary), dtype=policy, name="one_hot")
        else:
            self.input_layer = Embedding(
                len(vocabulary), embedding, dtype=policy, name="embedding"
            )
        activations = {"activation": _activation(activation)}
        if cell != "simple_rnn":
            activations["recurrent_activation"] = _activation(recurrent_activation)
        # Appended in the order of the data's way, which `summary` shows.
        self.recurrent_layers: list = []
        self.norm_layers: list = []
        self.dropout_layers: list = []
        for index, size in enumerate(units):
            self.recurrent_layers.append(
                CELLS[cell](
                    size,
                    **activations,
                    recurrent_dropout=recurrent_dropout,
                    weight_dropout=weight_dropout,
                    return_sequences=return_sequences or index < len(units) - 1,
                    return_state=True,
                    dtype=policy,
                    name=f"{cell}_{index}",
                )
            )
            if layer_norm:
                self.norm_layers.append(
                    keras.layers.LayerNormalization(
                        dtype=policy, name=f"layer_norm_{index}"
                    )
                )
            if dropout:
                self.dropout_layers.append(
                    keras.layers.Dropout(dropout, dtype=policy, name=f"dropout_{index}")
                )
        # The logits are as exact as the weights, also in mixed precision.
        exact = keras.DTypePolicy(policy.variable_dtype)
        if tie_weights:
            self.output_layer = TiedOutput(
                self.input_layer, dtype=exact, name="tied_output"
            )
        else:
            self.output_layer = keras.layers.Dense(
                len(vocabulary), dtype=exact, name="logits"
            )
        self.carried_states: Any = None
        if stateful:
            sizes = [
                size for layer in self.recurrent_layers for size in layer.state_size
            ]
            self.carried_states = CarriedStates(
                sizes, dtype=policy, name="carried_states"
            )
            for purpose in ("training", "evaluation"):
                self.carried_states.prepare(purpose, batch_size)

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
        self.reset_policy = reset_states
        self.sequence_length = sequence_length

        # === State ===
        self._purpose: str | None = None  # "training", "evaluation": what `fit` does
        if not return_sequences:
            self._slide(sequence_length)
        self.build((None, None))

    def build(self, input_shape: tuple) -> None:
        """Makes the weights; they do not depend on the input shape."""
        steps = None if self.return_sequences else self.sequence_length
        size = self.embedding or len(self.vocabulary)
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
        """Returns logits, `(N, V)` or `(N, T, V)`, from ids or one-hot."""
        rows = ops.shape(inputs)[0]
        states: list = [None] * len(self.recurrent_layers)
        carrying = self.stateful and self._purpose is not None
        if self._purpose is not None:
            self._check_batch(*inputs.shape[:2])
        if carrying:
            states = self._by_layer(self.carried_states.read(self._purpose, rows))
        x, states = self._features(inputs, states, training)
        if carrying:
            self.carried_states.write(self._purpose, keras.tree.flatten(states))
        return self.output_layer(x)

    def _features(self, inputs: Any, states: list, training: bool = False) -> tuple:
        """Returns what the logits are made of, and the states of each layer.

        Args:
            inputs: As for `call`.
            states: The states of each layer before the first step; `None` for zero.
            training: bool.
        """
        states = list(states)
        if self.embedding is None and not is_one_hot(inputs, len(self.vocabulary)):
            x = ops.expand_dims(inputs, -1)  # which the first layer looks up
        else:
            x = self.input_layer(inputs)
        for index, layer in enumerate(self.recurrent_layers):
            # Keras draws the masks of recurrent dropout even where it does not use
            # them, which would move the seed on in scoring and writing.
            layer.cell.recurrent_dropout = self.recurrent_dropout if training else 0.0
            x, *states[index] = layer(x, initial_state=states[index], training=training)
            layer.cell.recurrent_dropout = self.recurrent_dropout
            if self.norm_layers:
                x = self.norm_layers[index](x)
            if self.dropout_layers:
                x = self.dropout_layers[index](x, training=training)
        return x, states

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Returns `(N, V)` or `(N, T, V)`."""
        steps = input_shape[1:2] if self.return_sequences else ()
        return (input_shape[0], *steps, len(self.vocabulary))

    def computation(self) -> str:
        """Says in one line on what and how the model computes, and why so.

        Example: `CPU (2 cores), float32, lstm time-batched (on a CPU)`. The recurrent
        layers are `time-batched`, see `textgen.layers`, or Keras's own; with cuDNN,
        where the reason says so.
        """
        device = accelerator() or f"CPU ({os.cpu_count()} cores)"
        # A mask never comes; layers differ in their sizes only.
        path, reason = self.recurrent_layers[0].path()
        path = path if path == "time-batched" else "by Keras"
        return f"{device}, {self.dtype_policy.name}, {self.cell} {path} ({reason})"

    # === Training ===

    def compile(
        self,
        optimizer: Any = "adam",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: Any = "auto",
        auto_scale_loss: bool = True,
    ) -> None:
        """Configures the model for training; the arguments are those of Keras.

        Args:
            optimizer: Name or instance; clip gradients with its arguments `clipvalue`,
                `clipnorm` or `global_clipnorm`. An instance has a learning rate of the
                precision of `keras.config.floatx()` when it was made. Defaults to
                `"adam"`.
            loss: `None` for the cross-entropy, with targets as ids or one-hot by
                their rank. `"categorical_crossentropy"` and
                `"sparse_categorical_crossentropy"` mean the same here. Other losses
                get logits. Defaults to `None`.
            loss_weights: As in Keras.
            metrics: As in Keras; `textgen.Perplexity()`, for example. The names that
                mean cross-entropy or accuracy follow the targets as the loss does.
            weighted_metrics: As in Keras.
            run_eagerly: As in Keras.
            steps_per_execution: As in Keras.
            jit_compile: As in Keras.
            auto_scale_loss: As in Keras.

        Raises:
            ValueError: The loss expects probabilities, and the model returns logits.
        """
        # The loss that `fit` reports is a mean of this precision.
        with _floatx(self.variable_dtype):
            super().compile(
                optimizer=optimizer,
                loss=_loss_on_logits(loss, self.variable_dtype),
                loss_weights=loss_weights,
                metrics=_metrics_on_logits(metrics, self.variable_dtype),
                weighted_metrics=weighted_metrics,
                run_eagerly=run_eagerly,
                steps_per_execution=steps_per_execution,
                jit_compile=jit_compile,
                auto_scale_loss=auto_scale_loss,
            )
        # Made at once, its variables are there to be loaded.
        self.optimizer.build(self.trainable_variables)

    def compile_from_config(self, config: dict) -> None:
        """Compiles as the saved model was."""
        with _floatx(self.variable_dtype):  # the learning rate, for one
            config = keras.saving.deserialize_keras_object(config)
        self.compile(**config)

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        **kwargs: Any,
    ) -> Any:
        """Trains the model; arguments and result are those of `keras.Model.fit`.

        Unless `verbose=0`, the first line says what it computes on; see `computation`.
        textgen's datasets shuffle by themselves; `shuffle` is for arrays.

        Raises:
            ValueError: The windows of a many-to-one model are not of its
                `sequence_length`, or a batch of a stateful model is larger than its
                `batch_size`.
        """
        # Each batch is checked as it comes; this comes before a progress bar.
        rows, steps = _first_batch_shape(x, batch_size)
        self._check_batch(rows, steps)
        for data in (x, validation_data):
            if self.stateful and isinstance(data, Dataset) and not data.carries_state:
                raise ValueError(
                    "A stateful model needs batches that continue each other: use "
                    "SequenceDataset(..., sampling='consecutive') or "
                    "LineDataset(..., stateful=True)."
                )
        if self.stateful and isinstance(validation_data, Dataset):
            # A tf.data.Dataset, which it becomes below, would not tell its rows.
            self._prepare_evaluation(validation_data, None)
        if self.stateful or isinstance(x, Dataset):
            shuffle = False
        epoch_begin = _EpochBegin(x, kwargs.get("initial_epoch", 0))
        if verbose != 0:
            print(f"Training on {self.computation()}", flush=True)
        if isinstance(callbacks, keras.callbacks.CallbackList):
            epoch_begin.set_model(self)
            callbacks.callbacks.insert(0, epoch_begin)
        else:
            callbacks = keras.tree.flatten(callbacks) if callbacks else []
            if verbose != 0 and not any(
                isinstance(callback, keras.callbacks.ProgbarLogger)
                for callback in callbacks
            ):
                # First in the list, the bar is complete before a callback prints.
                callbacks.insert(0, keras.callbacks.ProgbarLogger())
            callbacks.insert(0, epoch_begin)
        return super().fit(
            x=as_keras_input(x),
            y=y,
            batch_size=batch_size,
            epochs=epochs,
            verbose=verbose,
            callbacks=callbacks,
            validation_split=validation_split,
            validation_data=as_keras_input(validation_data),
            shuffle=shuffle,
            **kwargs,
        )

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: Any = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Any = None,
        return_dict: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Returns loss and metrics; arguments and result as in `keras.Model.evaluate`.

        A stateful model carries the state from batch to batch here too, from zero, in
        states apart from those of `fit`, at any batch size. textgen's datasets are
        read in the order of their first epoch.
        """
        if self.stateful:
            self._prepare_evaluation(x, batch_size)
        with x.first_epoch() if isinstance(x, Dataset) else contextlib.nullcontext():
            return super().evaluate(
                x=as_keras_input(x),
                y=y,
                batch_size=batch_size,
                verbose=verbose,
                sample_weight=sample_weight,
                steps=steps,
                callbacks=callbacks,
                return_dict=return_dict,
                **kwargs,
            )

    def _check_batch(self, rows: int | None, steps: int | None) -> None:
        """Raises if a batch does not fit; `None` is a size that is not known yet."""
        if not self.return_sequences and steps not in (None, self.sequence_length):
            raise ValueError(
                f"The windows are {steps} steps long, and this many-to-one model has "
                f"sequence_length={self.sequence_length}. Make both equal."
            )
        if not self.stateful or self._purpose == "evaluation":
            return
        if rows is not None and rows > (self.batch_size or 0):
            raise ValueError(
                f"A batch has {rows} rows, and this stateful model was made with "
                f"batch_size={self.batch_size}. Make both equal."
            )

    def _prepare_evaluation(self, x: Any, batch_size: int | None) -> None:
        rows, _ = _first_batch_shape(x, batch_size)
        if self.carried_states.prepare("evaluation", rows or self.batch_size):
            self.test_function = None  # it holds the smaller states

    def train_step(self, *args: Any, **kwargs: Any) -> Any:
        """Does one step of `fit`, with the carried states of a stateful model."""
        with self._carrying("training"):
            return super().train_step(*args, **kwargs)

    def test_step(self, *args: Any, **kwargs: Any) -> Any:
        """Does one step of `evaluate`, with carried states of its own."""
        with self._carrying("evaluation"):
            return super().test_step(*args, **kwargs)

    def reset_state(self) -> None:
        """Sets the state that `fit` carries to zero."""
        if self.stateful:
            self.carried_states.reset("training")

    reset_states = reset_state  # as the recurrent layers of Keras have it

    @contextlib.contextmanager
    def _carrying(self, purpose: str) -> Iterator[None]:
        self._purpose = purpose
        try:
            yield
        finally:
            self._purpose = None

    def _by_layer(self, states: Sequence) -> list[list]:
        """Cuts a flat list of states into one list a layer."""
        remaining = iter(states)
        return [
            [next(remaining) for _ in layer.state_size]
            for layer in self.recurrent_layers
        ]

    # === Reading, for all that `Writer` does ===

    from_keras = staticmethod(adapter.from_keras)

    def _reading(self) -> Sequence:
        return self.variables

    def _states(self, rows: int) -> list:
        return [
            [ops.zeros((rows, size), self.compute_dtype) for size in layer.state_size]
            for layer in self.recurrent_layers
        ]

    def _step(self, ids: Any, carry: list) -> tuple[Any, list]:
        ids = ops.expand_dims(ids, 1)
        if not self.return_sequences:
            window = ops.concatenate([carry[0][:, 1:], ids], axis=1)
            with self._for_xla():
                return self(window), [window]
        x = self.input_layer(ids)[:, 0]
        states = []
        for index, layer in enumerate(self.recurrent_layers):
            x, state = layer.cell(x, carry[index])
            states.append(list(state))
            if self.norm_layers:
                x = self.norm_layers[index](x)
        return self.output_layer(x), states

    def _read(self, ids: Any, carry: list) -> tuple[Any, Any, list]:
        if self.return_sequences:
            with self._for_xla():
                features, carry = self._features(ids, carry)
            carry = keras.tree.map_structure(
                lambda state: ops.cast(state, self.compute_dtype), carry
            )
            return features, self.output_layer(features), carry
        windows, last = windows_of(carry[0], ids)
        with self._for_xla():
            features, _ = self._features(windows, [None] * len(self.recurrent_layers))
        features = ops.reshape(features, (*ids.shape, -1))
        return features, self.output_layer(features), [last]

    @contextlib.contextmanager
    def _for_xla(self) -> Iterator[None]:
        """Keeps cuDNN's kernels, which XLA cannot compile, out of a function."""
        layers = [each for each in self.recurrent_layers if hasattr(each, "use_cudnn")]
        before = [layer.use_cudnn for layer in layers]
        try:
            for layer in layers:
                layer.use_cudnn = False
            yield
        finally:
            for layer, value in zip(layers, before, strict=True):
                layer.use_cudnn = value

    # === Saving ===

    def _seeds(self) -> list:
        """The states of the dropout layers' random generators, which Keras forgets."""
        layers = [layer.cell for layer in self.recurrent_layers] + self.dropout_layers
        return [layer.seed_generator.state for layer in layers]

    def save_own_variables(self, store: Any) -> None:
        """Saves the states of the random generators."""
        for index, state in enumerate(self._seeds()):
            store[f"seed_{index}"] = ops.convert_to_numpy(state)

    def load_own_variables(self, store: Any) -> None:
        """Loads the states of the random generators."""
        saved = set(store.keys())
        for index, state in enumerate(self._seeds()):
            if f"seed_{index}" in saved:  # files of older versions have none
                state.assign(store[f"seed_{index}"])

    def get_config(self) -> dict:
        """Returns the arguments of the constructor, as JSON can hold them."""
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
            "layer_norm": self.layer_norm,
            "tie_weights": self.tie_weights,
            "activation": self.activation,
            "recurrent_activation": self.recurrent_activation,
            "return_sequences": self.return_sequences,
            "stateful": self.stateful,
            "batch_size": self.batch_size,
            "reset_states": self.reset_policy,
            "sequence_length": self.sequence_length,
        }

    @classmethod
    def from_config(
        cls, config: dict, custom_objects: dict | None = None
    ) -> "LanguageModel":
        """Makes the model that `get_config` describes, with new weights."""
        config = dict(config)
        config["vocabulary"] = Vocabulary(**config["vocabulary"])
        config["dtype"] = keras.dtype_policies.deserialize(config["dtype"])
        return cls(**config)


class TiedOutput(keras.layers.Layer):
    """Logits from the transposed weights of an embedding, and a bias of its own.

    Input: `(…, H)`. Output: `(…, V)`. See Press and Wolf, "Using the Output Embedding
    to Improve Language Models", EACL 2017.

    Args:
        embedding: `textgen.layers.Embedding` of V vectors of size H.
        **kwargs: Arguments of `keras.layers.Layer`.
    """

    def __init__(self, embedding: Embedding, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.embedding = embedding

    def build(self, input_shape: tuple) -> None:
        """Makes the bias, of shape `(V,)`."""
        self.bias = self.add_weight(
            shape=(self.embedding.input_dim,), initializer="zeros", name="bias"
        )

    def call(self, inputs: Any) -> Any:
        """Returns the logits."""
        return self.embedding.project(inputs) + self.bias

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Returns `(…, V)`."""
        return (*input_shape[:-1], self.embedding.input_dim)


def load(path: str | os.PathLike[str]) -> Any:
    """Loads a model that `save` wrote, or a pretrained one, to write or train on.

    Args:
        path: str or path of a `.keras` file, or a name of `textgen.PRETRAINED`.

    Returns:
        The `LanguageModel`, or what `LanguageModel.from_keras` made, with its
        vocabulary and its optimizer's state.

    Raises:
        FileNotFoundError: There is no such file or name.
        ValueError: The file does not hold such a model, or the file of a pretrained
            model is not the one that was installed.

    Example:

    ```python
    print(textgen.load("shakespeare").generate("shall i compare ", max_lines=4))
    ```
    """
    path = catalogue.find(path)
    if path.suffix in (".h5", ".hdf5"):
        raise ValueError(
            f"{path} is a model of an older Keras: make a .keras file of it with "
            "textgen.legacy.convert (textgen convert on the command line)."
        )
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is not a .keras file, or it is damaged.")
    try:
        model = keras.saving.load_model(path)
    except Exception as error:
        # Keras raises many types here: from zip files, HDF5, JSON and its own classes.
        reason = str(error).strip().split("\n")[0]
        raise ValueError(f"{path} could not be loaded: {reason}") from error
    if not isinstance(model, Writer):
        raise ValueError(
            f"{path} holds a {type(model).__name__}, which has no vocabulary; load it "
            "with Keras, and give it one with textgen.LanguageModel.from_keras."
        )
    return model


class _EpochBegin(keras.callbacks.Callback):
    """Tells the dataset which epoch begins, and resets carried states."""

    def __init__(self, dataset: Any, initial_epoch: int) -> None:
        super().__init__()
        self.dataset = dataset if isinstance(dataset, Dataset) else None
        # A fit from epoch 0 goes on where the dataset is; a resumed one counts from 0.
        self.first = 0
        if self.dataset is not None and initial_epoch == 0:
            self.first = self.dataset.next_epoch

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        if self.dataset is not None:
            self.dataset.set_epoch(self.first + epoch)
        if self.model.reset_policy == "epoch":
            self.model.reset_state()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if self.dataset is not None:
            self.dataset.set_epoch(self.first + epoch + 1)


def _check_arguments(arguments: dict) -> None:
    """Checks the constructor's arguments, by name."""

    def check(good: bool, name: str, what: str) -> None:
        if not good:
            raise ValueError(f"{name}={arguments[name]!r} must be {what}.")

    vocabulary, units = arguments["vocabulary"], arguments["units"]
    embedding, stateful = arguments["embedding"], arguments["stateful"]
    check(isinstance(vocabulary, Vocabulary), "vocabulary", "a textgen.Vocabulary")
    check(arguments["cell"] in CELLS, "cell", f"one of {', '.join(CELLS)}")
    check(units and min(units) > 0, "units", "one or more positive integers")
    for name in ("activation", "recurrent_activation"):
        check(isinstance(arguments[name], str), name, "a name, such as 'tanh'")
    for name in ("dropout", "recurrent_dropout", "weight_dropout"):
        check(0 <= arguments[name] < 1, name, "at least 0 and less than 1")
    check(embedding is None or embedding > 0, "embedding", "positive, or None")
    check(arguments["sequence_length"] > 0, "sequence_length", "positive")
    check(
        not arguments["tie_weights"] or embedding == units[-1],
        "tie_weights",
        f"False, unless embedding ({embedding}) equals the last units ({units[-1]})",
    )
    check(
        not stateful or arguments["return_sequences"],
        "stateful",
        "False, unless return_sequences=True: windows start from a zero state",
    )
    check(
        not stateful or (arguments["batch_size"] or 0) > 0,
        "batch_size",
        "a positive integer for a stateful model",
    )
    check(
        arguments["reset_states"] in ("epoch", "never"),
        "reset_states",
        "'epoch' or 'never'",
    )


def _activation(name: str) -> Any:
    """Returns what Keras's layers take: a registered function, or Keras's own name."""
    return keras.saving.get_registered_object(name) or name


def _loss_on_logits(loss: Any, dtype: str) -> Any:
    """Returns the loss to compile with: cross-entropy from logits, or the user's."""
    if isinstance(loss, list | tuple) and len(loss) == 1:
        [loss] = loss
    if loss is None or loss in _CROSS_ENTROPIES:
        return metrics.CrossEntropy(dtype=dtype)
    name = getattr(loss, "__name__", type(loss).__name__)
    if name in _CROSS_ENTROPIES:
        return metrics.CrossEntropy(dtype=dtype)
    if isinstance(loss, str):
        loss, name = keras.losses.get(loss), loss
    if isinstance(loss, keras.losses.Loss):
        from_logits = loss.get_config().get("from_logits", True)
    else:
        from_logits = "from_logits" not in inspect.signature(loss).parameters
    if not from_logits:
        raise ValueError(
            f"loss={name} expects probabilities, and a LanguageModel returns logits. "
            "Leave loss out, or pass from_logits=True."
        )
    return loss


def _metrics_on_logits(given: Any, dtype: str) -> Any:
    """Replaces the names of cross-entropies among the metrics of a user."""
    if not isinstance(given, list | tuple):
        return given
    return [
        _METRICS[each](name=each, dtype=dtype)
        if isinstance(each, str) and each in _METRICS
        else each
        for each in given
    ]


@contextlib.contextmanager
def _floatx(dtype: str) -> Iterator[None]:
    """Lets Keras make what it makes without a dtype of its own in this one."""
    before = keras.config.floatx()
    try:
        keras.config.set_floatx(dtype)
        yield
    finally:
        keras.config.set_floatx(before)


def _first_batch_shape(x: Any, batch_size: int | None) -> tuple:
    """Rows and steps of the batches of a `fit` input; `None` where not known."""
    if isinstance(x, Dataset):
        return x.largest_batch, getattr(x, "sequence_length", None)
    if isinstance(x, keras.utils.PyDataset):
        batch = x[0]
        return tuple(np.shape(batch[0] if isinstance(batch, tuple) else batch))[:2]
    if hasattr(x, "element_spec"):  # tf.data
        batch = next(iter(x))
        shape = (batch[0] if isinstance(batch, tuple) else batch).shape
        return tuple(shape)[:2] if len(shape) > 1 else (None, None)
    shape = (*getattr(x, "shape", ()), None, None)
    return (None if shape[0] is None else min(batch_size or 32, shape[0])), shape[1]
