"""Trainings that end early: by signals, errors, NaN, full disks."""

import errno
import gc
import os
import signal
import sys
import time
import types

import keras
import numpy as np
import pytest
from small_networks import of_windows

import textgen
from textgen import (
    Checkpoints,
    SampleText,
    TrainingDivergedError,
    TrainingStopped,
    Vocabulary,
    WindowDataset,
    files,
)
from textgen.training import training_state
from textgen.training.session import Session

VOCABULARY = Vocabulary.from_text("abcdefgh\n")
IDS = np.random.default_rng(0).integers(0, 9, 120).astype(np.int8)
VALIDATION = WindowDataset(IDS[:30], 3, 1, 9)  # 3 batches


class At(keras.callbacks.Callback):
    """Calls a function at the n-th event of a kind."""

    def __init__(self, event, number, function):
        super().__init__()
        self.number = number
        self.function = function
        setattr(self, event, self.count)

    def count(self, *_, **__):
        self.number -= 1
        if not self.number:
            self.function()


def kill(number):
    return lambda: os.kill(os.getpid(), number)


def network():
    return of_windows(VOCABULARY, dropout=0.2)


def small():
    model = network()
    model.compile(keras.optimizers.Adam(0.05), run_eagerly=True)
    return model


def fit(model, *callbacks, epochs=2, **kwargs):
    return model.fit(
        WindowDataset(IDS, 3, 2, 20),  # 3 batches
        epochs=epochs,
        validation_data=VALIDATION,
        callbacks=list(callbacks),
        verbose=0,
        **kwargs,
    )


def values(model):
    found = [*model.variables, *model.optimizer.variables]
    return [keras.ops.convert_to_numpy(each) for each in found]


def resumed(folder, epochs=2):
    """Resumes a training; returns model and history."""
    checkpoints = Checkpoints(folder, resume=True)
    model = textgen.load(checkpoints.last)
    model.run_eagerly = True
    return model, fit(model, checkpoints, epochs=epochs).history


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """Variables and history of the uninterrupted training."""
    model = small()
    folder = tmp_path_factory.mktemp("expected")
    history = fit(model, Checkpoints(folder)).history
    return values(model), history


def assert_expected(expected, model, history):
    for one, other in zip(expected[0], values(model), strict=True):
        assert np.array_equal(one, other)
    assert history == expected[1]


@pytest.mark.parametrize(
    ("number", "event", "count", "position"),
    [
        (signal.SIGTERM, "on_train_batch_end", 2, (0, 2)),
        (signal.SIGHUP, "on_train_batch_begin", 5, (1, 2)),
        (signal.SIGINT, "on_test_batch_end", 4, (1, 3)),  # the validation is repeated
        (signal.SIGTERM, "on_epoch_end", 1, (1, 0)),
        (signal.SIGTERM, "on_epoch_begin", 2, (1, 1)),  # too late for the epoch before
        (signal.SIGTERM, "on_train_end", 1, (2, 0)),
    ],
)
def test_signal_stops_at_a_step(
    number, event, count, position, expected, tmp_path, capsys
):
    checkpoints = Checkpoints(tmp_path, how_to_resume="type this")
    handlers = [signal.getsignal(each) for each in (1, 2, 15)]
    with pytest.raises(TrainingStopped) as stopped:
        fit(small(), checkpoints, At(event, count, kill(number)))
    assert [signal.getsignal(each) for each in (1, 2, 15)] == handlers
    assert (stopped.value.signal, stopped.value.code) == (number, 128 + number)
    assert stopped.value.folder == tmp_path
    [line] = capsys.readouterr().err.splitlines()
    name = signal.Signals(number).name
    assert line == (
        f"Stopped by {name}. The state is in {checkpoints.last}. Continue: type this"
    )
    assert (checkpoints.epoch, checkpoints.step) == position
    assert_expected(expected, *resumed(tmp_path))


def test_signal_within_samples_and_default_message(expected, tmp_path, capsys):
    class Slow(SampleText):
        def _write(self, temperature, max_new_tokens):
            if self.every == 4 and max_new_tokens:
                self.every = 1
                kill(signal.SIGTERM)()
                time.sleep(60)
            return super()._write(temperature, max_new_tokens)

    began = time.monotonic()
    with pytest.raises(TrainingStopped):
        fit(
            small(),
            Slow("a", every=4, unit="batch", max_new_tokens=1),
            Checkpoints(tmp_path),
        )
    assert time.monotonic() - began < 30
    assert f"textgen.Checkpoints({str(tmp_path)!r}, resume=True)" in (
        capsys.readouterr().err
    )
    assert_expected(expected, *resumed(tmp_path))


def test_interrupt_of_an_interactive_session_is_no_exit(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    model, checkpoints = small(), Checkpoints(tmp_path)
    with pytest.raises(KeyboardInterrupt, match="Stopped by SIGINT"):
        fit(model, checkpoints, At("on_train_batch_end", 2, kill(signal.SIGINT)))
    # The model in memory can go on.
    fit(model, checkpoints)
    assert checkpoints.epoch == 2


def test_second_signal_loses_nothing_older(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)

    def twice():
        kill(signal.SIGINT)()
        kill(signal.SIGINT)()

    checkpoints = Checkpoints(tmp_path, every=1)
    with pytest.raises(KeyboardInterrupt):
        fit(small(), checkpoints, At("on_train_batch_end", 3, twice))
    assert (checkpoints.epoch, checkpoints.step) == (0, 2)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_error_of_a_callback_writes_the_newest_state(error, expected, tmp_path):
    def fail():
        raise error

    # At an hour, only the error writes a state. In the validation, it is that of the
    # last step.
    checkpoints = Checkpoints(tmp_path, every="1h")
    with pytest.raises(error):
        fit(small(), checkpoints, At("on_test_batch_end", 5, fail))
    assert (checkpoints.epoch, checkpoints.step) == (1, 3)
    assert checkpoints.best.exists()
    assert_expected(expected, *resumed(tmp_path))


def test_error_before_a_step_leaves_no_training(tmp_path):
    def fail():
        raise RuntimeError

    with pytest.raises(RuntimeError):
        fit(
            small(),
            Checkpoints(tmp_path / "a"),
            At("on_train_batch_begin", 1, fail),
        )
    assert not (tmp_path / "a").exists()


# === NaN ===


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("step", [1, 2, 5])
def test_training_that_diverges_stops_at_the_step(value, step, tmp_path):
    model = small()
    [*_, bias] = model.trainable_variables

    def spoil():
        bias.assign(np.full(bias.shape, value))

    checkpoints = Checkpoints(tmp_path / "a", every=1)
    with pytest.raises(TrainingDivergedError) as caught:
        fit(model, checkpoints, At("on_train_batch_begin", step, spoil))
    error = caught.value
    assert error.step == step
    assert f"at training batch {step}, in epoch {1 + (step - 1) // 3}." in str(error)
    assert f"the state after {step - 1} batches again" in str(error)
    assert "Try a smaller learning rate, or gradient clipping, such as" in str(error)
    assert all(np.isfinite(array).all() for array in values(model))
    assert int(model.optimizer.iterations) == step - 1
    if step == 1:
        assert (error.kept, checkpoints.last) == (None, None)
        assert not (tmp_path / "a").exists()
    else:
        assert error.kept == checkpoints.last
        for one, other in zip(
            values(textgen.load(error.kept)), values(model), strict=True
        ):
            assert np.array_equal(one, other)
    # Without a change, it continues to the same end.
    if step == 5:
        resumed(tmp_path / "a")


def test_weights_that_are_not_finite_are_never_written(tmp_path):
    model = small()
    [*_, bias] = model.trainable_variables

    def spoil():
        assert checkpoints.model is model  # on JAX, this updates the variables
        bias.assign(np.full(bias.shape, np.nan))

    checkpoints = Checkpoints(tmp_path, every=1)
    with pytest.raises(TrainingDivergedError, match=r"variable .*bias became infinite"):
        fit(model, checkpoints, At("on_train_batch_end", 3, spoil))
    assert (checkpoints.epoch, checkpoints.step) == (0, 2)
    spoil()
    with pytest.raises(TrainingDivergedError, match="before the first step"):
        fit(model, Checkpoints(tmp_path / "b"))


def test_validation_loss_that_is_not_finite_is_never_the_best(tmp_path):
    class Spoil(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["val_loss"] = [2.0, float("nan"), float("-inf")][epoch]

    checkpoints = Checkpoints(tmp_path)
    fit(small(), Spoil(), checkpoints, epochs=3)
    assert checkpoints.best_value == 2.0
    assert int(textgen.load(checkpoints.best).optimizer.iterations) == 3


# === Best model ===


def test_best_model_is_that_of_its_epoch(tmp_path):
    """It is written later than its epoch, and has its weights and its notes."""

    class Losses(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.notes["epochs"] = epoch + 1
            logs["val_loss"] = [3.0, 1.0, 2.0, 4.0][epoch]
            if epoch == 1:
                found.extend(values(self.model))

    found = []
    model, checkpoints = small(), Checkpoints(tmp_path, every="1h")
    model.notes = {"text": "a"}
    fit(model, Losses(), checkpoints, epochs=4)
    best = textgen.load(checkpoints.best)
    assert best.notes == {"text": "a", "epochs": 2}
    for one, other in zip(found, values(best), strict=True):
        assert np.array_equal(one, other)
    assert textgen.load(checkpoints.last).notes == model.notes
    assert model.notes["epochs"] == 4


# === Disk ===


def full_disk(monkeypatch, allowed):
    """Lets only some of the writes succeed."""
    real, count = files.replacing, iter(range(100))

    def replacing(path):
        if next(count) not in allowed:
            raise OSError(errno.ENOSPC, f"{path} cannot be written: no space.")
        return real(path)

    monkeypatch.setattr(files, "replacing", replacing)


def test_full_disk_does_not_end_the_training(tmp_path, monkeypatch, expected):
    # Step 1, step 2, best, ...: the state of step 2 fails.
    full_disk(monkeypatch, {0, *range(2, 100)})
    checkpoints, model = Checkpoints(tmp_path, every=1), small()
    with pytest.warns(UserWarning, match=r"no space.*continues.*newest .*step-0+1\.k"):
        history = fit(model, checkpoints).history
    assert_expected(expected, model, history)
    assert checkpoints.epoch == 2


def test_disk_that_is_full_at_the_end_is_an_error(tmp_path, monkeypatch, expected):
    full_disk(monkeypatch, {0, 1})
    checkpoints, model = Checkpoints(tmp_path, every=1), small()
    ends = []
    with (
        pytest.warns(UserWarning, match="no space"),
        pytest.raises(OSError, match=r"save it in another .*newest.*step-0+2\.keras"),
    ):
        fit(model, checkpoints, At("on_train_end", 1, lambda: ends.append(1)))
    assert ends == [1]
    for one, other in zip(expected[0], values(model), strict=True):
        assert np.array_equal(one, other)
    assert (checkpoints.epoch, checkpoints.step) == (0, 2)
    monkeypatch.undo()
    assert_expected(expected, *resumed(tmp_path))


def test_signal_on_a_full_disk_says_so(tmp_path, monkeypatch, capsys):
    full_disk(monkeypatch, {0})
    checkpoints = Checkpoints(tmp_path, every=1)
    with (
        pytest.warns(UserWarning, match="no space"),
        pytest.raises(TrainingStopped),
    ):
        fit(small(), checkpoints, At("on_train_batch_end", 2, kill(signal.SIGTERM)))
    assert "could not be written: " in (printed := capsys.readouterr().err)
    assert f"The newest checkpoint is {checkpoints.last}." in printed


# === Time and memory ===


def test_intervals(monkeypatch):
    """At the default interval, states are written so rarely that they cost 2 %."""
    now, written, copied = [0.0], [], []
    monkeypatch.setattr("time.monotonic", lambda: now[0])

    class Snapshot:
        training, arrays = None, None

        def __init__(self, model, facts, callbacks):
            self.facts = facts
            copied.append(now[0])
            now[0] += 0.001

        def not_finite(self):
            return None

    class Files:
        def write(self, batches, *_):
            written.append(batches)
            now[0] += 0.2

    monkeypatch.setattr("textgen.training.training_state.Snapshot", Snapshot)
    of = types.SimpleNamespace(files=Files(), last=None, model=None)
    of.saved = lambda *_: None
    of.facts = lambda: {
        "epoch": 0,
        "step": of.batches,
        "batches": of.batches,
        "ended_of": None,
    }

    def train(interval, steps, seconds_per_step):
        written.clear()
        copied.clear()
        of.interval, of.batches, began = interval, 0, now[0]
        session = Session(of, types.SimpleNamespace(callbacks=[]), exact=True)
        for _ in range(steps):
            now[0] += seconds_per_step
            of.batches += 1
            session.end_step(1.0)
        return now[0] - began

    train((100, None), 450, 0.1)
    assert written == [100, 200, 300, 400]
    train((None, 20.0), 450, 0.1)
    assert written == [200, 400]
    seconds = train((None, None), 10_000, 0.1)
    assert written[0] == 50
    assert len(written) > 50
    assert 0.2 * len(written) + 0.001 * len(copied) < 0.02 * seconds
    assert len(copied) > 2 * len(written)


def test_only_the_newest_states_are_in_memory(tmp_path):
    """The newest one, and the best one until it is in a file."""
    counts = []

    def count(*_, **__):
        gc.collect()
        counts.append(
            sum(isinstance(each, training_state.Snapshot) for each in gc.get_objects())
        )

    watch = At("on_epoch_end", 0, None)
    watch.on_epoch_end = watch.on_train_end = count
    # Looking at all objects takes a tenth of a second.
    watch.on_train_batch_end = lambda batch, logs=None: batch % 5 or count()
    fit(small(), watch, Checkpoints(tmp_path, every="1h"), epochs=3)
    assert 1 <= max(counts) <= 2
    count()
    assert counts[-1] == 0
