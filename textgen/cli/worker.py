"""One of the processes that `textgen launch` starts."""

import contextlib
import os
import runpy
import sys
from collections.abc import Iterator

from textgen.cli.launch import LOST


def main(words: list[str]) -> int:
    """Joins the other processes, and runs a script or `textgen train`.

    Args:
        words: The script, or `train`, and its arguments.

    Returns:
        The exit code.
    """
    from textgen.quiet import import_keras

    import_keras()
    from textgen.distribution import LostProcessError, distribute

    try:
        with _output_to_errors():
            distribute()
    except (RuntimeError, ValueError) as error:
        print(f"textgen launch: error: {error}", file=sys.stderr)
        # A RuntimeError: not all processes have started in time.
        return 2 if isinstance(error, ValueError) else LOST
    try:
        return _run(words)
    except LostProcessError:
        return LOST
    except SystemExit as error:
        if isinstance(error.code, int | None):
            return error.code or 0
        print(error.code, file=sys.stderr)
        return 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1


@contextlib.contextmanager
def _output_to_errors() -> Iterator[None]:
    """Sends the standard output to the standard error: gloo prints a line there."""
    sys.stdout.flush()
    output = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(output, 1)
        os.close(output)


def _run(words: list[str]) -> int:
    if words[0] == "train":
        from textgen.cli.main import main as command_line

        return command_line(words)
    sys.argv = list(words)
    sys.path.insert(0, os.path.dirname(os.path.abspath(words[0])))
    runpy.run_path(words[0], run_name="__main__")
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    if code:
        # JAX would wait for processes that do not end, or are lost.
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)
