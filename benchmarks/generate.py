"""Measures the speed of generation, compared with a `predict` loop and with PyTorch.

    python benchmarks/generate.py

The LSTM 2 x 128 of the courses, with 38 symbols and untrained weights, generates one
text and a batch of 64 texts in four ways:

- `model.predict` for each character;
- `generate` by the window of 40 (many-to-one);
- `generate` by carried state (many-to-many);
- a sampling loop with PyTorch's `nn.LSTM`, which carries its state too (extra `bench`).

The ways take turns and their medians are compared, because other work on the machine
would favour one of them. Five more times are measured separately: compilation; the
first piece of a stream; 1,024 texts of one prompt of 500 symbols, in one call (which
reads the prompt once) and in calls of 64; 1,024 names of the pretrained model
`dinosaurs`, with `generate_many` and with calls of `generate(count=64)`; and 1,000
characters of `textgen generate` as a complete process, compared with a process that
only imports Keras and loads the model. Writes benchmark-generate.json.
"""

import importlib.util
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import textgen
from textgen.backend import available_cores

ROUNDS = 5
SYMBOLS, UNITS, ROWS = 38, (128, 128), 64
PRETRAINED = Path(__file__).parent.parent / "pretrained" / "tinyshakespeare.keras"

keras.utils.set_random_seed(0)
vocabulary = textgen.Vocabulary(map(chr, range(SYMBOLS)))
by_window = textgen.LanguageModel(vocabulary, units=UNITS)
by_state = textgen.LanguageModel(vocabulary, units=UNITS, return_sequences=True)


def predict_loop(rows: int, characters: int) -> None:
    """Generates as the notebooks do: `predict` of one-hot windows, per character."""
    rng = np.random.default_rng(0)
    window = np.zeros((rows, 40), int)
    for _ in range(characters):
        logits = by_window.predict(vocabulary.one_hot(window), verbose=0)
        logits = logits.astype("float64")
        probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        chosen = [rng.choice(SYMBOLS, p=each) for each in probabilities]
        window = np.concatenate([window[:, 1:], np.array(chosen)[:, None]], axis=1)


def torch_loop() -> Callable[[int, int], None]:
    """Returns a loop in PyTorch: one step, softmax and sample for each character."""
    import torch

    lstm = torch.nn.LSTM(SYMBOLS, UNITS[0], len(UNITS), batch_first=True)
    logits = torch.nn.Linear(UNITS[-1], SYMBOLS)

    @torch.inference_mode()
    def write(rows: int, characters: int) -> None:
        ids, state = torch.zeros(rows, 1, dtype=torch.long), None
        for _ in range(characters):
            x = torch.nn.functional.one_hot(ids, SYMBOLS).float()
            x, state = lstm(x, state)
            probabilities = torch.softmax(logits(x[:, -1]), dim=-1)
            ids = torch.multinomial(probabilities, 1)

    return write


def generating(model: textgen.LanguageModel) -> Callable[[int, int], object]:
    """Returns a function that generates with a model of textgen."""
    return lambda rows, characters: model.generate("", characters, count=rows, seed=0)


def seconds_of(function: Callable, *arguments: object) -> float:
    """Returns the time of a call."""
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def compare() -> dict:
    """Returns milliseconds per character: the time of a batch divided by its rows."""
    ways: dict[str, Callable] = {
        "predict loop": predict_loop,
        "by window": generating(by_window),
        "by state": generating(by_state),
    }
    if importlib.util.find_spec("torch"):
        ways["PyTorch"] = torch_loop()
    results = {}
    for rows in (1, ROWS):
        # Characters of each text: each way takes about half a second.
        lengths = {"predict loop": 10, "by window": 500, "by state": 8000}
        if rows > 1:
            lengths = {"predict loop": 10, "by window": 100, "by state": 1000}
        lengths["PyTorch"] = 1000
        compiling = {way: seconds_of(write, rows, 1) for way, write in ways.items()}
        for way, write in ways.items():
            write(rows, lengths[way])
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(ROUNDS):
            for way, write in ways.items():
                each = seconds_of(write, rows, lengths[way])
                seconds[way].append(each / lengths[way] / rows)
        medians = {way: statistics.median(times) for way, times in seconds.items()}
        print(f"\nbatch of {rows}: ms per character; first call (compiles) in s")
        for way, median in medians.items():
            ratio = medians["predict loop"] / median
            compared = ""
            if "PyTorch" in ways:
                compared = f", {medians['PyTorch'] / median:7.1f} x PyTorch"
            print(
                f"  {way:13} {1000 * median:9.4f} ms; speed {ratio:9.1f} x predict loop"
                f"{compared}; first call {compiling[way]:5.2f} s"
            )
        results[rows] = {way: 1000 * median for way, median in medians.items()}
    if "PyTorch" not in ways:
        print("  PyTorch: skipped, not installed (pip install -e '.[bench]')")
    return results


def first_piece() -> dict:
    """Returns milliseconds from a call of `stream` to its first piece, compiled."""
    result = {}
    for name, model in (("by window", by_window), ("by state", by_state)):
        next(model.stream("", 400, seed=0))
        times = [seconds_of(next, model.stream("", 400, seed=0)) for _ in range(9)]
        result[name] = 1000 * statistics.median(times)
        print(f"time to the first piece of a stream, {name}: {result[name]:.1f} ms")
    return result


def shared_prompt() -> dict:
    """Returns seconds for many texts of one long prompt, in one call and in parts."""
    prompt = vocabulary.decode(np.random.default_rng(0).integers(0, SYMBOLS, 500))
    parts = 16

    def in_calls(calls: int) -> None:
        for _ in range(calls):
            by_state.generate(prompt, 20, count=ROWS * parts // calls, seed=0)

    seconds: dict[int, list[float]] = {1: [], parts: []}
    in_calls(1)  # compiles
    in_calls(parts)
    for _ in range(ROUNDS):
        for calls, times in seconds.items():
            times.append(seconds_of(in_calls, calls))
    medians = {calls: statistics.median(times) for calls, times in seconds.items()}
    print(
        f"{ROWS * parts:,} texts of 20 symbols, prompt of {len(prompt)}: "
        f"{medians[1]:.2f} s in one call, {medians[parts]:.2f} s in calls of {ROWS}, "
        f"ratio {medians[parts] / medians[1]:.1f}"
    )
    return {"one call": medians[1], f"calls of {ROWS}": medians[parts]}


def many_texts() -> dict:
    """Returns texts per second: names of the pretrained model, which are short."""
    model = textgen.load("dinosaurs")
    names = model.generate_many(seed=0)
    parts = 16
    seeds = itertools.count()

    def in_calls() -> None:
        for _ in range(parts):
            model.generate(count=ROWS, seed=next(seeds))

    def iterated() -> None:
        for _ in range(parts * ROWS):
            next(names)

    ways = {"generate_many": iterated, f"generate(count={ROWS})": in_calls}
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(ROUNDS + 1):
        for way, write in ways.items():
            seconds = seconds_of(write)
            if turn:  # the first turn compiles
                rates[way].append(parts * ROWS / seconds)
    medians = {way: statistics.median(each) for way, each in rates.items()}
    shown = ", ".join(f"{way} {rate:,.0f}" for way, rate in medians.items())
    print(f"names of `dinosaurs` per second: {shown}")
    return medians


def whole_process() -> dict:
    """Returns seconds of `textgen generate`, and of a process that loads the model."""
    loading = "import keras, textgen, sys; textgen.load(sys.argv[1])"
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": folder}
        commands = {
            "loading": [sys.executable, "-c", loading, str(PRETRAINED)],
            "1,000 characters": [
                *(sys.executable, "-m", "textgen", "generate", str(PRETRAINED)),
                *("--max-new-tokens", "1000", "--seed", "0"),
            ],
        }
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for turn in range(ROUNDS + 1):
            for name, command in commands.items():
                start = time.perf_counter()
                subprocess.run(
                    command, check=True, capture_output=True, env=environment
                )
                if turn:  # the first turn compiles the Python modules
                    seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    ratio = medians["1,000 characters"] / medians["loading"]
    for name, median in medians.items():
        print(f"complete process, {name}: {median:.2f} s")
    print(f"complete process, ratio: {ratio:.2f}")
    return medians


if __name__ == "__main__":
    machine = (
        f"{platform.machine()}, {available_cores()} cores, Keras {keras.__version__}"
    )
    print(f"{machine}, {keras.backend.backend()}")
    results = {
        "machine": machine,
        "milliseconds": compare(),
        "first_piece_ms": first_piece(),
        "shared_prompt_s": shared_prompt(),
        "texts_per_second": many_texts(),
        "whole_process_s": whole_process(),
    }
    with open("benchmark-generate.json", "w") as file:
        json.dump(results, file, indent=1)
