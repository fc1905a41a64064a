"""Each recipe trains for a few steps on a small cut of its corpus, and goes on."""

import csv

import pytest

import textgen


def curve(path, column="loss"):
    with open(path, newline="") as file:
        return [float(row[column]) for row in csv.DictReader(file)]


@pytest.fixture
def cut(tmp_path, corpus_text):
    """A function that puts the beginning of a corpus where the recipe looks first."""

    def write(name, characters):
        text = corpus_text(name)[:characters]
        (tmp_path / name).write_text(text, encoding="utf-8")

    return write


@pytest.mark.parametrize(
    ("recipe", "corpus", "characters", "least"),
    [
        ("dinosaurs", "dinosaurs", 4_000, 1),
        ("shakespeare", "shakespeare", 4_000, 1),
        ("sonnets-large", "shakespeare", 11_000, 1),
        ("tinyshakespeare", "tinyshakespeare", 42_000, 2),
        ("tang-poems", "tang-poems", 24_000, 3),
        ("words", "tinyshakespeare", 30_000, 2),
    ],
)
def test_recipe_trains_stops_and_resumes(
    recipe, corpus, characters, least, tmp_path, cut, run_recipe
):
    cut(corpus, characters)
    output = tmp_path / f"{recipe}.keras"
    best = tmp_path / f"{recipe}.checkpoints" / "best.keras"
    last = tmp_path / f"{recipe}.checkpoints" / "last.keras"
    printed = run_recipe(recipe, "--epochs", "1")
    assert "Training on " in printed
    assert "after epoch 1" in printed
    assert len(curve(tmp_path / f"{recipe}.csv")) == 1
    steps = int(textgen.load(last).optimizer.iterations)

    printed = run_recipe(recipe, "--epochs", "2", "--resume")
    assert "after epoch 1" not in printed
    temperatures = [0.5, 0.8] if recipe == "dinosaurs" else [0.5, 0.8, 1.0]
    for temperature in temperatures:
        assert f"--- temperature {temperature}, after epoch 2" in printed
    assert int(textgen.load(last).optimizer.iterations) == 2 * steps
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
    assert {path.name for path in tmp_path.iterdir()} == {
        corpus,
        f"{recipe}.keras",
        f"{recipe}.csv",
        f"{recipe}.checkpoints",
    }


def test_shakespeare_on_the_whole_text(tmp_path, cut, run_recipe):
    cut("shakespeare", 4_000)
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
    assert "last.keras does not exist" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
