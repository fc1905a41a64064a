"""Writes plays: a wide LSTM on tinyshakespeare, well regularised, in 45 minutes.

    python recipes/tinyshakespeare.py

An epoch takes about a minute on two free cores, and there are 27. The validation loss
is 1.83 nats a character after the first, 1.47 after the eighth, and 1.41 at the end,
when it writes lines such as these (temperature 0.8):

    BRUTUS:
    Death, wife, you beseech you?

    Second Citizen:
    The duke and my son's life, steel for your sway:

Trains on the first 90 % and validates on the last 10 %, after every epoch and, at the
end, with the state carried through all of it and every character counted. The best
weights of all epochs are kept. Leaves tinyshakespeare.keras, the curve
tinyshakespeare.csv, and the folder tinyshakespeare.checkpoints, from which --resume
goes on.
"""

import argparse
import sys
from pathlib import Path

import keras

import textgen

CORPUS = "tinyshakespeare"
UNITS = (512,)
EMBEDDING = 64
DROPOUT = 0.4
WEIGHT_DROPOUT = 0.25
SEQUENCE_LENGTH = 64
BATCH_SIZE = 32
LEARNING_RATE = 3e-3
WARMUP_STEPS = 200
CLIP_NORM = 1.0
WEIGHT_DECAY = 1e-2
EPOCHS = 27
VALIDATION = 0.1
SEED = 0
PROMPT = "ROMEO:\n"

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--epochs", type=int, default=EPOCHS, help="of the whole training")
parser.add_argument("--precision", default="float32", help="mixed_bfloat16, say")
parser.add_argument("--resume", action="store_true", help="go on where it stopped")
parser.add_argument("--output", default="tinyshakespeare.keras")
parser.add_argument("--log", default="tinyshakespeare.csv")
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
text = textgen.load_corpus(CORPUS)
vocabulary = textgen.Vocabulary.from_text(text)
train_ids, validation_ids = textgen.split(vocabulary.encode(text), VALIDATION)
train = textgen.SequenceDataset(
    train_ids, SEQUENCE_LENGTH, BATCH_SIZE, sampling="consecutive", seed=SEED
)
# In fewer rows, since the state of each begins at zero.
validation = textgen.SequenceDataset(
    validation_ids, 512, batch_size=8, sampling="consecutive", random_offset=False
)

steps = arguments.epochs * len(train)
warmup_steps = min(WARMUP_STEPS, steps // 10)
schedule = keras.optimizers.schedules.CosineDecay(
    0.0,
    steps - warmup_steps,
    warmup_target=LEARNING_RATE,
    warmup_steps=warmup_steps,
)

if arguments.resume:
    model = textgen.load(checkpoints.last)
    model.optimizer.learning_rate = schedule  # for as many epochs as are asked for now
else:
    model = textgen.LanguageModel(
        vocabulary,
        cell="lstm",
        units=UNITS,
        embedding=EMBEDDING,
        dropout=DROPOUT,
        weight_dropout=WEIGHT_DROPOUT,
        return_sequences=True,
        stateful=True,
        batch_size=BATCH_SIZE,
        dtype=arguments.precision,
    )
    model.compile(
        keras.optimizers.AdamW(
            schedule, weight_decay=WEIGHT_DECAY, beta_2=0.99, global_clipnorm=CLIP_NORM
        )
    )
model.summary()
model.fit(
    train,
    initial_epoch=checkpoints.epoch,
    epochs=arguments.epochs,
    validation_data=validation,
    callbacks=[
        textgen.SampleText(PROMPT, temperatures=(0.5, 0.8, 1.0)),
        keras.callbacks.CSVLogger(arguments.log, append=arguments.resume),
        checkpoints,
    ],
)

# What is kept is for writing: the best weights in full precision, no optimizer, no
# carried states.
poet = textgen.load(checkpoints.best).stripped()
poet.save(arguments.output)
score = poet.score(vocabulary.decode(validation_ids))
print(f"Validation: {score.nats:.4f} nats a character, {score.bits:.4f} bits")

print(poet.generate(PROMPT, max_new_tokens=400, temperature=0.8, seed=SEED))
print(f"\nThe model is {arguments.output}, its curve {arguments.log}. To write more:")
print(f"  {sys.executable} -m textgen generate {arguments.output} --prompt 'ROMEO:'")
