"""Trains the model of the courses on windows of tinyshakespeare, for `train.py`.

    python benchmarks/course.py textgen|plain [--batches 250] [--windows N]

Windows of 40, stride 3, one-hot, LSTM 2 x 128, batch 128. `plain` is the method of
the notebooks: complete one-hot arrays and Keras layers. The last line of the output is
JSON: the seconds of the batches (without the first, which compiles), and the peak
memory of the process in MB.
"""

import argparse
import json
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras

import textgen

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument(
    "way",
    choices=["textgen", "plain"],
    help="textgen's dataset and layers, or one-hot arrays and Keras layers",
)
parser.add_argument("--batches", type=int, default=250, help="number of batches")
parser.add_argument(
    "--windows", type=int, default=100_000, help="maximum number of windows"
)
arguments = parser.parse_args()

text = textgen.load_corpus("tinyshakespeare")
vocabulary = textgen.Vocabulary.from_text(text)
ids = vocabulary.encode(text)[: 40 + 3 * arguments.windows]

starts: list[float] = []
clock = keras.callbacks.LambdaCallback(
    on_train_batch_end=lambda batch, logs: starts.append(time.perf_counter())
)
options = {"verbose": 0, "steps_per_epoch": arguments.batches, "callbacks": [clock]}
if arguments.way == "textgen":
    model = textgen.LanguageModel(vocabulary, units=(128, 128))
    model.compile(keras.optimizers.Adam(1e-3, clipvalue=5.0))
    model.fit(textgen.WindowDataset(ids), **options)
else:
    x, y = textgen.vectorize(ids, len(vocabulary))
    model = keras.Sequential(
        [
            keras.Input((40, len(vocabulary))),
            keras.layers.LSTM(128, return_sequences=True),
            keras.layers.LSTM(128),
            keras.layers.Dense(len(vocabulary), activation="softmax"),
        ]
    )
    model.compile(
        keras.optimizers.Adam(1e-3, clipvalue=5.0), "categorical_crossentropy"
    )
    model.fit(x, y, batch_size=128, **options)
# Not getrusage: its peak starts with that of the parent process.
[kilobytes] = [
    int(line.split()[1])
    for line in Path("/proc/self/status").read_text().splitlines()
    if line.startswith("VmHWM")
]
print(json.dumps({"seconds": starts[-1] - starts[0], "peak_mb": kilobytes / 1000}))
