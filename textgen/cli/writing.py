"""Writing new files, and ending in order at Ctrl-C."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

from textgen import files


def write_new(path: str | Path, text: str) -> None:
    """Writes a text to a file that does not exist yet, in one step.

    Args:
        path: str or path.
        text: str. Lone surrogates are replaced by `?`.

    Raises:
        FileExistsError: The file exists, even if another program has just created it.
        OSError: It cannot be written; then it does not exist.
    """
    with keyboard_interrupts():
        with open(path, "xb"):
            pass  # the name is reserved
        try:
            files.write_text(path, text.encode("utf-8", "replace").decode())
        except BaseException as error:
            Path(path).unlink(missing_ok=True)
            if isinstance(error, OSError) and error.errno:
                reason = os.strerror(error.errno)
                raise OSError(f"{path} cannot be written: {reason}.") from error
            raise


@contextlib.contextmanager
def keyboard_interrupts() -> Iterator[None]:
    """Lets Ctrl-C raise KeyboardInterrupt, for code that must end in order.

    Outside such blocks, Ctrl-C ends the process of the command line.
    """
    before = signal.getsignal(signal.SIGINT)
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or not callable(before):  # ignored, or not set from Python
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
