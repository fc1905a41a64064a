"""The line that says how far a command is."""

import io

import pytest

from textgen.cli import progress
from textgen.cli.progress import Progress, clock


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def time(monkeypatch):
    """Returns a function that lets some seconds pass."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])

    def wait(seconds):
        now[0] += seconds

    return wait


def test_pipe_gets_a_line_now_and_then(time):
    stream = io.StringIO()
    with Progress("Reading", stream=stream) as show:
        for number in range(1, 51):
            time(0.5)
            show(number * 20_000_000, 2_000_000_000)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "Reading: 400 MB of 2 GB (20%), 40 MB/s, 40 s left"
    assert len(lines) == 2  # after 10 and 20 seconds


def test_terminal_has_one_line(time):
    stream = Terminal()
    with Progress("Writing", "texts", done=1000, stream=stream) as show:
        show(1000, 3000)  # too early
        assert stream.getvalue() == ""
        time(2)
        show(1500, 3000)
        time(1)
        show(1503, None)
    first, second, empty, end = stream.getvalue().split("\r")[1:]
    assert first == "Writing: 1,500 of 3,000 texts (50%), 250 texts/s, 6 s left"
    assert second.rstrip() == "Writing: 1,503 texts, 168 texts/s"
    assert len(second) == len(first)  # the rest of the old line is overwritten
    assert empty.strip() == end == ""


def test_fast_command_shows_nothing(time):
    stream = Terminal()
    with Progress("Reading", stream=stream) as show:
        time(0.9)
        show(1, 1)
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.6, "1 min 00 s"), (3599, "59 min 59 s"), (7500, "2 h 05 min")],
)
def test_clock(seconds, text):
    assert clock(seconds) == text
