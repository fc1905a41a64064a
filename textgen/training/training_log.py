"""`TrainingLog`: a CSV file with the curves of a training."""

import csv
import io
import os
import time
from typing import Any

import keras

from textgen.training import gradient_norm
from textgen.training.growing_file import GrowingFile

_FIRST = ("epoch", "step", "seconds")  # the columns that are not in the logs
_LAST = ("learning_rate", gradient_norm.NAME)


class TrainingLog(keras.callbacks.Callback):
    """Writes a row for each epoch to a CSV file, for `textgen.plot_curves`.

    The columns: `epoch`, counted from 0 as in `keras.callbacks.CSVLogger`; `step`, how
    often the weights have changed so far; `seconds` of training so far; the loss and
    the metrics, those of the validation with the prefix `val_`; `learning_rate` at the
    end of the epoch; and `gradient_norm`, the mean over the batches of the epoch of the
    norm of the gradient before clipping. With `steps_per_execution`, the last batch of
    each execution counts. A value that an epoch does not have is empty.

    A new training replaces the file with its first row. One that `Checkpoints` resumes,
    or that has an `initial_epoch`, keeps the rows of the epochs before. If the file
    cannot be written, a warning is issued, and the training continues.

    Args:
        path: str or path of the CSV file. Its folder must exist.
        gradient_norm: bool. Whether to compute the norm of the gradient. It takes about
            one percent of the time of a step. Defaults to `True`.

    Example:

    ```python
    model.fit(train, epochs=20, callbacks=[textgen.TrainingLog("run.csv")])
    textgen.plot_curves("run.csv").savefig("curves.png")
    ```
    """

    def __init__(
        self, path: str | os.PathLike[str], gradient_norm: bool = True
    ) -> None:
        super().__init__()
        self.path = path
        self.needs_gradient_norm = gradient_norm  # `fit` of textgen reads it
        self._file = GrowingFile(path, "log")
        self._clear()

    def _clear(self) -> None:
        self._norm = gradient_norm.Mean()
        self._before: float | None = None  # seconds before this `fit`
        self._began = time.monotonic()
        self._columns: list[str] | None = None  # of the file; `None` before a row

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Starts the time; Keras calls this method."""
        self._clear()

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Forgets the norms of the epoch before; Keras calls this method."""
        self._norm = gradient_norm.Mean()

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Notes the norm of the gradient; Keras calls this method."""
        self._norm.add(logs)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Writes a row; Keras calls this method."""
        logs = {} if logs is None else logs
        if self._norm.value is not None:
            # Other callbacks, such as the history, get the mean of the epoch too.
            logs[gradient_norm.NAME] = self._norm.value
        new = self._columns is None
        rows = self._rows_before(epoch) if new else []
        if rows and self._before is None:
            self._before = float(rows[-1].get("seconds") or 0.0)
        optimizer = self.model.optimizer
        seconds = (self._before or 0.0) + time.monotonic() - self._began
        row = {
            "epoch": epoch,
            "step": int(optimizer.iterations),
            "seconds": f"{seconds:.2f}",
            "learning_rate": float(optimizer.learning_rate),
            **logs,
        }
        if not new and not set(row) - set(self._columns or ()):
            self._file.append([_line(row, self._columns or [])])
            return
        if not new:  # with a column that the rows before do not have
            rows = self._rows_before(epoch)
        rows.append(row)
        self._columns = _ordered({name: None for each in rows for name in each})
        lines = [_line(each, self._columns) for each in rows]
        self._file.replace([_csv(self._columns), *lines])

    def _rows_before(self, epoch: int) -> list[dict[str, Any]]:
        """Returns the rows of the file for the epochs before this one."""
        rows = []
        for row in csv.DictReader(self._file.read()) if epoch else ():
            number = row.get("epoch") or ""
            if number.isdecimal() and int(number) < epoch and None not in row:
                rows.append(row)
        return rows

    def get_state(self) -> dict[str, Any]:
        """Returns the state of this callback, for `textgen.Checkpoints`."""
        seconds = (self._before or 0.0) + time.monotonic() - self._began
        return {**self._norm.state, "seconds": seconds}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores the state of this callback."""
        self._before, self._began = state["seconds"], time.monotonic()
        self._norm.state = {name: state[name] for name in self._norm.state}


def _ordered(names: dict[str, None]) -> list[str]:
    middle = [name for name in names if name not in _FIRST + _LAST]
    return [*_FIRST, *middle, *(name for name in _LAST if name in names)]


def _line(row: dict[str, Any], columns: list[str]) -> str:
    return _csv([row.get(name, "") for name in columns])


def _csv(values: list) -> str:
    """Returns a line of a CSV file."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(values)
    return text.getvalue()
