"""If a new release of Keras moves a private name, a test here fails and names it."""

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
