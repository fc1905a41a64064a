"""Models of bytes and of subwords do what models of characters do.

The other tests of this folder and of `tests/decoding` use characters.
"""

import functools
import itertools
import math

import keras
import numpy as np
import pytest
from small_models import log_probabilities, make, of_text

import textgen
from textgen import model_file
from textgen.decoding.score import Score

TEXT = "the cat sat on the mat.\nthe 床 is naïve, and the ☃ sat on it.\n"
TOKENIZERS = {
    "byte": textgen.ByteTokenizer(),
    "bpe": textgen.SubwordTokenizer.train(4 * TEXT, 270),
    "unigram": textgen.SubwordTokenizer.train(4 * TEXT, 270, "unigram"),
}
EACH = pytest.mark.parametrize("kind", TOKENIZERS)


@functools.cache
def shared(kind):
    """Returns one model for all tests of a tokenizer; it knows the start step."""
    tokenizer = TOKENIZERS[kind]
    return make(
        tokenizer,
        cell="gru",
        units=6,
        return_sequences=True,
        start_step=True,
        end_token=tokenizer.ids["\n"],
    )


def dictated(ids):
    """Returns a sampler that takes these ids."""
    return lambda logits, at: [ids[at]]


# === Generation ===


@EACH
def test_prompt_has_the_form_of_the_training_text(kind, tmp_path):
    corpus = textgen.prepare(
        iter([4 * TEXT]),
        level=kind,
        vocabulary_size=None if kind == "byte" else 270,
        lowercase=True,
        normalization="nfkc",
    )
    model = make(corpus.tokenizer, cell="gru", units=6, return_sequences=True)
    model.save(tmp_path / "a.keras")
    model = textgen.load(tmp_path / "a.keras")
    prompt, plain = "The ＣＡＴ is nai\u0308ve", "the cat is naïve"
    whole = model.generate(plain, 20, stop=(), seed=1)
    assert whole.startswith(plain)
    rest = whole.removeprefix(plain)
    assert len(rest) > 3
    assert model.generate(prompt, 20, stop=(), seed=1) == prompt + rest
    assert "".join(model.stream(prompt, 20, stop=(), seed=1)) == prompt + rest
    np.testing.assert_array_equal(model.embed(prompt), model.embed(plain))
    # A text to score is read as it is.
    expected = of_text(model, prompt, 1)
    np.testing.assert_allclose(
        model.score(prompt).log_probs, expected, rtol=1e-4, atol=1e-4
    )


@EACH
def test_any_number_of_tokens_gives_whole_characters(kind):
    model = shared(kind)
    ids = model.vocabulary.encode(TEXT).tolist()
    snowman = TEXT.index("☃")
    start = len(model.vocabulary.encode(TEXT[:snowman]))
    for count in range(start - 1, start + 5):
        found = model.generate("", count, stop=(), sampler=dictated(ids))
        expected = model.vocabulary.decode(ids[:count]).rstrip("\ufffd")
        assert found == expected == TEXT[: len(found)]
    pieces = list(model.stream("", len(ids), stop=(), sampler=dictated(ids)))
    assert "".join(pieces) == TEXT
    assert len(pieces) > 20


def test_half_a_character_at_the_end_is_left_out():
    ids = TOKENIZERS["byte"].encode("a床")
    for count, expected in (
        (1, ("a", 1)),
        (2, ("a", 1)),
        (3, ("a", 1)),
        (4, ("a床", 4)),
    ):
        text, scores = shared("byte").generate(
            "", count, sampler=dictated(ids), return_log_probs=True
        )
        assert (text, len(scores)) == expected


@EACH
def test_where_a_text_stops(kind):
    model = shared(kind)
    ids = model.vocabulary.encode(TEXT).tolist()

    def written(**options):
        return model.generate("", len(ids), sampler=dictated(ids), **options)

    first = TEXT.index("\n")
    assert written() == TEXT[:first]  # the end token
    assert written(max_lines=1) == TEXT[:first]
    assert written(max_lines=2) == TEXT[:-1]
    assert written(stop="床") == TEXT[: TEXT.index("床")]
    assert written(stop=["naïv", "☃"]) == TEXT[: TEXT.index("naïv")]
    assert written(stop=model.vocabulary.ids["."]) == TEXT[: first - 1]


@EACH
def test_stream_and_generate_are_the_same(kind):
    model = shared(kind)
    options = {"temperature": 2.0, "stop": (), "seed": 3}
    whole, scores = model.generate("the 床", 60, **options, return_log_probs=True)
    pieces = list(model.stream("the 床", 60, **options))
    assert "".join(pieces) == whole
    assert whole.startswith("the 床")
    assert 0 < len(scores) <= 60
    assert model.generate(["the 床"], 60, **options) == [whole]


@EACH
def test_log_probabilities_of_new_tokens(kind):
    model = shared(kind)
    ids = model.vocabulary.encode(" naïve ☃").tolist()
    _, scores = model.generate(
        "the", len(ids), sampler=dictated(ids), return_log_probs=True
    )
    prompt = model.vocabulary.encode("the")
    np.testing.assert_allclose(
        scores, of_text(model, "the naïve ☃")[len(prompt) :], rtol=1e-4, atol=1e-4
    )


@EACH
def test_next_symbols(kind):
    model = shared(kind)
    expected = np.exp(log_probabilities(model, "the 床")[-1])
    found = model.next_symbols("the 床", 5)
    best = np.argsort(-expected, kind="stable")[:5]
    symbols = model.vocabulary.symbols
    assert [symbol for symbol, _ in found] == [symbols[index] for index in best]
    np.testing.assert_allclose([p for _, p in found], expected[best], rtol=1e-3)


@EACH
def test_forbidden_characters_and_biases(kind):
    model = shared(kind)
    probable = {"e": 6.0, "t": 6.0}
    options = {"temperature": 3.0, "stop": (), "seed": 1, "logit_bias": probable}
    text = model.generate("", 300, **options)
    assert {"e", "t"} <= set(text)
    for forbidden in ("et", ["e", "t"]):
        assert not {"e", "t"} & set(
            model.generate("", 300, **options, forbidden=forbidden)
        )
    for forbidden in ("é", ["the"]):
        with pytest.raises(ValueError, match="is not a single byte"):
            model.generate("", 3, forbidden=forbidden)
    symbol = model.vocabulary.symbols[0xE5]
    assert model.generate("", 4, logit_bias={"x": 90.0, symbol: 50.0}) == "xxxx"
    with pytest.raises(ValueError, match="logit_bias: 'é' is not in the vocabulary"):
        model.generate("", 3, logit_bias={"é": 1.0})


@EACH
def test_other_options(kind):
    model = shared(kind)
    known = model.generate("the ", 3, temperature=2.0, count=20, seed=1, stop=())
    new = model.generate(
        "the ", 3, temperature=2.0, count=20, seed=1, stop=(), exclude=known[:5]
    )
    assert not set(new) & set(known[:5])
    assert len(new) == len(set(new)) == 20
    [best, _] = model.generate("the", 3, num_beams=3, count=2, stop=())
    assert best.startswith("the")
    assert model.generate("é\r☃", 0) == "é\r☃"  # nothing is unknown


# === Scores ===


@EACH
@pytest.mark.parametrize("start_step", [True, False])
def test_scores(kind, start_step):
    model = shared(kind)
    model.start_step = start_step
    try:
        log_probs = of_text(model, TEXT, start=0 if start_step else 1)
        score = model.score(TEXT)
        both = model.score([TEXT, "☃!"])
    finally:
        model.start_step = True
    skipped = 0 if start_step else 1
    first = len(model.vocabulary.decode(model.vocabulary.encode(TEXT)[:1]))
    np.testing.assert_allclose(score.log_probs, log_probs, rtol=1e-4, atol=1e-4)
    assert score.characters == len(TEXT) - skipped * first
    assert score.nats_per_character == pytest.approx(
        -log_probs.sum() / score.characters, rel=1e-5
    )
    # The first byte of "☃" is not scored, but the byte that completes it is.
    assert both.characters == score.characters + 2
    assert f"{score.nats_per_character:.4f} nats per character" in repr(score)


def test_scores_of_characters_and_words():
    text = "the cat sat"
    characters = make(textgen.Vocabulary.from_text(text)).score(text)
    assert characters.characters == characters.count == len(text)
    assert characters.nats_per_character == pytest.approx(characters.nats)
    assert "per character" not in repr(characters)
    words = textgen.Vocabulary.from_text(text, "word")
    model = make(words, return_sequences=True)
    score = model.score(text)
    assert (score.count, score.characters) == (4, len(" cat sat"))
    assert score.nats_per_character == pytest.approx(4 * score.nats / 8)
    assert math.isnan(Score(1, 1, 1, 0, [], []).nats_per_character)


@EACH
def test_text_vectors(kind):
    model = shared(kind)
    texts = ["the 床", "sat on it", "☃"]
    vectors = model.embed(texts)
    assert vectors.shape == (3, 6)
    assert model.nearest("sat on it", texts, 1) == [
        ("sat on it", pytest.approx(1, abs=1e-5))
    ]


# === Training and files ===


@EACH
def test_a_model_is_trained_on_lines_and_saved(kind, tmp_path):
    tokenizer = TOKENIZERS[kind]
    ids = tokenizer.encode(4 * TEXT)
    lines = textgen.LineDataset(ids, tokenizer.ids["\n"], batch_size=4)
    model = textgen.LanguageModel(tokenizer, cell="gru", units=6, return_sequences=True)
    model.compile("adam")
    before = model.score(TEXT).nats
    model.fit(lines, epochs=1, verbose=0)
    assert model.end_token == 10
    model.save(tmp_path / "model.keras")
    copy = textgen.load(tmp_path / "model.keras")
    assert copy.vocabulary == tokenizer
    assert type(copy.vocabulary) is type(tokenizer)
    assert copy.score(TEXT).nats == pytest.approx(model.score(TEXT).nats, rel=1e-5)
    assert copy.score(TEXT).nats != before
    options = {"temperature": 1.5, "seed": 2, "stop": ()}
    assert copy.generate("the 床", 30, **options) == model.generate(
        "the 床", 30, **options
    )
    assert copy.stripped().vocabulary == tokenizer
    contents = model_file.read(tmp_path / "model.keras")
    assert contents.config["config"]["vocabulary"] == tokenizer.get_config()


def test_a_keras_network_of_bytes(tmp_path):
    tokenizer = TOKENIZERS["byte"]
    network = keras.Sequential(
        [
            keras.Input((5,), dtype="int32"),
            keras.layers.Embedding(256, 3),
            keras.layers.GRU(4),
            keras.layers.Dense(256),
        ]
    )
    model = textgen.from_keras(network, tokenizer)
    assert (model.padding, model.reader.start_id) == ("\n", 10)
    assert "256 bytes" in repr(model)
    model.save(tmp_path / "model.keras")
    copy = textgen.load(tmp_path / "model.keras")
    assert copy.vocabulary == tokenizer
    assert copy.generate("床", 9, seed=1) == model.generate("床", 9, seed=1)


def test_a_damaged_tokenizer_is_refused(tmp_path):
    path = tmp_path / "model.keras"
    shared("bpe").save(path)
    contents = model_file.read(path)
    contents.config["config"]["vocabulary"]["merges"][-1] = 999
    arrays = {name: each.value(contents.data) for name, each in contents.arrays.items()}
    model_file.write(path, contents.config, arrays, contents.metadata)
    with pytest.raises(textgen.ModelFileError, match=r"model\.vocabulary: merges has"):
        textgen.load(path)


@pytest.mark.parametrize("model_class", [textgen.LanguageModel])
def test_what_is_no_tokenizer(model_class):
    with pytest.raises(ValueError, match=r"must be a textgen\.Vocabulary, Byte"):
        model_class("abc")


# === Blends ===


@EACH
def test_models_of_one_tokenizer_are_blended(kind):
    one = shared(kind)
    other = make(
        TOKENIZERS[kind], seed=5, units=4, return_sequences=True, start_step=True
    )
    blend = textgen.Blend([one, other], [3, 1])
    assert blend.vocabulary == TOKENIZERS[kind]
    text = "the 床 sat"
    shares = [
        weight * np.exp(of_text(model, text))
        for model, weight in ((one, 0.75), (other, 0.25))
    ]
    found = blend.score(text).log_probs
    np.testing.assert_allclose(found, np.log(sum(shares)), rtol=1e-4, atol=1e-4)


def test_other_models_are_not_blended():
    for one, other in itertools.combinations(TOKENIZERS, 2):
        message = "different subword token" if one == "bpe" else "bytes and subwords"
        with pytest.raises(ValueError, match=message):
            textgen.Blend([shared(one), shared(other)])
