"""One `fit` with checkpoints: when its states are written, and its early ends."""

import contextlib
import math
import signal
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from textgen import distribution
from textgen.training import feeding, training_state
from textgen.training.signals import Signals, TrainingStopped, is_interactive

# Shares of the time of a training at the default interval: less than 2 % with the last
# state.
_WRITING = 0.012
_COPYING = 0.004
_PAUSE = 5.0  # seconds between two states at least

_AGREEMENT = 10  # steps between two moments at which several processes can stop


class TrainingDivergedError(ValueError):
    """The loss or a weight became infinite or NaN, and the training was stopped.

    The model has the last finite state again.

    Attributes:
        step: int. The training batch at which it was noticed, counted from 1 over all
            epochs.
        kept: Path of the checkpoint with the last finite state, or `None`.
    """

    def __init__(self, message: str, step: int, kept: Path | None) -> None:
        super().__init__(message)
        self.step = step
        self.kept = kept


class Session:
    """One `fit` with checkpoints.

    Args:
        checkpoints: `Checkpoints`.
        events: `Events`, the list of all callbacks.
        exact: bool. Whether the training can be resumed within an epoch.
    """

    def __init__(self, checkpoints: Any, events: Any, exact: bool) -> None:
        self._of = checkpoints
        self._events = events
        self._exact = exact
        self._signals = Signals()
        self._finite: training_state.Snapshot | None = None  # the newest state
        self._best: training_state.Snapshot | None = None  # not yet in a file
        self._failed: OSError | None = None  # of the last write
        self._written = self._place(checkpoints.facts()) if checkpoints.last else None
        self._batches_written = checkpoints.batches
        self._began = self._wrote = time.monotonic()
        self._copying = self._copy_time = 0.0  # in all, and of the last one
        self._writing = self._write_time = 0.0

    @property
    def _model(self) -> Any:
        return self._of.model  # on JAX, this updates the variables of the model

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Receives signals in the `with` block; after an error, writes the last state.

        Raises:
            TrainingStopped: A signal was received.
        """
        with self._signals:
            try:
                yield
            except (TrainingStopped, TrainingDivergedError):
                raise
            except BaseException:
                if self._signals.received is None and self._failed is None:
                    message = self._rescue()
                    if message:
                        warnings.warn(message, stacklevel=2)
                raise
            finally:
                self._events.close()
            self._agree()
            if self._signals.received is not None:
                self._stop()

    # === Events ===

    def end_step(self, loss: float | None) -> None:
        """Checks the loss of a step, and copies or writes the state if it is time."""
        if loss is not None and not math.isfinite(loss):
            self._diverge(f"The loss became {float(loss)}")
        if self._exact:
            if self._is_due():
                self.take_snapshot()
                self._write()
            elif self._copying + self._copy_time <= _COPYING * self._elapsed():
                self.take_snapshot()
        if self._of.batches % _AGREEMENT == 0:
            self._stop_together()
        self.stop_if_asked()

    def end_epoch(self, improved: bool, ended: bool) -> None:
        """Copies and writes the state after an epoch, where needed.

        Args:
            improved: bool. Whether this is the best epoch so far.
            ended: bool. Whether it is the last one.
        """
        due = ended or self._is_due()
        if improved or due or not self._exact:
            self.take_snapshot()
        if improved:
            self._best = self._finite
        if due:
            self._write()
        self._stop_together()
        self.stop_if_asked(captured=not self._exact)

    def finish(self) -> None:
        """Reports that the last state could not be written.

        Raises:
            OSError: The error.
        """
        if self._failed is None:
            return
        error = type(self._failed)(
            f"{self._failed} The training has ended, and the model in memory is "
            f"complete: save it in another place.{self._newest()}"
        )
        error.errno = self._failed.errno
        raise error

    # === States ===

    def take_snapshot(self) -> None:
        """Keeps a copy of the state in memory.

        Raises:
            TrainingDivergedError: A variable is infinite or NaN.
        """
        began = time.monotonic()
        facts = self._of.facts()
        if self._finite is not None and self._finite.facts == facts:
            return  # nothing happened since then
        model = self._model
        with distribution.alone(model):
            state = training_state.Snapshot(model, facts, self._events.callbacks)
        wrong = state.not_finite()
        if wrong is not None:
            self._diverge(f"The variable {wrong} became infinite or NaN")
        self._finite = state
        self._copy_time = time.monotonic() - began
        self._copying += self._copy_time

    def _elapsed(self) -> float:
        return time.monotonic() - self._began

    def _is_due(self) -> bool:
        """Whether a state must be written."""
        steps, seconds = self._of.interval
        if steps is not None:
            return self._of.batches // steps > self._batches_written // steps
        if time.monotonic() - self._wrote < (seconds or _PAUSE):
            return False
        expected = self._writing + 2 * self._write_time  # with the state at the end
        return seconds is not None or expected <= _WRITING * self._elapsed()

    def _write(self) -> None:
        """Writes the newest snapshot; a warning says if that is not possible."""
        try:
            self._save(current=True)
            self._failed = None
        except OSError as error:
            self._failed = error
            warnings.warn(
                f"{error} The training continues.{self._newest()}", stacklevel=2
            )

    def _newest(self) -> str:
        """Returns a sentence with a space before it, for a message."""
        if self._of.last is None:
            return " There is no checkpoint yet."
        return f" The newest checkpoint is {self._of.last}."

    def _save(self, current: bool) -> None:
        """Writes the newest snapshot, and before it the best model, if it is new.

        Args:
            current: bool. Whether the model has the state of the snapshot.
        """
        began = time.monotonic()
        model, state, best = self._model, self._finite, self._best
        if state is None:
            return
        try:
            with distribution.alone(model):
                if not current:
                    state.restore(model)
                if best is not None:
                    same = contextlib.nullcontext()
                    with same if best is state else best.in_model(model):
                        self._of.files.write_best(model, best.training, best.arrays)
                    self._best = None
                path = self._of.files.write(
                    state.facts["batches"], model, state.training, state.arrays
                )
            self._of.saved(path, state.training)
            self._written = self._place(state.facts)
        finally:
            self._batches_written = self._of.batches
            self._wrote = time.monotonic()
            self._write_time = self._wrote - began
            self._writing += self._write_time

    # === Early ends ===

    def stop_if_asked(self, captured: bool = False) -> None:
        """Writes the state and stops, if a signal was received.

        Args:
            captured: bool. Whether the newest snapshot is the state to write.

        Raises:
            TrainingStopped: A signal was received.
        """
        if self._signals.received is None or distribution.processes() > 1:
            return  # several processes agree where they stop
        if self._exact and not captured:
            self.take_snapshot()
        self._stop()

    def _agree(self) -> None:
        """Lets all processes know the signal that one of them received."""
        self._signals.received = (
            distribution.largest(self._signals.received or 0) or None
        )

    def _stop_together(self) -> None:
        """Writes the state and stops, if any of several processes received a signal."""
        if distribution.processes() == 1:
            return
        self._agree()
        if self._signals.received is not None:
            self.take_snapshot()
            self._stop()

    def _stop(self) -> None:
        feeding.close(self._events.callbacks)
        number = self._signals.received or 0
        place = self._rescue() or f"The state is in {self._of.last}."
        folder = str(self._of.folder)
        how = self._of.how_to_resume or f"textgen.Checkpoints({folder!r}, resume=True)"
        message = f"Stopped by {signal.Signals(number).name}. {place} Continue: {how}"
        self._signals.show(message)
        if number == signal.SIGINT and is_interactive():
            raise KeyboardInterrupt(message)
        raise TrainingStopped(number, self._of.folder)

    def _rescue(self) -> str:
        """Writes the newest snapshot, unless a file has it; returns an error message.

        An exception may have interrupted a step, so the model gets the same state.
        """
        state = self._finite
        if state is None or self._place(state.facts) == self._written:
            return ""
        if not state.facts["batches"] and self._signals.received is None:
            return ""  # a mistake before the second step is not a training
        try:
            self._save(current=False)
        except Exception as error:
            return f"The state could not be written: {error}{self._newest()}"
        return ""

    def _diverge(self, what: str) -> None:
        """Restores and writes the last finite state.

        Raises:
            TrainingDivergedError: Always.
        """
        batches, state = self._of.batches, self._finite
        if state is None:
            raise TrainingDivergedError(
                f"{what} before the first step of this training: start with other "
                "weights.",
                batches,
                None,
            )
        epoch = self._of.epoch + (self._of.step > 0)
        if distribution.processes() == 1:  # several have different snapshots
            state.restore(self._model)
        failed = self._rescue()
        saved = self._place(state.facts) == self._written
        half = "float32 instead of mixed_float16, " * (
            self._model.compute_dtype == "float16"
        )
        parts = [
            f"{what} at training batch {batches:,}, in epoch {epoch}.",
            f"The model has the state after {state.facts['batches']:,} batches again"
            f"{f', which is also in {self._of.last}' if saved else ''}.",
            failed,
            f"Try a smaller learning rate, {half}or gradient clipping, such as "
            "clipnorm=1.0.",
        ]
        raise TrainingDivergedError(
            " ".join(filter(None, parts)), batches, self._of.last if saved else None
        )

    @staticmethod
    def _place(facts: dict[str, Any]) -> tuple:
        return facts["epoch"], facts["step"], facts["ended_of"]
