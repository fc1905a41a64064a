"""Measures whether the memory of a long process grows.

    python benchmarks/memory.py

Three things, each after a warm-up that compiles its functions:

- 10,000 steps of training in one `fit`, then 100 times `fit` and `evaluate`;
- 2,000 calls of `generate` with other arguments each time (prompts of 0 to 300 tokens,
  number of texts and new tokens, temperatures, filters, stops, beams), of a model that
  carries its state and one with a window;
- 200 times `textgen.load` and `generate`.

The memory is the resident set after a garbage collection and `malloc_trim`: without the
latter, it contains freed blocks that the C library keeps for later, and changes by
several MB from one moment to the next. The growth is the slope of a straight line
through all measurements, in MB per 100 calls (or steps), so that one block that comes
and goes does not decide. Writes benchmark-memory.json. Linux only.
"""

import argparse
import ctypes
import gc
import itertools
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import textgen
from textgen.backend import available_cores

WINDOW, MEASUREMENTS = 40, 10

parser = argparse.ArgumentParser(description="Measures the growth of memory.")
parser.add_argument("--steps", type=int, default=10_000, help="training steps")
parser.add_argument("--calls", type=int, default=2_000, help="calls of generate")
parser.add_argument("--loads", type=int, default=200, help="loads")

vocabulary = textgen.Vocabulary("abcdefghijklmnopqrstuvwxyz .,;:!?'-()\n")
SYMBOLS = len(vocabulary)
ids = np.random.default_rng(0).integers(0, SYMBOLS, 20_000)


def model(**kwargs: Any) -> textgen.LanguageModel:
    """Returns a compiled model with random weights."""
    keras.utils.set_random_seed(0)
    made = textgen.LanguageModel(vocabulary, units=64, sequence_length=WINDOW, **kwargs)
    made.compile("adam")
    return made


def resident() -> float:
    """Returns the resident memory in MB, without freed blocks."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


class Growth:
    """Measures the memory now and then.

    Args:
        name: str. What is measured.
        count: int. Number of calls.
    """

    def __init__(self, name: str, count: int) -> None:
        self.name, self.every = name, max(1, count // MEASUREMENTS)
        self.calls, self.memory = [0], [resident()]
        self.start = time.perf_counter()

    def call(self, number: int) -> None:
        """Measures after some of the calls; `number` counts from 1."""
        if number % self.every == 0:
            self.calls.append(number)
            self.memory.append(resident())

    def result(self) -> dict:
        """Prints and returns MB per 100 calls."""
        slope = 100 * float(np.polyfit(self.calls, self.memory, 1)[0])
        seconds = time.perf_counter() - self.start
        print(
            f"{self.name:32} {slope:7.3f} MB per 100; {self.calls[-1]:,} in "
            f"{seconds:.0f} s; {self.memory[0]:.0f} MB at first, "
            f"{self.memory[-1]:.0f} MB at last",
            flush=True,
        )
        return {"mb_per_100": slope, "calls": self.calls, "mb": self.memory}


class Steps(keras.callbacks.Callback):
    """Measures during `fit`.

    Args:
        growth: `Growth`.
    """

    def __init__(self, growth: Growth) -> None:
        super().__init__()
        self.growth, self.steps = growth, 0

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Counts a step."""
        self.steps += 1
        self.growth.call(self.steps)


def measured(name: str, count: int, function: Callable[[int], object]) -> dict:
    """Returns the growth while `function(number)` is called `count` times."""
    growth = Growth(name, count)
    for number in range(1, count + 1):
        function(number)
        growth.call(number)
    return growth.result()


def training(steps: int) -> dict:
    """Returns the growth of one `fit`, and of many with `evaluate`."""
    trained = model()
    data = textgen.WindowDataset(ids, WINDOW, batch_size=32)
    few = textgen.WindowDataset(ids[:1000], WINDOW, batch_size=32)

    def fit_and_evaluate(_: int) -> None:
        trained.fit(few, steps_per_epoch=5, validation_data=few, verbose=0)
        trained.evaluate(few, verbose=0)

    def long_fit(steps: int, callbacks: list) -> None:
        trained.fit(
            data,
            epochs=max(1, steps // 500),
            steps_per_epoch=500,
            callbacks=callbacks,
            verbose=0,
        )

    long_fit(1000, [])
    growth = Growth("steps of fit", steps)
    long_fit(steps, [Steps(growth)])
    results = {"steps": growth.result()}
    for number in range(10):
        fit_and_evaluate(number)
    count = max(10, steps // 100)
    results["fits"] = measured("fit and evaluate", count, fit_and_evaluate)
    return results


def random_call(rng: np.random.Generator) -> dict:
    """Returns arguments of `generate`."""
    prompt = vocabulary.decode(rng.integers(0, SYMBOLS, rng.integers(0, 301)))
    call: dict = {
        "prompt": prompt,
        "max_new_tokens": int(rng.integers(0, 60)),
        "seed": int(rng.integers(0, 1 << 30)),
    }
    if rng.random() < 0.5:
        call["stop"] = vocabulary.symbols[rng.integers(0, SYMBOLS)]
    if rng.random() < 0.1:
        return {**call, "num_beams": int(rng.integers(1, 4))}
    call["temperature"] = float(rng.uniform(0, 2))
    call["count"] = int(rng.choice([1, 2, 4, 9, 16, 30]))
    if rng.random() < 0.3:
        call["prompt"] = [prompt, "a", prompt[:20]]
        call["count"] = 1
    if rng.random() < 0.3:
        call["top_k"] = int(rng.integers(1, 20))
    if rng.random() < 0.3:
        call["top_p"] = float(rng.uniform(0.1, 0.99))
    return call


def generating(calls: int) -> dict:
    """Returns the growth of `generate`, for each way of generation."""
    results = {}
    for name in ("state", "window"):
        generator = model(return_sequences=name == "state")
        # Each combination of filters and number of rows is compiled once.
        filters: tuple[dict[str, Any], ...] = (
            {},
            {"top_k": 3},
            {"top_p": 0.5},
            {"top_k": 3, "top_p": 0.5},
        )
        for options, count in itertools.product(filters, (1, 4, 16, 30)):
            generator.generate("a", 2, count=count, **options)
        for beams in (1, 2, 3):
            generator.generate("ab", 2, num_beams=beams)
        rng = np.random.default_rng(0)
        for _ in range(50):
            generator.generate(**random_call(rng))

        def call(
            _: int,
            generator: textgen.LanguageModel = generator,
            rng: np.random.Generator = rng,
        ) -> None:
            generator.generate(**random_call(rng))

        results[name] = measured(f"generate, {name}", calls // 2, call)
    return results


def loading(loads: int) -> dict:
    """Returns the growth of `load` and `generate`."""
    results = {}
    kinds: dict[str, Any] = {
        "state": model(return_sequences=True),
        "wrapped": textgen.from_keras(
            keras.Sequential(
                [
                    keras.Input((WINDOW,), dtype="int32"),
                    keras.layers.Embedding(SYMBOLS, 16),
                    keras.layers.Bidirectional(keras.layers.GRU(32)),
                    keras.layers.Dense(SYMBOLS, activation="softmax"),
                ]
            ),
            vocabulary,
        ),
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, saved in kinds.items():
            path = Path(folder, f"{name}.keras")
            saved.save(path)

            def load(number: int, path: Path = path) -> None:
                textgen.load(path).generate("ab", 5, seed=number)

            for number in range(10):
                load(number)
            results[name] = measured(f"load and generate, {name}", loads, load)
    return results


if __name__ == "__main__":
    arguments = parser.parse_args()
    machine = (
        f"{platform.machine()}, {available_cores()} cores, Keras {keras.__version__}"
    )
    print(f"{machine}, {keras.backend.backend()}")
    results = {
        "machine": machine,
        "training": training(arguments.steps),
        "generating": generating(arguments.calls),
        "loading": loading(arguments.loads),
    }
    with open("benchmark-memory.json", "w") as file:
        json.dump(results, file, indent=1)
