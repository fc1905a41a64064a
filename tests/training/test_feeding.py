"""How `fit` and `evaluate` read data of every type, and which data they refuse."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import textgen
import textgen.batches
from textgen.training import feeding

TEXT = "the quick brown fox jumps over the lazy dog\n" * 8
VOCABULARY = textgen.Vocabulary.from_text(TEXT)
IDS = VOCABULARY.encode(TEXT)
STEPS = 6


def compiled(**kwargs):
    keras.utils.set_random_seed(0)
    model = textgen.LanguageModel(
        VOCABULARY, cell="gru", units=8, sequence_length=STEPS, **kwargs
    )
    model.compile()
    return model


def windows(steps=STEPS):
    dataset = textgen.WindowDataset(IDS, steps, batch_size=16)
    return [dataset[index] for index in range(4)]


def from_generator(steps):
    return (batch for batch in windows(steps))


def from_tensorflow(steps):
    return tf.data.Dataset.from_generator(
        lambda: from_generator(steps),
        output_signature=(
            tf.TensorSpec((None, None), tf.int32),
            tf.TensorSpec((None,), tf.int32),
        ),
    )


def test_windows_of_another_length_from_a_generator():
    with pytest.raises(ValueError, match=f"9 steps long.*sequence_length={STEPS}"):
        compiled().fit(from_generator(9), verbose=0)


@pytest.mark.tensorflow("graphs of an unknown number of steps")
def test_windows_of_unknown_length_from_tensorflow():
    # The length is only known when the graph runs.
    model = compiled()
    model.fit(from_tensorflow(STEPS), verbose=0)
    with pytest.raises(
        tf.errors.InvalidArgumentError,
        match=rf"(?s)sequence_length={STEPS} steps long.*\[9\]",
    ):
        model.fit(from_tensorflow(9), verbose=0)


def test_validation_windows_of_another_length():
    with pytest.raises(ValueError, match=f"9 steps long.*sequence_length={STEPS}"):
        compiled().fit(
            textgen.WindowDataset(IDS, STEPS),
            validation_data=textgen.WindowDataset(IDS, 9),
            verbose=0,
        )


@pytest.mark.parametrize(
    "dataset",
    [
        textgen.SequenceDataset(IDS, STEPS, 4, sampling="random"),
        textgen.LineDataset(IDS, VOCABULARY.ids["\n"], batch_size=4),
    ],
)
def test_stateful_model_refuses_batches_that_do_not_continue(dataset):
    model = compiled(return_sequences=True, stateful=True, batch_size=4)
    with pytest.raises(ValueError, match="sampling='consecutive'"):
        model.fit(dataset, verbose=0)


def test_evaluation_of_a_stateful_model_from_tensorflow_at_another_batch_size():
    model = compiled(return_sequences=True, stateful=True, batch_size=4)
    strands = textgen.SequenceDataset(
        IDS, STEPS, 8, sampling="consecutive", random_offset=False
    )
    batches = [strands[index] for index in range(len(strands))]
    x, y = (np.concatenate(part) for part in zip(*batches, strict=True))
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(8)
    assert model.evaluate(data, verbose=0) == pytest.approx(
        model.evaluate(strands, verbose=0)
    )


def test_custom_network_learns_from_ids():
    keras.utils.set_random_seed(0)
    own = keras.Sequential(
        [
            keras.Input((STEPS,), dtype="int32"),
            textgen.OneHot(len(VOCABULARY)),
            keras.layers.LSTM(8),
            keras.layers.Dense(len(VOCABULARY), "softmax"),
        ]
    )
    own.compile("rmsprop", "sparse_categorical_crossentropy")
    history = own.fit(textgen.WindowDataset(IDS, STEPS), epochs=2, verbose=0)
    assert history.history["loss"][1] < history.history["loss"][0]


def test_callback_list_trains_as_a_list_does():
    weights = []
    for make in (list, keras.callbacks.CallbackList):
        model = compiled()
        for _ in range(2):  # the second `fit` continues with the order of epoch 1
            model.fit(windows_of := textgen.WindowDataset(IDS, STEPS), verbose=0)
            model.fit(windows_of, callbacks=make([]), verbose=0)
        weights.append(model.get_weights())
    for one, other in zip(*weights, strict=True):
        assert np.array_equal(one, other)


def test_custom_dataset():
    class Reversed(textgen.batches.Dataset):
        def __len__(self):
            return 2

        steps, target_steps = STEPS, ()

        def batch(self, index, epoch):
            x = self.ids[::-1][: 4 * STEPS].reshape(4, STEPS).astype("int32")
            return x, x[:, 0]

    history = compiled().fit(Reversed(IDS, 4, seed=0), epochs=2, verbose=0)
    assert history.history["loss"][1] < history.history["loss"][0]


def test_fit_learns_how_texts_begin_and_end():
    end = VOCABULARY.ids["\n"]
    lines = textgen.LineDataset(IDS, end, batch_size=4)
    model = compiled(return_sequences=True)
    network = keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            textgen.OneHot(len(VOCABULARY)),
            textgen.GRU(4, return_sequences=True),
            keras.layers.Dense(len(VOCABULARY)),
        ]
    )
    wrapped = textgen.from_keras(network, VOCABULARY)
    wrapped.compile()
    for each in (model, wrapped):
        assert (each.start_step, each.end_token) == (False, None)
        each.fit(lines, verbose=0)
        assert (each.start_step, each.end_token) == (True, end)
        copy = type(each).from_config(each.get_config())
        assert (copy.start_step, copy.end_token) == (True, end)
        each.fit(textgen.SequenceDataset(IDS, STEPS, 4), verbose=0)
        assert (each.start_step, each.end_token) == (False, None)


# === Arrays, when a training can be resumed ===


def given(**changes):
    """Arguments of `fit`."""
    names = ("x", "y", "sample_weight", "batch_size", "validation_data")
    arguments = {**dict.fromkeys(names), "validation_split": 0.0, "shuffle": True}
    return {**arguments, **changes}


def test_every_epoch_shuffles_all_examples_of_arrays():
    x = np.arange(50.0).reshape(25, 2)
    y, weights = np.arange(25), np.linspace(0, 1, 25)
    arguments = given(x=x, y=y, sample_weight=weights, batch_size=4)
    changed = feeding.with_dataset(arguments, seed=3)
    data = changed["x"]
    assert (changed["y"], changed["sample_weight"], changed["batch_size"]) == (
        None,
    ) * 3
    assert (len(data), data.steps, data.largest_batch) == (7, 2, 4)
    assert data.signature == (((2,), "float32"), ((), "int64"), ((), "float32"))
    orders = []
    for _ in range(2):
        epoch = [np.concatenate(part) for part in zip(*data, strict=True)]
        assert [part.dtype.name for part in epoch] == ["float32", "int64", "float32"]
        orders.append(epoch[1].tolist())
        assert np.array_equal(epoch[0], x[epoch[1]])
        assert np.array_equal(epoch[2], weights[epoch[1]].astype("float32"))
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(25))
    assert orders[0] != orders[1] != list(range(25))
    again = feeding.with_dataset(arguments, seed=3)["x"]
    assert again.batch(2, 1)[1].tolist() == orders[1][8:12]
    ordered = feeding.with_dataset({**arguments, "shuffle": False}, seed=3)["x"]
    assert np.concatenate([batch[1] for batch in ordered]).tolist() == list(range(25))


def test_split_of_arrays_is_that_of_keras():
    x, y = np.arange(30).reshape(10, 3), np.arange(10)
    changed = feeding.with_dataset(given(x=x, y=y, validation_split=0.25), seed=0)
    assert changed["x"].batch(0, None)[1].tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert [part.tolist() for part in changed["validation_data"]] == [
        x[7:].tolist(),
        [7, 8, 9],
    ]
    assert changed["validation_split"] == 0.0
    with pytest.raises(ValueError, match=r"validation_split=0.95 leaves 0 of 10 exam"):
        feeding.with_dataset(given(x=x, y=y, validation_split=0.95), seed=0)


def test_what_is_no_array_is_not_changed():
    x = np.zeros((4, 3), np.int32)
    for data in (
        given(x=textgen.WindowDataset(IDS, STEPS)),
        given(x=from_generator(STEPS)),
        given(x=[x, x], y=x[:, 0]),
        given(x={"ids": x}, y=x[:, 0]),
        given(x=tf.data.Dataset.from_tensor_slices((x, x))),
    ):
        assert feeding.with_dataset(data, seed=0) == {}
    tensors = given(x=tf.constant(x), y=tf.constant(x[:, 0]))
    assert len(feeding.with_dataset(tensors, seed=0)["x"]) == 1
    with pytest.raises(
        ValueError, match="The arrays have 3, 4 examples: all must have"
    ):
        feeding.with_dataset(given(x=x, y=x[:3, 0]), seed=0)
