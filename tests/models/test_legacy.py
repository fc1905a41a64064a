"""The tests write Keras 2 files with h5py, in the layout of Keras 2."""

import json
import pathlib
import warnings

import h5py
import keras
import numpy as np
import pytest

import textgen
from textgen.cli import main as cli
from textgen.models import legacy

TEXT = "abcd " * 40
SYMBOLS, UNITS, STEPS = 5, 4, 7
LSTM = {
    "name": "lstm_1",
    "units": UNITS,
    "activation": "tanh",
    "recurrent_activation": "hard_sigmoid",
    "use_bias": True,
    "recurrent_dropout": 0.0,
    "return_sequences": False,
    "dropout": 0.0,
    "go_backwards": False,
    "stateful": False,
    "implementation": 0,
}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def hard_sigmoid(x):
    return np.clip(0.2 * x + 0.5, 0, 1)


@pytest.fixture
def vocabulary():
    return textgen.Vocabulary.from_text(TEXT)


@pytest.fixture
def write(tmp_path):
    """Returns a function that writes a model and returns its path and weights."""

    def write_model(recurrent=LSTM, kind="LSTM", extra=(), edit=None, adam=True):
        rng = np.random.default_rng(0)
        gates = 4 if kind == "LSTM" else 1
        weights = {
            recurrent["name"]: {
                "kernel:0": rng.normal(size=(SYMBOLS, gates * UNITS)),
                "recurrent_kernel:0": rng.normal(size=(UNITS, gates * UNITS)),
                "bias:0": rng.normal(size=gates * UNITS),
            },
            "dense_1": {
                "kernel:0": rng.normal(size=(UNITS, SYMBOLS)),
                "bias:0": rng.normal(size=SYMBOLS),
            },
        }
        layers = [
            {
                "class_name": "InputLayer",
                "config": {
                    "name": "input_1",
                    "batch_input_shape": [None, STEPS, SYMBOLS],
                },
            },
            {"class_name": kind, "config": recurrent},
            *extra,
            {
                "class_name": "Dense",
                "config": {
                    "name": "dense_1",
                    "units": SYMBOLS,
                    "activation": "softmax",
                    "use_bias": True,
                },
            },
        ]
        path = tmp_path / "old.h5"
        with h5py.File(path, "w") as file:
            config = {"class_name": "Model", "config": {"layers": layers}}
            file.attrs["model_config"] = json.dumps(config)
            for layer, arrays in weights.items():
                group = file.create_group(f"model_weights/{layer}")
                names = [f"{layer}/{name}" for name in arrays]
                group.attrs["weight_names"] = [name.encode() for name in names]
                for name, array in zip(names, arrays.values(), strict=True):
                    group[name] = array.astype("float32")
            if adam:
                write_adam(file, weights)
            if edit is not None:
                edit(file)
        return path, weights

    return write_model


def write_adam(file, weights):
    """Writes iterations, all first moments (1, 2, …) and all second moments."""
    optimizer = {
        "class_name": "Adam",
        "config": {
            "lr": 0.01,
            "beta_1": 0.8,
            "beta_2": 0.9,
            "clipvalue": 5.0,
            "epsilon": 1e-8,
            "decay": 0,
        },
    }
    file.attrs["training_config"] = json.dumps({"optimizer_config": optimizer})
    group = file.create_group("optimizer_weights")
    arrays = [array for layer in weights.values() for array in layer.values()]
    moments = [np.full(array.shape, 1.0 + i) for i, array in enumerate(arrays * 2)]
    names = [f"Variable_{i}:0" for i in range(len(moments))]
    group["iterations:0"] = np.float32(77)
    for name, moment in zip(names, moments, strict=True):
        group[name] = moment.astype("float32")
    group.attrs["weight_names"] = [name.encode() for name in ("iterations:0", *names)]


def lstm_logits(inputs, weights, gate):
    """Computes the LSTM of Keras in NumPy; `gate` is the recurrent activation."""
    lstm, dense = weights["lstm_1"], weights["dense_1"]
    h = c = np.zeros((len(inputs), UNITS))
    for x in np.moveaxis(inputs, 1, 0):
        z = x @ lstm["kernel:0"] + h @ lstm["recurrent_kernel:0"] + lstm["bias:0"]
        i, f, g, o = np.split(z, 4, axis=1)
        c = gate(f) * c + gate(i) * np.tanh(g)
        h = gate(o) * np.tanh(c)
    return h @ dense["kernel:0"] + dense["bias:0"]


@pytest.mark.parametrize(
    ("name", "gate"), [("hard_sigmoid", hard_sigmoid), ("sigmoid", sigmoid)]
)
def test_logits_equal_keras_2(write, vocabulary, name, gate):
    path, weights = write({**LSTM, "recurrent_activation": name})
    model = legacy.convert(path, vocabulary)
    inputs = np.random.default_rng(1).integers(0, 2, (3, STEPS, SYMBOLS))
    assert model.predict(inputs, verbose=0) == pytest.approx(
        lstm_logits(inputs, weights, gate), abs=1e-5
    )
    assert model.sequence_length == STEPS
    assert model.vocabulary == vocabulary


def test_simple_rnn(write, vocabulary):
    config = {key: LSTM[key] for key in LSTM if key != "recurrent_activation"}
    path, weights = write({**config, "name": "rnn_1"}, kind="SimpleRNN")
    model = legacy.convert(path, vocabulary)
    h = np.zeros((2, UNITS))
    inputs = np.random.default_rng(1).integers(0, 2, (2, STEPS, SYMBOLS))
    for x in np.moveaxis(inputs, 1, 0):
        rnn = weights["rnn_1"]
        h = np.tanh(x @ rnn["kernel:0"] + h @ rnn["recurrent_kernel:0"] + rnn["bias:0"])
    dense = weights["dense_1"]
    assert model.predict(inputs, verbose=0) == pytest.approx(
        h @ dense["kernel:0"] + dense["bias:0"], abs=1e-5
    )


def test_optimizer_state(write, vocabulary):
    path, _ = write()
    optimizer = legacy.convert(path, vocabulary).optimizer
    assert int(optimizer.iterations) == 77
    assert float(optimizer.learning_rate) == pytest.approx(0.01)
    assert (optimizer.beta_1, optimizer.beta_2, optimizer.epsilon) == (0.8, 0.9, 1e-8)
    assert optimizer.clipvalue == 5.0
    moments = [float(keras.ops.mean(each)) for each in optimizer.variables[2:]]
    assert moments[0::2] == [1, 2, 3, 4, 5]
    assert moments[1::2] == [6, 7, 8, 9, 10]


def test_saved_and_loaded(write, vocabulary, tmp_path):
    path, _ = write()
    model = legacy.convert(path, vocabulary)
    model.save(tmp_path / "new.keras")
    loaded = textgen.load(tmp_path / "new.keras")
    assert loaded.get_config() == model.get_config()
    assert int(loaded.optimizer.iterations) == 77
    options = {"max_new_tokens": 30, "seed": 1}
    assert loaded.generate("ab", **options) == model.generate("ab", **options)


def test_arguments_without_effect_give_no_warning(write, vocabulary):
    path, _ = write({**LSTM, "time_major": False})
    with h5py.File(path) as file:
        config = file.attrs["model_config"]
    for name in ("batch_input_shape", "implementation", "time_major"):
        assert f'"{name}"' in config
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        legacy.convert(path, vocabulary)


def test_other_optimizer_is_dropped_with_a_warning(write, vocabulary):
    def edit(file):
        optimizer = {"class_name": "RMSprop", "config": {"lr": 0.1}}
        file.attrs["training_config"] = json.dumps({"optimizer_config": optimizer})

    path, _ = write(edit=edit)
    with pytest.warns(UserWarning, match=r"RMSprop.*is dropped\. Compile the model"):
        model = legacy.convert(path, vocabulary)
    assert not model.compiled


def link_out(file):
    del file["model_weights/dense_1/dense_1/bias:0"]
    file["model_weights/dense_1/dense_1/bias:0"] = h5py.ExternalLink("/etc/x.h5", "/y")


def store_outside(file):
    file.create_dataset(
        "outside", (2,), "float32", external=[("outside.raw", 0, h5py.h5f.UNLIMITED)]
    )


def link_in_a_circle(file):
    file["model_weights/dense_1/again"] = file["model_weights"]


def cut_bias(file):
    del file["model_weights/dense_1/dense_1/bias:0"]
    file["model_weights/dense_1/dense_1/bias:0"] = np.zeros(SYMBOLS - 1, "float32")


def drop_config(file):
    del file.attrs["model_config"]


LAMBDA = {"class_name": "Lambda", "config": {"name": "lambda_1"}}
DROPOUT = {"class_name": "Dropout", "config": {"name": "dropout_1", "rate": 0.5}}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"extra": [LAMBDA]}, "class 'Lambda'"),
        ({"extra": [DROPOUT, DROPOUT]}, "must be a stack"),
        ({"recurrent": {**LSTM, "go_backwards": True}}, "go_backwards=True"),
        ({"recurrent": {**LSTM, "stateful": True}}, "stateful=True"),
        ({"recurrent": {**LSTM, "use_bias": False}}, "no bias"),
        ({"recurrent": {**LSTM, "activation": "selu"}}, "activation='selu'"),
        ({"kind": "GRU"}, "without reset_after"),
        ({"recurrent": {"name": "lstm_1"}}, "damaged: KeyError"),
        ({"edit": link_in_a_circle}, "damaged: RecursionError"),
        ({"edit": link_out}, "is a link"),
        ({"edit": store_outside}, "in another file"),
        ({"edit": cut_bias}, r"damaged: the weights of logits .*\(4,\).*\(5,\)"),
        ({"edit": drop_config}, "holds no model"),
    ],
)
def test_refused(write, vocabulary, options, message):
    path, _ = write(**options)
    with pytest.raises(ValueError, match=message):
        legacy.convert(path, vocabulary)


def test_layers_that_are_not_a_chain(write, vocabulary):
    def cut(file):
        config = json.loads(file.attrs["model_config"])
        config["config"]["layers"][-1]["inbound_nodes"] = [[["input_1", 0, 0, {}]]]
        file.attrs["model_config"] = json.dumps(config)

    path, _ = write(edit=cut)
    with pytest.raises(ValueError, match="only input of dense_1 must be the previous"):
        legacy.convert(path, vocabulary)


def test_vocabulary_of_another_size(write):
    path, _ = write()
    with pytest.raises(ValueError, match=r"predicts 5 symbols.* has 3"):
        legacy.convert(path, textgen.Vocabulary("abc"))


def test_file_that_is_not_hdf5(tmp_path, vocabulary):
    (tmp_path / "text.h5").write_text("not a model")
    with pytest.raises(ValueError, match="not an HDF5 file"):
        legacy.convert(tmp_path / "text.h5", vocabulary)
    with pytest.raises(FileNotFoundError, match=r"nope\.h5"):
        legacy.convert(tmp_path / "nope.h5", vocabulary)


def test_command_line(write, tmp_path, monkeypatch, capsys):
    path, _ = write()
    monkeypatch.chdir(tmp_path)
    pathlib.Path("text.txt").write_text(TEXT.upper())
    code = cli.main(
        ["convert", str(path), "new.keras", "--corpus", "text.txt", "--lowercase"]
    )
    printed = capsys.readouterr()
    assert code == 0
    assert printed.err == ""
    assert "textgen generate new.keras" in printed.out
    assert textgen.load("new.keras").generate("ABC").startswith("ABC")
