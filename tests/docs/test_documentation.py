"""The code of all pages in docs/ runs: `make docs` starts these tests.

The blocks of a page run in order, in one folder and with one set of names, as a reader
would type them. Python blocks are executed word for word. The lines of shell blocks
run in this process, with less work where they would take minutes: `SHORTER`. In tables
whose last column is `textgen`, the code of that column runs too. A block does not run
if it is of another language, or after a comment `<!-- not run: the reason -->`; the
arguments of its commands are checked.
"""

import contextlib
import gzip
import io
import os
import re
import shlex
import sys
from pathlib import Path

import pytest

from textgen.cli import main

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(
    path.relative_to(DOCS).as_posix()
    for path in DOCS.rglob("*.md")
    # tests/test_readme.py runs guide.md after README.md.
    if path.relative_to(DOCS).parts[0] not in ("_build", "_static", "guide.md")
)
STEP = re.compile(
    r"(?P<skip>^<!-- not run: [^\n]*-->\n+)?"
    r"^```(?P<language>\w*)\n(?P<block>(?:.*\n)*?)```$"
    r"|^\|(?P<row>.*)\|$",
    re.MULTILINE,
)
CODE = re.compile(r"`([^`]+)`")
SHELL = ("", "sh", "bash", "shell")
OTHER = ("text", "console")

# The commands are those of the page, with fewer texts, and one pass of a small model.
SHORTER = {
    "train": {"--minutes": None, "--epochs": "1", "--units": "16"},
    "generate": {"--count": "5", "--max-new-tokens": "40"},
    "cells": {"--max-characters": "300"},
    "surprise": {"--max-characters": "300", "--start": None},
}
ALWAYS = ("train", "cells", "surprise")  # even if the page does not give the option
# They end only when somebody stops them: only their arguments are read.
ENDLESS = ("serve", "watch", "launch")

POEM = "Shall I compare the quick brown fox that jumps over a lazy dog, {}\n"
POEMS = "".join(POEM.format("and maketh no sense"[: 3 + n % 16]) for n in range(60))
LOGS = [
    f"2026-03-0{1 + n % 9} 12:{n % 60:02} INFO worker {n % 7}: request {1000 + n} done"
    for n in range(300)
]
STRANGE = "2026-03-05 12:31 FATAL worker 3: %$#@! ~~ kernel panic ~~ 0xDEADBEEF"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the small texts that the pages call by these names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.setenv("TEXTGEN_CACHE", str(tmp_path / "cache"))
    # A file of the name of a corpus comes before the corpus.
    for name in ("shakespeare", "more-poems.txt", "book.txt"):
        Path(name).write_text(POEMS, encoding="utf-8")
    Path("poems.txt").write_text(4 * POEMS, encoding="utf-8")
    letters = "Ma chère amie, l'été à Genève fut très doux, n° {}.\n-- page 7 --\n"
    french = "".join(letters.format(n) for n in range(120))
    Path("letters.txt").write_bytes(french.encode("latin-1"))
    Path("letters.csv").write_text(
        "author,text\n"
        + "".join(f"Ada,Dear Grace {n}\nGrace,To Ada {n}\n" for n in range(60))
    )
    names = "".join(f"{a}{b}{c}or\n" for a in "abdk" for b in "aeio" for c in "lmnr")
    Path("names.txt").write_text(names)
    Path("logs").mkdir()
    for day, lines in enumerate((LOGS[:150], LOGS[150:])):
        with gzip.open(f"logs/day-{day}.gz", "wt", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
    Path("today.log").write_text("\n".join([*LOGS[:40], STRANGE, *LOGS[40:60]]) + "\n")
    return tmp_path


def steps(page):
    """What runs of a page, in order: tuples `(kind, code)`.

    A kind is `"python"`, `"shell"`, `"option"` (which must exist) or `"named"` (a
    command that does not run here; its arguments are read if it exists).
    """
    text = (DOCS / page).read_text(encoding="utf-8")
    is_ours = False
    for match in STEP.finditer(text):
        language, block, row = match["language"], match["block"], match["row"]
        if row is not None:
            last = row.split("|")[-1].strip()
            is_ours = last == "textgen" or (is_ours and text[match.start() - 1] == "\n")
            for code in CODE.findall(last) if is_ours else ():
                if code.startswith("--"):
                    yield "option", code
                elif not re.fullmatch(r"\w+|/.*", code):  # such as `gru`, `/choose 3`
                    yield ("shell" if code.startswith("textgen ") else "python"), code
            continue
        is_ours = False
        if match["skip"]:
            for line in block.replace("\\\n", "").splitlines():
                if line.startswith("textgen "):
                    yield "named", line
            continue
        if language in OTHER:
            continue
        if language == "python":
            yield "python", block
        else:
            assert language in SHELL, f"{page}: what is a block of {language!r}?"
            block = block.replace("\\\n", "")
            for line in block.splitlines():
                if line.startswith("textgen "):
                    yield "shell", line
                else:  # a block without a language may be what a program printed
                    assert not language or not line.strip() or line[0] == "#", (
                        f"{page}: {line!r} is no command of textgen. Mark the block: "
                        "<!-- not run: the reason -->"
                    )


def shortened(words):
    """The arguments of a command, with less work."""
    if not words:
        return words
    command, *rest = words
    for option, value in SHORTER.get(command, {}).items():
        given = option in rest
        if given:
            start = rest.index(option)
            end = start + 1
            while end < len(rest) and not rest[end].startswith("-"):
                end += 1
            del rest[start:end]
        fits = option != "--units" or "--from" not in rest
        if value is not None and (given or (command in ALWAYS and fits)):
            longer = option == "--epochs" and "--resume" in rest
            rest += [option, "2" if longer else value]
    return [command, *rest]


def run_command(line, page):
    """Runs a line such as `textgen complete poet.keras < prompts.txt > poems.txt`."""
    words = shlex.split(line, comments=True)[1:]
    files = {}
    while len(words) > 2 and words[-2] in ("<", ">"):
        files[words[-2]] = words[-1]
        words = words[:-2]
    if words and words[0] in ENDLESS:
        read_arguments(line)
        return
    if "--dry-run" not in words:
        words = shortened(words)
    given = Path(files["<"]).read_text("utf-8") if "<" in files else ""
    with contextlib.ExitStack() as stack:
        stack.enter_context(pytest.MonkeyPatch.context()).setattr(
            sys, "stdin", io.StringIO(given)
        )
        if ">" in files:
            file = stack.enter_context(open(files[">"], "w", encoding="utf-8"))
            stack.enter_context(contextlib.redirect_stdout(file))
        try:
            code = main.main(words)
        except SystemExit as end:
            code = end.code
    assert code == 0, f"{page}: {line}"


def parsers():
    """The commands: a dict from their names to their parsers."""
    return main._parser()._subparsers._group_actions[0].choices


def read_arguments(line):
    """Checks the arguments of a command that exists."""
    command, *words = shlex.split(line, comments=True)[1:]
    if command in parsers():
        _, unknown = main._parser().parse_known_args([command, *words])
        assert unknown == [], line


def run(page):
    """Runs a page, and returns its names."""
    names = {}
    options = {
        option
        for parser in parsers().values()
        for action in parser._actions
        for option in action.option_strings
    }
    for number, (kind, code) in enumerate(steps(page)):
        if kind == "python":
            exec(compile(code, f"{page}, step {number}", "exec"), names)
        elif kind == "shell":
            run_command(code, page)
        elif kind == "named":
            read_arguments(code)
        else:
            assert code.split()[0] in options, f"{page}: {code}"
    return names


CHECKED = ("tutorial-students.md", "tutorial-artists.md", "tutorial-engineers.md")


@pytest.mark.parametrize("page", [page for page in PAGES if page not in CHECKED])
def test_code_runs(page, folder):
    if page == "looking-inside.md" and "TEXTGEN_DATA" not in os.environ:
        pytest.skip("reads real corpora: set TEXTGEN_DATA")
    run(page)


def test_students(folder, capsys):
    names = run("tutorial-students.md")
    # The arrays of the page are those of the loop that courses write.
    text, symbols = POEMS.lower(), sorted(set(POEMS.lower()))
    assert names["x"].shape == ((len(text) - 40 + 2) // 3, 40, len(symbols))
    for number, window in enumerate(names["x"]):
        for step, character in enumerate(text[3 * number : 3 * number + 40]):
            assert window[step].nonzero()[0].tolist() == [symbols.index(character)]
    assert "T = 0.5: 0.867 0.117 0.016" in capsys.readouterr().out


def test_artists(folder, capsys):
    assert main.main(["train", "letters.txt", "-o", "poet.keras"]) == 2
    shown = (DOCS / "tutorial-artists.md").read_text(encoding="utf-8")
    error = capsys.readouterr().err.splitlines()[-1]
    assert error in " ".join(shown.split())
    run("tutorial-artists.md")
    clean = Path("clean.txt").read_text(encoding="utf-8")
    assert "été à Genève" in clean
    assert "page" not in clean


def test_engineers(folder, capsys):
    names = run("tutorial-engineers.md")
    # The line that is unlike all others is the first of the ranking.
    assert names["lines"][names["order"][0]] == STRANGE
    assert names["where"] in STRANGE.split()
    assert STRANGE in capsys.readouterr().out


def test_blocks_are_found():
    found = dict.fromkeys(PAGES)
    for page in PAGES:
        found[page] = sum(1 for _ in steps(page))
    assert found["tutorial-students.md"] >= 8
    assert found["migration.md"] >= 40
    assert found["questions.md"] >= 12
