"""Writes sonnets with two stacked LSTMs, as the course notebook does.

    python recipes/shakespeare.py
    python recipes/shakespeare.py --resume shakespeare.keras --epochs 10

Windows of 40 characters, stride 3, one-hot, LSTM(128), dropout 0.5, LSTM(128), dropout
0.5, Adam. An epoch takes about a quarter of a minute on two cores. The training loss is
2.28 nats after 5 epochs and 1.69 after 30, when it writes lines such as these:

    shall i compare thee,
    and thene the love that that the praase stall my wert,
    that thou heart with love of stell be thee,

Trains on the first 90 % of the Sonnets and validates on the rest; with --all, on the
notebook's 31,412 windows. Leaves shakespeare.keras and the curve shakespeare.csv.
"""

import argparse
import sys

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
EPOCHS = 60
VALIDATION = 0.1
SEED = 0
PROMPT = "Forsooth this maketh no sense "

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--epochs", type=int, default=EPOCHS, help="epochs to train")
parser.add_argument("--all", action="store_true", help="train on the whole text")
parser.add_argument("--resume", metavar="MODEL", help="go on from this model")
parser.add_argument("--output", default="shakespeare.keras")
parser.add_argument("--log", default="shakespeare.csv")
arguments = parser.parse_args()

keras.utils.set_random_seed(SEED)
text = textgen.load_corpus(CORPUS, lowercase=True)
train_text, validation_text = textgen.split(text, VALIDATION)
if arguments.all:
    train_text = text

if arguments.resume:
    # The file holds vocabulary, weights and the state of Adam.
    model = textgen.load(arguments.resume)
    vocabulary = model.vocabulary
else:
    vocabulary = textgen.Vocabulary.from_text(text)
    model = textgen.LanguageModel(
        vocabulary,
        cell="lstm",
        units=UNITS,
        dropout=DROPOUT,
        sequence_length=SEQUENCE_LENGTH,
    )
    model.compile(keras.optimizers.Adam(LEARNING_RATE, clipvalue=CLIP_VALUE))
model.summary()

train, validation = (
    textgen.WindowDataset(
        vocabulary.encode(part), SEQUENCE_LENGTH, SEQUENCE_STRIDE, BATCH_SIZE, seed=SEED
    )
    for part in (train_text, validation_text)
)
print(f"{train.num_examples:,} windows, {len(vocabulary)} symbols")
# A resumed training goes on with the epochs after those that are done.
done = round(int(model.optimizer.iterations) / len(train))
model.fit(
    train,
    initial_epoch=done,
    epochs=done + arguments.epochs,
    validation_data=None if arguments.all else validation,
    callbacks=[
        textgen.SampleText(PROMPT, temperatures=(0.5, 1.0)),
        keras.callbacks.CSVLogger(arguments.log, append=bool(arguments.resume)),
    ],
)
model.save(arguments.output)

print(model.generate(PROMPT, max_new_tokens=400, temperature=0.7, seed=SEED))
print(f"\nThe model is {arguments.output}, its curve {arguments.log}. To write more:")
print(f"  {sys.executable} -m textgen generate {arguments.output} --prompt '{PROMPT}'")
