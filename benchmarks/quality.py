"""Trains on tinyshakespeare for 130 seconds of the process, for `train.py`.

    python benchmarks/quality.py [--started SECONDS] [--seconds 130]

Trains on the first 90 % of the text. The time starts at `--started`, or at the start
of this script, and includes imports and compilation. Learning rate and end depend on
the time, so a slower machine does fewer steps. The validation loss is measured
afterwards, on every character of the last 10 %, with the state carried through the
text. The last line of the output is JSON.
"""

import time

STARTED = time.time()

import argparse
import json
import math
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras

import textgen

UNITS = 512
EMBEDDING = 64
BATCH_SIZE = 32
SEQUENCE_LENGTH = 32  # short: updates matter more than characters here
LEARNING_RATE = 4e-3
WARMUP = 0.03  # share of the time


class ByTheClock(keras.callbacks.Callback):
    """Learning-rate schedule by time, warm-up and cosine decay; ends the training."""

    def __init__(self, started: float, seconds: float) -> None:
        super().__init__()
        self.started, self.seconds = started, seconds
        self.steps = 0

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        """Sets the learning rate."""
        spent = (time.time() - self.started) / self.seconds
        rate = 0.5 * (1 + math.cos(math.pi * min(1.0, spent)))
        rate = LEARNING_RATE * min(1.0, spent / WARMUP) * max(rate, 0.02)
        self.model.optimizer.learning_rate = rate

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Ends the training if another step would take too long."""
        self.steps += 1
        # The next step must end in time, too.
        each = (time.time() - self.started) / (self.steps + 1)
        if time.time() - self.started + each > self.seconds:
            self.model.stop_training = True


parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument(
    "--started",
    type=float,
    default=STARTED,
    help="start of the time, as time.time() returns it (default: now)",
)
parser.add_argument("--seconds", type=float, default=130.0, help="time for training")
arguments = parser.parse_args()

keras.utils.set_random_seed(0)
text = textgen.load_corpus("tinyshakespeare")
vocabulary = textgen.Vocabulary.from_text(text)
train_ids, validation_ids = textgen.split(vocabulary.encode(text), 0.1)
train = textgen.SequenceDataset(
    train_ids, SEQUENCE_LENGTH, BATCH_SIZE, sampling="consecutive"
)
model = textgen.LanguageModel(
    vocabulary,
    units=UNITS,
    embedding=EMBEDDING,
    return_sequences=True,
    stateful=True,
    batch_size=BATCH_SIZE,
)
model.compile(keras.optimizers.Adam(LEARNING_RATE, beta_2=0.99, global_clipnorm=1.0))
clock = ByTheClock(arguments.started, arguments.seconds)
model.fit(train, epochs=1000, verbose=0, callbacks=[clock])
seconds = time.time() - arguments.started

validation_loss = model.score(vocabulary.decode(validation_ids)).nats
characters = clock.steps * BATCH_SIZE * SEQUENCE_LENGTH
print(
    json.dumps(
        {
            "seconds": seconds,
            "characters": characters,
            "validation_loss": validation_loss,
        }
    )
)
