"""If a new release of Keras moves a private name, a test here fails and names it."""

import contextlib

import h5py
import keras
import numpy as np
from keras import layers, ops

from textgen import keras_internals


def test_masks_are_attached_to_tensors():
    embedded = layers.Embedding(4, 2, mask_zero=True)(np.array([[1, 0]]))
    mask = ops.convert_to_numpy(keras_internals.mask_of(embedded))
    assert mask.tolist() == [[True, False]]
    assert keras_internals.mask_of(ops.zeros((1, 2))) is None


def test_graph_of_a_functional_model():
    inputs = keras.Input((3,))
    dense = layers.Dense(2)
    hidden = dense(inputs)
    outputs = layers.Add()([hidden, 2 * hidden])
    network = keras.Model(inputs, outputs)
    assert keras_internals.has_graph(network)
    kinds = [type(each).__name__ for each in keras_internals.operations_of(network)]
    assert kinds == ["InputLayer", "Dense", "Multiply", "Add"]
    operation, node = keras_internals.origin_of(hidden)
    assert operation is dense
    assert [each is inputs for each in node.input_tensors] == [True]
    assert [each is node for each in keras_internals.calls_of(dense)] == [True]


def test_sequential_model_without_an_input_has_no_graph():
    network = keras.Sequential([layers.Dense(2)])
    assert not keras_internals.has_graph(network)
    network.build((None, 3))
    assert keras_internals.has_graph(network)


def test_keras_accepts_a_data_adapter():
    class Two(keras_internals.DataAdapter):
        def get_tf_dataset(self):
            import tensorflow as tf

            return tf.data.Dataset.from_tensors((np.ones((1, 1)), np.ones(1))).repeat(2)

        num_batches, batch_size = 2, 1
        has_partial_batch, partial_batch_size = False, None

    network = keras.Sequential([keras.Input((1,)), layers.Dense(1)])
    network.compile("sgd", "mse")
    network.fit(Two(), verbose=0)
    assert int(network.optimizer.iterations) == 2


def test_loop_of_a_recurrent_layer_can_be_replaced():
    class Layer(keras_internals.RecurrentLoop, layers.GRU):
        def run_loop(self, sequences, initial_state, mask, training=False):
            self.factors = self.input_dropout(sequences) if training else None
            return self.keras_loop(sequences, initial_state, mask, training)

    layer = Layer(4, dropout=0.5)
    x = np.ones((2, 3, 5), np.float32)
    found = ops.convert_to_numpy(layer(x))
    stock = layers.GRU(4)
    stock.build(x.shape)
    stock.set_weights(layer.get_weights())
    np.testing.assert_allclose(found, stock(x), atol=1e-6)
    layer(x, training=True)
    assert set(ops.convert_to_numpy(layer.factors).flat) <= {0.0, 2.0}
    assert layer.factors.shape == (2, 5)


def test_state_of_a_model_is_what_keras_saves(tmp_path):
    inputs = keras.Input((3, 2))
    outputs = layers.Dense(2)(layers.Bidirectional(layers.GRU(4))(inputs))
    network = keras.Model(inputs, outputs)
    network.compile("adam")
    network.optimizer.build(network.trainable_variables)
    network.save_weights(tmp_path / "a.weights.h5")
    with h5py.File(tmp_path / "a.weights.h5") as file:
        saved = {}
        file.visititems(
            lambda name, item: (
                saved.update({name: item[()]}) if hasattr(item, "shape") else None
            )
        )
    found = keras_internals.saved_state(network)
    assert found.keys() == saved.keys()
    assert "layers/bidirectional/forward_layer/cell/vars/0" in found
    for name, value in saved.items():
        np.testing.assert_array_equal(found[name], value)
    # Variables, so that a value can be assigned.
    weights = {id(weight) for weight in network.weights}
    state = keras_internals.state_of(network)
    assert {id(v) for name, v in state.items() if "optimizer" not in name} == weights


def test_objects_used_twice_are_serialized_once():
    zeros = keras.initializers.Zeros()
    configs = keras_internals.serialized([zeros, zeros, keras.initializers.Ones()])
    numbers = [config.get("shared_object_id") for config in configs]
    assert numbers[0] == numbers[1] is not None and numbers[2] is None
    for scope, same in (
        (keras_internals.sharing(), True),
        (contextlib.nullcontext(), False),
    ):
        with scope:
            first, second, _ = keras.saving.deserialize_keras_object(configs)
        assert (first is second) == same


def test_variables_without_values():
    """They need no memory, and Keras forgets them if they are not wanted."""
    with keras_internals.without_values() as created:
        large = layers.Dense(10**6)
        large.build((None, 10**6))
    assert [tuple(each.shape) for each in created] == [(10**6, 10**6), (10**6,)]
    with keras.StatelessScope():
        pass  # at its end, Keras gives values to all variables without
    with keras_internals.without_values() as created:
        layer = layers.Dense(2, bias_initializer="ones")
        layer.build((None, 3))
    kernel = np.arange(6.0).reshape(3, 2)
    keras_internals.give_values(created, {id(layer.kernel): lambda: kernel})
    np.testing.assert_array_equal(layer.kernel, kernel)
    np.testing.assert_array_equal(layer.bias, [1, 1])
    assert layer(np.ones((1, 3))).shape == (1, 2)
