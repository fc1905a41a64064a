import keras
import numpy as np
import pytest
from keras import ops

import textgen
from textgen import warmup_cosine


def by_formula(step, peak, steps, warmup):
    """Linear from 0 to the peak, then half a cosine to 0; float64."""
    if step < warmup:
        return peak * step / warmup
    share = min((step - warmup) / (steps - warmup), 1.0)
    return peak * 0.5 * (1 + np.cos(np.pi * share))


@pytest.mark.parametrize(
    ("steps", "arguments", "warmup"),
    [
        (5000, {}, 200),
        (2000, {}, 200),
        (1999, {}, 199),  # at most a tenth of the steps
        (40, {"warmup_steps": 30}, 4),
        (100, {"warmup_steps": 3}, 3),
        (10, {}, 1),
        (9, {}, 0),
        (1, {}, 0),
        (100, {"warmup_steps": 0}, 0),
    ],
)
@pytest.mark.parametrize("peak", [2e-3, 0.5])
def test_rate_follows_the_formula(peak, steps, arguments, warmup):
    schedule = warmup_cosine(peak, steps, **arguments)
    at = {0, 1, warmup // 2, warmup, warmup + 1, steps // 2, steps - 1, steps}
    for step in sorted(at | {steps + 5}):
        expected = by_formula(step, peak, steps, warmup)
        found = float(ops.convert_to_numpy(schedule(step)))
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-6 * peak), step


def test_optimizer_uses_the_schedule_and_its_config():
    schedule = warmup_cosine(0.5, 20)
    optimizer = keras.optimizers.SGD(schedule)
    variable = keras.Variable(0.0)
    optimizer.build([variable])
    for _ in range(20):  # each step subtracts the rate
        optimizer.apply([ops.ones(())])
    rates = [by_formula(step, 0.5, 20, 2) for step in range(20)]
    assert float(ops.convert_to_numpy(variable)) == pytest.approx(-sum(rates), rel=1e-5)
    schedules = keras.optimizers.schedules
    assert isinstance(schedule, schedules.CosineDecay)
    copy = schedules.deserialize(schedules.serialize(schedule))
    for step in (1, 2, 11):
        assert float(copy(step)) == float(schedule(step))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 10), r"peak=0 must be a positive, finite"),
        ((-1e-3, 10), r"peak=-0\.001 must be a positive, finite"),
        ((float("nan"), 10), r"peak=nan must be a positive, finite"),
        ((float("inf"), 10), r"peak=inf must be a positive, finite"),
        ((0.1, 0), r"steps=0 must be a positive integer: epochs times batches"),
        ((0.1, 62.5), r"steps=62\.5 must be a positive integer: epochs times"),
        ((0.1, 10, 2.5), r"warmup_steps=2\.5 must be a non-negative integer"),
        ((0.1, 10, -1), r"warmup_steps=-1 .*non-negative.*; 0 switches .* off"),
    ],
)
def test_bad_argument_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        warmup_cosine(*arguments)


def test_name_is_public():
    assert "warmup_cosine" in textgen.__all__
    assert textgen.warmup_cosine is warmup_cosine
