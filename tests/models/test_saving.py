import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

import textgen
from textgen import LanguageModel, SequenceDataset, Vocabulary, WindowDataset

VOCABULARY = Vocabulary.from_text("abcdefghij \n")
WINDOW = 5
# JAX has no float64 unless it is asked for.
EXACT = "float32" if keras.backend.backend() == "jax" else "float64"
MODELS = {
    "lstm": {"dropout": 0.3},
    "gru": {
        "cell": "gru",
        "units": (8, 6),
        "embedding": 3,
        "dropout": 0.3,
        "recurrent_dropout": 0.2,
        "layer_norm": True,
    },
    "simple_rnn-exact": {"cell": "simple_rnn", "dtype": EXACT},
    "mixed": {"embedding": 3, "dtype": "mixed_bfloat16", "dropout": 0.3},
    "sequences": {"return_sequences": True, "recurrent_dropout": 0.2},
    "tied": {
        "cell": "gru",
        "units": (8, 6),
        "embedding": 6,
        "tie_weights": True,
        "return_sequences": True,
    },
    "stateful": {
        "return_sequences": True,
        "stateful": True,
        "batch_size": 4,
        "reset_policy": "never",
        "dropout": 0.3,
    },
    "stateful-exact": {
        "cell": "simple_rnn",
        "return_sequences": True,
        "stateful": True,
        "batch_size": 4,
        "layer_norm": True,
        "dtype": EXACT,
    },
    "sequences-mixed": {
        "cell": "simple_rnn",
        "return_sequences": True,
        "dtype": "mixed_bfloat16",
        "layer_norm": True,
    },
}
OPTIMIZERS = {
    "gru": lambda: keras.optimizers.RMSprop(0.01, clipnorm=1.0),
    "tied": lambda: keras.optimizers.SGD(0.1, momentum=0.9, global_clipnorm=1.0),
    "sequences": lambda: keras.optimizers.Adam(
        keras.optimizers.schedules.ExponentialDecay(0.02, 3, 0.8)
    ),
}
# These train in a TensorFlow graph and generate; the others would only compile the
# same functions for other layers.
COMPILED = ("lstm", "stateful")


def new_model(name):
    keras.utils.set_random_seed(0)
    model = LanguageModel(
        VOCABULARY, **{"units": 8, "sequence_length": WINDOW, **MODELS[name]}
    )
    optimizer = OPTIMIZERS.get(name, lambda: keras.optimizers.Adam(0.02, clipvalue=5.0))
    model.compile(optimizer(), run_eagerly=name not in COMPILED)
    return model


def data_for(model):
    ids = np.random.default_rng(0).integers(0, len(VOCABULARY), 54)
    if not model.return_sequences:
        return WindowDataset(ids, WINDOW, 1, 16, seed=1)
    sampling = "consecutive" if model.stateful else "random"
    return SequenceDataset(ids, 6, 4, sampling, seed=1)


def fit(model, **kwargs):
    model.fit(data_for(model), verbose=0, **kwargs)


def variables_of(model):
    """Weights, optimizer's variables and carried states, as arrays."""
    states = model.carried_states.read("training", 4) if model.stateful else []
    return [
        ops.convert_to_numpy(variable)
        for variable in (
            *model.trainable_weights,
            *model.optimizer.variables,
            *states,
        )
    ]


def logits_of(model):
    ids = np.random.default_rng(1).integers(-1, len(VOCABULARY), (3, WINDOW))
    return ops.convert_to_numpy(model(ids))


def texts_of(model):
    return [model.generate("Bad a", 40, temperature, seed=1) for temperature in (0, 1)]


def in_a_fresh_process(folder):
    """Loads every model, says what it is like, and goes on with its training."""
    for name in MODELS:
        model = textgen.load(folder / f"{name}.keras")
        np.savez(folder / f"{name}-loaded.npz", *variables_of(model))
        np.save(folder / f"{name}-logits.npy", logits_of(model))
        said = {
            "texts": texts_of(model) if name in COMPILED else [],
            "config": model.get_config(),
            "vocabulary": model.vocabulary.to_json(),
        }
        (folder / f"{name}.json").write_text(json.dumps(said))
        model = textgen.load(folder / f"{name}.keras")
        fit(model, initial_epoch=1, epochs=2)
        np.savez(folder / f"{name}-resumed.npz", *variables_of(model))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """What models were after an epoch, and after going on; and where a process loads.

    The folder holds what a fresh process found in their files, and how it went on.
    """
    folder = tmp_path_factory.mktemp("saved")
    known = {}
    for name in MODELS:
        model = new_model(name)
        fit(model)
        known[name] = {
            "config": model.get_config(),
            "logits": logits_of(model),
            "texts": texts_of(model) if name in COMPILED else [],
            "variables": variables_of(model),
        }
        model.save(folder / f"{name}.keras")
        fit(model, initial_epoch=1, epochs=2)
        known[name]["resumed"] = variables_of(model)
    program = (
        "import sys, pathlib; sys.path.insert(0, sys.argv[1]); import test_saving; "
        "test_saving.in_a_fresh_process(pathlib.Path(sys.argv[2]))"
    )
    subprocess.run(
        [sys.executable, "-c", program, Path(__file__).parent, folder],
        check=True,
        cwd=folder,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    return known, folder


def arrays(file):
    with np.load(file) as stored:
        return [stored[key] for key in stored]


def assert_all_equal(left, right):
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        # A reloaded optimizer has a learning rate of the precision of its model, also
        # where it was made with another; the value is the same.
        assert one.dtype == other.dtype or one.ndim == 0
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", MODELS)
def test_fresh_process_loads_the_same_model(saved, name):
    known, folder = saved
    said = json.loads((folder / f"{name}.json").read_text())
    assert said["config"] == known[name]["config"]
    assert Vocabulary.from_json(said["vocabulary"]) == VOCABULARY
    assert_all_equal(arrays(folder / f"{name}-loaded.npz"), known[name]["variables"])
    logits = np.load(folder / f"{name}-logits.npy")
    np.testing.assert_array_equal(logits, known[name]["logits"])
    assert said["texts"] == known[name]["texts"]
    assert len(set(said["texts"])) == (2 if name in COMPILED else 0)


@pytest.mark.parametrize("name", MODELS)
def test_training_goes_on_as_if_never_saved(saved, name):
    known, folder = saved
    resumed = arrays(folder / f"{name}-resumed.npz")
    assert_all_equal(resumed, known[name]["resumed"])
    before = known[name]["variables"]
    assert any(
        (left != right).any() for left, right in zip(resumed, before, strict=True)
    )


# === In one process ===


@pytest.fixture
def model():
    keras.utils.set_random_seed(0)
    return LanguageModel(VOCABULARY, units=8, sequence_length=WINDOW)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.keras"


def test_keras_loads_it_too(model, path):
    model.save(path)
    loaded = keras.saving.load_model(path)
    assert isinstance(loaded, LanguageModel)
    assert loaded.vocabulary == VOCABULARY
    np.testing.assert_array_equal(logits_of(loaded), logits_of(model))


@pytest.mark.parametrize("kind", [str, Path])
def test_model_that_was_never_compiled(model, path, kind):
    texts = texts_of(model)
    model.save(kind(path))
    loaded = textgen.load(kind(path))
    assert texts_of(loaded) == texts
    assert not loaded.compiled


def test_one_file_is_the_whole_model(tmp_path):
    vocabulary = Vocabulary(
        ["to", "be", "café", " ", "\n", "?"], level="word", unknown="?"
    )
    model = LanguageModel(vocabulary, units=4)
    model.save(tmp_path / "words.keras")
    assert os.listdir(tmp_path) == ["words.keras"]
    moved = (tmp_path / "words.keras").rename(tmp_path / "moved.keras")
    loaded = textgen.load(moved)
    assert loaded.vocabulary == vocabulary
    text = loaded.generate("To be CAFÉ never", 5, seed=0)
    assert text == model.generate("To be CAFÉ never", 5, seed=0)


def test_loss_and_metrics_are_kept(model, path):
    model.compile("adam", metrics=[textgen.Perplexity(), textgen.BitsPerCharacter()])
    data = data_for(model)
    before = model.evaluate(data, verbose=0, return_dict=True)
    model.save(path)
    after = textgen.load(path).evaluate(data, verbose=0, return_dict=True)
    assert after == before
    assert set(after) == {"loss", "perplexity", "bits_per_character"}


def test_loss_of_ones_own_is_kept(model, path):
    model.compile(loss=keras.losses.CategoricalCrossentropy(from_logits=True))
    model.save(path)
    loss = textgen.load(path).loss
    assert isinstance(loss, keras.losses.CategoricalCrossentropy)
    assert loss.get_config()["from_logits"]


def test_saving_after_writing_and_scoring(path):
    model = new_model("stateful")
    fit(model)
    ids = np.zeros((9, 3), np.int32)
    model.evaluate(ids, ids, batch_size=9, verbose=0)
    model.generate(["a", "b"], 20)
    model.save(path)
    assert_all_equal(variables_of(textgen.load(path)), variables_of(model))


def test_checkpoints_of_keras(model, tmp_path):
    model.compile(keras.optimizers.Adam(0.05))
    checkpoint = keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras")
    fit(model, epochs=2, callbacks=[checkpoint])
    assert sorted(os.listdir(tmp_path)) == ["1.keras", "2.keras"]
    first, second = (textgen.load(tmp_path / f"{epoch}.keras") for epoch in (1, 2))
    assert_all_equal(variables_of(second), variables_of(model))
    assert np.abs(logits_of(first) - logits_of(second)).max() > 1e-3


# === Failing ===


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
@pytest.mark.parametrize("existing", [False, True])
def test_interrupted_save_leaves_the_old_file(
    model, path, monkeypatch, error, existing
):
    if existing:
        model.save(path)
    before = path.read_bytes() if existing else None
    seen, write = [], zipfile.ZipFile.writestr

    def interrupt(archive, info, data, *arguments):
        if info.filename == "model.weights.h5":
            seen.extend(os.listdir(path.parent))
            raise error
        write(archive, info, data, *arguments)

    monkeypatch.setattr(zipfile.ZipFile, "writestr", interrupt)
    with pytest.raises(type(error)):
        model.save(path)
    assert len(seen) == 1 + existing  # a hidden file is half written
    if existing:
        assert path.read_bytes() == before
        assert os.listdir(path.parent) == [path.name]
    else:
        assert os.listdir(path.parent) == []
    monkeypatch.undo()
    model.save(path)
    assert os.listdir(path.parent) == [path.name]
    np.testing.assert_array_equal(logits_of(textgen.load(path)), logits_of(model))


def test_saving_again_replaces_the_file(model, path):
    model.save(path)
    other = LanguageModel(VOCABULARY, units=4, cell="gru")
    other.save(path)
    assert textgen.load(path).get_config() == other.get_config()


def test_overwrite_false_keeps_the_file(model, path):
    path.write_text("precious")
    with pytest.raises(FileExistsError, match=r"model\.keras"):
        model.save(path, overwrite=False)
    assert path.read_text() == "precious"
    path.unlink()
    model.save(path, overwrite=False)
    assert isinstance(textgen.load(path), LanguageModel)


@pytest.mark.parametrize(
    "name", ["model", "model.h5", "model.weights.h5", "model.KERAS"]
)
def test_other_suffix_is_an_error(model, tmp_path, name):
    with pytest.raises(ValueError, match=r"must end in '\.keras'") as error:
        model.save(tmp_path / name)
    assert name in str(error.value)
    assert os.listdir(tmp_path) == []


def test_missing_folder_is_an_error(model, tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        model.save(tmp_path / "absent" / "model.keras")
    assert os.listdir(tmp_path) == []


def test_saving_keeps_permissions_and_links(model, tmp_path):
    target = tmp_path / "folder"
    target.mkdir()
    (tmp_path / "link.keras").symlink_to(target / "model.keras")
    for mode in (0o600, 0o640):
        (target / "model.keras").touch()
        os.chmod(target / "model.keras", mode)
        model.save(tmp_path / "link.keras")
        assert os.stat(target / "model.keras").st_mode & 0o777 == mode
        assert (tmp_path / "link.keras").is_symlink()
        assert isinstance(textgen.load(tmp_path / "link.keras"), LanguageModel)


def test_other_formats_are_an_error(model, path):
    with pytest.raises(ValueError, match="zipped"):
        model.save(path, zipped=False)
    with pytest.raises(ValueError, match="other options"):
        model.save(path, include_optimizer=False)
    model.save(path, zipped=True)
    assert os.listdir(path.parent) == [path.name]


def test_equal_models_are_equal_files(model, path):
    model.save(path)
    files = [path.read_bytes()]
    textgen.load(path).save(path)
    with zipfile.ZipFile(path) as archive:
        parts = [archive.read(name) for name in ("config.json", "model.weights.h5")]
    assert all(part in files[0] for part in parts)


def test_training_is_part_of_the_file(model, path):
    model.compile("adam")
    arrays = {
        "best/0": np.arange(3.0),
        "flag": np.array(True),
        "none": np.zeros((0, 2)),
    }
    model.write(path, {"step": 7, "loss": 0.1}, arrays)
    training, found = textgen.model_file.read_training(path)
    assert training == {"step": 7, "loss": 0.1}
    assert set(found) == set(arrays)
    for name, value in arrays.items():
        assert found[name].dtype == value.dtype
        np.testing.assert_array_equal(found[name], value)
    loaded = textgen.load(path)
    assert_all_equal(variables_of(loaded), variables_of(model))
    loaded.save(path)  # without the training
    with pytest.raises(textgen.ModelFileError, match="no state of a training"):
        textgen.model_file.read_training(path)
    with pytest.raises(ValueError, match="needs training"):
        model.write(path, arrays=arrays)


def test_models_that_cannot_be_loaded_are_saved_with_a_warning(model, path):
    bias = model.output_layer.weights[-1]
    bias.assign(np.full(bias.shape, np.nan))
    with pytest.warns(UserWarning, match=r"will refuse it.*dense/vars/1.*not finite"):
        model.save(path)
    with pytest.raises(textgen.ModelFileError, match=r"dense/vars/1.*not finite"):
        textgen.load(path)
    large = LanguageModel(VOCABULARY, units=2, sequence_length=200_000)
    with pytest.warns(UserWarning, match=r"will refuse it.*sequence_length"):
        large.save(path)
    loaded = textgen.load(path, limits={"steps": 200_000})
    assert loaded.sequence_length == 200_000


def write_text(model, path):
    path.write_text("Once upon a time")


def write_nothing(model, path):
    path.touch()


def write_half(model, path):
    model.save(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def write_all_but_a_byte(model, path):
    model.save(path)
    path.write_bytes(path.read_bytes()[:-1])


def write_other_zip(model, path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("poem.txt", "Once upon a time")


def write_damaged_weights(model, path):
    model.save(path)
    data = path.read_bytes()
    at = data.index(b"\x89HDF") + 600
    path.write_bytes(data[:at] + bytes(400) + data[at + 400 :])


def write_plain_keras(model, path):
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(path)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (write_text, "not a .keras file"),
        (write_nothing, "not a .keras file"),
        (write_half, "not a .keras file"),
        (write_all_but_a_byte, r"model\.keras"),
        (write_other_zip, "1 members instead of 3"),
        (write_damaged_weights, "damaged"),
        (write_plain_keras, "Sequential, which has no vocabulary"),
    ],
)
def test_file_that_is_no_model(model, path, write, message):
    write(model, path)
    with pytest.raises(ValueError, match=message) as error:
        textgen.load(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_missing_file(path):
    with pytest.raises(FileNotFoundError, match=r"model\.keras"):
        textgen.load(path)
