"""`textgen cells` and `textgen surprise`."""

import io
import json
import pathlib
import re
import sys

import keras
import pytest
from command_line import TEXT, run
from PIL import Image

import textgen

pytestmark = pytest.mark.usefixtures("text_file")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folder with models that were not trained: one of texts, one of lines."""
    folder = tmp_path_factory.mktemp("models")
    keras.utils.set_random_seed(1)
    for name, options in {"state": {}, "lines": {"start_step": True}}.items():
        model = textgen.LanguageModel(
            textgen.Vocabulary.from_text(TEXT),
            units=(3, 2),
            return_sequences=True,
            **options,
        )
        model.save(folder / f"{name}.keras")
    return folder


def data_of(path):
    text = pathlib.Path(path).read_text(encoding="utf-8")
    return json.loads(re.search(r'id="data">(.*?)</script>', text)[1])


def printed(capsys, *arguments):
    """Runs a command that has no errors; returns what it prints."""
    capsys.readouterr()
    assert run(*arguments) == 0
    output, errors = capsys.readouterr()
    assert errors == ""
    return output


def refused(capsys, *arguments):
    """Runs a command; returns its one error message."""
    capsys.readouterr()
    assert run(*arguments) == 2
    [line] = capsys.readouterr().err.splitlines()
    return line


def test_cells(models, capsys):
    output = printed(capsys, "cells", models / "state.keras", "text.txt")
    first, *table = output.splitlines()
    assert first == "880 characters of text.txt; 5 cells: 3 of lstm_0, 2 of lstm_1"
    model = textgen.load(models / "state.keras")
    matches = textgen.rank_cells(textgen.cell_activations(model, TEXT))
    keras.utils.set_random_seed(0)
    other = textgen.LanguageModel.from_config(model.get_config())
    best = textgen.rank_cells(textgen.cell_activations(other, TEXT))
    untrained = {each.feature: abs(each.r) for each in best}
    rows = [re.split("  +", line) for line in table[2 : 2 + len(matches)]]
    assert rows == [
        [
            each.feature,
            f"{each.layer} {each.number}",
            f"{each.r:+.3f}",
            f"{each.halves[0]:+.3f} {each.halves[1]:+.3f}",
            f"{untrained[each.feature]:.3f}",
        ]
        for each in matches
    ]
    assert "correlation over 880 tokens" in output


def test_page_of_cells(models, capsys):
    arguments = ["cells", models / "state.keras", "text.txt", "-o", "c.html"]
    printed(capsys, *arguments, "--start", 4, "--max-characters", 100)
    data = data_of("c.html")
    assert "".join(data["tokens"]) == TEXT[4:104]
    assert data["title"] == "What the cells of state.keras have learned"
    assert data["about"] == "100 characters of text.txt, from character 5 on."
    assert "c.html exists: use --overwrite" in refused(capsys, *arguments)
    printed(capsys, *arguments, "--overwrite")
    assert "".join(data_of("c.html")["tokens"]) == TEXT


def test_only_a_part_of_the_text(models, capsys, monkeypatch):
    output = printed(
        capsys, "cells", models / "state.keras", "text.txt", "--max-characters", 50
    )
    assert output.startswith("50 characters of text.txt (--max-characters N reads more")
    stdin = io.TextIOWrapper(io.BytesIO(b"the lazy dog\r\n" * 3))
    monkeypatch.setattr(sys, "stdin", stdin)
    output = printed(capsys, "cells", models / "state.keras", "-")
    assert output.startswith("39 characters of standard input;")
    message = refused(
        capsys, "cells", models / "state.keras", "text.txt", "--start", 880
    )
    assert message.endswith("--start 880: the text has only 880 characters.")


def test_large_page_shows_fewer_tokens(models, capsys, monkeypatch):
    monkeypatch.setattr("textgen.analysis.cells_page.MAX_VALUES", 50)
    output = printed(
        capsys, "cells", models / "state.keras", "text.txt", "-o", "c.html"
    )
    assert "The page shows the first 10 tokens" in output
    assert data_of("c.html")["about"].endswith("shows the first 10 of them.")


def test_models_of_lines_read_lines(models, capsys):
    text = "the fox\n\nthe lazy dog\n"
    pathlib.Path("few.txt").write_text(text)
    model = textgen.load(models / "lines.keras")
    lines = ["the fox\n", "the lazy dog\n"]
    expected = model.score(lines).bits
    output = printed(
        capsys, "surprise", models / "lines.keras", "few.txt", "-o", "s.html"
    )
    assert output.startswith("22 characters of few.txt, each line as a separate text")
    assert f"{expected:.4f} bits per character for lines.keras" in output
    assert "".join(data_of("s.html")["tokens"]) == "".join(lines)
    # Not in the middle of a line: it has no newline.
    arguments = ["few.txt", "--max-characters", 12, "-o", "s.html", "--overwrite"]
    printed(capsys, "surprise", models / "lines.keras", *arguments)
    assert "".join(data_of("s.html")["tokens"]) == "the fox\nthe"
    printed(capsys, "surprise", models / "state.keras", *arguments, "--lines")
    assert "".join(data_of("s.html")["tokens"]) == "the fox\nthe"
    printed(capsys, "cells", models / "state.keras", *arguments)
    assert "".join(data_of("s.html")["tokens"]) == text[:12]
    pathlib.Path("blank.txt").write_text("\n\n")
    message = refused(capsys, "cells", models / "lines.keras", "blank.txt")
    assert "only blank lines" in message


def test_surprise_is_that_of_evaluate(models, capsys):
    evaluated = printed(capsys, "evaluate", models / "state.keras", "text.txt")
    bits = re.search(r"bits: +(\S+) per token", evaluated)[1]
    output = printed(capsys, "surprise", models / "state.keras", "text.txt")
    assert f"\n{bits} bits per character for state.keras\n" in output
    model = textgen.load(models / "state.keras")
    found = textgen.surprisal(model, TEXT).bits[1:]
    shown = re.findall(r"^ +(\d+\.\d\d)  ", output, re.MULTILINE)
    assert shown == [f"{each:.2f}" for each in sorted(found)[::-1][:10]]
    at = 1 + int(found.argmax())
    around = f"{TEXT[at - 24 : at]}[{TEXT[at]}]{TEXT[at + 1 : at + 25]}"
    assert around.replace("\n", "↵") in output


def test_difference(models, capsys):
    words = textgen.LanguageModel(
        textgen.Vocabulary.from_text(TEXT, level="word"),
        units=2,
        return_sequences=True,
        start_step=True,
    )
    words.save("words.keras")
    # The words at both ends are complete: from "quick" to "fox ".
    arguments = ["text.txt", "--start", 2, "--max-characters", 195, "-o", "s.html"]
    output = printed(
        *(capsys, "surprise", models / "lines.keras", *arguments),
        *("--with", "words.keras"),
    )
    part = TEXT[3:196]
    assert part[:6] + part[-4:] == " quickfox "
    lines = [f"{line}\n" for line in part.split("\n")]
    lines[-1] = lines[-1][:-1]
    means = [
        each.score(lines) for each in (textgen.load(models / "lines.keras"), words)
    ]
    first, second = (each.nats_per_character / 0.6931471805599453 for each in means)
    assert f"{first:.4f} bits per character for lines.keras" in output
    assert f"{second:.4f} bits per character for words.keras" in output
    assert (
        f"{second - first:+.4f} bits per character: words.keras minus lines.keras"
    ) in output
    data = data_of("s.html")
    assert [each["name"] for each in data["channels"]] == [
        "words.keras minus lines.keras",
        "surprisal for lines.keras",
        "surprisal for words.keras",
    ]
    assert "".join(data["tokens"]) == part


def test_picture_of_surprise(models, capsys, monkeypatch):
    arguments = ["surprise", models / "state.keras", "text.txt", "-o", "s.png"]
    monkeypatch.setattr("textgen.analysis.picture.MAX_LINES", 5)
    output = printed(capsys, *arguments)
    assert "has 5 lines, the first 220 characters; s.html would have all 880" in output
    with Image.open("s.png") as image:
        assert image.format == "PNG"
    monkeypatch.setattr("textgen.analysis.picture._Fonts._ordered", lambda self: [])
    pathlib.Path("深.txt").write_text("the dog\n")
    capsys.readouterr()
    arguments = ["surprise", models / "state.keras", "深.txt", "-o", "t.png"]
    assert run(*arguments) == 0
    assert capsys.readouterr().err == (
        "textgen surprise: warning: no installed font has these 1 characters, which "
        "are not drawn: 深\n"
    )


def test_matplotlib_is_missing(models, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    arguments = ["surprise", models / "state.keras", "text.txt", "-o"]
    message = refused(capsys, *arguments, "s.png")
    assert message.endswith("pip install 'keras-textgen[plot]'.")
    printed(capsys, *arguments, "s.html")


def test_texts_are_read_as_evaluate_reads_them(models, capsys):
    pathlib.Path("big.txt").write_bytes("THE FÔX\r\n".encode("latin-1") * 3)
    options = ["--encoding", "latin-1", "--lowercase", "--unknown", "skip"]
    output = printed(capsys, "surprise", models / "state.keras", "big.txt", *options)
    evaluated = printed(capsys, "evaluate", models / "state.keras", "big.txt", *options)
    bits = re.search(r"bits: +(\S+) per token", evaluated)[1]
    assert f"\n{bits} bits per character" in output
    message = refused(
        capsys, "cells", models / "state.keras", "big.txt", "--encoding", "latin-1"
    )
    assert "'T' at position 0" in message
    assert "Use --unknown skip" in message
    assert run("prepare", "text.txt", "-o", "text.ids") == 0
    prepared = printed(capsys, "cells", models / "state.keras", "text.ids")
    assert (
        prepared.splitlines()[2:]
        == (
            printed(capsys, "cells", models / "state.keras", "text.txt").splitlines()[
                2:
            ]
        )
    )


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        ("cells", ["-o", "c.png"], "--output c.png must end in .html."),
        ("surprise", ["-o", "c"], "--output c must end in .html or .png."),
        ("cells", ["-o", "no/c.html"], "the folder no does not exist"),
        ("cells", ["--max-characters", "0"], "--max-characters 0 must be at least 1."),
        ("surprise", ["--start", "-1"], "--start -1 must be at least 0."),
        ("cells", ["--label-field", "x"], "--label-field: this command reads a text"),
        ("surprise", ["--with", "none.keras"], "none.keras"),
    ],
)
def test_errors(models, capsys, command, arguments, message):
    found = refused(capsys, command, models / "state.keras", "text.txt", *arguments)
    assert message in found
    assert sorted(path.name for path in pathlib.Path().iterdir()) == ["text.txt"]


def test_text_that_does_not_exist(models, capsys):
    assert "none.txt" in refused(capsys, "cells", models / "state.keras", "none.txt")
