"""The notebooks run in a new kernel, on small data: `make notebooks` starts this file.

The files keep their results, for readers: they are compared with what a notebook may
contain, but not with the results of the run.
"""

import base64
import json
import os
import re
from pathlib import Path

import nbclient
import nbformat
import pytest

import textgen

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
SECONDS = 300  # for one notebook
LINE = "shall i compare the quick brown fox with a lazy dog, {} and thou?\n"


def read(name):
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def texts(notebook):
    """What the cells print, or show as text."""
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if output.output_type == "stream":
                yield output.text
            elif output.output_type in ("execute_result", "display_data"):
                yield output.data.get("text/plain", "")


def pictures(notebook):
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if image := output.get("data", {}).get("image/png"):
                yield base64.b64decode(image)


@pytest.fixture
def executed(tmp_path, monkeypatch):
    """Runs a notebook in an empty folder, without the settings of this user."""
    for variable in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("NOTEBOOK_EPOCHS", "4")
    monkeypatch.setenv("NOTEBOOK_CHARACTERS", "6000")
    package = str(Path(textgen.__file__).parents[1])
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([package, os.environ.get("PYTHONPATH", "")])
    )
    folder = tmp_path / "run"
    folder.mkdir()
    if not os.environ.get("TEXTGEN_DATA"):  # no download: a file of this name is read
        sonnets = "".join(LINE.format(number % 7) for number in range(200))
        (folder / "shakespeare").write_text(sonnets, encoding="utf-8")

    def run(name):
        notebook = read(name)
        nbclient.NotebookClient(
            notebook,
            timeout=SECONDS,
            kernel_name="python3",
            resources={"metadata": {"path": str(folder)}},
        ).execute()
        return "\n".join(texts(notebook)), list(pictures(notebook)), folder

    return run


def test_there_are_three():
    assert NOTEBOOKS == ["names", "poet", "sonnets"]


def test_names(executed):
    printed, images, folder = executed("names")
    assert len(images) == 2
    [new] = re.findall(r"^((?:[A-Z]\w*, ){11}[A-Z]\w*)$", printed, re.MULTILINE)
    known = textgen.load_corpus("dinosaurs", lowercase=True).split()
    assert not set(new.lower().split(", ")) & set(known)
    assert printed.count("T = ") == 3
    # After four epochs, "-saur" is followed by "u", with the largest probability.
    assert "'tyrannosaur' [('u'" in printed
    assert textgen.load(folder / "names.keras").generate("bron", 0) == "bron"


def test_sonnets(executed):
    printed, images, _ = executed("sonnets")
    assert len(images) == 2
    assert "6,000 characters" in printed
    assert "1,987 windows" in printed  # (6,000 - 40) / 3, rounded up
    assert printed.count("forsooth this maketh no sense ") == 2
    assert printed.count("--- T = ") == 3
    assert "--- sonnets-large" in printed


def test_poet(executed):
    printed, images, folder = executed("poet")
    assert len(images) == 1
    assert "Weather of a coast that does not exist" in printed
    page = (folder / "poet.html").read_text(encoding="utf-8")
    assert page.lstrip().lower().startswith("<!doctype html>")
    assert not re.search(r"(?:src|href)=[\"']?https?:", page)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_file_is_valid_and_small(name):
    path = FOLDER / f"{name}.ipynb"
    nbformat.validate(read(name))
    raw = json.loads(path.read_text(encoding="utf-8"))
    assert (raw["nbformat"], raw["nbformat_minor"]) == (4, 5)
    ids = [cell["id"] for cell in raw["cells"]]
    assert len(set(ids)) == len(ids)
    assert path.stat().st_size < 250_000


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_results_are_those_of_a_complete_run(name):
    """In order, without errors, and without names of folders of a machine."""
    notebook = read(name)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == [*range(1, len(code) + 1)]
    outputs = [output for cell in code for output in cell.outputs]
    assert [each for each in outputs if each.output_type == "error"] == []
    assert [each.name for each in outputs if each.get("name") == "stderr"] == []
    everything = (FOLDER / f"{name}.ipynb").read_text(encoding="utf-8")
    home = re.escape(str(Path.home()))
    assert not re.search(rf"{home}/|/tmp/|/home/|/Users/|[A-Z]:\\\\", everything)
    assert len(list(pictures(notebook))) >= 1
