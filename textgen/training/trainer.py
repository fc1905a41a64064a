"""`compile`, `fit`, `evaluate` and `predict` of every textgen model.

Differences from Keras: datasets are read in their own order, the reported loss is the
mean over all targets, and unsuitable data raise an error before the training starts.

Names of dimensions: N examples in a batch, T steps, V tokens of the vocabulary, H units
of a layer.

(More than 400 lines: a third is the lists of arguments that Keras's methods have.)
"""

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from textgen import backend, distribution
from textgen.batches import Dataset
from textgen.text.tokenizer import Tokenizer
from textgen.training import compiling, feeding, gradient_norm, losses, resuming
from textgen.training.freezing import freeze, frozen
from textgen.training.lengths import Lengths
from textgen.training.metrics import WeightedMean
from textgen.training.sampled_softmax import check as check_sampled
from textgen.training.sampled_softmax import limits


class Trainer(keras.Model):
    """Base class of models that predict the next token: their common training.

    Attributes:
        vocabulary: `Tokenizer`.
        return_sequences: bool. Whether the model predicts at every step.
        stateful: bool. Whether `fit` carries a state from batch to batch.
        start_step: bool. Whether texts begin with a start step; `fit` copies it from
            textgen's datasets.
        end_token: int or `None`. The id that ends a text; `fit` copies it likewise.
        output_kind: `"logits"` or `"probabilities"`. Output of the model.
        reset_policy: `"epoch"` or `"never"`. When `fit` sets the carried state to zero.
        sampled_softmax: int. The argument of `compile`.
    """

    vocabulary: Tokenizer
    return_sequences: bool
    start_step: bool
    end_token: int | None
    stateful: bool = False
    output_kind: str = "logits"
    reset_policy: str = "epoch"
    sampled_softmax: int = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        backend.check_dtype(self.variable_dtype)
        # Keras weights the losses of batches by rows; this mean weights by targets.
        self._mean_loss = WeightedMean("mean_loss", dtype=self.variable_dtype)
        self._class_weight: np.ndarray | None = None
        self._frozen_at_compile: list[str] = []
        self._lengths = Lengths()
        self._reports_gradient_norm = False
        self._draws: np.ndarray | None = None  # see `sampled_softmax.limits`

    def computation(self) -> str:
        """Returns device and dtype in one line, such as `CPU (2 cores), float32`."""
        device = backend.accelerator() or f"CPU ({backend.available_cores()} cores)"
        return f"{device}, {self.dtype_policy.name}"

    # === Compiling ===

    @property
    def compiled(self) -> bool:
        """Whether the model is compiled, so that it can be trained."""
        return self._compiled

    @compiled.setter
    def compiled(self, value: bool) -> None:
        # Keras sets it when it loads a compiled model, even if `compile_from_config`
        # could not compile.
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
        sampled_softmax: int | None = None,
    ) -> None:
        """Configures the model for training; the arguments are those of Keras.

        Args:
            optimizer: Name or instance. Its arguments `clipvalue`, `clipnorm` and
                `global_clipnorm` clip gradients. The learning rate of an instance has
                the dtype that `keras.config.floatx()` had when it was created. Defaults
                to `"adam"`.
            loss: `None` for the cross-entropy; the rank of the targets decides between
                ids and one-hot. `"categorical_crossentropy"` and
                `"sparse_categorical_crossentropy"` mean the same here. Other losses get
                the output of the model. Defaults to `None`.
            loss_weights: As in Keras.
            metrics: As in Keras; `textgen.Perplexity()`, for example. Keras's names of
                cross-entropy and accuracy accept the same targets as the loss.
            weighted_metrics: As in Keras; they apply sample weights as the loss does.
            run_eagerly, steps_per_execution, jit_compile, auto_scale_loss: As in Keras.
            sampled_softmax: int or `None`. Number of drawn tokens of a `LanguageModel`:
                training steps compute the logits of these and of the targets only, and
                report the loss that this gives (see `training/sampled_softmax.py`). The
                validation loss is exact. Faster for vocabularies of thousands of
                tokens; without metrics only. Defaults to `None`, all tokens.

        Raises:
            ValueError: The loss or a metric expects probabilities but the model returns
                logits, or the reverse; or the model cannot have a sampled softmax.
        """
        dtype = self.variable_dtype
        # Keras creates objects that have no dtype argument in floatx.
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
        self.sampled_softmax = check_sampled(
            sampled_softmax, self, self.loss, [metrics, weighted_metrics]
        )
        # The optimizer's variables must exist before a file is loaded into them.
        self.optimizer.build(self.trainable_variables)
        self._frozen_at_compile = frozen(self)

    def get_compile_config(self) -> dict:
        """Returns the arguments of `compile`, and the layers that were frozen then."""
        if not self.compiled:
            return {}
        config = {**super().get_compile_config(), "frozen": self._frozen_at_compile}
        if self.sampled_softmax:
            config["sampled_softmax"] = self.sampled_softmax
        return config

    def compile_from_config(self, config: dict, strict: bool = False) -> None:
        """Compiles the model like the saved model.

        If the code of the optimizer, the loss or a metric is not available, the model
        stays uncompiled and a warning is issued; with `strict`, it is an error.
        """
        config = dict(config)
        frozen_now, frozen_then = frozen(self), config.pop("frozen", None)
        try:
            # The optimizer creates its learning rate in floatx.
            with backend.floatx(self.variable_dtype):
                config = keras.saving.deserialize_keras_object(config)
        except (TypeError, ValueError) as error:
            if strict:
                raise
            warnings.warn(
                "The model is not compiled: its optimizer, its loss or a metric is not "
                "part of Keras or textgen. Compile it before training. "
                f"({str(error).splitlines()[0]})",
                stacklevel=2,
            )
            return
        # The optimizer has states for the variables that were trainable at that time.
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
        """Returns the loss of a batch, and adds it to the mean over all targets."""
        y, y_pred = self.candidates(y, y_pred)
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        weight: Any = ops.shape(y_pred)[0]
        if isinstance(self.loss, losses.CrossEntropy):
            targets = losses.targets_of(y, y_pred)
            dtype = self._mean_loss.dtype
            weight = ops.sum(
                losses.target_weights(targets, y_pred, sample_weight, dtype)
            )
        self._mean_loss.update_state(loss, weight)
        return loss

    def candidates(self, y: Any, y_pred: Any) -> tuple[Any, Any]:
        """Returns targets and predictions for the loss."""
        return y, y_pred

    def get_metrics_result(self) -> dict:
        """Returns the values of loss and metrics by name."""
        result = super().get_metrics_result()
        result["loss"] = result.pop(self._mean_loss.name)
        return result

    def train_step(self, *args: Any, **kwargs: Any) -> Any:
        """Trains on one batch, with the weights of `class_weight`."""
        # On JAX, the first argument is the state.
        *state, data = args
        if self._class_weight is not None:
            rank = 2 if self.return_sequences else 1
            data = losses.weighted(data, self._class_weight, rank)
        with self._lengths.step("train"):
            if not self._reports_gradient_norm:
                return super().train_step(*state, data, **kwargs)
            with gradient_norm.recorded(self.optimizer) as norms:
                result = super().train_step(*state, data, **kwargs)
            return gradient_norm.added(result, norms)

    def test_step(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluates one batch."""
        with self._lengths.step("test"):
            return super().test_step(*args, **kwargs)

    def predict_step(self, *args: Any, **kwargs: Any) -> Any:
        """Returns the outputs for one batch."""
        with self._lengths.step("predict"):
            return super().predict_step(*args, **kwargs)

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

        Unless `verbose=0`, the first printed line reports device and dtype; see
        `computation`. textgen's datasets are shuffled according to their own arguments;
        `shuffle` applies to arrays. With `steps_per_epoch`, each epoch continues the
        pass over a textgen dataset where the previous epoch ended. The keys of
        `class_weight` are ids; it works with one-hot targets, ids, and all data.

        Raises:
            ValueError: The windows have a length other than the `sequence_length` of a
                many-to-one model; a batch is larger than the `batch_size` of a stateful
                model; its batches do not continue each other; or `class_weight` has a
                key that is not an id of the vocabulary; or the model was made for
                several replicas of TensorFlow.
        """
        distribution.check_strategy(self)
        # `call` checks each batch; this check comes before the progress bar appears.
        self.check_data(x, batch_size)
        for data in (x, validation_data):
            self._check_order(data)
        if isinstance(x, Dataset):
            self.start_step, self.end_token = x.start_step, x.end_of_line
            self._count(x)
        self._lengths.expect(self, "train", x)
        self._report_gradient_norm(feeding.flat(callbacks))
        if verbose != 0:
            print(f"Training on {self.computation()}", flush=True)
        arguments = {
            "x": x,
            "y": y,
            "batch_size": batch_size,
            "epochs": epochs,
            "verbose": verbose,
            "callbacks": callbacks,
            "validation_split": validation_split,
            "validation_data": feeding.fixed_order(validation_data),
            "shuffle": shuffle and not self.stateful,
            "sample_weight": sample_weight,
            "initial_epoch": initial_epoch,
            "steps_per_epoch": steps_per_epoch,
            **kwargs,
        }
        with distribution.noticing_losses():
            try:
                with self._weighing(class_weight), resuming.prepared(self, arguments):
                    history = super().fit(**arguments)
            finally:
                feeding.close(feeding.flat(callbacks))
            distribution.wait_for_all()  # for what process 0 has written
        return history

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

        The loss is the mean over all targets. A stateful model starts from zero,
        carries its state from batch to batch, and leaves the state of `fit` unchanged;
        for a `LanguageModel`, any batch size is allowed. textgen's datasets are read in
        the order of their first epoch.

        Raises:
            ValueError: The model is stateful, and the batches of the dataset do not
                continue each other.
        """
        self._check_order(x)
        self._lengths.expect(self, "test", x)
        with distribution.noticing_losses(), self.separate_states(x, batch_size):
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
        """Returns the outputs for all examples; arguments as in `keras.Model.predict`.

        The examples of textgen's datasets are in the order of the text. With several
        processes or devices, each process predicts alone, on one device.
        """
        with distribution.alone(self):
            return super().predict(feeding.text_order(x), *args, **kwargs)

    def carried_variables(self) -> list:
        """Returns the variables of the state that `fit` carries from batch to batch."""
        return []

    @property
    def carried_state(self) -> list[np.ndarray]:
        """State that `fit` carries from batch to batch: one or two arrays per layer.

        Each array has the shape `(batch_size, H)`. An LSTM layer has two: output and
        cell state. The list is empty if the model is not stateful.
        """
        return [ops.convert_to_numpy(each) for each in self.carried_variables()]

    def reset_state(self, states: Sequence[Any] | None = None) -> None:
        """Sets the state that `fit` carries from batch to batch.

        With `reset_policy="epoch"`, `fit` sets it to zero again at the start of each
        epoch.

        Args:
            states: Arrays with the shapes of `carried_state`, or `None` for zero.
                Defaults to `None`.

        Raises:
            ValueError: The arrays have other shapes.
        """
        variables = self.carried_variables()
        shapes = [tuple(variable.shape) for variable in variables]
        if states is None:
            states = [np.zeros(shape) for shape in shapes]
        found = [np.shape(state) for state in states]
        if found != shapes:
            raise ValueError(
                f"The states have the shapes {found}, but must have the shapes "
                f"{shapes}, like carried_state (empty if the model is not stateful)."
            )
        for variable, state in zip(variables, states, strict=True):
            variable.assign(ops.cast(state, variable.dtype))

    @contextlib.contextmanager
    def separate_states(self, x: Any, batch_size: int | None) -> Iterator[None]:
        """Protects the state of `fit` during an evaluation."""
        yield

    def _count(self, x: Dataset) -> None:
        """Counts the tokens of a dataset, for the draws of a sampled softmax."""
        if self.compiled and self.sampled_softmax:
            draws = limits(x.ids, len(self.vocabulary))
            if self._draws is None or not np.array_equal(draws, self._draws):
                self._draws = draws
                self.make_train_function(force=True)  # the old one has other draws

    def _report_gradient_norm(self, callbacks: list) -> None:
        """Lets training steps compute the norm of the gradient, if a callback asks."""
        # All processes ask, also those whose callbacks do not write.
        needed = any(getattr(e, "needs_gradient_norm", False) for e in callbacks)
        if self.compiled and needed != self._reports_gradient_norm:
            self._reports_gradient_norm = needed
            self.make_train_function(force=True)  # the old one does not compute it

    def check_data(self, x: Any, batch_size: int | None) -> None:
        """Raises ValueError if the data do not fit the model."""

    def _check_order(self, x: Any) -> None:
        """Raises ValueError if a stateful model cannot read a dataset."""
        if self.stateful and isinstance(x, Dataset) and not x.carries_state:
            raise ValueError(
                "A stateful model needs batches that continue each other: use "
                "SequenceDataset(..., sampling='consecutive') or "
                "LineDataset(..., stateful=True)."
            )

    @contextlib.contextmanager
    def _weighing(self, class_weight: dict[int, float] | None) -> Iterator[None]:
        """Applies class weights in `train_step` within the context."""
        if not class_weight or not self.compiled:
            yield
            return
        size, dtype = len(self.vocabulary), self.variable_dtype
        try:
            self._class_weight = losses.weights_by_id(class_weight, size, dtype)
            self.make_train_function(force=True)  # the old one ignores the weights
            yield
        finally:
            self._class_weight = None
            self.make_train_function(force=True)
