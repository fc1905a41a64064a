import zipfile

import keras
import numpy as np
import pytest

import textgen
from textgen import Checkpoints, LanguageModel, Vocabulary, WindowDataset

VOCABULARY = Vocabulary.from_text("abcdefgh")
IDS = np.random.default_rng(0).integers(0, 8, 80).astype(np.int8)
TRAIN, VALIDATION = IDS[:60], IDS[60:]


def train(folder, epochs, resume=False, **kwargs):
    """Trains until `epochs` epochs are done; returns model, history, checkpoints."""
    checkpoints = Checkpoints(folder, resume=resume, **kwargs)
    if resume:
        model = textgen.load(checkpoints.last)
    else:
        keras.utils.set_random_seed(0)
        model = LanguageModel(VOCABULARY, units=8, sequence_length=5, dropout=0.3)
        model.compile(keras.optimizers.Adam(0.05))
    history = model.fit(
        WindowDataset(TRAIN, 5, 1, 16),
        initial_epoch=checkpoints.epoch,
        epochs=epochs,
        validation_data=WindowDataset(VALIDATION, 5, 1, 16),
        callbacks=[checkpoints],
        verbose=0,
    )
    return model, history.history, checkpoints


def variables(model):
    found = [*model.variables, *model.optimizer.variables]
    return [keras.ops.convert_to_numpy(each) for each in found]


@pytest.mark.parametrize("stops", [(1,), (2, 3)])
def test_resumed_training_is_the_uninterrupted_one(stops, tmp_path):
    expected, history, _ = train(tmp_path / "whole", 5)
    losses = []
    for number, epochs in enumerate((*stops, 5)):
        model, part, _ = train(tmp_path / "parts", epochs, resume=number > 0)
        losses += part["val_loss"]
    assert losses == history["val_loss"]
    for one, other in zip(variables(expected), variables(model), strict=True):
        np.testing.assert_array_equal(one, other)


def test_files_are_the_last_and_the_best_epoch(tmp_path):
    _, history, checkpoints = train(tmp_path, 6)
    losses = history["val_loss"]
    assert losses.index(min(losses)) < 5, "the best epoch must not be the last one"
    last, best = map(textgen.load, (checkpoints.last, checkpoints.best))
    data = WindowDataset(VALIDATION, 5, 1, 16)
    for state, loss in ((last, losses[-1]), (best, min(losses))):
        assert state.evaluate(data, verbose=0) == pytest.approx(loss, rel=1e-6)
    assert checkpoints.epoch == 6
    assert checkpoints.best_value == min(losses)
    resumed = Checkpoints(tmp_path, resume=True)
    assert (resumed.epoch, resumed.best_value) == (6, min(losses))
    assert {path.name for path in tmp_path.iterdir()} == {"last.keras", "best.keras"}


def test_best_epoch_is_remembered_when_resumed(tmp_path):
    model = LanguageModel(VOCABULARY, units=2)
    model.compile()

    def end_epochs(checkpoints, first, losses):
        checkpoints.set_model(model)
        for epoch, loss in enumerate(losses, first):
            checkpoints.on_epoch_end(epoch, {"loss": 0.0, "val_loss": loss})

    end_epochs(Checkpoints(tmp_path), 0, [2.0, 1.0, 1.5])
    best = (tmp_path / "best.keras").read_bytes()
    resumed = Checkpoints(tmp_path, resume=True)
    assert (resumed.epoch, resumed.best_value) == (3, 1.0)
    end_epochs(resumed, 3, [1.25])
    assert (tmp_path / "best.keras").read_bytes() == best
    end_epochs(resumed, 4, [0.75])
    assert (tmp_path / "best.keras").read_bytes() != best
    assert Checkpoints(tmp_path, resume=True).best_value == 0.75


def test_training_without_validation_is_judged_by_its_loss(tmp_path):
    keras.utils.set_random_seed(0)
    model = LanguageModel(VOCABULARY, units=8, sequence_length=5)
    model.compile()
    checkpoints = Checkpoints(tmp_path / "new" / "folder")
    data = WindowDataset(TRAIN, 5)
    losses = model.fit(data, epochs=2, callbacks=[checkpoints], verbose=0).history
    assert checkpoints.best_value == min(losses["loss"])
    with pytest.raises(ValueError, match=r"monitor=.nats. must be a value .*: loss"):
        model.fit(data, callbacks=[Checkpoints(tmp_path, monitor="nats")], verbose=0)


def test_state_of_a_failed_epoch_is_not_kept(tmp_path):
    _, _, checkpoints = train(tmp_path, 2)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for loss in (float("nan"), float("inf")):
        checkpoints.on_epoch_end(2, {"val_loss": loss})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_interrupted_write_leaves_the_state_before(tmp_path, monkeypatch):
    _, _, checkpoints = train(tmp_path, 2)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(zipfile.ZipFile, "writestr", interrupt)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.on_epoch_end(2, {"val_loss": 0.0})
    monkeypatch.undo()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert Checkpoints(tmp_path, resume=True).epoch == 2


def test_nothing_to_resume_and_nothing_to_overwrite(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"last\.keras does not exist.*without"):
        Checkpoints(tmp_path, resume=True)
    train(tmp_path, 1)
    with pytest.raises(FileExistsError, match="contains a training: resume it, or"):
        Checkpoints(tmp_path)
    Checkpoints(tmp_path, overwrite=True)
    assert not tmp_path.exists()


@pytest.mark.parametrize("kind", ["text", "model"])
def test_file_of_another_kind_is_refused(kind, tmp_path):
    if kind == "text":
        (tmp_path / "last.keras").write_text("no model")
    else:
        LanguageModel(VOCABULARY, units=2).save(tmp_path / "last.keras")
    with pytest.raises(
        ValueError, match=r"last\.keras is damaged, or .*: start without resume"
    ):
        Checkpoints(tmp_path, resume=True)


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
