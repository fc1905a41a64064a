"""Labels from the file of a corpus to the text: `--label-field` and `--label`."""

import pathlib
import random

import pytest
from command_line import SHORT, run

import textgen

FIELDS = ["--field", "text", "--label-field", "author", "--label-field", "genre"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a corpus and a model of its lines."""
    folder = tmp_path_factory.mktemp("labels")
    rng = random.Random(0)
    authors = ["Poe", "John Keats", ""]
    rows = [
        f"{''.join(rng.choices('abc', k=4))},{rng.choice(authors)},ode"
        for _ in range(60)
    ]
    text = "\n".join(["text,author,genre", *rows]) + "\n"
    (folder / "a.csv").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        options = [*FIELDS, *SHORT, "--validation", 0.1, "-o", "m.keras"]
        assert run("train", "a.csv", *options) == 0
    return folder


@pytest.fixture(autouse=True)
def _in_folder(folder, monkeypatch):
    monkeypatch.chdir(folder)


def test_model_has_the_labels():
    model = textgen.load("m.keras")
    assert model.labels == ("John Keats", "Poe", "ode")
    assert model.start_step
    assert model.notes["label_field"] == ["author", "genre"]


def test_generate_and_complete(capsys):
    model = textgen.load("m.keras")
    options = ["--count", 3, "--seed", 1, "--label", "ode", "John Keats"]
    assert run("generate", "m.keras", *options) == 0
    expected = model.generate(count=3, seed=1, label=["John Keats", "ode"])
    assert capsys.readouterr().out.split("\n") == [*expected, ""]
    assert run("generate", "m.keras", "--label", "Pope") == 2
    error = capsys.readouterr().err
    assert "no label 'Pope'. It has 'John Keats', 'Poe', 'ode'." in error
    assert "Traceback" not in error


def test_many_texts_resume_with_the_same_label(capsys):
    options = ["--count", 70, "--seed", 1, "--output", "many.txt"]
    assert run("generate", "m.keras", *options, "--label", "Poe") == 0
    texts = textgen.load("m.keras").generate_many(count=70, seed=1, label="Poe")
    with open("many.txt") as file:
        assert file.read().split("\n") == [*texts, ""]


def test_held_out_score(capsys):
    assert run("evaluate", "m.keras", "a.csv", "--held-out") == 0
    found = capsys.readouterr().out
    model = textgen.load("m.keras")
    corpus = textgen.prepare("a.csv", field="text", label_field=["author", "genre"])
    rows = pathlib.Path("a.csv").read_text().split("\n")[1:-1]
    lines = [row.split(",") for row in rows]
    held_out = textgen.split_lines("\n".join(map(str, range(1, 61))), 0.1, 0)[1]
    nats = 0.0
    for number in held_out:
        text, *labels = lines[int(number) - 1]
        score = model.score(text + "\n", label=[each for each in labels if each])
        nats += score.nats * score.count
    assert f"nats:       {nats / 30:.4f} per token" in found
    assert corpus.labels.names == model.labels


def test_info_names_them(capsys):
    assert run("info", "m.keras") == 0
    assert "labels:         John Keats, Poe, ode\n" in capsys.readouterr().out


def test_prepared_file(capsys):
    assert run("prepare", "a.csv", *FIELDS, "-o", "a.ids") == 0
    assert run("train", "a.ids", *SHORT, "-o", "p.keras") == 0
    old, new = textgen.load("m.keras"), textgen.load("p.keras")
    assert new.labels == old.labels
    assert new.generate(label="Poe", seed=0) == old.generate(label="Poe", seed=0)


def test_samples_of_a_training_have_a_label(capsys):
    assert run("train", "a.csv", *FIELDS, *SHORT, "-o", "s.keras") == 0
    output = capsys.readouterr().out
    assert "after epoch 1, label John Keats" in output
    assert "textgen generate s.keras --count 10 --label 'John Keats'" in output


def test_more_labels_than_the_model(capsys):
    with open("b.csv", "w") as file:
        file.write("text,author\n" + "ab,Pope\nba,Poe\n" * 20)
    options = ["--from", "m.keras", *FIELDS[:4], "--epochs", 1, "-o", "more.keras"]
    assert run("train", "b.csv", *options) == 2
    assert "labels that the model does not have: 'Pope'" in capsys.readouterr().err
    assert run("train", "b.csv", *options, "--extend-vocabulary") == 0
    assert textgen.load("more.keras").labels == ("John Keats", "Poe", "ode", "Pope")


@pytest.mark.parametrize("kind", ["--windows", "--many-to-many"])
def test_labels_belong_to_lines(kind, capsys):
    assert run("train", "a.csv", *FIELDS, kind, *SHORT, "-o", "w.keras") == 2
    assert "--label-field: labels belong to lines" in capsys.readouterr().err
    run("prepare", "a.csv", *FIELDS, "-o", "w.ids")
    assert run("train", "w.ids", kind, *SHORT, "-o", "w.keras") == 2
    assert "labels" in capsys.readouterr().err
