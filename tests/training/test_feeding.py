"""How `fit` and `evaluate` read data of every type, and which data they refuse."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import textgen
import textgen.batches

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
