"""`textgen export`."""

import pytest
from command_line import run
from exported import Page

import textgen


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    vocabulary = textgen.Vocabulary.from_text("abc\n")
    model = textgen.LanguageModel(vocabulary, units=3, return_sequences=True)
    model.notes = {"corpus": "letters.txt"}
    path = tmp_path_factory.mktemp("models") / "my poet.keras"
    model.save(path)
    return path


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def page(name="poet.html"):
    with open(name, encoding="ascii") as file:
        return Page(file.read())


def test_export(model_file, capsys):
    assert run("export", model_file, "poet.html") == 0
    assert capsys.readouterr().out == (
        "Saved poet.html (0.0 MB). Open it in a browser.\n"
    )
    assert page().text("title") == page().text("h1") == "my poet"
    assert "by reading letters.txt." in page().text("p")
    assert (page().model()["prompt"], page().model()["half"]) == ("", False)


def test_options(model_file):
    options = ["--half", "--title", "T", "--about", "A", "--prompt", r"a\nb"]
    assert run("export", model_file, "poet.HTM", *options) == 0
    found = page("poet.HTM")
    assert (found.text("title"), found.text("p")) == ("T", "A")
    assert (found.model()["prompt"], found.model()["half"]) == ("a\nb", True)


def test_pretrained_model():
    assert run("export", "shakespeare", "poet.html") == 0
    assert page().text("title") == "shakespeare"
    assert "by reading Shakespeare's Sonnets." in page().text("p")
    assert page().model()["prompt"] == "Forsooth this maketh no sense "
    assert page().model()["window"] == 40


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["poet.txt"], "poet.txt must end in .html."),
        (["old.html"], "old.html exists: use --overwrite to replace it"),
        (["none/poet.html"], "the folder none does not exist"),
        (["sub.html"], "sub.html is a folder"),
        (["poet.html", "--title"], "expected one argument"),
    ],
)
def test_errors(arguments, message, model_file, folder, capsys):
    (folder / "old.html").write_text("old")
    (folder / "sub.html").mkdir()
    assert run("export", model_file, *arguments) == 2
    assert message in capsys.readouterr().err
    assert (folder / "old.html").read_text() == "old"


def test_unknown_model(capsys):
    assert run("export", "none.keras", "poet.html") == 2
    assert "'none.keras' is neither an existing" in capsys.readouterr().err


def test_overwrite(model_file, folder):
    (folder / "old.html").write_text("old")
    assert run("export", model_file, "old.html", "--overwrite") == 0
    assert page("old.html").text("title") == "my poet"
