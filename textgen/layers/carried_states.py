"""The states that a stateful model carries from batch to batch.

Names of dimensions: N examples in a batch, H units.
"""

from typing import Any

import keras
from keras import ops


class CarriedStates(keras.layers.Layer):
    """The states that a stateful model carries from one batch to the next.

    There is one set for each purpose ("training", "evaluation"), made when it is first
    asked for. Only the training states are saved with the model.

    Args:
        sizes: list of int. Number of units of every state of the model, in order.
        **kwargs: Arguments of `keras.layers.Layer`.
    """

    def __init__(self, sizes: list[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sizes = sizes
        self.built = True  # it has no call, and makes its weights on demand

    def states(self, purpose: str) -> list:
        """The variables of a purpose; none before `prepare`."""
        names = self._names(purpose)
        return [getattr(self, name) for name in names if hasattr(self, name)]

    def _names(self, purpose: str) -> list[str]:
        return [f"{purpose}_state_{index}" for index in range(len(self.sizes))]

    def prepare(self, purpose: str, batch_size: int) -> bool:
        """Makes the states of a purpose, zero; returns whether they are new.

        Existing ones that are large enough are only reset.
        """
        states = self.states(purpose)
        if states and states[0].shape[0] >= batch_size:
            self.reset(purpose)
            return False
        for name, size in zip(self._names(purpose), self.sizes, strict=True):
            if states:
                delattr(self, name)  # or the layer would keep the smaller one too
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
        """Returns the states of the first `batch_size` rows."""
        # Copies, since PyTorch writes into a variable in place.
        return [ops.copy(state[:batch_size]) for state in self.states(purpose)]

    def write(self, purpose: str, values: list) -> None:
        """Keeps new states; a batch with fewer rows leaves the other rows alone."""
        for state, value in zip(self.states(purpose), values, strict=True):
            value = ops.cast(value, state.dtype)
            if value.shape[0] != state.shape[0]:
                rest = state[ops.shape(value)[0] :]
                value = ops.concatenate([value, rest], axis=0)
            state.assign(value)

    def save_own_variables(self, store: Any) -> None:
        """Saves the training states."""
        for index, state in enumerate(self.states("training")):
            store[str(index)] = ops.convert_to_numpy(state)

    def load_own_variables(self, store: Any) -> None:
        """Loads the training states."""
        saved = set(store.keys())
        for index, state in enumerate(self.states("training")):
            # Weights of a model of another batch size have no states for this one.
            if str(index) in saved and store[str(index)].shape == state.shape:
                state.assign(store[str(index)])
