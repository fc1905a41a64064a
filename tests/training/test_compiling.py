"""How `compile` chooses the loss and the metrics; `test_trainer.py` has more."""

import keras
import pytest
from small_models import VOCABULARY, WINDOW, make

import textgen

IDS = VOCABULARY.encode("a bad cab\nfed a dead bee\n" * 8)


def compiled(loss=None, metrics=None, **kwargs):
    model = make(**kwargs)
    model.compile(loss=loss, metrics=metrics)
    return model


def windows():
    return textgen.WindowDataset(IDS, WINDOW, batch_size=16)[0]


@pytest.mark.parametrize(
    "name", ["categorical_crossentropy", "sparse_categorical_crossentropy", "ce"]
)
@pytest.mark.parametrize("one_hot", [False, True])
def test_metric_that_means_cross_entropy_is_the_loss(name, one_hot):
    x, y = windows()
    y = VOCABULARY.one_hot(y) if one_hot else y
    logs = compiled(metrics=[name]).evaluate(x, y, 16, 0, return_dict=True)
    assert logs[name] == pytest.approx(logs["loss"], rel=1e-5)


@pytest.mark.parametrize("kind", ["ids", "one-hot", "padded lines"])
def test_accuracy_follows_the_targets(kind):
    model = compiled(metrics=["accuracy"], return_sequences=kind == "padded lines")
    if kind == "padded lines":
        x, y = textgen.LineDataset(IDS, VOCABULARY.ids["\n"], 60, batch_size=4)[0]
    else:
        x, y = windows()
    logits = model.predict(x, verbose=0)
    expected = (logits.argmax(axis=-1) == y)[y >= 0].mean()
    targets = VOCABULARY.one_hot(y) if kind == "one-hot" else y
    logs = model.evaluate(x, targets, verbose=0, return_dict=True)
    assert logs["accuracy"] == pytest.approx(expected)


def test_loss_in_a_list_is_the_loss():
    x, y = windows()
    listed = compiled(loss=["sparse_categorical_crossentropy"])
    assert listed.evaluate(x, y, verbose=0) == compiled().evaluate(x, y, verbose=0)


@pytest.mark.parametrize(
    "loss", ["categorical_focal_crossentropy", keras.losses.binary_crossentropy]
)
def test_loss_function_on_probabilities_is_refused(loss):
    with pytest.raises(ValueError, match="crossentropy expects probabilities"):
        compiled(loss=loss)
