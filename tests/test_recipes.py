import csv
import os
import pathlib
import subprocess
import sys

import pytest

import textgen

RECIPES = pathlib.Path(__file__).parent.parent / "recipes"


def run_recipe(name, folder, *arguments):
    """Runs a recipe as a user does, in an empty folder; returns what it printed."""
    done = subprocess.run(
        [sys.executable, RECIPES / f"{name}.py", *arguments],
        cwd=folder,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def curve(path):
    with open(path, newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def test_dinosaurs(tmp_path):
    printed = run_recipe("dinosaurs", tmp_path, "--epochs", "2")
    losses = curve(tmp_path / "dinosaurs.csv")
    assert len(losses) == 2
    assert losses[1] < losses[0]
    for epoch in (1, 2):
        assert f"after epoch {epoch}" in printed

    _, _, after = printed.partition("20 names that are not in the list:\n")
    names, _, end = after.partition("\n\n")
    known = set(textgen.load_corpus("dinosaurs").splitlines())
    assert len(names.splitlines()) == 20
    assert known.isdisjoint(names.splitlines())
    assert "-m textgen generate dinosaurs.keras" in end

    model = textgen.load(tmp_path / "dinosaurs.keras")
    assert model.cell == "simple_rnn"
    assert "\n" not in model.generate("ty", 40, stop="\n", seed=0)
    assert {path.name for path in tmp_path.iterdir()} == {
        "dinosaurs.keras",
        "dinosaurs.csv",
    }


@pytest.mark.slow
def test_shakespeare(tmp_path, corpus_text):
    corpus_text("shakespeare")
    printed = run_recipe("shakespeare", tmp_path, "--epochs", "1")
    assert "38 symbols" in printed
    assert "\nForsooth this maketh no sense " in printed
    resume = ["--epochs", "1", "--all", "--resume", "shakespeare.keras"]
    printed = run_recipe("shakespeare", tmp_path, *resume)
    assert "31,412 windows" in printed
    assert "Epoch 2/2" in printed
    losses = curve(tmp_path / "shakespeare.csv")
    assert len(losses) == 2
    assert losses[1] < losses[0] < 3.3
    batches = 221 + 246
    model = textgen.load(tmp_path / "shakespeare.keras")
    assert int(model.optimizer.iterations) == batches
