"""What `Setup` builds, compared with the classes that it stands for."""

import numpy as np
import pytest

import textgen
from textgen.advice.setup import usual_length

TEXT = "the quick brown fox\njumps over\nthe lazy dog\n" * 30
VOCABULARY = textgen.Vocabulary.from_text(TEXT)
IDS = VOCABULARY.encode(TEXT)


def same(a, b):
    assert len(a) == len(b)
    for one, two in zip(a[0], b[0], strict=True):
        assert np.array_equal(one, two)


def test_default_is_the_setup_of_the_courses():
    setup = textgen.Setup()
    model = setup.model(VOCABULARY)
    assert model.get_config() | {"name": 0} == (
        textgen.LanguageModel(VOCABULARY).get_config() | {"name": 0}
    )
    train, validation, length = setup.datasets(IDS, IDS[:200], VOCABULARY)
    assert length == 40
    same(train, textgen.WindowDataset(IDS, 40, 3, 128))
    same(validation, textgen.WindowDataset(IDS[:200], 40, 3, 128))
    optimizer = setup.optimizer()
    assert float(optimizer.learning_rate) == pytest.approx(1e-3)
    assert (optimizer.clipvalue, optimizer.global_clipnorm) == (5.0, None)


def test_sequences():
    setup = textgen.Setup("sequences", sequence_length=8, batch_size=4)
    train, validation, _ = setup.datasets(IDS, IDS[:40], VOCABULARY, seed=3)
    same(train, textgen.SequenceDataset(IDS, 8, 4, seed=3))
    same(validation, textgen.SequenceDataset(IDS[:40], 8, 2, seed=3))
    setup = textgen.Setup("sequences", stateful=True, sequence_length=8, batch_size=4)
    train, validation, _ = setup.datasets(IDS, IDS[:300], VOCABULARY, seed=3)
    same(train, textgen.SequenceDataset(IDS, 8, 4, "consecutive", seed=3))
    same(
        validation,
        textgen.SequenceDataset(
            IDS[:300], 64, 4, "consecutive", random_offset=False, seed=3
        ),
    )
    model = setup.model(VOCABULARY)
    model.compile(setup.optimizer())
    model.fit(train, validation_data=validation, steps_per_epoch=len(train), verbose=0)


@pytest.mark.parametrize("tokens", [3, 5, 9, 17, 40, 65])
def test_any_validation_part_fills_a_batch(tokens):
    setup = textgen.Setup("sequences", stateful=True, sequence_length=2)
    _, validation, _ = setup.datasets(IDS, IDS[:tokens], VOCABULARY)
    assert len(validation) >= 1


@pytest.mark.parametrize("batches", [999, 1000, 1009, 1020, 10_001, 123_456])
def test_long_pass_can_be_divided(batches):
    """It loses 1.2 % of its batches at most."""
    ids = np.arange(3 * (batches * 2 + 1) + 1)
    assert len(textgen.SequenceDataset(ids, 2, 3, "consecutive")) == batches
    setup = textgen.Setup("sequences", stateful=True, sequence_length=2, batch_size=3)
    train, _, _ = setup.datasets(ids, None, VOCABULARY)
    parts = {999: 1, 10_001: 120, 123_456: 1200}.get(batches, 12)
    assert len(train) == batches - batches % parts


def test_lines():
    newline = VOCABULARY.ids["\n"]
    setup = textgen.Setup("lines", batch_size=4, units=(8, 6), cell="gru")
    train, _, length = setup.datasets(IDS, None, VOCABULARY, seed=1)
    assert length == 64
    assert usual_length(np.array([9] * 99 + [100, 5000])) == 200
    same(train, textgen.LineDataset(IDS, newline, batch_size=4, seed=1))
    model = setup.model(VOCABULARY, length)
    assert (model.units, model.cell) == ((8, 6), "gru")
    assert model.return_sequences
    short = textgen.Setup("lines", sequence_length=10)
    with pytest.warns(UserWarning, match=r"60 of 90 lines .* 10 tokens .*cut"):
        short.datasets(IDS, None, VOCABULARY)


@pytest.mark.parametrize(
    ("setup", "message"),
    [
        (textgen.Setup("lines"), "lines=True needs a text of several lines"),
        (textgen.Setup("sequences", batch_size=500), "The training part of the text"),
    ],
)
def test_text_that_does_not_fit(setup, message):
    vocabulary = textgen.Vocabulary.from_text("abcdef")
    with pytest.raises(ValueError, match=message):
        setup.datasets(vocabulary.encode("abcdef" * 9), None, vocabulary)
