"""The page that `textgen export` writes, in Chromium, against the model in Python."""

import functools

import keras
import numpy as np
import pytest

import textgen

STEPS = 500
VOCABULARY = textgen.Vocabulary.from_text("abcdefghijklm nopqrstuvwxyz,.\n")
NAMES = {"return_sequences": True, "start_step": True, "end_token": 0}


def make(vocabulary=VOCABULARY, scale=1.0, **kwargs):
    """Returns a model whose weights are new; `scale` makes its choices clearer."""
    keras.utils.set_random_seed(2)
    model = textgen.LanguageModel(vocabulary, **{"units": (24,), **kwargs})
    for weight in model.trainable_weights:
        noise = np.random.default_rng(3).normal(0, 0.1, weight.shape)
        weight.assign(scale * (weight.numpy() + noise))
    return model


@pytest.fixture
def visit(page, tmp_path):
    """Opens the page of a model: `visit(model, **options of export_html)`."""

    def open_page(model, **options):
        path = tmp_path / "poet.html"
        textgen.export_html(model, path, **options)
        page.goto(path.as_uri())
        page.wait_for_selector("#write[aria-disabled=false]")
        page.locator("#settings").evaluate("each => each.open = true")
        return page

    return open_page


def set_temperature(page, value):
    page.locator("#temperature").evaluate(
        "(each, value) => { each.value = value;"
        " each.dispatchEvent(new Event('input')) }",
        value,
    )


def wait(page):
    """Waits until the page has written."""
    page.wait_for_selector("#continue[aria-disabled=false]")


def text_of(page):
    return page.locator("#text").evaluate("each => each.textContent")


def write(page, prompt="", length=60, temperature=1.0, seed=5, press="#write"):
    """Writes a text, and returns it."""
    page.fill("#beginning", prompt)
    page.fill("#length", str(length))
    page.fill("#seed", str(seed))
    set_temperature(page, temperature)
    page.click(press)
    wait(page)
    return text_of(page)


# === Logits ===

CONFIGURATIONS = {
    "lstm": {},
    "gru": {"cell": "gru"},
    "simple_rnn": {"cell": "simple_rnn"},
    "two layers": {"units": (20, 13)},
    "norm, embedding, tied": {"embedding": 24, "layer_norm": True, "tie_weights": True},
    "labels": {"cell": "gru", "labels": ("x", "y"), "embedding": 5},
    "activations": {"activation": "softsign", "recurrent_activation": "hard_sigmoid"},
    "relu": {"cell": "simple_rnn", "activation": "relu", "units": (9, 9)},
    "mixed": {"dtype": "mixed_bfloat16"},
}


def ids_for(model):
    return np.random.default_rng(4).integers(-1, model.num_inputs, STEPS, np.int32)


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_logits_of_a_state(name, visit):
    model = make(return_sequences=True, **CONFIGURATIONS[name])
    ids = ids_for(model)
    expected = model.stripped().predict_on_batch(ids[np.newaxis])[0]
    found = np.array(visit(model).evaluate("ids => poet.logits(ids)", ids.tolist()))
    assert np.ptp(expected) > 0.5
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("cell", ["lstm", "gru", "simple_rnn"])
def test_logits_of_windows(cell, visit):
    model = make(cell=cell, units=(16, 9), sequence_length=7, layer_norm=True)
    ids = ids_for(model)
    padded = np.concatenate([np.full(7, -1, np.int32), ids])
    windows = np.lib.stride_tricks.sliding_window_view(padded, 7)[1:]
    expected = model.predict_on_batch(windows)
    found = np.array(visit(model).evaluate("ids => poet.logits(ids)", ids.tolist()))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def test_logits_of_a_pretrained_model_and_of_its_halves(visit):
    model = textgen.load("dinosaurs")
    ids = model.vocabulary.encode("\n".join(["tyrannosaurus", "iguanodon"] * 22))
    ids = np.insert(ids, 0, -1)[:STEPS]
    assert len(ids) == STEPS
    expected = model.predict_on_batch(ids[np.newaxis])[0]
    errors = {}
    for half in (False, True):
        page = visit(model, half=half)
        found = np.array(page.evaluate("ids => poet.logits(ids)", ids.tolist()))
        errors[half] = np.abs(found - expected).max()
    assert errors[False] <= 1e-4
    assert 1e-4 < errors[True] < 0.1


def log_softmax(logits):
    logits = logits - logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def test_logits_of_wrapped_networks(visit):
    layers = keras.layers
    keras.utils.set_random_seed(6)
    size = len(VOCABULARY)
    by_window = keras.Sequential(
        [
            keras.Input((6,), dtype="int32"),
            layers.Embedding(size, 5),
            layers.GRU(8, reset_after=False, return_sequences=True),
            layers.LayerNormalization(center=False),
            layers.SimpleRNN(8, use_bias=False),
            layers.Dense(size, activation="softmax"),
        ]
    )
    model = textgen.from_keras(by_window, VOCABULARY)
    ids = np.maximum(ids_for(make()), 0)
    padded = np.concatenate([np.full(6, VOCABULARY.ids["\n"]), ids])
    windows = np.lib.stride_tricks.sliding_window_view(padded, 6)[1:]
    expected = np.log(by_window.predict_on_batch(windows))
    found = visit(model).evaluate("ids => poet.logits(ids)", ids.tolist())
    found = log_softmax(np.array(found))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)

    by_state = keras.Sequential(
        [
            keras.Input((None, size)),
            layers.LSTM(8, return_sequences=True),
            layers.TimeDistributed(layers.Dense(9, activation="relu")),
            layers.Dense(size),
        ]
    )
    model = textgen.from_keras(by_state, VOCABULARY)
    expected = by_state.predict_on_batch(VOCABULARY.one_hot(ids)[np.newaxis])[0]
    found = visit(model).evaluate("ids => poet.logits(ids)", ids.tolist())
    np.testing.assert_allclose(np.array(found), expected, rtol=0, atol=1e-4)


# === Tokenizers ===

TEXTS = [
    "",
    "The quick brown fox, it's 1234567 times “faster” — isn't it?\r\nÑandú\tÉté",
    "  spaces   and\n\n newlines \r and\u00a0others\u3000 \x1c \x85 \ufeff.",
    "Ελλάς ΟΔΥΣΣΕΥΣ Привет, мир! ß ŒUVRE İstanbul ﬁne ｆｕｌｌ ½ ²",
    "床前明月光，疑是地上霜。こんにちは 안녕하세요 한국",
    "नमस्ते दुनिया สวัสดี שָׁלוֹם مَرْحَبًا e\u0301 a\u0345\u0301",
    "👩‍👩‍👧‍👦 🇫🇷 👍🏽 x\u200dy \u2028 \0 _under_score_ a_1",
    "it’s o'clock ''quoted'' rock'n'roll x' 'x",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!",
]
# Words that tokens can make in many ways.
GENERATOR = np.random.default_rng(8)
WORDS = [
    "".join(
        GENERATOR.choice(
            list("abcé"), GENERATOR.integers(2, 12), p=[0.4, 0.3, 0.2, 0.1]
        )
    )
    for _ in range(400)
]
TEXTS.append(" ".join(WORDS))
LONE = ["a\ud800b", "\udfff"]
JOINED = "\n".join(TEXTS)


@functools.cache
def tokenizers():
    small = "the quick brown fox isn't here, été 12 月 नमस्ते\n\"' -"
    return {
        "characters": textgen.Vocabulary.from_text(small),
        "upper case": textgen.Vocabulary.from_text(small.upper()),
        "all characters": textgen.Vocabulary.from_text(JOINED + "\r" + LONE[0]),
        "replaced": textgen.Vocabulary.from_text("abc\ufffd", unknown="\ufffd"),
        "words": textgen.Vocabulary.from_text(JOINED, level="word"),
        "few words": textgen.Vocabulary.from_text(small, level="word"),
        "bytes": textgen.ByteTokenizer(),
        "lower bytes": textgen.ByteTokenizer(lowercase=True, normalization="nfkc"),
        "bpe": textgen.SubwordTokenizer.train(JOINED * 2, 500),
        "bpe of nfc": textgen.SubwordTokenizer.train(
            JOINED, 300, lowercase=True, normalization="nfc"
        ),
        "unigram": textgen.SubwordTokenizer.train(JOINED * 2, 400, "unigram"),
    }


@pytest.mark.parametrize(
    "name",
    [
        *("characters", "upper case", "all characters", "replaced", "words"),
        *("few words", "bytes", "lower bytes", "bpe", "bpe of nfc", "unigram"),
    ],
)
def test_prompts_are_encoded_as_in_python(name, visit):
    tokenizer = tokenizers()[name]
    page = visit(make(tokenizer, units=(2,)))
    lone = [] if name.startswith(("bpe", "unigram")) else LONE
    for text in [*TEXTS, *lone]:
        policy = "skip" if tokenizer.unknown == "error" else None
        expected = tokenizer.encode(text, policy, match_case=False).tolist()
        found = page.evaluate(
            "codes => poet.encode(String.fromCodePoint(...codes))", list(map(ord, text))
        )
        assert found["ids"] == expected, text
        if not found["missing"]:
            with_error = tokenizer.encode(text, match_case=False)
            assert with_error.tolist() == expected
        decoded = page.evaluate(
            "ids => { const decode = poet.decoder(); return ids.map((id) =>"
            " [...decode(id)].map((each) => each.codePointAt(0))) }",
            expected,
        )
        decoder = tokenizer.decoder()
        if text not in lone or name == "all characters":
            each = [decoder.feed(np.array([one])) for one in expected]
            assert decoded == [list(map(ord, one)) for one in each]


def test_unknown_symbols_are_named(visit):
    page = visit(make(return_sequences=True))
    text = write(page, "Ab☃c ☃∞", 0)
    assert text.startswith("Ab☃c ☃∞")
    note = page.inner_text("#note")
    assert note.endswith("reads on without them: ☃ ∞")
    write(page, "ABC")
    assert page.locator("#note").is_hidden()


# === Sampling ===


def rotated(x, k):
    return (x << k | x >> (32 - k)) & 0xFFFFFFFF


def uniforms(seed, count):
    """xoshiro128**, from its definition, with the seeding that docs/export.md gives."""
    mask, state = 0xFFFFFFFF, []
    mixed = (seed & mask) ^ ((seed >> 32) * 0x85EBCA6B & mask)
    for _ in range(4):
        mixed = (mixed + 0x9E3779B9) & mask
        z = (mixed ^ mixed >> 16) * 0x85EBCA6B & mask
        z = (z ^ z >> 13) * 0xC2B2AE35 & mask
        state.append(z ^ z >> 16)
    numbers = []
    for _ in range(2 * count):
        numbers.append(rotated(state[1] * 5 & mask, 7) * 9 & mask)
        shifted = state[1] << 9 & mask
        state[2] ^= state[0]
        state[3] ^= state[1]
        state[1] ^= state[2]
        state[0] ^= state[3]
        state[2] ^= shifted
        state[3] = rotated(state[3], 11)
    pairs = zip(numbers[::2], numbers[1::2], strict=True)
    return [((high >> 5) * 2**26 + (low >> 6)) / 2**53 for high, low in pairs]


def distribution(logits, temperature, top_p):
    """The definition of temperature and top-p."""
    scaled = np.exp((logits - logits.max()) / temperature)
    p = scaled / scaled.sum()
    order = np.argsort(-p, kind="stable")
    before = np.cumsum(p[order]) - p[order]
    p[order[before >= top_p]] = 0
    return p / p.sum()


def test_sampling(visit):
    page = visit(make(return_sequences=True))
    for seed in (0, 1, 7, 2**31, 2**32 + 5, 2**53 - 1):
        found = page.evaluate(
            "seed => { const r = poet.randomNumbers(seed);"
            " return Array.from({length: 50}, r) }",
            seed,
        )
        assert found == uniforms(seed, 50)
    logits = np.random.default_rng(7).normal(0, 2, 40)
    logits[3] = logits[5]
    numbers = 20000
    for temperature, top_p in ((1, 1), (0.5, 1), (1.7, 0.9), (1, 0.5), (0.8, 0.05)):
        ids = page.evaluate(
            "([logits, temperature, topP, count]) => {"
            " const r = poet.randomNumbers(11); return Array.from({length: count},"
            " () => poet.sample(logits, temperature, topP, r)) }",
            [logits.tolist(), temperature, top_p, numbers],
        )
        expected = distribution(logits, temperature, top_p)
        # The same numbers choose the same ids: the inverse of the cumulative sum.
        chosen = np.searchsorted(np.cumsum(expected), uniforms(11, numbers), "right")
        assert np.mean(chosen != ids) < 1e-3  # rounding
        shares = np.bincount(ids, minlength=40) / numbers
        limit = 5 * np.sqrt(expected * (1 - expected) / numbers)
        assert np.all(np.abs(shares - expected) <= limit)
    greedy = page.evaluate("logits => poet.sample(logits, 0, 1)", [1, 3, 2, 3])
    assert greedy == 1


# === Texts ===


@pytest.mark.parametrize(
    ("config", "prompt"),
    [
        ({"return_sequences": True}, "the fox"),
        ({"return_sequences": True, "start_step": True}, "the fox"),
        ({"return_sequences": True, "cell": "gru"}, ""),
        ({"sequence_length": 5, "units": (9, 9)}, "the quick fox"),
        ({"sequence_length": 8}, ""),
    ],
)
def test_most_probable_text_is_that_of_python(config, prompt, visit):
    model = make(scale=3.0, **config)
    expected = model.generate(prompt, 80, temperature=0)
    page = visit(model)
    assert write(page, prompt, 80, temperature=0) == expected
    # In two parts, it is the same.
    write(page, prompt, 30, temperature=0)
    assert write(page, prompt, 50, temperature=0, press="#continue") == expected


def test_most_probable_text_of_subwords_and_labels(visit):
    tokenizer = tokenizers()["bpe"]
    model = make(tokenizer, 4.0, return_sequences=True, labels=("one", "two"))
    page = visit(model)
    page.get_by_label("two", exact=True).check()
    # Python leaves out a part of a character at the end, and so does the page.
    for length in (9, 10, 11):
        expected = model.generate("月 the", length, temperature=0, label="two")
        assert write(page, "月 the", length, temperature=0) == expected
    assert expected != model.generate("月 the", length, temperature=0, label="one")


def test_lines_end_at_the_end_token(visit):
    model = make(scale=2.0, **{**NAMES, "end_token": VOCABULARY.ids["\n"]})
    greedy = model.generate("the", temperature=0)
    page = visit(model)
    assert page.inner_text("label[for=length]") == "Lines"
    assert write(page, "the", 3, temperature=0) == "\n".join([greedy] * 3)
    lines = write(page, "the", 12, temperature=1, seed=3).split("\n")
    assert len(lines) == 12
    assert all(line.startswith("the") for line in lines)
    assert len(set(lines)) > 6
    more = write(page, "a", 2, temperature=1, press="#continue").split("\n")
    assert more[:12] == lines
    assert [line[0] for line in more[12:]] == ["a", "a"]


def test_same_seed_same_text(visit):
    model = make(return_sequences=True)
    page = visit(model)
    first = write(page, seed=5, length=100)
    assert write(page, seed=5, length=100) == first
    assert write(page, seed=6, length=100) != first
    write(page, seed=5, length=40)
    assert write(page, seed=5, length=60, press="#continue") == first
    write(page, seed="", length=100)
    seed = page.inner_text("#status").rpartition(" ")[2]
    text = text_of(page)
    assert write(page, seed=seed, length=100) == text
    page.reload()
    page.wait_for_selector("#write[aria-disabled=false]")
    page.locator("#settings").evaluate("each => each.open = true")
    assert write(page, seed=5, length=100) == first


def test_text_streams_and_stops(visit):
    page = visit(make(return_sequences=True))
    page.fill("#length", "100000")
    page.click("#write")
    page.wait_for_selector("#write:text-is('Stop')")
    lengths = []
    while len(lengths) < 3:
        length = len(text_of(page))
        if length > (lengths[-1] if lengths else 0):
            lengths.append(length)
    assert page.locator("#continue[aria-disabled=true]").count() == 1
    assert page.inner_text("#status") == "Writing…"
    page.keyboard.press("Escape")
    wait(page)
    text = text_of(page)
    assert lengths[-1] <= len(text) < 100000
    status = page.inner_text("#status")
    assert status.startswith(f"Stopped: {len(text):,} characters, seed ")
    page.fill("#length", "7")
    page.click("#continue")
    wait(page)
    assert text_of(page)[: len(text)] == text
    assert len(text_of(page)) == len(text) + 7
    page.fill("#length", "100000")
    page.focus("#beginning")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#write:text-is('Stop')")
    page.click("#write")
    wait(page)
    assert page.inner_text("#status").startswith("Stopped")


def test_lines_are_announced(visit):
    model = make(scale=2.0, **{**NAMES, "end_token": VOCABULARY.ids["\n"]})
    page = visit(model)
    assert page.get_attribute("#spoken", "aria-live") == "polite"
    text = write(page, "", 4, temperature=1)
    spoken = page.locator("#spoken p").evaluate_all(
        "each => each.map((one) => one.textContent)"
    )
    assert spoken == text.split("\n")


def test_copy_and_save(visit, browser, tmp_path):
    page = visit(make(return_sequences=True), title="Sea & Sky")
    text = write(page, "the", 30)
    with page.expect_download() as waiting:
        page.click("#save")
    waiting.value.save_as(tmp_path / "saved.txt")
    assert waiting.value.suggested_filename == "Sea-Sky.txt"
    assert (tmp_path / "saved.txt").read_text(encoding="utf-8") == text
    page.click("#copy")
    page.wait_for_selector("#status:text-matches('Copied|copy it with')")


# === The file ===


def test_page_loads_nothing_else(page, visit):
    requests, complaints = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    visit(make(return_sequences=True))
    write(page, "the", 30)
    [only] = requests
    assert only.startswith("file:///")
    assert complaints == []
    # Nor could it: the policy of the page forbids it.
    blocked = page.evaluate(
        "() => fetch('http://127.0.0.1:9/').then(() => 'sent', () => 'refused')"
    )
    assert blocked == "refused"
    assert any("Content Security Policy" in text for text in complaints)


def test_hostile_texts_do_no_harm(page, visit):
    symbols = "\0<>&\"'/\\!-\ud800\u2028\udfff\x1b\n\r[]{}scriptalert(1)`$"
    hostile = "</script><script>window.harmed = 1</script><!--{{model}}\0\u2028"
    model = make(
        textgen.Vocabulary(symbols),
        return_sequences=True,
        labels=["</script><img src=x onerror=alert(1)>", "\0\ud800"],
    )
    model.notes = {"corpus": hostile}
    visit(model, prompt=hostile)
    elements = page.locator("*").count()
    found = page.evaluate("() => poet.encode('\\0</script>\\ud800\\n<').ids")
    ids = model.vocabulary.ids
    assert found == [ids[each] for each in "\0</script>\ud800\n<"]
    text = write(page, hostile, 300, temperature=2)
    assert text.startswith(hostile.replace("\r", "\n"))
    # In JavaScript, two halves of a character that meet are this character.
    assert set(text[len(hostile) :]) <= {*symbols, "\U000103ff"}
    assert page.evaluate("() => window.harmed") is None
    written = page.locator("#text *, #spoken *").count()
    assert page.locator("*").count() - written == elements
    assert page.title().startswith("</script><script>window.harmed")
    label = page.locator("#labels label").first
    assert label.inner_text() == "</script><img src=x onerror=alert(1)>"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(scheme, page, visit, serious_problems):
    page.emulate_media(color_scheme=scheme)
    visit(make(labels=("one", "two"), **NAMES))
    assert serious_problems(page) == []
    write(page, "the ☃", 3)
    assert serious_problems(page) == []


def test_phone(page, visit):
    page.set_viewport_size({"width": 320, "height": 640})
    visit(make(return_sequences=True), title="Wordswithoutanyspace" * 9)
    write(page, "a" * 300, 2000)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 320
    # The text is in sight, and the buttons stay there.
    assert 0 < page.locator("#text").bounding_box()["y"] < 640
    page.evaluate("() => scrollBy(0, 1000)")
    assert page.locator("#text").bounding_box()["y"] < 0
    assert 0 <= page.locator("#write").bounding_box()["y"] < 40
