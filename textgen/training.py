"""What `fit`, `evaluate` and `predict` add to Keras's, for every model of textgen.

The order of the datasets is kept, the reported loss is the mean over all targets, and
what cannot be done is refused before it begins.

Names of dimensions: N examples in a batch, T steps, V symbols of the vocabulary.
"""

import contextlib
import inspect
import warnings
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from textgen import metrics as own
from textgen.datasets import Batches, Dataset, Feed, View
from textgen.layers import accelerator, available_cores
from textgen.vocabulary import Vocabulary

# Names by which users of Keras ask for the one loss of a language model.
_CROSS_ENTROPIES = ("categorical_crossentropy", "sparse_categorical_crossentropy")

# Names of metrics that textgen has for targets as ids or one-hot, with some left out.
_METRICS = {
    **dict.fromkeys((*_CROSS_ENTROPIES, "crossentropy", "ce"), own.MeanCrossEntropy),
    **dict.fromkeys(
        ("accuracy", "acc", "categorical_accuracy", "sparse_categorical_accuracy"),
        own.Accuracy,
    ),
}


class Trainer(keras.Model):
    """Base class of models that predict the next symbol, with the training they share.

    Attributes:
        vocabulary: `Vocabulary`.
        return_sequences: bool. Whether the model predicts at every step.
        stateful: bool. Whether `fit` carries a state from batch to batch.
        start_step: bool. Whether texts begin with a start step; `fit` learns it from
            textgen's datasets.
        output_kind: `"logits"` or `"probabilities"`. What the model returns.
        reset_policy: `"epoch"` or `"never"`. When `fit` sets carried states to zero.
    """

    vocabulary: Vocabulary
    return_sequences: bool
    start_step: bool
    stateful: bool = False
    output_kind: str = "logits"
    reset_policy: str = "epoch"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Keras weighs the losses of batches by their rows. This one counts targets.
        self._mean_loss = own.WeightedMean("mean_loss", dtype=self.variable_dtype)
        self._class_weight: np.ndarray | None = None
        self._frozen_at_compile: list[str] = []

    def computation(self) -> str:
        """Says in one line on what the model computes: `CPU (2 cores), float32`."""
        device = accelerator() or f"CPU ({available_cores()} cores)"
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
        with floatx(dtype):
            super().compile(
                optimizer=optimizer,
                loss=_loss_for(loss, self.output_kind, dtype),
                loss_weights=loss_weights,
                metrics=_metrics_for(metrics, self.output_kind, dtype),
                weighted_metrics=_metrics_for(
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
            with floatx(self.variable_dtype):  # the learning rate, for one
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
        if isinstance(self.loss, own.CrossEntropy):
            targets = own.targets_of(y, y_pred)
            dtype = self._mean_loss.dtype
            weight = ops.sum(own.target_weights(targets, y_pred, sample_weight, dtype))
        self._mean_loss.update_state(loss * _replicas(), weight)
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
            by_class = own.class_weights(
                ops.convert_to_tensor(self._class_weight),
                y,
                2 if self.return_sequences else 1,
            )
            if weights is not None:
                weights = own.weights_like(ops.cast(weights, by_class.dtype), by_class)
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
        self._check_data(x, batch_size)
        for data in (x, validation_data):
            self._check_order(data)
        weights = self._weights_by_class(class_weight)
        begin: _EpochBegin | None = None
        if isinstance(x, Dataset):
            self.start_step = x.start_step
            feed = Feed(x, steps_per_epoch or len(x))
            if self.stateful and len(x) % len(feed) and len(feed) % len(x):
                raise ValueError(
                    f"steps_per_epoch={steps_per_epoch} of a dataset of {len(x)} "
                    "batches: an epoch would cross the end of a pass, where a stateful "
                    "model begins anew. Use a divisor or a multiple."
                )
            begin = _EpochBegin(x, feed, initial_epoch)
            x, steps_per_epoch = feed, None
        if self.stateful:
            shuffle = False
            begin = begin or _EpochBegin(None, None, initial_epoch)
        if verbose != 0:
            print(f"Training on {self.computation()}", flush=True)
        if isinstance(callbacks, keras.callbacks.CallbackList):
            if begin is not None:
                begin.set_model(self)
                callbacks.callbacks.insert(0, begin)
        else:
            callbacks = keras.tree.flatten(callbacks) if callbacks else []
            if verbose != 0 and not any(
                isinstance(callback, keras.callbacks.ProgbarLogger)
                for callback in callbacks
            ):
                # First in the list, the bar is complete before a callback prints.
                callbacks.insert(0, keras.callbacks.ProgbarLogger())
            if begin is not None:
                callbacks.insert(0, begin)
        with self._weighing(weights):
            return super().fit(
                x=x,
                y=y,
                batch_size=batch_size,
                epochs=epochs,
                verbose=verbose,
                callbacks=callbacks,
                validation_split=validation_split,
                validation_data=_fixed(validation_data),
                shuffle=shuffle,
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
        with self._evaluating(x, batch_size):
            return super().evaluate(
                x=_fixed(x),
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
        x = View(x, None) if isinstance(x, Dataset) else x
        return super().predict(x, *args, **kwargs)

    def reset_state(self) -> None:
        """Sets the state that `fit` carries to zero."""

    @contextlib.contextmanager
    def _evaluating(self, x: Any, batch_size: int | None) -> Iterator[None]:
        """Keeps the states of `fit` apart from those of an evaluation."""
        yield

    def _check_data(self, x: Any, batch_size: int | None) -> None:
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
        self._class_weight = weights
        if weights is not None:
            self.train_function = None  # it holds those that were there
        try:
            yield
        finally:
            self._class_weight = None
            if weights is not None:
                self.train_function = None

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


class _EpochBegin(keras.callbacks.Callback):
    """Has the data go on where the epoch begins, and resets carried states."""

    def __init__(
        self, dataset: Dataset | None, feed: Feed | None, initial_epoch: int
    ) -> None:
        super().__init__()
        self.dataset, self.feed = dataset, feed
        # A fit from epoch 0 goes on where the dataset is; a resumed one counts from 0.
        self.passes = 0
        if dataset is not None and initial_epoch == 0:
            self.passes = dataset.next_epoch

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        whole_pass = True
        if self.dataset is not None and self.feed is not None:
            length = len(self.dataset)
            self.feed.first = self.passes * length + epoch * len(self.feed)
            self.dataset.set_epoch(self.feed.first // length)
            whole_pass = self.feed.first % length == 0
        if whole_pass and self.model.reset_policy == "epoch":
            self.model.reset_state()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if self.dataset is not None and self.feed is not None:
            # A pass that was begun counts.
            read = self.feed.first + len(self.feed)
            self.dataset.set_epoch(-(-read // len(self.dataset)))


def _fixed(x: Any) -> Any:
    """A dataset in the order of its first epoch; other data as they are."""
    return View(x, 0) if isinstance(x, Dataset) else x


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


def _replicas() -> int:
    """By how many Keras divides a loss, to add up those of the replicas."""
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


def _loss_for(loss: Any, kind: str, dtype: str) -> Any:
    """Returns the loss to compile with: textgen's cross-entropy, or the user's.

    Args:
        loss: What the user gave.
        kind: `"logits"` or `"probabilities"`. What the model returns.
        dtype: str. The precision of the loss.
    """
    if isinstance(loss, list | tuple) and len(loss) == 1:
        [loss] = loss
    name = getattr(loss, "__name__", type(loss).__name__)
    if loss is None or loss in _CROSS_ENTROPIES or name in _CROSS_ENTROPIES:
        return own.CrossEntropy(dtype=dtype, from_logits=kind == "logits")
    if isinstance(loss, str):
        loss, name = keras.losses.get(loss), loss
    from_logits = None
    if isinstance(loss, keras.losses.Loss):
        from_logits = loss.get_config().get("from_logits")
    elif "from_logits" in inspect.signature(loss).parameters:
        from_logits = inspect.signature(loss).parameters["from_logits"].default
    _check_kind(f"loss={name}", from_logits, kind)
    if isinstance(loss, own.CrossEntropy):
        return type(loss).from_config(
            {**loss.get_config(), "from_logits": kind == "logits"}
        )
    return loss


def _metrics_for(given: Any, kind: str, dtype: str) -> Any:
    """Replaces the names of cross-entropies and accuracies among a user's metrics.

    Args:
        given: As `compile` takes them: a metric, or lists and dicts of them.
        kind: `"logits"` or `"probabilities"`. What the model returns.
        dtype: str. The precision of the metrics.
    """
    if isinstance(given, dict):
        return {name: _metrics_for(each, kind, dtype) for name, each in given.items()}
    if isinstance(given, list | tuple):
        return [_metrics_for(each, kind, dtype) for each in given]
    if isinstance(given, str) and given in _METRICS:
        given = _METRICS[given](name=given, dtype=dtype)
    if isinstance(given, keras.metrics.Metric):
        config = given.get_config()
        _check_kind(
            f"The metric {type(given).__name__}", config.get("from_logits"), kind
        )
        if "from_logits" in config and config["from_logits"] is None:
            given.from_logits = kind == "logits"
    return given


def _check_kind(what: str, from_logits: bool | None, kind: str) -> None:
    """Raises if a loss or a metric does not take what the model returns."""
    if from_logits is None or from_logits == (kind == "logits"):
        return
    expected = "logits" if from_logits else "probabilities"
    raise ValueError(
        f"{what} expects {expected}, and the model returns {kind}. Leave it out, or "
        f"pass from_logits={not from_logits}."
    )


@contextlib.contextmanager
def floatx(dtype: str) -> Iterator[None]:
    """Lets Keras make what it makes without a dtype of its own in this one."""
    before = keras.config.floatx()
    try:
        keras.config.set_floatx(dtype)
        yield
    finally:
        keras.config.set_floatx(before)


def batch_shape(x: Any, batch_size: int | None) -> tuple[int | None, int | None]:
    """Rows and steps of the batches of an input of `fit`; `None` where not known.

    No batch is read for it, since reading one can mean to lose it.
    """
    if isinstance(x, Batches):
        return x.largest_batch, x.steps
    if isinstance(x, keras.utils.PyDataset):
        x = x[0]
        x = x[0] if isinstance(x, tuple) else x
        return tuple(np.shape(x))[:2]
    if (spec := getattr(x, "element_spec", None)) is not None:  # tf.data
        shape = keras.tree.flatten(spec)[0].shape
        return tuple(shape)[:2] if shape.rank and shape.rank > 1 else (None, None)
    shape = (*getattr(x, "shape", ()), None, None)
    return (None if shape[0] is None else min(batch_size or 32, shape[0])), shape[1]
