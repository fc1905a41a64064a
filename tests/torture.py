"""Kills trainings at random moments, resumes them, and compares the results.

    python tests/torture.py              # 50 trainings in three configurations
    python tests/torture.py --trials 5 --seed 7 stateful

Each trial starts a training, kills it with SIGKILL one to three times, half of the
times while it writes a checkpoint, and resumes it until it ends. At the end, all
arrays of the model file (weights, optimizer, generators, carried states), the best
model, the CSV log and the samples must be equal, bit by bit, to those of the training
that nobody killed.

The trainings are forked from one process that has imported TensorFlow.
"""

import argparse
import contextlib
import io
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import h5py
import numpy as np

import textgen

FORK = multiprocessing.get_context("forkserver")
FORK.set_forkserver_preload(["keras", "textgen.models.loading", "textgen.datasets"])

# === Trainings ===
# Each takes the model of the newest checkpoint, or `None`. It returns the model, the
# dataset, the number of epochs, further arguments of `fit`, and callbacks.


def words(count, seed=0):
    """A text of pseudo-random words in lines of eight."""
    draw = np.random.default_rng(seed)
    syllables = [a + b for a in "bdfgklmnprst" for b in "aeiou"]
    made = [
        "".join(syllables[i] for i in draw.integers(0, len(syllables), size))
        for size in draw.integers(1, 4, count)
    ]
    lines = [" ".join(made[i : i + 8]) for i in range(0, count, 8)]
    return "\n".join(lines) + "\n"


def windows(model):
    """Many-to-one windows; metrics, a plateau schedule, and 16 batches per epoch."""
    keras = textgen.import_keras()
    text = words(700)
    vocabulary = textgen.Vocabulary.from_text(text)
    ids = vocabulary.encode(text)
    train = textgen.WindowDataset(ids[:-500], 12, 2, batch_size=64, seed=3)
    validation = textgen.WindowDataset(ids[-500:], 12, 2, batch_size=64)
    if model is None:
        keras.utils.set_random_seed(1)
        model = textgen.LanguageModel(
            vocabulary, units=(16, 16), dropout=0.2, sequence_length=12
        )
        model.compile(keras.optimizers.Adam(3e-3, clipvalue=1.0), metrics=["accuracy"])
    plateau = keras.callbacks.ReduceLROnPlateau("loss", patience=1, min_delta=0.5)
    return model, train, 4, {"validation_data": validation}, [plateau]


def stateful(model):
    """Carried states, two kinds of dropout, weight averages, accumulated gradients."""
    keras = textgen.import_keras()
    text = words(900)
    vocabulary = textgen.Vocabulary.from_text(text)
    train = textgen.SequenceDataset(
        vocabulary.encode(text), 10, batch_size=8, sampling="consecutive", seed=5
    )
    if model is None:
        keras.utils.set_random_seed(2)
        model = textgen.LanguageModel(
            vocabulary,
            cell="gru",
            units=(12,),
            embedding=8,
            dropout=0.3,
            weight_dropout=0.2,
            return_sequences=True,
            stateful=True,
            batch_size=8,
            reset_policy="never",
        )
        schedule = textgen.warmup_cosine(5e-3, 4 * len(train), 10)
        model.compile(
            keras.optimizers.Adam(
                schedule, use_ema=True, ema_momentum=0.9, gradient_accumulation_steps=3
            ),
            metrics=[textgen.Perplexity()],
        )
    return model, train, 4, {}, []


def names(model):
    """Lines; early stopping that restores the best weights."""
    keras = textgen.import_keras()
    lines = textgen.load_corpus("dinosaurs", lowercase=True).split("\n")[:400]
    vocabulary = textgen.Vocabulary.from_text("\n".join(lines) + "\n")
    newline = vocabulary.ids["\n"]
    train, validation = (
        textgen.LineDataset(vocabulary.encode("\n".join(part)), newline, batch_size=8)
        for part in (lines[::2], lines[1::2])
    )
    if model is None:
        keras.utils.set_random_seed(3)
        model = textgen.LanguageModel(
            vocabulary, cell="simple_rnn", units=(24,), return_sequences=True
        )
        model.compile(keras.optimizers.RMSprop(2e-2, global_clipnorm=1.0))
    stopping = keras.callbacks.EarlyStopping(patience=2, restore_best_weights=True)
    return model, train, 8, {"validation_data": validation}, [stopping]


TRAININGS = {"windows": windows, "stateful": stateful, "names": names}


def train(name, folder):
    """Trains, or resumes the training in a folder, to its end."""
    os.chdir(folder)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        keras = textgen.import_keras()
        resume = any(Path("states").glob("step-*.keras"))
        checkpoints = textgen.Checkpoints("states", resume=resume, every=5)
        model = textgen.load(checkpoints.last) if resume else None
        model, data, epochs, options, callbacks = TRAININGS[name](model)
        started = keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda *_: Path("started").touch()
        )
        model.fit(
            data,
            epochs=epochs,
            callbacks=[
                started,
                textgen.SampleText("ba", 0.8, max_new_tokens=5),
                keras.callbacks.CSVLogger("log.csv", append=resume),
                *callbacks,
                checkpoints,
            ],
            verbose=0,
            **options,
        )
        samples = model.generate(["", "ba", "ku"], 40, 0.8, count=2, seed=4)
        Path("samples.txt").write_text(repr(samples), encoding="utf-8")
        model.save("final.keras")
    Path("ended").touch()


# === Results ===


def arrays(path):
    """All arrays of a model file by name, as bytes; without those of a checkpoint."""
    with zipfile.ZipFile(path) as file:
        content = io.BytesIO(file.read("model.weights.h5"))
    found = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset) and not name.startswith("training/"):
            found[name] = (str(item.dtype), item.shape, item[()].tobytes())

    with h5py.File(content) as file:
        file.visititems(visit)
    return found


def results(folder):
    """What two trainings must have in common, by name."""
    return {
        "log": (folder / "log.csv").read_bytes(),
        "samples": (folder / "samples.txt").read_bytes(),
        "files": sorted({path.name for path in folder.rglob("*")} - {"started"}),
        **{
            f"{kind}: {name}": value
            for kind, path in (("final", "final.keras"), ("best", "states/best.keras"))
            for name, value in arrays(folder / path).items()
        },
    }


def differences(expected, found):
    """Names of the results that differ or are missing."""
    names = sorted(expected.keys() | found.keys())
    return [name for name in names if expected.get(name) != found.get(name)]


# === Kills ===


def start(name, folder):
    """Starts a training in another process, and waits until its first epoch."""
    for marker in ("started", "ended"):
        (folder / marker).unlink(missing_ok=True)
    process = FORK.Process(target=train, args=(name, folder))
    process.start()
    while process.is_alive() and not (folder / "started").exists():
        time.sleep(0.002)
    return process


def complete(name, folder):
    """Trains to the end; returns the seconds from the first epoch to the end."""
    process = start(name, folder)
    begin = time.monotonic()
    process.join()
    if not (folder / "ended").exists():
        raise RuntimeError(f"{name}: the training ended with code {process.exitcode}.")
    return time.monotonic() - begin


def kill(name, folder, is_time, while_writing):
    """Starts or resumes a training, and kills it; returns what it was doing.

    Args:
        name: str. A name of `TRAININGS`.
        folder: Path.
        is_time: Callable without arguments. The kill follows when it is true.
        while_writing: bool. Whether to wait for the next write of a file.
    """
    process = start(name, folder)
    states, doing = folder / "states", "running"
    while process.is_alive() and not is_time():
        time.sleep(0.001)
    while while_writing and process.is_alive():
        if any(states.glob(".*.tmp")):
            doing = "writing"
            break
    if process.is_alive():
        process.kill()
    else:
        doing = "ended"
    process.join()
    return doing


def trial(name, expected, seconds, draw, folder):
    """Kills one training several times; returns what it was doing, and the errors."""
    folder.mkdir()
    doing = []
    for _ in range(draw.randint(1, 3)):
        moment = draw.uniform(0, seconds)
        started = []  # the time of the first call, when the first epoch begins

        def is_time(moment=moment, started=started):
            started.append(time.monotonic())
            return started[-1] > started[0] + moment

        doing.append(kill(name, folder, is_time, draw.random() < 0.5))
        if doing[-1] == "ended":
            break
    try:
        if doing[-1] != "ended":
            complete(name, folder)
        return doing, differences(expected, results(folder))
    except (OSError, RuntimeError) as error:
        return doing, [str(error)]


def torture(configurations, trials, seed, folder):
    """Runs the trials; prints one line for each, and returns the number of failures.

    Args:
        configurations: list of names of `TRAININGS`, used in turn.
        trials: int.
        seed: int. Decides the number of kills and their moments.
        folder: Path of an empty folder.
    """
    draw = random.Random(seed)
    expected, seconds, failures = {}, {}, 0
    for name in configurations:
        (folder / name).mkdir()
        seconds[name] = complete(name, folder / name)
        expected[name] = results(folder / name)
        print(f"{name}: {seconds[name]:.1f} s, {len(expected[name])} results")
    for number in range(trials):
        name = configurations[number % len(configurations)]
        place = folder / f"{number}-{name}"
        doing, wrong = trial(name, expected[name], seconds[name], draw, place)
        failures += bool(wrong)
        print(
            f"{number + 1}/{trials} {name}, killed while {', '.join(doing)}: "
            + (f"DIFFERENT: {'; '.join(wrong[:8])}" if wrong else "equal"),
            flush=True,
        )
        if not wrong:
            shutil.rmtree(place)
    return failures


def main():
    """Runs the command line of this script."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("configurations", nargs="*", choices=[[], *TRAININGS])
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="torture-"))
    chosen = arguments.configurations or list(TRAININGS)
    failures = torture(chosen, arguments.trials, arguments.seed, folder)
    if failures:
        sys.exit(f"{failures} of {arguments.trials} trials failed, see {folder}.")
    shutil.rmtree(folder)
    print(f"All {arguments.trials} resumed trainings are equal to those not killed.")


if __name__ == "__main__":
    main()
