"""Generates sonnets with a wide LSTM layer that was trained on the plays first.

    python recipes/sonnets-large.py

Trains the pretrained model "tinyshakespeare" on the lower-cased Sonnets: 10 epochs,
about a minute on two cores. The validation loss is 1.37 nats per character after the
first epoch and 1.33 at the end; without the plays it is 1.75. The plays contain no line
of the Sonnets.

The first 90 % of the text is for training, the rest for validation. The recipe writes
sonnets-large.keras (the weights of the best epoch), sonnets-large.csv (the learning
curve) and sonnets-large.checkpoints (the state from which --resume continues).
"""

import argparse
import sys

import textgen

command = textgen.plain_exits()  # no traceback after Ctrl-C
keras = textgen.import_keras()  # without the start-up lines of TensorFlow

PROMPT = "Shall I compare thee "

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--epochs", type=int, default=10, help="epochs in total")
parser.add_argument("--resume", action="store_true", help="continue the training")
parser.add_argument("--name", default="sonnets-large", help="name of the files")
arguments = parser.parse_args()
name = arguments.name
try:
    checkpoints = textgen.Checkpoints(f"{name}.checkpoints", resume=arguments.resume)
except (OSError, ValueError) as error:
    parser.error(str(error))
checkpoints.how_to_resume = command

keras.utils.set_random_seed(0)
text = textgen.load_corpus("shakespeare")
vocabulary = textgen.Vocabulary.from_text(text.lower())
train_ids, validation_ids = textgen.split(vocabulary.encode(text.lower()), 0.1)
train = textgen.SequenceDataset(train_ids, 64, batch_size=16, sampling="consecutive")
validation = textgen.SequenceDataset(
    validation_ids, 256, batch_size=4, sampling="consecutive", random_offset=False
)

schedule = textgen.warmup_cosine(1e-3, arguments.epochs * len(train))
if arguments.resume:
    model = textgen.load(checkpoints.last)
    model.optimizer.learning_rate = schedule
else:
    # Each symbol keeps its weights; brackets, which the plays lack, start as commas.
    model = textgen.load("tinyshakespeare").with_vocabulary(
        vocabulary,
        like={"(": ",", ")": ","},
        drop_symbols=True,  # the capital letters
        dropout=0.4,
        weight_dropout=0.25,
        stateful=True,
        batch_size=16,
    )
    optimizer = keras.optimizers.AdamW(
        schedule, weight_decay=1e-2, beta_2=0.99, global_clipnorm=1.0
    )
    model.compile(optimizer)
sample = textgen.SampleText(PROMPT, temperatures=(0.5, 0.8, 1.0))
curve = keras.callbacks.CSVLogger(f"{name}.csv", append=arguments.resume)
callbacks = [sample, curve, checkpoints]
model.fit(
    train, epochs=arguments.epochs, validation_data=validation, callbacks=callbacks
)

poet = textgen.load(checkpoints.best).stripped()
score = poet.score(vocabulary.decode(validation_ids))
print(f"Validation: {score.nats:.4f} nats per character, {score.bits:.4f} bits")
poet.notes = textgen.training_notes(
    "shakespeare", text, seed=0, lowercase=True, held_out_nats=score.nats
)
poet.save(f"{name}.keras")

print(poet.generate(PROMPT, max_lines=14, temperature=0.8, seed=0))
print("\nMore sonnets:")
print(f"  {sys.executable} -m textgen generate {name}.keras --prompt '{PROMPT}'")
