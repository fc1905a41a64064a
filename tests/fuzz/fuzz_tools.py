"""Runs the command line with hostile input, and checks how it ends."""

import contextlib
import faulthandler
import io
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import command_line
from hypothesis import currently_in_test_context, event
from hypothesis import strategies as st

TIME_LIMIT = 120  # seconds of one run, then the process ends with a traceback

# Any code point, and often one that means something to a program or a terminal.
characters = st.one_of(
    st.characters(exclude_categories=()),
    st.sampled_from("the quick\n\r\t\0\x1b\x9b\\/~\"'-=\u2028\ufeff\udcff\ud800\u0301"),
)
texts = st.text(characters, max_size=30)


class Result(NamedTuple):
    """How a run of the command line ended."""

    code: int
    output: str
    errors: str


def run(arguments, input=b""):
    """Runs the command line in this process; returns a `Result`.

    Args:
        arguments: list of str.
        input: bytes. Standard input.
    """
    streams = [
        io.TextIOWrapper(io.BytesIO(data), "utf-8", newline=newline)
        for data, newline in ((input, None), (b"", "\n"), (b"", "\n"))
    ]
    before = sys.stdin, sys.stdout, sys.stderr
    faulthandler.dump_traceback_later(TIME_LIMIT, exit=True, file=sys.__stderr__)
    sys.stdin, sys.stdout, sys.stderr = streams
    try:
        code = command_line.run(*arguments)
    finally:
        sys.stdin, sys.stdout, sys.stderr = before
        faulthandler.cancel_dump_traceback_later()
    for stream in streams[1:]:
        stream.flush()
    if currently_in_test_context():
        event(f"exit code {code}")
    output, errors = (
        stream.buffer.getvalue().decode("utf-8") for stream in streams[1:]
    )
    return Result(code, output, errors)


def check(result, codes=(0, 2, 130), lines=1):
    """Checks the exit code and the messages of a run.

    Args:
        result: `Result`.
        codes: The exit codes that are right.
        lines: int or `None`. Number of error messages after exit code 2; warnings
            may come before them. `None`: not checked.
    """
    assert result.code in codes, result
    assert "Traceback" not in result.errors, result
    assert not re.search("[\0-\x09\x0b-\x1f\x7f-\x9f]", result.errors), result
    named = [line for line in result.errors.split("\n") if line.startswith("textgen ")]
    assert all(len(line) <= 1300 for line in named), result
    if result.code == 2 and lines is not None:
        messages = [line for line in result.errors.split("\n") if ": error: " in line]
        assert len(messages) == lines, result
        assert result.errors.endswith(messages[-1] + "\n"), result
        assert re.match(r"textgen[ \w]*: error: \S", messages[-1]), result


@contextlib.contextmanager
def empty_folder():
    """Changes to a new folder, which is removed at the end."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield Path(folder)
        finally:
            os.chdir(before)


def contents(folder):
    """Returns the bytes of each file of a folder, by path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
