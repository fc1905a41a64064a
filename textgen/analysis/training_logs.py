"""Reads the CSV log of a training: that of `TrainingLog`, or of Keras's `CSVLogger`."""

import csv
import dataclasses
import io
import os
from pathlib import Path

import numpy as np

from textgen import files
from textgen.messages import printable

_MISSING = ("", "NA")  # as `CSVLogger` writes a value that an epoch does not have


@dataclasses.dataclass
class Run:
    """The log of a training.

    Attributes:
        path: Path of the file.
        columns: dict of name -> float64 array of shape `(epochs,)`; NaN where an epoch
            has no value, or one that is not finite. Columns of text are left out.
    """

    path: Path
    columns: dict[str, np.ndarray]


def read_run(path: str | os.PathLike[str]) -> Run:
    """Reads the log of a training.

    A last line that is not complete is left out: the training may be writing it.

    Raises:
        OSError: The file cannot be read, or is no regular file.
        ValueError: It is no log of a training. The message says why.
    """
    name = printable(path)
    with files.open_regular(path) as file:
        data = file.read()
    try:
        lines = io.StringIO(data.decode("utf-8-sig"), newline="")
        rows = [row for row in csv.reader(lines) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(
            f"{name} is no CSV file in UTF-8: {printable(error)}."
        ) from error
    if not rows or "epoch" not in rows[0]:
        raise ValueError(
            f"{name} is no log of a training: its first line has no column `epoch`. "
            "`textgen train --log run.csv` writes a log, and so do TrainingLog and "
            "Keras's CSVLogger."
        )
    names, *rows = rows
    if not data.endswith(b"\n") and rows and len(rows[-1]) != len(names):
        del rows[-1]
    for number, row in enumerate(rows, 1):
        if len(row) != len(names):
            raise ValueError(
                f"{name}: row {number} has {len(row)} fields, but there are "
                f"{len(names)} columns."
            )
    if not rows:
        raise ValueError(f"{name} has no epoch yet.")
    columns = {}
    for at, column in enumerate(names):
        values = _numbers([row[at] for row in rows])
        if values is not None:
            columns[column] = values
    if "epoch" not in columns or np.isnan(columns["epoch"]).any():
        raise ValueError(f"{name}: the column `epoch` must have numbers only.")
    return Run(Path(path), columns)


def _numbers(texts: list[str]) -> np.ndarray | None:
    """Returns the numbers of a column; `None` if it has other texts."""
    try:
        values = [np.nan if each in _MISSING else float(each) for each in texts]
    except ValueError:
        return None
    numbers = np.array(values, np.float64)
    numbers[~np.isfinite(numbers)] = np.nan
    return numbers
