"""Copies with another vocabulary, compared symbol by symbol with the old model."""

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy as to_numpy
from small_models import make

import textgen
from textgen import LanguageModel, Vocabulary

OLD = Vocabulary("bdfh \n")
NEW = OLD.extended("age")  # before, between and after the old symbols
LIKE = {"g": "f"}
TEXT = "bdf hhb\nd fb"

CONFIGURATIONS = {
    "lstm": {"return_sequences": True},
    "gru": {"cell": "gru", "return_sequences": True, "start_step": True},
    "simple_rnn": {"cell": "simple_rnn", "return_sequences": True, "layer_norm": True},
    "windows": {},
    # With more than 2 * 3 symbols, the vectors are projected in another way.
    "embedding": {"embedding": 3, "return_sequences": True},
    "windows of embeddings": {"cell": "gru", "embedding": 4, "layer_norm": True},
    "tied": {"embedding": 7, "tie_weights": True, "return_sequences": True},
    "tied windows": {"cell": "simple_rnn", "embedding": 7, "tie_weights": True},
    "float64": {"dtype": "float64", "return_sequences": True},
    "stateful": {"return_sequences": True, "stateful": True, "batch_size": 2},
    "one symbol": {"vocabulary": Vocabulary("b"), "return_sequences": True},
}


@pytest.fixture(params=CONFIGURATIONS)
def models(request):
    """A model, and its copy with more symbols."""
    config = CONFIGURATIONS[request.param]
    model = make(**{"vocabulary": OLD, **config})
    like = {"g": "b"} if "vocabulary" in config else LIKE
    copy = model.with_vocabulary(model.vocabulary.extended("age"), like)
    return model, copy, like


def symbol_weights(model):
    """The weights of each symbol in the input and in the output, and its bias."""
    symbols = model.vocabulary.symbols
    kernel = model.input_layer.weights or model.recurrent_layers[0].weights
    rows = to_numpy(kernel[0])
    output = [to_numpy(each) for each in model.output_layer.weights]
    if model.tie_weights:
        [bias] = [each for each in output if each.ndim == 1]
        columns = rows.T
    else:
        columns, bias = output
    return {
        symbol: (rows[index], columns[:, index], bias[index])
        for index, symbol in enumerate(symbols)
    }


def test_each_symbol_has_its_weights(models):
    model, copy, like = models
    old, new = symbol_weights(model), symbol_weights(copy)
    assert set(new) == {*old, *"age"}
    rows, columns, biases = map(np.array, zip(*old.values(), strict=True))
    mean = rows.mean(0, "float64"), columns.mean(0, "float64"), biases.min()
    for symbol, found in new.items():
        if symbol in old or symbol in like:
            source = old[symbol if symbol in old else like[symbol]]
            for one, other in zip(found, source, strict=True):
                np.testing.assert_array_equal(one, other)
        else:
            for one, other in zip(found, mean, strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)


def logits_after(model, text):
    """The logits after the last symbol, by symbol."""
    ids = model.vocabulary.encode(text).astype("int32")
    if not model.return_sequences:
        ids = np.concatenate([[-1] * model.sequence_length, ids])
        ids = ids[-model.sequence_length :].astype("int32")
    logits = np.array(model(ids[np.newaxis]))[0]
    logits = logits[-1] if model.return_sequences else logits
    return dict(zip(model.vocabulary.symbols, logits.astype(float), strict=True))


def test_logits_of_old_symbols_do_not_change(models):
    model, copy, like = models
    bias = {symbol: each[2] for symbol, each in symbol_weights(model).items()}
    text = "".join(each for each in TEXT if each in model.vocabulary)
    for end in (1, 2, len(text)):
        old, new = logits_after(model, text[:end]), logits_after(copy, text[:end])
        expected = dict(old)
        expected |= {each: old[other] for each, other in like.items()}
        mean = np.mean([old[symbol] - bias[symbol] for symbol in old])
        expected |= dict.fromkeys("ae", mean + min(bias.values()))
        assert new == pytest.approx(expected, rel=1e-6, abs=1e-5)
        # The new symbol "e" gets at most the share of one of the old symbols.
        total = np.exp([*old.values(), new["e"]]).sum()
        assert np.exp(new["e"]) / total <= 1 / len(old)


def test_a_new_symbol_is_read_like_its_model(models):
    model, copy, like = models
    other = like["g"]
    after, expected = logits_after(copy, "b" + "g"), logits_after(model, "b" + other)
    assert {each: after[each] for each in expected} == pytest.approx(expected, abs=1e-5)


def test_the_copy_generates_the_same_text():
    model = make(OLD, units=(6,), return_sequences=True)
    text = model.generate("bd", 40, temperature=0)
    copy = model.with_vocabulary(NEW)
    assert copy.generate("bd", 40, temperature=0, forbidden="age") == text


def test_dropped_symbols():
    model = make(OLD, return_sequences=True)
    copy = model.with_vocabulary(Vocabulary("dha"), drop_symbols=True)
    old, new = symbol_weights(model), symbol_weights(copy)
    assert list(new) == ["a", "d", "h"]
    for symbol in "dh":
        for one, other in zip(new[symbol], old[symbol], strict=True):
            np.testing.assert_array_equal(one, other)
    mean = np.mean([row for row, _, _ in old.values()], axis=0)
    np.testing.assert_allclose(new["a"][0], mean, atol=1e-6)


def test_the_other_weights_are_kept():
    config = {"return_sequences": True, "layer_norm": True}
    model = make(OLD, **config, stateful=True, batch_size=1)
    model.reset_state([np.ones((1, size)) for size in (6, 6, 7, 7)])
    copy = model.with_vocabulary(NEW, dropout=0.5)
    [(kernel, *recurrent), *others] = [
        [to_numpy(weight) for weight in layer.weights]
        for layer in [*model.recurrent_layers, *model.norm_layers]
    ]
    [(new_kernel, *new_recurrent), *new_others] = [
        [to_numpy(weight) for weight in layer.weights]
        for layer in [*copy.recurrent_layers, *copy.norm_layers]
    ]
    assert (len(kernel), len(new_kernel)) == (len(OLD), len(NEW))
    for old, new in zip(
        [recurrent, *others], [new_recurrent, *new_others], strict=True
    ):
        for one, other in zip(old, new, strict=True):
            np.testing.assert_array_equal(one, other)
    assert [float(np.max(state)) for state in copy.carried_state] == [0] * 4
    assert [float(np.max(state)) for state in model.carried_state] == [1] * 4


def test_what_the_copy_keeps():
    model = make(
        OLD,
        return_sequences=True,
        start_step=True,
        end_token=OLD.ids["\n"],
        dropout=0.25,
        reset_policy="never",
        dtype="mixed_bfloat16",
        name="poet",
    )
    model.recurrent_layers[1].trainable = False
    model.notes = {"corpus": "poems.txt", "lines": [3, None]}
    model.compile()
    copy = model.with_vocabulary(NEW)
    expected = model.get_config() | {
        "vocabulary": NEW.get_config(),
        "end_token": NEW.ids["\n"],
    }
    assert copy.get_config() == expected
    assert expected["frozen"] == ["lstm_1"]
    assert (model.compiled, copy.compiled) == (True, False)
    copy.notes["corpus"] = "others.txt"
    assert model.notes["corpus"] == "poems.txt"
    without_end = model.with_vocabulary(Vocabulary("abd"), drop_symbols=True)
    assert without_end.end_token is None


def test_what_the_copy_can_change(tmp_path):
    changes = {
        "dropout": 0.4,
        "recurrent_dropout": 0.1,
        "weight_dropout": 0.25,
        "return_sequences": True,
        "stateful": True,
        "batch_size": 16,
        "reset_policy": "never",
        "sequence_length": 12,
        "start_step": True,
        "end_token": 3,
        "name": "other",
    }
    model = make(OLD)
    copy = model.with_vocabulary(NEW, **changes)
    config = copy.get_config()
    assert {name: config[name] for name in changes} == changes
    copy.save(tmp_path / "copy.keras")
    assert textgen.load(tmp_path / "copy.keras").get_config() == config


@pytest.mark.parametrize(
    "dtype", ["bfloat16", "mixed_bfloat16", "float64", keras.DTypePolicy("float16")]
)
def test_dtypes(dtype):
    # The default initializer of recurrent kernels does not support bfloat16.
    model = make(OLD, return_sequences=True, initializer="glorot_uniform")
    copy = model.with_vocabulary(NEW, dtype=dtype)
    assert copy.dtype_policy == keras.dtype_policies.get(dtype)
    back = copy.with_vocabulary(OLD, drop_symbols=True, dtype="float32")
    for one, other in zip(model.weights, back.weights, strict=True):
        kept = keras.ops.cast(keras.ops.cast(one, copy.variable_dtype), "float32")
        np.testing.assert_array_equal(other, kept)
    row = to_numpy(copy.recurrent_layers[0].weights[0])[NEW.ids["a"]]
    mean = to_numpy(model.recurrent_layers[0].weights[0]).mean(0)
    np.testing.assert_allclose(row.astype("float64"), mean, rtol=1e-2, atol=1e-2)


def test_a_subclass_stays_one():
    @keras.saving.register_keras_serializable(package="tests")
    class Poet(LanguageModel):
        pass

    assert type(Poet(OLD, units=3).with_vocabulary(NEW)) is Poet


def test_words():
    old = Vocabulary.from_text("to be or not to be", "word", unknown="be")
    model = make(old, return_sequences=True)
    copy = model.with_vocabulary(old.extended("be that"), {"that": "not"})
    after, expected = logits_after(copy, "to be"), logits_after(model, "to be")
    assert after == pytest.approx({**expected, "that": expected["not"]}, abs=1e-5)
    assert copy.vocabulary.unknown == "be"


@pytest.mark.parametrize(
    ("vocabulary", "options", "message"),
    [
        ("abc", {}, "vocabulary='abc' must be a textgen.Vocabulary"),
        (
            Vocabulary("abd"),
            {},
            r"lacks 4 of 6 symbols of the model: '\\n', ' ', 'f', 'h'\. Pass "
            r"model\.vocabulary\.extended\(text\) to keep them, or drop_symbols=True",
        ),
        (Vocabulary("abd", level="word"), {}, "has words and the model characters"),
        (NEW, {"like": {"a": "A"}}, "like={'a': 'A'} must name a symbol of the model"),
        (NEW, {"like": {"a": "e"}}, "like={'a': 'e'} must name a symbol of the model"),
        (NEW, {"units": 3, "cell": "gru"}, "cannot change cell, units: .* can change"),
        (NEW, {"dropout": 1}, "dropout=1 must be at least 0 and less than 1"),
        (NEW, {"stateful": True}, "stateful=True must be False unless"),
        (NEW, {"end_token": 9}, "end_token=9 must be None or an id from 0 to 8"),
    ],
)
def test_what_is_refused(vocabulary, options, message):
    with pytest.raises(ValueError, match=message):
        make(OLD).with_vocabulary(vocabulary, **options)


def test_the_error_names_at_most_ten_symbols():
    model = make(Vocabulary("abcdefghijklmnop"), units=2)
    with pytest.raises(ValueError, match=r"'c', .*'l', …\. Pass"):
        model.with_vocabulary(Vocabulary("ab"))


def test_entries_for_other_symbols_have_no_effect():
    model = make(OLD, units=3)
    copy = model.with_vocabulary(NEW, {"b": "d", "z": "d", "y": "x"})
    for one, other in zip(
        copy.weights, model.with_vocabulary(NEW).weights, strict=True
    ):
        np.testing.assert_array_equal(one, other)
