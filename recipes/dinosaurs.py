"""Generates dinosaur names with a regularised LSTM layer, trained on the built-in list.

    python recipes/dinosaurs.py
    python recipes/dinosaurs.py --resume --epochs 40

It takes about half a minute on two cores. The validation loss falls to 1.63 nats per
character. Some names: Moyolong, Yambersaurus, Boleniraptor.

90 % of the names are for training, the rest for validation. The recipe writes
dinosaurs.keras (the weights of the best epoch), dinosaurs.csv (the learning curve) and
dinosaurs.checkpoints (the state from which --resume continues).
"""

import argparse
import sys

import textgen

command = textgen.plain_exits()  # no traceback after Ctrl-C
keras = textgen.import_keras()  # without the start-up lines of TensorFlow

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--epochs", type=int, default=20, help="epochs in total")
parser.add_argument("--resume", action="store_true", help="continue the training")
parser.add_argument("--name", default="dinosaurs", help="name of the written files")
arguments = parser.parse_args()
name = arguments.name
try:
    checkpoints = textgen.Checkpoints(f"{name}.checkpoints", resume=arguments.resume)
except (OSError, ValueError) as error:
    parser.error(str(error))
checkpoints.how_to_resume = command

# The list is sorted: its last part is no fair sample, so lines are drawn at random.
keras.utils.set_random_seed(0)
corpus = textgen.load_corpus("dinosaurs")
text = corpus.lower()
train_names, validation_names = textgen.split_lines(text, 0.1)

# One name is one example: a start step, its letters, and the newline that ends it.
vocabulary = textgen.Vocabulary.from_text(text)
newline = vocabulary.ids["\n"]
train, validation = (
    textgen.LineDataset(vocabulary.encode("\n".join(part)), newline, batch_size=16)
    for part in (train_names, validation_names)
)

# The choice of `textgen train dinosaurs --lowercase --minutes 0.6`.
schedule = textgen.warmup_cosine(0.012, arguments.epochs * len(train))
if arguments.resume:
    model = textgen.load(checkpoints.last)
    model.optimizer.learning_rate = schedule
else:
    model = textgen.LanguageModel(
        vocabulary,
        units=192,
        embedding=27,
        layer_norm=True,
        dropout=0.5,
        weight_dropout=0.3,
        return_sequences=True,
    )
    # No name is empty, so the newline starts with a low probability. Without this, one
    # name in a hundred is empty.
    model.output_layer.bias.assign(-10.0 * vocabulary.one_hot([newline])[0])
    optimizer = keras.optimizers.AdamW(
        schedule, weight_decay=0.05, beta_2=0.99, global_clipnorm=1.0
    )
    model.compile(optimizer)
model.summary()
sample = textgen.SampleText(["", "ty", "mega"], temperatures=(0.5, 0.8))
curve = keras.callbacks.CSVLogger(f"{name}.csv", append=arguments.resume)
callbacks = [sample, curve, checkpoints]
model.fit(
    train, epochs=arguments.epochs, validation_data=validation, callbacks=callbacks
)

inventor = textgen.load(checkpoints.best).stripped()
score = inventor.score([each + "\n" for each in validation_names])
print(f"Validation: {score.nats:.4f} nats per character, {score.bits:.4f} bits")
inventor.notes = textgen.training_notes(
    "dinosaurs", corpus, seed=0, lowercase=True, held_out_nats=score.nats
)
inventor.save(f"{name}.keras")

known = train_names + validation_names
new = inventor.generate(count=20, temperature=0.8, exclude=known, seed=0)
print("\n20 names that are not in the list:")
print("\n".join(each.capitalize() for each in new))
print(f"\nMore names:\n  {sys.executable} -m textgen generate {name}.keras --count 20")
