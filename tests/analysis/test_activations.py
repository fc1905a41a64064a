"""Activations, compared with plain loops over the equations of the layers.

Names of dimensions: T tokens, H units.
"""

import keras
import numpy as np
import pytest
from small_models import VOCABULARY, make

import textgen
from textgen.analysis.activations import untrained
from textgen.decoding.readers import StateReader

TEXT = "a bad\ncafe bed\nfade"
V = len(VOCABULARY)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm_step(layer, x, state):
    h, c = state
    kernel, recurrent, bias = (each.numpy().astype(float) for each in layer.weights)
    i, f, g, o = np.split(x @ kernel + h @ recurrent + bias, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), (sigmoid(o) * np.tanh(c), c), np.tanh(c)


def gru_step(layer, x, state):
    [h] = state
    kernel, recurrent, bias = (each.numpy().astype(float) for each in layer.weights)
    xz, xr, xh = np.split(x @ kernel + bias[0], 3)
    hz, hr, hh = np.split(h @ recurrent + bias[1], 3)
    z, r = sigmoid(xz + hz), sigmoid(xr + hr)
    h = z * h + (1 - z) * np.tanh(xh + r * hh)
    return h, (h,), h


def rnn_step(layer, x, state):
    [h] = state
    kernel, recurrent, bias = (each.numpy().astype(float) for each in layer.weights)
    h = np.tanh(x @ kernel + h @ recurrent + bias)
    return h, (h,), h


STEPS = {"lstm": (lstm_step, 2), "gru": (gru_step, 1), "simple_rnn": (rnn_step, 1)}


def read(layers, cell, inputs):
    """Returns the activations of all layers after each input, `(steps, H)`."""
    step, count = STEPS[cell]
    states = [(np.zeros(layer.units),) * count for layer in layers]
    rows = []
    for x in inputs:
        row = []
        for index, layer in enumerate(layers):
            x, states[index], shown = step(layer, x, states[index])
            row.append(shown)
        rows.append(np.concatenate(row))
    return np.array(rows)


def one_hot(ids):
    """Returns rows; that of the id -1 is zero."""
    return [(np.arange(V) == each).astype(float) for each in ids]


def ids_of(text):
    return VOCABULARY.encode(text).tolist()


@pytest.mark.parametrize("cell", STEPS)
def test_many_to_many(cell):
    model = make(cell=cell, units=(4, 3), return_sequences=True)
    found = textgen.cell_activations(model, TEXT)
    expected = read(model.recurrent_layers, cell, one_hot(ids_of(TEXT)))
    assert found.values.dtype == np.float32
    np.testing.assert_allclose(found.values, expected, atol=1e-5)
    assert found.layers == ((f"{cell}_0", 4), (f"{cell}_1", 3))
    assert found.tokens == tuple(TEXT)
    assert found.text == TEXT
    assert found.ids.dtype == np.int32
    assert found.ids.tolist() == ids_of(TEXT)
    assert found.starts.tolist() == [0]


@pytest.mark.parametrize("cell", STEPS)
def test_windows(cell):
    model = make(cell=cell, units=(4, 3), sequence_length=5)
    found = textgen.cell_activations(model, TEXT)
    padded = [-1] * 5 + ids_of(TEXT)
    for at in range(len(TEXT)):
        window = one_hot(padded[at + 1 : at + 6])
        expected = read(model.recurrent_layers, cell, window)[-1]
        np.testing.assert_allclose(found.values[at], expected, atol=1e-5)


def test_lines_after_a_start_step(monkeypatch):
    # Chunks of 8 steps: the state and the rows go on from chunk to chunk.
    monkeypatch.setattr(StateReader, "max_read_steps", 8)
    model = make(units=(4,), return_sequences=True, start_step=True)
    lines = ["bad cafe bed decade", "", "a", "fade"]
    found = textgen.cell_activations(model, lines)
    expected = [
        read(model.recurrent_layers, "lstm", one_hot([-1, *ids_of(line)]))[1:]
        for line in lines
        if line
    ]
    np.testing.assert_allclose(found.values, np.concatenate(expected), atol=1e-5)
    assert found.text == "".join(lines)
    assert found.starts.tolist() == [0, 19, 19, 20]


def test_layer_norm_and_embedding():
    model = make(
        units=(4, 3), return_sequences=True, embedding=2, layer_norm=True, cell="gru"
    )
    windows = make(
        units=(4, 3), sequence_length=9, embedding=2, layer_norm=True, cell="gru"
    )
    text = "bad cafe"
    found = textgen.cell_activations(model, text)
    # A window that starts with zero vectors: its reader must not add a start step.
    last = textgen.cell_activations(windows, text).values[-1]
    for each, ids, value in (
        (model, ids_of(text), found.values[-1]),
        (windows, [-1, *ids_of(text)], last),
    ):
        vectors = each.input_layer.embeddings.numpy()
        inputs = [vectors[one] if one >= 0 else np.zeros(2) for one in ids]
        first, second = each.recurrent_layers
        rows = read([first], "gru", inputs)
        scale, shift = (w.numpy() for w in each.norm_layers[0].weights)
        middle = (rows - rows.mean(1, keepdims=True)) / np.sqrt(
            rows.var(1, keepdims=True) + each.norm_layers[0].epsilon
        )
        upper = read([second], "gru", middle * scale + shift)
        np.testing.assert_allclose(value[:4], rows[-1], atol=1e-5)
        np.testing.assert_allclose(value[4:], upper[-1], atol=1e-4)


def stack(*layers, shape=(6,), dtype="int32"):
    network = keras.Sequential([keras.Input(shape, dtype=dtype), *layers])
    return textgen.from_keras(network, VOCABULARY)


def test_wrapped_network_that_carries_its_state():
    layers = keras.layers
    model = stack(
        layers.Embedding(V, 3),
        layers.LSTM(4, return_sequences=True),
        layers.Dropout(0.5),
        layers.LSTM(2, return_sequences=True),
        layers.Dense(V),
        shape=(None,),
    )
    assert model.carries_state
    vectors = model.network.layers[1].embeddings.numpy()
    recurrent = [each for each in model.network.layers if "lstm" in each.name]
    found = textgen.cell_activations(model, TEXT)
    expected = read(recurrent, "lstm", [vectors[each] for each in ids_of(TEXT)])
    np.testing.assert_allclose(found.values, expected, atol=1e-5)
    assert [size for _, size in found.layers] == [4, 2]


@pytest.mark.parametrize("kind", ["ids", "one_hot"])
def test_wrapped_network_with_windows(kind):
    layers = keras.layers
    first = [layers.Embedding(V, V)] if kind == "ids" else []
    model = stack(
        *first,
        layers.GRU(4, return_sequences=True),
        layers.GRU(3),
        layers.Dense(V, activation="softmax"),
        shape=(6,) if kind == "ids" else (6, V),
        dtype="int32" if kind == "ids" else "float32",
    )
    recurrent = [each for each in model.network.layers if "gru" in each.name]
    start = model.reader.start_id
    padded = [start] * 6 + ids_of(TEXT)
    vectors = (
        model.network.layers[1].embeddings.numpy()
        if kind == "ids"
        else np.concatenate([np.eye(V), np.zeros((1, V))])  # -1 is the last row
    )
    found = textgen.cell_activations(model, TEXT)
    for at in (0, 3, len(TEXT) - 1):
        window = [vectors[each] for each in padded[at + 1 : at + 7]]
        expected = read(recurrent, "gru", window)[-1]
        np.testing.assert_allclose(found.values[at], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("layers", "name"),
    [
        ([keras.layers.Bidirectional(keras.layers.GRU(2))], "Bidirectional"),
        ([keras.layers.Conv1D(2, 2), keras.layers.GRU(2)], "Conv1D"),
        ([keras.layers.GRU(2, go_backwards=True)], "GRU"),
        ([keras.layers.Flatten()], "Flatten"),
        ([keras.layers.Dense(2)], "no recurrent layer"),
    ],
)
def test_other_networks_are_refused(layers, name):
    model = stack(keras.layers.Embedding(V, 3), *layers, keras.layers.Dense(V))
    with pytest.raises(ValueError, match=f"{name}.* plain stack of SimpleRNN, GRU"):
        textgen.cell_activations(model, TEXT)


def test_masks_and_two_inputs_are_refused():
    model = stack(
        keras.layers.Embedding(V, 3, mask_zero=True),
        keras.layers.GRU(2),
        keras.layers.Dense(V),
    )
    with pytest.raises(ValueError, match=r"'embedding\w*' \(Embedding\) does not read"):
        textgen.cell_activations(model, TEXT)
    tensor = keras.Input((6,), dtype="int32")
    vectors = keras.layers.Embedding(V, 3)(tensor)
    both = keras.layers.Add()([keras.layers.Dense(3)(vectors), vectors])
    logits = keras.layers.Dense(V)(keras.layers.GRU(2)(both))
    model = textgen.from_keras(keras.Model(tensor, logits), VOCABULARY)
    with pytest.raises(ValueError, match=r"\(Add\) does not read the text"):
        textgen.cell_activations(model, TEXT)


def test_blend_is_refused():
    model = make(units=(2,), return_sequences=True)
    with pytest.raises(ValueError, match="cells of one network; Blend"):
        textgen.cell_activations(textgen.Blend([model, model]), TEXT)


def test_nothing_to_read():
    model = make(units=(2,), return_sequences=True)
    for text in ("", [], ["", ""]):
        with pytest.raises(ValueError, match="The text is empty"):
            textgen.cell_activations(model, text)
    with pytest.raises(ValueError, match="'x' at position 1"):
        textgen.cell_activations(model, "axe")
    assert textgen.cell_activations(model, "axe", unknown="skip").text == "ae"


def test_place_of_a_cell():
    model = make(units=(4, 3), return_sequences=True)
    found = textgen.cell_activations(model, "a")
    assert [found.place(cell) for cell in (0, 3, 4, 6)] == [
        ("lstm_0", 0),
        ("lstm_0", 3),
        ("lstm_1", 0),
        ("lstm_1", 2),
    ]
    with pytest.raises(IndexError, match="only 7 cells"):
        found.place(7)
    assert repr(found) == "Activations(1 tokens, lstm_0 4, lstm_1 3)"


def test_untrained_model_has_the_same_layers_and_other_weights():
    keras.utils.set_random_seed(0)
    wrapped = stack(
        keras.layers.Embedding(V, 3), keras.layers.GRU(2), keras.layers.Dense(V)
    )
    for model in (make(units=(4, 3), cell="gru"), wrapped):
        before = [each.numpy() for each in model.weights]
        other = untrained(model)
        first, second = (textgen.cell_activations(x, TEXT) for x in (model, other))
        assert first.layers == second.layers
        assert first.tokens == second.tokens
        assert np.abs(first.values - second.values).max() > 1e-3
        for weight, value in zip(model.weights, before, strict=True):
            np.testing.assert_array_equal(weight, value)


def test_bytes_and_the_text_that_they_add():
    model = make(
        textgen.ByteTokenizer(), units=(2,), return_sequences=True, embedding=2
    )
    found = textgen.cell_activations(model, "aé")
    assert found.tokens == ("a", "", "é")
    assert found.values.shape == (3, 2)
