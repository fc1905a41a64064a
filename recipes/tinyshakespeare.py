"""Generates plays with a wide, regularised LSTM layer, trained on tinyshakespeare.

    python recipes/tinyshakespeare.py
    python recipes/tinyshakespeare.py --resume --epochs 40

27 epochs of about one minute on two free cores. The validation loss is 1.83 nats per
character after the first epoch, 1.47 after the eighth, and 1.41 at the end. A sample
(temperature 0.8):

    BRUTUS:
    Death, wife, you beseech you?

    Second Citizen:
    The duke and my son's life, steel for your sway:

The first 90 % of the text is for training, the rest for validation. The recipe writes
tinyshakespeare.keras (the weights of the best epoch), tinyshakespeare.csv (the learning
curve) and tinyshakespeare.checkpoints (the state from which --resume continues).
"""

import argparse
import sys

import textgen

command = textgen.plain_exits()  # no traceback after Ctrl-C
keras = textgen.import_keras()  # without the start-up lines of TensorFlow

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--epochs", type=int, default=27, help="epochs in total")
parser.add_argument("--precision", default="float32", help="or mixed_bfloat16, …")
parser.add_argument("--resume", action="store_true", help="continue the training")
parser.add_argument("--name", default="tinyshakespeare", help="name of the files")
arguments = parser.parse_args()
name = arguments.name
try:
    checkpoints = textgen.Checkpoints(f"{name}.checkpoints", resume=arguments.resume)
except (OSError, ValueError) as error:
    parser.error(str(error))
checkpoints.how_to_resume = command

keras.utils.set_random_seed(0)
text = textgen.load_corpus("tinyshakespeare")
vocabulary = textgen.Vocabulary.from_text(text)
train_ids, validation_ids = textgen.split(vocabulary.encode(text), 0.1)
train = textgen.SequenceDataset(train_ids, 64, batch_size=32, sampling="consecutive")
# Fewer rows: the state of each row starts at zero.
validation = textgen.SequenceDataset(
    validation_ids, 512, batch_size=8, sampling="consecutive", random_offset=False
)

schedule = textgen.warmup_cosine(3e-3, arguments.epochs * len(train))
if arguments.resume:
    model = textgen.load(checkpoints.last)
    model.optimizer.learning_rate = schedule
else:
    model = textgen.LanguageModel(
        vocabulary,
        units=512,
        embedding=64,
        dropout=0.4,
        weight_dropout=0.25,
        return_sequences=True,
        stateful=True,
        batch_size=32,
        dtype=arguments.precision,
    )
    optimizer = keras.optimizers.AdamW(
        schedule, weight_decay=1e-2, beta_2=0.99, global_clipnorm=1.0
    )
    model.compile(optimizer)
model.summary()
sample = textgen.SampleText("ROMEO:\n", temperatures=(0.5, 0.8, 1.0))
curve = keras.callbacks.CSVLogger(f"{name}.csv", append=arguments.resume)
callbacks = [sample, curve, checkpoints]
model.fit(
    train, epochs=arguments.epochs, validation_data=validation, callbacks=callbacks
)

poet = textgen.load(checkpoints.best).stripped()
score = poet.score(vocabulary.decode(validation_ids))
print(f"Validation: {score.nats:.4f} nats per character, {score.bits:.4f} bits")
poet.notes = textgen.training_notes(
    "tinyshakespeare", text, 0, held_out_nats=score.nats
)
poet.save(f"{name}.keras")

print(poet.generate("ROMEO:\n", temperature=0.8, seed=0))
print("\nMore scenes:")
print(f"  {sys.executable} -m textgen generate {name}.keras --prompt 'ROMEO:'")
