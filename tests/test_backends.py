"""A file of one backend gives the same results on the other: JAX and TensorFlow.

The tests run on JAX. Run as a script, this file is the other side: a process with
TensorFlow, which reads the models of JAX and writes models for it.

    python tests/test_backends.py FOLDER
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers, ops
from small_models import SIZE, VOCABULARY, WINDOW, make

import textgen
from textgen.layers.cells import CELLS

pytestmark = pytest.mark.jax("compares JAX with TensorFlow")

MIXED = "mixed_bfloat16"
LABELS = ("prose", "verse")
TYPES = {
    "window": {"units": 7},
    "embedding": {
        "units": (6, 5),
        "embedding": 5,
        "tie_weights": True,
        "layer_norm": True,
        "return_sequences": True,
        "labels": LABELS,
    },
    "start step": {
        "return_sequences": True,
        "start_step": True,
        "activation": "softsign",
        "stateful": True,
        "batch_size": 2,
    },
}
MODELS = {
    f"{cell}, {kind}": {"cell": cell, **arguments}
    for cell in CELLS
    for kind, arguments in TYPES.items()
} | {
    f"{cell}, {MIXED}": {"cell": cell, "return_sequences": True, "dtype": MIXED}
    for cell in CELLS
}
NETWORK = "wrapped network"


def network():
    """A Keras network of layers that textgen does not have."""
    stack = keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            layers.Embedding(SIZE, 4),
            layers.Bidirectional(layers.GRU(5)),
            layers.Dense(SIZE, activation="softmax"),
        ]
    )
    numbers = np.random.default_rng(5)
    for weight in stack.weights:
        weight.assign(numbers.normal(0, 1, weight.shape))
    return textgen.from_keras(stack, VOCABULARY, sequence_length=WINDOW)


def results(model):
    """Logits, and texts of a seed with their probabilities, as JSON can hold them."""
    ids = np.random.default_rng(1).integers(0, SIZE, (3, WINDOW))
    label = {"label": "verse"} if getattr(model, "labels", ()) else {}
    found = model.generate(
        ["bad", "face a"],
        max_new_tokens=40,
        temperature=1.2,
        top_k=6,
        top_p=0.95,
        seed=7,
        return_log_probs=True,
        **label,
    )
    return {
        "logits": ops.convert_to_numpy(model(ids)).astype(float).tolist(),
        "texts": [text for text, _ in found],
        "trained_steps": int(model.optimizer.iterations),
        "log_probs": [log_probs.tolist() for _, log_probs in found],
    }


def write(folder):
    """Writes a file of each model, and what this backend computes with it."""
    backend, found = keras.backend.backend(), {}
    models = {name: make(**{"seed": 9, **MODELS[name]}) for name in MODELS}
    for name, model in {**models, NETWORK: network()}.items():
        model.compile("adam")
        model.optimizer.iterations.assign(3)
        model.save(folder / f"{backend} {name}.keras")
        found[name] = results(model)
    (folder / f"{backend} own.json").write_text(json.dumps(found))


def read(folder, backend):
    """Writes what this backend computes with the files of the other one."""
    found = {
        name: results(textgen.load(folder / f"{backend} {name}.keras"))
        for name in (*MODELS, NETWORK)
    }
    (folder / f"{backend} read.json").write_text(json.dumps(found))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the results of both backends for the files of both."""
    folder = tmp_path_factory.mktemp("backends")
    write(folder)
    subprocess.run(
        [sys.executable, __file__, folder],
        check=True,
        env={**os.environ, "KERAS_BACKEND": "tensorflow"},
    )
    read(folder, "tensorflow")
    return folder


@pytest.mark.parametrize("name", [*MODELS, NETWORK])
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_a_file_gives_the_same_on_the_other_backend(backend, name, folder):
    own, read = (
        json.loads((folder / f"{backend} {who}.json").read_text())[name]
        for who in ("own", "read")
    )
    mixed = MIXED in name  # 8 bits: a small part of the range of the logits
    exact = 0.02 * np.ptp(own["logits"]) if mixed else 1e-5
    assert read["trained_steps"] == 3
    assert np.ptp(own["logits"]) > 0.5
    np.testing.assert_allclose(read["logits"], own["logits"], rtol=0, atol=exact)
    assert len({text[6:] for text in own["texts"]}) == 2
    if not mixed:  # rounding to 8 bits can change a text
        assert read["texts"] == own["texts"]
        for ours, theirs in zip(read["log_probs"], own["log_probs"], strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=exact)


if __name__ == "__main__":
    assert keras.backend.backend() == "tensorflow"
    read(Path(sys.argv[1]), "jax")
    write(Path(sys.argv[1]))
