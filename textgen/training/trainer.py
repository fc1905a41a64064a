"""What `fit`, `evaluate` and `predict` add to Keras's, for every model of textgen.

The order of the datasets is kept, the reported loss is the mean over all targets, and
what cannot be done is refused before it begins.

Names of dimensions: N examples in a batch, T steps, V symbols of the vocabulary.
"""

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from textgen import backend
from textgen.batches import Dataset
from textgen.text.vocabulary import Vocabulary
from textgen.training import compiling, feeding, losses
from textgen.training.metrics import WeightedMean


class Trainer(keras.Model):
    """Base class of models that predict the next symbol, with the training they share.

    Attributes:
        vocabulary: `Vocabulary`.
        return_sequences: bool. Whether the model predicts at every step.
        stateful: bool. Whether `fit` carries a state from batch to batch.
        start_step: bool. Whether texts begin with a start step; `fit` learns it from
            textgen's datasets.
        end_token: int or `None`. The id that ends a text; `fit` learns it likewise.
        output_kind: `"logits"` or `"probabilities"`. What the model returns.
        reset_policy: `"epoch"` or `"never"`. When `fit` sets carried states to zero.
    """

    vocabulary: Vocabulary
    return_sequences: bool
    start_step: bool
    end_token: int | None
    stateful: bool = False
    output_kind: str = "logits"
    reset_policy: str = "epoch"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Keras weighs the losses of batches by their rows. This one counts targets.
        self._mean_loss = WeightedMean("mean_loss", dtype=self.variable_dtype)
        self._class_weight: np.ndarray | None = None
        self._frozen_at_compile: list[str] = []

    def computation(self) -> str:
        """Says in one line on what the model computes: `CPU (2 cores), float32`."""
        device = backend.accelerator() or f"CPU ({backend.available_cores()} cores)"
        return f"{device}, {self.dtype_policy.name}"

    # === Compiling ===

    @property
    def compiled(self) -> bool:
        """Whether the model can be trained."""
        return self._compiled

    @compiled.setter
    def compiled(self, value: bool) -> None:
        # Keras sets it for every file of a compiled model, even where
        # `compile_from_config` could not compile.
        self._compiled = value and getattr(self, "optimizer", None) is not None

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
                get what the model returns. Defaults to `None`.
            loss_weights: As in Keras.
            metrics: As in Keras; `textgen.Perplexity()`, for example. The names that
                mean cross-entropy or accuracy follow the targets as the loss does.
            weighted_metrics: As in Keras; they count weights as the loss does.
            run_eagerly: As in Keras.
            steps_per_execution: As in Keras.
            jit_compile: As in Keras.
            auto_scale_loss: As in Keras.

        Raises:
            ValueError: The loss or a metric expects probabilities and the model returns
                logits, or the other way round.
        """
        dtype = self.variable_dtype
        # What Keras makes without a dtype of its own is of this precision.
        with backend.floatx(dtype):
            super().compile(
                optimizer=optimizer,
                loss=compiling.loss_for(loss, self.output_kind, dtype),
                loss_weights=loss_weights,
                metrics=compiling.metrics_for(metrics, self.output_kind, dtype),
                weighted_metrics=compiling.metrics_for(
                    weighted_metrics, self.output_kind, dtype
                ),
                run_eagerly=run_eagerly,
                steps_per_execution=steps_per_execution,
                jit_compile=jit_compile,
                auto_scale_loss=auto_scale_loss,
            )
        # Made at once, its variables are there to be loaded.
        self.optimizer.build(self.trainable_variables)
        self._frozen_at_compile = frozen(self)

    def get_compile_config(self) -> dict:
        """Returns the arguments of `compile`, and which layers were frozen then."""
        if not self.compiled:
            return {}
        return {
            **super().get_compile_config(),
            "frozen": self._frozen_at_compile,
        }

    def compile_from_config(self, config: dict) -> None:
        """Compiles as the saved model was.

        With a loss or a metric whose code is not here, the model stays uncompiled, and
        a warning says so.
        """
        config = dict(config)
        frozen_now, frozen_then = frozen(self), config.pop("frozen", None)
        try:
            with backend.floatx(self.variable_dtype):  # the learning rate, for one
                config = keras.saving.deserialize_keras_object(config)
        except (TypeError, ValueError) as error:
            warnings.warn(
                "The model is not compiled: its optimizer, its loss or a metric is "
                "not Keras's or textgen's own. Compile it before training. "
                f"({str(error).splitlines()[0]})",
                stacklevel=2,
            )
            return
        # The optimizer has states for the variables that were trained at that time.
        if frozen_then is not None:
            freeze(self, frozen_then)
        self.compile(**config)
        freeze(self, frozen_now)

    # === Loss and metrics ===

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Returns the loss of a batch, and counts it by the weight of its targets."""
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        weight: Any = ops.shape(y_pred)[0]
        if isinstance(self.loss, losses.CrossEntropy):
            targets = losses.targets_of(y, y_pred)
            dtype = self._mean_loss.dtype
            weight = ops.sum(
                losses.target_weights(targets, y_pred, sample_weight, dtype)
            )
        self._mean_loss.update_state(loss * backend.num_replicas(), weight)
        return loss

    def get_metrics_result(self) -> dict:
        """Returns the values of loss and metrics by name."""
        result = super().get_metrics_result()
        result["loss"] = result.pop(self._mean_loss.name)
        return result

    def train_step(self, *args: Any, **kwargs: Any) -> Any:
        """Does one step of `fit`, with the weights of classes."""
        # With JAX, a state comes before the data.
        *state, data = args
        if self._class_weight is not None:
            x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
            by_class = losses.class_weights(
                ops.convert_to_tensor(self._class_weight),
                y,
                2 if self.return_sequences else 1,
            )
            if weights is not None:
                weights = losses.weights_like(
                    ops.cast(weights, by_class.dtype), by_class
                )
                by_class = by_class * weights
            data = (x, y, by_class)
        return super().train_step(*state, data, **kwargs)

    # === Fit, evaluate, predict ===

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
        class_weight: dict[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """Trains the model; arguments and result are those of `keras.Model.fit`.

        Unless `verbose=0`, the first line says what it computes on; see `computation`.
        textgen's datasets shuffle by themselves; `shuffle` is for arrays. With
        `steps_per_epoch`, an epoch of a dataset still ends where its pass ends. The
        weights of `class_weight` are by id, for one-hot targets and for ids, in any
        kind of data.

        Raises:
            ValueError: The windows of a many-to-one model are not of its
                `sequence_length`; a batch of a stateful model is larger than its
                `batch_size`, or the batches do not continue each other; or
                `class_weight` has an id that the vocabulary lacks.
        """
        # Each batch is checked as it comes; this comes before a progress bar.
        self.check_data(x, batch_size)
        for data in (x, validation_data):
            self._check_order(data)
        weights = self._weights_by_class(class_weight)
        begin: feeding.EpochBegin | None = None
        if isinstance(x, Dataset):
            self.start_step, self.end_token = x.start_step, x.end_of_line
            begin = feeding.EpochBegin.of_dataset(
                x, steps_per_epoch, initial_epoch, self.stateful
            )
            x, steps_per_epoch = begin.feed, None
        elif self.stateful:
            begin = feeding.EpochBegin()
        if verbose != 0:
            print(f"Training on {self.computation()}", flush=True)
        with self._weighing(weights):
            return super().fit(
                x=x,
                y=y,
                batch_size=batch_size,
                epochs=epochs,
                verbose=verbose,
                callbacks=feeding.with_callbacks(callbacks, begin, self, verbose != 0),
                validation_split=validation_split,
                validation_data=feeding.fixed_order(validation_data),
                shuffle=shuffle and not self.stateful,
                sample_weight=sample_weight,
                initial_epoch=initial_epoch,
                steps_per_epoch=steps_per_epoch,
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

        The loss is the mean over all targets. A stateful model carries the state from
        batch to batch here too, from zero, apart from the states of `fit`, at any batch
        size. textgen's datasets are read in the order of their first epoch.

        Raises:
            ValueError: The model is stateful, and the batches of the dataset do not
                continue each other.
        """
        self._check_order(x)
        with self.separate_states(x, batch_size):
            return super().evaluate(
                x=feeding.fixed_order(x),
                y=y,
                batch_size=batch_size,
                verbose=verbose,
                sample_weight=sample_weight,
                steps=steps,
                callbacks=callbacks,
                return_dict=return_dict,
                **kwargs,
            )

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Returns what the model returns for all examples; arguments as in Keras.

        The examples of textgen's datasets come in the order of the text.
        """
        return super().predict(feeding.text_order(x), *args, **kwargs)

    def reset_state(self) -> None:
        """Sets the state that `fit` carries to zero."""

    @contextlib.contextmanager
    def separate_states(self, x: Any, batch_size: int | None) -> Iterator[None]:
        """Keeps the states of `fit` apart from those of an evaluation."""
        yield

    def check_data(self, x: Any, batch_size: int | None) -> None:
        """Raises if the data cannot fit the model."""

    def _check_order(self, x: Any) -> None:
        """Raises if a stateful model cannot read a dataset."""
        if self.stateful and isinstance(x, Dataset) and not x.carries_state:
            raise ValueError(
                "A stateful model needs batches that continue each other: use "
                "SequenceDataset(..., sampling='consecutive') or "
                "LineDataset(..., stateful=True)."
            )

    @contextlib.contextmanager
    def _weighing(self, weights: np.ndarray | None) -> Iterator[None]:
        """Has `train_step` use weights of classes, and nothing else after it."""
        if weights is None or not self.compiled:
            yield
            return
        try:
            self._class_weight = weights
            self.make_train_function(force=True)  # the old one has no weights
            yield
        finally:
            self._class_weight = None
            self.make_train_function(force=True)

    def _weights_by_class(self, given: dict[int, float] | None) -> np.ndarray | None:
        """Returns the weight of each id, `(V,)`; 1 where none is given."""
        if not given:
            return None
        size = len(self.vocabulary)
        weights = np.ones(size, self.variable_dtype)
        for index, value in given.items():
            if not isinstance(index, int | np.integer) or not 0 <= index < size:
                raise ValueError(
                    f"class_weight has the key {index!r}; its keys must be ids, from "
                    f"0 to {size - 1} (vocabulary.ids[symbol])."
                )
            if not 0 <= value < float("inf"):
                raise ValueError(
                    f"class_weight[{index}]={value} must be at least 0 and finite."
                )
            weights[index] = value
        return weights


def frozen(model: keras.Model) -> list[str]:
    """The paths of the layers in a model that are not trainable."""
    return [path for path, layer in _layers(model) if not layer.trainable]


def freeze(model: keras.Model, paths: list[str]) -> None:
    """Makes exactly the layers of these paths not trainable."""
    layers = dict(_layers(model))
    for layer in layers.values():
        layer.trainable = True
    for path in paths:
        if path in layers:
            layers[path].trainable = False


def _layers(model: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """All layers in a model, with their paths; outer ones come first."""
    for layer in model.layers:
        yield f"{path}{layer.name}", layer
        if hasattr(layer, "layers"):
            yield from _layers(layer, f"{path}{layer.name}/")
