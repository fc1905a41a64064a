"""Small models of every kind, and their log probabilities computed by `predict`.

Names of dimensions: T tokens of a text, V tokens of the vocabulary.
"""

import functools

import numpy as np

from textgen import LanguageModel, Vocabulary

VOCABULARY = Vocabulary.from_text("abcdef \n")
SIZE = len(VOCABULARY)
WINDOW = 5
KINDS = {
    "window": {},
    "state": {"return_sequences": True, "embedding": 3},
    "start step": {"return_sequences": True, "start_step": True},
}


def make(vocabulary=VOCABULARY, seed=3, **kwargs):
    """Returns a small model with weights large enough for its texts to vary."""
    model = LanguageModel(
        vocabulary, **{"units": (6, 7), "sequence_length": WINDOW, **kwargs}
    )
    generator = np.random.default_rng(seed)
    for weight in model.trainable_weights:
        weight.assign(generator.normal(0, 1.2, weight.shape))
    return model


@functools.cache
def shared(kind):
    """Returns one model for all tests of a kind: it compiles its functions once."""
    return make(**KINDS[kind])


def logits_of(model, text, prompted=True):
    """Returns the logits before the first token and after each token, `(T + 1, V)`.

    A many-to-many model reads a start step if it learned it or if its prompt is empty.
    Otherwise it reads the first token first, and the logits before it are NaN.

    Args:
        model: `LanguageModel`.
        text: str, of T tokens.
        prompted: bool. Whether the text begins with a prompt. Defaults to `True`.
    """
    ids = model.vocabulary.encode(text).tolist()
    if model.return_sequences:
        starts = model.start_step or not prompted or not ids
        ids = [-1, *ids] if starts else ids
        logits = model.predict_on_batch(np.array([padded(ids, [-1])]))[0, : len(ids)]
        if not starts:
            logits = np.concatenate([np.full_like(logits[:1], np.nan), logits])
    else:
        ids = [-1] * model.sequence_length + ids
        windows = np.lib.stride_tricks.sliding_window_view(ids, model.sequence_length)
        logits = model.predict_on_batch(padded(windows, windows[:1]))[: len(windows)]
    return logits.astype(np.float64)


def padded(rows, filling):
    """Pads rows to a multiple of 32: a new shape would be compiled anew."""
    count = -len(rows) % 32
    return np.concatenate([rows, np.repeat(filling, count, axis=0)])


def log_probabilities(model, text, prompted=True):
    """Returns the logarithms of the probabilities; arguments as for `logits_of`."""
    logits = logits_of(model, text, prompted)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def of_text(model, text, start=0):
    """Returns the log probability of each token after a prompt of `start` tokens."""
    ids = model.vocabulary.encode(text).astype(int)
    found = log_probabilities(model, text, start > 0)[np.arange(len(ids)), ids]
    return found[start:]
