"""All private names of Keras that textgen uses, each with its reason.

Keras has no public name for any of them. If a new release of Keras moves one,
`tests/test_keras_internals.py` fails and names it.
"""

from typing import Any

import keras

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
