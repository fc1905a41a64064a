"""Training with several processes or devices: who reads what, and who writes.

Keras distributes a training on JAX (`keras.distribution`): each device computes the
gradients of some rows of a batch, and their sum is exchanged in each step. This module
starts the processes of a training, and answers what the others need to know: which rows
of a batch this process reads, and whether it is the one that writes files.

Names of dimensions: N examples in a batch.
"""

import contextlib
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from textgen import keras_internals
from textgen.backend import on_one_device
from textgen.place import find_place
from textgen.text.tokenizer import NO_SYMBOL

# Seconds after which a process that no longer answers counts as lost.
_HEARTBEAT = 30
# Seconds in which all processes must have started.
_START = 300
# At the end, the others wait for process 0, which may generate and measure.
_END = 86_400


class LostProcessError(RuntimeError):
    """Another process of the training has ended, so that this one cannot go on."""


# What JAX and its collectives say then.
_LOST = re.compile(
    r"gloo|nccl|coordination|heartbeat|connection (reset|closed)|unavailable|"
    r"deadline_exceeded|barrier",
    re.IGNORECASE,
)


def distribute(
    coordinator: str | None = None,
    processes: int | None = None,
    process_id: int | None = None,
    seed: int | None = None,
) -> None:
    """Joins the processes of a training; each one then runs the same program.

    Call it before the first model is made. Each step of `fit` then computes the mean
    gradients of a batch in all processes together, so the batches, the losses and the
    weights are those of one process: `batch_size` is that of the whole batch. Process 0
    writes checkpoints, logs and samples.

    A second call, in a script that `textgen launch` started, only sets the seed.

    It needs the JAX backend. If a process ends, the others cannot go on: their `fit`
    raises an error. The training continues from the last checkpoint, with any number of
    processes.

    Args:
        coordinator: str or `None`. `"HOST:PORT"` of process 0. Defaults to `None`, the
            environment (see `textgen.place.find_place`).
        processes: int or `None`. Number of processes. Defaults to `None`, likewise.
        process_id: int or `None`. Number of this process, counted from 0. Defaults to
            `None`, likewise.
        seed: int or `None`. Seed of Keras, NumPy and Python, which must be the same in
            all processes. Defaults to `None`, drawn by process 0.

    Raises:
        RuntimeError: Not all processes have started in time.
        ValueError: The backend is not JAX, or a value is missing or not possible.

    Example:

    ```python
    textgen.distribute("10.0.0.5:7000", processes=2, process_id=0)
    model = textgen.LanguageModel(vocabulary, units=512, return_sequences=True)
    ```
    """
    check_backend()
    place = find_place(coordinator, processes, process_id)
    import jax
    from jax.experimental import multihost_utils

    if jax.distributed.is_initialized():  # by `textgen launch`
        running = (jax.process_count(), jax.process_index())
        if running != (place.processes, place.process_id):
            raise ValueError(
                f"This is already process {running[1]} of {running[0]}, so it cannot "
                f"be process {place.process_id} of {place.processes}. Call "
                "textgen.distribute() without arguments."
            )
        if seed is not None:
            keras.utils.set_random_seed(seed)
        return
    jax.distributed.initialize(
        place.coordinator,
        place.processes,
        place.process_id,
        initialization_timeout=_START,
        heartbeat_timeout_seconds=_HEARTBEAT,
        shutdown_timeout_seconds=_END,
    )
    if seed is None:
        drawn = np.random.SeedSequence().generate_state(1)
        seed = int(multihost_utils.broadcast_one_to_all(drawn)[0])
    keras.utils.set_random_seed(seed)
    use_all_devices()


def check_backend() -> None:
    """Raises ValueError if the backend cannot train so."""
    name = keras.backend.backend()
    if name != "jax":
        raise ValueError(
            f"The backend {name!r} cannot train with several processes or devices "
            "(Keras's fit fails with MultiWorkerMirroredStrategy). Use JAX: pip "
            "install 'keras-textgen[jax]', and set KERAS_BACKEND=jax."
        )


def check_strategy(model: Any) -> None:
    """Raises ValueError if a model was made for several replicas of TensorFlow."""
    strategy = getattr(model, "distribute_strategy", None)
    number = getattr(strategy, "num_replicas_in_sync", 1)
    if number > 1:
        raise ValueError(
            f"The model was made in a {type(strategy).__name__} of {number} replicas. "
            "Each replica would divide its loss by its own number of targets, and keep "
            "its own states, so the training would be another one. Use JAX: set "
            "KERAS_BACKEND=jax, and call textgen.use_all_devices() before the model is "
            "made."
        )


def use_all_devices(divide: int = 1) -> None:
    """Distributes batches over all devices, for a training on several GPUs.

    Call it before the first model is made, with the JAX backend; `distribute` calls it.
    The batches, losses and weights are those of one device.

    Args:
        divide: int. Number of devices that share each weight matrix, for a model or a
            vocabulary that is too large for one of them; the rows of a batch are
            divided among the others. In one process only. Defaults to `1`, a complete
            model on each device.

    Raises:
        ValueError: The backend is not JAX, or the devices cannot be divided so.
    """
    check_backend()
    devices = keras.distribution.list_devices()
    if divide == 1:
        distribution: Any = keras.distribution.DataParallel(auto_shard_dataset=False)
    elif divide < 1 or len(devices) % divide or processes() > 1:
        raise ValueError(
            f"divide={divide} must be a divisor of {len(devices)}, the number of "
            "devices of this process, and there must be one process."
        )
    else:
        distribution = DividedModel(devices, divide)
    keras.distribution.set_distribution(distribution)


class DividedModel(keras.distribution.ModelParallel):
    """Divides each matrix among some devices, and the rows of a batch among others.

    Args:
        devices: list of str, the names of all devices.
        divide: int. Number of devices that share each matrix.
    """

    def __init__(self, devices: list[str], divide: int) -> None:
        axes = ("rows", "matrix")
        shape = (len(devices) // divide, divide)
        mesh = keras.distribution.DeviceMesh(shape, axes, devices)
        super().__init__(
            layout_map=keras.distribution.LayoutMap(mesh),
            batch_dim_name=axes[0],
            auto_shard_dataset=False,
        )
        self._divide = divide

    def get_variable_layout(self, variable: Any) -> Any:
        """Divides the last axis of a matrix, or the first, where it is possible.

        The variables of an optimizer, which have the same shapes, are divided likewise.
        """
        shape = tuple(variable.shape)
        axes: list[str | None] = [None] * len(shape)
        for axis in (-1, 0):
            if len(shape) > 1 and shape[axis] % self._divide == 0:
                axes[axis] = "matrix"
                break
        return keras.distribution.TensorLayout(axes, self.device_mesh)


# === What the rest of the package asks ===


def processes() -> int:
    """Returns the number of processes of the training."""
    if keras.backend.backend() != "jax" or "jax" not in sys.modules:
        return 1
    import jax

    # `jax.process_count()` would start the devices.
    return jax.process_count() if jax.distributed.is_initialized() else 1


def is_first() -> bool:
    """Whether this process writes files, logs and samples."""
    if processes() == 1:
        return True
    import jax

    return jax.process_index() == 0


@contextlib.contextmanager
def noticing_losses() -> Iterator[None]:
    """Runs a `with` block in which all processes compute together.

    Raises:
        LostProcessError: A computation failed since another process has ended.
    """
    try:
        yield
    except Exception as error:
        if processes() > 1 and _LOST.search(str(error)):
            raise LostProcessError(
                "Another process of the training has ended, or cannot be reached. "
                "Continue from the last checkpoint, with any number of processes."
            ) from error
        raise


def wait_for_all() -> None:
    """Waits until all processes are here."""
    if processes() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices("textgen")


def largest(value: int) -> int:
    """Returns the largest value of all processes; each of them must call it."""
    if processes() == 1:
        return value
    from jax.experimental import multihost_utils

    return int(multihost_utils.process_allgather(np.array(value, np.int32)).max())


def of_first(value: float) -> float:
    """Returns the value of process 0; each process must call it."""
    if processes() == 1:
        return value
    from jax.experimental import multihost_utils

    # JAX has no float64 by default: the bits are sent as two integers.
    bits = np.array(value, np.float64).reshape(1).view(np.int32)
    bits = np.asarray(multihost_utils.broadcast_one_to_all(bits), np.int32)
    return float(bits.view(np.float64)[0])


class Share(NamedTuple):
    """The rows of each batch that this process reads.

    Args:
        process_id: int. Number of the process, counted from 0.
        processes: int. Number of processes.
        devices: int. Number of devices of all processes.
    """

    process_id: int
    processes: int
    devices: int

    def size(self, rows: int) -> int:
        """Returns the number of rows of a process, with those that fill it up."""
        return -(-rows // self.devices) * (self.devices // self.processes)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Returns the items of an array of rows that are those of this process."""
        size = self.size(len(rows))
        return rows[self.process_id * size : (self.process_id + 1) * size]

    def fill_up(self, arrays: Sequence[np.ndarray], rows: int) -> tuple:
        """Appends rows to the arrays of this process, so that all have equal size.

        Args:
            arrays: Inputs and targets of this process.
            rows: int. Number of rows of the whole batch.

        Raises:
            ValueError: The arrays are not ids, so that no row can be left out.
        """
        missing = self.size(rows) - len(arrays[0])
        if not rows % self.devices:
            return tuple(arrays)
        if any(array.dtype.kind not in "iu" for array in arrays):
            raise ValueError(
                f"A batch of {rows} examples cannot be divided among {self.devices} "
                "devices. Choose batch_size and the number of examples as multiples of "
                f"{self.devices}, or use one of textgen's datasets."
            )
        # Loss and metrics ignore targets of -1.
        return tuple(
            np.pad(
                array,
                [(0, missing)] + [(0, 0)] * (array.ndim - 1),
                constant_values=NO_SYMBOL,
            )
            for array in arrays
        )


def share() -> Share | None:
    """Returns the rows that this process reads; `None` for all."""
    distribution = keras.distribution.distribution()
    if distribution is None or keras.backend.backend() != "jax":
        return None
    mesh = distribution.device_mesh
    devices = mesh.shape[mesh.axis_names.index(distribution.batch_dim_name)]
    if processes() == 1:
        return Share(0, 1, devices)
    import jax

    return Share(jax.process_index(), jax.process_count(), devices)


@contextlib.contextmanager
def alone(model: Any) -> Iterator[None]:
    """Gives the variables of a model to this process only, within a `with` block.

    Work on distributed variables is work of all processes together. In this block, one
    process can read and copy them without the others. Changes of the variables are
    lost.

    Args:
        model: `keras.Model`, or `None` to make new models that are not distributed.
    """
    distribution = keras.distribution.distribution()
    if distribution is None or keras.backend.backend() != "jax":
        yield
        return
    before = [(each, keras_internals.placed(each)) for each in _variables(model)]
    copies = []
    for variable, (value, _) in before:
        # A copy: `predict` gives the memory of its variables away. A step that failed
        # has done so too; the variable then gets its value from a snapshot.
        try:
            copies.append(on_one_device(value).copy())
        except RuntimeError:
            copies.append(keras.ops.zeros(variable.shape, variable.dtype))
    try:
        keras.distribution.set_distribution(None)
        for (variable, _), value in zip(before, copies, strict=True):
            keras_internals.place(variable, value)
        yield
    finally:
        for variable, (value, layout) in before:
            keras_internals.place(variable, value, layout)
        keras.distribution.set_distribution(distribution)


def _variables(model: Any) -> list:
    """Returns all variables of a model and of its training."""
    if model is None:
        return []
    optimizer = getattr(model, "optimizer", None)
    slots = optimizer.variables if optimizer is not None else []
    return [*model.variables, *slots, *model.metrics_variables]
