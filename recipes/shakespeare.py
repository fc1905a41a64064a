"""Writes sonnets with two stacked LSTMs, as the course notebook does.

    python recipes/shakespeare.py
    python recipes/shakespeare.py --resume --epochs 80

Windows of 40 characters, stride 3, one-hot, LSTM(128), dropout 0.5, LSTM(128), dropout
0.5, Adam. There are 40 epochs, each of about a quarter of a minute on two cores. The
validation loss is 2.14 nats a character after 5 of them, and lowest, 1.79, after 30,
when it writes lines such as these (temperature 0.5):

    Shall I compare thee thee,
    and then the wert my beauty's beauty day,
    and to the sore the will think in the precesing,

Trains on the first 90 % of the Sonnets, validates on the rest, and keeps the weights of
the epoch that does best on it; with --all, trains on the notebook's 31,412 windows, and
keeps those of the lowest training loss. Leaves shakespeare.keras, the curve
shakespeare.csv, and the folder shakespeare.checkpoints, from which --resume goes on.
"""

import argparse
import sys
from pathlib import Path

import keras

import textgen

CORPUS = "shakespeare"
SEQUENCE_LENGTH = 40
SEQUENCE_STRIDE = 3
BATCH_SIZE = 128
UNITS = (128, 128)
DROPOUT = 0.5
LEARNING_RATE = 1e-3
CLIP_VALUE = 5.0
EPOCHS = 40
VALIDATION = 0.1
SEED = 0
PROMPT = "Forsooth this maketh no sense "

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--epochs", type=int, default=EPOCHS, help="of the whole training")
parser.add_argument("--all", action="store_true", help="train on the whole text")
parser.add_argument("--resume", action="store_true", help="go on where it stopped")
parser.add_argument("--output", default="shakespeare.keras")
parser.add_argument("--log", default="shakespeare.csv")
arguments = parser.parse_args()
if Path(arguments.output).suffix != ".keras":
    parser.error(f"--output {arguments.output} must end in .keras")
try:
    checkpoints = textgen.Checkpoints(
        Path(arguments.output).with_suffix(".checkpoints"), arguments.resume
    )
except (OSError, ValueError) as error:
    parser.error(str(error))

keras.utils.set_random_seed(SEED)
text = textgen.load_corpus(CORPUS, lowercase=True)
vocabulary = textgen.Vocabulary.from_text(text)
train_text, validation_text = textgen.split(text, VALIDATION)
if arguments.all:
    train_text = text
train, validation = (
    textgen.WindowDataset(
        vocabulary.encode(part), SEQUENCE_LENGTH, SEQUENCE_STRIDE, BATCH_SIZE, seed=SEED
    )
    for part in (train_text, validation_text)
)
print(f"{train.num_examples:,} windows, {len(vocabulary)} symbols")

if arguments.resume:
    model = textgen.load(checkpoints.last)
else:
    model = textgen.LanguageModel(
        vocabulary,
        cell="lstm",
        units=UNITS,
        dropout=DROPOUT,
        sequence_length=SEQUENCE_LENGTH,
    )
    model.compile(keras.optimizers.Adam(LEARNING_RATE, clipvalue=CLIP_VALUE))
model.summary()
model.fit(
    train,
    initial_epoch=checkpoints.epoch,
    epochs=arguments.epochs,
    validation_data=None if arguments.all else validation,
    callbacks=[
        textgen.SampleText(PROMPT, temperatures=(0.5, 0.8, 1.0)),
        keras.callbacks.CSVLogger(arguments.log, append=arguments.resume),
        checkpoints,
    ],
)

# What is kept is for writing: the best weights, and no optimizer.
poet = textgen.load(checkpoints.best).stripped()
poet.save(arguments.output)
score = poet.score(validation_text)
print(f"Last tenth: {score.nats:.4f} nats a character, {score.bits:.4f} bits")

print(poet.generate(PROMPT, max_new_tokens=400, temperature=0.7, seed=SEED))
print(f"\nThe model is {arguments.output}, its curve {arguments.log}. To write more:")
print(f"  {sys.executable} -m textgen generate {arguments.output} --prompt '{PROMPT}'")
