"""Callbacks for `fit`."""

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import keras

from textgen.messages import printable
from textgen.training import signals
from textgen.training.sample_files import SampleBoard, SampleFile


class SampleText(keras.callbacks.Callback):
    """Prints text samples from the model during training, and keeps them in files.

    Args:
        prompts: str or sequence of str. Beginnings of the samples. Defaults to `""`.
        temperatures: float or sequence of float. Each prompt gives one sample per
            temperature. Defaults to `(0.5, 1.0)`.
        every: int. Number of units between two printings. Defaults to `1`.
        unit: `"epoch"` or `"batch"`. Defaults to `"epoch"`.
        max_new_tokens: int. Number of tokens generated after each prompt. Defaults to
            `200`.
        stop: str, sequence of str or `None`. See `LanguageModel.generate`.
        seed: int. Seed of every sample. Samples with the same seed differ only because
            the model changed. Defaults to `0`.
        label: str, sequence of str, or `None`. See `LanguageModel.generate`.
        file: str, path or `None`. A JSON Lines file that gets a line for each sample,
            with the keys `epoch` (finished epochs), `batch`, `temperature`, `prompt`,
            `text` and `logs`; `textgen plot` makes a page of it. A new training
            replaces it, one that is resumed continues it. Defaults to `None`.
        tensorboard: str, path or `None`. The folder of `keras.callbacks.TensorBoard`,
            which gets the samples as texts. Defaults to `None`.
        show: callable that takes a str, or `None`. What shows the samples of one
            temperature, with a heading, in place of printing them, such as the method
            `show` of a `textgen.Progress`. Defaults to `None`.

    Raises:
        ImportError: `tensorboard` is given, but the package is not installed.
        ValueError: An argument is out of range, or the model cannot generate text.

    Example:

    ```python
    model.fit(train, epochs=5, callbacks=[textgen.SampleText("shall i compare ")])
    ```
    """

    def __init__(
        self,
        prompts: str | Sequence[str] = "",
        temperatures: float | Sequence[float] = (0.5, 1.0),
        every: int = 1,
        unit: str = "epoch",
        max_new_tokens: int = 200,
        stop: str | Sequence[str] | None = None,
        seed: int = 0,
        label: str | Sequence[str] | None = None,
        file: str | os.PathLike[str] | None = None,
        tensorboard: str | os.PathLike[str] | None = None,
        show: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__()
        if every < 1:
            raise ValueError(f"every={every} must be a positive integer.")
        if unit not in ("epoch", "batch"):
            raise ValueError(f"unit={unit!r} must be 'epoch' or 'batch'.")
        self.prompts = [prompts] if isinstance(prompts, str) else list(prompts)
        self.temperatures = (
            [temperatures] if isinstance(temperatures, float | int) else temperatures
        )
        self.every = every
        self.unit = unit
        self.max_new_tokens = max_new_tokens
        self.stop = stop
        self.seed = seed
        self.label = label
        self.file, self.tensorboard = file, tensorboard
        self._show = print_text if show is None else show
        self._outputs: list[Any] = [SampleFile(file)] if file is not None else []
        if tensorboard is not None:
            self._outputs.append(SampleBoard(tensorboard))
        self._batches = self._epoch = 0

    def set_model(self, model: Any) -> None:
        """Stores the trained model; Keras calls this method."""
        if not hasattr(model, "generate"):
            raise ValueError(
                f"SampleText needs a textgen.LanguageModel or a network wrapped with "
                f"textgen.from_keras, not a {type(model).__name__}."
            )
        super().set_model(model)

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Checks the arguments of `generate` before the first epoch."""
        for temperature in self.temperatures:
            self._write(temperature, max_new_tokens=0)
        for output in self._outputs:
            output.begin()

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Notes the number of finished epochs; Keras calls this method."""
        self._epoch = epoch
        for output in self._outputs:
            output.begin_epoch(epoch)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Prints samples after every `every` epochs."""
        self._epoch = epoch + 1
        if self.unit == "epoch" and (epoch + 1) % self.every == 0:
            self._sample(f"after epoch {epoch + 1}", logs)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Prints samples after every `every` batches, counted across epochs."""
        self._batches += 1
        if self.unit == "batch" and self._batches % self.every == 0:
            if self._show is print_text:
                print()  # ends the line of the progress bar
            self._sample(f"after batch {self._batches}", logs)

    def get_state(self) -> dict[str, int]:
        """Returns the state of this callback, for `textgen.Checkpoints`."""
        return {"batches": self._batches}

    def set_state(self, state: dict[str, int]) -> None:
        """Restores the state of this callback."""
        self._batches = state["batches"]
        for output in self._outputs:
            output.resume()

    def _sample(self, when: str, logs: dict | None) -> None:
        if self.label is not None:
            labels = [self.label] if isinstance(self.label, str) else self.label
            when += f", label {', '.join(map(printable, labels))}"
        for temperature in self.temperatures:
            # Long samples must not delay the end of a training that a signal stops.
            texts = signals.interruptible(self._write, temperature, self.max_new_tokens)
            if texts is None:
                return
            self._show("\n".join([f"--- temperature {temperature}, {when}", *texts]))
            place = {"epoch": self._epoch, "batch": self._batches}
            if self.unit == "epoch":
                del place["batch"]
            for output in self._outputs:
                output.write(place, temperature, self.prompts, texts, logs or {})

    def _write(self, temperature: float, max_new_tokens: int) -> list[str]:
        return self.model.generate(
            self.prompts,
            max_new_tokens,
            temperature,
            stop=self.stop,
            seed=self.seed,
            label=self.label,
        )


def print_text(text: str) -> None:
    """Prints a text; characters outside the terminal's encoding are escaped."""
    # An encoding error would end a training that may have run for hours.
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)
