"""Writes with words in place of characters: a word-level LSTM, on plays or any text.

    python recipes/words.py
    python recipes/words.py novel.txt --prompt "It was a "

Words, spaces, newlines and punctuation marks are the symbols, so a text comes out as
it went in; what is rarer than the 4,999 most frequent of them is �. An epoch of the
plays takes a minute on two cores, and there are 8. The validation perplexity, of words
and marks alike, is 23.2 after the first and 17.1 at the end, when it writes lines such
as these (temperature 0.8):

    First Gentleman:
    What will he more happiness shall be hear you from the
    answer to the enemy.

Trains on the first 90 % of the text, validates on the last 10 %, and keeps the weights
of the epoch that does best on it. Leaves words.keras, the curve words.csv, and the
folder words.checkpoints, from which --resume goes on.
"""

import argparse
import shlex
import sys
from pathlib import Path

import keras

import textgen

CORPUS = "tinyshakespeare"
VOCABULARY_SIZE = 5_000
UNKNOWN = "\ufffd"
UNITS = (256,)
DROPOUT = 0.5
WEIGHT_DROPOUT = 0.3
SEQUENCE_LENGTH = 32
BATCH_SIZE = 32
LEARNING_RATE = 3e-3
WARMUP_STEPS = 200
CLIP_NORM = 1.0
WEIGHT_DECAY = 1e-2
EPOCHS = 8
VALIDATION = 0.1
SEED = 0
PROMPT = "ROMEO:\n"

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("corpus", nargs="?", default=CORPUS, help="text file or known name")
parser.add_argument("--encoding", default="utf-8", help="of the text file")
parser.add_argument("--prompt", default=PROMPT, help="what samples begin with")
parser.add_argument("--epochs", type=int, default=EPOCHS, help="of the whole training")
parser.add_argument("--resume", action="store_true", help="go on where it stopped")
parser.add_argument("--output", default="words.keras")
parser.add_argument("--log", default="words.csv")
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
text = textgen.load_corpus(arguments.corpus, encoding=arguments.encoding)
vocabulary = textgen.Vocabulary.from_text(
    text, level="word", max_size=VOCABULARY_SIZE, unknown=UNKNOWN
)
# Ids are split and not the text, which could be cut within a word.
ids = vocabulary.encode(text)
train_ids, validation_ids = textgen.split(ids, VALIDATION)
stands_in = (ids == vocabulary.ids[UNKNOWN]).mean()
print(
    f"{len(ids):,} words and marks, {len(vocabulary):,} symbols, {stands_in:.1%} �; "
    f"{len(text) / len(ids):.2f} characters each"
)
train = textgen.SequenceDataset(
    train_ids, SEQUENCE_LENGTH, BATCH_SIZE, sampling="consecutive", seed=SEED
)
# In fewer rows, since the state of each begins at zero.
validation = textgen.SequenceDataset(
    validation_ids, 128, batch_size=8, sampling="consecutive", random_offset=False
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
    if model.vocabulary != vocabulary:
        parser.error(f"{checkpoints.last} learned another text than {arguments.corpus}")
    model.optimizer.learning_rate = schedule  # for as many epochs as are asked for now
else:
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
            arguments.prompt, temperatures=(0.5, 0.8, 1.0), max_new_tokens=80
        ),
        keras.callbacks.CSVLogger(arguments.log, append=arguments.resume),
        checkpoints,
    ],
)

# What is kept is for writing: the best weights, no optimizer, no carried states.
writer = textgen.load(checkpoints.best).stripped()
writer.save(arguments.output)
score = writer.score(vocabulary.decode(validation_ids))
print(f"Validation: {score.nats:.4f} nats a symbol, perplexity {score.perplexity:.2f}")

print(
    writer.generate(
        arguments.prompt, 200, temperature=0.8, forbidden=[UNKNOWN], seed=SEED
    )
)
print(f"\nThe model is {arguments.output}, its curve {arguments.log}. To write more:")
more = ["generate", arguments.output, "--forbid", UNKNOWN]
more += ["--prompt", arguments.prompt.replace("\n", "\\n")]
print(f"  {sys.executable} -m textgen {shlex.join(more)}")
