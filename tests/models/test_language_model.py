import itertools
import json
import re
import zipfile

import keras
import numpy as np
import pytest
from keras import ops

import textgen
from textgen import LanguageModel, SequenceDataset, Vocabulary, WindowDataset

VOCABULARY = Vocabulary.from_text("abcdefghij \n")
SIZE = len(VOCABULARY)
WINDOW = 5
CELLS = {
    "simple_rnn": keras.layers.SimpleRNN,
    "gru": keras.layers.GRU,
    "lstm": keras.layers.LSTM,
}
# Every argument that changes the network or its weights appears at least once.
CONFIGURATIONS = [
    {},
    {"cell": "gru", "units": (6, 4), "dropout": 0.25, "recurrent_dropout": 0.125},
    pytest.param(
        {"cell": "simple_rnn", "embedding": 3, "layer_norm": True, "dtype": "float64"},
        marks=pytest.mark.tensorflow("float64"),
    ),
    {"embedding": 4, "units": (6, 4), "tie_weights": True, "return_sequences": True},
    {"return_sequences": True, "stateful": True, "batch_size": 3, "name": "carrier"},
    {"return_sequences": True, "start_step": True, "end_token": 1},
    {"initializer": "he_normal", "units": (4, 4)},
    {"cell": "gru", "activation": "softsign", "recurrent_activation": "hard_sigmoid"},
    {
        "return_sequences": True,
        "stateful": True,
        "batch_size": 2,
        "reset_policy": "never",
        "dtype": "mixed_bfloat16",
    },
]


def random_ids(count, seed=0):
    return np.random.default_rng(seed).integers(0, SIZE, count).astype(np.int32)


def make(vocabulary=VOCABULARY, seed=3, **kwargs):
    """A small model with weights large enough for varied texts."""
    model = LanguageModel(
        vocabulary, **{"units": 8, "sequence_length": WINDOW, **kwargs}
    )
    generator = np.random.default_rng(seed)
    for weight in model.trainable_weights:
        scale = 0.3 if weight.name == "bias" else 1.0
        weight.assign(generator.normal(0, scale, weight.shape))
    return model


def plain(model):
    """Keras layers with the weights of a model; the input is vectors."""
    size = model.embedding or len(model.vocabulary)
    layers = [keras.Input((None, size), dtype=model.dtype)]
    activations = {"activation": model.activation}
    if model.cell != "simple_rnn":
        activations["recurrent_activation"] = model.recurrent_activation
    for index, units in enumerate(model.units):
        layers.append(
            CELLS[model.cell](
                units,
                return_sequences=model.return_sequences or index < len(model.units) - 1,
                dtype=model.dtype,
                **activations,
            )
        )
        if model.layer_norm:
            layers.append(keras.layers.LayerNormalization(dtype=model.dtype))
    layers.append(keras.layers.Dense(len(model.vocabulary), dtype=model.dtype))
    copy = keras.Sequential(layers)
    sources = []
    for index, layer in enumerate(model.recurrent_layers):
        sources += [layer, *model.norm_layers[index : index + 1]]
    for source, target in zip(sources, copy.layers[:-1], strict=True):
        target.set_weights(source.get_weights())
    if model.tie_weights:
        [bias] = (
            weight
            for weight in model.output_layer.trainable_weights
            if weight.name == "bias"
        )
        table = ops.convert_to_numpy(model.input_layer.embeddings)
        copy.layers[-1].set_weights([table.T, ops.convert_to_numpy(bias)])
    else:
        copy.layers[-1].set_weights(model.output_layer.get_weights())
    return copy


def vectors(model, ids):
    """One-hot rows or embeddings of ids; zeros for -1."""
    table = np.eye(len(model.vocabulary))
    if model.embedding:
        table = ops.convert_to_numpy(model.input_layer.embeddings)
    table = np.append(table, np.zeros((1, table.shape[1])), axis=0)
    return table[np.asarray(ids)].astype(model.dtype)


def logits_of(model, ids):
    return ops.convert_to_numpy(plain(model)(vectors(model, ids)))


def nats(logits, targets):
    """Cross-entropy of each target, in float64; targets of -1 are omitted."""
    logits = np.asarray(logits, np.float64)
    shifted = logits - logits.max(axis=-1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    chosen = np.take_along_axis(logs, np.maximum(targets, 0)[..., None], axis=-1)
    return -chosen[..., 0][targets >= 0]


def weights_of(model):
    return [ops.convert_to_numpy(weight) for weight in model.trainable_weights]


def assert_equal_weights(one, other):
    for left, right in zip(weights_of(one), weights_of(other), strict=True):
        np.testing.assert_array_equal(left, right)


def still():
    """An optimizer that changes nothing: `fit` measures without training."""
    return keras.optimizers.SGD(0.0)


# A few batches of a test take less time than a TensorFlow graph of the step.
EAGER = {"run_eagerly": True}


# === Construction ===


@pytest.mark.parametrize("kwargs", CONFIGURATIONS)
def test_config_round_trip(kwargs):
    model = make(**kwargs)
    config = json.dumps(model.get_config())
    copy = LanguageModel.from_config(json.loads(config))
    assert json.dumps(copy.get_config()) == config
    assert copy.vocabulary == model.vocabulary
    assert [w.shape for w in copy.weights] == [w.shape for w in model.weights]
    for name, value in kwargs.items():
        if name != "dtype":
            assert getattr(copy, name) == value
    assert copy.dtype_policy.name == kwargs.get("dtype", "float32")


def test_initializer_is_for_every_kernel_and_no_bias():
    keras.utils.set_random_seed(0)
    normal = keras.initializers.RandomNormal(mean=5.0, stddev=0.5)
    for embedding in (None, 50):
        model = LanguageModel(
            VOCABULARY, units=(60, 60), embedding=embedding, initializer=normal
        )
        kernels = [w for w in model.trainable_weights if w.name != "bias"]
        assert len(kernels) == 5 + (embedding is not None)
        for kernel in kernels:
            values = ops.convert_to_numpy(kernel)
            # Six standard errors; there are at least 600 values.
            assert abs(values.mean() - 5) < 6 * 0.5 / np.sqrt(values.size)
            assert abs(values.std() - 0.5) < 6 * 0.5 / np.sqrt(2 * values.size)
        # Each kernel has different values.
        first, second = (
            layer.cell.recurrent_kernel for layer in model.recurrent_layers
        )
        assert np.abs(ops.convert_to_numpy(first - second)).max() > 0.1
        lstm_bias, *_ = (w for w in model.trainable_weights if w.name == "bias")
        assert set(ops.convert_to_numpy(lstm_bias)) == {
            0.0,
            1.0,
        }  # 1 for the forget gate
        copy = LanguageModel.from_config(json.loads(json.dumps(model.get_config())))
        assert copy.initializer.get_config() == normal.get_config()


def test_old_name_of_reset_policy_still_loads():
    config = make(**CONFIGURATIONS[-1]).get_config()
    assert "reset_states" not in config
    config["reset_states"] = config.pop("reset_policy")
    assert LanguageModel.from_config(config).reset_policy == "never"
    config["reset_states"] = "epoch"
    assert LanguageModel.from_config(config).reset_policy == "epoch"


def test_config_survives_keras_serialization():
    model = make(**CONFIGURATIONS[1])
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(model)))
    copy = keras.saving.deserialize_keras_object(config)
    assert isinstance(copy, LanguageModel)
    assert copy.get_config() == model.get_config()


def change_config(path, change):
    """Rewrites a `.keras` file with a changed configuration of the model."""
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    saved = json.loads(parts["config.json"])
    change(saved["config"])
    parts["config.json"] = json.dumps(saved).encode()
    parts["metadata.json"] = b"{}"  # older versions stored no checksums
    with zipfile.ZipFile(path, "w") as file:
        for name, part in parts.items():
            file.writestr(name, part)


def test_notes_survive_a_file_and_a_copy(tmp_path):
    model = make(return_sequences=True)
    assert model.notes == {}
    notes = {"corpus": "poems.txt", "held-out loss": 1.25, "lines": [3, None, "é"]}
    model.notes = notes
    assert type(model.notes) is dict and model.notes is not notes
    model.save(tmp_path / "model.keras")
    loaded = textgen.load(tmp_path / "model.keras")
    assert loaded.notes == notes
    loaded.notes["encoding"] = "utf-8"
    loaded.save(tmp_path / "model.keras")
    changed = {**notes, "encoding": "utf-8"}
    assert textgen.load(tmp_path / "model.keras").notes == changed
    stripped = loaded.stripped()
    assert stripped.notes == changed
    del stripped.notes["encoding"]
    assert (loaded.notes, model.notes, make().notes) == (changed, notes, {})


def test_file_of_an_older_version_loads(tmp_path):
    model = make(**CONFIGURATIONS[-1])
    path = tmp_path / "model.keras"
    model.save(path)

    def make_old(config):
        del config["notes"]
        config["reset_states"] = config.pop("reset_policy")

    change_config(path, make_old)
    loaded = textgen.load(path)
    assert (loaded.notes, loaded.reset_policy) == ({}, "never")
    assert_equal_weights(loaded, model)


def test_config_keeps_a_word_vocabulary():
    vocabulary = Vocabulary(["to", "be", " ", "?"], level="word", unknown="?")
    model = LanguageModel(vocabulary, units=4)
    copy = LanguageModel.from_config(json.loads(json.dumps(model.get_config())))
    assert copy.vocabulary == vocabulary


@pytest.mark.parametrize("kwargs", CONFIGURATIONS)
def test_output_shape(kwargs):
    model = make(**kwargs)
    ids = random_ids(2 * 7).reshape(2, 7)
    expected = (2, 7, SIZE) if kwargs.get("return_sequences") else (2, SIZE)
    for inputs in (ids, VOCABULARY.one_hot(ids)):
        assert tuple(model(inputs).shape) == expected
        assert model.compute_output_shape(inputs.shape) == expected


def test_layers_and_arguments_are_used():
    model = make(units=(6, 4), cell="gru", dropout=0.5, layer_norm=True)
    assert [layer.units for layer in model.recurrent_layers] == [6, 4]
    assert all(type(layer) is textgen.GRU for layer in model.recurrent_layers)
    assert [layer.rate for layer in model.dropout_layers] == [0.5, 0.5]
    assert len(model.norm_layers) == 2
    # GRU: three gates, two biases; then gamma and beta; then the output.
    first = 3 * 6 * (SIZE + 6 + 2) + 2 * 6
    second = 3 * 4 * (6 + 4 + 2) + 2 * 4
    assert model.count_params() == first + second + (4 + 1) * SIZE


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"vocabulary": "abc"}, "vocabulary='abc'"),
        ({"cell": "rnn"}, "cell='rnn' must be one of simple_rnn, gru, lstm"),
        ({"units": 0}, r"units=\(0,\)"),
        ({"units": ()}, r"units=\(\)"),
        ({"units": (8, -1)}, r"units=\(8, -1\)"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"dropout": float("nan")}, "dropout=nan"),
        ({"recurrent_dropout": -0.5}, "recurrent_dropout=-0.5"),
        ({"embedding": 0}, "embedding=0"),
        ({"sequence_length": 0}, "sequence_length=0"),
        ({"tie_weights": True}, r"tie_weights=True .*embedding \(None\)"),
        ({"tie_weights": True, "embedding": 4}, r"embedding \(4\) .*units \(8\)"),
        ({"stateful": True, "batch_size": 2}, "stateful=True .*return_sequences"),
        ({"stateful": True, "return_sequences": True}, "batch_size=None"),
        (
            {"stateful": True, "return_sequences": True, "batch_size": 0},
            "batch_size=0",
        ),
        ({"end_token": SIZE}, f"end_token={SIZE} must be None or an id from 0"),
        ({"reset_policy": "batch"}, "reset_policy='batch' must be 'epoch' or 'never'"),
        ({"dtype": "float23"}, "float23"),
        ({"unit": 3}, "unit"),
    ],
)
def test_bad_argument_is_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        make(**kwargs)


# === Logits ===


@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize("embedding", [None, 3, 6])  # 3: too small to be looked up
@pytest.mark.parametrize("cell", CELLS)
def test_logits_equal_those_of_plain_keras(cell, embedding, return_sequences):
    model = make(
        cell=cell,
        units=(8, 6),
        embedding=embedding,
        return_sequences=return_sequences,
        dropout=0.5,
        recurrent_dropout=0.5,
    )
    ids = random_ids(3 * 9).reshape(3, 9)
    expected = logits_of(model, ids)
    np.testing.assert_allclose(model(ids), expected, atol=1e-5)
    np.testing.assert_allclose(model(VOCABULARY.one_hot(ids)), expected, atol=1e-5)


@pytest.mark.parametrize(
    "kwargs",
    [
        {"layer_norm": True, "units": (8, 6)},
        {"activation": "softsign", "recurrent_activation": "hard_sigmoid"},
        {"cell": "simple_rnn", "activation": "relu"},
        {"tie_weights": True, "embedding": 6, "units": (8, 6)},
        pytest.param(
            {"dtype": "float64", "cell": "simple_rnn", "return_sequences": True},
            marks=pytest.mark.tensorflow("float64"),
        ),
    ],
)
def test_logits_of_other_networks_equal_those_of_plain_keras(kwargs):
    model = make(**kwargs)
    ids = random_ids(3 * 9).reshape(3, 9)
    accuracy = 1e-13 if model.dtype == "float64" else 1e-5
    np.testing.assert_allclose(model(ids), logits_of(model, ids), atol=accuracy)


def test_tied_output_adds_only_a_bias():
    tied = make(embedding=6, units=6, tie_weights=True)
    free = make(embedding=6, units=6)
    assert free.count_params() - tied.count_params() == 6 * SIZE
    assert len({weight.path for weight in tied.weights}) == len(tied.weights)


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64"])
def test_ids_of_any_integer_dtype(dtype):
    model = make()
    ids = random_ids(6).reshape(2, 3)
    np.testing.assert_array_equal(model(ids.astype(dtype)), model(ids))


@pytest.mark.parametrize("embedding", [None, 3, 6])
@pytest.mark.parametrize("cell", CELLS)
def test_padding_is_stepped_over_as_zero_vectors(cell, embedding):
    model = make(cell=cell, embedding=embedding)
    ids = np.array([[-1, -1, 4, 2], [-1, 0, 1, 7]])
    logits = ops.convert_to_numpy(model(ids))
    np.testing.assert_allclose(logits, logits_of(model, ids), atol=1e-5)
    # The biases act at each of these steps: the steps are not masked.
    assert np.abs(logits[0] - ops.convert_to_numpy(model(ids[:1, 2:]))[0]).max() > 1e-3


@pytest.mark.parametrize("shape", [(3,), (2, 3, SIZE - 1)])
def test_input_of_another_shape_is_an_error(shape):
    with pytest.raises(ValueError, match="neither ids"):
        make()(np.zeros(shape, np.int32))


@pytest.mark.parametrize("name", ["dropout", "recurrent_dropout"])
def test_dropout_acts_in_training_only(name):
    model = make(**{name: 0.5})
    ids = random_ids(4 * 9).reshape(4, 9)
    np.testing.assert_allclose(model(ids), logits_of(model, ids), atol=1e-5)
    once, again = (ops.convert_to_numpy(model(ids, training=True)) for _ in range(2))
    assert np.abs(once - ops.convert_to_numpy(model(ids))).max() > 1e-3
    assert np.abs(once - again).max() > 1e-3


@pytest.mark.tensorflow("float64")
def test_float64_reaches_every_layer_and_variable():
    model = make(
        dtype="float64",
        units=(6, 4),
        embedding=4,
        layer_norm=True,
        tie_weights=True,
        dropout=0.5,
        return_sequences=True,
        stateful=True,
        batch_size=2,
    )
    layers = model._flatten_layers(include_self=True, recursive=True)
    assert {layer.dtype_policy.name for layer in layers} == {"float64"}
    assert {v.dtype for v in model.variables if "seed" not in v.path} == {"float64"}
    assert model(np.array([[1, 2]])).dtype == "float64"


def test_mixed_precision_computes_low_and_gives_float32_logits():
    low, high = make(dtype="mixed_bfloat16"), make()
    ids = random_ids(2 * 7).reshape(2, 7)
    assert low(ids).dtype == "float32"
    assert {weight.dtype for weight in low.trainable_weights} == {"float32"}
    difference = np.abs(np.asarray(low(ids)) - np.asarray(high(ids))).max()
    assert 1e-5 < difference < 0.1


# === Compiling ===


@pytest.mark.parametrize(
    ("loss", "one_hot"),
    [
        (None, False),
        (None, True),
        ("categorical_crossentropy", True),
        ("categorical_crossentropy", False),
        ("sparse_categorical_crossentropy", False),
        (keras.losses.categorical_crossentropy, True),
        (keras.losses.CategoricalCrossentropy(from_logits=True), True),
        (keras.losses.SparseCategoricalCrossentropy(from_logits=True), False),
    ],
)
def test_loss_is_the_cross_entropy_of_the_logits(loss, one_hot):
    model = make()
    model.compile(still(), loss, **EAGER)
    x, y = random_ids(20 * WINDOW).reshape(20, WINDOW), random_ids(20, seed=1)
    expected = nats(logits_of(model, x), y).mean()
    loss = model.evaluate(x, VOCABULARY.one_hot(y) if one_hot else y, verbose=0)
    assert loss == pytest.approx(expected, rel=1e-5)


def test_compiling_as_in_the_course():
    model = make()
    model.compile(loss="categorical_crossentropy", optimizer="adam")
    x, y = textgen.vectorize(random_ids(60), SIZE, WINDOW)
    losses = model.fit(x, y, batch_size=8, epochs=20, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    "loss",
    [
        keras.losses.CategoricalCrossentropy(),
        keras.losses.SparseCategoricalCrossentropy(),
        "CategoricalCrossentropy",
        "SparseCategoricalCrossentropy",
    ],
)
def test_loss_on_probabilities_is_refused(loss):
    with pytest.raises(ValueError, match=r"CategoricalCross.*from_logits=True"):
        make().compile(loss=loss)


def test_metrics_are_those_of_the_logits():
    model = make(return_sequences=True)
    perplexity = textgen.Perplexity()
    model.compile(still(), metrics=["accuracy", perplexity], **EAGER)
    x, y = random_ids(60).reshape(12, 5), random_ids(60, seed=1).reshape(12, 5)
    logits = logits_of(model, x)
    values = model.evaluate(x, y, verbose=0, return_dict=True)
    assert values["accuracy"] == pytest.approx((logits.argmax(-1) == y).mean())
    expected = np.exp(nats(logits, y).mean())
    assert values["perplexity"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.tensorflow("float64")
def test_compiling_leaves_the_default_precision_alone():
    make(dtype="float64").compile()
    assert keras.config.floatx() == "float32"
    with pytest.raises(ValueError, match="from_logits"):
        make(dtype="float64").compile(loss=keras.losses.CategoricalCrossentropy())
    assert keras.config.floatx() == "float32"


@pytest.mark.parametrize("name", ["clipvalue", "clipnorm", "global_clipnorm"])
def test_gradients_are_clipped(name):
    limit = 1e-3
    model = make()
    before = weights_of(model)
    model.compile(keras.optimizers.SGD(1.0, **{name: limit}), **EAGER)
    model.fit(*textgen.vectorize(random_ids(40), SIZE, WINDOW), epochs=1, verbose=0)
    steps = [
        (after - old).astype(np.float64)
        for after, old in zip(weights_of(model), before, strict=True)
    ]
    size = {
        "clipvalue": max(np.abs(step).max() for step in steps),
        "clipnorm": max(np.linalg.norm(step) for step in steps),
        "global_clipnorm": np.sqrt(sum((step**2).sum() for step in steps)),
    }[name]
    assert size == pytest.approx(limit, rel=1e-2)


# === Training ===


def test_arrays_and_dataset_train_alike():
    ids = random_ids(120)
    x, y = textgen.vectorize(ids, SIZE, WINDOW, 2)
    models, losses = [], []
    for data in (
        {"x": x, "y": y, "batch_size": 16, "shuffle": False},
        {"x": WindowDataset(ids, WINDOW, 2, 16, shuffle=False)},
    ):
        models.append(make(cell="gru"))
        models[-1].compile(keras.optimizers.Adam(0.01))
        losses.append(models[-1].fit(**data, epochs=3, verbose=0).history["loss"])
    assert losses[0][2] < losses[0][0]
    np.testing.assert_allclose(*losses, rtol=1e-5)
    for left, right in zip(*map(weights_of, models), strict=True):
        np.testing.assert_allclose(left, right, atol=1e-4)


@pytest.mark.tensorflow("float64")
def test_loss_in_the_history_is_of_float64_precision():
    model = make(dtype="float64")
    model.compile(still(), **EAGER)
    data = WindowDataset(random_ids(100), WINDOW, 1, 16, shuffle=False)
    loss = model.fit(data, verbose=0).history["loss"][0]
    x, y = (np.concatenate(part) for part in zip(*data, strict=True))
    expected = nats(logits_of(model, x), y).mean()
    assert loss == pytest.approx(expected, rel=1e-13)


def test_validation_loss():
    model = make()
    model.compile(still(), **EAGER)
    data = WindowDataset(random_ids(60), WINDOW, 1, 16)
    validation = WindowDataset(random_ids(50, seed=1), WINDOW, 1, 16)
    x, y = textgen.vectorize(random_ids(50, seed=1), SIZE, WINDOW, 1)
    expected = nats(logits_of(model, x.argmax(-1)), y.argmax(-1)).mean()
    for given in (validation, (x, y)):
        history = model.fit(data, validation_data=given, epochs=2, verbose=0).history
        assert history["val_loss"] == pytest.approx([expected] * 2, rel=1e-5)
    assert model.evaluate(validation, verbose=0) == pytest.approx(expected, rel=1e-5)


def test_validation_reads_the_same_text_each_epoch():
    model = make(return_sequences=True)
    model.compile(still(), **EAGER)
    data = SequenceDataset(random_ids(100), 6, 2)
    validation = SequenceDataset(random_ids(60, seed=1), 6, 2)
    x, y = (np.concatenate(part) for part in zip(*validation, strict=True))
    expected = nats(logits_of(model, x), y).mean()
    history = model.fit(data, validation_data=validation, epochs=3, verbose=0).history
    assert history["val_loss"] == pytest.approx([expected] * 3, rel=1e-5)


@pytest.mark.parametrize(
    "data",
    [
        (WindowDataset(random_ids(40), 7),),
        textgen.vectorize(random_ids(40), SIZE, 7),
    ],
)
def test_window_of_another_length_is_an_error(data):
    model = make()
    model.compile()
    with pytest.raises(ValueError, match=rf"7 steps .*sequence_length={WINDOW}"):
        model.fit(*data, verbose=0)


def test_targets_of_another_kind_are_an_error():
    model = make()
    model.compile()
    with pytest.raises(ValueError, match="return_sequences"):
        model.fit(SequenceDataset(random_ids(60), WINDOW, 2), verbose=0)


def trained(fits=({"epochs": 2},), seed=0, **kwargs):
    """Trains a model, with dropout, on shuffled windows."""
    keras.utils.set_random_seed(seed)
    model = LanguageModel(
        VOCABULARY, units=8, dropout=0.3, recurrent_dropout=0.2, sequence_length=WINDOW
    )
    model.compile(keras.optimizers.Adam(0.05))
    data = WindowDataset(random_ids(80), WINDOW, 1, 16, seed=seed, **kwargs)
    for fit in fits:
        model.fit(data, **{"verbose": 0, **fit})
    return model


@pytest.fixture(scope="module")
def trained_model():
    return trained()


def test_equal_seeds_give_equal_weights(trained_model):
    assert_equal_weights(trained_model, trained())


def test_each_seed_has_its_order(trained_model):
    ordered = trained(shuffle=False)
    differences = [
        np.abs(left - right).max()
        for left, right in zip(
            weights_of(ordered), weights_of(trained_model), strict=True
        )
    ]
    assert max(differences) > 1e-3


def test_two_fits_see_the_epochs_of_one(trained_model):
    assert_equal_weights(trained_model, trained([{"epochs": 1}, {"epochs": 1}]))


def test_resumed_fit_sees_the_later_epochs(trained_model):
    resumed = [{"epochs": 1}, {"initial_epoch": 1, "epochs": 2}]
    assert_equal_weights(trained_model, trained(resumed))


def test_samples_in_between_do_not_change_the_training(trained_model, capsys):
    samples = [
        textgen.SampleText("ab", 1.0, max_new_tokens=5),
        textgen.SampleText("", (0.5, 0.0), unit="batch", every=2, max_new_tokens=5),
    ]
    assert_equal_weights(trained_model, trained([{"epochs": 2, "callbacks": samples}]))
    assert "ab" in capsys.readouterr().out


def test_scoring_in_between_does_not_change_the_training(trained_model):
    data = WindowDataset(random_ids(30, seed=1), WINDOW, 1, 8)
    fits = [{"epochs": 2, "validation_data": data}]
    assert_equal_weights(trained_model, trained(fits))


def test_padding_of_lines_does_not_change_the_loss():
    lines = ["a", "bcdefg", "hi", "j a b c d e f g", "abc"]
    ids = VOCABULARY.encode("\n".join(lines))
    end = VOCABULARY.ids["\n"]
    model = make(return_sequences=True)
    model.compile(still(), **EAGER)
    expected = []
    for line in lines:
        symbols = VOCABULARY.encode(line).tolist()
        x, y = np.array([[-1, *symbols]]), np.array([[*symbols, end]])
        expected.extend(nats(logits_of(model, x), y))
    data = textgen.LineDataset(ids, end, batch_size=5, shuffle=False)
    mean = np.mean(expected)
    assert model.evaluate(data, verbose=0) == pytest.approx(mean, rel=1e-5)
    assert model.fit(data, verbose=0).history["loss"][0] == pytest.approx(
        mean, rel=1e-5
    )


# === Carried states ===


def carrier(rows=3, eagerly=True, **kwargs):
    model = make(return_sequences=True, stateful=True, batch_size=rows, **kwargs)
    model.compile(still(), run_eagerly=eagerly)
    return model


def strands(rows, steps, batches, seed=0):
    """A consecutive dataset, and the same data as one batch of long sequences."""
    ids = random_ids(rows * (batches * steps + 1), seed)
    data = SequenceDataset(ids, steps, rows, "consecutive", random_offset=False)
    assert len(data) == batches
    x, y = (np.concatenate(part, axis=1) for part in zip(*data, strict=True))
    return data, x, y


def training_states(model):
    states = model.carried_states.read("training", model.batch_size)
    return [ops.convert_to_numpy(state) for state in states]


@pytest.mark.parametrize(
    ("cell", "eagerly"), [*((cell, True) for cell in CELLS), ("lstm", False)]
)
def test_fit_carries_the_state_and_resets_each_epoch(cell, eagerly):
    model = carrier(cell=cell, units=(8, 6), eagerly=eagerly)
    data, x, y = strands(3, 6, 4)
    expected = nats(logits_of(model, x), y).mean()
    losses = model.fit(data, epochs=2, verbose=0).history["loss"]
    assert losses == pytest.approx([expected] * 2, rel=1e-5)
    # Without a carried state, the loss would differ.
    dropped = nats(np.concatenate([logits_of(model, b) for b, _ in data], axis=1), y)
    assert abs(dropped.mean() - expected) > 1e-3


def test_state_is_carried_through_epochs_with_never():
    model = carrier(reset_policy="never")
    data, x, y = strands(3, 6, 4)
    logits = logits_of(model, np.tile(x, (1, 3)))
    expected = [nats(part, y).mean() for part in np.split(logits, 3, axis=1)]
    assert abs(expected[0] - expected[1]) > 1e-3
    losses = model.fit(data, epochs=2, verbose=0).history["loss"]
    losses += model.fit(data, epochs=1, verbose=0).history["loss"]
    assert losses == pytest.approx(expected, rel=1e-5)
    model.reset_state()
    assert not any(state.any() for state in training_states(model))
    [loss] = model.fit(data, verbose=0).history["loss"]
    assert loss == pytest.approx(expected[0], rel=1e-5)


def logits_from(model, ids, states):
    """Logits of Keras's LSTM layers with the weights of a model, from given states."""
    x, states = vectors(model, ids), iter(states)
    *layers, dense = plain(model).layers
    for layer in layers:
        x = layer(x, initial_state=[next(states), next(states)])
    assert next(states, None) is None
    return ops.convert_to_numpy(dense(x))


def train_on(model, x, y):
    model.reset_metrics()  # otherwise, the loss is the mean over all batches so far
    return model.train_on_batch(x, y)


def test_training_starts_from_the_values_of_reset_state():
    model = carrier(units=(8, 6))
    shapes = [(3, 8), (3, 8), (3, 6), (3, 6)]
    assert [state.shape for state in model.carried_state] == shapes
    generator = np.random.default_rng(1)
    values = [generator.normal(0, 1, shape).astype(np.float32) for shape in shapes]
    _, x, y = strands(3, 6, 2)
    losses = nats(logits_from(model, x, values), y).reshape(y.shape)
    first, second = losses[:, :6].mean(), losses[:, 6:].mean()
    # Neither zero nor exchanged states have this loss.
    for others in ([np.zeros(s) for s in shapes], [values[i] for i in (1, 0, 3, 2)]):
        other = nats(logits_from(model, x[:, :6], others), y[:, :6]).mean()
        assert abs(other - first) > 1e-3
    model.reset_state(values)
    for found, value in zip(model.carried_state, values, strict=True):
        np.testing.assert_array_equal(found, value)
    assert train_on(model, x[:, :6], y[:, :6]) == pytest.approx(first, rel=1e-5)
    between = model.carried_state
    assert train_on(model, x[:, 6:], y[:, 6:]) == pytest.approx(second, rel=1e-5)
    model.reset_state(between)
    assert train_on(model, x[:, 6:], y[:, 6:]) == pytest.approx(second, rel=1e-5)
    model.reset_state()
    assert not any(state.any() for state in model.carried_state)
    zero = nats(logits_of(model, x[:, :6]), y[:, :6]).mean()
    assert train_on(model, x[:, :6], y[:, :6]) == pytest.approx(zero, rel=1e-5)


@pytest.mark.parametrize("policy", ["epoch", "never"])
def test_fit_keeps_given_states_with_never_only(policy):
    model = carrier(reset_policy=policy)
    data, x, y = strands(3, 6, 4)
    values = [np.full((3, 8), 0.9, np.float32), np.full((3, 8), -2.0, np.float32)]
    from_values = nats(logits_from(model, x, values), y).mean()
    from_zero = nats(logits_of(model, x), y).mean()
    assert abs(from_values - from_zero) > 1e-3
    model.reset_state(values)
    [loss] = model.fit(data, verbose=0).history["loss"]
    expected = from_zero if policy == "epoch" else from_values
    assert loss == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("shapes", [[(2, 8), (3, 8)], [(3, 8)], [(3, 8)] * 3, [(), ()]])
def test_states_of_other_shapes_are_refused(shapes):
    model = carrier()
    model.reset_state([np.ones((3, 8))] * 2)
    both = rf"{re.escape(str(shapes))}.*{re.escape(str([(3, 8)] * 2))}"
    with pytest.raises(ValueError, match=both):
        model.reset_state([np.zeros(shape) for shape in shapes])
    assert all((state == 1).all() for state in model.carried_state)


def test_model_without_carried_state():
    for kwargs in ({}, {"return_sequences": True}):
        model = make(**kwargs)
        assert model.carried_state == []
        model.reset_state()
        with pytest.raises(ValueError, match=r"\[\(3, 8\)\].*\[\].*not stateful"):
            model.reset_state([np.zeros((3, 8))])


def test_carried_state_is_detached_but_weights_learn():
    model = carrier()
    model.compile(keras.optimizers.Adam(0.05))
    data, _, _ = strands(3, 6, 4)
    losses = model.fit(data, epochs=30, verbose=0).history["loss"]
    assert losses[-1] < 0.7 * losses[0]


def test_evaluation_carries_a_separate_state():
    model = carrier(eagerly=False)
    model.fit(strands(3, 6, 2)[0], verbose=0)
    before = training_states(model)
    assert all(state.any() for state in before)
    for rows in (5, 2, 7, 3):
        data, x, y = strands(rows, 4, 3, seed=rows)
        expected = nats(logits_of(model, x), y).mean()
        for _ in range(2):  # the second starts from zero again
            assert model.evaluate(data, verbose=0) == pytest.approx(expected, rel=1e-5)
    for state, old in zip(training_states(model), before, strict=True):
        np.testing.assert_array_equal(state, old)


def test_evaluation_of_arrays_carries_the_state():
    model = carrier(rows=2)
    data, x, y = strands(4, 6, 3)
    expected = nats(logits_of(model, x), y).mean()
    arrays = [np.concatenate(part) for part in zip(*data, strict=True)]
    loss = model.evaluate(*arrays, batch_size=4, verbose=0)
    assert loss == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("rows", [2, 5])
def test_validation_between_epochs_leaves_the_training_state(rows):
    model = carrier(reset_policy="never", eagerly=rows == 2)
    data, x, y = strands(3, 6, 4)
    validation, x_val, y_val = strands(rows, 4, 3, seed=1)
    logits = logits_of(model, np.tile(x, (1, 2)))
    expected = [nats(part, y).mean() for part in np.split(logits, 2, axis=1)]
    history = model.fit(data, validation_data=validation, epochs=2, verbose=0).history
    assert history["loss"] == pytest.approx(expected, rel=1e-5)
    expected = nats(logits_of(model, x_val), y_val).mean()
    assert history["val_loss"] == pytest.approx([expected] * 2, rel=1e-5)


def test_predict_calls_and_texts_start_from_zero():
    model = carrier()
    stateless = make(return_sequences=True)
    data, _, _ = strands(3, 6, 2)
    model.fit(data, verbose=0)
    before = training_states(model)
    for rows in (2, 7):
        ids = random_ids(rows * 6).reshape(rows, 6)
        expected = logits_of(model, ids)
        np.testing.assert_allclose(model(ids), expected, atol=1e-5)
        np.testing.assert_allclose(model.predict(ids, verbose=0), expected, atol=1e-5)
    text = model.generate("abc", 30, seed=1)
    assert text == stateless.generate("abc", 30, seed=1)
    for state, old in zip(training_states(model), before, strict=True):
        np.testing.assert_array_equal(state, old)


def equal_lines(sizes, batch_size):
    """A stateful dataset: batches of `sizes` lines, with increasing length."""
    text = "abcdefghij" * 2
    lines = [
        text[row : row + length + 1]
        for length, rows in enumerate(sizes)
        for row in range(rows)
    ]
    ids, end = VOCABULARY.encode("\n".join(lines)), VOCABULARY.ids["\n"]
    data = textgen.LineDataset(
        ids, end, batch_size=batch_size, shuffle=False, stateful=True
    )
    assert [len(x) for x, _ in data] == list(sizes)
    return data


def carried_loss(model, data):
    """The mean over all targets; each row continues from its previous line."""
    found = []
    for row in range(max(len(x) for x, _ in data)):
        lines = [pair for pair in data if len(pair[0]) > row]
        x, y = (np.concatenate([pair[i][row] for pair in lines]) for i in (0, 1))
        found.extend(nats(logits_of(model, x[np.newaxis]), y[np.newaxis]))
    return np.mean(found)


@pytest.mark.parametrize("sizes", [(3, 3, 3), (3, 1, 2)])
def test_lines_of_equal_length_carry_the_state(sizes):
    model = carrier(rows=3)
    data = equal_lines(sizes, 3)
    expected = carried_loss(model, data)
    [loss] = model.fit(data, verbose=0).history["loss"]
    assert loss == pytest.approx(expected, rel=1e-5)
    assert model.evaluate(data, verbose=0) == pytest.approx(expected, rel=1e-5)


def test_later_batch_of_lines_may_be_the_largest():
    model = carrier(rows=3)
    data = equal_lines((1, 3), 3)
    expected = carried_loss(model, data)
    [loss] = model.fit(data, verbose=0).history["loss"]
    assert loss == pytest.approx(expected, rel=1e-5)
    assert model.evaluate(data, verbose=0) == pytest.approx(expected, rel=1e-5)


def test_validation_lines_may_be_more_than_training_lines():
    model = carrier(rows=2)
    validation = equal_lines((1, 5), 5)
    expected = carried_loss(model, validation)
    history = model.fit(
        equal_lines((2, 2), 2), validation_data=validation, verbose=0
    ).history
    assert history["val_loss"][0] == pytest.approx(expected, rel=1e-5)


def test_later_batch_larger_than_the_states_is_an_error():
    model = carrier(rows=2)
    with pytest.raises(ValueError, match=r"batch_size=2"):
        model.fit(equal_lines((1, 3), 3), verbose=0)


def test_batch_larger_than_the_states_is_an_error():
    model = carrier(rows=3)
    with pytest.raises(ValueError, match=r"4 rows.*batch_size=3"):
        model.fit(strands(4, 6, 2)[0], verbose=0)
    x = random_ids(24).reshape(4, 6)
    with pytest.raises(ValueError, match=r"4 rows.*batch_size=3"):
        model.fit(x, x, verbose=0)


# === Writing ===

KINDS = {
    "many-to-one": {},
    "many-to-one, embedding": {"embedding": 3, "cell": "gru", "units": (8, 6)},
    "many-to-many": {"return_sequences": True},
    "many-to-many, tied": {
        "return_sequences": True,
        "cell": "gru",
        "units": (8, 6),
        "embedding": 6,
        "tie_weights": True,
    },
    "many-to-many, norm": {
        "return_sequences": True,
        "cell": "simple_rnn",
        "units": (8, 6),
        "layer_norm": True,
        "dropout": 0.5,
    },
    "stateful": {"return_sequences": True, "stateful": True, "batch_size": 3},
    "float64": {"return_sequences": True, "dtype": "float64"},
    "mixed": {"dtype": "mixed_bfloat16"},
}
EACH_KIND = [
    pytest.param(kind, marks=pytest.mark.tensorflow("float64"))
    if kind == "float64"
    else kind
    for kind in KINDS
]


@pytest.fixture(scope="module")
def models():
    made = {}

    def get(kind):
        if kind not in made:
            made[kind] = make(**KINDS[kind])
        return made[kind]

    return get


@pytest.fixture(scope="module", params=["many-to-one", "many-to-many"])
def writer(request, models):
    return models(request.param)


def logits_after(model, text, start, network=None):
    """Returns the logits, `(tokens - start, V)`, after `start` tokens and more.

    A many-to-many network reads the complete text, after a start step if `start` is 0.
    A many-to-one network reads one window per prefix, padded with zero vectors on the
    left.
    """
    ids = [-1, *model.vocabulary.encode(text).tolist()]
    network = network or (lambda ids: logits_of(model, ids))
    if model.return_sequences:
        read = np.array([ids[:-1] if start == 0 else ids[1:-1]])
        return ops.convert_to_numpy(network(read))[0, max(start - 1, 0) :]
    padded = [-1] * model.sequence_length + ids
    ends = range(model.sequence_length + 1 + start, len(padded))
    windows = np.array([padded[end - model.sequence_length : end] for end in ends])
    return ops.convert_to_numpy(network(windows))


def assert_most_probable(logits, text):
    """Each token has the largest logit, up to rounding of two compilations."""
    ids = VOCABULARY.encode(text).astype(int)
    assert (logits[np.arange(len(ids)), ids] >= logits.max(-1) - 1e-4).all()


def assert_same_but_for_rounding(model, one, other, prompt, temperature, seed):
    """Two texts of a prompt differ only after a draw that rounding can change.

    In batches of another size, sums are computed in another order.
    """
    pairs = enumerate(itertools.zip_longest(one, other))
    at = next((at for at, (a, b) in pairs if a != b), None)
    if at is None:
        return
    logits = logits_after(model, one[: at + 1].lower(), at)[0].astype(np.float64)
    edges = np.cumsum(np.exp((logits - logits.max()) / temperature))
    drawn = np.random.default_rng([seed, 0]).random(at - len(prompt) + 1, np.float32)
    assert np.abs(edges / edges[-1] - drawn[-1]).min() < 1e-5


@pytest.mark.parametrize("kind", EACH_KIND[:-1])
def test_zero_temperature_gives_the_most_probable_text(models, kind):
    model = models(kind)
    written = ""
    for prompt in ("", "a", "ABC", "abcde", "hij abc\ndef"):
        text = model.generate(prompt, 25, temperature=0)
        assert text.startswith(prompt)
        assert len(text) == len(prompt) + 25
        logits = logits_after(model, text.lower(), len(prompt))
        assert_most_probable(logits, text[len(prompt) :])
        written += text[len(prompt) :]
    assert len(set(written)) > 3, "a network that repeats itself proves little"


@pytest.mark.parametrize("kind", EACH_KIND)
def test_rule_sees_the_logits_of_the_whole_prefix(models, kind):
    model = models(kind)
    for prompt in ("", "bad", "hij abc\ndef"):
        seen = []

        def rule(logits, count, seen=seen):
            assert isinstance(logits, np.ndarray)
            assert logits.shape == (1, SIZE)
            assert count == len(seen)
            seen.append(logits[0])
            return [(3 * count + 1) % SIZE]

        text = model.generate(prompt, 12, sampler=rule)
        ids = VOCABULARY.encode(text[len(prompt) :]).tolist()
        assert ids == [(3 * count + 1) % SIZE for count in range(12)]
        for network in (model, None if kind != "mixed" else model):
            expected = logits_after(model, text, len(prompt), network)
            # Two compilations round each layer of each step differently, about 4 times.
            roundings = 4 * len(model.units) * len(text)
            rounding = roundings * 2.0**-24 * np.abs(expected).max()
            accuracy = 0.1 if kind == "mixed" else rounding
            np.testing.assert_allclose(seen, expected, rtol=0, atol=accuracy)


def test_rule_gets_a_row_for_each_text(writer):
    shapes = []

    def rule(logits, count):
        shapes.append(logits.shape)
        return np.arange(len(logits))

    texts = writer.generate(["ab", "cd"], 3, count=2, sampler=rule)
    assert shapes == [(4, SIZE)] * 3
    symbols = VOCABULARY.symbols
    prompts = ["ab", "ab", "cd", "cd"]
    assert texts == [
        prompt + 3 * symbol for prompt, symbol in zip(prompts, symbols, strict=False)
    ]


def test_rule_refuses_prompts_of_unequal_length(models):
    with pytest.raises(ValueError, match="equal length"):
        models("many-to-many").generate(
            ["a", "bc"], 3, sampler=lambda logits, count: [0, 0]
        )


def test_texts_follow_the_probabilities(models):
    model = models("many-to-one")
    [logits] = logits_after(model, "abcd", 3) / 0.8
    expected = np.exp(logits - logits.max())
    expected /= expected.sum()
    texts = model.generate("abc", 1, temperature=0.8, count=4000, seed=0)
    counts = np.bincount([VOCABULARY.ids[text[-1]] for text in texts], minlength=SIZE)
    deviations = np.sqrt(expected * (1 - expected) / 4000)
    assert (np.abs(counts / 4000 - expected) < 4.5 * deviations).all()


@pytest.mark.parametrize("kind", EACH_KIND)
def test_joined_stream_is_the_text(models, kind):
    model = models(kind)
    for seed, stop in itertools.product((0, 1), (None, "a", ["bc", "\n", "d"])):
        options = {"temperature": 0.8, "seed": seed, "stop": stop}
        text = model.generate("Bad ", 60, **options)
        pieces = list(model.stream("Bad ", 60, **options))
        assert "".join(pieces) == text
        assert pieces[0] == "Bad "
        assert all(pieces)


def test_stream_yields_before_the_end(writer):
    pieces = writer.stream("ab", 10**6, seed=0)
    text = "".join(itertools.islice(pieces, 4))
    assert 5 < len(text) < 1000
    assert text == writer.generate("ab", len(text) - 2, seed=0)


def test_result_begins_with_the_prompt_as_typed(writer):
    for prompt in ("", "a", "AbC", "J" * 50, "a\nB"):
        text = writer.generate(prompt, 5, seed=0)
        assert text.startswith(prompt)
        assert len(text) == len(prompt) + 5
        assert text[len(prompt) :] == writer.generate(prompt.lower(), 5, seed=0)[-5:]


def test_result_is_str_or_list(writer):
    one = writer.generate("ab", 4, seed=0)
    assert isinstance(one, str)
    assert writer.generate(["ab"], 4, seed=0) == [one]
    assert writer.generate(("ab",), 4, seed=0) == [one]
    assert writer.generate("ab", 4, seed=0, count=1) == [one]
    assert writer.generate([], 4, seed=0) == []
    assert writer.generate([], 4, seed=0, count=3) == []


def test_order_is_that_of_the_prompts_and_then_the_copies(writer):
    prompts = ["a", "bcd efg", ""]
    texts = writer.generate(prompts, 40, count=3, seed=5)
    assert len(texts) == 9
    for index, prompt in enumerate(prompts):
        alone = writer.generate(prompt, 40, count=3, seed=5)
        first = writer.generate(prompt, 40, seed=5)
        for other in (texts[3 * index], first):
            assert_same_but_for_rounding(writer, alone[0], other, prompt, 1.0, 5)
        # Only the first tokens: rounding errors accumulate.
        starts = [text[: len(prompt) + 5] for text in alone]
        assert [t[: len(prompt) + 5] for t in texts[3 * index :][:3]] == starts
        assert len(set(alone)) == 3


@pytest.mark.parametrize("stop", [None, ["ab", "j"]])
def test_text_does_not_depend_on_the_other_texts(writer, stop):
    prompts = ["ab", "", "hij abc\ndef" * 20, "AB"]
    together = writer.generate(prompts, 150, 0.9, seed=3, stop=stop)
    alone = [writer.generate(prompt, 150, 0.9, seed=3, stop=stop) for prompt in prompts]
    for prompt, one, other in zip(prompts, together, alone, strict=True):
        assert_same_but_for_rounding(writer, one, other, prompt, 0.9, 3)
    assert together[0].lower() == together[3].lower()


@pytest.mark.parametrize("seed", [None, 3])
def test_repeated_prompt_gives_another_text(writer, seed):
    texts = writer.generate(["", "ab", "", "", "ab"], 30, seed=seed)
    assert len(set(texts)) == 5
    if seed is not None:
        copies = [writer.generate(each, 30, count=3, seed=seed) for each in ("", "ab")]
        assert [texts[0], texts[2], texts[3]] == copies[0]
        assert [texts[1], texts[4]] == copies[1][:2]


def test_overlapping_stops_do_not_depend_on_the_other_texts(models):
    model = models("many-to-many")
    full = model.generate("a", 60, seed=0)[1:]
    # For some of these positions, a piece ends inside the longer stop.
    for at in range(10, 50):
        stop = [full[at : at + 6], full[at + 2 : at + 4]]
        alone = model.generate("a", 60, seed=0, stop=stop)
        beside, _ = model.generate(["a", "bc def gh"], 60, seed=0, stop=stop)
        assert beside == alone


def test_seeds_decide(writer):
    texts = [writer.generate("a", 40, seed=seed) for seed in (0, 0, 1, 2**70)]
    assert texts[0] == texts[1]
    assert len(set(texts)) == 3
    assert len({writer.generate("a", 40) for _ in range(3)}) == 3


def test_fewer_tokens_give_the_beginning(writer):
    text = writer.generate("ab", 300, seed=0)
    assert len(text) == 302
    for count in (0, 1, 16, 129):
        assert writer.generate("ab", count, seed=0) == text[: 2 + count]


def test_temperature_orders_the_variety(writer):
    varieties = [
        len(set(writer.generate("ab", 3, temperature, count=200, seed=0)))
        for temperature in (1e-6, 0.5, 1e6)
    ]
    assert varieties[0] == 1
    assert varieties[0] < varieties[1] < varieties[2]
    cold = writer.generate("ab", 30, 1e-6, seed=0)
    assert cold == writer.generate("ab", 30, 0, seed=0)


@pytest.mark.parametrize("start", [3, 14, 15, 16, 30, 47])
def test_stop_is_not_part_of_the_text(writer, start):
    full = writer.generate("ab", 60, seed=0)
    for stop in (full[2 + start], full[2 + start : 5 + start]):
        expected = full[: full.index(stop, 2)]
        assert writer.generate("ab", 60, seed=0, stop=stop) == expected
        assert writer.generate("ab", 60, seed=0, stop=["ABSENT", stop]) == expected
        assert "".join(writer.stream("ab", 60, seed=0, stop=stop)) == expected


def test_beginning_of_a_stop_at_the_end_is_kept(writer):
    full = writer.generate("ab", 20, seed=0)
    assert writer.generate("ab", 20, seed=0, stop=full[-3:] + "X") == full


def test_stop_in_the_prompt_does_not_count(writer):
    full = writer.generate("cab", 60, seed=0)
    # Neither inside the prompt nor across its end.
    for stop in ("ca", full[2:4]):
        at = full.find(stop, 3)
        expected = full[:at] if at >= 0 else full
        assert writer.generate("cab", 60, seed=0, stop=stop) == expected


def test_no_new_tokens_give_the_prompt(writer):
    assert writer.generate("Ab", 0) == "Ab"
    assert writer.generate(["", "abcdefghij"], 0, count=2) == [
        *["", ""],
        *["abcdefghij"] * 2,
    ]
    assert list(writer.stream("Ab", 0)) == ["Ab"]
    assert list(writer.stream("", 0)) == []


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"max_new_tokens": -1}, "max_new_tokens=-1"),
        ({"temperature": float("nan")}, "temperature=nan"),
        ({"temperature": -0.5}, "temperature=-0.5"),
        ({"temperature": float("inf")}, "temperature=inf"),
        ({"seed": -3}, "seed=-3"),
        ({"stop": ""}, "stop=''"),
        ({"stop": ["a", ""]}, "stop=''"),
        ({"prompt": "ab?"}, r"'\?' at position 2"),
        ({"prompt": "ab?", "unknown": "pass"}, "unknown='pass'"),
    ],
)
def test_bad_argument_of_generate_is_named(models, kwargs, message):
    model = models("many-to-one")
    with pytest.raises(ValueError, match=message):
        model.generate(**kwargs)
    # `stream` raises immediately, not at the first piece.
    with pytest.raises(ValueError, match=message):
        model.stream(**kwargs)


@pytest.mark.parametrize("count", [0, -2])
def test_bad_count_is_named(models, count):
    with pytest.raises(ValueError, match=f"count={count}"):
        models("many-to-one").generate("a", count=count)


def test_unknown_symbols_are_skipped_or_replaced(writer):
    def continuation(prompt, **kwargs):
        text = writer.generate(prompt, 30, seed=0, **kwargs)
        assert text.startswith(prompt)
        return text[len(prompt) :]

    assert continuation("a?b!", unknown="skip") == continuation("ab")
    assert continuation("a?b!", unknown="j") == continuation("ajbj")
    assert continuation("???", unknown="skip") == continuation("")


def test_policy_of_the_vocabulary_applies():
    vocabulary = Vocabulary(VOCABULARY.symbols, unknown="skip")
    model = make(vocabulary)
    assert model.generate("a?b", 20, seed=0)[3:] == model.generate("ab", 20, seed=0)[2:]
    with pytest.raises(ValueError, match=r"'\?' at position 1"):
        model.generate("a?b", unknown="error")


@pytest.mark.parametrize("return_sequences", [False, True])
def test_new_weights_are_used(return_sequences):
    model = make(return_sequences=return_sequences)
    old = model.generate("abc", 30, temperature=0)
    model.compile(keras.optimizers.SGD(2.0))
    ids = VOCABULARY.encode("abcdefghij \n" * 20)
    if return_sequences:
        model.fit(SequenceDataset(ids, 6, 4), epochs=2, verbose=0)
    else:
        model.fit(WindowDataset(ids, WINDOW, 1, 16), epochs=2, verbose=0)
    new = model.generate("abc", 30, temperature=0)
    assert_most_probable(logits_after(model, new, 3), new[3:])
    assert new != old


@pytest.mark.parametrize("return_sequences", [False, True])
def test_a_learned_text_is_generated(return_sequences):
    keras.utils.set_random_seed(0)
    cycle = "abcdefghij \n"
    ids = VOCABULARY.encode(cycle * 20)
    model = LanguageModel(
        VOCABULARY, units=16, sequence_length=WINDOW, return_sequences=return_sequences
    )
    model.compile(keras.optimizers.Adam(0.05))
    data = (
        SequenceDataset(ids, 6, 4)
        if return_sequences
        else WindowDataset(ids, WINDOW, 1, 16)
    )
    model.fit(data, epochs=8, verbose=0)
    expected = (cycle * 5)[3:50]
    assert model.generate(cycle[3:9], 41, temperature=0.1, seed=0) == expected


def test_words():
    text = "to be or not to be, that is the question"
    vocabulary = Vocabulary.from_text(text, level="word")
    for return_sequences in (False, True):
        model = make(vocabulary, return_sequences=return_sequences)
        written = model.generate("To be", 12, seed=0)
        assert written.startswith("To be")
        symbols = list(vocabulary.tokens(written[5:]))
        # Two adjacent words join to one token, so there may be fewer than 12.
        assert 0 < len(symbols) <= 12
        whole = "".join(model.stream("To be", 12, seed=0))
        assert whole == written
        seen = []

        def rule(logits, count, seen=seen):
            seen.append(logits)
            return [0] if count % 2 else [vocabulary.ids["question"]]

        expected = "not" + "question" + vocabulary.symbols[0] + "question"
        assert model.generate("not", 3, sampler=rule) == expected
        expected = logits_after(model, "not ", 1)[0]  # after one word
        np.testing.assert_allclose(seen[0][0], expected, atol=1e-5)


@pytest.mark.parametrize("return_sequences", [False, True])
def test_cudnn_stays_out_of_compiled_functions(return_sequences, monkeypatch):
    model = make(return_sequences=return_sequences)
    [layer] = model.recurrent_layers
    used = []
    call = type(layer).call

    def recording(self, *args, **kwargs):
        used.append(self.use_cudnn)
        return call(self, *args, **kwargs)

    monkeypatch.setattr(type(layer), "call", recording)
    model.generate("abc", 3)
    model.score("abc")
    assert used
    assert set(used) == {False}
    assert layer.use_cudnn == "auto"
