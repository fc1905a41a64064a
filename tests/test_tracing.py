"""Compiled functions are shared by models of one architecture, and keep no model."""

import ctypes
import gc
import logging
import sys
import weakref
from pathlib import Path

import keras
import numpy as np
import pytest
from small_models import KINDS, SIZE, VOCABULARY, make, of_text

import textgen
from textgen import tracing

tf = pytest.importorskip("tensorflow")
pytestmark = pytest.mark.tensorflow("it frees no compiled functions and gradients")
IDS = np.random.default_rng(0).integers(0, SIZE, 200)


def wrapped(seed):
    """A Keras network, with the same names of layers each time."""
    inputs = keras.Input((4,), dtype="int32", name="ids")
    x = keras.layers.Embedding(SIZE, 5, name="embedding")(inputs)
    x = keras.layers.GRU(6, dropout=0.2, name="gru")(x)
    network = keras.Model(inputs, keras.layers.Dense(SIZE, name="out")(x), name="n")
    generator = np.random.default_rng(seed)
    for weight in network.weights:
        weight.assign(generator.normal(0, 1.2, weight.shape))
    return textgen.from_keras(network, VOCABULARY)


def functions():
    """The number of traces of each shared function."""
    found = [x for x in gc.get_objects() if isinstance(x, tracing._TensorflowFunction)]
    return sum(x._function.experimental_get_tracing_count() for x in found)


@pytest.mark.parametrize("kind", ["window", "state", "wrapped", "blend"])
def test_models_of_one_architecture_are_compiled_once(kind):
    def model(seed):
        if kind == "wrapped":
            return wrapped(seed)
        if kind == "blend":
            return textgen.Blend([make(seed=seed), make(seed=seed + 1)])
        return make(seed=seed, **KINDS[kind])

    def results(model):
        text, log_probs = model.generate("ab", 12, seed=1, return_log_probs=True)
        return text, log_probs, model.score("abcd ef").log_probs

    first = model(1)
    results(first)
    count = functions()
    second = model(2)
    text, log_probs, scores = results(second)
    assert functions() == count
    if kind in KINDS:
        np.testing.assert_allclose(log_probs, of_text(second, text, 2), atol=1e-5)
    # The first model is not changed by the second.
    for one, other in zip(results(first), results(model(1)), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not np.array_equal(scores, first.score("abcd ef").log_probs)


@pytest.mark.parametrize(
    "change",
    [
        {"units": (6, 8)},
        {"sequence_length": 6},
        {"activation": "relu"},
        {"cell": "gru"},
    ],
)
def test_other_architectures_are_other_functions(change):
    assert make().reader.key != make(**change).reader.key
    assert make().reader.key == make(seed=5).reader.key


def test_functions_of_a_subclass_are_its_own():
    class Mine(textgen.LanguageModel):
        pass

    assert Mine(VOCABULARY).reader.key is None


def test_a_model_that_is_twice_in_a_blend_keeps_its_weights_apart():
    one, two = make(), make(seed=4)
    textgen.Blend([one, one]).generate("ab", 3)
    mixed = textgen.Blend([one, two]).score("abcd").log_probs
    each = [np.exp(model.score("abcd").log_probs) for model in (one, two)]
    np.testing.assert_allclose(mixed, np.log(np.mean(each, axis=0)), atol=1e-5)


# === Memory ===


def use(model):
    """Trains, evaluates, predicts and generates."""
    model.compile("adam")
    data = textgen.WindowDataset(IDS, model.sequence_length, batch_size=64)
    model.fit(data, validation_data=data, verbose=0)
    model.predict(data[0][0], verbose=0)
    model.generate("ab", 3)
    model.score("abc")


@pytest.mark.parametrize("kind", ["window", "wrapped"])
def test_a_model_and_its_graphs_are_freed(kind):
    from tensorflow.python.framework import ops

    model = wrapped(0) if kind == "wrapped" else make(**KINDS[kind])
    before = set(ops.gradient_registry.list())
    use(model)
    kept = weakref.ref(model)
    del model
    gc.collect()
    assert kept() is None
    assert set(ops.gradient_registry.list()) <= before


def test_a_function_of_the_user_can_be_differentiated():
    model = make()
    function = tf.function(model, autograph=False)
    windows = np.zeros((32, model.sequence_length), np.int32)
    model.predict(windows, verbose=0)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(function(windows))
    gradients = tape.gradient(loss, [w.value for w in model.trainable_weights])
    assert all(gradient is not None for gradient in gradients)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_loaded_models(tmp_path):
    path = tmp_path / "model.keras"
    make(return_sequences=True, units=(128,)).save(path)

    def megabytes():
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

    def load(times):
        for _ in range(times):
            textgen.load(path).generate("ab", 3, seed=0)

    load(5)
    before = megabytes()
    load(20)
    assert megabytes() - before < 5  # one set of compiled functions: 2 MB and more


def test_new_shapes_in_a_row_are_not_reported(caplog):
    function = tracing.compiled(lambda x: x + 1, [])
    with caplog.at_level("WARNING", logger="tensorflow"):
        logger = logging.getLogger("tensorflow")
        logger.addHandler(caplog.handler)
        try:
            for size in range(1, 13):
                assert len(function(tf.zeros(size))) == size
        finally:
            logger.removeHandler(caplog.handler)
    assert not caplog.records
