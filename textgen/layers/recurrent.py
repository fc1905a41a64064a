"""The recurrent layers of Keras, with a faster loop on a CPU and ids as input.

Names of dimensions: N examples in a batch, T steps, D inputs, H units, G gates.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras import ops

from textgen import backend, keras_internals
from textgen.layers import recurrence
from textgen.layers.inputs import lookup


@keras.saving.register_keras_serializable(package="textgen")
def keras2_hard_sigmoid(x: Any) -> Any:
    """Returns `clip(0.2 * x + 0.5, 0, 1)`, the `hard_sigmoid` of Keras 2.

    The `hard_sigmoid` of Keras 3 is `clip(x / 6 + 0.5, 0, 1)` (documentation of
    `keras.activations.hard_sigmoid`), so weights from Keras 2 need this function.
    """
    return ops.clip(0.2 * x + 0.5, 0.0, 1.0)


class _TimeBatched(keras_internals.RecurrentLoop):
    """Mixin that adds a fast path on CPUs and ids as input to a Keras layer.

    `textgen.layers.recurrence` explains why the path is fast. The path of Keras is used
    on devices where Keras has a fused kernel, and for options that the fast path does
    not support. `path` returns which one runs, and why.
    """

    _recurrence: recurrence.Recurrence

    def __init__(self, *args: Any, weight_dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.weight_dropout = weight_dropout

    def get_config(self) -> dict:
        """Returns the arguments of the constructor."""
        own = {"weight_dropout": self.weight_dropout} if self.weight_dropout else {}
        return {**super().get_config(), **own}

    def path(self, mask: Any = None) -> tuple[str, str]:
        """Returns which implementation runs, and why.

        Args:
            mask: Mask of a call, or `None`.

        Returns:
            `"time-batched"` or `"keras"`, and the reason in words.
        """
        framework = keras.backend.backend()
        if (device := backend.accelerator()) is not None:
            return "keras", f"on {device}"
        if framework not in ("tensorflow", "jax"):
            return "keras", f"on the backend {framework}"
        if self.compute_dtype == "float64":
            return "keras", "float64 is for exact comparisons"
        cell = self.cell
        for name, usual in (
            ("activation", "tanh"),
            ("recurrent_activation", "sigmoid"),
        ):
            standard = getattr(keras.activations, usual)
            if getattr(cell, name, standard) is not standard:
                return "keras", f"{name} is not {usual}"
        if self.recurrent_dropout:
            return "keras", f"recurrent_dropout={self.recurrent_dropout}"
        if self.dropout and getattr(cell, "implementation", 2) == 1:
            return "keras", "implementation=1 has a separate dropout for each gate"
        if not getattr(cell, "reset_after", True):
            return "keras", "reset_after=False"
        if not cell.use_bias:
            return "keras", "use_bias=False"
        if self.unroll:
            return "keras", "unroll=True"
        if mask is not None:
            return "keras", "the sequences are masked"
        return "time-batched", "on a CPU"

    def call(
        self,
        sequences: Any,
        initial_state: Any = None,
        mask: Any = None,
        training: bool = False,
    ) -> Any:
        """Returns the same as the Keras layer."""
        size = self.cell.kernel.shape[0]
        ids = _are_ids(sequences, size)
        if ids and (self.dropout or self.path(mask)[0] == "keras"):
            sequences = ops.one_hot(sequences[:, :, 0], size, dtype=self.compute_dtype)
        return super().call(
            sequences, initial_state=initial_state, mask=mask, training=training
        )

    def reads_vectors(self, count: int, size: int) -> bool:
        """Whether `reading_vectors` is possible, and faster than a call with vectors.

        Args:
            count: int. Number of vectors, V.
            size: int. Their size, D.
        """
        # Per step and gate, the gradient of the lookup has V multiplications. The
        # projection of a vector and its two gradients have 3 D; 2 D leaves a margin.
        exact = self.compute_dtype == self.variable_dtype
        return exact and 1 < count <= 2 * size and self.path()[0] == "time-batched"

    @contextlib.contextmanager
    def reading_vectors(self, vectors: Any) -> Iterator[None]:
        """Within the block, ids mean rows of `vectors` instead of one-hot rows.

        The layer then multiplies each vector with the kernel once, and looks the
        products up, instead of multiplying at each step of each sequence.

        Args:
            vectors: `(V, D)`.
        """
        with self._replaced("kernel", lambda kernel: ops.matmul(vectors, kernel)):
            yield

    def run_loop(
        self, sequences: Any, initial_state: Any, mask: Any, training: bool = False
    ) -> tuple:
        """Returns the last output, the outputs and the last states."""
        if not training or not self.weight_dropout:
            return self._loop(sequences, initial_state, mask, training)

        def dropped(kernel: Any) -> Any:
            return keras.random.dropout(
                ops.convert_to_tensor(kernel),
                self.weight_dropout,
                seed=self.cell.seed_generator,
            )

        with self._replaced("recurrent_kernel", dropped):
            return self._loop(sequences, initial_state, mask, training)

    @contextlib.contextmanager
    def _replaced(self, name: str, change: Callable[[Any], Any]) -> Iterator[None]:
        """Replaces a weight of the cell by `change(weight)` within the block."""
        with backend.exclusive():
            weight = getattr(self.cell, name)
            setattr(self.cell, name, change(weight))
            try:
                yield
            finally:
                setattr(self.cell, name, weight)

    def _loop(
        self, sequences: Any, initial_state: Any, mask: Any, training: bool
    ) -> tuple:
        if self.path(mask)[0] == "keras":
            return self.keras_loop(sequences, initial_state, mask, training)
        ids = _are_ids(sequences, self.cell.kernel.shape[0])
        if training and self.dropout:
            dropped = self.input_dropout(sequences)
            sequences = sequences * ops.expand_dims(dropped, 1)
        if self.go_backwards:
            sequences = ops.flip(sequences, axis=1)

        # Copies, because a custom gradient of TensorFlow cannot take variables, as the
        # weights are in an eager call.
        copied = ops.copy if backend.is_eager() else ops.convert_to_tensor
        kernel, bias = copied(self.cell.kernel), copied(self.cell.bias)
        weights = [copied(self.cell.recurrent_kernel)]
        if (
            len(bias.shape) == 2
        ):  # a GRU has one bias for the inputs and one for the state
            weights.append(bias[1])
            bias = bias[0]
        exact = keras.backend.result_type(self.compute_dtype, "float32")
        bias = ops.cast(bias, exact)
        tensors = [sequences, *keras.tree.flatten(initial_state)]
        parts = []
        spare = backend.worth_compiling(sequences.shape[1], exact, weights[0])
        for part, *states in backend.split_batch(tensors, spare):
            steps = ops.transpose(part, (1, 0, 2))
            if ids:
                z = ops.cast(lookup(steps[:, :, 0], kernel), exact) + bias
            else:
                # Two-dimensional, so that TensorFlow fuses product and sum.
                rows = ops.reshape(ops.cast(steps, kernel.dtype), (-1, steps.shape[-1]))
                z = ops.add(ops.cast(ops.matmul(rows, kernel), exact), bias)
                z = ops.reshape(z, (*ops.shape(steps)[:2], kernel.shape[1]))
            outputs, states = recurrence.recur(
                self._recurrence,
                z,
                weights,
                [ops.cast(state, exact) for state in states],
            )
            parts.append([ops.transpose(outputs, (1, 0, 2)), *states])
        outputs, *states = [
            ops.concatenate(pieces, axis=0) if len(pieces) > 1 else pieces[0]
            for pieces in zip(*parts, strict=True)
        ]
        return states[0], outputs, states


@keras.saving.register_keras_serializable(package="textgen")
class SimpleRNN(_TimeBatched, keras.layers.SimpleRNN):
    """`keras.layers.SimpleRNN`, faster on a CPU, also for ids.

    Weights, results and arguments are those of the Keras layer, except for one more
    argument, `weight_dropout`.

    Input: sequences `(N, T, D)`, or, for D above 1, integer ids `(N, T, 1)`. Ids mean
    one-hot rows of size D (-1: a row of zeros) and are looked up in the kernel. Output:
    `(N, T, H)` with `return_sequences=True`, otherwise `(N, H)`.

    Args:
        *args: Positional arguments of `keras.layers.SimpleRNN`.
        weight_dropout: float in [0, 1). Share of the recurrent weights that training
            sets to zero, drawn for each batch (Merity et al., "Regularizing and
            Optimizing LSTM Language Models", ICLR 2018). Defaults to `0.0`.
        **kwargs: Keyword arguments of `keras.layers.SimpleRNN`.
    """

    _recurrence = recurrence.SIMPLE_RNN


@keras.saving.register_keras_serializable(package="textgen")
class GRU(_TimeBatched, keras.layers.GRU):
    """`keras.layers.GRU`, faster on a CPU, also for ids.

    Weights, results and arguments are those of the Keras layer, except for one more
    argument, `weight_dropout`.

    Input: sequences `(N, T, D)`, or, for D above 1, integer ids `(N, T, 1)`. Ids mean
    one-hot rows of size D (-1: a row of zeros) and are looked up in the kernel. Output:
    `(N, T, H)` with `return_sequences=True`, otherwise `(N, H)`.

    Args:
        *args: Positional arguments of `keras.layers.GRU`.
        weight_dropout: float in [0, 1). Share of the recurrent weights that training
            sets to zero, drawn for each batch (Merity et al., "Regularizing and
            Optimizing LSTM Language Models", ICLR 2018). Defaults to `0.0`.
        **kwargs: Keyword arguments of `keras.layers.GRU`.
    """

    _recurrence = recurrence.GRU


@keras.saving.register_keras_serializable(package="textgen")
class LSTM(_TimeBatched, keras.layers.LSTM):
    """`keras.layers.LSTM`, faster on a CPU, also for ids.

    Weights, results and arguments are those of the Keras layer, except for one more
    argument, `weight_dropout`.

    Input: sequences `(N, T, D)`, or, for D above 1, integer ids `(N, T, 1)`. Ids mean
    one-hot rows of size D (-1: a row of zeros) and are looked up in the kernel. Output:
    `(N, T, H)` with `return_sequences=True`, otherwise `(N, H)`.

    Args:
        *args: Positional arguments of `keras.layers.LSTM`.
        weight_dropout: float in [0, 1). Share of the recurrent weights that training
            sets to zero, drawn for each batch (Merity et al., "Regularizing and
            Optimizing LSTM Language Models", ICLR 2018). Defaults to `0.0`.
        **kwargs: Keyword arguments of `keras.layers.LSTM`.
    """

    _recurrence = recurrence.LSTM


def _are_ids(sequences: Any, size: int) -> bool:
    """Whether sequences are ids, `(N, T, 1)`; never for a layer that has D = 1."""
    is_integer = keras.backend.is_int_dtype(sequences.dtype)
    return is_integer and sequences.shape[-1] == 1 and size > 1
