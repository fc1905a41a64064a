"""Writes Chinese regulated verse: an LSTM with tied character vectors.

    python recipes/tang-poems.py
    python recipes/tang-poems.py --prompt 明月松间照

5,387 symbols, one couplet a line. An epoch takes two to four minutes on two cores, and
there are 12. The validation perplexity is 118 after the second, 82 after the fifth and
72.8 after the last; that of the model is 75.9. It writes lines such as these
(temperature 0.8):

    床前明月光，高卧夜无声。
    何处云中夜，何由得一杯。
    岸河山色远，沙碛水云新。

Trains on the first 90 % of the text, validates on the last 10 %, and keeps the weights
of the epoch that does best on it. These then learn for a minute how a text begins.
Leaves tang-poems.keras, the curve tang-poems.csv,
and the folder tang-poems.checkpoints, from which --resume goes on.
"""

import argparse
import shlex
import sys
from pathlib import Path

import keras

import textgen

CORPUS = "tang-poems"
UNITS = (512,)
DROPOUT = 0.5
WEIGHT_DROPOUT = 0.25
SEQUENCE_LENGTH = 64
BATCH_SIZE = 32
LEARNING_RATE = 2e-3
WARMUP_STEPS = 200
CLIP_NORM = 1.0
WEIGHT_DECAY = 1e-2
EPOCHS = 12
COUPLET_LENGTH = 17  # two halves of seven, comma, full stop, newline
COUPLETS = 64  # in a batch
COUPLET_STEPS = 400
COUPLET_LEARNING_RATE = 5e-4
VALIDATION = 0.1
SEED = 0
PROMPT = "床前明月光，"

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--epochs", type=int, default=EPOCHS, help="of the whole training")
parser.add_argument("--prompt", default=PROMPT, help="what samples begin with")
parser.add_argument("--resume", action="store_true", help="go on where it stopped")
parser.add_argument("--output", default="tang-poems.keras")
parser.add_argument("--log", default="tang-poems.csv")
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
print(f"{len(text):,} characters, {len(vocabulary):,} symbols")
# A poem has several couplets, so the state is carried from line to line.
train = textgen.SequenceDataset(
    train_ids, SEQUENCE_LENGTH, BATCH_SIZE, sampling="consecutive", seed=SEED
)
# In fewer rows, since the state of each begins at zero.
validation = textgen.SequenceDataset(
    validation_ids, 256, batch_size=8, sampling="consecutive", random_offset=False
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
    # Most characters are rare: a vector for each has to do as input and as output.
    model = textgen.LanguageModel(
        vocabulary,
        cell="lstm",
        units=UNITS,
        embedding=UNITS[-1],
        tie_weights=True,
        dropout=DROPOUT,
        weight_dropout=WEIGHT_DROPOUT,
        return_sequences=True,
        stateful=True,
        batch_size=BATCH_SIZE,
    )
    model.compile(
        keras.optimizers.AdamW(
            schedule, weight_decay=WEIGHT_DECAY, beta_2=0.99, global_clipnorm=CLIP_NORM
        ),
        metrics=[textgen.Perplexity()],
    )
model.summary()
model.fit(
    train,
    initial_epoch=checkpoints.epoch,
    epochs=arguments.epochs,
    validation_data=validation,
    callbacks=[
        textgen.SampleText(
            arguments.prompt, temperatures=(0.5, 0.8, 1.0), max_new_tokens=60
        ),
        keras.callbacks.CSVLogger(arguments.log, append=arguments.resume),
        checkpoints,
    ],
)

# With the state carried from line to line, nothing ever began: the best weights know
# how to go on, and not how to start. They learn that from couplets of their own, after
# the start step, and forget a little of the longer context.
keras.utils.set_random_seed(SEED)
couplets = textgen.LineDataset(
    train_ids, vocabulary.ids["\n"], COUPLET_LENGTH, COUPLETS, seed=SEED
)
steps = min(COUPLET_STEPS, len(couplets))
starter = textgen.load(checkpoints.best).stripped()
starter.compile(
    keras.optimizers.Adam(
        keras.optimizers.schedules.CosineDecay(COUPLET_LEARNING_RATE, steps),
        global_clipnorm=CLIP_NORM,
    )
)
starter.fit(couplets, steps_per_epoch=steps)

# What is kept is for writing: no optimizer, no carried states.
poet = starter.stripped()
poet.end_token = None  # a poem has several couplets
poet.save(arguments.output)
score = poet.score(vocabulary.decode(validation_ids))
print(f"Validation: {score.nats:.4f} nats, perplexity {score.perplexity:.2f}")

for line in poet.generate(
    arguments.prompt, count=3, max_lines=4, temperature=0.8, seed=SEED
):
    print(line, end="\n\n")
print(f"The model is {arguments.output}, its curve {arguments.log}. To write more:")
more = ["generate", arguments.output, "--prompt", arguments.prompt, "--max-lines", "4"]
print(f"  {sys.executable} -m textgen {shlex.join(more)}")
