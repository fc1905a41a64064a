"""`suggest`: what it returns, and that it can be trained."""

import numpy as np
import pytest

import textgen
from textgen.advice import suggestion, timing

TEXT = "The quick brown fox\njumps over,\n\nthe lazy dog\n" * 100


@pytest.fixture
def timed(monkeypatch):
    """Replaces the timing: `units` microseconds a step. It returns the list."""
    found = []

    def seconds(setup, vocabulary, length):
        found.append((setup, length))
        return 1e-6 * max(setup.units)

    monkeypatch.setattr(suggestion, "step_seconds", seconds)
    return found


def test_two_widths_are_timed(timed):
    choice = textgen.suggest(TEXT * 20, minutes=1)
    assert [setup.units for setup, _ in timed] == [(128,), (384,)]
    assert choice.setup.kind == "sequences"
    assert choice.passes > 10
    # 1e6 / units steps per second, each of so many tokens.
    setup = choice.setup
    speed = 1e6 / setup.units[0] * setup.batch_size * setup.sequence_length
    assert choice.tokens_per_second == pytest.approx(speed, rel=0.05)
    assert "running text" in str(choice)
    assert f"{setup.units[0]} units" in str(choice)


def test_given_units_are_timed_alone(timed):
    choice = textgen.suggest(TEXT * 20, minutes=1, units=(9, 7), cell="gru")
    assert [setup.units for setup, _ in timed] == [(9, 7)]
    assert (choice.setup.units, choice.setup.cell) == ((9, 7), "gru")
    speed = 1e6 / 9 * choice.setup.batch_size * choice.setup.sequence_length
    assert choice.tokens_per_second == pytest.approx(speed, rel=0.05)


@pytest.mark.parametrize(
    ("share", "minutes", "given", "precision"),
    [
        (0.8, 60, {}, "mixed_bfloat16"),
        (0.9, 60, {}, "float32"),
        (0.8, 9, {}, "float32"),
        (0.8, 60, {"precision": "float32"}, "float32"),
    ],
)
def test_half_precision_where_a_timed_step_is_faster(
    share, minutes, given, precision, monkeypatch
):
    def seconds(setup, vocabulary, length):
        return 1e-9 * setup.units[0] * (share if "16" in setup.precision else 1.0)

    monkeypatch.setattr(suggestion, "step_seconds", seconds)
    choice = textgen.suggest(TEXT * 1000, minutes=minutes, **given)
    assert choice.setup.units[0] >= 768
    assert choice.setup.precision == precision
    assert ("bfloat16" in str(choice)) == (precision == "mixed_bfloat16")


def test_windows_are_those_of_the_courses(timed):
    assert textgen.suggest(TEXT, minutes=1, kind="windows").setup == textgen.Setup()


def test_nothing_is_timed_for_fixed_epochs_and_units(timed):
    choice = textgen.suggest(TEXT, epochs=9, units=(8,))
    assert not timed
    assert choice.passes == 9
    assert choice.tokens_per_second is None
    assert "9 times" in str(choice)


def test_ids_and_text_give_the_same(timed):
    vocabulary = textgen.Vocabulary.from_text(TEXT)
    ids = textgen.suggest(vocabulary.encode(TEXT), vocabulary, epochs=3, units=(8,))
    text = textgen.suggest(TEXT, epochs=3, units=(8,))
    assert ids.setup == text.setup
    assert ids.facts == text.facts


@pytest.mark.parametrize("length", [4, 5, 8, 20, 50, 120, 600, 5000])
@pytest.mark.parametrize("kind", [None, "lines", "sequences"])
def test_any_text_can_be_trained(length, kind, timed):
    text = (TEXT * 2)[:length]
    given = {"kind": kind} if kind else {}
    choice = textgen.suggest(text, minutes=1, units=(4,), cell="simple_rnn", **given)
    if kind == "lines" and "\n" not in text:
        with pytest.raises(ValueError, match="several lines"):
            choice.build(text)
        return
    _, train, validation = choice.build(text)
    assert len(train) >= 1
    assert (validation is None) == (length < 500)


def test_built_training_learns(timed):
    choice = textgen.suggest(TEXT, minutes=1, units=(16,))
    model, train, validation = choice.build(TEXT)
    part = choice.steps_per_epoch(len(train))
    history = model.fit(
        train,
        validation_data=validation,
        steps_per_epoch=min(part, 2 * len(train)),
        epochs=2,
        verbose=0,
    ).history
    assert history["val_loss"][-1] < history["val_loss"][0] < np.log(30)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("abc",), "The text has 3 tokens"),
        ((np.array([1, 2]),), "needs its vocabulary"),
    ],
)
def test_bad_text(arguments, message):
    with pytest.raises(ValueError, match=message):
        textgen.suggest(*arguments)


@pytest.mark.parametrize("minutes", [0, -1, float("nan"), float("inf")])
def test_bad_minutes(minutes):
    with pytest.raises(ValueError, match=r"minutes=.* must be a positive, finite"):
        textgen.suggest(TEXT, minutes=minutes)


@pytest.mark.parametrize("validation", [-0.1, 1, float("nan")])
def test_bad_validation(validation):
    with pytest.raises(ValueError, match=r"validation=.* must be a share of the text"):
        textgen.suggest(TEXT, validation=validation)


def test_unknown_choice():
    with pytest.raises(ValueError, match=r"colour='red' is not a choice.*batch_size"):
        textgen.suggest(TEXT, colour="red")


def test_a_real_step_is_timed():
    vocabulary = textgen.Vocabulary.from_text(TEXT)
    for kind in ("sequences", "windows", "lines"):
        setup = textgen.Setup(kind, units=(4,), cell="simple_rnn", batch_size=2)
        assert 0 < timing.step_seconds(setup, vocabulary, 5) < 60


def test_a_pause_of_the_machine_is_not_the_time_of_a_step(monkeypatch):
    times = iter([0, 15, 15, 15.5, 15.5, 16, 16, 16.5])
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(times))
    vocabulary = textgen.Vocabulary.from_text(TEXT)
    setup = textgen.Setup("sequences", units=(4,), cell="simple_rnn", batch_size=2)
    assert timing.step_seconds(setup, vocabulary, 5) == 0.5


def test_speeds_are_a_power_of_the_operations():
    speeds = timing.Speeds(
        lambda units: 3 * (units**2) ** 0.8, lambda units: units**2, (128, 384)
    )
    for units in (64, 128, 256, 384):
        assert speeds.seconds(units) == pytest.approx(3 * units**1.6)
    assert speeds.seconds(768) == pytest.approx(3 * 384**1.6 * 2**2)
