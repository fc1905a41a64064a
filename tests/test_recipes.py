"""Each recipe trains for a few steps on a small cut of its corpus, and goes on."""

import csv
import hashlib
import shlex
import signal
import sys

import numpy as np
import pytest

import textgen
from textgen import LanguageModel


def curve(path, column="loss"):
    with open(path, newline="") as file:
        return [float(row[column]) for row in csv.DictReader(file)]


def newest(states):
    """The newest checkpoint in a folder."""
    return max(states.glob("step-*.keras"))


@pytest.fixture
def cut(tmp_path, corpus_text):
    """A function that puts the beginning of a corpus where the recipe looks first."""

    def write(name, characters):
        text = corpus_text(name)[:characters]
        (tmp_path / name).write_text(text, encoding="utf-8")

    return write


@pytest.fixture
def narrow(monkeypatch):
    """A function that divides the units and the embedding of the recipes' models."""

    def divide(divisor):
        def model(vocabulary, *, units, embedding=None, **kwargs):
            units = tuple(each // divisor for each in np.atleast_1d(units).tolist())
            embedding = embedding and embedding // divisor
            return LanguageModel(vocabulary, units=units, embedding=embedding, **kwargs)

        monkeypatch.setattr(textgen, "LanguageModel", model)

    return divide


# The models of the pretrained network and of the names have their real size. The others
# would spend most of the time of this file with matrix products.
@pytest.mark.parametrize(
    ("recipe", "corpus", "characters", "least", "divisor"),
    [
        ("dinosaurs", "dinosaurs", 4_000, 1, 1),
        ("shakespeare", "shakespeare", 4_000, 1, 8),
        ("sonnets-large", "shakespeare", 11_000, 1, 1),
        ("tinyshakespeare", "tinyshakespeare", 42_000, 2, 8),
        ("tang-poems", "tang-poems", 21_000, 3, 16),
        ("words", "tinyshakespeare", 30_000, 2, 8),
    ],
)
def test_recipe_trains_stops_and_resumes(
    recipe, corpus, characters, least, divisor, tmp_path, cut, run_recipe, narrow
):
    cut(corpus, characters)
    narrow(divisor)
    output = tmp_path / f"{recipe}.keras"
    best = tmp_path / f"{recipe}.checkpoints" / "best.keras"
    states = tmp_path / f"{recipe}.checkpoints"
    printed = run_recipe(recipe, "--epochs", "1")
    assert "Training on " in printed
    assert "after epoch 1" in printed
    assert len(curve(tmp_path / f"{recipe}.csv")) == 1
    steps = int(textgen.load(newest(states)).optimizer.iterations)

    printed = run_recipe(recipe, "--epochs", "2", "--resume")
    assert "after epoch 1" not in printed
    temperatures = [0.5, 0.8] if recipe == "dinosaurs" else [0.5, 0.8, 1.0]
    for temperature in temperatures:
        assert f"--- temperature {temperature}, after epoch 2" in printed
    assert int(textgen.load(newest(states)).optimizer.iterations) == 2 * steps
    losses = curve(tmp_path / f"{recipe}.csv")
    assert losses[1] < losses[0]

    if recipe == "dinosaurs":
        _, _, after = printed.partition("20 names that are not in the list:\n")
        names = after.partition("\n\n")[0].lower().splitlines()
        known = (tmp_path / corpus).read_text(encoding="utf-8").lower().splitlines()
        assert len(names) == 20
        assert not {"", *known} & set(names)

    # Kept are the weights of the best epoch, alone; those of poems go on.
    model = textgen.load(output)
    assert (model.stateful, model.compiled) == (False, False)
    for mine, kept in zip(
        model.trainable_variables, textgen.load(best).trainable_variables, strict=True
    ):
        same = (mine.numpy() == kept.numpy()).all()
        assert same == (recipe != "tang-poems")
    assert f"textgen generate {recipe}.keras" in printed
    score = float(printed.partition(" nats")[0].split()[-1])
    assert least < score < 9
    assert model.notes["held_out_nats"] == pytest.approx(score, abs=5e-5)
    assert model.notes["corpus"] == corpus
    text = (tmp_path / corpus).read_bytes()
    assert model.notes["corpus_sha256"] == hashlib.sha256(text).hexdigest()
    assert model.notes["command"] == f"python {recipe}.py --epochs 2 --resume"
    assert {path.name for path in tmp_path.iterdir()} == {
        corpus,
        f"{recipe}.keras",
        f"{recipe}.csv",
        f"{recipe}.checkpoints",
    }


def test_shakespeare_on_the_whole_text(tmp_path, cut, run_recipe, narrow):
    cut("shakespeare", 4_000)
    narrow(8)
    printed = run_recipe("shakespeare", "--all", "--epochs", "1")
    assert "1,320 windows" in printed
    assert "val_loss" not in printed
    assert textgen.load(tmp_path / "shakespeare.keras").sequence_length == 40


RECIPES = ["dinosaurs", "shakespeare", "sonnets-large", "tinyshakespeare", "tang-poems"]


@pytest.mark.parametrize("recipe", [*RECIPES, "words"])
def test_nothing_to_resume(recipe, tmp_path, run_recipe, capsys):
    with pytest.raises(SystemExit) as stop:
        run_recipe(recipe, "--resume")
    assert stop.value.code == 2
    message = f"{recipe}.checkpoints contains no step-*.keras file"
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_recipe_that_is_stopped_prints_how_to_continue(
    tmp_path, cut, run_recipe, capsys, monkeypatch, narrow
):
    class Stop(textgen.SampleText):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 5:
                signal.raise_signal(signal.SIGTERM)

    cut("dinosaurs", 4_000)
    narrow(8)
    with monkeypatch.context() as patch:
        patch.setattr(textgen, "SampleText", Stop)
        with pytest.raises(SystemExit) as stop:
            run_recipe("dinosaurs", "--epochs", "1", "--name", "my names")
    assert stop.value.code == 128 + signal.SIGTERM
    line = capsys.readouterr().err
    command = shlex.join([sys.executable, *sys.argv, "--resume"])
    assert line.endswith(f": {command}\n")
    assert line.count("\n") == 1
    assert newest(tmp_path / "my names.checkpoints").name == "step-000000006.keras"
    run_recipe("dinosaurs", *shlex.split(command)[2:])
    assert len(curve(tmp_path / "my names.csv")) == 1


def test_recipe_that_diverges_saves_no_model(
    tmp_path, cut, run_recipe, monkeypatch, narrow
):
    class Poison(textgen.SampleText):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.optimizer.iterations == 40:
                self.model.output_layer.bias.assign_add([np.nan] * 27)

    monkeypatch.setattr(textgen, "SampleText", Poison)
    cut("dinosaurs", 4_000)
    narrow(8)
    # In a process, plain_exits prints this error in one line, and the code is 1.
    with pytest.raises(textgen.TrainingDivergedError, match="smaller learning rate"):
        run_recipe("dinosaurs", "--epochs", "3")
    assert not (tmp_path / "dinosaurs.keras").exists()
    for path in tmp_path.glob("dinosaurs.checkpoints/*.keras"):
        assert all(np.isfinite(each).all() for each in textgen.load(path).get_weights())
