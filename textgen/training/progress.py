"""`Progress`: how far a training is, in place of the progress bar of Keras."""

import time
from collections.abc import Sequence
from typing import Any

import keras

from textgen.batches import Batches
from textgen.training import callbacks, gradient_norm, live
from textgen.training.time_budget import TimeBudget
from textgen.training.time_left import TimeLeft, clock

_INTERVAL = 0.25  # seconds from one picture to the next


class Bar(keras.callbacks.ProgbarLogger):
    """The progress bar of Keras, without the norm of the gradient of a single step."""

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Shows the metrics; Keras calls this method."""
        super().on_train_batch_end(batch, _without_norm(logs))

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Shows the metrics; Keras calls this method."""
        super().on_epoch_end(epoch, _without_norm(logs))


def _without_norm(logs: dict | None) -> dict:
    return {name: e for name, e in (logs or {}).items() if name != gradient_norm.NAME}


class Progress(Bar):
    """Shows in a terminal how far the whole training is, in place of Keras's bar.

    A block of a few lines shows the part of the training that is done, the time left,
    the losses, the characters or tokens that are learned in a second, and the newest
    samples. Its time left is that of all epochs with their validations. Texts that
    other callbacks print appear above the block. In a notebook, in a pipe, in a
    terminal that cannot replace lines, where the variable `CI` is set, and with
    `verbose=2`, it is the progress bar of Keras; with `verbose=0`, it shows nothing.

    Args:
        budget: `TimeBudget` or `None`. The clock that ends the training; it then gives
            the time left. Defaults to `None`.
        characters_per_token: float or `None`. Mean length of the tokens, to show
            characters too if tokens are words or parts of words. Defaults to `None`.

    Example:

    ```python
    progress = textgen.Progress()
    samples = textgen.SampleText("shall i ", show=progress.show)
    model.fit(train, epochs=20, callbacks=[samples, progress])
    ```
    """

    def __init__(
        self,
        budget: TimeBudget | None = None,
        characters_per_token: float | None = None,
    ) -> None:
        super().__init__()
        self.budget = budget
        self.characters_per_token = characters_per_token
        self._block: live.Block | None = None  # while it is shown
        self._tokens: float | None = None  # of a batch
        self._validation = 0.0
        self._left = TimeLeft(1, None)
        self._losses: dict[str, float] = {}
        self._held_out: list[float] = []  # the one before, the newest and the best
        self._samples: list[tuple[str, str]] = []
        self._status = ""
        self._shown = 0.0

    # === What `fit` says ===

    def expect(self, x: Any, validation_batches: float | None) -> None:
        """Notes the size of the data; `fit` of textgen calls this method.

        Args:
            x: The training data.
            validation_batches: float or `None`. Size of the validation data, in
                training batches.
        """
        self._validation = validation_batches or 0.0
        self._tokens = None
        if not isinstance(x, Batches) or not hasattr(x, "ids"):
            return
        if getattr(x, "end_of_line", None) is not None:
            self._tokens = len(x.ids) / len(x)  # without padding
        elif None not in x.target_steps:
            self._tokens = float(x.largest_batch)
            for size in x.target_steps:
                self._tokens *= size

    # === Events ===

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Shows the block, if this is a terminal; Keras calls this method."""
        super().on_train_begin(logs)
        self.close()
        if self.verbose != 1 or not live.is_suitable():
            return
        self._left = TimeLeft(self.epochs, self.target, self._validation)
        self._losses, self._held_out, self._samples = {}, [], []
        self._began = time.monotonic()
        self._block = live.Block()
        self._block.start()
        self._status = "compiling"
        self._show()

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Begins an epoch; Keras calls this method."""
        if self._block is None:
            super().on_epoch_begin(epoch, logs)
            return
        self._left.begin_epoch(epoch, time.monotonic())
        self._show()

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Shows the loss; Keras calls this method."""
        if self._block is None:
            super().on_train_batch_end(batch, logs)
            return
        now = time.monotonic()
        self._left.end_step(batch + 1, now)
        if now - self._shown >= _INTERVAL:
            self._losses["loss"] = float((logs or {}).get("loss", "nan"))
            self._status = ""
            self._show()

    def on_test_begin(self, logs: dict | None = None) -> None:
        """Begins a validation; Keras calls this method."""
        if self._block is None:
            super().on_test_begin(logs)
            return
        self._tests: list[float] = []  # seconds of the batches
        self._status = "measuring the held-out loss"
        self._show()

    def on_test_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        """Notes the time; Keras calls this method."""
        self._test_began = time.monotonic()

    def on_test_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Measures the validation; Keras calls this method."""
        if self._block is None:
            super().on_test_batch_end(batch, logs)
            return
        now = time.monotonic()
        self._tests = [*self._tests[:1], now - self._test_began]
        if now - self._shown >= _INTERVAL:
            self._show()

    def on_test_end(self, logs: dict | None = None) -> None:
        """Ends a validation; Keras calls this method."""
        if self._block is None:
            super().on_test_end(logs)
            return
        if self._tests:
            self._left.end_validation(self._tests[0], self._tests[-1])

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Shows the losses of an epoch; Keras calls this method."""
        if self._block is None:
            super().on_epoch_end(epoch, logs)
            return
        logs = logs or {}
        self._left.steps = self._left.steps or self._left.done
        self._losses["loss"] = float(logs.get("loss", "nan"))
        if "val_loss" in logs:
            new = float(logs["val_loss"])
            before, best = (self._held_out or [new, new, new])[1:]
            self._held_out = [before, new, min(best, new)]
        self._status = ""
        self._show()

    def on_train_end(self, logs: dict | None = None) -> None:
        """Leaves the block as it is; Keras calls this method."""
        if self._block is not None:
            self._status = "done"
            self._show()
            self.close()

    def show(self, text: str) -> None:
        """Shows a sample, for `SampleText(show=…)`.

        Args:
            text: str. A heading in one line, and the sample.
        """
        if self._block is None:
            callbacks.print_text(text)
            return
        heading, _, sample = text.removeprefix("--- ").partition("\n")
        _, _, when = heading.partition(", ")
        same = [each for each in self._samples if each[0].endswith(when)]
        self._samples = [*same, (heading, sample)][-2:]
        self._show()

    def close(self) -> None:
        """Ends the block, after an error too; `fit` of textgen calls this method."""
        block, self._block = self._block, None
        if block is not None:
            block.stop()

    # === The block ===

    def _show(self) -> None:
        if self._block is not None:
            self._block.show(self._state())
            self._shown = time.monotonic()

    def _state(self) -> live.State:
        left, budget = self._left, self.budget
        label = f"Epoch {min(left.epoch + 1, left.epochs):,} of {left.epochs:,}"
        share, seconds = left.share(), left.seconds(time.monotonic())
        if budget is not None:
            whole = 60 * budget.minutes
            label, share = "Training", min(1.0, budget.spent / whole)
            seconds = max(0.0, whole - budget.spent)
        words = "" if seconds is None else f"{clock(seconds)} left"
        if self._status == "done":
            words = f"in {clock(time.monotonic() - self._began)}"
        return live.State(label, share, words, self._fields(), self._samples)

    def _fields(self) -> Sequence[str]:
        fields = [f"loss {value:.4f}" for value in self._losses.values()]
        if self._held_out:
            before, new, best = self._held_out
            arrow = " \u2193" if new < before else ""
            arrow = " \u2191" if new > before else arrow
            mark = ", the best" if new <= best else f", best {best:.4f}"
            fields.append(f"held-out loss {new:.4f}{arrow}{mark}")
        step = self._left.step
        if step:
            fields.append(self._speed(step))
        return [*fields, self._status] if self._status not in ("", "done") else fields

    def _speed(self, step: float) -> str:
        """Returns how fast the training is; a step takes `step` seconds."""
        if self._tokens is None:
            return f"{1 / step:,.3g} batches/s"
        tokens = self._tokens / step
        vocabulary = getattr(self.model, "vocabulary", None)
        if getattr(vocabulary, "level", None) == "character":
            return f"{_round(tokens):,} characters/s"
        characters = ""
        if self.characters_per_token is not None:
            characters = f" ({_round(tokens * self.characters_per_token):,} characters)"
        return f"{_round(tokens):,} tokens{characters}/s"

    # === State ===

    def get_state(self) -> dict[str, Any]:
        """Returns the state of this callback, for `textgen.Checkpoints`."""
        return {"held_out": self._held_out}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores the state of this callback."""
        self._held_out = list(state["held_out"])


def _round(number: float) -> int:
    """Returns a number with three digits that are not zero."""
    digits = len(str(int(number)))
    return int(round(number, 3 - digits)) if digits > 3 else round(number)
