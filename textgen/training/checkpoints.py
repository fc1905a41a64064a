"""Checkpoints: a training can be stopped and resumed."""

import json
import math
import os
import shutil
import zipfile
from pathlib import Path

import keras

# Name of an additional file inside the `.keras` file, which is a zip file.
_NOTES = "textgen-checkpoint.json"


class Checkpoints(keras.callbacks.Callback):
    """Saves the last and the best state of a training in a folder, after each epoch.

    An epoch with an infinite or NaN loss is not saved.

    `last.keras` contains the complete training: weights, optimizer, random generators
    and number of epochs. `best.keras` is the epoch with the lowest loss. Each file is
    replaced in one step, so an interruption leaves the state of the previous epoch.

    On a CPU, a resumed training is bit-identical to an uninterrupted one if data,
    schedule and other callbacks are the same.

    Args:
        folder: str or path. Created when the first epoch ends.
        resume: bool. Whether to continue the training in the folder. Defaults to
            `False`, a new training.
        overwrite: bool. Whether a new training may replace one in the folder. Defaults
            to `False`.
        monitor: str or `None`. Name of the loss that decides which epoch is best.
            Defaults to `None`: `"val_loss"` if it exists, otherwise `"loss"`.

    Attributes:
        epoch: int. Number of finished epochs: the `initial_epoch` of `fit`.
        best_value: float or `None`. The lowest loss so far.

    Raises:
        FileNotFoundError: The folder contains no training to resume.
        FileExistsError: The folder already contains a training, and both `resume` and
            `overwrite` are `False`.
        ValueError: `last.keras` was not written by this class, or is damaged.

    Example:

    ```python
    checkpoints = textgen.Checkpoints("poet.checkpoints", resume=resume)
    if resume:
        model = textgen.load(checkpoints.last)
    else:
        model = textgen.LanguageModel(vocabulary)
        model.compile()
    model.fit(
        train, initial_epoch=checkpoints.epoch, epochs=20, callbacks=[checkpoints]
    )
    best = textgen.load(checkpoints.best)
    ```
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        resume: bool = False,
        overwrite: bool = False,
        monitor: str | None = None,
    ) -> None:
        super().__init__()
        self.folder = Path(folder)
        self.monitor = monitor
        self.epoch = 0
        self.best_value: float | None = None
        if resume:
            if not self.last.exists():
                raise FileNotFoundError(
                    f"{self.last} does not exist, so there is no training to resume: "
                    "start without resume."
                )
            notes = _read_notes(self.last)
            self.epoch, self.best_value = notes["epoch"], notes["best_value"]
        elif self.last.exists() and not overwrite:
            raise FileExistsError(
                f"{self.folder} already contains a training: resume it, or delete the "
                "folder."
            )
        elif overwrite and self.last.exists():
            shutil.rmtree(self.folder)

    @property
    def last(self) -> Path:
        """Path of the state after the last epoch."""
        return self.folder / "last.keras"

    @property
    def best(self) -> Path:
        """Path of the best state."""
        return self.folder / "best.keras"

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Writes the files; Keras calls this method.

        Raises:
            ValueError: `fit` does not report the loss `monitor`.
        """
        logs = logs or {}
        self.folder.mkdir(parents=True, exist_ok=True)
        name = self.monitor or ("val_loss" if "val_loss" in logs else "loss")
        if name not in logs:
            raise ValueError(
                f"monitor={name!r} must be a value that this training reports: "
                f"{', '.join(logs)}."
            )
        value = float(logs[name])
        if not math.isfinite(value):
            return  # keeps the state before the training failed
        self.epoch = epoch + 1
        # `best` is saved first: an interruption between the two repeats the epoch.
        if self.best_value is None or value < self.best_value:
            self.best_value = value
            self._save(self.best)
        self._save(self.last)

    def _save(self, path: Path) -> None:
        """Writes model and notes to a temporary file, then renames the file."""
        temporary = path.with_name(f".{path.stem}.{os.getpid()}.keras")
        notes = {"epoch": self.epoch, "best_value": self.best_value}
        try:
            self.model.save(temporary)
            with zipfile.ZipFile(temporary, "a") as file:
                file.writestr(_NOTES, json.dumps(notes))
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def _read_notes(path: Path) -> dict:
    try:
        with zipfile.ZipFile(path) as file:
            return json.loads(file.read(_NOTES))
    except (KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} is damaged, or textgen.Checkpoints did not write it: start "
            "without resume."
        ) from error
