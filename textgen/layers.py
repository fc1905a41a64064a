"""Layers of the language model that Keras does not have."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="textgen")
class OneHot(keras.layers.Layer):
    """Turns ids into one-hot rows; one-hot input passes through.

    Input: ids of shape `(N, T)`, where -1 becomes a row of zeros, or one-hot of any
    dtype and shape `(N, T, size)`. Output: `(N, T, size)` in the compute dtype.

    Args:
        size: int. Number of symbols of the vocabulary.
        **kwargs: Arguments of `keras.layers.Layer`.
    """

    def __init__(self, size: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size = size

    def call(self, inputs: Any) -> Any:
        """Returns the one-hot rows of `inputs`."""
        if is_one_hot(inputs, self.size):
            return ops.cast(inputs, self.compute_dtype)
        return ops.one_hot(inputs, self.size, dtype=self.compute_dtype)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Returns `(N, T, size)`."""
        return (*input_shape[:2], self.size)

    def get_config(self) -> dict:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "size": self.size}


@keras.saving.register_keras_serializable(package="textgen")
class Embedding(keras.layers.Embedding):
    """`keras.layers.Embedding` that takes -1 for the zero vector, and one-hot input.

    Input: ids of shape `(N, T)`, or one-hot of any dtype and shape
    `(N, T, input_dim)`. Output: `(N, T, output_dim)` in the compute dtype.
    """

    def call(self, inputs: Any) -> Any:
        """Returns the vectors of `inputs`."""
        if is_one_hot(inputs, self.input_dim):
            return ops.matmul(ops.cast(inputs, self.compute_dtype), self.embeddings)
        vectors = super().call(ops.maximum(inputs, 0))
        known = ops.cast(ops.expand_dims(inputs, -1) >= 0, vectors.dtype)
        return vectors * known

    def project(self, inputs: Any) -> Any:
        """Returns `inputs` times the transposed embeddings: `(…, input_dim)`."""
        return ops.matmul(inputs, ops.transpose(self.embeddings))


@keras.saving.register_keras_serializable(package="textgen")
def keras2_hard_sigmoid(x: Any) -> Any:
    """Returns `clip(0.2 * x + 0.5, 0, 1)`, what Keras 2 called `hard_sigmoid`.

    Keras 3 has `clip(x / 6 + 0.5, 0, 1)` under that name (documentation of
    `keras.activations.hard_sigmoid`), so old weights need this one.
    """
    return ops.clip(0.2 * x + 0.5, 0.0, 1.0)


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
        self._sets: dict[str, list] = {}

    def prepare(self, purpose: str, batch_size: int) -> bool:
        """Makes the states of a purpose, zero; returns whether they are new.

        Existing ones that are large enough are only reset.
        """
        states = self._sets.get(purpose)
        if states is not None and states[0].shape[0] >= batch_size:
            self.reset(purpose)
            return False
        self._sets[purpose] = [
            self.add_weight(
                shape=(batch_size, size),
                initializer="zeros",
                trainable=False,
                name=f"{purpose}_state_{index}",
            )
            for index, size in enumerate(self.sizes)
        ]
        return True

    def reset(self, purpose: str) -> None:
        """Sets the states of a purpose to zero."""
        for state in self._sets.get(purpose, ()):
            state.assign(ops.zeros(state.shape, state.dtype))

    def read(self, purpose: str, batch_size: Any) -> list:
        """Returns the states of the first `batch_size` rows."""
        # Copies, since PyTorch writes into a variable in place.
        return [ops.copy(state[:batch_size]) for state in self._sets[purpose]]

    def write(self, purpose: str, values: list) -> None:
        """Keeps new states; a batch with fewer rows leaves the other rows alone."""
        for state, value in zip(self._sets[purpose], values, strict=True):
            value = ops.cast(value, state.dtype)
            if value.shape[0] != state.shape[0]:
                rest = state[ops.shape(value)[0] :]
                value = ops.concatenate([value, rest], axis=0)
            state.assign(value)

    def save_own_variables(self, store: Any) -> None:
        """Saves the training states."""
        for index, state in enumerate(self._sets.get("training", ())):
            store[str(index)] = ops.convert_to_numpy(state)

    def load_own_variables(self, store: Any) -> None:
        """Loads the training states."""
        saved = set(store.keys())
        for index, state in enumerate(self._sets.get("training", ())):
            # Weights of a model of another batch size have no states for this one.
            if str(index) in saved and store[str(index)].shape == state.shape:
                state.assign(store[str(index)])


def is_one_hot(inputs: Any, size: int) -> bool:
    """Whether an input is one-hot, `(N, T, size)`, rather than ids, `(N, T)`.

    Raises:
        ValueError: It is neither.
    """
    rank = len(inputs.shape)
    if rank == 2:
        return False
    if rank == 3 and inputs.shape[-1] == size:
        return True
    raise ValueError(
        f"Input of shape {tuple(inputs.shape)} is neither ids (batch, steps) nor "
        f"one-hot (batch, steps, {size})."
    )
