import csv
import importlib.util
import json
import os
import pathlib
import re
import sys
import threading

import pytest
from command_line import TRAIN, run

pytestmark = pytest.mark.usefixtures("text_file")


@pytest.fixture
def terminal(monkeypatch):
    """A function that runs a command in a terminal; returns its code and output."""
    for name in ("CI", "NO_COLOR", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")

    def call(*words):
        master, slave = os.openpty()
        pieces = []

        def read():
            while True:
                try:
                    piece = os.read(master, 65536)
                except OSError:  # the other end was closed
                    return
                pieces.append(piece)

        reader = threading.Thread(target=read)
        with monkeypatch.context() as patch:
            with open(slave, "w", encoding="utf-8") as stream:
                patch.setattr(sys, "stdout", stream)
                reader.start()
                code = run(*words)
            reader.join(timeout=30)
        os.close(master)
        return code, b"".join(pieces).decode()

    return call


def events_of(folder, run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(pathlib.Path(folder, run)))
    events.Reload()
    return {
        tag: [each.step for each in events.Tensors(tag)]
        for tag in events.Tags()["tensors"]
    }


def test_a_training_in_a_terminal(terminal, eager):
    watching = ["--log", "a.csv", "--samples", "s.jsonl", "--tensorboard", "board"]
    command = ["train", "text.txt", "-o", "a.keras", *TRAIN, *watching]
    code, printed = terminal(*command)
    assert code == 0
    # It ends with a visible cursor, in a line of its own, without colours.
    assert printed.rindex("\x1b[?25h") > printed.rindex("\x1b[?25l")
    end = printed[printed.rindex("Saved a.keras") :]
    assert end.startswith("Saved a.keras. The folder")
    assert end.endswith("\r\n")
    assert "\x1b" not in end
    plain = re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", printed)
    assert "Epoch 1 of 1" in plain
    assert "100%  in " in plain
    assert re.search(r"held-out loss \d\.\d{4}, the best", plain)
    assert "temperature 1.0, after epoch 1" in plain
    assert "--- temperature" not in plain
    assert "step" not in plain  # the bar of Keras

    code, _ = terminal(*command, "--resume", "--epochs", "2")
    assert code == 0
    with open("a.csv", newline="") as file:
        rows = [*csv.DictReader(file)]
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert [float(row["learning_rate"]) for row in rows] == pytest.approx([1e-3] * 2)
    assert all(0 < float(row["gradient_norm"]) < 10 for row in rows)
    lines = map(json.loads, pathlib.Path("s.jsonl").read_text().splitlines())
    found = [(line["epoch"], line["temperature"]) for line in lines]
    assert found == [(1, 0.5), (1, 1.0), (2, 0.5), (2, 1.0)]
    for part in ("train", "validation"):
        assert events_of("board", part)["epoch_loss"] == [0, 1]
    texts = events_of("board", "samples")
    assert sorted(texts.values()) == [[0, 1], [0, 1]]


@pytest.mark.parametrize("progress", ["plain", "none"])
def test_other_progress(terminal, eager, progress):
    command = ["train", "text.txt", "-o", "a.keras", *TRAIN, "--progress", progress]
    code, printed = terminal(*command, "--samples", "s.jsonl")
    assert code == 0
    assert "\x1b[?25" not in printed
    assert ("--- temperature 0.5" in printed) == (progress == "plain")
    assert ("/step" in printed) == (progress == "plain")
    assert len(pathlib.Path("s.jsonl").read_text().splitlines()) == 2


def test_what_cannot_be_written_is_an_error(monkeypatch, capsys):
    pathlib.Path("file").write_text("")
    pathlib.Path("board").mkdir()
    pathlib.Path("board", "events.out.tfevents.1").write_text("")
    for words, message in {
        "--samples file": "--samples file exists: use --overwrite to replace it",
        "--samples no/s.jsonl": "the folder no does not exist",
        "--log a --samples ./a": "--log and --samples must be different files",
        "--tensorboard file": "--tensorboard file is a file: give the name of a folder",
        "--tensorboard no/b": "--tensorboard no/b: the folder no does not exist",
        "--tensorboard board": "--tensorboard board already has a training",
    }.items():
        assert run("train", "text.txt", *TRAIN, *words.split()) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert run("train", "text.txt", *TRAIN, "--tensorboard", "new") == 2
    assert capsys.readouterr().err.endswith(
        "--tensorboard: TensorBoard is not installed: pip install "
        "'keras-textgen[tensorboard]'\n"
    )
    assert not os.path.exists("model.keras")
