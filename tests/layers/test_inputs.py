import json

import keras
import numpy as np
import pytest
from keras import ops

from textgen.layers.inputs import Embedding, OneHot, is_one_hot

SIZE = 5
IDS = np.array([[0, 4, -1], [2, -1, 3]])


def rows_of(ids, table):
    """Returns rows of a table; the row of -1 is zero."""
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


@pytest.mark.tensorflow("float64")
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
    for size in (SIZE, SIZE - 1):
        logits = ops.convert_to_numpy(embedding.project(vectors, size))
        assert logits.shape == (2, 4, size)
        np.testing.assert_allclose(logits, vectors @ table[:size].T, atol=1e-6)


@pytest.mark.tensorflow("float64")
def test_embedding_in_other_precisions():
    assert Embedding(SIZE, 3, dtype="float64")(IDS).dtype == "float64"
    mixed = Embedding(SIZE, 3, dtype="mixed_bfloat16")
    assert mixed(IDS).dtype == "bfloat16"
    assert mixed(rows_of(IDS, np.eye(SIZE))).dtype == "bfloat16"
    assert mixed.embeddings.dtype == "float32"


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
