"""Runs the command line in the process of the tests."""

from textgen.cli import main

TEXT = "the quick brown fox jumps over the lazy dog\n" * 20
SHORT = ["--units", "8", "--epochs", "1", "--max-new-tokens", "10"]
TRAIN = ["--windows", *SHORT]


def run(*arguments):
    """Runs the command line in this process; returns the exit code."""
    try:
        return main.main([str(argument) for argument in arguments])
    except SystemExit as stop:
        return stop.code
