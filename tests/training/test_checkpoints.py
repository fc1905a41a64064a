"""A resumed training is the uninterrupted one, wherever it stopped."""

import random
import shutil
import warnings
from unittest import mock

import keras
import numpy as np
import pytest
from small_networks import of_windows

import textgen
import textgen.lines
from textgen import Checkpoints, LanguageModel, Vocabulary, WindowDataset, model_file

VOCABULARY = Vocabulary.from_text("abcdefgh\n")
IDS = np.random.default_rng(0).integers(0, 9, 150).astype(np.int8)
TRAIN, VALIDATION = IDS[:120], IDS[120:]


class StopAtError(Exception):
    """An error of a user's callback."""


class Fail(keras.callbacks.Callback):
    """Raises an error at the n-th event of a kind."""

    def __init__(self, event, number):
        super().__init__()
        self.remaining = number
        setattr(self, event, self.count)

    def count(self, *_, **__):
        self.remaining -= 1
        if not self.remaining:
            raise StopAtError


class Draws(keras.callbacks.Callback):
    """Draws numbers at each batch, and has a state."""

    def __init__(self):
        super().__init__()
        self.drawn = []

    def on_train_batch_end(self, batch, logs=None):
        self.drawn.append([batch, random.random(), np.random.rand()])

    def get_state(self):
        return {"drawn": self.drawn}

    def set_state(self, state):
        self.drawn = state["drawn"]


def network():
    return of_windows(VOCABULARY, dropout=0.2)


class Windows:
    """Many-to-one windows, dropout, early stopping and a schedule of plateaus."""

    epochs, events = 3, (("on_train_batch_end", 3), ("on_test_begin", 2))
    metric = "sparse_top_k_categorical_accuracy"  # Keras creates it at the first step

    def model(self):
        model = network()
        model.compile(
            keras.optimizers.Adam(0.05),
            metrics=["accuracy", self.metric],
            run_eagerly=True,
        )
        return model

    def arguments(self):
        return {
            "x": WindowDataset(TRAIN, 3, 2, 20, seed=3),
            "validation_data": WindowDataset(VALIDATION, 3, 1, 16),
        }

    def callbacks(self):
        return [
            keras.callbacks.EarlyStopping(patience=1, restore_best_weights=True),
            keras.callbacks.ReduceLROnPlateau("loss", patience=1, min_delta=0.5),
            keras.callbacks.LearningRateScheduler(lambda _, rate: 0.9 * rate),
        ]


class Stateful(Windows):
    """Carried states, dropout, weight averages, accumulated gradients, a schedule."""

    epochs, events = 3, (("on_train_batch_end", 2), ("on_train_batch_begin", 9))

    def model(self):
        model = LanguageModel(
            VOCABULARY,
            cell="gru",
            units=5,
            dropout=0.3,
            weight_dropout=0.2,
            return_sequences=True,
            stateful=True,
            batch_size=4,
        )
        optimizer = keras.optimizers.Adam(
            textgen.warmup_cosine(0.05, 12, 2),
            use_ema=True,
            ema_momentum=0.9,
            gradient_accumulation_steps=2,
        )
        model.compile(optimizer, metrics=[textgen.Perplexity()], run_eagerly=True)
        return model

    def arguments(self):
        return {
            "x": textgen.SequenceDataset(TRAIN, 5, 4, sampling="consecutive", seed=1)
        }

    def callbacks(self):
        return [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)]


class Lines(Windows):
    """Lines; epochs of two thirds of a pass, several steps per execution."""

    epochs, events = 3, (("on_train_batch_end", 3), ("on_epoch_begin", 3))

    def model(self):
        model = LanguageModel(VOCABULARY, units=5, return_sequences=True)
        model.compile(
            keras.optimizers.RMSprop(0.02), steps_per_execution=2, run_eagerly=True
        )
        return model

    def arguments(self):
        lines = textgen.LineDataset(TRAIN, VOCABULARY.ids["\n"], batch_size=3)
        return {"x": lines, "steps_per_epoch": 4}

    def callbacks(self):
        return []


class Buckets(Lines):
    """Lines in buckets; an epoch is a pass."""

    def arguments(self):
        with mock.patch.object(textgen.lines, "_LEAST_STEPS", 1):
            lines = textgen.LineDataset(TRAIN, VOCABULARY.ids["\n"], batch_size=2)
        assert len(lines.bucket_steps) > 2
        return {"x": lines}


class Arrays(Windows):
    """Arrays with weights, of which a part is the validation."""

    events = (("on_train_batch_end", 5), ("on_epoch_end", 2))
    metric = "top_k_categorical_accuracy"

    def arguments(self):
        x = np.lib.stride_tricks.sliding_window_view(TRAIN, 3)[:-1:2]
        y = np.eye(len(VOCABULARY))[TRAIN[3::2]]  # float64, as Keras casts to float32
        weights = np.linspace(0.5, 1.5, len(x))
        return {
            "x": x,
            "y": y,
            "sample_weight": weights,
            "batch_size": 16,
            "validation_split": 0.25,
            "class_weight": {0: 2.0},
        }


def train(case, folder, resume=False, fail=None, **options):
    """Returns model, history, and everything else that must be equal."""
    checkpoints = Checkpoints(folder, resume=resume, **options)
    keras.utils.set_random_seed(1 if resume else 0)
    model = textgen.load(checkpoints.last) if resume else case.model()
    if resume:
        model.run_eagerly = True
    draws = Draws()
    callbacks = [
        *(() if fail is None else (Fail(*fail),)),
        *case.callbacks(),
        keras.callbacks.CSVLogger(folder.with_suffix(".csv")),
        draws,
    ]
    # `fit` puts checkpoints behind the others.
    callbacks.insert(0, checkpoints)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*ran out of data")
        history = model.fit(
            **case.arguments(), epochs=case.epochs, callbacks=callbacks, verbose=0
        )
    return model, history, draws, checkpoints


def values(model):
    found = [*model.variables, *model.optimizer.variables]
    return [keras.ops.convert_to_numpy(each) for each in found]


def assert_same(one, other):
    (model, history, draws, checkpoints), (model2, history2, draws2, checkpoints2) = (
        one,
        other,
    )
    for a, b in zip(values(model), values(model2), strict=True):
        assert np.array_equal(a, b)
    assert history.history == history2.history
    assert history.epoch == history2.epoch
    assert draws.drawn == draws2.drawn
    for name in ("epoch", "step", "batches", "best_value"):
        assert getattr(checkpoints, name) == getattr(checkpoints2, name)
    for path, path2 in (
        (checkpoints.best, checkpoints2.best),
        (checkpoints.last, checkpoints2.last),
    ):
        for a, b in zip(
            values(textgen.load(path)), values(textgen.load(path2)), strict=True
        ):
            assert np.array_equal(a, b)
    log, log2 = (
        each.folder.with_suffix(".csv").read_bytes()
        for each in (checkpoints, checkpoints2)
    )
    assert log == log2
    assert len(log.splitlines()) == 1 + checkpoints.epoch


@pytest.mark.parametrize("case", [Windows, Stateful, Lines, Buckets, Arrays])
def test_resumed_training_is_the_uninterrupted_one(case, tmp_path):
    case = case()
    expected = train(case, tmp_path / "whole", every=1, keep=1000)
    for event, number in case.events:
        folder = tmp_path / f"{event}-{number}"
        with pytest.raises(StopAtError):
            train(case, folder, fail=(event, number), every=1)
        assert_same(expected, train(case, folder, resume=True))
    # A process that was killed leaves a row that no checkpoint knows.
    folder = tmp_path / "killed"
    folder.mkdir()
    shutil.copy(expected[-1].best, folder)
    shutil.copy(sorted((tmp_path / "whole").glob("step-*.keras"))[-2], folder)
    folder.with_suffix(".csv").write_text("rows\nof\nthe lost\npart\n")
    assert_same(expected, train(case, folder, resume=True))
    # The process was killed after the last state: nothing is left to train.
    assert_same(expected, train(case, folder, resume=True))


def test_training_is_resumed_several_times_and_extended(tmp_path):
    case = Windows()
    case.callbacks = lambda: []
    expected = train(case, tmp_path / "whole")
    folder = tmp_path / "parts"
    for number, (epochs, fail) in enumerate(
        [(1, None), (3, 1), (3, 4), (2, None), (3, None)]
    ):
        case.epochs = epochs
        resume = number > 0
        if fail is None:
            result = train(case, folder, resume=resume, every=1)
        else:
            with pytest.raises(StopAtError):
                train(case, folder, resume, ("on_train_batch_end", fail), every=1)
    assert_same(expected, result)


def test_training_that_early_stopping_ended_is_not_continued(tmp_path):
    case = Windows()
    case.callbacks = lambda: [
        keras.callbacks.EarlyStopping("loss", patience=1, min_delta=1e9)
    ]
    expected = train(case, tmp_path / "a")
    assert expected[-1].epoch == 2
    assert_same(expected, train(case, tmp_path / "a", resume=True))
    case.epochs = 4
    assert train(case, tmp_path / "a", resume=True)[-1].epoch == 3


def generator():
    while True:
        yield from (WindowDataset(TRAIN, 3, 2, 20)[index] for index in range(3))


def test_other_data_are_resumed_after_an_epoch(tmp_path):
    case = Windows()
    case.callbacks = lambda: []
    case.arguments = lambda: {"x": generator(), "steps_per_epoch": 3}
    expected = train(case, tmp_path / "whole", every=1)
    with pytest.raises(StopAtError):
        train(case, tmp_path / "part", fail=("on_train_batch_end", 5), every=1)
    resumed = train(case, tmp_path / "part", resume=True)
    assert_same(expected, resumed)


def test_files_are_the_newest_states_and_the_best_model(tmp_path):
    case = Windows()
    case.callbacks = lambda: []
    _, history, _, checkpoints = train(case, tmp_path / "a", every=2, keep=3)
    assert {path.name for path in (tmp_path / "a").iterdir()} == {
        "best.keras",
        *(f"step-{number:09}.keras" for number in (6, 8, 9)),
    }
    assert checkpoints.last == tmp_path / "a" / "step-000000009.keras"
    losses = history.history["val_loss"]
    data = case.arguments()["validation_data"]
    for path, loss in ((checkpoints.last, losses[-1]), (checkpoints.best, min(losses))):
        assert textgen.load(path).evaluate(data, verbose=0)[0] == pytest.approx(loss)
    assert checkpoints.best_value == min(losses)
    assert (checkpoints.epoch, checkpoints.step, checkpoints.batches) == (3, 0, 9)


def simple(folder, resume=False, epochs=2, **options):
    """Trains the smallest model; returns model and checkpoints."""
    checkpoints = Checkpoints(folder, resume=resume, **options)
    model = textgen.load(checkpoints.last) if resume else small()
    data = WindowDataset(TRAIN, 3, 2, 30)
    model.fit(data, epochs=epochs, callbacks=checkpoints, verbose=0)
    return model, checkpoints


def small():
    model = network()
    model.compile(run_eagerly=True)
    return model


def test_damaged_newest_state_is_reported_and_the_one_before_is_used(tmp_path):
    _, checkpoints = simple(tmp_path, every=1, keep=3)
    newest, *older = sorted(tmp_path.glob("step-*.keras"), reverse=True)
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(data)
    with pytest.warns(
        UserWarning, match=rf"damaged.*one before is used.*{newest.name}"
    ):
        resumed = Checkpoints(tmp_path, resume=True)
    assert resumed.last == older[0]
    del resumed, checkpoints
    for path in older:
        path.write_bytes(b"")
    with (
        pytest.warns(UserWarning, match="damaged"),
        pytest.raises(ValueError, match=r"All checkpoints .* damaged.*another folder"),
    ):
        Checkpoints(tmp_path, resume=True)
    assert newest.exists()


def test_damaged_states_are_removed_when_a_new_one_has_been_written(tmp_path):
    simple(tmp_path, every=1, keep=2)
    newest, _ = sorted(tmp_path.glob("step-*.keras"), reverse=True)
    newest.write_bytes(newest.read_bytes()[:-100])
    with pytest.warns(UserWarning, match="damaged"):
        simple(tmp_path, resume=True)
    assert model_file.read_training(newest)[0]["epoch"] == 2


def test_nothing_to_resume_and_nothing_to_overwrite(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no step-.*start without resume"):
        Checkpoints(tmp_path, resume=True)
    simple(tmp_path / "a")
    before = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    with pytest.raises(FileExistsError, match="contains a training: resume it, or"):
        Checkpoints(tmp_path / "a")
    # A new training replaces the old one with its first state, not before.
    Checkpoints(tmp_path / "a", overwrite=True)
    checkpoints = Checkpoints(tmp_path / "a", overwrite=True)
    with pytest.raises(StopAtError):
        small().fit(
            WindowDataset(TRAIN, 3, 2, 30),
            callbacks=[checkpoints, Fail("on_train_batch_end", 1)],
            verbose=0,
        )
    assert {p.name: p.read_bytes() for p in (tmp_path / "a").iterdir()} == before
    simple(tmp_path / "a", overwrite=True, epochs=1)
    names = {path.name for path in (tmp_path / "a").iterdir()}
    assert names == {"best.keras", "step-000000002.keras"}


def test_model_that_is_not_that_of_the_checkpoint_is_refused(tmp_path):
    model, checkpoints = simple(tmp_path)
    checkpoints = Checkpoints(tmp_path, resume=True)
    data = WindowDataset(TRAIN, 3, 2, 30)
    with pytest.raises(ValueError, match=r"other weights.*load\(checkpoints.last\)"):
        small().fit(data, epochs=3, callbacks=[checkpoints], verbose=0)
    with pytest.raises(ValueError, match="initial_epoch=1 must be 2"):
        model.fit(data, initial_epoch=1, epochs=3, callbacks=[checkpoints], verbose=0)
    model.fit(data, initial_epoch=2, epochs=3, callbacks=[checkpoints], verbose=0)
    # A second `fit` continues the same training.
    model.fit(data, epochs=5, callbacks=[checkpoints], verbose=0)
    assert checkpoints.epoch == 5
    model.compile()
    with pytest.raises(ValueError, match="do not compile it again"):
        model.fit(data, epochs=6, callbacks=[checkpoints], verbose=0)


def test_other_data_within_an_epoch_are_refused(tmp_path):
    with pytest.raises(StopAtError):
        small().fit(
            WindowDataset(TRAIN, 3, 2, 20),
            callbacks=[
                Checkpoints(tmp_path, every=1),
                Fail("on_train_batch_begin", 3),
            ],
            verbose=0,
        )
    checkpoints = Checkpoints(tmp_path, resume=True)
    assert (checkpoints.epoch, checkpoints.step) == (0, 2)
    model = textgen.load(checkpoints.last)
    for data in (
        WindowDataset(TRAIN, 3, 2, 10),
        WindowDataset(TRAIN, 3, 2, 20, seed=1),
        WindowDataset(TRAIN[::-1], 3, 2, 20),
        generator(),
    ):
        with pytest.raises(ValueError, match=r"within an epoch, after 2 of 3 batches"):
            model.fit(data, steps_per_epoch=3, callbacks=[checkpoints], verbose=0)


def test_loss_that_decides_which_epoch_is_best(tmp_path):
    data = WindowDataset(TRAIN, 3, 2, 30)
    checkpoints = Checkpoints(tmp_path / "new" / "folder")
    history = small().fit(data, epochs=2, callbacks=[checkpoints], verbose=0)
    assert checkpoints.best_value == min(history.history["loss"])
    with pytest.raises(ValueError, match=r"monitor=.nats. must be a value .*: loss"):
        small().fit(
            data, callbacks=[Checkpoints(tmp_path / "b", monitor="nats")], verbose=0
        )
    checkpoints = Checkpoints(tmp_path / "c")
    history = small().fit(
        data,
        epochs=4,
        validation_data=WindowDataset(VALIDATION, 3, 1, 16),
        validation_freq=2,
        callbacks=[checkpoints],
        verbose=0,
    )
    assert checkpoints.best_value == min(history.history["val_loss"])


@pytest.mark.parametrize("every", [0, -1, True, 1.5, "", "5", "0s", "1 day"])
def test_bad_interval_is_named(every, tmp_path):
    with pytest.raises(ValueError, match=r"every=.*'30s', '10min', '2h'"):
        Checkpoints(tmp_path, every=every)


def test_other_bad_arguments_are_named(tmp_path):
    with pytest.raises(ValueError, match="keep=0 must be a positive integer"):
        Checkpoints(tmp_path, keep=0)
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="file is a file: pass the name of a"):
        Checkpoints(tmp_path / "file")
    data = WindowDataset(TRAIN, 3, 2, 30)
    with pytest.raises(ValueError, match="only one Checkpoints"):
        both = [Checkpoints(tmp_path / "a"), Checkpoints(tmp_path / "b")]
        small().fit(data, callbacks=both, verbose=0)


def test_model_of_keras_is_refused(tmp_path):
    plain = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    plain.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"needs a textgen\.LanguageModel.*not a Seq"):
        plain.fit(
            np.zeros((4, 3)),
            np.zeros((4, 2)),
            callbacks=[Checkpoints(tmp_path)],
            verbose=0,
        )


def test_stripped_copy_generates_the_same():
    model = LanguageModel(
        VOCABULARY,
        units=(8, 6),
        embedding=6,
        tie_weights=True,
        layer_norm=True,
        return_sequences=True,
        stateful=True,
        batch_size=2,
        start_step=True,
    )
    model.compile()
    copy = model.stripped()
    assert (copy.stateful, copy.compiled, copy.start_step) == (False, False, True)
    assert copy.generate("abc", 30, seed=0) == model.generate("abc", 30, seed=0)
    assert copy.count_params() == model.count_params()
