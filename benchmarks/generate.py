"""Seconds a character: the loop everybody writes, and textgen's two ways.

    python benchmarks/generate.py

The course's LSTM 2 x 128 over 38 symbols with fresh weights, batch 1: `model.predict`
for each character; `generate` by the window of 40 (many-to-one); `generate` by carried
state (many-to-many). The three take turns, and the medians are compared, since other
work on the machine would favour whichever ran last. Compilation comes before.
"""

import json
import platform
import statistics
import time
from collections.abc import Callable

import keras
import numpy as np

import textgen

ROUNDS = 5
LENGTHS = {"predict loop": 10, "by window": 400, "by state": 4000}

keras.utils.set_random_seed(0)
vocabulary = textgen.Vocabulary(map(chr, range(38)))
by_window = textgen.LanguageModel(vocabulary, units=(128, 128))
by_state = textgen.LanguageModel(vocabulary, units=(128, 128), return_sequences=True)


def predict_loop(characters: int) -> None:
    """Writes as the notebooks do: one `predict` of a one-hot window a character."""
    rng = np.random.default_rng(0)
    window = [0] * 40
    for _ in range(characters):
        x = vocabulary.one_hot(np.array([window]))
        logits = by_window.predict(x, verbose=0)[0].astype("float64")
        probabilities = np.exp(logits - logits.max())
        chosen = rng.choice(len(vocabulary), p=probabilities / probabilities.sum())
        window = [*window[1:], int(chosen)]


ways: dict[str, Callable[[int], object]] = {
    "predict loop": predict_loop,
    "by window": lambda characters: by_window.generate("", characters, seed=0),
    "by state": lambda characters: by_state.generate("", characters, seed=0),
}
for write in ways.values():
    write(2)

seconds: dict[str, list[float]] = {way: [] for way in ways}
for _ in range(ROUNDS):
    for way, write in ways.items():
        start = time.perf_counter()
        write(LENGTHS[way])
        seconds[way].append((time.perf_counter() - start) / LENGTHS[way])

medians = {way: statistics.median(times) for way, times in seconds.items()}
print(f"{platform.machine()}, Keras {keras.__version__}, {keras.backend.backend()}")
for way, median in medians.items():
    ratio = medians["predict loop"] / median
    print(f"{way:14} {1000 * median:9.4f} ms a character {ratio:9.1f} x the loop")
with open("benchmark-generate.json", "w") as file:
    json.dump({"milliseconds": {way: 1000 * m for way, m in medians.items()}}, file)
