"""A training that fits into a given time: `TimeBudget`.

Names: `f` is the share of the training time that has passed, from 0 to 1.
"""

import math
import numbers
import time
import weakref
from typing import Any

import keras

_clock = time.monotonic

# Of a training step, an evaluation has the forward pass only: about one third of the
# products (the backward pass has two for each of the forward pass), and about the same
# share of the graph to compile. One half leaves a margin.
_FORWARD = 0.5

# The expected time of a step is the longest of the last ones: a time counts 10 % less
# after each further step.
_MEMORY = 0.9

# Optimizer -> (learning rate, peak) while a `TimeBudget` changes the rate: a `fit` that
# an exception ended must not leave a decayed rate as the peak of the next one.
_changed: Any = weakref.WeakKeyDictionary()


class TimeBudget(keras.callbacks.Callback):
    """Ends `fit` after a given time, and warms up and decays the learning rate by it.

    At the begin of each step (with `steps_per_execution`, of each execution), the
    learning rate becomes `peak * min(1, f / warmup) * max(floor, decay(f))`. `peak` is
    the learning rate that the model was compiled with. `f` is a share of time: 0 until
    the first step has ended, so that loading and compiling do not shorten the warm-up,
    and 1 at the planned end of the last step. `decay(f)` is

    - `"cosine"`: `(1 + cos(pi * f)) / 2` (Loshchilov and Hutter, "SGDR: Stochastic
      Gradient Descent with Warm Restarts", ICLR 2017);
    - `"linear"`: `1 - f` (Bergsma et al., "Straight to Zero: Why Linearly Decaying the
      Learning Rate to Zero Works Best for LLMs", ICLR 2025).

    The training stops when one more step and the work after it (validation, other
    callbacks at the end of an epoch) would pass the end of the time, in the middle of
    an epoch too. At least one step is trained. Give `fit` a large number of epochs.
    Keras validates after every epoch: if an epoch ends shortly before the end of the
    time, `fit` ends early, by less than one validation and one step.

    After epochs and after the training, the learning rate of the optimizer is `peak`
    again. Other callbacks must not change it. With `Checkpoints`, a resumed training
    has the remaining time and continues at the same `f`; `started` and the compilation
    count again in each process. If it has other `minutes`, `f` is converted.

    Args:
        minutes: float. Time from `started` to the end of `fit`: with compilation,
            validation and other callbacks.
        warmup: float, at least 0 and less than 1. Share of the training time in which
            the learning rate rises linearly. Defaults to `0.03`.
        floor: float from 0 to 1. The decay does not fall below it. Defaults to `0.02`.
        started: float or `None`. Value of `time.monotonic()` at which the time starts,
            such as the start of a program. Defaults to `None`, the start of `fit`.
        reserve: float. Seconds of `minutes` for your work after `fit`, such as saving.
            Defaults to `0.0`.
        decay: `"cosine"` or `"linear"`. Defaults to `"cosine"`.
        validation_batches: float or `None`. Size of the validation data, in training
            batches. It gives the expected time of the first validation; the later ones
            are expected to take as long as the longest so far. Only needed if an epoch
            may be longer than `minutes`. Defaults to `None`: counted if `fit` of a
            textgen model reads textgen datasets; otherwise, no time is expected for
            the first validation.

    Attributes:
        spent: float. Seconds since the start; after `fit`, until its end. With
            `Checkpoints`, it includes the time before a resume.
        fraction: float. `f` now; after `fit`, at its end.
        finished: bool. Whether the end of the time ended the training.
        peak: float or `None`. The highest learning rate; known in `fit`.
        learning_rate: float or `None`. The learning rate of the newest step.

    Raises:
        ValueError: An argument is out of range; in `fit`, the model is compiled with a
            learning-rate schedule.

    Example:

    ```python
    model.compile(keras.optimizers.Adam(2e-3))
    budget = textgen.TimeBudget(5)
    model.fit(train, epochs=1000, validation_data=validation, callbacks=[budget])
    ```
    """

    def __init__(
        self,
        minutes: float,
        *,
        warmup: float = 0.03,
        floor: float = 0.02,
        started: float | None = None,
        reserve: float = 0.0,
        decay: str = "cosine",
        validation_batches: float | None = None,
    ) -> None:
        super().__init__()
        if not _is_number(minutes) or not 0 < minutes < math.inf:
            raise ValueError(
                f"minutes={minutes!r} must be a positive, finite number of minutes."
            )
        if not _is_number(warmup) or not 0 <= warmup < 1:
            raise ValueError(
                f"warmup={warmup!r} must be a share of the time, at least 0 and less "
                "than 1; 0 switches the warm-up off."
            )
        if not _is_number(floor) or not 0 <= floor <= 1:
            raise ValueError(
                f"floor={floor!r} must be from 0 to 1: the lowest share of the "
                "learning rate; 0 decays to zero."
            )
        if not _is_number(reserve) or not 0 <= reserve < math.inf:
            raise ValueError(
                f"reserve={reserve!r} must be a non-negative, finite number of seconds."
            )
        if decay not in ("cosine", "linear"):
            raise ValueError(f"decay={decay!r} must be 'cosine' or 'linear'.")
        if started is not None and not (_is_number(started) and started <= _clock()):
            raise ValueError(
                f"started={started!r} must be an earlier value of time.monotonic(), or "
                "None for the start of fit."
            )
        if validation_batches is not None and not (
            _is_number(validation_batches) and 0 <= validation_batches < math.inf
        ):
            raise ValueError(
                f"validation_batches={validation_batches!r} must be a non-negative "
                "number of batches, or None if it is not known."
            )
        self.minutes = float(minutes)
        self.warmup = float(warmup)
        self.floor = float(floor)
        self.started = started
        self.reserve = float(reserve)
        self.decay = decay
        self.validation_batches = validation_batches
        self.finished = False
        self.peak: float | None = None
        self.learning_rate: float | None = None
        self._running = False
        self._spent = self._fraction = 0.0  # before and after `fit`
        self._counted: float | None = None  # `validation_batches` that `fit` counted
        self._clear()

    def _clear(self) -> None:
        """Forgets the times of an earlier `fit`."""
        self._began = 0.0  # where the clock of this process starts
        self._spent_before = self._fraction_before = 0.0  # until a resume
        self._epoch_began = 0.0
        self._first_end: float | None = None  # end of the first step
        self._last_end: float | None = None  # end of the newest step
        self._begin = 0  # number of the first batch of the execution
        self._batches = 1  # batches of an execution
        self._first = self._step = 0.0  # seconds: first step, and expected step
        self._compilation: float | None = None  # seconds
        self._work = self._rest = 0.0  # seconds: see `_after` and `on_epoch_begin`
        self._epoch_end: float | None = None
        self._validated = False  # whether `_work` includes a validation
        self._compiles_test = True  # whether the next validation is the first here
        self._test_begin = self._test_first = self._test_other = 0.0
        self._excess = 0.0  # seconds of a validation that the next ones do not need

    # === Time and learning rate ===

    @property
    def spent(self) -> float:
        """Seconds since the start of the training."""
        if not self._running:
            return self._spent
        return self._spent_before + _clock() - self._began

    @property
    def fraction(self) -> float:
        """Share of the training time that has passed, from 0 to 1."""
        if not self._running:
            return self._fraction
        return self._fraction_at(_clock())

    def _fraction_at(self, now: float) -> float:
        before = self._fraction_before
        if self._first_end is None:
            return before
        whole = self._end - self._after - self._first_end
        share = (now - self._first_end) / whole if whole > 0 else 1.0
        return before + (1.0 - before) * min(max(share, 0.0), 1.0)

    @property
    def _end(self) -> float:
        """Planned end of `fit`, as a value of the clock."""
        return self._began + 60.0 * self.minutes - self.reserve - self._spent_before

    @property
    def _after(self) -> float:
        """Expected seconds from the end of the last step to the end of `fit`."""
        if self._validated:
            return self._work
        # No validation has been measured. The steps tell the speed of this machine.
        batches = self.validation_batches
        if batches is None:
            batches = self._counted
        if not batches:
            return self._work
        batch = self._step / self._batches
        return self._work + _FORWARD * (batches * batch + (self._compilation or 0.0))

    def _rate(self, f: float) -> float:
        """Returns the learning rate as a multiple of `peak`."""
        rise = min(1.0, f / self.warmup) if self.warmup else 1.0
        return rise * max(self.floor, _decayed(self.decay, f))

    def _stop_if_over(self, end_of_next: float) -> None:
        """Ends the training if the next step would end too late."""
        if end_of_next + self._after > self._end and not self.model.stop_training:
            self.model.stop_training = self.finished = True

    # === Events ===

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Starts the time; Keras calls this method.

        Raises:
            ValueError: The model is compiled with a learning-rate schedule.
        """
        optimizer = self.model.optimizer
        rate = getattr(optimizer, "learning_rate", None)
        if not isinstance(rate, keras.Variable):
            raise ValueError(
                "TimeBudget sets the learning rate itself: compile the model with a "
                "number, such as keras.optimizers.Adam(1e-3), instead of a schedule or "
                "a function."
            )
        self._clear()
        self._began = _clock() if self.started is None else float(self.started)
        self._epoch_began = _clock()
        now = float(keras.ops.convert_to_numpy(rate))
        last, peak = _changed.pop(optimizer, (None, None))
        # The optimizer has rounded the rate to its dtype.
        same = last is not None and math.isclose(now, last, rel_tol=0.01)
        self.peak = peak if same else now
        self.learning_rate = None
        self.finished = False
        self._running = True

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Measures the work between two epochs; Keras calls this method."""
        now = self._epoch_began = _clock()
        self._measure(now)
        if self._epoch_end is not None:
            # What other callbacks do at the end of an epoch, after this one.
            self._rest = max(self._rest, now - self._epoch_end)
        self._excess = 0.0
        self._last_end = self._epoch_end = None

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        """Sets the learning rate; Keras calls this method."""
        self._begin = batch
        self.finished = False  # a training that had ended continues
        assert self.peak is not None
        self.learning_rate = self.peak * self._rate(self._fraction_at(_clock()))
        # On JAX, `self.model` also makes the variables current.
        optimizer = self.model.optimizer
        optimizer.learning_rate = self.learning_rate
        _changed[optimizer] = self.learning_rate, self.peak

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Stops the training if it is time; Keras calls this method."""
        now = _clock()
        # With the time between two steps: reading data, and other callbacks.
        before = self._epoch_began if self._last_end is None else self._last_end
        duration = now - before
        self._last_end = now
        if self._first_end is None:
            # Most of the first step may be compilation: it says nothing about the next.
            self._first_end, self._first = now, duration
        else:
            if self._compilation is None:
                self._compilation = max(0.0, self._first - duration)
            self._step = max(duration, _MEMORY * self._step)
            # The last execution of an epoch can be shorter.
            self._batches = max(self._batches, batch - self._begin + 1)
        self._stop_if_over(now + self._step)

    def on_test_begin(self, logs: dict | None = None) -> None:
        """Starts the measurement of a validation; Keras calls this method."""
        self._test_first = self._test_other = 0.0

    def on_test_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        """Measures the steps of a validation; Keras calls this method."""
        self._test_begin = _clock()

    def on_test_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Measures the steps of a validation; Keras calls this method."""
        duration = _clock() - self._test_begin
        if self._test_first:
            self._test_other = max(self._test_other, duration)
        else:
            self._test_first = duration

    def on_test_end(self, logs: dict | None = None) -> None:
        """Ends the measurement of a validation; Keras calls this method."""
        self._validated = True
        if self._compiles_test and self._test_other:
            self._excess = max(0.0, self._test_first - self._test_other)
        self._compiles_test = False

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Stops if no time is left for another epoch; Keras calls this method."""
        now = self._epoch_end = _clock()
        self._measure(now)
        if logs is not None and self.learning_rate is not None:
            logs["learning_rate"] = self.learning_rate  # for logs, as in Keras
        self._put_back()  # before `Checkpoints` writes the model
        self._stop_if_over(now + self._rest + self._step)

    def on_train_end(self, logs: dict | None = None) -> None:
        """Sets the learning rate to the peak; Keras calls this method."""
        self._put_back()
        self._spent, self._fraction = self.spent, self.fraction
        self._running = False
        self._counted = None

    def _measure(self, now: float) -> None:
        """Notes the time since the last step of an epoch, if it is the longest."""
        if self._last_end is not None:
            self._work = max(self._work, now - self._last_end - self._excess)

    def _put_back(self) -> None:
        """Sets the learning rate to the peak."""
        optimizer = self.model.optimizer
        optimizer.learning_rate = self.peak
        _changed.pop(optimizer, None)

    # === State ===

    def count_validation(self, batches: float | None) -> None:
        """Sets the default of `validation_batches`; `fit` of textgen calls this."""
        self._counted = batches

    def get_state(self) -> dict[str, Any]:
        """Returns the state of this callback, for `textgen.Checkpoints`."""
        return {
            "minutes": self.minutes,
            "spent": self.spent,
            "fraction": self.fraction,
            "finished": self.finished,
            "peak": self.peak,
            "step": self._step,
            "batches": self._batches,
            "work": self._work,
            "rest": self._rest,
            "validated": self._validated,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores the state of this callback."""
        self._spent_before = state["spent"]
        # The same time of another budget is another share.
        share = state["fraction"] * state["minutes"] / self.minutes
        self._fraction_before = min(share, 1.0)
        self.finished = state["finished"]
        # The optimizer of the file can have a decayed learning rate.
        self.peak = state["peak"]
        self._step, self._batches = state["step"], state["batches"]
        self._work, self._rest = state["work"], state["rest"]
        self._validated = state["validated"]


def _decayed(decay: str, f: float) -> float:
    """Returns the decay at the share `f` of the time: 1 at 0, and 0 at 1."""
    return 1.0 - f if decay == "linear" else (1.0 + math.cos(math.pi * f)) / 2


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)
