import json

import keras
import numpy as np
import pytest
from keras import ops

from textgen.layers import (
    GRU,
    LSTM,
    CarriedStates,
    Embedding,
    OneHot,
    SimpleRNN,
    is_one_hot,
)

SIZE = 5
IDS = np.array([[0, 4, -1], [2, -1, 3]])


def rows_of(ids, table):
    """The rows of a table, and zeros for -1, one by one."""
    zero = np.zeros(table.shape[1], table.dtype)
    return np.array([[zero if i < 0 else table[i] for i in row] for row in ids])


# === OneHot ===


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64"])
def test_one_hot_of_ids(dtype):
    rows = ops.convert_to_numpy(OneHot(SIZE)(IDS.astype(dtype)))
    np.testing.assert_array_equal(rows, rows_of(IDS, np.eye(SIZE)))


@pytest.mark.parametrize("dtype", ["bool", "int8", "float32"])
def test_one_hot_passes_through(dtype):
    one_hot = rows_of(IDS, np.eye(SIZE)).astype(dtype)
    rows = OneHot(SIZE)(one_hot)
    assert rows.dtype == "float32"
    np.testing.assert_array_equal(ops.convert_to_numpy(rows), one_hot)


@pytest.mark.parametrize("inputs", [IDS, rows_of(IDS, np.eye(SIZE))])
@pytest.mark.parametrize(
    ("policy", "dtype"), [("float64", "float64"), ("mixed_bfloat16", "bfloat16")]
)
def test_one_hot_has_the_compute_dtype(inputs, policy, dtype):
    assert OneHot(SIZE, dtype=policy)(inputs).dtype == dtype


@pytest.mark.parametrize("shape", [(2, 7), (2, 7, SIZE), (None, None)])
def test_one_hot_output_shape(shape):
    assert OneHot(SIZE).compute_output_shape(shape) == (*shape[:2], SIZE)


def test_one_hot_in_a_sequential_model():
    model = keras.Sequential(
        [keras.Input((None,), dtype="int32"), OneHot(SIZE), keras.layers.SimpleRNN(3)]
    )
    assert model.output_shape == (None, 3)
    [layer] = model.layers[1:]
    np.testing.assert_allclose(
        model(IDS), layer(rows_of(IDS, np.eye(SIZE, dtype=np.float32))), atol=1e-6
    )


@pytest.mark.parametrize("shape", [(3,), (2, 3, SIZE + 1), (2, 3, SIZE, 1)])
def test_other_shapes_are_named(shape):
    with pytest.raises(ValueError, match=r"neither ids .* nor one-hot") as error:
        is_one_hot(np.zeros(shape), SIZE)
    assert str(shape) in str(error.value)
    assert f"(batch, steps, {SIZE})" in str(error.value)


# === Embedding ===


@pytest.fixture
def embedding():
    keras.utils.set_random_seed(0)
    layer = Embedding(SIZE, 3)
    layer.build((None, None))
    return layer


@pytest.mark.parametrize("dtype", ["int8", "int32"])
def test_embedding_of_ids(embedding, dtype):
    table = ops.convert_to_numpy(embedding.embeddings)
    assert np.abs(table).min() > 0
    vectors = ops.convert_to_numpy(embedding(IDS.astype(dtype)))
    np.testing.assert_array_equal(vectors, rows_of(IDS, table))


@pytest.mark.parametrize("dtype", ["bool", "float32"])
def test_embedding_of_one_hot_equals_that_of_ids(embedding, dtype):
    one_hot = rows_of(IDS, np.eye(SIZE)).astype(dtype)
    np.testing.assert_allclose(embedding(one_hot), embedding(IDS), atol=1e-7)


def test_embedding_projects_by_the_transpose(embedding):
    table = ops.convert_to_numpy(embedding.embeddings)
    vectors = np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)
    logits = ops.convert_to_numpy(embedding.project(vectors))
    assert logits.shape == (2, 4, SIZE)
    np.testing.assert_allclose(logits, vectors @ table.T, atol=1e-6)


def test_embedding_in_other_precisions():
    assert Embedding(SIZE, 3, dtype="float64")(IDS).dtype == "float64"
    mixed = Embedding(SIZE, 3, dtype="mixed_bfloat16")
    assert mixed(IDS).dtype == "bfloat16"
    assert mixed(rows_of(IDS, np.eye(SIZE))).dtype == "bfloat16"
    assert mixed.embeddings.dtype == "float32"


# === CarriedStates ===


def filled(layer, purpose, rows):
    """Makes states, writes other numbers into each, and returns those."""
    layer.prepare(purpose, rows)
    values = [
        np.random.default_rng(index).normal(size=(rows, size)).astype(np.float32)
        for index, size in enumerate(layer.sizes)
    ]
    layer.write(purpose, [ops.convert_to_tensor(value) for value in values])
    return values


def assert_states(layer, purpose, expected):
    states = layer.read(purpose, len(expected[0]))
    assert len(states) == len(expected)
    for state, value in zip(states, expected, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(state), value)


def test_prepared_states_are_zero():
    layer = CarriedStates([2, 3])
    assert layer.prepare("training", 4)
    assert_states(layer, "training", [np.zeros((4, 2)), np.zeros((4, 3))])


def test_written_states_are_read():
    layer = CarriedStates([2, 3])
    values = filled(layer, "training", 4)
    assert_states(layer, "training", values)
    assert_states(layer, "training", [value[:3] for value in values])


def test_writing_fewer_rows_leaves_the_others():
    layer = CarriedStates([2, 3])
    values = filled(layer, "training", 4)
    layer.write("training", [ops.ones((1, 2)), ops.ones((1, 3))])
    for value in values:
        value[:1] = 1
    assert_states(layer, "training", values)


def test_reset_is_of_one_purpose():
    layer = CarriedStates([2, 3])
    filled(layer, "training", 4)
    values = filled(layer, "evaluation", 2)
    layer.reset("training")
    assert_states(layer, "training", [np.zeros((4, 2)), np.zeros((4, 3))])
    assert_states(layer, "evaluation", values)
    layer.reset("nothing of this name")


def test_preparing_again_resets_and_grows():
    layer = CarriedStates([2])
    training = filled(layer, "training", 2)
    filled(layer, "evaluation", 3)
    assert not layer.prepare("evaluation", 2)
    assert_states(layer, "evaluation", [np.zeros((3, 2))])
    assert layer.prepare("evaluation", 7)
    assert_states(layer, "evaluation", [np.zeros((7, 2))])
    assert_states(layer, "training", training)


def test_only_training_states_are_saved():
    layer = CarriedStates([2, 3])
    training = filled(layer, "training", 4)
    filled(layer, "evaluation", 5)
    store = {}
    layer.save_own_variables(store)
    assert len(store) == 2
    other = CarriedStates([2, 3])
    other.prepare("training", 4)
    other.prepare("evaluation", 5)
    other.load_own_variables(store)
    assert_states(other, "training", training)
    assert_states(other, "evaluation", [np.zeros((5, 2)), np.zeros((5, 3))])


def test_carried_states_take_values_of_lower_precision():
    layer = CarriedStates([2], dtype="mixed_bfloat16")
    layer.prepare("training", 1)
    layer.write("training", [ops.cast([[1.5, -2.0]], "bfloat16")])
    [state] = layer.read("training", 1)
    assert state.dtype == "float32"
    assert ops.convert_to_numpy(state).tolist() == [[1.5, -2.0]]


# === Configuration ===


@pytest.mark.parametrize(
    "layer",
    [
        OneHot(SIZE, name="rows", dtype="float64"),
        Embedding(SIZE, 3, name="vectors", dtype="mixed_bfloat16"),
    ],
)
def test_config_round_trip(layer):
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    copy = keras.saving.deserialize_keras_object(config)
    assert type(copy) is type(layer)
    assert copy.name == layer.name
    assert copy.dtype_policy == layer.dtype_policy
    assert keras.saving.serialize_keras_object(copy) == config


# === Weight dropout ===


@pytest.mark.parametrize("options", [{}, {"recurrent_dropout": 0.2}])
@pytest.mark.parametrize("cell", [SimpleRNN, GRU, LSTM])
def test_weight_dropout_leaves_recurrent_weights_out(cell, options):
    x = np.random.default_rng(0).normal(size=(3, 4, 2)).astype("float32")
    layer = cell(5, weight_dropout=0.5, seed=1, **options)
    layer.build(x.shape)
    kernel = layer.cell.recurrent_kernel
    before = ops.convert_to_numpy(kernel)
    whole = ops.convert_to_numpy(layer(x))
    trained = [ops.convert_to_numpy(layer(x, training=True)) for _ in range(2)]
    assert abs(trained[0] - whole).max() > 1e-3
    assert abs(trained[0] - trained[1]).max() > 1e-3
    assert layer.cell.recurrent_kernel is kernel
    np.testing.assert_array_equal(ops.convert_to_numpy(kernel), before)
    np.testing.assert_array_equal(ops.convert_to_numpy(layer(x)), whole)


def test_weight_dropout_of_a_batch_is_one_for_all_rows():
    x = np.ones((2, 3, 2), "float32")
    rows = ops.convert_to_numpy(LSTM(5, weight_dropout=0.5)(x, training=True))
    # Not to the last digit: the end of an array may take other instructions.
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-6)


def test_weight_dropout_is_the_mean_of_what_it_leaves():
    # One step from a given state, of which the product with the kernel is the mean.
    layer = SimpleRNN(1, weight_dropout=0.25, recurrent_initializer="ones", seed=0)
    state = np.full((1, 1), 0.3, "float32")
    x = np.zeros((1, 1, 1), "float32")
    found = {
        round(float(layer(x, initial_state=[state], training=True)[0, 0]), 4)
        for _ in range(30)
    }
    assert found == {0.0, round(float(np.tanh(0.3 / 0.75)), 4)}


def test_weight_dropout_stands_in_the_config():
    layer = GRU(3, weight_dropout=0.25)
    assert GRU.from_config(layer.get_config()).weight_dropout == 0.25
    assert "weight_dropout" not in GRU(3).get_config()
