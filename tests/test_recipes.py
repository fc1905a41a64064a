import csv

import pytest

import textgen


def curve(path):
    with open(path, newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def test_dinosaurs(tmp_path, run_recipe):
    printed = run_recipe("dinosaurs", "--epochs", "2")
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
def test_shakespeare(tmp_path, corpus_text, run_recipe):
    corpus_text("shakespeare")
    printed = run_recipe("shakespeare", "--epochs", "1")
    assert "38 symbols" in printed
    assert "\nForsooth this maketh no sense " in printed
    resume = ["--epochs", "1", "--all", "--resume", "shakespeare.keras"]
    printed = run_recipe("shakespeare", *resume)
    assert "31,412 windows" in printed
    assert "Epoch 2/2" in printed
    losses = curve(tmp_path / "shakespeare.csv")
    assert len(losses) == 2
    assert losses[1] < losses[0] < 3.3
    batches = 221 + 246
    model = textgen.load(tmp_path / "shakespeare.keras")
    assert int(model.optimizer.iterations) == batches


def test_tinyshakespeare(tmp_path, corpus_text, run_recipe):
    # A file of that name is found before the corpus.
    cut = corpus_text("tinyshakespeare")[:60_000]
    (tmp_path / "tinyshakespeare").write_text(cut)
    printed = run_recipe("tinyshakespeare", "--epochs", "2")
    assert "Training on CPU" in printed
    assert "\nROMEO:" in printed
    losses = curve(tmp_path / "tinyshakespeare.csv")
    assert losses[1] < losses[0]
    score = float(printed.partition("Validation: ")[2].split()[0])
    assert 2 < score < 4
    assert {path.name for path in tmp_path.iterdir()} == {
        "tinyshakespeare",
        "tinyshakespeare.keras",
        "tinyshakespeare.csv",
    }
    model = textgen.load(tmp_path / "tinyshakespeare.keras")
    assert (model.stateful, model.compiled) == (False, False)
