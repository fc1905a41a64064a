"""Input and output layers: one-hot, embedding, lookup, tied output.

Names of dimensions: N examples in a batch, T steps, V symbols in the vocabulary, D
inputs, H units.
"""

from typing import Any

import keras
from keras import ops

from textgen import tracing

_LARGEST_PRODUCT = 1024  # up to this V, a product is faster than a segment sum


@keras.saving.register_keras_serializable(package="textgen")
class OneHot(keras.layers.Layer):
    """Converts ids to one-hot rows; one-hot input passes through.

    Input: ids of shape `(N, T)`, where -1 becomes a row of zeros, or one-hot of any
    dtype and shape `(N, T, size)`. Output: `(N, T, size)` in the compute dtype.

    Args:
        size: int. Number of symbols in the vocabulary.
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
    """`keras.layers.Embedding` that maps -1 to zeros and also takes one-hot input.

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

    def project(self, inputs: Any, size: int) -> Any:
        """Returns `inputs` times the first `size` embeddings, transposed."""
        embeddings = self.embeddings
        if size < self.input_dim:
            embeddings = embeddings[:size]
        return ops.matmul(inputs, ops.transpose(embeddings))


class TiedOutput(keras.layers.Layer):
    """Output layer that shares the weights of an embedding and adds a bias.

    The logits are the input times the transposed embeddings (Press and Wolf, "Using
    the Output Embedding to Improve Language Models", EACL 2017). Input: `(…, H)`.
    Output: `(…, V)`.

    Args:
        embedding: `Embedding` whose first V vectors, of size H, are those of tokens.
        size: int. Number of tokens, V.
        **kwargs: Arguments of `keras.layers.Layer`.
    """

    def __init__(self, embedding: Embedding, size: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.embedding = embedding
        self.size = size

    def build(self, input_shape: tuple) -> None:
        """Creates the bias, of shape `(V,)`."""
        self.bias = self.add_weight(
            shape=(self.size,), initializer="zeros", name="bias"
        )

    def call(self, inputs: Any) -> Any:
        """Returns the logits."""
        return self.embedding.project(inputs, self.size) + self.bias

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Returns `(…, V)`."""
        return (*input_shape[:-1], self.size)


def logits_of(layer: Any, inputs: Any, ids: Any) -> Any:
    """Returns some of the logits of an output layer.

    Args:
        layer: `TiedOutput`, or `keras.layers.Dense` with a bias and no activation.
        inputs: `(…, H)`.
        ids: int32 tensor of shape `(C,)`, none negative.

    Returns:
        Tensor of shape `(…, C)`.
    """
    inputs = ops.cast(inputs, layer.compute_dtype)
    if isinstance(layer, TiedOutput):
        kernel = ops.transpose(lookup(ids, layer.embedding.embeddings))
    else:
        kernel = ops.take(layer.kernel, ids, axis=1)
    bias = lookup(ids, ops.expand_dims(layer.bias, 1))[:, 0]
    return ops.matmul(inputs, kernel) + bias


def lookup(ids: Any, kernel: Any) -> Any:
    """Returns rows of a kernel: the same as one-hot rows times the kernel.

    Args:
        ids: integers of any shape; -1 gives a row of zeros.
        kernel: `(V, D)`.

    Returns:
        Tensor of shape `(*ids.shape, D)` and of the dtype of `kernel`.
    """
    size, width = kernel.shape
    ids = ops.cast(ids, "int32")

    @tracing.custom_gradient
    def rows(kernel: Any) -> tuple:
        known = ops.cast(ops.expand_dims(ids >= 0, -1), kernel.dtype)
        found = ops.take(kernel, ops.maximum(ids, 0), axis=0) * known

        def gradient(upstream: Any) -> Any:
            upstream = ops.reshape(upstream, (-1, width))
            flat = ops.reshape(ids, (-1,))
            if size <= _LARGEST_PRODUCT:
                one_hot = ops.one_hot(flat, size, dtype=upstream.dtype)
                return ops.matmul(ops.transpose(one_hot), upstream)
            flat = ops.where(flat < 0, size, flat)
            return ops.segment_sum(upstream, flat, num_segments=size + 1)[:size]

        return found, gradient

    return rows(kernel)


def is_one_hot(inputs: Any, size: int) -> bool:
    """Whether an input is one-hot, `(N, T, size)`, and not ids, `(N, T)`.

    Raises:
        ValueError: The shape is neither of these.
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
