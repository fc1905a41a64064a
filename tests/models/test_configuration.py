"""The lists and rules for configurations: all of textgen's models, and nothing else.

`tests/models/test_loading.py` tests them with complete files.
"""

import inspect
import json

import hostile_files
import keras
import numpy as np
import pytest
from keras import layers

import textgen
from textgen import keras_internals
from textgen.models import allowed, configuration, fields
from textgen.models.configuration import Checker, UnknownCodeError

CHECKER = Checker(allowed.LIMITS)


def serialized(thing):
    """What a file contains: JSON values."""
    return json.loads(json.dumps(keras.saving.serialize_keras_object(thing)))


def check(value, role):
    Checker(allowed.LIMITS).check_object(value, "x", role)


# === Everything that textgen's models may contain is allowed ===

ARGUMENTS = {
    **dict.fromkeys(("SimpleRNN", "GRU", "LSTM", "Dense", "RepeatVector"), (3,)),
    **dict.fromkeys(("Dropout", "GaussianDropout", "GaussianNoise"), (0.1,)),
    **dict.fromkeys(("Conv1D", "SeparableConv1D", "MultiHeadAttention"), (3, 2)),
    "SpatialDropout1D": (0.1,),
    "Activation": ("tanh",),
    "AveragePooling1D": (2,),
    "Dot": (1,),
    "Embedding": (3, 4),
    "InputLayer": ((3,),),
    "Permute": ((2, 1),),
    "Reshape": ((3, 2),),
    **dict.fromkeys(
        ("CosineDecay", "CosineDecayRestarts", "PolynomialDecay"), (0.1, 10)
    ),
    **dict.fromkeys(("ExponentialDecay", "InverseTimeDecay"), (0.1, 10, 0.5)),
    "PiecewiseConstantDecay": ([1, 2], [0.1, 0.2, 0.3]),
    **dict.fromkeys(("MeanIoU", "OneHotMeanIoU"), (2,)),
    **dict.fromkeys(("IoU", "OneHotIoU"), (2, [0])),
    **dict.fromkeys(("PrecisionAtRecall", "RecallAtPrecision"), (0.5,)),
    **dict.fromkeys(("SensitivityAtSpecificity", "SpecificityAtSensitivity"), (0.5,)),
    "MeanMetricWrapper": (keras.losses.mean_squared_error,),
}
MODULES = {
    "layer": layers,
    "initializer": keras.initializers,
    "regularizer": keras.regularizers,
    "constraint": keras.constraints,
    "optimizer": keras.optimizers,
    "schedule": keras.optimizers.schedules,
    "loss": keras.losses,
    "metric": keras.metrics,
}


@pytest.mark.parametrize("role", MODULES)
def test_every_class_is_allowed(role):
    for name in allowed.ROLES[role].names:
        arguments = ARGUMENTS.get(name, ())
        if name in ("TimeDistributed", "Bidirectional"):
            arguments = (layers.GRU(3),)
        if name == "LossScaleOptimizer":
            arguments = (keras.optimizers.SGD(),)
        check(serialized(getattr(MODULES[role], name)(*arguments)), role)


def test_every_function_exists_and_is_allowed():
    for name in allowed.ACTIVATIONS:
        CHECKER.check_activation(serialized(getattr(keras.activations, name)), "x")
        CHECKER.check_activation(name, "x")
        CHECKER.check_activation_name(name, "x")
    for name in allowed.FUNCTIONS:
        module = keras.losses if hasattr(keras.losses, name) else keras.metrics
        assert inspect.isfunction(getattr(module, name))
        check(serialized(getattr(module, name)), "metric")
    for name in allowed.INITIALIZER_NAMES:
        assert isinstance(keras.initializers.get(name), keras.initializers.Initializer)
        CHECKER.check_initializer(name, "x")
    for name in allowed.OPERATIONS:
        assert hasattr(keras.src.ops.numpy, name)


def test_textgen_classes_are_allowed():
    for layer in (textgen.OneHot(3), textgen.GRU(4, weight_dropout=0.5)):
        check(serialized(layer), "layer")
    check(serialized(textgen.CrossEntropy()), "loss")
    for metric in (textgen.Perplexity, textgen.BitsPerCharacter, textgen.Accuracy):
        check(serialized(metric()), "metric")
    check(serialized(textgen.warmup_cosine(0.1, 100)), "schedule")


def test_variants_are_allowed():
    constant = keras.initializers.Constant(np.ones((2, 3), np.float32))
    regularized = layers.Dense(
        2,
        activation=layers.LeakyReLU(),
        kernel_initializer=constant,
        kernel_regularizer="l2",
        activity_regularizer=keras.regularizers.L1(0.1),
        kernel_constraint=keras.constraints.MaxNorm(1, [0, 1]),
        dtype="mixed_bfloat16",
    )
    for layer in (
        regularized,
        layers.Conv1D(2, 3, padding="causal", dilation_rate=2),
        layers.ZeroPadding1D((1, 2)),
        layers.LayerNormalization(axis=[1, 2]),
        layers.Bidirectional(
            layers.GRU(2), backward_layer=layers.GRU(2, go_backwards=True)
        ),
        layers.ReLU(max_value=6),
        layers.Dot((1, 2)),
        keras.Sequential([keras.Input((3,)), layers.Dense(2)]),
    ):
        check(serialized(layer), "layer")


# === Nothing else is ===


@pytest.mark.parametrize(
    "role", [*MODULES, "network", "sequential", "operation", "dtype"]
)
@pytest.mark.parametrize("name", hostile_files.HOSTILE)
def test_hostile_objects_are_refused(role, name):
    value = hostile_files.HOSTILE[name]
    if name == "model" and role in ("layer", "sequential"):
        return check(value, role)  # an empty Sequential model is harmless
    with pytest.raises(ValueError):
        check(value, role)
    with pytest.raises(ValueError):
        CHECKER.check_activation(value if name != "model" else 0, "x")
    with pytest.raises(ValueError):
        CHECKER.check_learning_rate(value, "x")
    return None


@pytest.mark.parametrize(
    ("role", "module", "name"),
    [
        ("layer", "keras.layers", "Lambda"),
        ("layer", "keras", "Dense"),
        ("layer", "keras.src.layers", "Dense"),
        ("layer", "textgen.layers.inputs", "TiedOutput"),
        ("initializer", "keras.layers", "Zeros"),
        ("optimizer", "keras.losses", "Adam"),
        ("metric", "keras.metrics", "deserialize"),
        ("loss", "keras.losses", "deserialize"),
        ("operation", "keras.src.ops.numpy", "Add"),
        ("dtype", "keras", "QuantizedDTypePolicy"),
    ],
)
def test_other_names_are_refused(role, module, name):
    for registered in (None, name, f"keras>{name}", "textgen>GRU"):
        value = hostile_files.thing(module, name, {}, registered)
        with pytest.raises(ValueError):
            check(value, role)


def test_functions_of_keras_by_name():
    for role in ("loss", "metric"):
        for name in ("deserialize", "get", "serialize", "set_distribution"):
            for module in ("builtins", "keras.losses", "keras.metrics", "keras"):
                with pytest.raises(ValueError):
                    check(hostile_files.function(module, name), role)


def test_unknown_code_has_its_own_error():
    """Such a model loads uncompiled."""
    for module in (None, "__main__", "program"):
        value = hostile_files.thing(module, "Own", {}, "own>Own")
        with pytest.raises(
            UnknownCodeError, match="'own>Own', which is not registered"
        ):
            check(value, "loss")
    with pytest.raises(UnknownCodeError, match="'own'"):
        check(hostile_files.function("builtins", "own"), "metric")


def test_shared_objects_must_be_equal():
    """Keras builds the first object, and takes it for all others of this number."""
    tanh = hostile_files.thing("keras.layers", "ReLU", {"name": "a"})
    other = hostile_files.thing("keras.layers", "ELU", {"name": "a"})
    checker = Checker(allowed.LIMITS)
    for _ in range(2):
        checker.check_object({**tanh, "shared_object_id": 1}, "x", "layer")
    with pytest.raises(ValueError, match="shared_object_id of another object"):
        checker.check_object({**other, "shared_object_id": 1}, "x", "layer")


# === Fields ===

MODEL = json.loads(
    json.dumps(keras_internals.serialized(hostile_files.language_model()))
)

WRONG = {
    "name": [None, 1, True, "x" * 1001],
    "cell": [None, "rnn", 1, ["lstm"]],
    "units": [None, 3, [], [0], [-1], [1.0], [True], ["3"], [[3]], [2**30]],
    "dropout": [None, True, "0", 1, 1.0, -0.1, float("nan"), float("inf")],
    "recurrent_dropout": [False, 1e30],
    "weight_dropout": [[0.5]],
    "embedding": [0, -1, 1.5, True, "4", 2**30],
    "labels": [None, "poe", [1], [None], ["x" * 1001]],
    "layer_norm": [None, 0, 1, "true", [], {}],
    "tie_weights": [None, 0, "false"],
    "return_sequences": [None, 0, 1, 1.0, "yes", [True]],
    "stateful": [1],
    "batch_size": [0, True, 1.5, 10**7],
    "reset_policy": [None, True, "never ", 0],
    "sequence_length": [None, 0, -1, 1.5, True, float("inf"), 10**9, "40"],
    "activation": [None, 1, "Tanh", "deserialize", ["tanh"], {}],
    "recurrent_activation": ["textgen>LanguageModel", "own>own"],
    "initializer": [1, True, "deserialize", []],
    "start_step": [None, 0],
    "end_token": [-1, 1.5, True, "0"],
    "frozen": [None, "x", [1], {}],
    "notes": [None, [], 1, "x"],
    "vocabulary": [
        None,
        [],
        {"level": "character", "unknown": "error"},
        {"level": "word", "unknown": 1, "symbols": ["a"]},
        {"level": "letter", "unknown": "error", "symbols": ["a"]},
        {"level": "character", "unknown": "error", "symbols": []},
        {"level": "character", "unknown": "error", "symbols": ["b", "a"]},
        {"level": "character", "unknown": "error", "symbols": ["a", "a"]},
        {"level": "character", "unknown": "error", "symbols": ["a", 1]},
        {"level": ["byte"]},
        {"level": "byte", "unknown": "error"},
        {"level": "byte", "lowercase": 1},
        {"level": "byte", "lowercase": None},
        {"level": "byte", "normalization": "nfd"},
        {"level": "subword", "model": "bpe", "merges": [], "normalization": ["nfc"]},
        {"level": "subword", "model": "bpe", "merges": [97, 300]},
        {"level": "subword", "model": "unigram", "symbols": ["ab"], "scores": [-1.0]},
    ],
    "dtype": [None, "float32", {"name": "float32"}],
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_values_of_a_language_model(name):
    for value in WRONG[name]:
        wrong = {**MODEL, "config": {**MODEL["config"], name: value}}
        with pytest.raises(ValueError, match=f"model.{name}"):
            configuration.check(wrong, allowed.LIMITS, complete=True)


def test_every_field_has_wrong_values_and_is_needed():
    assert set(WRONG) == set(fields.LANGUAGE_MODEL) - {"reset_states"}
    assert configuration.check(MODEL, allowed.LIMITS, True) == "textgen>LanguageModel"
    for name in set(WRONG) - {"labels"}:
        less = {key: value for key, value in MODEL["config"].items() if key != name}
        with pytest.raises(ValueError, match=f"the field '{name}' is missing"):
            configuration.check(
                {**MODEL, "config": less}, allowed.LIMITS, complete=True
            )


ADAM = serialized(keras.optimizers.Adam())
OPTIMIZER = {
    "learning_rate": [None, True, "0.1", -0.1, 1e30, float("nan"), float("inf"), []],
    "beta_1": [None, -0.1, 1.1, True, "0.9"],
    "epsilon": [None, -1e-7, float("inf")],
    "weight_decay": [-1, True, "0"],
    "clipnorm": [0, -1, True, float("nan")],
    "use_ema": [None, 0, 1],
    "ema_overwrite_frequency": [0, 1.5, True],
    "gradient_accumulation_steps": [1, 2.0, True],
    "amsgrad": [0, None],
    "name": [None, 1],
    "unknown": [1],
}


@pytest.mark.parametrize("name", OPTIMIZER)
def test_wrong_values_of_an_optimizer(name):
    for value in OPTIMIZER[name]:
        wrong = {**ADAM, "config": {**ADAM["config"], name: value}}
        with pytest.raises(ValueError, match=name):
            check(wrong, "optimizer")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"class_name": "Model"}, "class_name"),
        ({"class_name": None}, "class_name"),
        ({"registered_name": "textgen>Other"}, "not a model of textgen"),
        ({"registered_name": ["x"]}, "not a model of textgen"),
        ({"module": "keras.layers"}, "a module of textgen"),
        ({"module": None}, "a module of textgen"),
        ({"config": None}, "an object"),
        ({"config": []}, "an object"),
        ({"build_config": {"input_shape": "x"}}, "build_config"),
        ({"build_config": {"function": 1}}, "build_config"),
        ({"other": 1}, "unknown field 'other'"),
    ],
)
def test_wrong_models(change, message):
    with pytest.raises(ValueError, match=message):
        configuration.check({**MODEL, **change}, allowed.LIMITS, complete=True)


def test_long_values_are_shortened():
    wrong = {**MODEL, "config": {**MODEL["config"], "cell": ["x" * 10**6] * 100}}
    with pytest.raises(ValueError, match=r"model\.cell") as error:
        configuration.check(wrong, allowed.LIMITS, complete=True)
    assert len(str(error.value)) < 1000
