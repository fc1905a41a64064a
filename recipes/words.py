"""Generates text word by word: a word-level LSTM, trained on plays or on any text.

    python recipes/words.py
    python recipes/words.py novel.txt --prompt "It was a "

The tokens are words, spaces, newlines and punctuation marks; � replaces all but the
4,999 most frequent of them. 8 epochs of about one minute on two cores, for the plays.
The validation perplexity of a token is 23.2 after the first epoch and 17.1 at the end.

The last 10 % of the text are for validation. The recipe writes words.keras, the curve
words.csv, and words.checkpoints, from which --resume continues.
"""

import argparse
import sys

import textgen

command = textgen.plain_exits()  # no traceback after Ctrl-C
keras = textgen.import_keras()  # without the start-up lines of TensorFlow

UNKNOWN = "\ufffd"

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("corpus", nargs="?", default="tinyshakespeare", help="text file")
parser.add_argument("--encoding", default="utf-8", help="encoding of the text file")
parser.add_argument("--prompt", default="ROMEO:\n", help="beginning of the samples")
parser.add_argument("--epochs", type=int, default=8, help="epochs in total")
parser.add_argument("--resume", action="store_true", help="continue the training")
parser.add_argument("--name", default="words", help="name of the written files")
arguments = parser.parse_args()
name = arguments.name
try:
    checkpoints = textgen.Checkpoints(f"{name}.checkpoints", resume=arguments.resume)
    text = textgen.load_corpus(arguments.corpus, encoding=arguments.encoding)
except (OSError, ValueError) as error:
    parser.error(str(error))
checkpoints.how_to_resume = command

keras.utils.set_random_seed(0)
vocabulary = textgen.Vocabulary.from_text(text, "word", max_size=5000, unknown=UNKNOWN)
ids = vocabulary.encode(text)  # split these: a cut in the text could be inside a word
train_ids, validation_ids = textgen.split(ids, 0.1)
unknown = (ids == vocabulary.ids[UNKNOWN]).mean()
print(f"{len(ids):,} tokens, {len(vocabulary):,} different, {unknown:.1%} unknown")
train = textgen.SequenceDataset(train_ids, 32, batch_size=32, sampling="consecutive")
validation = textgen.SequenceDataset(
    validation_ids, 128, batch_size=8, sampling="consecutive", random_offset=False
)

schedule = textgen.warmup_cosine(3e-3, arguments.epochs * len(train))
if arguments.resume:
    model = textgen.load(checkpoints.last)
    if model.vocabulary != vocabulary:
        parser.error(f"{checkpoints.last} was trained on another text")
    model.optimizer.learning_rate = schedule
else:
    model = textgen.LanguageModel(
        vocabulary,
        units=256,
        embedding=256,
        tie_weights=True,
        dropout=0.5,
        weight_dropout=0.3,
        return_sequences=True,
        stateful=True,
        batch_size=32,
    )
    optimizer = keras.optimizers.AdamW(
        schedule, weight_decay=1e-2, beta_2=0.99, global_clipnorm=1.0
    )
    model.compile(optimizer, metrics=[textgen.Perplexity()])
sample = textgen.SampleText(arguments.prompt, (0.5, 0.8, 1.0), max_new_tokens=80)
curve = keras.callbacks.CSVLogger(f"{name}.csv", append=arguments.resume)
callbacks = [sample, curve, checkpoints]
model.fit(
    train, epochs=arguments.epochs, validation_data=validation, callbacks=callbacks
)

writer = textgen.load(checkpoints.best).stripped()
score = writer.score(vocabulary.decode(validation_ids))
print(f"Validation: {score.nats:.4f} nats per token, perplexity {score.perplexity:.2f}")
writer.notes = textgen.training_notes(
    arguments.corpus, text, seed=0, held_out_nats=score.nats
)
writer.save(f"{name}.keras")

print(writer.generate(arguments.prompt, 200, 0.8, forbidden=[UNKNOWN], seed=0))
print("\nMore text:")
print(f"  {sys.executable} -m textgen generate {name}.keras --forbid {UNKNOWN}")
