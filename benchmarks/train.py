"""Measures the speed of training: layers, the setup of the courses, 130 seconds.

    python benchmarks/train.py [throughput] [course] [quality]

- `throughput`: training steps, compared with Keras layers, with PyTorch (extra
  `bench`), and with the matrix products alone.
- `course`: time and memory of the windows of the courses, on tinyshakespeare.
- `quality`: the validation loss on tinyshakespeare after 130 seconds.

Without an argument, all three run, in about ten minutes on two cores. The alternatives
take turns and their medians are compared, because other work on the machine would
favour one of them. Writes benchmark-train.json.
"""

import argparse
import gc
import importlib.util
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

import textgen
from textgen.backend import available_cores

SYMBOLS = 65
EMBEDDING = 64
SHAPES = [((128, 128), 50, 50), ((256,), 64, 64), ((512,), 64, 64)]  # units, N, T
ROUNDS, SECONDS = 7, 1.0  # number of turns, and the duration of each


def turns(ways: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Returns the seconds per call of each way: medians over the turns."""
    calls = {}
    for way, call in ways.items():
        for _ in range(3):  # includes tracing and compilation
            call()
        start = time.perf_counter()
        call()
        calls[way] = max(1, round(SECONDS / (time.perf_counter() - start)))
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(ROUNDS):
        for way, call in ways.items():
            start = time.perf_counter()
            for _ in range(calls[way]):
                call()
            seconds[way].append((time.perf_counter() - start) / calls[way])
    return {way: statistics.median(times) for way, times in seconds.items()}


def throughput() -> dict:
    """Returns characters per second: forward, backward and Adam, in float32."""
    results = {}
    for units, rows, steps in SHAPES:
        rng = np.random.default_rng(0)
        x, y = rng.integers(0, SYMBOLS, (2, rows, steps)).astype(np.int32)
        ways = {
            "textgen": step_of_textgen(units, x, y),
            "stock Keras": step_of_keras(units, x, y),
        }
        if importlib.util.find_spec("torch"):
            ways["PyTorch"] = step_of_torch(units, rows, steps)
        ways["products"] = products(units, rows, steps)
        seconds = turns(ways)
        rates = {way: rows * steps / each for way, each in seconds.items()}
        name = f"{len(units)} x LSTM {units[0]}, batch {rows} x {steps}"
        print(f"\n{name}: characters per second, floating-point speed")
        size = sum(np.prod(shape) for shape in kernels(units))
        for way, rate in rates.items():
            print(
                f"  {way:12} {rate:10,.0f} {6e-9 * size * rate:7.1f} GFLOP/s, "
                f"textgen / {way}: {rates['textgen'] / rate:.2f}"
            )
        if "PyTorch" not in ways:
            print("  PyTorch      skipped: not installed (pip install -e '.[bench]')")
        results[name] = rates
        keras.backend.clear_session()
        gc.collect()
    return results


def kernels(units: tuple) -> list[tuple[int, int]]:
    """Returns the shapes of the matrices that each character is multiplied with."""
    sizes = [EMBEDDING, *units]
    recurrent = [(a + b, 4 * b) for a, b in itertools.pairwise(sizes)]
    return [*recurrent, (units[-1], SYMBOLS)]


def step_of_textgen(units: tuple, x: np.ndarray, y: np.ndarray) -> Callable:
    """Returns a training step of a `LanguageModel`."""
    model = textgen.LanguageModel(
        textgen.Vocabulary(map(chr, range(SYMBOLS))),
        units=units,
        embedding=EMBEDDING,
        return_sequences=True,
    )
    model.compile(keras.optimizers.Adam(1e-3))
    x, y = tf.constant(x), tf.constant(y)
    return lambda: model.train_on_batch(x, y)


def step_of_keras(units: tuple, x: np.ndarray, y: np.ndarray) -> Callable:
    """Returns a training step of the same model with Keras layers."""
    model = keras.Sequential([keras.Input((None,), dtype="int32")])
    model.add(keras.layers.Embedding(SYMBOLS, EMBEDDING))
    for size in units:
        model.add(keras.layers.LSTM(size, return_sequences=True))
    model.add(keras.layers.Dense(SYMBOLS))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss)
    x, y = tf.constant(x), tf.constant(y)
    return lambda: model.train_on_batch(x, y)


def step_of_torch(units: tuple, rows: int, steps: int) -> Callable:
    """Returns a training step of the same model in PyTorch, in a process of its own."""
    script = Path(__file__).with_name("torch_step.py")
    command = [sys.executable, str(script), *map(str, units)]
    command += ["--rows", str(rows), "--steps", str(steps)]
    command += ["--symbols", str(SYMBOLS), "--embedding", str(EMBEDDING)]
    # It ends with this process, when its standard input does.
    child = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert child.stdin is not None
    assert child.stdout is not None
    requests, answers = child.stdin, child.stdout

    def step() -> float:
        requests.write("\n")
        return float(answers.readline())

    return step


def products(units: tuple, rows: int, steps: int) -> Callable:
    """Returns only the matrix products of a training step: the upper limit."""
    step_products, whole_products = [], []
    for inputs, width in kernels(units)[:-1]:
        size = width // 4
        inputs -= size
        step_products += [((rows, size), (size, width)), ((rows, width), (width, size))]
        whole_products += products_over_all_steps(rows * steps, inputs, width)
        whole_products.append(((size, rows * steps), (rows * steps, width)))
    whole_products += products_over_all_steps(rows * steps, *kernels(units)[-1])

    @tf.function
    def multiply(each: list, whole: list) -> tf.Tensor:
        # Without these sums, the products would be optimised away.
        total = tf.constant(0.0)
        for a, b in whole:
            total += tf.matmul(a, b)[0, 0]
        for _ in tf.range(steps):
            for a, b in each:
                total += tf.matmul(a + 0 * total, b)[0, 0]
        return total

    def matrices(shapes: list) -> list:
        return [[tf.random.normal(shape) for shape in pair] for pair in shapes]

    each, whole = matrices(step_products), matrices(whole_products)
    return lambda: multiply(each, whole).numpy()


def products_over_all_steps(rows: int, inputs: int, outputs: int) -> list:
    """Returns the shapes of a product and of the products of its two gradients."""
    return [
        ((rows, inputs), (inputs, outputs)),
        ((rows, outputs), (outputs, inputs)),
        ((inputs, rows), (rows, outputs)),
    ]


def course() -> dict:
    """Returns time and memory of windows of 40, stride 3, one-hot, 2 x 128."""
    script = Path(__file__).with_name("course.py")
    seconds: dict[str, list[float]] = {"textgen": [], "plain": []}
    for _ in range(3):
        for way, times in seconds.items():
            times.append(child(script, way, "--batches", "250")["seconds"])
    medians = {way: statistics.median(times) for way, times in seconds.items()}
    print("\nSetup of the courses: seconds for 250 batches, peak memory in MB")
    memory = {}
    for way in seconds:
        few, all_ = (
            child(script, way, "--batches", "10", "--windows", windows)["peak_mb"]
            for windows in ("1280", "1000000000")
        )
        memory[way] = all_ - few
        print(
            f"  {way:8} {medians[way]:6.1f} s   {few:,.0f} with 1,280 windows, "
            f"{all_:,.0f} with all windows: {memory[way]:,.0f} more"
        )
    faster = medians["plain"] / medians["textgen"]
    smaller = memory["textgen"] / memory["plain"]
    print(f"  textgen / plain: speed {faster:.2f}, additional memory {smaller:.3f}")
    return {"seconds": medians, "more_memory_mb": memory}


def quality() -> dict:
    """Returns the validation loss on tinyshakespeare after 130 s of the process."""
    script = Path(__file__).with_name("quality.py")
    result = child(script)
    print(
        f"\ntinyshakespeare, {result['seconds']:.0f} s: "
        f"{result['validation_loss']:.4f} nats per character"
    )
    return result


def child(script: Path, *arguments: str) -> dict:
    """Runs a script in a separate process; returns the JSON of its last line."""
    command = [sys.executable, str(script), *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


PARTS = {"throughput": throughput, "course": course, "quality": quality}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (default: all)"
    )
    chosen = parser.parse_args().parts or list(PARTS)
    for part in chosen:
        if part not in PARTS:
            parser.error(f"{part!r} must be one of {', '.join(PARTS)}")
    machine = (
        f"{platform.machine()}, {available_cores()} cores, Keras {keras.__version__}"
    )
    print(f"{machine}, TensorFlow {tf.__version__}")
    results = {part: PARTS[part]() for part in chosen}
    with open("benchmark-train.json", "w") as file:
        json.dump({"machine": machine, **results}, file, indent=1)
