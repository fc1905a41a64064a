"""Layers of the language model that Keras does not have, or not as fast.

Names of dimensions: N examples in a batch, T steps, D inputs, H units, G gates.
"""

import os
from typing import Any

import keras
from keras import ops

from textgen import recurrence

_LARGEST_PRODUCT = 1024  # symbols up to which a product beats a scattered sum
_ROWS = 16  # of a part of a batch, at least: with fewer, a product is no faster
_USUAL_ROWS = 32  # with more, XLA uses several cores for a product, which is slower
_PARTS = 16  # of a batch, at most: each is a copy of the loop in the graph


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


class _TimeBatched(keras.layers.RNN):
    """Mixin that gives a recurrent layer of Keras a fast path on CPUs, and ids.

    `recurrence` says what makes it fast. Keras's own path is taken where it has a
    fused kernel, and for what the fast path does not know; `path` says which and why.
    """

    _recurrence: recurrence.Cell

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
        backend = keras.backend.backend()
        if (device := accelerator()) is not None:
            return "keras", f"on {device}"
        if backend not in ("tensorflow", "jax"):
            return "keras", f"on the backend {backend}"
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

    def inner_loop(
        self, sequences: Any, initial_state: Any, mask: Any, training: bool = False
    ) -> tuple:
        """Called by Keras; returns last output, outputs and last states."""
        if not training or not self.weight_dropout:
            return self._inner_loop(sequences, initial_state, mask, training)
        cell, kernel = self.cell, self.cell.recurrent_kernel
        cell.recurrent_kernel = keras.random.dropout(
            ops.convert_to_tensor(kernel), self.weight_dropout, seed=cell.seed_generator
        )
        try:
            return self._inner_loop(sequences, initial_state, mask, training)
        finally:
            cell.recurrent_kernel = kernel

    def _inner_loop(
        self, sequences: Any, initial_state: Any, mask: Any, training: bool
    ) -> tuple:
        if self.path(mask)[0] == "keras":
            return super().inner_loop(sequences, initial_state, mask, training)
        ids = _are_ids(sequences, self.cell.kernel.shape[0])
        if training and self.dropout:
            dropped = self.cell.get_dropout_mask(sequences[:, 0, :])
            sequences = sequences * ops.expand_dims(dropped, 1)
        if self.go_backwards:
            sequences = ops.flip(sequences, axis=1)

        # Copies, since TensorFlow's custom gradients take no variables, which these are
        # in an eager call.
        copied = ops.copy if recurrence.is_eager() else ops.convert_to_tensor
        kernel, bias = copied(self.cell.kernel), copied(self.cell.bias)
        weights = [copied(self.cell.recurrent_kernel)]
        if len(bias.shape) == 2:  # a GRU has one for the inputs, and one for the state
            weights.append(bias[1])
            bias = bias[0]
        exact = keras.backend.result_type(self.compute_dtype, "float32")
        bias = ops.cast(bias, exact)
        whole = [sequences, *keras.tree.flatten(initial_state)]
        parts = []
        spare = recurrence.worth_compiling(sequences.shape[1], exact, weights[0])
        for part, *states in _parts(whole, spare):
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


def lookup(ids: Any, kernel: Any) -> Any:
    """Returns the rows of a kernel: what one-hot rows times the kernel would be.

    Args:
        ids: integers of any shape; -1 gives a row of zeros.
        kernel: `(V, D)`.

    Returns:
        Tensor of the shape of `ids` and D, of the dtype of `kernel`.
    """
    size, width = kernel.shape
    ids = ops.cast(ids, "int32")

    @ops.custom_gradient
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


def available_cores() -> int:
    """The number of processor cores that this process may use.

    A scheduler or `taskset` can allow fewer than the machine has.
    """
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def accelerator() -> str | None:
    """The name of the GPU or TPU that Keras computes on; `None` for a CPU."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        devices = tf.config.list_physical_devices("GPU")
        if not tf.config.list_logical_devices("GPU") or not devices:
            return None
        details = tf.config.experimental.get_device_details(devices[0])
        return details.get("device_name", "GPU")
    if backend == "jax":
        import jax

        device = jax.devices()[0]
        return None if device.platform == "cpu" else device.device_kind
    if backend == "torch":
        import torch

        return torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return None


def _parts(tensors: list, spare: bool) -> list[list]:
    """Cuts tensors along their first axis into parts, one or more for each core.

    The compiled loop of a recurrence uses one core, and TensorFlow runs those of
    several parts at the same time.

    Args:
        tensors: list of tensors `(N, …)`.
        spare: bool. Whether there may be more parts than cores, some of them empty.
    """
    if keras.backend.backend() != "tensorflow" or recurrence.is_eager():
        return [tensors]
    import tensorflow as tf

    cores = tf.config.threading.get_inter_op_parallelism_threads()
    cores = min(cores or available_cores(), _PARTS)
    rows = tensors[0].shape[0]
    if rows is not None:
        most = _number_of_parts(rows, cores) if spare else cores
        count = max(1, min(max(most, cores), rows // _ROWS, _PARTS))
        sizes: Any = [rows // count + (part < rows % count) for part in range(count)]
    elif cores > 1:
        # Known only when it runs; an empty part takes no time in a compiled loop.
        count = min(2 * cores, _PARTS) if spare else cores
        rows = tf.shape(tensors[0])[0]
        most = tf.maximum(_number_of_parts(rows, cores), cores)
        used = tf.maximum(1, tf.minimum(tf.minimum(most, rows // _ROWS), count))
        parts = tf.range(count)
        sizes = rows // used + tf.cast(parts < rows % used, "int32")
        sizes = tf.where(parts < used, sizes, 0)
    if cores == 1 or count == 1:
        return [tensors]
    pieces = [tf.split(tensor, sizes, num=count) for tensor in tensors]
    return [list(part) for part in zip(*pieces, strict=True)]


def _number_of_parts(rows: Any, cores: int) -> Any:
    """As many for each core as make parts of about 32 rows."""
    return (rows + _USUAL_ROWS * cores // 2) // (_USUAL_ROWS * cores) * cores


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
