"""The states that a stateful model carries from batch to batch.

Names of dimensions: N examples in a batch, H units.
"""

from typing import Any

import keras
from keras import ops


class CarriedStates(keras.layers.Layer):
    """The states that a stateful model carries from one batch to the next.

    Each purpose ("training", "evaluation") has its own set of states, created by
    `prepare`. Only the training states are saved with the model.

    Args:
        sizes: list of int. Number of units of each state of the model, in order.
        **kwargs: Arguments of `keras.layers.Layer`.
    """

    def __init__(self, sizes: list[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sizes = sizes
        self.built = True  # no `call`; the weights are created by `prepare`

    def states(self, purpose: str) -> list:
        """Returns the variables of a purpose; an empty list before `prepare`."""
        names = self._names(purpose)
        return [getattr(self, name) for name in names if hasattr(self, name)]

    def _names(self, purpose: str) -> list[str]:
        return [f"{purpose}_state_{index}" for index in range(len(self.sizes))]

    def prepare(self, purpose: str, batch_size: int) -> bool:
        """Creates the states of a purpose, all zero; returns whether they are new.

        Existing states with at least `batch_size` rows are only reset.
        """
        states = self.states(purpose)
        if states and states[0].shape[0] >= batch_size:
            self.reset(purpose)
            return False
        for name, size in zip(self._names(purpose), self.sizes, strict=True):
            if states:
                delattr(self, name)  # otherwise the layer also keeps the smaller one
            state = self.add_weight(
                shape=(batch_size, size),
                initializer="zeros",
                trainable=False,
                name=name,
            )
            setattr(self, name, state)
        return True

    def reset(self, purpose: str) -> None:
        """Sets the states of a purpose to zero."""
        for state in self.states(purpose):
            state.assign(ops.zeros(state.shape, state.dtype))

    def read(self, purpose: str, batch_size: Any) -> list:
        """Returns the first `batch_size` rows of the states."""
        # Copies, because PyTorch changes variables in place.
        return [ops.copy(state[:batch_size]) for state in self.states(purpose)]

    def write(self, purpose: str, values: list) -> None:
        """Stores new states; the rows beyond a smaller batch do not change."""
        for state, value in zip(self.states(purpose), values, strict=True):
            value = ops.cast(value, state.dtype)
            if value.shape[0] != state.shape[0]:
                rest = state[ops.shape(value)[0] :]
                value = ops.concatenate([value, rest], axis=0)
            state.assign(value)

    def save_own_variables(self, store: Any) -> None:
        """Saves the training states."""
        for index, state in enumerate(self.states("training")):
            store[str(index)] = state

    def load_own_variables(self, store: Any) -> None:
        """Loads the training states."""
        saved = set(store.keys())
        for index, state in enumerate(self.states("training")):
            # A file of a model with another batch size has no matching states.
            if str(index) in saved and store[str(index)].shape == state.shape:
                state.assign(store[str(index)])
