"""A training that can stop and go on."""

import json
import math
import os
import shutil
import zipfile
from pathlib import Path

import keras

# Beside what Keras writes into a `.keras` file, which is a zip file.
_NOTES = "textgen-checkpoint.json"


class Checkpoints(keras.callbacks.Callback):
    """Keeps the last and the best state of a training in a folder, after each epoch.

    An epoch whose loss is infinite or NaN is not kept.

    `last.keras` holds the whole training: weights, optimizer, random generators, and
    the number of epochs. `best.keras` is the epoch with the lowest loss. Either file is
    replaced as a whole, so that an interruption leaves the state of the epoch before.

    A resumed training is the uninterrupted one, to the bit on a CPU, if data, schedule
    and other callbacks are the same.

    Args:
        folder: str or path. Made when the first epoch ends.
        resume: bool. Whether to go on with the training in the folder. Defaults to
            `False`, a new training.
        overwrite: bool. Whether a new training may replace one in the folder. Defaults
            to `False`.
        monitor: str or `None`. The name of the loss that says which epoch is best.
            Defaults to `None`: `"val_loss"` where there is one, otherwise `"loss"`.

    Attributes:
        epoch: int. Epochs that are done: the `initial_epoch` of `fit`.
        best_value: float or `None`. The lowest loss so far.

    Raises:
        FileNotFoundError: There is no training to resume.
        FileExistsError: The folder holds a training, and this is a new one.
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
                    f"There is no {self.last} to go on from. Start without resume."
                )
            notes = _read_notes(self.last)
            self.epoch, self.best_value = notes["epoch"], notes["best_value"]
        elif self.last.exists() and not overwrite:
            raise FileExistsError(
                f"{self.folder} holds a training: resume it, or delete the folder."
            )
        elif overwrite and self.last.exists():
            shutil.rmtree(self.folder)

    @property
    def last(self) -> Path:
        """The path of the state after the last epoch."""
        return self.folder / "last.keras"

    @property
    def best(self) -> Path:
        """The path of the best state."""
        return self.folder / "best.keras"

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Called by Keras; writes the files."""
        logs = logs or {}
        self.folder.mkdir(parents=True, exist_ok=True)
        name = self.monitor or ("val_loss" if "val_loss" in logs else "loss")
        if name not in logs:
            raise ValueError(
                f"monitor={name!r} is none of the values of this training: "
                f"{', '.join(logs)}."
            )
        value = float(logs[name])
        if not math.isfinite(value):
            return  # a training that fails leaves the state from before it did
        self.epoch = epoch + 1
        # Before the last state: an interruption between the two repeats the epoch.
        if self.best_value is None or value < self.best_value:
            self.best_value = value
            self._save(self.best)
        self._save(self.last)

    def _save(self, path: Path) -> None:
        """Writes the model and the notes beside their place, and renames the file."""
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
            f"{path} is no state of a training that textgen.Checkpoints wrote, or it "
            "is damaged. Start without resume."
        ) from error
