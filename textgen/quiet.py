"""A quiet start and end of a program: no start-up lines, no traceback after Ctrl-C."""

import atexit
import contextlib
import gc
import os
import shlex
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

_LEVEL = "TF_CPP_MIN_LOG_LEVEL"

# Ctrl-C, a request to end, and a closed terminal. Windows lacks the last one.
SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP")
    if hasattr(signal, name)
)

_errors = [2]  # descriptors of the standard error; the last one is not silenced


def import_keras() -> Any:
    """Imports Keras; the start-up lines of TensorFlow are not printed.

    The environment variable `TF_CPP_MIN_LOG_LEVEL` is set to 3, unless it has a value.
    With a value below 3, all lines are printed. If the import fails, they are printed
    too.

    Returns:
        The module `keras`.
    """
    if "keras" not in sys.modules and os.environ.setdefault(_LEVEL, "3") >= "3":
        # Some lines come before TensorFlow reads the variable.
        with silent():
            import keras

            if keras.backend.backend() != "tensorflow":
                # Keras imports it later, when it serializes a model.
                with contextlib.suppress(ImportError):
                    import tensorflow  # noqa: F401
    import keras

    return keras


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Discards what is written to the standard error, unless an error is raised."""
    # The descriptor itself: native code does not use `sys.stderr`.
    with tempfile.TemporaryFile() as written, contextlib.ExitStack() as stack:
        try:
            saved = os.dup(2)
        except OSError:  # there is no standard error
            yield
            return
        stack.callback(os.close, saved)
        os.dup2(written.fileno(), 2)
        _errors.append(saved)
        try:
            yield
        except BaseException:
            written.seek(0)
            os.write(saved, written.read())
            raise
        finally:
            _errors.remove(saved)
            os.dup2(saved, 2)


def plain_exits() -> str:
    """Makes a training script end with a short message instead of a traceback.

    This applies to Ctrl-C, SIGTERM and SIGHUP; to errors of textgen, for example a loss
    that is NaN; and to files that cannot be read or written. During `fit`,
    `textgen.Checkpoints` answers signals: it first writes a checkpoint.

    Returns:
        str. The command that continues the training: that of this script, with the
        option `--resume`, which the script must have. It is printed after a signal, and
        can be the `how_to_resume` of `textgen.Checkpoints`.

    Example:

    ```python
    command = textgen.plain_exits()
    checkpoints = textgen.Checkpoints("poet.checkpoints", how_to_resume=command)
    ```
    """
    words = [sys.executable or "python", *sys.argv]
    command = shlex.join([*words, *([] if "--resume" in words else ["--resume"])])
    message = f"Stopped. To continue after the last checkpoint:\n  {command}"
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            # An ignored signal stays ignored: `nohup` works so.
            if signal.getsignal(number) not in (None, signal.SIG_IGN):
                signal.signal(number, lambda number, _: leave(number, message))
    sys.excepthook = _report
    # Python would search the objects of TensorFlow for garbage, for seconds.
    atexit.register(gc.freeze)
    return command


def _report(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """Prints an error of textgen or of a file in one line; others as Python does."""
    if issubclass(kind, OSError) or kind.__module__.startswith("textgen."):
        print(f"{Path(sys.argv[0]).name}: error: {error}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


def leave(number: int, message: str) -> NoReturn:
    """Ends the process after a signal; a KeyboardInterrupt could be lost.

    Python code and compiled code can lose an exception, or convert it to another one,
    for example while TensorFlow is imported.

    Args:
        number: int. Number of the signal.
        message: str. It is printed to the standard error.
    """
    try:
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            sys.stdout.flush()
        # Not with `print`, which the signal may have interrupted.
        with contextlib.suppress(OSError):
            os.write(_errors[-1], f"\n{message}\n".encode())
    finally:
        os._exit(128 + number)
