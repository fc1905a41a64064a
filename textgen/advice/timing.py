"""Measures the time of training steps on this machine."""

import statistics
import time
from collections.abc import Callable

import numpy as np

from textgen import distribution
from textgen.advice.setup import Setup
from textgen.text.tokenizer import Tokenizer

STEPS = 8  # timed steps of a candidate

# A slow candidate gets fewer steps, but a machine can pause during one of them.
LONGEST, FEWEST = 3.0, 3  # seconds, steps


def step_seconds(setup: Setup, vocabulary: Tokenizer, length: int) -> float:
    """Returns the median time of a training step of a candidate, in seconds.

    The model is built, compiled and trained on random ids; then it is discarded. The
    random generators of Keras and NumPy are left as they were.

    Args:
        setup: `Setup`.
        vocabulary: `Vocabulary`.
        length: int. Number of steps of a sequence.
    """
    seconds = 0.0
    if distribution.is_first():
        with distribution.alone(None):
            seconds = _median_seconds(setup, vocabulary, length)
    return distribution.of_first(seconds)  # all processes choose the same


def _median_seconds(setup: Setup, vocabulary: Tokenizer, length: int) -> float:
    """Returns the median time of a training step in this process."""
    model = setup.model(vocabulary, length)
    model.compile(setup.optimizer(), sampled_softmax=setup.sampled_softmax)
    ids = np.random.default_rng(0).integers(
        len(vocabulary), size=(2, setup.batch_size, length)
    )
    x, y = ids.astype(np.int32)
    if setup.kind == "windows":
        y = y[:, -1]
    model.train_on_batch(x, y)  # compiles the step
    times: list[float] = []
    while len(times) < FEWEST or (len(times) < STEPS and sum(times) < LONGEST):
        start = time.perf_counter()
        model.train_on_batch(x, y)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


class Speeds:
    """Steps per second of networks of different widths, from two timed ones.

    The time of a step is a power of the number of operations: a straight line through
    the two points, both axes logarithmic. Beyond the wider one, the products take all
    the time, so that the time grows at least as fast as the operations.

    Args:
        measure: Callable `(units) -> seconds`. The time of a step with so many units.
        operations: Callable `(units) -> float`. Operations of a step.
        units: tuple of two int. The timed numbers of units.
    """

    def __init__(
        self,
        measure: Callable[[int], float],
        operations: Callable[[int], float],
        units: tuple[int, int],
    ) -> None:
        self._operations = operations
        x = np.log([operations(each) for each in units])
        y = np.log([measure(each) for each in units])
        # Noise must not make wide networks look cheaper than they can be.
        self._slope = float(np.clip((y[1] - y[0]) / (x[1] - x[0]), 0.3, 1.2))
        self._x, self._y = float(x[1]), float(y[1])

    def seconds(self, units: int) -> float:
        """Returns the estimated time of a step, in seconds."""
        x = np.log(self._operations(units))
        slope = max(self._slope, 1.0) if x > self._x else self._slope
        return float(np.exp(self._y + slope * (x - self._x)))
