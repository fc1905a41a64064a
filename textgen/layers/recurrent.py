"""Keras's recurrent layers with a faster loop on a CPU, and for ids as input.

Names of dimensions: N examples in a batch, T steps, D inputs, H units, G gates.
"""

from typing import Any

import keras
from keras import ops

from textgen import backend, keras_internals
from textgen.layers import recurrence
from textgen.layers.inputs import lookup


@keras.saving.register_keras_serializable(package="textgen")
def keras2_hard_sigmoid(x: Any) -> Any:
    """Returns `clip(0.2 * x + 0.5, 0, 1)`, what Keras 2 called `hard_sigmoid`.

    Keras 3 has `clip(x / 6 + 0.5, 0, 1)` under that name (documentation of
    `keras.activations.hard_sigmoid`), so old weights need this one.
    """
    return ops.clip(0.2 * x + 0.5, 0.0, 1.0)


class _TimeBatched(keras_internals.RecurrentLoop):
    """Mixin that gives a recurrent layer of Keras a fast path on CPUs, and ids.

    `textgen.layers.recurrence` says what makes it fast. Keras's own path is taken where
    it has a fused kernel, and for what the fast path does not know; `path` says which
    and why.
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
        """Which implementation runs.

        Args:
            mask: The mask of a call, or `None`.

        Returns:
            `"time-batched"` or `"keras"`, and the reason in words.
        """
        framework = keras.backend.backend()
        if (device := backend.accelerator()) is not None:
            return "keras", f"on {device}"
        if framework not in ("tensorflow", "jax"):
            return "keras", f"on the backend {framework}"
        if self.compute_dtype == "float64":
            return "keras", "float64 is for comparing to the last digit"
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
            return "keras", "implementation=1 drops inputs for each gate apart"
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
        """Returns what Keras's layer returns."""
        size = self.cell.kernel.shape[0]
        ids = _are_ids(sequences, size)
        if ids and (self.dropout or self.path(mask)[0] == "keras"):
            sequences = ops.one_hot(sequences[:, :, 0], size, dtype=self.compute_dtype)
        return super().call(
            sequences, initial_state=initial_state, mask=mask, training=training
        )

    def run_loop(
        self, sequences: Any, initial_state: Any, mask: Any, training: bool = False
    ) -> tuple:
        """Returns the last output, the outputs and the last states."""
        if not training or not self.weight_dropout:
            return self._loop(sequences, initial_state, mask, training)
        cell, kernel = self.cell, self.cell.recurrent_kernel
        cell.recurrent_kernel = keras.random.dropout(
            ops.convert_to_tensor(kernel), self.weight_dropout, seed=cell.seed_generator
        )
        try:
            return self._loop(sequences, initial_state, mask, training)
        finally:
            cell.recurrent_kernel = kernel

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

        # Copies, since TensorFlow's custom gradients take no variables, which these are
        # in an eager call.
        copied = ops.copy if backend.is_eager() else ops.convert_to_tensor
        kernel, bias = copied(self.cell.kernel), copied(self.cell.bias)
        weights = [copied(self.cell.recurrent_kernel)]
        if len(bias.shape) == 2:  # a GRU has one for the inputs, and one for the state
            weights.append(bias[1])
            bias = bias[0]
        exact = keras.backend.result_type(self.compute_dtype, "float32")
        bias = ops.cast(bias, exact)
        whole = [sequences, *keras.tree.flatten(initial_state)]
        parts = []
        spare = backend.worth_compiling(sequences.shape[1], exact, weights[0])
        for part, *states in backend.split_batch(whole, spare):
            steps = ops.transpose(part, (1, 0, 2))
            if ids:
                z = ops.cast(lookup(steps[:, :, 0], kernel), exact) + bias
            else:
                # As rows, so that TensorFlow fuses the product and the sum.
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
    """`keras.layers.SimpleRNN`, faster on a CPU, and also for ids.

    Arguments, weights, names, configuration and results are those of Keras's layer,
    and there is `weight_dropout`: a float in [0, 1), the share of the recurrent weights
    that each batch leaves out in training (Merity et al., "Regularizing and Optimizing
    LSTM Language Models", ICLR 2018).

    Input: sequences `(N, T, D)`, or, for D above 1, integer ids `(N, T, 1)`. Ids stand
    for one-hot rows of size D (-1 for a row of zeros) and are looked up in the kernel.
    Output: `(N, T, H)` with `return_sequences=True`, otherwise `(N, H)`.
    """

    _recurrence = recurrence.SIMPLE_RNN


@keras.saving.register_keras_serializable(package="textgen")
class GRU(_TimeBatched, keras.layers.GRU):
    """`keras.layers.GRU`, faster on a CPU, and also for ids.

    Arguments, weights, names, configuration and results are those of Keras's layer,
    and there is `weight_dropout`: a float in [0, 1), the share of the recurrent weights
    that each batch leaves out in training (Merity et al., "Regularizing and Optimizing
    LSTM Language Models", ICLR 2018).

    Input: sequences `(N, T, D)`, or, for D above 1, integer ids `(N, T, 1)`. Ids stand
    for one-hot rows of size D (-1 for a row of zeros) and are looked up in the kernel.
    Output: `(N, T, H)` with `return_sequences=True`, otherwise `(N, H)`.
    """

    _recurrence = recurrence.GRU


@keras.saving.register_keras_serializable(package="textgen")
class LSTM(_TimeBatched, keras.layers.LSTM):
    """`keras.layers.LSTM`, faster on a CPU, and also for ids.

    Arguments, weights, names, configuration and results are those of Keras's layer,
    and there is `weight_dropout`: a float in [0, 1), the share of the recurrent weights
    that each batch leaves out in training (Merity et al., "Regularizing and Optimizing
    LSTM Language Models", ICLR 2018).

    Input: sequences `(N, T, D)`, or, for D above 1, integer ids `(N, T, 1)`. Ids stand
    for one-hot rows of size D (-1 for a row of zeros) and are looked up in the kernel.
    Output: `(N, T, H)` with `return_sequences=True`, otherwise `(N, H)`.
    """

    _recurrence = recurrence.LSTM


def _are_ids(sequences: Any, size: int) -> bool:
    """Whether sequences are ids, `(N, T, 1)`, for a layer that was built for rows.

    For a layer that was built for rows of one number, integers are that number.
    """
    is_integer = keras.backend.is_int_dtype(sequences.dtype)
    return is_integer and sequences.shape[-1] == 1 and size > 1
