"""Where `SampleText` keeps its samples: a JSON Lines file, and TensorBoard."""

import importlib.util
import json
import math
import os
from collections.abc import Sequence
from typing import Any

from textgen.training.growing_file import GrowingFile


class SampleFile:
    """A JSON Lines file with a line for each sample.

    Args:
        path: str or path.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._file = GrowingFile(path, "file of the samples")
        self.begin()

    def begin(self) -> None:
        """Begins a training."""
        self._first: int | None = None  # epoch of this `fit`
        self._resumed = False
        self._started = False

    def resume(self) -> None:
        """Begins a training that continues another one."""
        self._resumed = True

    def begin_epoch(self, epoch: int) -> None:
        """Notes how many epochs were finished before this `fit`."""
        if self._first is None:
            self._first = epoch
            self._resumed |= epoch > 0

    def write(
        self,
        place: dict[str, int],
        temperature: float,
        prompts: Sequence[str],
        texts: Sequence[str],
        logs: dict[str, Any],
    ) -> None:
        """Adds the samples of one temperature.

        Args:
            place: The finished epochs, as `epoch`; and the finished batches as `batch`,
                if samples are written between epochs.
            temperature: float.
            prompts: The beginnings of the samples.
            texts: The samples, one for each prompt.
            logs: dict of the loss and the metrics.
        """
        if not self._started:
            self._started = True
            self._file.replace(self._before(place) if self._resumed else [])
        numbers = {name: _number(value) for name, value in logs.items()}
        lines = []
        for prompt, text in zip(prompts, texts, strict=True):
            sample = {"prompt": prompt, "text": text, "logs": numbers}
            line = {**place, "temperature": float(temperature), **sample}
            lines.append(json.dumps(line, ensure_ascii=False))
        self._file.append(lines)

    def _before(self, place: dict[str, int]) -> list[str]:
        """Returns the lines of the file that are older than this `fit`."""
        kept = []
        for line in self._file.read():
            try:
                old = json.loads(line)
                epoch, batch = old["epoch"], old.get("batch")
            except (ValueError, TypeError, KeyError, RecursionError):
                continue
            numbers = isinstance(epoch, int) and isinstance(batch, int | None)
            if not numbers or epoch > (self._first or 0):
                continue
            if batch is None or "batch" not in place or batch < place["batch"]:
                kept.append(line)
        return kept


def _number(value: Any) -> float | None:
    """Returns a number that JSON has."""
    number = float(value)
    return number if math.isfinite(number) else None


class SampleBoard:
    """The samples as texts in TensorBoard, in the run `samples`.

    Args:
        folder: str or path, as for `keras.callbacks.TensorBoard`.

    Raises:
        ImportError: The package tensorboard is not installed.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        if importlib.util.find_spec("tensorboard") is None:
            raise ImportError(
                "TensorBoard is not installed: pip install 'keras-textgen[tensorboard]'"
            )
        self._folder = os.path.join(folder, "samples")
        self._writer: Any = None

    def begin(self) -> None:
        """Begins a training."""

    def begin_epoch(self, epoch: int) -> None:
        """Begins an epoch."""

    def resume(self) -> None:
        """Begins a training that continues another one."""

    def write(
        self,
        place: dict[str, int],
        temperature: float,
        prompts: Sequence[str],
        texts: Sequence[str],
        logs: dict[str, Any],
    ) -> None:
        """Adds samples; the arguments are those of `SampleFile.write`."""
        import tensorflow as tf

        if self._writer is None:
            self._writer = tf.summary.create_file_writer(self._folder)
        # As Keras, whose epochs count from 0.
        step = place.get("batch", place["epoch"] - 1)
        # TensorBoard reads Markdown: four spaces let it show a line as it is.
        lines = "\n\n".join(texts).split("\n")
        shown = "\n".join(f"    {line}" for line in lines)
        with self._writer.as_default():
            shown = shown.encode("utf-8", "replace").decode("utf-8")
            tf.summary.text(f"temperature {temperature}", shown, step=step)
        self._writer.flush()
