"""All private names of Keras that textgen uses, each with its reason.

Keras has no public name for any of them. If a new release of Keras moves one,
`tests/test_keras_internals.py` fails and names it.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np

# `keras.saving` loads and saves complete files only. textgen checks a file before Keras
# sees a part of it, so it needs the steps: the walk over the objects of a model that
# have states, the storage that it passes to them, and the scope in which an object that
# is used twice is serialized once.
#
# Keras lists variables without values in its global state, and gives values to all of
# them when the outermost scope ends. A model that does not fit its file must get none.
from keras.src.backend.common import global_state
from keras.src.saving import saving_lib
from keras.src.saving.serialization_lib import ObjectSharingScope

# `fit` shuffles the batches of a `PyDataset`. A `DataAdapter` is the only way to give
# batches to Keras that stay in their order.
from keras.src.trainers.data_adapters import data_adapter_utils
from keras.src.trainers.data_adapters.data_adapter import DataAdapter as DataAdapter


def torch_dataloader(batches: Any) -> Any:
    """Returns the `DataLoader` of a `DataAdapter` for the trainer of PyTorch."""
    return data_adapter_utils.get_torch_dataloader(batches)


def mask_of(tensor: Any) -> Any:
    """Returns the mask that a Keras layer attached to a tensor, or `None`."""
    return getattr(tensor, "_keras_mask", None)


def placed(variable: Any) -> tuple:
    """Returns the JAX array of a variable, and how it is distributed."""
    return variable.value, variable._layout


def place(variable: Any, value: Any, layout: Any = None) -> None:
    """Replaces the JAX array of a variable, also by one on other devices.

    `assign` distributes the value over all devices, with all processes together.
    """
    variable._value, variable._layout = value, layout


# === The graph of a functional model ===
# The public description of the graph, `get_config()`, is not enough: it names layers by
# strings that may repeat in nested models, and omits operations that are not layers.


def operations_of(network: Any) -> list:
    """Returns the layers and other operations of a functional model."""
    return network.operations


def has_graph(network: Any) -> bool:
    """Whether a functional or Sequential model has known inputs and outputs."""
    return bool(network.built and getattr(network, "_functional", True))


def origin_of(tensor: Any) -> tuple[Any, Any]:
    """Returns the operation that made a symbolic tensor, and the node of that call."""
    operation, index, _ = tensor._keras_history
    return operation, operation._inbound_nodes[index]


def calls_of(operation: Any) -> list:
    """Returns the nodes of all calls of an operation."""
    return operation._inbound_nodes


# === Callbacks ===
# The attributes that change during `fit`. No public method returns them.

CALLBACK_STATES = {
    keras.callbacks.History: ("epoch", "history"),
    keras.callbacks.EarlyStopping: (
        *("wait", "stopped_epoch", "best", "best_epoch", "best_weights"),
    ),
    keras.callbacks.ReduceLROnPlateau: ("wait", "best", "cooldown_counter"),
    keras.callbacks.ModelCheckpoint: (
        *("best", "epochs_since_last_save", "_batches_seen_since_last_saving"),
        *("_last_batch_seen", "_current_epoch"),
    ),
    keras.callbacks.SwapEMAWeights: ("_ema_weights_in_model",),
    keras.callbacks.TensorBoard: ("_global_train_batch", "_global_test_batch"),
}


# === Recurrent layers ===


class RecurrentLoop(keras.layers.RNN):
    """Mixin for recurrent Keras layers that replaces the loop over the steps.

    Keras calls the private `inner_loop` after it has prepared the initial states. This
    method chooses between the cuDNN kernel and the loop over the steps, and no public
    method does so. Subclasses implement `run_loop`, and call `keras_loop` for the loop
    of Keras.
    """

    def run_loop(
        self, sequences: Any, initial_state: Any, mask: Any, training: bool = False
    ) -> tuple:
        """Returns the last output, the outputs and the last states."""
        raise NotImplementedError

    def inner_loop(
        self, sequences: Any, initial_state: Any, mask: Any, training: bool = False
    ) -> tuple:
        """Called by Keras."""
        return self.run_loop(sequences, initial_state, mask, training)

    def keras_loop(
        self, sequences: Any, initial_state: Any, mask: Any, training: bool = False
    ) -> tuple:
        """Runs the loop of Keras; returns the same as `run_loop`."""
        return super().inner_loop(sequences, initial_state, mask, training)

    def input_dropout(self, sequences: Any) -> Any:
        """Returns the factors of the input dropout, `(N, D)`, the same at each step."""
        # The Keras cell draws them, so that equal seeds give the dropout of Keras.
        return self.cell.get_dropout_mask(sequences[:, 0, :])


# === Files ===


class _Store(saving_lib.H5IOStore):
    """Collects the variables of a model, in place of an HDF5 file."""

    def __init__(self) -> None:
        self.variables: dict[str, Any] = {}
        self._place = ""

    def __bool__(self) -> bool:
        return True

    def make(self, path: str, metadata: Any = None) -> "_Store":
        """Selects an object of the model."""
        self._place = f"{path}/vars" if path else "vars"
        return self

    def __setitem__(self, name: str, value: Any) -> None:
        self.variables[f"{self._place}/{name}"] = value


def serialized(model: Any) -> dict:
    """Returns the configuration of a model, as in `config.json` of its file."""
    with ObjectSharingScope():
        return keras.saving.serialize_keras_object(model)


def sharing() -> Any:
    """Returns the scope that restores objects which `serialized` stored once."""
    return ObjectSharingScope()


def state_of(model: Any) -> dict[str, Any]:
    """Returns the variables that a file of a model contains, by their path in it.

    Those of an optimizer are NumPy arrays.
    """
    store = _Store()
    saving_lib._save_state(model, store, None, "", set())
    return store.variables


def saved_state(model: Any) -> dict[str, np.ndarray]:
    """Returns the arrays of `state_of` as NumPy arrays."""
    return {
        path: keras.ops.convert_to_numpy(getattr(each, "value", each))
        for path, each in state_of(model).items()
    }


@contextlib.contextmanager
def without_values() -> Iterator[list]:
    """Creates variables that have a shape and a dtype, but no values and no memory.

    Yields:
        List of the new variables, for `give_values`.
    """
    name = "uninitialized_variables"
    before = global_state.get_global_attribute(name)
    created: list = []
    global_state.set_global_attribute(name, created)
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield created
    finally:
        global_state.set_global_attribute(name, before or [])


def give_values(created: list, values: Mapping[int, Callable[[], Any]]) -> None:
    """Gives values to variables that were created without.

    To compute initial values would take most of the time that a model takes to load.

    Args:
        created: The list of `without_values`.
        values: Mapping of the `id` of a variable, and a function that returns its
            value. All others get their initial values.
    """

    def initializer(value: Callable[[], Any]) -> Callable[..., Any]:
        return lambda shape, dtype: keras.ops.convert_to_tensor(value(), dtype)

    for variable in created:
        if id(variable) in values:
            variable._initializer = initializer(values[id(variable)])
        variable._deferred_initialize()
