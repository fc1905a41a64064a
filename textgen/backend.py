"""All code that depends on the backend or on the device.

Names of dimensions: N examples in a batch, T steps, H units.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras import ops

# === Devices ===


def available_cores() -> int:
    """Returns the number of processor cores that this process may use.

    A scheduler or `taskset` can allow fewer cores than the machine has.
    """
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def accelerator() -> str | None:
    """Returns the name of the GPU or TPU that Keras uses; `None` for a CPU."""
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


def num_replicas() -> int:
    """Returns the number of replicas of the strategy that TensorFlow runs."""
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


def on_one_device(value: Any) -> Any:
    """Returns a JAX array of several devices as one on the first local device."""
    if keras.distribution.distribution() is None:
        return value
    if value.is_fully_replicated:
        return value.addressable_data(0)
    import jax

    return jax.device_put(value, jax.local_devices()[0])


def check_dtype(dtype: str) -> None:
    """Raises ValueError if the backend would compute in another dtype than this one."""
    # JAX only warns. The file of such a model could not be loaded.
    if keras.backend.backend() == "jax" and dtype == "float64":
        raise ValueError(
            "dtype='float64' does not work on the backend jax, which would compute in "
            "float32: use float32, or KERAS_BACKEND=tensorflow."
        )


@contextlib.contextmanager
def floatx(dtype: str) -> Iterator[None]:
    """Sets the default dtype of Keras inside a `with` block."""
    with exclusive():
        before = keras.config.floatx()
        try:
            keras.config.set_floatx(dtype)
            yield
        finally:
            keras.config.set_floatx(before)


# === Threads ===

_LOCK = threading.RLock()


@contextlib.contextmanager
def exclusive() -> Iterator[None]:
    """Lets one thread at a time change or read attributes of layers.

    Some layers are changed for a moment, for example their dropout while a text is
    read. All code that does so, and all code that calls such layers, is in a block of
    this kind. With TensorFlow and JAX it only runs while a function is traced, so
    threads do not wait for the computations of others.
    """
    # The threads of several replicas wait for each other in the middle of a step.
    with _LOCK if num_replicas() == 1 else contextlib.nullcontext():
        yield


# === Gradients ===


def dense(gradient: Any) -> Any:
    """Returns a gradient as a tensor.

    TensorFlow has that of a Keras `Embedding` as a list of rows, with repetitions.
    """
    if hasattr(gradient, "indices") and keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.convert_to_tensor(gradient)
    return gradient


# === Eager calls ===


def is_eager() -> bool:
    """Whether TensorFlow runs eagerly, without a graph to compile."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return tf.executing_eagerly()


_TRACED = threading.local()


@contextlib.contextmanager
def few_lengths(few: bool) -> Iterator[None]:
    """Says in a `with` block whether all batches have one of a few numbers of steps."""
    before = getattr(_TRACED, "few_lengths", False)
    _TRACED.few_lengths = few
    try:
        yield
    finally:
        _TRACED.few_lengths = before


def worth_compiling(steps: int | None, dtype: Any, kernel: Any) -> bool:
    """Whether to compile a loop; with other backends Keras compiles complete steps.

    Args:
        steps: int, or `None` if the number of steps is not known yet.
        dtype: dtype of the projected inputs.
        kernel: Recurrent kernel.
    """
    if keras.backend.backend() != "tensorflow":
        return False
    # XLA compiles again for each number of steps, which is too slow if it varies. It
    # also computes half precision in single precision, while the matrix products of
    # TensorFlow use special instructions for half precision.
    few = steps is not None or getattr(_TRACED, "few_lengths", False)
    return not is_eager() and few and dtype == kernel.dtype


# === Loops and batches of recurrent layers ===


def scan(
    step: Callable, states: list, xs: list, widths: list[int], reverse: bool = False
) -> tuple[list, list]:
    """Runs `step(states, xs at t) -> (states, outputs at t)` over all steps t.

    `keras.ops.scan` does the same, but with TensorFlow its outputs must have the
    structure and the shapes of the states.

    Args:
        step: Callable.
        states: list of tensors `(N, H)`.
        xs: list of tensors `(T, N, …)`.
        widths: list of int. Last dimension of each output of `step`.
        reverse: bool. Whether to go from the last step to the first.

    Returns:
        The last states, and the outputs, each `(T, N, width)`.
    """
    if keras.backend.backend() != "tensorflow":
        return ops.scan(step, states, xs, reverse=reverse)
    import tensorflow as tf

    steps, rows = tf.shape(xs[0])[0], xs[0].shape[1]
    reading = [
        tf.TensorArray(x.dtype, steps, element_shape=x.shape[1:]).unstack(x) for x in xs
    ]
    writing = [
        tf.TensorArray(xs[0].dtype, steps, element_shape=(rows, width))
        for width in widths
    ]

    def body(t: Any, states: list, writing: list) -> tuple:
        at = steps - 1 - t if reverse else t
        states, outputs = step(states, [array.read(at) for array in reading])
        writing = [a.write(at, y) for a, y in zip(writing, outputs, strict=True)]
        return t + 1, states, writing

    _, states, writing = tf.while_loop(
        lambda t, *_: t < steps, body, (0, states, writing)
    )
    outputs = [array.stack() for array in writing]
    for array in outputs:  # the loop of the next layer needs the steps to compile
        array.set_shape((xs[0].shape[0], *array.shape[1:]))
    return states, outputs


MIN_ROWS_PER_PART = 16  # a product of fewer rows is not faster

ROWS_PER_PART = 32  # with more rows, XLA uses several cores per product: slower

MAX_PARTS = 16  # each part is a copy of the loop in the graph


def split_batch(tensors: list, spare: bool) -> list[list]:
    """Cuts tensors along their first axis into parts, one or more for each core.

    The compiled loop of a recurrence uses one core. TensorFlow runs the loops of
    several parts in parallel.

    Args:
        tensors: list of tensors `(N, …)`.
        spare: bool. Whether there may be more parts than cores, some of them empty.

    Returns:
        A list of parts; each is a list of tensors, in the order of `tensors`.
    """
    if keras.backend.backend() != "tensorflow" or is_eager():
        return [tensors]
    import tensorflow as tf

    cores = tf.config.threading.get_inter_op_parallelism_threads()
    cores = min(cores or available_cores(), MAX_PARTS)
    rows = tensors[0].shape[0]
    if rows is not None:
        most = _number_of_parts(rows, cores) if spare else cores
        count = max(1, min(max(most, cores), rows // MIN_ROWS_PER_PART, MAX_PARTS))
        sizes: Any = [rows // count + (part < rows % count) for part in range(count)]
    elif cores > 1:
        # The rows are known at run time only. An empty part costs no time in a
        # compiled loop.
        count = min(2 * cores, MAX_PARTS) if spare else cores
        rows = tf.shape(tensors[0])[0]
        most = tf.maximum(_number_of_parts(rows, cores), cores)
        used = tf.maximum(
            1, tf.minimum(tf.minimum(most, rows // MIN_ROWS_PER_PART), count)
        )
        parts = tf.range(count)
        sizes = rows // used + tf.cast(parts < rows % used, "int32")
        sizes = tf.where(parts < used, sizes, 0)
    if cores == 1 or count == 1:
        return [tensors]
    pieces = [tf.split(tensor, sizes, num=count) for tensor in tensors]
    return [list(part) for part in zip(*pieces, strict=True)]


def _number_of_parts(rows: Any, cores: int) -> Any:
    """Returns a multiple of `cores` for which a part has about 32 rows."""
    return (rows + ROWS_PER_PART * cores // 2) // (ROWS_PER_PART * cores) * cores


def assert_steps(windows: Any, sequence_length: int) -> None:
    """Checks the number of steps in a TensorFlow graph where it is unknown."""
    import tensorflow as tf

    tf.debugging.assert_equal(
        tf.shape(windows)[1],
        sequence_length,
        "The windows of this many-to-one model must be sequence_length="
        f"{sequence_length} steps long. Their length is x:",
    )


# === Reproducibility ===


def make_deterministic() -> None:
    """Makes each operation give the same bits each time on a GPU too; this is slower.

    Call it before the first computation: JAX and cuBLAS read their settings then. The
    seed must be set too. An operation that has no deterministic version raises an
    error.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    elif backend == "jax":
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
    elif backend == "torch":
        import torch

        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
