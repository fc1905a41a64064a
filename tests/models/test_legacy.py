"""The tests write Keras 2 files with h5py, in the layout of Keras 2."""

import collections
import json
import os
import pathlib
import random
import tracemalloc
import warnings

import h5py
import hostile_legacy
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
    training = {"optimizer_config": optimizer, "loss": "categorical_crossentropy"}
    file.attrs["training_config"] = json.dumps(training)
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
        training = {"optimizer_config": optimizer, "loss": "categorical_crossentropy"}
        file.attrs["training_config"] = json.dumps(training)

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
DROPOUTS = [
    {"class_name": "Dropout", "config": {"name": f"dropout_{index}", "rate": 0.5}}
    for index in range(2)
]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"extra": [LAMBDA]}, "class 'Lambda'"),
        ({"extra": DROPOUTS}, "must be a stack"),
        ({"recurrent": {**LSTM, "go_backwards": True}}, "go_backwards=True"),
        ({"recurrent": {**LSTM, "stateful": True}}, "stateful=True"),
        ({"recurrent": {**LSTM, "use_bias": False}}, "no bias"),
        ({"recurrent": {**LSTM, "activation": "selu"}}, "activation='selu'"),
        ({"kind": "GRU"}, "without reset_after"),
        (
            {"recurrent": {"name": "lstm_1"}},
            "damaged: 'lstm_1' has no field 'activation'",
        ),
        ({"edit": link_in_a_circle}, "again is a link"),
        ({"edit": link_out}, "dense_1 holds links"),
        ({"edit": store_outside}, "in another file"),
        ({"edit": cut_bias}, r"damaged: the weights of dense_1 .*\(4,\).*\(5,\)"),
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


@pytest.fixture
def hostile(tmp_path):
    """A function from the arguments of `hostile_legacy.write` to what became of it."""
    path = tmp_path / "hostile.h5"
    expected = legacy.read(hostile_legacy.write(path), hostile_legacy.VOCABULARY)

    def become(data=None, **options):
        if data is None:
            hostile_legacy.write(path, **options)
        else:
            path.write_bytes(data)
        return hostile_legacy.outcome(path, expected)

    return become


@pytest.mark.parametrize("base", hostile_legacy.BASES, ids=lambda base: base[0])
def test_file_is_read_as_h5py_reads_it(base, tmp_path):
    path = hostile_legacy.write(tmp_path / "old.h5", base)
    contents = legacy.read(path, hostile_legacy.VOCABULARY)
    model = legacy.convert(path, hostile_legacy.VOCABULARY)
    layers = [*model.recurrent_layers, model.output_layer]
    with h5py.File(path) as file:
        for name, arrays, layer in zip(
            contents.stack.names, contents.weights, layers, strict=True
        ):
            group = file["model_weights"][name]
            for key, array, weight in zip(
                group.attrs["weight_names"], arrays, layer.weights, strict=True
            ):
                assert np.array_equal(group[key][...], array)
                assert np.array_equal(weight, array)
        moments = [file[f"optimizer_weights/Variable_{i}:0"] for i in range(4)]
        for moment, array in zip(moments, contents.moments, strict=False):
            assert np.array_equal(moment[...], array)


# Other possible values of these fields are other models, and the file is as valid.
FREE = {
    *("lr", "beta_1", "beta_2", "epsilon", "clipvalue", "decay", "rate"),
    *("batch_input_shape", "return_sequences", "optimizer_config", "loss"),
}


def test_every_field_is_checked(hostile):
    cases = list(hostile_legacy.field_cases(hostile_legacy.BASES[0]))
    counts = collections.Counter()
    for name, options in random.Random(0).sample(cases, 200):
        result = hostile(**options)
        counts[result] += 1
        if result not in ("refused", "equal"):
            assert result in ("changed", "announced"), name
            assert any(field in name for field in FREE), name
    assert counts["refused"] > 150
    assert counts["equal"] > 5


def test_numbers_of_the_configuration_stay_in_their_range(tmp_path):
    path = tmp_path / "old.h5"
    cases = hostile_legacy.field_cases(hostile_legacy.BASES[0])
    free = [case for case in cases if any(f"'{field}')" in case[0] for field in FREE)]
    for name, options in free[::4]:
        found, _ = hostile_legacy.attempt(hostile_legacy.write(path, **options))
        if isinstance(found, ValueError):
            continue
        stack, adam = found.stack, found.adam
        assert type(stack.return_sequences) is bool
        assert stack.steps is None or type(stack.steps) is int
        assert type(stack.dropout) is float
        assert 0 <= stack.dropout < 1
        if adam is not None:
            assert 0 <= adam.learning_rate <= 1000, name
            assert 0 <= adam.beta_1 < 1
            assert 0 <= adam.beta_2 < 1
            assert 0 <= adam.epsilon <= 1
            assert adam.clipvalue is None or 0 < adam.clipvalue < 1e12


@pytest.mark.parametrize("name", hostile_legacy.EDITS)
def test_hostile_file(hostile, name):
    tracemalloc.start()
    try:
        result = hostile(edit=hostile_legacy.EDITS[name])
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()
    assert result == ("equal" if name == "weights of type f8" else "refused")


def test_truncated_files(hostile, tmp_path):
    content = hostile_legacy.write(tmp_path / "old.h5").read_bytes()
    for name, data in hostile_legacy.truncations(content):
        assert hostile(data) == "refused", name


def test_damaged_bytes(hostile, tmp_path):
    """Damage of the structure is found; of a number, if it is not possible."""
    path = hostile_legacy.write(tmp_path / "old.h5")
    content, ranges = path.read_bytes(), hostile_legacy.numbers_and_texts(path)

    def in_structure(at):
        return hostile_legacy.place_of(at, *ranges) == "the structure"

    for name, at, data in hostile_legacy.flips(content, 200):
        result = hostile(data)
        if result not in ("refused", "equal"):
            assert not in_structure(at), name
            assert result in ("changed", "announced"), name
    cases = list(hostile_legacy.pointers(content, in_structure))
    for name, data in random.Random(0).sample(cases, 150):
        assert hostile(data) in ("refused", "equal"), name


def test_arrays_that_share_their_bytes(hostile, tmp_path):
    path = hostile_legacy.write(tmp_path / "old.h5")
    with h5py.File(path) as file:
        group = file["model_weights/rnn_1/rnn_1"]
        [one, other] = (
            group[name].id.get_offset().to_bytes(8, "little")
            for name in ("kernel:0", "recurrent_kernel:0")
        )
    data = path.read_bytes()
    assert data.count(other) == 1
    assert hostile(data) == "equal"
    assert hostile(data.replace(other, one)) == "refused"


@pytest.mark.parametrize("name", ["", "../x", "a/b", "\x1b[31m", "dense_1", 5, None])
def test_layer_names_are_plain(name, tmp_path):
    config = hostile_legacy.configuration(functional=False)
    config["config"][0]["config"]["name"] = name
    path = hostile_legacy.write(tmp_path / "old.h5", config=config)
    with pytest.raises(ValueError, match=r"layer name .* is not valid, or used twice"):
        legacy.convert(path, hostile_legacy.VOCABULARY)


def test_error_has_no_control_characters(tmp_path):
    name = "\x1b[31m" + "a" * 1000
    config = hostile_legacy.configuration()
    config["config"]["layers"][1]["class_name"] = name
    path = hostile_legacy.write(tmp_path / "old.h5", config=config)
    with pytest.raises(ValueError, match=r"x1b\[31ma+… Supp|x1b\[31ma+…") as info:
        legacy.convert(path, hostile_legacy.VOCABULARY)
    assert str(info.value).isprintable()
    assert len(str(info.value)) <= 300


def test_path_that_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.h5")
    for path in (tmp_path, tmp_path / "pipe.h5", "/dev/zero"):
        with pytest.raises(OSError, match="must be a regular file"):
            legacy.convert(path, hostile_legacy.VOCABULARY)


def test_newer_optimizer_is_dropped_with_a_warning(tmp_path):
    # Keras 2.11 and later store the learning rate, and pairs of moments.
    def edit(file):
        group = file["optimizer_weights"]
        group["rate:0"] = np.float32(0.01)
        names = group.attrs["weight_names"]
        group.attrs["weight_names"] = np.insert(names, 1, b"rate:0")

    path = hostile_legacy.write(tmp_path / "old.h5", edit=edit)
    with pytest.warns(UserWarning, match=r"Adam.* is dropped"):
        assert not legacy.convert(path, hostile_legacy.VOCABULARY).compiled


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
