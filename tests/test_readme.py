"""The code of README.md and of docs/guide.md runs, word for word, and its commands have
the options."""

import re
import shlex
from pathlib import Path

import pytest

import textgen
from textgen.cli import main

ROOT = Path(__file__).parent.parent
# A reader goes on from the one to the other.
README = "".join(
    (ROOT / page).read_text(encoding="utf-8") for page in ("README.md", "docs/guide.md")
)
# Every letter, so that the prompts of the README are known; just long enough for its
# datasets, so that the epochs are short.
LINE = "Shall I compare the quick brown fox that jumps over a lazy dog, {}\n"
TEXT = "".join(LINE.format("and maketh no sense"[: 3 + n % 16]) for n in range(34))


def blocks(language):
    # All blocks, in order: an end looks like the beginning of one without a language.
    found = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    return [block for name, block in found if name == language]


def test_python_blocks_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    # A file of the name of a corpus comes before the corpus.
    for name in ("shakespeare", "poems.txt"):
        (tmp_path / name).write_text(TEXT, encoding="utf-8")
    names = {}
    code = blocks("python")
    assert len(code) >= 10
    for number, block in enumerate(code):
        # A user runs them in one session, one after another.
        exec(compile(block, f"README.md, Python block {number}", "exec"), names)
    printed = capsys.readouterr().out
    assert printed.count("Forsooth this maketh no sense") == 3
    assert "--- temperature 1.0, after epoch 5\nshall i compare " in printed
    assert names["x"].shape[1:] == (40, len(names["vocabulary"]))
    assert isinstance(names["both"], textgen.Blend)
    for file in ("poet.keras", "own.keras"):
        assert textgen.load(tmp_path / file).generate("Shall I ", 3).startswith("Shall")


def commands():
    """The lines of shell blocks and the inline code that begin with `textgen `."""
    lines = [line for block in blocks("") for line in block.splitlines()]
    lines += re.findall(r"`(textgen [^`]*)`", README)
    return [line for line in lines if line.startswith("textgen ")]


@pytest.mark.parametrize("command", commands())
def test_commands_exist(command, monkeypatch, capsys):
    words = shlex.split(command.partition(" < ")[0], comments=True)[1:]
    parser = main._parser()
    try:
        _, unknown = parser.parse_known_args(words)
        assert unknown == []
    except SystemExit as end:
        # Inline code such as `textgen generate` names a command only.
        named = len(words) == 1 and words[0] in README
        assert end.code == 0 or (named and "required" in capsys.readouterr().err)


def test_options_of_the_tables_exist(capsys):
    helps = ""
    for command in ("train", "generate"):
        with pytest.raises(SystemExit):
            main.main([command, "--help"])
        helps += capsys.readouterr().out
    rows = [line for line in README.splitlines() if line.startswith("| ")]
    options = {each for row in rows for each in re.findall(r"`(--[a-z-]+)", row)}
    assert {"--top-k", "--resume"} <= options
    assert [option for option in options if option not in helps] == []
