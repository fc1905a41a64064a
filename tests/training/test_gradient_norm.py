"""The norm in the logs, against the change of the weights in a step of SGD."""

import keras
import numpy as np
import pytest
from keras import ops

import textgen
from textgen.training import gradient_norm

VOCABULARY = textgen.Vocabulary.from_text("abcdef \n")
RATE = 2.0**-10  # a power of two: no rounding


class Steps(keras.callbacks.Callback):
    """Keeps the norm and the weights of each step."""

    needs_gradient_norm = True

    def __init__(self):
        super().__init__()
        self.norms, self.weights = [], []

    def _weights(self):
        arrays = [ops.convert_to_numpy(each) for each in self.model.trainable_variables]
        return np.concatenate([array.ravel() for array in arrays]).astype("float64")

    def on_train_begin(self, logs=None):
        self.weights.append(self._weights())

    def on_train_batch_end(self, batch, logs=None):
        self.norms.append(logs["gradient_norm"])
        self.weights.append(self._weights())


def embedded(vocabulary):
    """A network whose gradient is a list of rows, with repetitions, in TensorFlow."""
    return textgen.from_keras(
        keras.Sequential(
            [
                keras.Input((5,), dtype="int32"),
                keras.layers.Embedding(len(vocabulary), 3),
                keras.layers.GRU(4),
                keras.layers.Dense(len(vocabulary)),
            ]
        ),
        vocabulary,
    )


def own(**options):
    return lambda vocabulary: textgen.LanguageModel(
        vocabulary, units=4, sequence_length=5, **options
    )


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (own(embedding=3), {}),
        (own(embedding=3), {"run_eagerly": True}),
        (own(dtype="mixed_float16"), {"run_eagerly": True}),
        (embedded, {"run_eagerly": True}),
    ],
)
def test_norm_is_that_of_the_gradient(make, options):
    keras.utils.set_random_seed(0)
    model = make(VOCABULARY)
    model.compile(keras.optimizers.SGD(RATE), **options)
    ids = np.random.default_rng(0).integers(0, 3, 22)  # three ids: many repetitions
    steps = Steps()
    data = textgen.WindowDataset(ids, 5, 1, batch_size=6)
    history = model.fit(data, verbose=0, callbacks=[steps]).history
    changes = [np.linalg.norm(each) for each in np.diff(steps.weights, axis=0)]
    tolerance = 2e-3  # the weights are rounded to float32
    assert len(changes) == 3
    np.testing.assert_allclose(steps.norms, np.divide(changes, RATE), rtol=tolerance)
    assert history["gradient_norm"][0] == pytest.approx(steps.norms[-1])
    assert "apply" not in vars(model.optimizer)


def test_norm_is_that_before_clipping():
    keras.utils.set_random_seed(0)
    norms = []
    for clipnorm in (None, 1e-3):
        keras.utils.set_random_seed(0)
        model = own()(VOCABULARY)
        optimizer = keras.optimizers.SGD(0.0, global_clipnorm=clipnorm)
        model.compile(optimizer, run_eagerly=True)
        steps = Steps()
        data = textgen.WindowDataset(np.arange(22) % 8, 5, 1, batch_size=6)
        model.fit(data, verbose=0, callbacks=[steps])
        norms.append(steps.norms)
    assert norms[0] == norms[1]
    assert min(norms[0]) > 1e-3


def test_without_a_callback_there_is_no_norm():
    model = own()(VOCABULARY)
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    data = textgen.WindowDataset(np.arange(12) % 8, 5, 1)
    model.fit(data, verbose=0, callbacks=[Steps()])
    assert "gradient_norm" not in model.fit(data, verbose=0).history


def test_mean_of_an_epoch_leaves_out_what_is_not_finite():
    mean = gradient_norm.Mean()
    for logs in ({"gradient_norm": 1.0}, {"gradient_norm": float("inf")}, {}, None):
        mean.add(logs)
    mean.add({"gradient_norm": 4.0})
    assert mean.value == 2.5
