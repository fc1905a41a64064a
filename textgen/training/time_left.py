"""How long a training still takes: `TimeLeft`. Nothing here imports Keras."""

import math

# Seconds of training after which the time of a step counts about a third: the machine
# may become faster or slower.
_MEMORY = 60.0

# The expected time of a batch of the first validation, in training steps: the forward
# pass is about one third of the products.
_FORWARD = 0.4


class TimeLeft:
    """Estimates how long the rest of a training takes.

    An epoch has steps, and then other work: the validation, samples, a checkpoint. The
    first step of a process, and what the first validation needs more than the next
    ones, is compilation, and does not count.

    All times are values of one clock, in seconds.

    Args:
        epochs: int. Number of epochs, those before a resume included.
        steps: int or `None`. Number of steps of an epoch, if it is known.
        validation: float. Number of batches of the validation, as large as those of the
            training.
    """

    def __init__(self, epochs: int, steps: int | None, validation: float = 0.0) -> None:
        self.epochs, self.steps, self.validation = epochs, steps, validation
        self.epoch = self.done = 0  # finished epochs, and steps of the one after them
        self._last: float | None = None  # when the last step ended, or the epoch began
        self._first = True  # whether the next step is the first one here
        self._seconds = self._counted = 0.0  # of the last steps
        self._works: list[float] = []
        self._begun = False  # whether the work after the steps of an epoch goes on
        self._excess: float | None = None  # of the first validation

    @property
    def step(self) -> float | None:
        """Seconds of a step; `None` if none has been measured."""
        return self._seconds / self._counted if self._counted else None

    def begin_epoch(self, epoch: int, now: float) -> None:
        """Notes the end of the work between two epochs."""
        if self._begun and self._last is not None:
            work = now - self._last
            if not self._works:
                work = max(0.0, work - (self._excess or 0.0))
            self._works.append(work)
        self.epoch, self.done, self._last = epoch, 0, now
        self._begun = False

    def end_step(self, done: int, now: float) -> None:
        """Notes the end of a step.

        Args:
            done: int. Number of finished steps of this epoch.
            now: float.
        """
        number, before = done - self.done, self._last
        self.done, self._last, self._begun = done, now, True
        if self._first or before is None or number < 1:
            self._first = False
            return
        kept = math.exp(-(now - before) / _MEMORY)
        self._seconds = kept * self._seconds + now - before
        self._counted = kept * self._counted + number

    def end_validation(self, first: float, others: float) -> None:
        """Notes the seconds of the first batch of a validation, and of another one."""
        if self._excess is None:
            self._excess = max(0.0, first - others)

    def share(self) -> float | None:
        """Returns the part of all steps that is done; `None` if it is not known."""
        if not self.steps:
            return None
        return min(1.0, (self.epoch + self.done / self.steps) / self.epochs)

    def seconds(self, now: float) -> float | None:
        """Returns the time left; `None` if it is not known yet."""
        step = self.step
        if step is None or self.steps is None or self._last is None:
            return None
        remaining = (self.epochs - self.epoch) * self.steps - self.done
        work = self._work(step)
        # What has passed since the last step belongs to the work after the steps, if
        # there are no more of them in this epoch.
        passed = now - self._last
        most = work if self.done >= self.steps else step
        left = remaining * step + (self.epochs - self.epoch) * work
        return max(0.0, left - min(passed, most))

    def _work(self, step: float) -> float:
        """Returns the expected seconds between the steps of two epochs."""
        if not self._works:
            return self.validation * step * _FORWARD
        # Decoding is compiled in the first one.
        rest = self._works[1:] or self._works
        return sum(rest) / len(rest)


def clock(seconds: float) -> str:
    """Returns a time for a reader: `12 s`, `3 min 05 s` or `2 h 05 min`."""
    minutes, seconds = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"
