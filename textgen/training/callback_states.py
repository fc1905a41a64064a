"""States of callbacks: what a resumed training must restore in each of them.

textgen knows the states of Keras's callbacks. Other callbacks can have two methods:
`get_state()` returns numbers, str, `None`, arrays, and lists and dicts of these;
`set_state(state)` restores them after `on_train_begin`.
"""

import contextlib
from typing import Any

import keras
import numpy as np

from textgen import files, keras_internals


def states_of(callbacks: list) -> list[list]:
    """Returns `[class name, state]` of each callback that has a state."""
    found = []
    for callback in callbacks:
        state = _get(callback)
        if state is not None:
            found.append([type(callback).__name__, state])
    return found


def restore(callbacks: list, states: list) -> None:
    """Restores states; the k-th callback of a class gets the k-th state of the class.

    A callback that the interrupted training did not have starts without a state.
    """
    remaining = list(states)
    for callback in callbacks:
        names = [name for name, _ in remaining]
        if type(callback).__name__ in names:
            _, state = remaining.pop(names.index(type(callback).__name__))
            _set(callback, state)


def _get(callback: Any) -> Any:
    """Returns the state of a callback, `None` if it has none."""
    if hasattr(callback, "get_state") and hasattr(callback, "set_state"):
        return callback.get_state()
    if isinstance(callback, keras.callbacks.CSVLogger):
        return _get_log(callback)
    for kind, names in keras_internals.CALLBACK_STATES.items():
        if isinstance(callback, kind):
            state = {name: getattr(callback, name, None) for name in names}
            for array in keras.tree.flatten(state):
                if isinstance(array, np.ndarray) and array.ndim:
                    # Keras replaces these arrays, and never changes them in place:
                    # they need not be copied.
                    array.setflags(write=False)
            return state
    return None


def _set(callback: Any, state: Any) -> None:
    if hasattr(callback, "get_state") and hasattr(callback, "set_state"):
        callback.set_state(state)
    elif isinstance(callback, keras.callbacks.CSVLogger):
        _set_log(callback, state)
    else:
        for kind, names in keras_internals.CALLBACK_STATES.items():
            if isinstance(callback, kind):
                for name in names:
                    if state.get(name) is not None:
                        setattr(callback, name, state[name])
                return


def _get_log(callback: Any) -> dict:
    """Returns the content of a CSV file, and its columns."""
    content = None
    with contextlib.suppress(OSError):
        if callback.csv_file and not callback.csv_file.closed:
            callback.csv_file.flush()
        with files.open_regular(callback.filename) as file:
            content = np.frombuffer(file.read(), np.uint8)
    return {"content": content, "keys": callback.keys}


def _set_log(callback: Any, state: dict) -> None:
    """Restores a CSV file: rows that were written after the state disappear."""
    content = state["content"]
    if content is None or callback.csv_file is None:  # a device, or not writable
        return
    callback.csv_file.close()
    with files.replacing(callback.filename) as file:
        file.write(content.tobytes())
    callback.csv_file = open(callback.filename, "a")  # noqa: SIM115
    callback.append_header = not content.size
    callback.writer, callback.keys = None, state["keys"]
