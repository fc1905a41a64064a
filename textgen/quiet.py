"""Imports Keras without the lines that TensorFlow prints when it starts."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

_LEVEL = "TF_CPP_MIN_LOG_LEVEL"


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
        try:
            yield
        except BaseException:
            written.seek(0)
            os.write(saved, written.read())
            raise
        finally:
            os.dup2(saved, 2)
