import keras
import numpy as np
import pytest
from keras import ops

from textgen.decoding.loop import Decoder
from textgen.tracing import compiled

SYMBOLS = 7
FREE = -2  # what a row yields before it writes, and after


def next_symbol(ids, carry):
    """Logits that make `ids + 1` certain; the carry counts the steps."""
    return 1e3 * ops.one_hot((ids + 1) % SYMBOLS, SYMBOLS), [carry[0] + 1]


def any_symbol(ids, carry):
    """Logits that depend on the last two ids, so that a wrong one shows later."""
    logits = ops.sin(
        ops.expand_dims(ops.cast(3 * ids + 5 * carry[0], "float32"), -1)
        + ops.arange(SYMBOLS, dtype="float32")
    )
    return 3 * logits, [ids]


def one_of_four(ids, carry):
    """Logits of four symbols, which the last two ids decide; the others have none.

    Sums of their probabilities are exact, so that no rounding of differently compiled
    functions can part two texts.
    """
    first = ops.expand_dims(3 * ids + 5 * carry[0], -1)
    possible = (ops.arange(SYMBOLS) - first) % SYMBOLS < 4
    return ops.where(possible, 0.0, -np.inf), [ids]


@pytest.fixture(scope="module")
def counting():
    return Decoder(next_symbol)


@pytest.fixture(scope="module")
def guessing():
    return Decoder(any_symbol)


@pytest.fixture(scope="module")
def exact():
    return Decoder(one_of_four)


def write(decoder, prompts, max_new_tokens, temperature=1.0, seeds=None, sampler=None):
    """Returns the written ids of each row, and the pieces they came in."""
    seeds = range(len(prompts)) if seeds is None else seeds
    pieces = [
        ids
        for ids, _ in decoder.stream(
            [np.array(prompt) for prompt in prompts],
            [np.zeros(len(prompts), np.int32)],
            max_new_tokens,
            temperature,
            [np.random.default_rng(seed) for seed in seeds],
            sampler,
        )
    ]
    rows = [
        [index for piece in pieces for index in piece[row].tolist() if index != FREE]
        for row in range(len(prompts))
    ]
    return rows, pieces


def successors(prompt, count):
    return [(prompt[-1] + 1 + step) % SYMBOLS for step in range(count)]


@pytest.mark.parametrize("max_new_tokens", [0, 1, 15, 16, 17, 128, 129, 400])
def test_writes_so_many_ids(counting, max_new_tokens):
    rows, _ = write(counting, [[2], [3, 5]], max_new_tokens)
    assert rows == [successors([2], max_new_tokens), successors([5], max_new_tokens)]


@pytest.mark.parametrize(
    "lengths", [(1, 2), (1, 17), (16, 1), (5, 300), (128, 129), (600, 1), (129, 511)]
)
def test_prompts_of_unequal_length(counting, lengths):
    generator = np.random.default_rng(0)
    prompts = [generator.integers(0, SYMBOLS, length).tolist() for length in lengths]
    rows, _ = write(counting, prompts, 150)
    assert rows == [successors(prompt, 150) for prompt in prompts]


@pytest.mark.parametrize("length", [1, 128, 129, 257, 600])
def test_every_id_is_stepped_over_once_and_in_order(length):
    def recall(ids, carry):
        """Says the id of two steps before: a skipped or repeated id would show."""
        return 1e3 * ops.one_hot(carry[0][:, 0], SYMBOLS), [
            ops.stack([carry[0][:, 1], ids], axis=1)
        ]

    prompt = np.random.default_rng(1).integers(0, SYMBOLS, length)
    pieces = Decoder(recall).stream(
        [prompt], [np.zeros((1, 2), np.int32)], 20, 0.0, [np.random.default_rng(0)]
    )
    written = np.concatenate([piece[0] for piece, _ in pieces])
    text = [0, 0, *prompt.tolist()]
    for _ in range(20):
        text.append(text[-3])
    assert written[written != FREE].tolist() == text[-20:]


def test_first_piece_comes_soon_and_pieces_are_whole(counting):
    _, pieces = write(counting, [[0]], 400)
    sizes = [piece.shape[1] for piece in pieces]
    assert sum(sizes) == 400
    assert sizes[0] < 32
    assert len(sizes) < 10
    assert all(piece.dtype == np.int32 for piece in pieces)


def test_rows_are_free_before_and_after_they_write(counting):
    _, pieces = write(counting, [[1], [1, 2, 3, 4]], 5)
    whole = np.concatenate(pieces, axis=1)
    expected = [
        [*successors([1], 5), FREE, FREE, FREE],
        [FREE, FREE, FREE, *successors([4], 5)],
    ]
    assert whole.tolist() == expected


def test_zero_temperature_needs_no_seed(guessing):
    rows, _ = write(guessing, [[1, 2]] * 3, 200, temperature=0.0, seeds=[1, 2, 3])
    assert rows[0] == rows[1] == rows[2]
    last, current, expected = 1, 2, []
    for _ in range(200):
        logits = np.sin(np.float32(3 * current + 5 * last) + np.arange(SYMBOLS))
        last, current = current, int(logits.argmax())
        expected.append(current)
    assert rows[0] == expected


def test_temperature_spreads_the_choices(guessing):
    counts = [
        len(set(map(tuple, write(guessing, [[1, 2]] * 20, 4, temperature)[0])))
        for temperature in (0.0, 0.3, 100.0)
    ]
    assert counts[0] == 1
    assert counts[0] < counts[1] < counts[2]


def test_seeds_decide_the_choices(exact):
    rows, _ = write(exact, [[1, 2]] * 3, 50, seeds=[5, 5, 6])
    assert rows[0] == rows[1] != rows[2]


def test_row_does_not_depend_on_the_others(exact):
    generator = np.random.default_rng(2)
    lengths = [3, 1, 40, 200]
    prompts = [generator.integers(0, SYMBOLS, length) for length in lengths]
    together, _ = write(exact, prompts, 140, seeds=[7, 8, 9, 10])
    for prompt, seed, row in zip(prompts, [7, 8, 9, 10], together, strict=True):
        alone, _ = write(exact, [prompt], 140, seeds=[seed])
        assert alone == [row]


def test_writing_less_gives_the_beginning(guessing):
    [long], _ = write(guessing, [[1, 2]], 300, seeds=[3])
    for count in (1, 16, 130):
        assert write(guessing, [[1, 2]], count, seeds=[3])[0] == [long[:count]]


def test_rule_gets_logits_and_count(guessing):
    seen = []

    def rule(logits, count):
        assert isinstance(logits, np.ndarray)
        assert logits.dtype == np.float32
        seen.append((logits.copy(), count))
        return logits.argmin(axis=-1)

    prompts = [[1, 2, 3], [4, 5, 6]]
    rows, _ = write(guessing, prompts, 5, sampler=rule)
    assert [count for _, count in seen] == [0, 1, 2, 3, 4]
    for row, (*_, last, current) in zip(range(2), prompts, strict=True):
        for logits, _ in seen:
            expected = 3 * np.sin(3 * current + 5 * last + np.arange(SYMBOLS))
            np.testing.assert_allclose(logits[row], expected, atol=1e-4)
            last, current = current, int(logits[row].argmin())
        assert rows[row][-1] == current


def test_rule_gets_half_precision_as_float32():
    def half(ids, carry):
        return ops.cast(ops.one_hot(ids, SYMBOLS), "bfloat16"), carry

    def rule(logits, count):
        assert logits.dtype == np.float32
        return logits.argmax(axis=-1)

    rows, _ = write(Decoder(half), [[4]], 3, sampler=rule)
    assert rows == [[4, 4, 4]]


def test_rule_refuses_unequal_prompts(guessing):
    with pytest.raises(ValueError, match="equal length"):
        write(guessing, [[1], [1, 2]], 5, sampler=lambda logits, count: [0, 0])


def test_rule_that_writes_nothing_is_not_called(guessing):
    rows, _ = write(guessing, [[1, 2]], 0, sampler=lambda logits, count: 1 / 0)
    assert rows == [[]]


def test_compiled_reads_current_values():
    variable = keras.Variable(np.float32([1.0, 2.0]))
    double = compiled(lambda factor: variable * factor, [variable])
    assert ops.convert_to_numpy(double(np.float32(2))).tolist() == [2.0, 4.0]
    variable.assign([5.0, 7.0])
    assert ops.convert_to_numpy(double(np.float32(2))).tolist() == [10.0, 14.0]


def test_decoder_reads_current_values():
    favourite = keras.Variable(np.eye(SYMBOLS, dtype=np.float32)[3])

    def step(ids, carry):
        return ops.tile(favourite[None], (ops.shape(ids)[0], 1)), carry

    decoder = Decoder(step, [favourite])
    assert write(decoder, [[0]], 3, temperature=0.0)[0] == [[3, 3, 3]]
    favourite.assign(np.eye(SYMBOLS)[5])
    assert write(decoder, [[0]], 3, temperature=0.0)[0] == [[5, 5, 5]]


def test_decoder_compiles_once_per_number_of_rows():
    traces = []

    def step(ids, carry):
        traces.append(ids.shape)
        return next_symbol(ids, carry)

    decoder = Decoder(step)
    for prompts in ([[1], [2]], [[1] * 150, [2]], [[3, 4], [5]]):
        write(decoder, prompts, 40)
        write(decoder, prompts, 3, temperature=0.5)
    assert len(set(traces)) == 1
    # Keras may trace the body of a loop more than once, but not once per call.
    assert len(traces) <= 3


@pytest.mark.jax("has a mode with 64 bits")
def test_mode_with_64_bits_writes_the_same(exact):
    import jax

    expected, _ = write(exact, [[1, 2], [3]], 20)
    jax.config.update("jax_enable_x64", True)
    try:
        found, _ = write(Decoder(one_of_four), [[1, 2], [3]], 20)
    finally:
        jax.config.update("jax_enable_x64", False)
    np.testing.assert_array_equal(found, expected)
