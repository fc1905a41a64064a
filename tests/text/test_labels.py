"""Labels of lines: their names, numbers and ids, compared with Python's own types."""

import random

import numpy as np
import pytest

import textgen
from textgen.text.labels import MAX_LABELS, check_names, label_ids

VOCABULARY = textgen.Vocabulary("ab\n")  # ids 0 to 2


def random_rows(seed, names=("poe", "keats", "gothic", "ode")):
    """Returns rows of all kinds, and the set of labels of each one."""
    rng = random.Random(seed)
    rows, expected = [], []
    for _ in range(rng.randint(1, 30)):
        chosen = rng.sample(names, rng.randint(0, 3))
        row = [rng.choice([name, f" {name} "]) for name in chosen]
        if len(row) == 1 and rng.random() < 0.5:
            row = row[0]
        elif not row:
            row = rng.choice([None, "", (), [None], ["", " "]])
        else:
            row = rng.choice([list, tuple])(row + rng.choice([[], [None], row[:1]]))
        rows.append(row)
        expected.append(set(chosen))
    rows.append("ode")
    return rows, [*expected, {"ode"}]


@pytest.mark.parametrize("seed", range(20))
def test_names_numbers_and_ids(seed):
    rows, expected = random_rows(seed)
    labels = textgen.LineLabels(iter(rows))
    assert labels.names == tuple(sorted(set().union(*expected)))
    assert labels.numbers.dtype == np.int32
    assert len(labels) == len(rows)
    assert labels.numbers.shape == (len(rows), max(map(len, expected)))
    ids = labels.ids(VOCABULARY)
    wide = labels.ids(VOCABULARY, ["zen", *reversed(labels.names)])
    for row, found, moved, wanted in zip(
        labels.numbers.tolist(), ids.tolist(), wide.tolist(), expected, strict=True
    ):
        numbers = sorted(labels.names.index(name) for name in wanted)
        padding = [-1] * (len(row) - len(numbers))
        assert row == numbers + padding
        assert found == [3 + number for number in numbers] + padding
        # The last of the names has the first id after that of "zen".
        mirrored = sorted(3 + len(labels.names) - number for number in numbers)
        assert moved == mirrored + padding


def test_unknown_label_names_the_known():
    labels = textgen.LineLabels(["poe", "keats"])
    with pytest.raises(ValueError, match=r"no label 'keats'\. It has 'a b', 'poe'\."):
        labels.ids(VOCABULARY, ["a b", "poe"])
    with pytest.raises(ValueError, match="It has no labels at all"):
        label_ids((), ["poe"], 3)
    many = [f"{number:02}" for number in range(23)]
    with pytest.raises(ValueError, match="'18', '19' and 3 more"):
        label_ids(many, ["poe"], 3)


@pytest.mark.parametrize("row", [1, 2.5, float("nan"), [["poe"]], [b"poe"], "x" * 257])
def test_other_values_are_refused(row):
    with pytest.raises(ValueError, match=r"label .* must be a str"):
        textgen.LineLabels([row])


@pytest.mark.parametrize("rows", [[], [None, ""], [[]]])
def test_no_label(rows):
    with pytest.raises(ValueError, match="No line has a label"):
        textgen.LineLabels(rows)


def test_too_many_labels():
    with pytest.raises(ValueError, match="more than 65,536 different labels"):
        textgen.LineLabels(map(str, range(MAX_LABELS + 1)))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("poe", "sequence of str"),
        (["poe", "poe"], "must be different"),
        ([" poe"], "spaces around"),
        ([""], "1 to 256"),
        ([1], "must be a str"),
    ],
)
def test_names_of_a_model(names, message):
    with pytest.raises(ValueError, match=message):
        check_names(names)
    with pytest.raises(ValueError, match=message):
        textgen.LanguageModel(VOCABULARY, labels=names)


@pytest.mark.parametrize(
    "numbers",
    [[0, 1], [[0], [2]], [[-2]], np.zeros((0, 2), int), np.zeros((2, 0), int)],
)
def test_numbers_of_a_file(numbers):
    with pytest.raises(ValueError, match=r"labels? "):
        textgen.LineLabels.from_numbers(["a", "b"], np.array(numbers))
