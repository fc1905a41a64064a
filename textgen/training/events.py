"""The events of a training with checkpoints, in the order that a resume needs."""

from typing import Any

import keras

from textgen.training import training_state
from textgen.training.feeding import EpochBegin


class Events(keras.callbacks.CallbackList):
    """List of the callbacks of a `fit` that can be resumed at every step.

    `Checkpoints` is the last callback: the others have finished an event when it writes
    their states. In the first epoch of a resumed training, the batches are numbered as
    in the uninterrupted one.

    Args:
        callbacks: list of callbacks, with exactly one `Checkpoints`.
        checkpoints: This `Checkpoints`.
        begin: `EpochBegin` of the training.
        model: The model.
        **params: The other arguments of `keras.callbacks.CallbackList`.
    """

    def __init__(
        self,
        callbacks: list,
        checkpoints: Any,
        begin: EpochBegin,
        model: Any,
        **params: Any,
    ) -> None:
        super().__init__(
            callbacks,
            add_history=True,
            add_progbar=params["verbose"] != 0,
            model=model,
            **params,
        )
        self.callbacks.remove(checkpoints)
        self.callbacks.append(checkpoints)
        self._checkpoints = checkpoints
        self._feed = begin.feed
        self._restored = False
        self._first = 0  # number of the first batch of this epoch
        self._ends_epoch = False  # whether `stop_training` only ends the epoch
        self._train_function: Any = None

    # === Begin ===

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Restores the state of a checkpoint in the first epoch."""
        checkpoints = self._checkpoints
        self._first = 0
        if self._restored:
            checkpoints.session.stop_if_asked()
            super().on_epoch_begin(epoch, logs)
            return
        self._restored = True
        self._first = checkpoints.step
        # The state after an epoch precedes this event, that within an epoch follows it.
        if self._first:
            # A schedule sets the learning rate of this epoch again, for example.
            with training_state.unchanged(self.model):
                super().on_epoch_begin(epoch, logs)
        checkpoints.restore(self.callbacks)
        checkpoints.session.take_snapshot()
        checkpoints.session.stop_if_asked()
        if not self._first:
            super().on_epoch_begin(epoch, logs)
        if self._feed is not None and self._first >= len(self._feed):
            self._skip_training()

    def _skip_training(self) -> None:
        """Replaces the only step of an epoch in which nothing remains to be trained.

        Keras cannot start at the validation.
        """
        model = self.model
        self._train_function = model.train_function
        logs = model.get_metrics_result()
        if keras.backend.backend() == "jax":
            model.train_function = lambda state, _: (logs, state)
        else:
            model.train_function = lambda _: logs

    def close(self) -> None:
        """Undoes `_skip_training`."""
        if self._train_function is not None:
            self.model.train_function = self._train_function
            self._train_function = None

    # === Training ===

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Stops before the step if a signal has been received."""
        if self._checkpoints.step:  # otherwise, the epoch has begun: too late
            self._checkpoints.session.stop_if_asked()
        if self._train_function is None:
            super().on_train_batch_begin(self._first + batch, logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Ends the first epoch of a resumed training at its last batch."""
        if self._train_function is not None:
            self.close()
            self._end_epoch()
            return
        batch += self._first
        super().on_train_batch_end(batch, logs)
        # Keras counts the batches of this epoch from 0, and would ask for more.
        if self._first and self._feed is not None and batch + 1 >= len(self._feed):
            self._end_epoch()

    def _end_epoch(self) -> None:
        if not self.model.stop_training:
            self.model.stop_training = self._ends_epoch = True

    def _continue(self) -> None:
        if self._ends_epoch:
            self.model.stop_training = self._ends_epoch = False

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Ends the epoch."""
        self._continue()
        super().on_epoch_end(epoch, logs)

    # === Validation ===

    def on_test_begin(self, logs: Any = None) -> None:
        """Keeps the state before the validation, which resets the metrics."""
        self._continue()
        if self._feed is not None:
            self._checkpoints.session.take_snapshot()
        super().on_test_begin(logs)

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        """Stops after the step if a signal has been received."""
        super().on_test_batch_end(batch, logs)
        self._checkpoints.session.stop_if_asked(captured=True)

    # === End ===

    def on_train_end(self, logs: Any = None) -> None:
        """Restores the states also if there was nothing left to train."""
        if not self._restored:
            self._restored = True
            self._checkpoints.restore(self.callbacks)
        super().on_train_end(logs)
        self._checkpoints.session.finish()
