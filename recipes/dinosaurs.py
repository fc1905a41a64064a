"""Invents dinosaur names with two GRUs, trained on the built-in list of names.

    python recipes/dinosaurs.py
    python recipes/dinosaurs.py --resume --epochs 40

About half a minute on two cores. The validation loss falls to 1.68 nats a character;
names such as Rilgosaurus, Amerosaurus and Hankulong come out. Trains on nine names of
ten, validates on the tenth, and keeps the weights of the epoch that does best on it.
Leaves dinosaurs.keras, the training curve dinosaurs.csv, and the folder
dinosaurs.checkpoints, from which --resume goes on.
"""

import argparse
import sys
from pathlib import Path

import keras

import textgen

CORPUS = "dinosaurs"
CELL = "gru"
UNITS = (128, 128)
DROPOUT = 0.4
EPOCHS = 20
BATCH_SIZE = 16
LEARNING_RATE = 2e-3
CLIP_VALUE = 5.0
VALIDATION = 0.1
SEED = 0
NAMES = 20

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--epochs", type=int, default=EPOCHS, help="of the whole training")
parser.add_argument("--resume", action="store_true", help="go on where it stopped")
parser.add_argument("--output", default="dinosaurs.keras")
parser.add_argument("--log", default="dinosaurs.csv")
arguments = parser.parse_args()
if Path(arguments.output).suffix != ".keras":
    parser.error(f"--output {arguments.output} must end in .keras")
try:
    checkpoints = textgen.Checkpoints(
        Path(arguments.output).with_suffix(".checkpoints"), arguments.resume
    )
except (OSError, ValueError) as error:
    parser.error(str(error))

# The list is sorted, so that its end is no fair sample: lines are drawn at random.
keras.utils.set_random_seed(SEED)
text = textgen.load_corpus(CORPUS, lowercase=True)
train_names, validation_names = textgen.split_lines(text, VALIDATION, SEED)

# One name is one example: a start step, then its letters; the newline ends it.
vocabulary = textgen.Vocabulary.from_text(text)
end_of_line = vocabulary.ids["\n"]
train, validation = (
    textgen.LineDataset(
        vocabulary.encode("\n".join(part)),
        end_of_line,
        batch_size=BATCH_SIZE,
        seed=SEED,
    )
    for part in (train_names, validation_names)
)

if arguments.resume:
    model = textgen.load(checkpoints.last)
else:
    model = textgen.LanguageModel(
        vocabulary,
        cell=CELL,
        units=UNITS,
        dropout=DROPOUT,
        return_sequences=True,
    )
    # No name is empty: the newline begins as improbable. Training alone leaves one name
    # of a hundred empty.
    model.output_layer.bias.assign(-10.0 * vocabulary.one_hot([end_of_line])[0])
    model.compile(keras.optimizers.Adam(LEARNING_RATE, clipvalue=CLIP_VALUE))
model.summary()
model.fit(
    train,
    initial_epoch=checkpoints.epoch,
    epochs=arguments.epochs,
    validation_data=validation,
    callbacks=[
        textgen.SampleText(["", "ty", "mega"], temperatures=(0.5, 0.8)),
        keras.callbacks.CSVLogger(arguments.log, append=arguments.resume),
        checkpoints,
    ],
)

# What is kept is for writing: the best weights, and no optimizer.
inventor = textgen.load(checkpoints.best).stripped()
inventor.save(arguments.output)
score = inventor.score([name + "\n" for name in validation_names])
print(f"Validation: {score.nats:.4f} nats a character, {score.bits:.4f} bits")

new = inventor.generate(
    count=NAMES,
    temperature=0.8,
    seed=SEED,
    exclude=train_names + validation_names,
)
print(f"\n{NAMES} names that are not in the list:")
print("\n".join(name.capitalize() for name in new))
print(f"\nThe model is {arguments.output}, its curve {arguments.log}. For more names:")
print(f"  {sys.executable} -m textgen generate {arguments.output} --count 20")
