"""Every reader reads the same at once, step by step and as the head of a prompt."""

import keras
import numpy as np
import pytest
from keras import ops
from small_readers import (
    LENGTH,
    READERS,
    SIZE,
    equal,
    state_reader,
    window_reader,
)

pytestmark = pytest.mark.usefixtures("uncompiled")

TEXT = np.random.default_rng(0).integers(0, SIZE, 23).astype(np.int32)


@pytest.fixture(params=READERS)
def reader(request):
    return READERS[request.param]()


def stepped(reader, ids, carry):
    """Reads ids of shape `(N, T)` one by one; returns logits and carry."""
    logits = []
    for each in ids.T:
        last, carry = reader.step(each, carry)
        logits.append(last)
    return np.stack(logits, axis=1), carry


def after(reader, head, *options):
    """The carry after the ids of one text, read one by one."""
    carry = reader.initial(1, *options)
    for index in head:
        _, carry = reader.step(np.array([index], np.int32), carry)
    return carry


# === Every reader ===


def test_reading_at_once_is_reading_step_by_step(reader):
    ids = np.stack([TEXT, TEXT[::-1], np.roll(TEXT, 1)])
    features, logits, carry = reader.read(ids, reader.initial(3))
    assert features.shape[:2] == (3, len(TEXT))
    assert logits.shape == (3, len(TEXT), SIZE)
    expected, expected_carry = stepped(reader, ids, reader.initial(3))
    np.testing.assert_allclose(logits, expected, rtol=1e-6)
    assert equal(carry, expected_carry)


@pytest.mark.parametrize("cut", [1, LENGTH - 1, LENGTH, 20])
def test_reading_continues_from_the_carry(reader, cut):
    ids = np.stack([TEXT, TEXT[::-1]])
    whole = reader.read(ids, reader.initial(2))
    *first, carry = reader.read(ids[:, :cut], reader.initial(2))
    *second, carry = reader.read(ids[:, cut:], carry)
    for parts, expected in zip(zip(first, second, strict=True), whole, strict=False):
        np.testing.assert_allclose(ops.concatenate(parts, 1), expected, rtol=1e-6)
    assert equal(carry, whole[2])


@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("length", [0, 1, 4, 5, 6, 10, 23])
def test_primed_carry_is_that_after_the_head(reader, length, started):
    heads = [TEXT[:length], TEXT[::-1][: length // 2], TEXT[:length], TEXT[:0]]
    empty = [False, False, False, True]
    carry = reader.prime(heads, empty, started)
    each = [
        after(reader, head, no, started) for head, no in zip(heads, empty, strict=True)
    ]
    assert equal(carry, keras.tree.map_structure(lambda *x: np.concatenate(x), *each))
    same = reader.prime(heads[:1] * 3, [False] * 3, started)
    assert equal(same, keras.tree.map_structure(lambda x: np.repeat(x, 3, 0), each[0]))


def test_prompt_has_a_last_id_for_the_loop(reader):
    for length in range(1, 17):
        assert 1 <= reader.num_stepwise(length) <= length


def test_compiled_functions_return_what_read_returns(reader, monkeypatch):
    monkeypatch.undo()
    ids, wanted = np.stack([TEXT[:-1], TEXT[1:]])[:, np.newaxis, :3]
    features, logits, carry = reader.read(ids, reader.initial(1))
    log_probs = np.take_along_axis(
        np.asarray(ops.log_softmax(logits)), wanted[:, :, np.newaxis], axis=2
    )[:, :, 0]
    found, following = reader.compiled_read("scores")(ids, reader.initial(1), wanted)
    np.testing.assert_allclose(found, log_probs, rtol=1e-5)
    assert equal(following, carry)
    found, following = reader.compiled_read("features")(ids, reader.initial(1), wanted)
    assert equal([found, following], [features, carry])
    assert equal(reader.compiled_read("state")(ids, reader.initial(1)), carry)
    assert reader.compiled_read("state") is reader.compiled_read("state")


# === State ===


def test_start_step_is_read_where_the_ids_do_not_contain_it():
    reader = state_reader(start_id=SIZE, start_step=True)
    zero = reader.initial(2)
    assert equal(zero, [np.zeros(2)])
    _, after_start = reader.step(np.full(2, SIZE), zero)
    assert equal(reader.initial(2, started=True), after_start)
    # The only id of an empty text is the start step itself.
    assert equal(reader.initial(2, empty=True, started=True), zero)
    assert reader.begins_with_start
    other = state_reader(start_id=SIZE)
    assert equal(other.initial(2, started=True), zero)
    assert not other.begins_with_start


def test_loop_reads_what_full_chunks_leave():
    for length, chunks in ((1, 0), (5, 0), (6, 1), (10, 1), (11, 2), (16, 3)):
        reader = state_reader()
        head = length - reader.num_stepwise(length)
        reader.prime([TEXT[:head]], [False])
        assert head == 5 * chunks
        assert reader.lengths == [5] * chunks


def test_rest_of_a_head_is_read_in_single_steps():
    reader = state_reader()
    reader.prime([TEXT[:13]], [False])
    assert reader.lengths == [5, 5, 1, 1, 1]


def test_equal_heads_are_read_once():
    reader, known = state_reader(), {}
    heads = [TEXT[:5], TEXT[5:15], TEXT[:5]]
    first = reader.prime(heads, [False] * 3, known=known)
    assert reader.lengths == [5, 5, 5]
    assert equal(reader.prime(heads, [False] * 3, known=known), first)
    assert reader.lengths == [5, 5, 5]
    # An empty text can have another carry than a text whose head is empty.
    assert len(known) == 2
    reader.prime([TEXT[:0]] * 2, [False, True], known=known)
    assert len(known) == 4


# === Window ===


def test_window_is_padded_on_the_left_and_slides():
    reader = window_reader(start_id=9)
    assert reader.begins_with_start
    assert equal(reader.initial(2, empty=True, started=True), [np.full((2, 4), 9)])
    ids = np.arange(6, dtype=np.int32)
    heads = [ids[:0], ids[:2], ids[:4], ids]
    windows = [[9, 9, 9, 9], [9, 9, 0, 1], [0, 1, 2, 3], [2, 3, 4, 5]]
    assert equal(reader.prime(heads, [True, *[False] * 3]), [np.array(windows)])
    assert reader.num_stepwise(99) == 1
