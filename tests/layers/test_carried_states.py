import numpy as np
from keras import ops

from textgen.layers.carried_states import CarriedStates


def filled(layer, purpose, rows):
    """Prepares states, writes random values, and returns the values."""
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


def test_writing_fewer_rows_keeps_the_other_rows():
    layer = CarriedStates([2, 3])
    values = filled(layer, "training", 4)
    layer.write("training", [ops.ones((1, 2)), ops.ones((1, 3))])
    for value in values:
        value[:1] = 1
    assert_states(layer, "training", values)


def test_reset_changes_one_purpose_only():
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


def test_values_of_lower_precision_are_cast():
    layer = CarriedStates([2], dtype="mixed_bfloat16")
    layer.prepare("training", 1)
    layer.write("training", [ops.cast([[1.5, -2.0]], "bfloat16")])
    [state] = layer.read("training", 1)
    assert state.dtype == "float32"
    assert ops.convert_to_numpy(state).tolist() == [[1.5, -2.0]]
