"""Writes sonnets: a wide LSTM that learned the plays first.

    python recipes/sonnets-large.py

The wide LSTM of the pretrained model "tinyshakespeare" goes on learning, now from the
lower-cased Sonnets, with a lower learning rate. About a minute on two cores, for 10
epochs. The validation loss is 1.37 nats a character after the first and 1.33 at the
end, against some 1.75 without the plays. Lines of it (temperature 0.8):

    Shall I compare thee to hear
    but prove to that obsequence hath a amendate you,
    which thou in night-good great kind shall force?

Trains on the first 90 % of the Sonnets, validates on the rest, and keeps the weights of
the epoch that does best on it; no line of the Sonnets stands in the plays. Leaves
sonnets-large.keras, the curve sonnets-large.csv, and the folder
sonnets-large.checkpoints, from which --resume goes on.
"""

import argparse
import sys
from pathlib import Path

import keras

import textgen

CORPUS = "shakespeare"
START = "tinyshakespeare"
DROPOUT = 0.4
WEIGHT_DROPOUT = 0.25
SEQUENCE_LENGTH = 64
BATCH_SIZE = 16
LEARNING_RATE = 1e-3
CLIP_NORM = 1.0
WEIGHT_DECAY = 1e-2
EPOCHS = 10
VALIDATION = 0.1
SEED = 0
PROMPT = "Shall I compare thee "

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--epochs", type=int, default=EPOCHS, help="of the whole training")
parser.add_argument("--resume", action="store_true", help="go on where it stopped")
parser.add_argument("--output", default="sonnets-large.keras")
parser.add_argument("--log", default="sonnets-large.csv")
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
train_ids, validation_ids = textgen.split(vocabulary.encode(text), VALIDATION)
train = textgen.SequenceDataset(
    train_ids, SEQUENCE_LENGTH, BATCH_SIZE, sampling="consecutive", seed=SEED
)
# In fewer rows, since the state of each begins at zero.
validation = textgen.SequenceDataset(
    validation_ids, 256, batch_size=4, sampling="consecutive", random_offset=False
)

plays = textgen.load(START)

steps = arguments.epochs * len(train)
warmup_steps = steps // 10
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
        cell=plays.cell,
        units=plays.units,
        embedding=plays.embedding,
        dropout=DROPOUT,
        weight_dropout=WEIGHT_DROPOUT,
        return_sequences=True,
        stateful=True,
        batch_size=BATCH_SIZE,
    )
    # Every symbol takes over its weights. The brackets, which the plays lack, begin as
    # commas.
    known = plays.vocabulary.ids
    rows = [known.get(symbol, known[","]) for symbol in vocabulary.symbols]
    vectors, *recurrent, kernel, bias = plays.get_weights()
    for variable, value in zip(
        model.trainable_variables,
        [vectors[rows], *recurrent, kernel[:, rows], bias[rows]],
        strict=True,
    ):
        variable.assign(value)
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

# What is kept is for writing: the best weights, no optimizer, no carried states.
poet = textgen.load(checkpoints.best).stripped()
poet.save(arguments.output)
score = poet.score(vocabulary.decode(validation_ids))
print(f"Validation: {score.nats:.4f} nats a character, {score.bits:.4f} bits")

print(
    poet.generate(PROMPT, max_new_tokens=1000, max_lines=14, temperature=0.8, seed=SEED)
)
print(f"\nThe model is {arguments.output}, its curve {arguments.log}. To write more:")
print(f"  {sys.executable} -m textgen generate {arguments.output} --prompt '{PROMPT}'")
