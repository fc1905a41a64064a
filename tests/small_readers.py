"""Readers of networks of a few lines, whose states and logits are exact integers."""

import keras
import numpy as np
from keras import ops

from textgen.decoding.blend_reader import BlendReader
from textgen.decoding.readers import StateReader, WindowReader

SIZE = 7
LENGTH = 4  # of a window


def logits_of(state):
    return ops.cast(
        (ops.expand_dims(state, -1) + 1) * np.arange(1, SIZE + 1) % 5, "float32"
    )


def state_reader(**kwargs):
    """A network whose state depends on all ids so far and on their order."""

    def step(ids, carry):
        state = (3 * carry[0] + ids + 2) % 97
        return logits_of(state), [state]

    def read(ids, carry):
        reader.lengths.append(ids.shape[1])
        states = []
        for index in range(ids.shape[1]):
            _, carry = step(ids[:, index], carry)
            states.append(carry[0])
        states = ops.stack(states, axis=1)
        features = ops.expand_dims(ops.cast(states, "float32"), -1)
        return features, logits_of(states), carry

    def states(rows):
        return [np.zeros(rows, np.int32)]

    reader = StateReader(states, step, read, list, **kwargs)
    reader.lengths = []  # T of each call of `read`
    reader.max_read_steps = 5
    return reader


def window_reader(**kwargs):
    """A network that predicts from every id of the window and from its place."""

    def predict(windows):
        state = ops.sum((windows + 2) * 3 ** np.arange(LENGTH), axis=1)
        return ops.expand_dims(ops.cast(state, "float32"), -1), logits_of(state)

    return WindowReader(predict, list, LENGTH, **kwargs)


def blend_reader(**kwargs):
    same = np.arange(SIZE)
    readers = [state_reader(**kwargs), window_reader()]
    return BlendReader(readers, [same, (same + 3) % SIZE], [0.25, 0.75])


READERS = {
    "state": state_reader,
    "start step": lambda: state_reader(start_step=True),
    "window": window_reader,
    "blend": blend_reader,
    "blend with start step": lambda: blend_reader(start_step=True),
    "blend with one start step": lambda: BlendReader(
        [state_reader(start_step=True), state_reader()],
        [np.arange(SIZE)] * 2,
        [0.5, 0.5],
    ),
}


def equal(one, other):
    """Returns True; raises AssertionError if two structures of arrays differ."""
    keras.tree.map_structure(np.testing.assert_array_equal, one, other)
    return True
