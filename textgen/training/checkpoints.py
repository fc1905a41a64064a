"""Checkpoints: a training can be stopped at every step, and resumed there."""

import contextlib
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras

from textgen import distribution
from textgen.training import callback_states, training_state
from textgen.training.checkpoint_files import Folder, Reader
from textgen.training.session import Session

_SECONDS = {"s": 1, "sec": 1, "min": 60, "h": 3600}


class Checkpoints(keras.callbacks.Callback):
    """Writes the state of a training to a folder, so that it can be resumed exactly.

    On a CPU, a resumed training is bit-identical to an uninterrupted one, also if it
    stopped within an epoch: weights, optimizer, learning rate, order of the data,
    dropout, carried states, metrics, history, the CSV log, the states of Keras's and
    textgen's callbacks, and the generators of Python and NumPy. Your own callbacks can
    have the methods `get_state()` and `set_state(state)`; see
    `textgen.training.callback_states`. `fit` takes `initial_epoch` from this callback.

    The state can be resumed at every step if `fit` reads a textgen dataset or arrays.
    Arrays are then shuffled in textgen's order, which depends on a seed, instead of
    Keras's. With other data (generators, `tf.data`, `PyDataset`), states are written
    after epochs only, and an exact resume needs an order that is the same again.

    Files in the folder: `step-000000500.keras` is the state after 500 training batches;
    `best.keras` is the model after the epoch with the lowest loss. Both are models for
    `textgen.load`. They are written completely or not at all, and have checksums: if
    the newest file is damaged, a warning says so, and the one before is used.

    SIGINT (Ctrl-C), SIGTERM and SIGHUP finish the step, write the state, print how to
    continue, and raise `textgen.TrainingStopped`, which ends the process; Ctrl-C in an
    interactive session raises KeyboardInterrupt. A second signal ends it at once.

    An infinite or NaN loss or weight stops the training: the last finite state is
    written and restored in the model, and `textgen.TrainingDivergedError` is raised.

    If a state cannot be written, a warning is issued, and the training continues. If
    the last one cannot be written either, `fit` raises OSError at its end.

    Args:
        folder: str or path. Created by `fit`.
        resume: bool. Whether to continue the training in the folder. Defaults to
            `False`, a new training.
        overwrite: bool. Whether a new training may replace one in the folder, whose
            files are removed after the first state of the new one was written.
            Defaults to `False`.
        monitor: str or `None`. Name of the loss that decides which epoch is best.
            Defaults to `None`: `"val_loss"` if it exists, otherwise `"loss"`.
        every: int, number of training batches between two states; or str, time between
            them, such as `"30s"`, `"10min"`, `"2h"`. A state is always written at the
            end of the training. Defaults to `None`: at least 5 seconds, and so rarely
            that the checkpoints take less than 2 % of the time.
        keep: int. Number of the newest states to keep. Defaults to `2`.
        how_to_resume: str or `None`. Printed after a signal: how to continue. Defaults
            to `None`, the code.

    Attributes:
        epoch: int. Number of finished epochs.
        step: int. Number of finished batches of the epoch after them.
        batches: int. Number of finished batches in all.
        best_value: float or `None`. The lowest loss so far.
        last: Path of the newest state that is not damaged, or `None`.
        best: Path of the best model.

    Raises:
        FileNotFoundError: The folder contains no training to resume.
        FileExistsError: The folder already contains a training, and both `resume` and
            `overwrite` are `False`.
        BlockingIOError: Another training uses the folder.
        ValueError: All states in the folder are damaged; an argument is out of range.

    Example:

    ```python
    checkpoints = textgen.Checkpoints("poet.checkpoints", resume=resume)
    if resume:
        model = textgen.load(checkpoints.last)
    else:
        model = textgen.LanguageModel(vocabulary)
        model.compile()
    model.fit(train, epochs=20, callbacks=[checkpoints])
    best = textgen.load(checkpoints.best)
    ```
    """

    epoch: int
    step: int
    batches: int
    best_value: float | None
    judged_by: str | None
    ended_of: int | None
    data: dict[str, Any] | None

    def __init__(
        self,
        folder: str | os.PathLike[str],
        resume: bool = False,
        overwrite: bool = False,
        monitor: str | None = None,
        *,
        every: int | str | None = None,
        keep: int = 2,
        how_to_resume: str | None = None,
    ) -> None:
        super().__init__()
        self.every = every
        self.interval = _interval(every)
        if not isinstance(keep, int) or keep < 1:
            raise ValueError(f"keep={keep!r} must be a positive integer.")
        self.folder = Path(folder)
        self.keep = keep
        self.monitor = monitor
        self.how_to_resume = how_to_resume
        self.last: Any = None  # Path or None
        kind = Folder if distribution.is_first() else Reader
        self.files = kind(self.folder, keep)
        self._session: Any = None  # Session while `fit` runs
        self._saved: Any = None  # the JSON value in `last`
        self._state: Any = None  # what is in `last`, until it has been restored
        self._batch: Any = None  # an example of the training data
        self._take_facts(_FACTS)
        if self.folder.exists() and not self.folder.is_dir():
            raise NotADirectoryError(
                f"{self.folder} is a file: pass the name of a folder."
            )
        self.files.lock()
        try:
            if resume:
                self._read_newest()
            elif self.files.contains_training():
                if not overwrite:
                    raise self._not_empty()
                self.files.replaces = True
        except BaseException:
            self.files.release()
            raise

    @property
    def best(self) -> Path:
        """Path of the best model."""
        return self.files.best

    def _not_empty(self) -> FileExistsError:
        return FileExistsError(
            f"{self.folder} already contains a training: resume it, or delete the "
            "folder."
        )

    # === The state that is not in the model ===

    def facts(self) -> dict[str, Any]:
        """Returns the position in the training, and what else a checkpoint needs."""
        return {name: getattr(self, name) for name in _FACTS}

    def _take_facts(self, facts: dict[str, Any]) -> None:
        for name in _FACTS:
            setattr(self, name, facts[name])

    def _read_newest(self) -> None:
        self.last, self._saved, arrays = self.files.read_newest()
        self._state = training_state.unpack(self._saved["state"], arrays)
        self._take_facts(self._saved)
        if distribution.largest(self.batches) != self.batches:
            raise ValueError(
                f"{self.last} is not the newest state that another process has found: "
                "all processes must see the same folder."
            )

    def restore(self, callbacks: list) -> None:
        """Restores what the file of a model does not contain, if `fit` resumes."""
        state, self._state = self._state, None
        if state is None:
            return
        if self.step:
            training_state.restore_metrics(self.model, state, self._batch)
        callback_states.restore(callbacks, state["callbacks"])
        training_state.restore_generators(self.model, state)

    # === Begin and end of `fit` ===

    @property
    def resumes(self) -> bool:
        """Whether the next `fit` continues a training."""
        return self.last is not None

    def begin(self, model: Any, initial_epoch: int, epochs: int) -> int:
        """Checks folder and model before a training; `fit` calls this method.

        Returns:
            The first epoch.

        Raises:
            OSError: The folder cannot be written, or the disk has too little space.
            ValueError: The model does not have the state of the checkpoint.
        """
        if self._session is not None:
            raise ValueError("Two fits cannot use one Checkpoints at the same time.")
        self.epochs = epochs
        try:
            return self._begin(model, initial_epoch)
        except BaseException:
            self.files.release()
            raise

    def _begin(self, model: Any, initial_epoch: int) -> int:
        variables = [*model.variables, *model.optimizer.variables]
        self.files.prepare(sum(math.prod(each.shape) * 4 for each in variables))
        if self.last is None:
            if self.files.contains_training() and not self.files.replaces:
                raise self._not_empty()
            return initial_epoch
        if self._state is None:  # a second `fit` with this object
            self._read_newest()
        training_state.check_model(model, self._saved, self.last)
        if initial_epoch not in (0, self.epoch):
            raise ValueError(
                f"initial_epoch={initial_epoch} must be {self.epoch}, the number of "
                f"epochs in {self.last}: omit it."
            )
        if self.ended_of is not None and self.epochs <= self.ended_of:
            return self.epochs  # a callback has ended the training
        self.ended_of = None
        return self.epoch

    def cancel(self) -> None:
        """Undoes `begin`."""
        self.files.release()

    @contextlib.contextmanager
    def watching(self, events: Any, begin: Any) -> Iterator[None]:
        """Receives signals while `fit` runs; after an error, writes the last state.

        Args:
            events: The list of all callbacks.
            begin: `EpochBegin` of the training.
        """
        self.data = begin.facts()
        if self.step:
            self._batch = begin.dataset.batch(0, None)
        self._session = Session(self, events, exact=self.data is not None)
        self.files.in_use = True
        try:
            with self._session.running():
                yield
        finally:
            self.files.in_use = False
            self.files.release()
            self._session = self._state = self._batch = None
            self._take_facts(self._saved or _FACTS)

    def saved(self, path: Path, training: dict[str, Any]) -> None:
        """Notes the newest file; the session calls this method."""
        self.last = path
        self._saved = {name: training[name] for name in training if name != "state"}

    # === Events ===

    @property
    def session(self) -> Any:
        """The `fit` that runs.

        Raises:
            ValueError: `fit` is that of another model.
        """
        if self._session is None:
            raise ValueError(
                "Checkpoints needs a textgen.LanguageModel or a network wrapped with "
                f"textgen.from_keras, not a {type(self.model).__name__}."
            )
        return self._session

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Checks that `fit` is textgen's; Keras calls this method."""
        _ = self.session

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Checks the loss, and writes the state if it is time; Keras calls this method.

        Raises:
            TrainingDivergedError: The loss is infinite or NaN.
            TrainingStopped: A signal was received.
        """
        done = batch + 1
        if self.data is not None:
            done = min(done, self.data["part"])  # the last execution can be shorter
        self.batches += done - self.step
        self.step = done
        self.session.end_step((logs or {}).get("loss"))

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Keeps the best model, and writes the state; Keras calls this method.

        Raises:
            ValueError: `fit` does not report the loss `monitor`.
            TrainingDivergedError: A variable is infinite or NaN.
            TrainingStopped: A signal was received.
        """
        self.epoch, self.step = epoch + 1, 0
        stopped = bool(self.model.stop_training)
        self.ended_of = self.epochs if stopped else None
        self.session.end_epoch(
            improved=self._is_best(logs or {}),
            ended=stopped or self.epoch >= self.epochs,
        )

    def _is_best(self, logs: dict) -> bool:
        """Whether an epoch has the lowest loss."""
        name = self.monitor or ("val_loss" if "val_loss" in logs else "loss")
        if self.monitor is None and self.judged_by == "val_loss" != name:
            return False  # an epoch without validation
        if name not in logs:
            if name.startswith("val_") and self.judged_by in (None, name):
                return False
            raise ValueError(
                f"monitor={name!r} must be a value that this training reports: "
                f"{', '.join(logs)}."
            )
        value = float(logs[name])
        if self.judged_by != name:
            self.judged_by, self.best_value = name, None
        if not math.isfinite(value):
            return False
        if self.best_value is not None and value >= self.best_value:
            return False
        self.best_value = value
        return True


# What a checkpoint needs to know, and its values before the training: see
# `Checkpoints`. `ended_of` is the `epochs` of a training that a callback has ended,
# `data` describes the training data, and `judged_by` is the loss in `best_value`.
_FACTS: dict[str, Any] = {
    "epoch": 0,
    "step": 0,
    "batches": 0,
    "best_value": None,
    "judged_by": None,
    "ended_of": None,
    "data": None,
}


def _interval(every: int | str | None) -> tuple[int | None, float | None]:
    """Returns the interval in steps or in seconds.

    Raises:
        ValueError: The interval is neither a positive number of steps nor a time.
    """
    if every is None:
        return None, None
    if isinstance(every, int) and not isinstance(every, bool) and every > 0:
        return every, None
    match = re.fullmatch(r"(\d+(?:\.\d+)?) *(s|sec|min|h)", str(every).strip())
    if match and float(match[1]) > 0:
        return None, float(match[1]) * _SECONDS[match[2]]
    raise ValueError(
        f"every={every!r} must be a positive number of training batches, or a time "
        "such as '30s', '10min', '2h'."
    )
