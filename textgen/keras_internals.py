"""The private names of Keras that textgen uses, each with the reason.

Keras has no public name for any of these. `tests/test_keras_internals.py` says which
one is gone when a new release of Keras moves it.
"""

from typing import Any

import keras

# Keras shuffles the batches of a `PyDataset` in `fit`, and takes a `DataAdapter` as it
# is: the one way to give it batches in their order.
from keras.src.trainers.data_adapters import data_adapter_utils
from keras.src.trainers.data_adapters.data_adapter import DataAdapter as DataAdapter


def torch_dataloader(batches: Any) -> Any:
    """Returns the `DataLoader` of a `DataAdapter`, as PyTorch's trainer wants it."""
    return data_adapter_utils.get_torch_dataloader(batches)


def mask_of(tensor: Any) -> Any:
    """Returns the mask that Keras's layers attached to a tensor, or `None`."""
    return getattr(tensor, "_keras_mask", None)


# === The graph of a functional model ===
# Keras's public graph, `get_config()`, names layers by strings that need not be unique
# once models are nested, and leaves out operations that are no layers.


def operations_of(network: Any) -> list:
    """Returns the layers and other operations of a functional model."""
    return network.operations


def has_graph(network: Any) -> bool:
    """Whether a functional or a Sequential model knows its inputs and outputs."""
    return bool(network.built and getattr(network, "_functional", True))


def origin_of(tensor: Any) -> tuple[Any, Any]:
    """Returns the operation that a symbolic tensor comes from, and the call's node."""
    operation, index, _ = tensor._keras_history
    return operation, operation._inbound_nodes[index]


def calls_of(operation: Any) -> list:
    """Returns the nodes of all calls of an operation."""
    return operation._inbound_nodes


# === Recurrent layers ===


class RecurrentLoop(keras.layers.RNN):
    """Mixin of a recurrent layer of Keras whose loop over the steps can be replaced.

    Keras calls `inner_loop` once the initial states are there, and has no other place
    where its cuDNN kernel and its loop over the steps part. Subclasses implement
    `run_loop`, and call `keras_loop` for Keras's own.
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
        """Returns what Keras's own loop returns."""
        return super().inner_loop(sequences, initial_state, mask, training)

    def input_dropout(self, sequences: Any) -> Any:
        """Returns the factors of the input dropout, `(N, D)`, the same at each step."""
        # Keras's cell draws them, so that equal seeds drop what Keras drops.
        return self.cell.get_dropout_mask(sequences[:, 0, :])
