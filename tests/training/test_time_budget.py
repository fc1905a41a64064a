"""`TimeBudget` with a clock that the tests advance."""

import types

import keras
import numpy as np
import pytest
from small_networks import of_windows

import textgen
from textgen import Checkpoints, TimeBudget, Vocabulary, WindowDataset
from textgen.training import time_budget

VOCABULARY = Vocabulary.from_text("abcdefgh\n")
IDS = np.random.default_rng(0).integers(0, 9, 153).astype(np.int8)


class Clock:
    """A clock that stands still unless a test advances it."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(time_budget, "_clock", clock)
    return clock


class Work(keras.callbacks.Callback):
    """Advances the clock as the work of a training would; notes learning rates.

    `step(n)` is the time of the n-th execution of this `fit`. `done` holds, for each
    execution: begin, end, learning rate.
    """

    def __init__(self, clock, step, test_step=0.0, test_compile=0.0, epoch_end=0.0):
        super().__init__()
        self.clock, self.step, self.test_step = clock, step, test_step
        self.test_compile, self.epoch_end = test_compile, epoch_end
        self.done = []

    def on_train_batch_begin(self, batch, logs=None):
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        begin = self.clock.now
        self.clock.now += self.step(len(self.done))
        self.done.append((begin, self.clock.now, rate))

    def on_test_batch_begin(self, batch, logs=None):
        self.clock.now += self.test_step + self.test_compile
        self.test_compile = 0.0

    def on_epoch_end(self, epoch, logs=None):
        self.clock.now += self.epoch_end


def fit(budget, work, steps, tests=0, epochs=10_000, rate=0.25):
    """The loop of `keras.Model.fit`; returns the number of started epochs."""
    model = types.SimpleNamespace(
        optimizer=keras.optimizers.SGD(rate), stop_training=False
    )
    events = keras.callbacks.CallbackList([budget, work], model=model)
    events.on_train_begin()
    for epoch in range(epochs):
        events.on_epoch_begin(epoch)
        for batch in range(steps):
            events.on_train_batch_begin(batch)
            events.on_train_batch_end(batch)
            if model.stop_training:
                break
        if tests:
            events.on_test_begin()
            for batch in range(tests):
                events.on_test_batch_begin(batch)
                events.on_test_batch_end(batch)
            events.on_test_end()
        events.on_epoch_end(epoch)
        if model.stop_training:
            break
    events.on_train_end()
    assert float(model.optimizer.learning_rate) == budget.peak
    return epoch + 1


def expected_rates(done, end, peak, warmup, floor, decay, before=0.0):
    """The definition: `f` is 0 until the first step has ended, and 1 at `end`."""
    rates = []
    for begin, _, _ in done:
        f = before
        if rates:
            start = done[0][1]
            f += (1 - before) * min(1, (begin - start) / (end - start))
        rise = 1 if warmup == 0 else min(1, f / warmup)
        fall = 1 - f if decay == "linear" else (1 + np.cos(np.pi * f)) / 2
        rates.append(peak * rise * max(floor, fall))
    return rates


@pytest.mark.parametrize(
    ("warmup", "floor", "decay"),
    [(0.03, 0.02, "cosine"), (0.25, 0, "linear"), (0, 0.5, "cosine")],
)
def test_learning_rates_follow_the_clock(clock, warmup, floor, decay):
    # 15 s of loading and a first step of 10 s do not shorten the warm-up. Steps of
    # different times: not their number counts.
    work = Work(clock, lambda n: 10 if n == 0 else 0.5 + n % 3)
    budget = TimeBudget(
        5,
        warmup=warmup,
        floor=floor,
        decay=decay,
        started=clock.now - 15,
        reserve=20,
    )
    start = clock.now
    fit(budget, work, steps=7)
    end = start - 15 + 300 - 20
    rates = expected_rates(work.done, end, 0.25, warmup, floor, decay)
    assert [rate for *_, rate in work.done] == pytest.approx(rates, rel=1e-5)
    assert budget.learning_rate == pytest.approx(rates[-1])
    assert len(rates) > 150
    assert end - 3 < clock.now <= end
    assert budget.spent == clock.now - start + 15
    assert budget.fraction == pytest.approx(1, abs=0.02)
    assert budget.finished
    assert (budget.minutes, budget.peak) == (5, 0.25)
    spent = budget.spent
    clock.now += 100
    assert budget.spent == spent


def after_doubling(n):
    return 1 if n < 150 else 2


@pytest.mark.parametrize(
    ("steps", "work", "tests"),
    [
        (3, {"step": lambda n: 0.5}, 0),  # short epochs
        (10**6, {"step": lambda n: 0.5}, 0),  # an endless epoch
        (10**6, {"step": lambda n: 0.5, "test_step": 2.0, "test_compile": 9.0}, 20),
        (60, {"step": lambda n: 1, "test_step": 1.0, "epoch_end": 2.0}, 20),
        (10, {"step": lambda n: 0.2, "test_step": 0.1, "test_compile": 30}, 20),
        (10**6, {"step": after_doubling}, 0),
        (20, {"step": after_doubling, "test_step": 0.2, "epoch_end": 3}, 5),
        (10**6, {"step": lambda n: 1 + 5 * (n % 20 == 9)}, 0),  # a loaded machine
    ],
)
def test_ends_on_time(clock, steps, work, tests):
    # In an epoch that never ends, nothing else tells of the validation.
    known = tests if steps == 10**6 else None
    first = work["step"]
    # The compilation of a step takes longer than that of its forward pass.
    work = Work(clock, **{**work, "step": lambda n: first(n) + 20 * (n == 0)})
    budget = TimeBudget(5, validation_batches=known)
    began = clock.now
    # A test batch of this case takes longer than a training batch.
    if work.test_step == 2.0:
        budget.validation_batches = 4 * 2 * tests
    epochs = fit(budget, work, steps, tests)
    assert budget.finished
    assert 0.95 * 300 <= clock.now - began <= 1.05 * 300
    assert budget.spent == pytest.approx(clock.now - began, abs=1e-6)
    assert (epochs == 1) == (steps == 10**6)


def test_estimate_of_the_first_validation(clock):
    # Half the time of the training batches, and half of the compilation.
    work = Work(clock, lambda n: 21 if n == 0 else 1, test_step=0.5, test_compile=10)
    began = clock.now
    fit(TimeBudget(5, validation_batches=40), work, steps=10**6, tests=40)
    assert clock.now - began == 300


def test_the_compilation_of_the_validation_is_expected_once(clock):
    work = Work(clock, lambda n: 1, test_step=1, test_compile=60)
    began = clock.now
    epochs = fit(TimeBudget(5), work, steps=100, tests=10)
    # 100 + 60 + 10, then 100 + 10: 20 s are left for 10 steps and a validation.
    assert (epochs, len(work.done)) == (3, 210)
    assert clock.now - began == 300


def test_ends_after_an_epoch_if_no_time_is_left_for_another(clock):
    work = Work(clock, lambda n: 1, test_step=1, epoch_end=5)
    began = clock.now
    # An epoch takes 10 + 4 + 5 s. After three, 3 s are left.
    assert fit(TimeBudget(1), work, steps=10, tests=4) == 3
    assert clock.now - began == 57


def test_the_time_can_be_over_before_the_first_step(clock):
    work = Work(clock, lambda n: 1)
    budget = TimeBudget(1, started=clock.now - 90)
    assert fit(budget, work, steps=10) == 1
    assert len(work.done) == 1
    assert budget.finished
    assert budget.spent == 91


def test_ends_of_others_are_not_of_the_clock(clock):
    work = Work(clock, lambda n: 1)
    budget = TimeBudget(10)
    assert fit(budget, work, steps=5, epochs=3) == 3
    assert not budget.finished
    # A second `fit` starts again.
    fit(budget, work, steps=5)
    assert budget.finished
    assert budget.spent == 600


def dense(steps_per_execution=1, **arguments):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(
        keras.optimizers.SGD(0.5, **arguments),
        "mse",
        steps_per_execution=steps_per_execution,
    )
    return model


@pytest.mark.parametrize(
    ("executed", "arguments"), [(1, {"gradient_accumulation_steps": 2}), (4, {})]
)
def test_keras_trains_with_these_rates(clock, executed, arguments):
    model = dense(executed, **arguments)
    work = Work(clock, lambda n: 1, test_step=0.5)
    budget = TimeBudget(0.5, floor=0)
    x, y = np.ones((10, 2)), np.zeros((10, 1))
    before = model.get_weights()[0]
    began = clock.now
    model.fit(
        x,
        y,
        batch_size=1,
        epochs=100,
        verbose=0,
        validation_data=(x, y),
        callbacks=[budget, work],
    )
    assert 28 <= clock.now - began <= 30
    assert budget.finished
    assert float(model.optimizer.learning_rate) == 0.5
    assert np.abs(model.get_weights()[0] - before).max() > 0.1
    assert work.done[1][2] == 0  # `f` is 0
    assert max(rate for *_, rate in work.done) > 0.48
    assert work.done[-1][2] < 0.1


def test_steps_use_the_rate():
    model = dense()
    rates = []

    class Fixed(TimeBudget):
        def _rate(self, f):
            return 0.1 * (1 + len(rates))

        def on_train_batch_end(self, batch, logs=None):
            rates.append(self.learning_rate)

    model.layers[0].set_weights([np.ones((2, 1)), np.zeros(1)])
    x, y = np.ones((3, 2)), np.zeros((3, 1))
    model.fit(x, y, batch_size=1, verbose=0, callbacks=Fixed(9), shuffle=False)
    assert rates == pytest.approx([0.05, 0.1, 0.15])
    weight, bias = 1.0, 0.0
    for rate in rates:  # gradients of (2 w + b) ** 2
        error = 2 * (2 * weight + bias)
        weight, bias = weight - rate * error, bias - rate * error
    found, found_bias = model.get_weights()
    assert found.tolist() == pytest.approx(np.full((2, 1), weight), rel=1e-5)
    assert found_bias[0] == pytest.approx(bias, rel=1e-5)


def test_peak_survives_an_interrupted_fit(clock):
    model = dense()

    def fail(n):
        if n == 8:
            raise KeyboardInterrupt
        return 1

    x, y = np.ones((20, 2)), np.zeros((20, 1))
    arguments = {"batch_size": 1, "verbose": 0}
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, callbacks=[TimeBudget(0.2), Work(clock, fail)], **arguments)
    assert float(model.optimizer.learning_rate) < 0.3
    budget = TimeBudget(1)
    model.fit(x, y, callbacks=[budget, Work(clock, lambda n: 1)], **arguments)
    assert budget.peak == float(model.optimizer.learning_rate) == 0.5
    # A rate that the user sets is the peak.
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, callbacks=[TimeBudget(0.2), Work(clock, fail)], **arguments)
    model.optimizer.learning_rate = 0.125
    model.fit(x, y, callbacks=[budget, Work(clock, lambda n: 1)], **arguments)
    assert budget.peak == 0.125


# === With textgen's models ===


def network():
    model = of_windows(VOCABULARY)
    model.compile(keras.optimizers.SGD(0.5), run_eagerly=True)
    return model


@pytest.mark.parametrize("failing", [13, 20, 26])
def test_resumed_training_has_the_remaining_time(clock, tmp_path, failing):
    def fail(n):
        if n == failing:
            raise KeyError
        return 5 if n == 0 else 1

    def train(step, resume=False):
        every = None if resume else 1
        checkpoints = Checkpoints(tmp_path, resume=resume, every=every)
        model = textgen.load(checkpoints.last) if resume else network()
        model.run_eagerly = True
        budget, work = TimeBudget(1), Work(clock, step)
        data = WindowDataset(IDS, 3, 1, 15)
        assert len(data) == 10
        model.fit(data, epochs=50, verbose=0, callbacks=[budget, work, checkpoints])
        return model, budget, work

    began = clock.now
    with pytest.raises(KeyError):
        train(fail)
    spent = clock.now - began
    assert spent == failing + 4
    clock.now += 5000
    began = clock.now
    model, budget, work = train(lambda n: 3 if n == 0 else 1, resume=True)
    assert clock.now - began == 60 - spent
    assert budget.spent == 60
    assert budget.finished
    assert budget.peak == float(model.optimizer.learning_rate) == 0.5
    before = (failing - 1) / 55
    rates = expected_rates(
        work.done, began + 60 - spent, 0.5, 0.03, 0.02, "cosine", before
    )
    assert [rate for *_, rate in work.done] == pytest.approx(rates, rel=1e-5)
    # Nothing is left.
    _, budget, work = train(lambda n: 1, resume=True)
    assert (budget.spent, budget.finished, len(work.done)) == (60, True, 0)


def test_more_minutes_convert_the_fraction(clock):
    budget = TimeBudget(1)
    fit(budget, Work(clock, lambda n: 1), steps=7)
    longer = TimeBudget(2)
    state = budget.get_state()

    class Resume(Work):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 0:
                longer.set_state(state)

    work = Resume(clock, lambda n: 1)
    fit(longer, work, steps=7, rate=1e-9)  # a decayed rate
    assert longer.spent == 120
    assert work.done[0][2] == pytest.approx(0.25 * 0.5)  # half of the time: cos is 0
    assert len(work.done) == 60


def test_fit_counts_the_validation(clock):
    model = network()
    train, validation = WindowDataset(IDS, 3, 1, 15), WindowDataset(IDS, 3, 1, 30)
    found = []

    class Seen(TimeBudget):
        def count_validation(self, batches):
            found.append(batches)
            super().count_validation(batches)

    def run(**arguments):
        work = Work(clock, lambda n: 1)
        callbacks = [Seen(0.15), work]
        model.fit(train, verbose=0, epochs=1, callbacks=callbacks, **arguments)
        return len(work.done)

    # Of 9 s, it is expected to take half of 10 s.
    assert run(validation_data=validation) == 4
    assert run(validation_data=validation, validation_steps=2) == 7
    assert run() == 9
    assert run(validation_data=next(iter(validation))) == 9
    assert found == [10, 4, None, None]


# === Errors ===


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"minutes": 0}, r"minutes=0 must be a positive, finite number of minutes"),
        ({"minutes": -1.5}, r"minutes=-1\.5 must be a positive"),
        ({"minutes": float("nan")}, r"minutes=nan must be a positive, finite"),
        ({"minutes": float("inf")}, r"minutes=inf must be a positive, finite"),
        ({"minutes": "5"}, r"minutes='5' must be a positive, finite"),
        ({"warmup": 1}, r"warmup=1 must be .*less than 1; 0 switches .* off"),
        ({"warmup": -0.1}, r"warmup=-0\.1 must be a share .* at least 0"),
        ({"floor": 1.5}, r"floor=1\.5 must be from 0 to 1: .*0 decays to zero"),
        ({"floor": -0.5}, r"floor=-0\.5 must be from 0 to 1"),
        ({"reserve": -3}, r"reserve=-3 must be a non-negative, finite number of sec"),
        ({"decay": "step"}, r"decay='step' must be 'cosine' or 'linear'"),
        (
            {"started": 1001},
            r"started=1001 must be an earlier .*monotonic\(\), or None",
        ),
        ({"validation_batches": -1}, r"validation_batches=-1 must be a non-negative"),
    ],
)
def test_bad_argument_is_named(clock, arguments, message):
    with pytest.raises(ValueError, match=message):
        TimeBudget(**{"minutes": 5, **arguments})


@pytest.mark.parametrize("rate", [textgen.warmup_cosine(0.5, 10), lambda: 0.5])
def test_schedule_is_refused(rate):
    with pytest.raises(ValueError, match=r"compile the model with a number, such as"):
        fit(TimeBudget(5), keras.callbacks.Callback(), 1, rate=rate)
