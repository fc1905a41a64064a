"""Runs the command line as a process: `textgen` and `python -m textgen`."""

import atexit
import gc
import os
import signal
import sys
from typing import Any, NoReturn


def main() -> NoReturn:
    """Runs the command line, and exits with its code."""
    # Ctrl-C may be ignored, as in `nohup textgen …` and in the background of a script.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)
    # Python would search the objects of TensorFlow for garbage, for seconds.
    atexit.register(gc.freeze)
    # This import is slow, so it comes after the handler.
    from textgen.cli import main as command_line

    sys.exit(command_line.main())


def _leave(*_: Any) -> NoReturn:
    """Ends the process after Ctrl-C.

    A KeyboardInterrupt while TensorFlow is imported, or computes, can be lost, or
    become another error. Code that must end in order uses
    `writing.keyboard_interrupts`.
    """
    try:
        os.write(2, b"\n")  # after the ^C of the terminal
    finally:
        os._exit(130)


if __name__ == "__main__":
    main()
