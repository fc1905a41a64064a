"""Files of strangers, and what `load` does with them; the files come from a script."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import hostile_files
import keras
import numpy as np
import pytest
from keras.src.saving.serialization_lib import SafeModeScope

import textgen
from textgen import LanguageModel, ModelFileError, Vocabulary, keras_internals

VOCABULARY = Vocabulary.from_text("abcde\n")
IDS = np.array([[0, 1, 2, 3, 4]])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.keras"


def make(**kwargs):
    keras.utils.set_random_seed(0)
    return LanguageModel(VOCABULARY, **{"units": 3, "sequence_length": 5, **kwargs})


def change_config(path, change, old=False):
    """Changes the configuration in a file; all checksums are right, or missing."""
    parts = hostile_files.Parts(path.read_bytes())
    change(parts.config)
    path.write_bytes((parts.as_old() if old else parts).pack())


# === Hostile and damaged files ===


@pytest.mark.tensorflow("counters of 64 bits, which the files damage")
def test_sample_of_hostile_files(tmp_path):
    counts, failures, _ = hostile_files.run(hostile_files.MODELS, folder=tmp_path)
    assert failures == []
    assert sum(counts.values()) > 280
    for family in hostile_files.SAMPLE:
        assert counts[family, "refused"] > 0
    assert counts["references", "loaded"] == 0


def test_unsafe_mode_of_keras_changes_nothing(path):
    data = hostile_files.saved(hostile_files.small_model())
    cases = dict(hostile_files.references(hostile_files.Parts(data)))
    lambdas = [make for name, make in cases.items() if name.startswith("lambda ")]
    watch = hostile_files.Watch()
    path.write_bytes(data)
    with SafeModeScope(False):
        assert not isinstance(hostile_files.load(path), str)
        for case in lambdas[::20]:
            path.write_bytes(case())
            with watch.of(str(path)):
                assert isinstance(hostile_files.load(path), str)
            assert [each for each in watch.found if each[0] != "open"] == []


def test_small_files_take_little(tmp_path):
    """In a fresh process, so that the memory of other tests does not hide it."""
    script = Path(hostile_files.__file__)
    output = subprocess.run(
        [sys.executable, script, "--sizes"], check=True, capture_output=True
    ).stdout
    found = json.loads(output.splitlines()[-1])
    assert len(found) > 15
    for name, each in found.items():
        assert each["growth"] <= (300 << 20) + 4 * each["size"], name
        assert each["seconds"] < 10, name
        assert each["result"] != "loaded", name


def test_no_regular_files(tmp_path):
    os.mkfifo(tmp_path / "pipe.keras")
    (tmp_path / "folder.keras").mkdir()
    (tmp_path / "zero.keras").symlink_to("/dev/zero")
    for name in ("pipe", "folder", "zero"):
        with pytest.raises(ModelFileError, match="regular file"):
            textgen.load(tmp_path / f"{name}.keras")


def test_class_names_cannot_reach_the_terminal(path):
    make().save(path)
    change_config(path, lambda config: config.update(registered_name="\x1b[31m\nred"))
    with pytest.raises(ModelFileError) as error:
        textgen.load(path)
    assert str(error.value).isprintable()
    change_config(path, lambda config: config.update(class_name="\x1b[31m\nred"))
    with pytest.raises(ModelFileError, match=r"\\x1b\[31m") as error:
        textgen.load(path)
    assert str(error.value).isprintable()


# === Sizes ===


@pytest.mark.parametrize(
    ("arguments", "limit"),
    [
        ({"units": (3, 3)}, {"layers": 1}),
        ({"units": 3}, {"units": 2}),
        ({"sequence_length": 5}, {"steps": 4}),
        (
            {"return_sequences": True, "stateful": True, "batch_size": 3},
            {"batch_size": 2},
        ),
        ({}, {"weight_bytes": 100}),
        ({}, {"config_bytes": 100}),
    ],
)
def test_limits(path, arguments, limit):
    make(**arguments).save(path)
    textgen.load(path)
    textgen.load(path, {name: value + 10**6 for name, value in limit.items()})
    with pytest.raises(ModelFileError, match=str(*limit.values())):
        textgen.load(path, limit)


def test_unknown_limit():
    with pytest.raises(ValueError, match=r"'bytes'.*weight_bytes"):
        textgen.load("shakespeare", {"bytes": 1})


def test_a_model_that_does_not_fit_its_file_gets_no_values(path):
    """Its variables must not wait for the next scope of Keras either."""
    make().save(path)
    change_config(path, lambda config: config["config"].update(units=[20_000]))
    with pytest.raises(ModelFileError, match="20000"):
        textgen.load(path)
    with keras.StatelessScope():
        pass  # gives values to all waiting variables


def test_keras_layers_with_states(path):
    network = keras.Sequential(
        [
            keras.Input(batch_shape=(2, 4), dtype="int32"),
            keras.layers.Embedding(6, 3),
            keras.layers.LSTM(4, return_sequences=True, stateful=True),
            keras.layers.Dense(6),
        ]
    )
    textgen.from_keras(network, VOCABULARY).save(path)
    assert textgen.load(path).carried_state[0].shape == (2, 4)

    def enlarge(value):
        if isinstance(value, dict):
            for each in value.values():
                enlarge(each)
            for name in ("batch_shape", "input_shape", "shape"):
                if isinstance(value.get(name), list) and value[name][0] == 2:
                    value[name][0] = 65_000
            if "stateful" in value:
                value["units"] = 200
        elif isinstance(value, list):
            for each in value:
                enlarge(each)

    change_config(path, enlarge)
    with pytest.raises(ModelFileError):
        textgen.load(path)


# === Code of the user ===


@keras.saving.register_keras_serializable(package="own")
class OwnLoss(keras.losses.Loss):
    def __init__(self, factor=1.0, name="own"):
        super().__init__(name=name)
        self.factor = factor

    def call(self, y_true, y_pred):
        return self.factor * keras.ops.mean(y_pred, axis=-1)

    def get_config(self):
        return {"factor": self.factor, "name": self.name}


@keras.saving.register_keras_serializable(package="own")
class OwnOptimizer(keras.optimizers.SGD):
    pass


@keras.saving.register_keras_serializable(package="own")
class OwnInitializer(keras.initializers.Initializer):
    def __call__(self, shape, dtype=None):
        return keras.ops.ones(shape, dtype)


@keras.saving.register_keras_serializable(package="own")
def own_activation(x):
    return keras.ops.tanh(x) / 2


@keras.saving.register_keras_serializable(package="own")
def own_metric(y, logits):
    return keras.ops.mean(logits, axis=-1)


def test_registered_code_of_the_user(path):
    model = make(activation="own>own_activation", initializer=OwnInitializer())
    model.compile(
        OwnOptimizer(0.5, momentum=0.9), loss=OwnLoss(0.25), metrics=[own_metric]
    )
    model.save(path)
    loaded = textgen.load(path)
    assert type(loaded.optimizer) is OwnOptimizer
    assert type(loaded.loss) is OwnLoss and loaded.loss.factor == 0.25
    assert type(loaded.initializer) is OwnInitializer
    assert loaded.recurrent_layers[0].cell.activation is own_activation
    before, after = map(hostile_files.signature, (model, loaded))
    assert before[1] == after[1]
    np.testing.assert_array_equal(model(IDS), loaded(IDS))


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("optimizer", "own>OwnLoss"),
        ("optimizer", "textgen>LanguageModel"),
        ("loss", "own>OwnOptimizer"),
        ("loss", "textgen>Perplexity"),
    ],
)
def test_registered_code_in_the_wrong_place(path, place, name):
    model = make()
    model.compile("sgd")
    model.save(path)

    def change(config):
        config["compile_config"][place].update(
            module="own", class_name=name.split(">")[1], registered_name=name, config={}
        )

    change_config(path, change)
    with pytest.raises(
        ModelFileError, match=f"'{name}', which is not a {place}|module"
    ):
        textgen.load(path)


def test_unknown_code_loads_uncompiled(path):
    model = make()
    model.compile("sgd", loss=OwnLoss())
    model.save(path)

    def change(config):
        config["compile_config"]["loss"]["registered_name"] = "other>OwnLoss"

    change_config(path, change)
    with pytest.warns(UserWarning, match=r"not compiled.*'other>OwnLoss'"):
        loaded = textgen.load(path)
    assert not loaded.compiled
    assert [w.numpy().tolist() for w in loaded.weights] == [
        w.numpy().tolist() for w in model.weights
    ]


# === What a file contains ===


def test_random_generators_of_a_keras_network(path):
    """A loaded model draws the dropout masks that the saved one would have drawn."""
    network = keras.Sequential(
        [
            keras.Input((4,), dtype="int32"),
            keras.layers.Embedding(6, 8),
            keras.layers.LSTM(8, dropout=0.5, return_sequences=True),
            keras.layers.Dropout(0.5),
            keras.layers.Flatten(),
            keras.layers.Dense(6),
        ]
    )
    model = textgen.from_keras(network, VOCABULARY)
    ids = np.zeros((2, 4), np.int32)
    for _ in range(3):
        model(ids, training=True)
    model.save(path)
    loaded = textgen.load(path)
    for _ in range(2):
        np.testing.assert_array_equal(
            model(ids, training=True), loaded(ids, training=True)
        )
    # Files of older versions have no states of random generators.
    parts = hostile_files.Parts(path.read_bytes())
    arrays = {
        name: value
        for name, value in keras_internals.saved_state(model).items()
        if "seed" not in name
    }
    parts.weights = textgen.model_file.hdf5.write(arrays)
    path.write_bytes(parts.as_old().pack())
    assert textgen.load(path).count_params() == model.count_params()


def test_files_without_checksums_load(path):
    model = make(initializer="he_normal", end_token=0)
    model.save(path)

    def make_old(config):
        for name in ("notes", "frozen", "initializer", "start_step", "end_token"):
            del config["config"][name]
        config["module"] = "textgen.model"
        config["config"]["reset_states"] = config["config"].pop("reset_policy")

    with pytest.raises(ModelFileError, match="'end_token' is missing"):
        change_config(path, make_old)
        textgen.load(path)
    change_config(path, lambda config: None, old=True)
    loaded = textgen.load(path)
    assert loaded.end_token is None
    arrays = [hostile_files.signature(each)[1] for each in (model, loaded)]
    assert arrays[0] == arrays[1]


def test_files_that_keras_wrote_load(path):
    model = make(dropout=0.5)
    model.compile("adam")
    keras.Model.save(model, path)  # textgen's `save` before it had checksums
    with zipfile.ZipFile(path) as archive:
        assert "sha256" not in json.loads(archive.read("metadata.json"))
    before, after = map(hostile_files.signature, (model, textgen.load(path)))
    assert before == after


def test_bfloat16(path):
    network = keras.Sequential(
        [
            keras.Input((4, 6)),
            keras.layers.Flatten(dtype="bfloat16"),
            keras.layers.Dense(6, dtype="bfloat16"),
        ]
    )
    model = textgen.from_keras(network, VOCABULARY)
    model.save(path)
    before, after = map(hostile_files.signature, (model, textgen.load(path)))
    assert before == after
    assert any(dtype == "bfloat16" for dtype, *_ in before[1].values())


OPTIMIZERS = {
    "SGD": {},
    "Adam": {"amsgrad": True},
    "RMSprop": {"centered": True, "momentum": 0.5},
    # The optimizers whose states cannot be counted by a rule.
    "Adafactor": {},
    "Muon": {},
    "Nadam": {},
    "ScheduleFreeAdamW": {},
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_with_the_most_states(name, path):
    """Their size is not taken for that of a hostile file."""
    model = make()
    options = {"use_ema": True, "gradient_accumulation_steps": 2, **OPTIMIZERS[name]}
    model.compile(getattr(keras.optimizers, name)(**options))
    for index, variable in enumerate(model.optimizer.variables):
        if len(variable.shape):
            variable.assign(np.full(variable.shape, index / 8))
    model.save(path)
    before, after = map(hostile_files.signature, (model, textgen.load(path)))
    assert before == after


CROSS_ENTROPY = textgen.CrossEntropy(from_logits=True)


@pytest.mark.parametrize("options", [{}, {"amsgrad": True}])
def test_optimizer_without_its_states_is_refused_before_it_is_built(
    options, path, monkeypatch
):
    model = make(units=50)
    loss = json.loads(json.dumps(keras.saving.serialize_keras_object(CROSS_ENTROPY)))
    model.save(path)
    optimizer = keras.optimizers.Adam(use_ema=True, **options)
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(optimizer)))

    def change(file):
        compilation = {"optimizer": config, "loss": loss, "metrics": None}
        file["compile_config"] = {**compilation, "frozen": []}

    change_config(path, change)
    monkeypatch.setattr(keras.optimizers.Adam, "build", None)
    with pytest.raises(ModelFileError, match="the state that its optimizer needs"):
        textgen.load(path)


def test_every_value_is_that_of_the_model(path):
    """Keras ignores this one; a value without effect may be a mistake, or worse."""
    make().save(path)
    shape = {"input_shape": [None, 3]}
    change_config(path, lambda config: config.update(build_config=shape))
    with pytest.raises(ModelFileError, match=r"build_config.*3 must be None"):
        textgen.load(path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("optimizer/vars/0", -5, "'optimizer/vars/0' has the value -5"),
        ("optimizer/vars/1", 1e30, "'optimizer/vars/1' has the value 1e.30"),
        ("optimizer/vars/1", -1.0, "'optimizer/vars/1' has the value -1"),
        ("optimizer/vars/1", np.nan, "not finite"),
        ("layers/dense/vars/1", np.inf, "'layers/dense/vars/1'.*not finite"),
    ],
)
def test_impossible_values_of_arrays(name, value, message, path):
    model = make()
    model.compile("sgd")
    model.save(path)
    arrays = keras_internals.saved_state(model)
    arrays[name] = np.full(arrays[name].shape, value, arrays[name].dtype)
    parts = hostile_files.Parts(path.read_bytes())
    path.write_bytes(parts.with_weights(textgen.model_file.hdf5.write(arrays)))
    with pytest.raises(ModelFileError, match=message):
        textgen.load(path)
