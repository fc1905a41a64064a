"""Invents dinosaur names with a SimpleRNN, trained on the built-in list of names.

    python recipes/dinosaurs.py

About half a minute on two cores. The validation loss ends near 1.8 nats a character;
names such as Tarosaurus, Ganthosaurus and Lirotops come out. Leaves dinosaurs.keras
and the training curve dinosaurs.csv in the current folder.
"""

import argparse
import random
import sys

import keras

import textgen

CORPUS = "dinosaurs"
UNITS = 128
DROPOUT = 0.3
EPOCHS = 15
BATCH_SIZE = 16
LEARNING_RATE = 2e-3
CLIP_VALUE = 5.0
VALIDATION = 0.1
SEED = 0
NAMES = 20

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--epochs", type=int, default=EPOCHS)
parser.add_argument("--output", default="dinosaurs.keras")
parser.add_argument("--log", default="dinosaurs.csv")
arguments = parser.parse_args()

# The list is sorted, so its end is no fair sample: shuffle the names, then split them.
keras.utils.set_random_seed(SEED)
names = textgen.load_corpus(CORPUS, lowercase=True).splitlines()
shuffled = random.Random(SEED).sample(names, len(names))
train_names, validation_names = textgen.split(shuffled, VALIDATION)

# One name is one example: a start step, then its letters; the newline ends it.
vocabulary = textgen.Vocabulary.from_text("\n".join(names))
train, validation = (
    textgen.LineDataset(
        vocabulary.encode("\n".join(part)),
        end_of_line=vocabulary.ids["\n"],
        batch_size=BATCH_SIZE,
        seed=SEED,
    )
    for part in (train_names, validation_names)
)

model = textgen.LanguageModel(
    vocabulary,
    cell="simple_rnn",
    units=UNITS,
    dropout=DROPOUT,
    return_sequences=True,
)
model.summary()
model.compile(keras.optimizers.Adam(LEARNING_RATE, clipvalue=CLIP_VALUE))
model.fit(
    train,
    epochs=arguments.epochs,
    validation_data=validation,
    callbacks=[
        textgen.SampleText(["", "ty", "mega"], temperatures=0.8, stop="\n"),
        keras.callbacks.CSVLogger(arguments.log),
    ],
)
model.save(arguments.output)

# More than asked for are written, since some will be names that exist.
written = model.generate(
    count=10 * NAMES, max_new_tokens=40, temperature=0.8, stop="\n", seed=SEED
)
known = {"", *names}
new = list(dict.fromkeys(name for name in written if name not in known))
print(f"\n{NAMES} names that are not in the list:")
print("\n".join(name.capitalize() for name in new[:NAMES]))
print(f"\nThe model is {arguments.output}, its curve {arguments.log}. For more names:")
print(
    f"  {sys.executable} -m textgen generate {arguments.output} --count 20 --stop '\\n'"
)
