"""Callbacks for `fit`."""

import sys
from collections.abc import Sequence
from typing import Any

import keras


class SampleText(keras.callbacks.Callback):
    """Prints what the model writes, while it learns.

    Args:
        prompts: str or sequence of str. What the samples begin with. Defaults to `""`.
        temperatures: float or sequence of float. One sample of each prompt at each of
            these. Defaults to `(0.5, 1.0)`.
        every: int. Print after every so many units. Defaults to `1`.
        unit: `"epoch"` or `"batch"`. Defaults to `"epoch"`.
        max_new_tokens: int. Symbols to write after each prompt. Defaults to `200`.
        stop: str, sequence of str or `None`. See `LanguageModel.generate`.
        seed: int. Seed of every sample, so that one sees the model change and not the
            dice. Defaults to `0`.

    Raises:
        ValueError: An argument is out of its range, or the model cannot generate.

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
    ) -> None:
        super().__init__()
        if every < 1:
            raise ValueError(f"every={every} must be at least 1.")
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
        self._batches = 0

    def set_model(self, model: Any) -> None:
        """Called by Keras with the model that is trained."""
        if not hasattr(model, "generate"):
            raise ValueError(
                f"SampleText needs a textgen.LanguageModel, which can generate; got a "
                f"{type(model).__name__}."
            )
        super().set_model(model)

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Refuses what `generate` would refuse after the first epoch."""
        for temperature in self.temperatures:
            self._write(temperature, max_new_tokens=0)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Prints samples after every `every` epochs."""
        if self.unit == "epoch" and (epoch + 1) % self.every == 0:
            self._print(f"after epoch {epoch + 1}")

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Prints samples after every `every` batches, counted through all epochs."""
        self._batches += 1
        if self.unit == "batch" and self._batches % self.every == 0:
            print()  # leave the line of the progress bar
            self._print(f"after batch {self._batches}")

    def _print(self, when: str) -> None:
        for temperature in self.temperatures:
            texts = self._write(temperature, self.max_new_tokens)
            _show("\n".join([f"--- temperature {temperature}, {when}", *texts]))

    def _write(self, temperature: float, max_new_tokens: int) -> list[str]:
        return self.model.generate(
            self.prompts, max_new_tokens, temperature, stop=self.stop, seed=self.seed
        )


def _show(text: str) -> None:
    """Prints a text; what the terminal's encoding lacks is escaped."""
    # An error here would end a training of hours.
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)
