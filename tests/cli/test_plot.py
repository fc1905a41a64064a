import json
import os
import pathlib
import sys

import pytest
from command_line import run

pytestmark = pytest.mark.usefixtures("text_file")

CURVES = "epoch,loss,val_loss\n0,3,3.5\n1,2,2.5\n"
SAMPLE = json.dumps({"epoch": 1, "temperature": 0.5, "text": "a text"}) + "\n"


@pytest.fixture(autouse=True)
def logs(text_file):
    pathlib.Path("run.csv").write_text(CURVES)
    pathlib.Path("$x$_詩.csv").write_text(CURVES)
    pathlib.Path("s.jsonl").write_text(SAMPLE)


@pytest.mark.parametrize(
    ("words", "output", "start"),
    [
        ("run.csv", "curves.png", b"\x89PNG"),
        ("run.csv $x$_詩.csv -o c.svg", "c.svg", b"<?xml"),
        ("run.csv -o c.PDF", "c.PDF", b"%PDF"),
        ("s.jsonl", "samples.html", b"<!DOCTYPE html>"),
        ("s.jsonl -o page.html", "page.html", b"<!DOCTYPE html>"),
    ],
)
def test_pictures_and_pages(words, output, start, capfd):
    assert run("plot", *words.split()) == 0
    assert capfd.readouterr() == (f"Saved {output}\n", "")
    content = pathlib.Path(output).read_bytes()
    assert content.startswith(start)
    assert run("plot", *words.split()) == 2
    assert f"--output {output} exists: use --overwrite" in capfd.readouterr().err
    assert run("plot", *words.split(), "--overwrite") == 0
    assert (
        pathlib.Path(output).read_bytes() == content
    )  # the same curves, the same file


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("missing.csv", "No such file or directory: 'missing.csv'"),
        ("text.txt", "text.txt is no log of a training"),
        (".", ". is a folder"),
        (
            "run.csv -o c.jpg",
            "--output c.jpg: the name of the curves of a .csv file must",
        ),
        ("s.jsonl -o c.png", "--output c.png: the name of a page must end in .html"),
        ("s.jsonl run.csv", "s.jsonl is a file of samples: a page shows one of them"),
        ("run.csv -o no/c.png", "the folder no does not exist"),
        ("run.csv --x seconds", "run.csv has no column 'seconds'"),
        ("run.csv --x hours", "argument --x: invalid choice: 'hours'"),
    ],
)
def test_errors_are_one_line(words, message, capsys):
    before = sorted(os.listdir())
    assert run("plot", *words.split()) == 2
    out, error = capsys.readouterr()
    assert message in error
    assert error.count("\n") == 1
    assert out == ""
    assert sorted(os.listdir()) == before


def test_without_matplotlib(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert run("plot", "run.csv") == 2
    assert capsys.readouterr().err == (
        "textgen plot: error: Plots need matplotlib: pip install "
        "'keras-textgen[plot]'\n"
    )
