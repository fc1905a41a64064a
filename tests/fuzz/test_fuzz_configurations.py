"""Arguments of the library: any value is accepted, or refused with a message."""

import contextlib
import warnings

import numpy as np
from command_line import TEXT
from fuzz_tools import texts
from hypothesis import event, given
from hypothesis import strategies as st

import textgen

# Small numbers, and numbers that no argument can have; nothing that fills the memory.
INTEGERS = st.one_of(
    st.integers(-2, 9), st.sampled_from([2**31, 2**63, 10**30, -(2**63), -(10**30)])
)
FLOATS = st.floats(width=64)
ANYTHING = st.one_of(
    INTEGERS,
    FLOATS,
    texts,
    st.none(),
    st.booleans(),
    st.binary(max_size=5),
    st.lists(st.one_of(INTEGERS, FLOATS, texts, st.none()), max_size=3),
    st.dictionaries(texts, st.one_of(INTEGERS, FLOATS, texts), max_size=2),
    st.just(object()),
    st.just(np.float32(0.5)),
    st.just(np.int64(3)),
    st.just(np.zeros((2, 2))),
)


def mostly(proper):
    """Returns a strategy of proper values and, in one of five cases, of any value."""
    return st.integers(0, 4).flatmap(lambda die: ANYTHING if die == 4 else proper)


LEVELS = mostly(st.sampled_from(["character", "word"]))
UNKNOWN = mostly(st.sampled_from(["error", "skip", "e"]))


@contextlib.contextmanager
def accepted_or_refused():
    """Passes over the errors that an argument may cause."""
    try:
        yield
        event("accepted")
    except (ValueError, TypeError) as error:
        assert str(error)
    except Exception as error:
        # For example 2**31 steps.
        assert isinstance(error, MemoryError) or "OOM when alloc" in str(error)
        event("too large")


def some(**strategies):
    """Returns a strategy of some of the arguments, one of which may be anything."""
    proper = st.fixed_dictionaries({}, optional=strategies)
    wrong = st.tuples(st.sampled_from(sorted(strategies)), ANYTHING)
    return st.one_of(
        proper,
        st.tuples(proper, wrong).map(lambda both: {**both[0], both[1][0]: both[1][1]}),
    )


SYMBOLS = st.one_of(
    texts, st.lists(texts, max_size=5), st.lists(texts.map(lambda x: x[:1]))
)


@given(mostly(SYMBOLS), LEVELS, UNKNOWN)
def test_vocabulary(symbols, level, unknown):
    with accepted_or_refused():
        vocabulary = textgen.Vocabulary(symbols, level, unknown)
        assert vocabulary.symbols == tuple(sorted(set(vocabulary.symbols)))
        assert textgen.Vocabulary.from_json(vocabulary.to_json()) == vocabulary
        assert (vocabulary.encode("".join(vocabulary.symbols)) >= 0).all()


@given(mostly(texts), LEVELS, mostly(st.integers(1, 9)), UNKNOWN)
def test_vocabulary_of_a_text(text, level, max_size, unknown):
    with accepted_or_refused():
        vocabulary = textgen.Vocabulary.from_text(text, level, max_size, unknown)
        assert max_size is None or len(vocabulary) <= max_size


@given(st.one_of(texts, st.text('{}[]":,\\u0123"symbolsevkw ', max_size=40), ANYTHING))
def test_vocabulary_from_json(text):
    with accepted_or_refused():
        textgen.Vocabulary.from_json(text)


LISTS = st.lists(st.integers(-1, 9), min_size=30, max_size=60)
IDS = mostly(st.one_of(LISTS, LISTS.map(lambda ids: np.array(ids, np.int8))))


def check_batches(dataset):
    """Reads all batches of a dataset, which must not be empty."""
    assert len(dataset) > 0
    for index in range(min(len(dataset), 3)):
        inputs, *_ = dataset[index]
        assert len(inputs)


SIZES = {
    "sequence_length": st.integers(1, 9),
    "batch_size": st.integers(1, 9),
    "seed": st.integers(0, 2**64),
}


@given(IDS, some(stride=st.integers(1, 9), **SIZES))
def test_windows(ids, arguments):
    with accepted_or_refused():
        check_batches(textgen.WindowDataset(ids, **arguments))


@given(IDS, some(**SIZES))
def test_sequences(ids, arguments):
    with accepted_or_refused():
        check_batches(textgen.SequenceDataset(ids, **arguments))


@given(IDS, mostly(st.integers(0, 9)), some(**SIZES))
def test_lines(ids, end_of_line, arguments):
    with accepted_or_refused():
        check_batches(textgen.LineDataset(ids, end_of_line, **arguments))


RATES = st.sampled_from([0.0, 0.1, 0.5])
UNITS = st.integers(1, 9)
VOCABULARY = textgen.Vocabulary.from_text(TEXT)


@given(
    some(
        cell=st.sampled_from(["lstm", "gru", "simple_rnn"]),
        units=st.one_of(UNITS, st.lists(UNITS, min_size=1, max_size=3)),
        dropout=RATES,
        recurrent_dropout=RATES,
        weight_dropout=RATES,
        embedding=UNITS,
        layer_norm=st.booleans(),
        tie_weights=st.booleans(),
        return_sequences=st.booleans(),
        sequence_length=st.integers(1, 9),
        stateful=st.booleans(),
        dtype=st.sampled_from(["float32", "float16", "mixed_bfloat16"]),
        vocabulary=st.just(VOCABULARY),
    )
)
def test_language_model(arguments):
    with accepted_or_refused():
        model = textgen.LanguageModel(**{"vocabulary": VOCABULARY, **arguments})
        assert model.count_params() > 0


SHARES = st.floats(0.01, 1)


@given(
    some(
        prompt=st.one_of(st.just("the "), st.lists(st.just("q"), max_size=3)),
        max_new_tokens=st.integers(0, 5),
        temperature=st.one_of(
            st.floats(0, 9), st.lists(SHARES, min_size=1, max_size=3)
        ),
        count=st.integers(1, 3),
        stop=st.one_of(texts, st.lists(texts, max_size=3), st.integers(0, 8)),
        max_lines=st.integers(1, 3),
        echo=st.booleans(),
        seed=st.integers(0, 2**64),
        unknown=st.sampled_from(["error", "skip"]),
        logit_bias=st.dictionaries(
            st.sampled_from("the "), st.floats(-9, 9), max_size=3
        ),
        forbidden=st.one_of(texts, st.lists(texts, max_size=3)),
        repetition_penalty=st.floats(0.1, 9),
        top_k=st.integers(1, 99),
        top_p=SHARES,
        min_p=SHARES,
        typical_p=SHARES,
        num_beams=st.integers(1, 3),
        length_penalty=st.floats(-9, 9),
        exclude=st.lists(texts, max_size=3),
        return_log_probs=st.booleans(),
    ),
    st.sampled_from(["sequence", "window", "words"]),
)
def test_generate(files, arguments, model):
    model = textgen.load(files / f"{model}.keras")
    # What is larger takes long, and is not wrong.
    for name in ("max_new_tokens", "count", "num_beams", "max_lines"):
        value = arguments.get(name)
        if isinstance(value, int) and value > 9:
            del arguments[name]
    with accepted_or_refused(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # too few new texts
        model.generate(**{"max_new_tokens": 4, "seed": 1, **arguments})
