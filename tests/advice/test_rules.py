"""The rules, compared with counts of a built model and with what they promise."""

import pytest
from small_models import VOCABULARY

import textgen
from textgen.advice import rules
from textgen.advice.facts import TextFacts

RUNNING = TextFacts(10**6, 20_000, 50, 70, False, "test")
NAMES = TextFacts(30_000, 4_000, 7, 15, True, "test")


@pytest.mark.parametrize("cell", ["lstm", "gru", "simple_rnn"])
def test_weights_are_those_of_the_model(cell):
    setup = textgen.Setup("sequences", cell=cell, units=(16, 12), embedding=5)
    model = setup.model(VOCABULARY)
    matrices = [each for each in model.trainable_variables if len(each.shape) == 2]
    products = [each for each in matrices if "embedding" not in each.path]
    # The bias of a GRU has two rows.
    products = [each for each in products if "bias" not in each.path]
    count = sum(each.shape[0] * each.shape[1] for each in products)
    assert rules.weights_of(setup, len(VOCABULARY)) == count


def test_law():
    """The definition in Hoffmann et al., and repeated tokens of Muennighoff et al."""
    a = rules.A * 2.0**-rules.ALPHA
    assert rules.expected_nats(2 * 10**6, 3e6, 10**9) == pytest.approx(
        a + rules.B * 3.0**-rules.BETA
    )
    once, often = (rules.expected_nats(2 * 10**6, n * 1e6, 10**6) for n in (1, 10**6))
    assert once == pytest.approx(a + rules.B)
    assert often == pytest.approx(a + rules.B * 16.0**-rules.BETA)


@pytest.mark.parametrize("slow", [1, 10, 100])
def test_a_slower_machine_gets_a_narrower_network(slow):
    def width(seconds):
        setup = rules.frame(RUNNING, 10**6, 60, {})
        candidates = [
            (
                units,
                seconds * 5e9 / rules.weights_of(rules.widened(setup, units, {}), 60),
            )
            for units in rules.WIDTHS
        ]
        return rules.best_width(setup, {}, candidates, 10**8, 60)

    widths = [width(seconds / slow) for seconds in (10, 100, 1000, 10_000)]
    assert widths == sorted(widths)
    assert width(100 / slow) <= width(100)
    assert widths[0] < widths[-1] or slow == 100


@pytest.mark.parametrize("tokens", [10**3, 10**5, 10**6, 10**7])
def test_a_short_text_gets_few_weights(tokens):
    setup = rules.frame(RUNNING, tokens, 60, {})
    candidates = [(units, 1e12) for units in rules.WIDTHS]  # any time
    width = rules.best_width(setup, {}, candidates, tokens, 60)
    weights = [
        rules.weights_of(rules.widened(setup, units, {}), 60)
        for units in (width, 2 * width)
    ]
    limit = max(1.3 * tokens, 200_000)
    assert weights[0] <= limit
    assert weights[1] > limit or width == rules.WIDTHS[-1]


def test_given_choices_are_kept():
    given = {"units": (9, 7), "dropout": 0.3, "batch_size": 5, "embedding": 3}
    given |= {"learning_rate": 0.5, "layer_norm": False, "clip_value": 2.0}
    setup = rules.frame(RUNNING, 10**6, 60, given)
    setup = rules.regularised(rules.widened(setup, 512, given), 100, given)
    for name, value in given.items():
        assert getattr(setup, name) == value
    assert setup.clip_norm is None
    assert setup.weight_dropout > 0


def test_kind_and_vocabulary():
    assert rules.frame(RUNNING, 10**6, 60, {}).kind == "sequences"
    assert rules.frame(RUNNING, 10**6, 60, {}).stateful
    assert rules.frame(NAMES, 30_000, 30, {}).kind == "lines"
    assert rules.frame(NAMES, 30_000, 30, {"kind": "windows"}) == textgen.Setup()
    many = rules.widened(rules.frame(RUNNING, 10**6, 5000, {}), 256, {})
    assert (many.tie_weights, many.embedding) == (True, 256)


def test_dropout_rises_with_the_passes():
    setup = rules.frame(RUNNING, 10**6, 60, {})
    rates = [rules.regularised(setup, n, {}).dropout for n in (0.5, 2, 4, 10, 20, 90)]
    assert rates[0] == 0
    assert rates == sorted(rates)
    assert rates[-1] > 0.3


@pytest.mark.parametrize("batches", [1, 7, 97, 100, 1000, 980])
@pytest.mark.parametrize("steps", [1, 50, 1000, 100_000])
def test_steps_per_epoch(batches, steps):
    number = rules.steps_per_epoch(True, batches, steps, 1)
    assert number >= 1
    assert batches % number == 0 or number % batches == 0
    # 6 % of the steps for evaluations that take as long as 1 or 100 steps.
    for validation, count in ((1, min(max(0.06 * steps, 4), 20)), (10**6, 4)):
        free = rules.steps_per_epoch(False, batches, steps, validation)
        assert free == pytest.approx(steps / count, abs=max(1, batches / 2))


def test_validation_share():
    assert rules.validation_share(100) == 0
    assert rules.validation_share(10**5) == 0.1
    assert rules.validation_share(10**8) == 200_000 / 10**8
