"""One of the processes that `textgen launch` starts."""

import os
import runpy
import sys

from textgen.cli.launch import LOST


def main(words: list[str]) -> int:
    """Joins the other processes, and runs a script or `textgen train`.

    Args:
        words: The script, or `train`, and its arguments.

    Returns:
        The exit code.
    """
    from textgen.distribution import LostProcessError, distribute
    from textgen.quiet import import_keras

    import_keras()
    try:
        distribute()
    except (RuntimeError, ValueError) as error:
        print(f"textgen launch: error: {error}", file=sys.stderr)
        return 2
    try:
        if words[0] == "train":
            from textgen.cli.main import main as command_line

            return command_line(words)
        sys.argv = list(words)
        sys.path.insert(0, os.path.dirname(os.path.abspath(words[0])))
        runpy.run_path(words[0], run_name="__main__")
    except LostProcessError:
        _leave(LOST)
    return 0


def _leave(code: int) -> None:
    """Ends the process at once: JAX would wait for the lost one."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
