"""The file that `export_html` writes; `tests/browser/test_poet.py` runs it."""

import base64
import hashlib
import re

import keras
import numpy as np
import pytest
from exported import Page

import textgen
from textgen.export import page as pages
from textgen.text.utf8 import token_of

VOCABULARY = textgen.Vocabulary.from_text("abcde \n")
HOSTILE = [
    *("\0", "<", ">", "&", '"', "'", "\\", "\ud800", "\u2028", "\udfff", "\x1b"),
    *("</script>", "<!--", "<script>", "]]>", "{{weights}}", "-->", "é", "月"),
]


def make(**kwargs):
    keras.utils.set_random_seed(1)
    kwargs.setdefault("vocabulary", VOCABULARY)
    return textgen.LanguageModel(**{"units": (3, 4), **kwargs})


def expected(model):
    """The arrays of a `LanguageModel`, in the order that network.js documents."""
    one_hot = model.embedding is None
    arrays = [] if one_hot else [model.input_layer.embeddings]
    for index, layer in enumerate(model.recurrent_layers):
        kernel = layer.cell.kernel.numpy()
        arrays.append(kernel if one_hot and index == 0 else kernel.T)
        arrays.append(layer.cell.recurrent_kernel.numpy().T)
        arrays.append(layer.cell.bias)
        if model.norm_layers:
            norm = model.norm_layers[index]
            arrays += [norm.gamma, norm.beta]
    if not model.tie_weights:
        arrays.append(model.output_layer.kernel.numpy().T)
    arrays.append(model.output_layer.bias)
    return np.concatenate([np.ravel(each) for each in arrays])


CONFIGURATIONS = [
    {},
    {"cell": "gru", "embedding": 5, "return_sequences": True},
    {"cell": "simple_rnn", "layer_norm": True, "labels": ("x", "y")},
    {"embedding": 4, "tie_weights": True, "return_sequences": True, "dropout": 0.2},
    {"dtype": "mixed_bfloat16", "embedding": 2},
    {"dtype": "float64", "weight_dropout": 0.1},
    {"return_sequences": True, "stateful": True, "batch_size": 2},
]


@pytest.mark.parametrize("config", CONFIGURATIONS)
def test_weights_are_those_of_the_model(config):
    model = make(**config)
    for weight in model.trainable_weights:  # zeros and ones would not show their place
        weight.assign(np.random.default_rng(weight.shape[-1]).normal(size=weight.shape))
    values = expected(model)
    found = Page(pages.page_of(model)).weights()
    np.testing.assert_array_equal(found, values.astype(np.float32))
    halves = Page(pages.page_of(model, half=True)).weights().astype(np.float64)
    # Half a unit in the last of 11 binary places; below 2^-14, of the smallest number.
    assert np.all(np.abs(halves - values) <= np.maximum(np.abs(values) / 2**11, 2**-25))
    assert np.any(halves != values)


def test_description():
    model = make(return_sequences=True, embedding=2, start_step=True, end_token=0)
    described = Page(pages.page_of(model, prompt="a\n")).model()
    recurrent = {
        "lookup": False,
        "activation": "tanh",
        "gates": "sigmoid",
        "kind": "lstm",
    }
    assert described["layers"][:3] == [
        {"kind": "embedding", "inputs": 7, "units": 2, "lookup": True},
        {"inputs": 2, "units": 3, **recurrent},
        {"inputs": 3, "units": 4, **recurrent},
    ]
    assert described["window"] is None
    assert (described["start"], described["start_step"]) == (-1, True)
    assert (described["end"], described["prompt"]) == (0, "a\n")
    assert described["tokens"] == VOCABULARY.get_config()
    assert Page(pages.page_of(make(sequence_length=9))).model()["window"] == 9


def test_tokens_of_subwords():
    text = "the quick brown fox, the quick 月 " * 3
    for kind in ("bpe", "unigram"):
        tokenizer = textgen.SubwordTokenizer.train(text, 280, kind)
        tokens = Page(pages.page_of(make(vocabulary=tokenizer))).model()["tokens"]
        if kind == "bpe":
            assert tokens == tokenizer.get_config()
            continue
        found = [each.encode("latin-1") for each in tokens["tokens"]]
        assert found == list(map(token_of, tokenizer.symbols[256:]))
        assert tokens["scores"] == tokenizer.scores


def check_inert(text):
    """Checks that a page runs one script and loads nothing; returns it."""
    assert text.isascii()
    page = Page(text)
    kinds = [attributes.get("type") for _, attributes, _ in page.all("script")]
    assert kinds == ["application/json", "application/octet-stream;base64", "module"]
    assert [len(page.all(tag)) for tag in ("style", "title", "h1", "body")] == [1] * 4
    for tag, attributes, _ in page.elements:
        assert tag not in ("link", "base", "iframe", "img", "object", "embed", "a")
        assert not {"src", "href", "action", "style", "srcdoc"} & set(attributes)
        assert not [name for name in attributes if name.startswith("on")]
    script = page.all("script")[-1][2]
    [policy] = [
        attributes["content"]
        for _, attributes, _ in page.all("meta")
        if attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    sources = [
        "sha256-" + base64.b64encode(hashlib.sha256(each.encode()).digest()).decode()
        for each in (script, page.text("style"))
    ]
    assert policy == (
        f"default-src 'none'; script-src '{sources[0]}'; style-src '{sources[1]}'; "
        "base-uri 'none'; form-action 'none'"
    )
    # A page that is not allowed to load anything does not try it either.
    assert not re.search(r"https?:|fetch|XMLHttp|WebSocket|import\(|innerHTML", script)
    return page


def test_page_is_alone():
    page = check_inert(pages.page_of(make()))
    assert page.text("title") == page.text("h1") == "A poet"
    # `</p>` and others are text of the page only where the template has them.
    assert page.text("script") == page.text("model")


def test_texts_of_strangers_are_inert():
    symbols = [each for each in HOSTILE if len(each) == 1]
    model = make(
        vocabulary=textgen.Vocabulary(symbols), labels=[*HOSTILE[12:16], "{{script}}"]
    )
    model.notes = {"corpus": "</script><b>{{model}}\0\ud800.txt"}
    text = "".join(HOSTILE)
    page = check_inert(pages.page_of(model, title=text, about=text, prompt=text))
    described = page.model()
    assert described["tokens"]["symbols"] == sorted(symbols)
    assert described["labels"] == list(model.labels)
    assert described["prompt"] == text
    assert "</script><!--<script>]]>{{weights}}" in page.text("title")
    assert "\\ud800" in page.text("h1")
    page = check_inert(pages.page_of(model))
    assert page.text("title") == "</script><b>{{model}}\\x00\\ud800"
    assert "by reading </script><b>{{model}}\\x00\\ud800.txt." in page.text("p")


def test_words_of_strangers_are_inert():
    words = textgen.Vocabulary.from_text(
        "</script><!--\0\ud800 it's {{title}}", level="word"
    )
    page = check_inert(pages.page_of(make(vocabulary=words)))
    assert page.model()["tokens"]["symbols"] == list(words.symbols)


def test_line_about_the_model():
    model = make()
    assert pages.describe(model) == (
        "A small neural network, which writes one character at a time."
    )
    model.notes = {"corpus": "shakespeare"}
    assert pages.describe(model) == (
        "A small neural network, which learned to write by reading Shakespeare's "
        "Sonnets. It writes one character at a time."
    )
    model.notes = {"corpus": ["not", "a", "name"]}
    assert "reading" not in pages.describe(model)


def wrapped(*layers, steps=5, **kwargs):
    network = keras.Sequential([keras.Input((steps,), dtype="int32"), *layers])
    return textgen.from_keras(network, VOCABULARY, **kwargs)


def dense(**kwargs):
    return keras.layers.Dense(7, **kwargs)


def test_wrapped_networks():
    layers = keras.layers
    model = wrapped(
        layers.Embedding(9, 3),
        layers.SpatialDropout1D(0.1),
        layers.GRU(4, reset_after=False, return_sequences=True, use_bias=False),
        layers.LayerNormalization(scale=False),
        layers.TimeDistributed(layers.Dense(2, use_bias=False, activation="relu")),
        layers.LSTM(2),
        dense(activation="softmax"),
    )
    described = Page(pages.page_of(model)).model()
    kinds = [each["kind"] for each in described["layers"]]
    assert kinds == ["embedding", "gru", "layer_norm", "dense", "lstm", "dense"]
    gru, norm, inner = described["layers"][1:4]
    assert (gru["reset_after"], norm["epsilon"]) == (False, 1e-3)
    assert inner["activation"] == "relu"
    assert described["window"] == 5
    assert described["start"] == VOCABULARY.ids["\n"]
    weights = Page(pages.page_of(model)).weights()
    # Of the GRU: two biases of 12 numbers, which it does not have.
    at = 9 * 3 + 12 * 3 + 12 * 4
    np.testing.assert_array_equal(weights[at : at + 24], np.zeros(24))
    np.testing.assert_array_equal(weights[at + 24 : at + 28], np.ones(4))


def test_network_of_one_hot_input():
    network = keras.Sequential([keras.Input((None, 7)), dense(), dense()])
    model = textgen.from_keras(network, VOCABULARY, output="logits")
    page = Page(pages.page_of(model))
    assert [each["lookup"] for each in page.model()["layers"]] == [True, False]
    first, second = (layer.kernel.numpy() for layer in network.layers)
    np.testing.assert_array_equal(page.weights()[:49], first.ravel())
    np.testing.assert_array_equal(page.weights()[56:105], second.T.ravel())


def refused():
    layers = keras.layers
    embedding = layers.Embedding
    inner = keras.Input((5,), dtype="int32")
    x = embedding(7, 4)(inner)
    branched = keras.Model(inner, dense()(layers.GRU(4)(layers.Add()([x, x]))))
    broken = make()
    broken.output_layer.bias.assign(np.full(7, np.nan))

    class Own(textgen.LanguageModel):
        pass

    yield textgen.Blend([make(), make()]), "Blend cannot be exported.* one of its"
    yield Own(VOCABULARY), "A Own cannot be exported"
    yield "poet", "A str cannot be exported"
    yield make(activation="gelu"), "'lstm_0' .* activation gelu.* It knows elu, "
    yield make(recurrent_activation="softmax"), "activation softmax"
    yield broken, "not finite numbers: its training diverged"
    yield textgen.from_keras(branched, VOCABULARY), "not a plain stack"
    for middle, message in (
        ([layers.Bidirectional(layers.GRU(2))], "Bidirectional.* cannot be exported"),
        ([layers.GRU(2, go_backwards=True)], "go_backwards=False"),
        ([layers.Flatten()], r"Flatten\) cannot be exported"),
        ([layers.BatchNormalization(), layers.GRU(2)], "BatchNormalization"),
        ([layers.LayerNormalization(axis=1), layers.GRU(2)], "another axis"),
        ([layers.Dense(3, activation="softmax"), layers.GRU(2)], "no other softmax"),
        ([layers.GRU(2, activation=layers.LeakyReLU())], "activation LeakyReLU"),
    ):
        yield wrapped(embedding(7, 4), *middle, dense()), message
    masked = wrapped(embedding(7, 4, mask_zero=True), layers.GRU(2), dense())
    yield masked, "mask_zero=True"
    odd = dense(activation="sigmoid")
    yield (
        wrapped(embedding(7, 4), layers.GRU(2), odd, output="probabilities"),
        "must end with logits or with a softmax",
    )


def test_what_the_page_cannot_compute_is_refused():
    for model, message in refused():
        with pytest.raises(ValueError, match=message) as error:
            pages.page_of(model)
        assert "\n" not in str(error.value)


def test_weights_that_do_not_fit(monkeypatch):
    model = make()
    model.output_layer.bias.assign(np.full(7, 65600.0))
    assert Page(pages.page_of(model)).weights().max() == 65600
    with pytest.raises(ValueError, match=r"above 65,504, .* use half=False\."):
        pages.page_of(model, half=True)
    monkeypatch.setattr(pages, "MAX_BYTES", 1000)
    with pytest.raises(ValueError, match=r"use half=True, or a smaller model\."):
        pages.page_of(make())


def test_file_is_complete_or_as_before(tmp_path, monkeypatch):
    path = tmp_path / "poet.html"
    path.write_text("old")
    broken = make()
    broken.output_layer.bias.assign(np.full(7, np.inf))
    with pytest.raises(ValueError, match=r"not finite"):
        textgen.export_html(broken, path)
    assert path.read_text() == "old"
    textgen.export_html(make(), path, title="Mine")
    assert path.read_text() == pages.page_of(make(), title="Mine")
    assert [each.name for each in tmp_path.iterdir()] == ["poet.html"]


def test_half_of_the_plays_is_below_4_mb():
    page = pages.page_of(textgen.load("tinyshakespeare"), half=True)
    assert len(page) <= 4_000_000
