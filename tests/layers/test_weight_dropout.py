"""Dropout of recurrent weights, which the layers of Keras do not have."""

import numpy as np
import pytest
from keras import ops

from textgen.layers.recurrent import GRU, LSTM, SimpleRNN


@pytest.mark.parametrize("options", [{}, {"recurrent_dropout": 0.2}])
@pytest.mark.parametrize("cell", [SimpleRNN, GRU, LSTM])
def test_weight_dropout_zeroes_recurrent_weights(cell, options):
    x = np.random.default_rng(0).normal(size=(3, 4, 2)).astype("float32")
    layer = cell(5, weight_dropout=0.5, seed=1, **options)
    layer.build(x.shape)
    kernel = layer.cell.recurrent_kernel
    before = ops.convert_to_numpy(kernel)
    undropped = ops.convert_to_numpy(layer(x))
    trained = [ops.convert_to_numpy(layer(x, training=True)) for _ in range(2)]
    assert abs(trained[0] - undropped).max() > 1e-3
    assert abs(trained[0] - trained[1]).max() > 1e-3
    assert layer.cell.recurrent_kernel is kernel
    np.testing.assert_array_equal(ops.convert_to_numpy(kernel), before)
    np.testing.assert_array_equal(ops.convert_to_numpy(layer(x)), undropped)


def test_weight_dropout_is_the_same_for_all_rows():
    x = np.ones((2, 3, 2), "float32")
    rows = ops.convert_to_numpy(LSTM(5, weight_dropout=0.5)(x, training=True))
    # Not exactly equal: the end of an array may use other instructions.
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-6)


def test_weight_dropout_scales_the_remaining_weights():
    # One step from a given state. The mean of the product is the one without dropout.
    layer = SimpleRNN(1, weight_dropout=0.25, recurrent_initializer="ones", seed=0)
    state = np.full((1, 1), 0.3, "float32")
    x = np.zeros((1, 1, 1), "float32")
    found = {
        round(float(layer(x, initial_state=[state], training=True)[0, 0]), 4)
        for _ in range(30)
    }
    assert found == {0.0, round(float(np.tanh(0.3 / 0.75)), 4)}


def test_weight_dropout_is_in_the_config():
    layer = GRU(3, weight_dropout=0.25)
    assert GRU.from_config(layer.get_config()).weight_dropout == 0.25
    assert "weight_dropout" not in GRU(3).get_config()
