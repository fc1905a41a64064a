"""The commands of docs/watching.md have the options, and its Python code runs."""

import re
import shlex
from pathlib import Path

import pytest
from command_line import TEXT

from textgen.cli import main

DOCS = (Path(__file__).parents[2] / "docs" / "watching.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCS, re.DOTALL | re.MULTILINE)


def commands():
    lines = "".join(blocks("")).splitlines()
    lines += re.findall(r"`(textgen [^`]*)`", DOCS)
    return [line for line in lines if line.startswith("textgen ")]


@pytest.mark.parametrize("command", commands())
def test_commands_exist(command):
    _, unknown = main._parser().parse_known_args(shlex.split(command)[1:])
    assert unknown == []


@pytest.mark.usefixtures("eager")
def test_python_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("poems.txt").write_text(f"Shall I compare thee\n{TEXT * 13}")
    [code] = blocks("python")
    exec(compile(code, "docs/watching.md", "exec"), {})
    assert "--- temperature 1.0, after epoch 2\nShall I " in capsys.readouterr().out
    assert Path("curves.png").read_bytes().startswith(b"\x89PNG")
    assert len(Path("run.csv").read_text().splitlines()) == 3
    assert len(Path("samples.jsonl").read_text().splitlines()) == 4
