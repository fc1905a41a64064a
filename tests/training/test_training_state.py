"""Copies of the state of a training, and its values as JSON and arrays."""

import json
import math

import keras
import numpy as np
import pytest

import textgen
from textgen.training import training_state

VOCABULARY = textgen.Vocabulary.from_text("abc")


def compiled(**kwargs):
    keras.utils.set_random_seed(0)
    model = textgen.LanguageModel(VOCABULARY, units=2, sequence_length=3, **kwargs)
    model.compile(run_eagerly=True)
    return model


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -7,
        2**70,
        0.1,
        math.inf,
        -math.inf,
        "text\n\x1b",
        [1, [2.5, None]],
        {"a": {"b": [np.arange(3)]}, 4: "integers as keys"},
        np.float32(0.1),
        np.int8(-3),
        np.float64("nan"),
        np.zeros((2, 0), np.int16),
        np.array(3.5),
        np.array([True, False]),
        {},
        [],
    ],
)
def test_packed_value_is_restored(value):
    arrays = {}
    packed = json.loads(json.dumps(training_state.pack(value, arrays)))
    found = training_state.unpack(packed, arrays)
    assert type(found) is type(value)
    assert getattr(found, "dtype", None) == getattr(value, "dtype", None)
    assert repr(found) == repr(value)


def test_half_precision_of_accelerators_is_restored():
    value = keras.ops.convert_to_numpy(keras.ops.ones((2, 3), "bfloat16"))
    arrays = {}
    packed = training_state.pack(value, arrays)
    assert arrays["0"].dtype == np.uint16  # HDF5 has no bfloat16
    found = training_state.unpack(packed, arrays)
    assert found.dtype == value.dtype
    assert np.array_equal(found, value)


def test_arrays_are_copied():
    value, arrays = np.zeros(3), {}
    training_state.pack(value, arrays)
    value += 1
    assert not arrays["0"].any()


def test_value_that_cannot_be_packed_is_named():
    with pytest.raises(TypeError, match="contains a set; get_state must return numb"):
        training_state.pack({"a": {1}}, {})


def test_snapshot_restores_the_model():
    model = compiled(dropout=0.5)
    model.notes = {"epochs": 1}
    snapshot = training_state.Snapshot(model, {"step": 1}, [])
    before = [keras.ops.convert_to_numpy(each) for each in model.variables]
    windows = textgen.WindowDataset(VOCABULARY.encode("abcabcbacab"), 3, 1)
    model.fit(windows, verbose=0)
    model.notes["epochs"] = 2
    after = [keras.ops.convert_to_numpy(each) for each in model.variables]
    assert not all(map(np.array_equal, before, after))
    with snapshot.in_model(model):
        for variable, value in zip(model.variables, before, strict=True):
            assert np.array_equal(variable, value)
        assert (int(model.optimizer.iterations), model.notes["epochs"]) == (0, 1)
    for variable, value in zip(model.variables, after, strict=True):
        assert np.array_equal(variable, value)
    assert (int(model.optimizer.iterations), model.notes["epochs"]) == (1, 2)
    snapshot.restore(model)
    assert int(model.optimizer.iterations) == 0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_value_that_is_not_finite_is_found(value):
    model = compiled()
    assert training_state.Snapshot(model, {}, []).not_finite() is None
    [*_, bias] = model.trainable_variables
    bias.assign(np.array([1.0, value, 2.0]))
    assert training_state.Snapshot(model, {}, []).not_finite() == bias.path
    # A sum that overflows is no infinite value.
    bias.assign(np.full(3, 3e38))
    assert training_state.Snapshot(model, {}, []).not_finite() is None
