import os
import sys
import threading
import types

import keras
import numpy as np
import pytest

import textgen
from textgen import backend, tracing
from textgen.layers import recurrent


@pytest.mark.parametrize("cores", [{0}, {1, 4, 5}])
def test_cores_are_those_of_the_affinity_mask(cores, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: cores, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert backend.available_cores() == len(cores)


@pytest.mark.parametrize(("machine", "expected"), [(8, 8), (None, 1)])
def test_cores_without_an_affinity_mask(machine, expected, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: machine)
    assert backend.available_cores() == expected


def test_deterministic_operations_are_asked_of_each_backend(monkeypatch):
    calls = []

    def fake(name, **parts):
        monkeypatch.setitem(sys.modules, name, types.SimpleNamespace(**parts))

    def on(name):
        monkeypatch.setattr(keras.backend, "backend", lambda: name)
        backend.make_deterministic()

    experimental = types.SimpleNamespace(
        enable_op_determinism=lambda: calls.append("tensorflow")
    )
    fake("tensorflow", config=types.SimpleNamespace(experimental=experimental))
    cudnn = types.SimpleNamespace(benchmark=True)
    fake(
        "torch",
        use_deterministic_algorithms=calls.append,
        backends=types.SimpleNamespace(cudnn=cudnn),
    )
    monkeypatch.setenv("XLA_FLAGS", "--mine")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    on("tensorflow")
    assert calls == ["tensorflow"]
    on("torch")
    assert (calls[1:], cudnn.benchmark) == ([True], False)
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert os.environ["XLA_FLAGS"] == "--mine"
    on("jax")
    assert os.environ["XLA_FLAGS"] == "--mine --xla_gpu_deterministic_ops=true"


def test_float64_is_refused_on_jax(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ValueError, match=r"'float64' does not work .* use float32"):
        textgen.LanguageModel(VOCABULARY, units=4, dtype="float64")


# === Threads ===


@pytest.mark.jax("takes the weights out of a model while it is trained")
def test_generation_while_jax_trains_is_an_error_with_the_remedy():
    model = textgen.LanguageModel(VOCABULARY, units=4, return_sequences=True)
    model.compile("adam")
    with_attribute, errors = [], []

    class Generating(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if not batch:
                with pytest.raises(RuntimeError, match="attribute model") as error:
                    model.generate("abc", 3)
                errors.append(error)
                with_attribute.append(self.model.generate("abc", 3, seed=0))

    data = textgen.SequenceDataset(IDS, 5, batch_size=2)
    model.fit(data, verbose=0, callbacks=[Generating()])
    assert len(errors) == len(with_attribute) == 1
    assert with_attribute[0].startswith("abc")


VOCABULARY = textgen.Vocabulary.from_text("abcdef")
IDS = np.random.default_rng(0).integers(0, 6, 60)


def network():
    return keras.Sequential(
        [
            keras.Input((5,), dtype="int32"),
            keras.layers.Embedding(6, 4),
            keras.layers.GRU(4, dropout=0.3, recurrent_dropout=0.3),
            keras.layers.Dense(6, activation="softmax"),
        ]
    )


# A model, a method of a layer, the thread that enters it first and waits inside for the
# other one, and what the other thread does meanwhile: everything, or enter it too.
THREADS = {
    "recurrent dropout": (
        lambda: textgen.LanguageModel(
            VOCABULARY, units=4, recurrent_dropout=0.3, sequence_length=5
        ),
        (recurrent.LSTM, "call", "training", "enter"),
    ),
    "wrapped": (
        lambda: textgen.from_keras(network(), VOCABULARY),
        (keras.layers.GRU, "call", "generating", "everything"),
    ),
    "weight dropout": (
        lambda: textgen.LanguageModel(
            VOCABULARY, units=4, weight_dropout=0.5, return_sequences=True
        ),
        (recurrent.LSTM, "_loop", "training", "everything"),
    ),
}


@pytest.mark.tensorflow("variables that keep their values while a model is trained")
@pytest.mark.parametrize("kind", THREADS)
def test_training_and_generating_threads_do_not_change_each_other(kind, monkeypatch):
    make, (owner, name, first, meanwhile) = THREADS[kind]

    def model():
        keras.utils.set_random_seed(0)
        return make()

    def train(model):
        model.compile("adam")
        if model.return_sequences:
            data = textgen.SequenceDataset(IDS, 5, batch_size=2)
        else:
            data = textgen.WindowDataset(IDS, 5, batch_size=8)
        model.fit(data, epochs=2, verbose=0)
        return model.get_weights()

    def generate(model):
        return model.generate("abc", 9, seed=0)

    expected = train(model())
    both = model()
    inside, other, left = (threading.Event() for _ in range(3))
    original = getattr(owner, name)

    def waiting(*args, **kwargs):
        # Where the other thread has to wait for this one, they lose two seconds.
        if threading.current_thread().name != first:
            if meanwhile == "enter" and not other.is_set():
                other.set()
                left.wait(2)
            return original(*args, **kwargs)
        if not inside.is_set():
            inside.set()
            other.wait(2)
        result = original(*args, **kwargs)
        left.set()
        return result

    monkeypatch.setattr(owner, name, waiting)
    results = {}

    def run(what, function):
        if what != first:
            inside.wait(60)
        results[what] = function(both)
        if what != first:
            other.set()

    tasks = {"training": train, "generating": generate}
    threads = [
        threading.Thread(target=run, args=task, name=task[0]) for task in tasks.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert inside.is_set()
    for one, two in zip(expected, results["training"], strict=True):
        np.testing.assert_array_equal(one, two)
    # What was compiled meanwhile is right.
    monkeypatch.undo()
    tracing._shared_function.cache_clear()
    alone = model()
    alone.set_weights(both.get_weights())
    assert generate(both) == generate(alone)
