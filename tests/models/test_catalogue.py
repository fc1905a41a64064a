import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import textgen
from textgen.cli import main as cli
from textgen.models import catalogue

NAMES = list(textgen.PRETRAINED)


@pytest.mark.parametrize("name", NAMES)
def test_found_by_name_and_loaded(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = catalogue.find(name)
    assert path == catalogue.path_of(name)
    assert path.name == f"{name}.keras"
    model = textgen.load(name)
    assert (model.compiled, model.stateful) == (False, False)


def test_name_takes_precedence_over_a_file(tmp_path, monkeypatch):
    # The file can be a corpus with the name of a model.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shakespeare").write_text("Shall I compare thee")
    assert catalogue.find("shakespeare") == catalogue.path_of("shakespeare")


def test_path_of_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shakespeare.keras").write_bytes(b"custom")
    for path in ("shakespeare.keras", tmp_path / "shakespeare.keras"):
        assert catalogue.find(path).read_bytes() == b"custom"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("shakespear", "'shakespear' is neither .* Did you mean shakespeare"),
        ("Tang-Poems", "Did you mean tang-poems"),
        ("poet.keras", f"Known: {', '.join(NAMES)}"),
        ("", "neither an existing model file nor the name of a pretrained model"),
    ],
)
def test_unknown_name(name, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=message):
        textgen.load(name)


@pytest.fixture
def _copy(tmp_path, monkeypatch):
    """Replaces the folder of the models by a copy with one model, for changes."""
    shutil.copy(catalogue.path_of("dinosaurs"), tmp_path)
    monkeypatch.setattr(catalogue, "_folder", lambda: tmp_path)


@pytest.mark.usefixtures("_copy")
def test_changed_file_is_refused(tmp_path, capsys):
    textgen.load("dinosaurs")
    path = tmp_path / "dinosaurs.keras"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"damaged: its SHA-256.*Install textgen"):
        textgen.load("dinosaurs")
    assert cli.main(["generate", "dinosaurs"]) == 2
    assert "damaged" in capsys.readouterr().err


@pytest.mark.usefixtures("_copy")
def test_missing_file_is_named(tmp_path):
    (tmp_path / "dinosaurs.keras").unlink()
    with pytest.raises(FileNotFoundError, match=r"dinosaurs is not installed"):
        textgen.load("dinosaurs")


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A function that writes an index, and reads it."""
    monkeypatch.setattr(catalogue, "_folder", lambda: tmp_path)
    catalogue._read_index.cache_clear()

    def read(data):
        (tmp_path / "index.json").write_bytes(data)
        catalogue._read_index.cache_clear()
        return catalogue.PRETRAINED

    yield read
    catalogue._read_index.cache_clear()


INDEX = (catalogue.path_of("dinosaurs").parent / "index.json").read_bytes()
VALUES = [None, True, 0, 1.5, -1, 1e999, "", "x", "\x1b[31m", [], ["a"], [1], {}]


def assert_refused(read, data):
    with pytest.raises(
        ValueError, match=r"index\.json is damaged: .+ again\.$"
    ) as info:
        read(data)
    assert type(info.value) is ValueError
    assert str(info.value).isprintable()
    assert len(str(info.value).partition(" is damaged")[2]) <= 200


def test_index_that_was_cut_short(index):
    assert index(INDEX) == textgen.PRETRAINED
    for end in range(0, len(INDEX.rstrip()), 20):
        assert_refused(index, INDEX[:end])


def test_every_field_of_the_index_is_checked(index):
    whole = json.loads(INDEX)
    texts = {"description", "corpus", "training"}
    for key in whole["dinosaurs"]:
        for value in VALUES:
            entry = {**whole["dinosaurs"], key: value}
            data = json.dumps({**whole, "dinosaurs": entry}).encode()
            if key in texts and value in ("", "x"):
                assert getattr(index(data)["dinosaurs"], key) == value
            elif (key, value) in [("nats", 1.5), ("options", []), ("options", ["a"])]:
                assert index(data)
            else:
                assert_refused(index, data)
        entry = {name: each for name, each in entry.items() if name != key}
        assert_refused(index, json.dumps({**whole, "dinosaurs": entry}).encode())
    for value in VALUES:
        assert_refused(index, json.dumps({**whole, "dinosaurs": value}).encode())


@pytest.mark.parametrize(
    "data",
    [
        *(b"null", b"5", b'"x"', b"[]", b"{}", b"\xff", b"\x00", b"[" * 100_000),
        *(b'{"a":' * 100_000, b"9" * 10_000, b'{"a": 1, "a": 1}', b" " * 2_000_000),
        b'{"../../x":' + json.dumps(json.loads(INDEX)["dinosaurs"]).encode() + b"}",
        b'{"\\u001b[31m":' + json.dumps(json.loads(INDEX)["dinosaurs"]).encode() + b"}",
    ],
    ids=lambda data: data[:12],
)
def test_index_of_something_else(index, data):
    assert_refused(index, data)


def test_index_that_is_no_file(index, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"index\.json does not .* again\.$"):
        textgen.load("dinosaurs")
    os.mkfifo(tmp_path / "index.json")
    with pytest.raises(OSError, match=r"index\.json is a device or a named pipe"):
        catalogue.find("dinosaurs")


def test_entries_are_complete():
    for name, entry in textgen.PRETRAINED.items():
        assert entry.corpus in textgen.CORPORA, name
        assert 0 < entry.nats < 10, name
        assert len(entry.sha256) == 64, name
        assert all(dataclasses.asdict(entry).values()), name


def test_list(capsys):
    assert cli.main(["list"]) == 0
    printed = capsys.readouterr().out
    for name, entry in textgen.PRETRAINED.items():
        size = catalogue.path_of(name).stat().st_size / 1e6
        assert f"{name}: {entry.description}\n    {size:.1f} MB" in printed
        assert f"{entry.nats:.3f} nats" in printed
        assert f"textgen generate {name} -" in printed
    for name, known in textgen.CORPORA.items():
        assert f"{name}: {known.description}\n    {known.characters:,} ch" in printed


@pytest.mark.usefixtures("_copy")
def test_list_names_missing_models(capsys):
    assert cli.main(["list"]) == 0
    printed = capsys.readouterr().out
    assert "    missing, " in printed
    assert printed.count(" MB, ") == 1


@pytest.mark.parametrize("name", textgen.CORPORA)
def test_characters_of_a_corpus(name, corpus_text):
    assert len(corpus_text(name)) == textgen.CORPORA[name].characters


@pytest.mark.parametrize(
    "command",
    [
        ["generate", "dinosaurs", "--count", "2"],
        ["generate", "dinosaurs", "dinosaurs", "--weights", "1", "2"],
        ["evaluate", "dinosaurs", "dinosaurs", "--lines", "--lowercase"],
        ["info", "dinosaurs"],
    ],
)
def test_commands_take_names(command, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(command) == 0
    printed = capsys.readouterr()
    assert printed.out.strip()
    assert not printed.err


def test_name_of_a_dinosaur_is_one_line(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["generate", "dinosaurs", "--count", "20", "--seed", "0"]) == 0
    names = capsys.readouterr().out.splitlines()
    assert len(names) == 20
    assert all(re.fullmatch("[a-z]{3,26}", name) for name in names)
    assert cli.main(["generate", "dinosaurs", "--prompt", "tyr", "--seed", "0"]) == 0
    assert re.fullmatch("tyr[a-z]*\n", capsys.readouterr().out)


def test_fourteen_lines_are_not_empty(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    options = ["--prompt", "Shall I compare thee ", "--max-lines", "14", "--seed", "0"]
    assert cli.main(["generate", "sonnets-large", *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if line.strip()]) == 14


def run_in_clone(folder, *arguments):
    """Runs Python in a clone of textgen that is not installed."""
    package = Path(textgen.__file__).parent
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(package, folder / "textgen", ignore=ignored)
    # With -S, Python does not read the .pth file of an editable installation.
    return subprocess.run(
        [sys.executable, "-S", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path])},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("code", "package"),
    [
        ("textgen.load_corpus('dinosaurs')", "data"),
        ("textgen.PRETRAINED", "pretrained"),
    ],
)
def test_clone_that_is_not_installed(code, package, tmp_path):
    done = run_in_clone(tmp_path, "-c", f"import textgen; {code}")
    assert "ModuleNotFoundError" not in done.stderr
    assert done.stderr.splitlines()[-1] == (
        f"FileNotFoundError: textgen is not installed: the package textgen.{package} "
        "is missing. Run `pip install .` (or `make demo`) in the folder of the clone, "
        f"{tmp_path}."
    )


@pytest.mark.parametrize("command", [["list"], ["generate", "dinosaurs"]])
def test_commands_in_a_clone_that_is_not_installed(command, tmp_path):
    done = run_in_clone(tmp_path, "-m", "textgen", *command)
    assert done.returncode == 2
    assert done.stderr.startswith(
        f"textgen {command[0]}: error: textgen is not installed: "
    )
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
