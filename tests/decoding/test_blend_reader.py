"""The reader of a blend, compared with its readers."""

import numpy as np
import pytest
from keras import ops
from small_readers import SIZE, blend_reader, equal, state_reader, window_reader

from textgen.decoding.blend_reader import BlendReader
from textgen.decoding.readers import WindowReader

pytestmark = pytest.mark.usefixtures("uncompiled")


def test_blend_averages_probabilities_and_joins_features():
    first, second = state_reader(), window_reader(start_id=6)
    # The common tokens 0 to 3: the first reader has no token 2, the other no token 0.
    names = [np.array([4, 5, -1, 0]), np.array([-1, 0, 1, 2])]
    blend = BlendReader([first, second], names, [0.25, 0.75])
    common = np.array([[3, 2, 1, 0, -1]])
    features, logits, _ = blend.read(common, blend.initial(1))
    # A token that a reader does not have is its start step.
    own = [np.array([[0, -1, 5, 4, -1]]), np.array([[2, 1, 0, 6, 6]])]
    expected, each = np.zeros((1, 5, 4)), []
    for reader, ids, name, weight in zip(
        (first, second), own, names, (0.25, 0.75), strict=True
    ):
        feature, found, _ = reader.read(ids, reader.initial(1))
        probabilities = np.asarray(ops.softmax(found))[..., np.maximum(name, 0)]
        expected += weight * probabilities * (name >= 0)
        each.append(feature)
    np.testing.assert_allclose(np.exp(logits), expected, rtol=1e-6)
    assert equal(features, np.concatenate(each, axis=-1))


@pytest.mark.parametrize("both", [False, True])
def test_blend_has_a_start_step_if_all_states_have(both):
    readers = [state_reader(start_step=True), state_reader(start_step=both)]
    readers.append(window_reader())
    blend = BlendReader(readers, [np.arange(SIZE)] * 3, [0.5, 0.25, 0.25])
    assert blend.start_step is blend.begins_with_start is both
    # If not, the ids have no start step, and the reader that learned one adds it.
    start = readers[0].initial(1, started=not both)
    assert equal(blend.initial(1)[:2], [start, readers[1].initial(1)])
    assert equal(blend.initial(1, empty=True), [r.initial(1) for r in readers])


def test_blend_takes_the_limits_of_its_readers():
    blend = blend_reader()
    assert blend.max_read_steps == WindowReader.max_read_steps
    assert blend.max_read_size == WindowReader.max_read_size
    assert blend.num_stepwise(13) == blend.readers[0].num_stepwise(13) == 3
