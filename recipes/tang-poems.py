"""Generates Chinese regulated verse with an LSTM and tied character vectors.

    python recipes/tang-poems.py

5,387 symbols, one couplet per line. 12 epochs of two to four minutes on two cores. The
validation perplexity is 118 after the second epoch, 82 after the fifth and 72.8 after
the last; that of the final model is 75.9. A couplet: 何处云中夜，何由得一杯。

The last 10 % of the text are for validation. The recipe writes tang-poems.keras, the
curve tang-poems.csv, and tang-poems.checkpoints, from which --resume continues.
"""

import argparse
import sys

import textgen

command = textgen.plain_exits()  # no traceback after Ctrl-C
keras = textgen.import_keras()  # without the start-up lines of TensorFlow

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--epochs", type=int, default=12, help="epochs in total")
parser.add_argument("--prompt", default="床前明月光，", help="beginning of the samples")
parser.add_argument("--resume", action="store_true", help="continue the training")
parser.add_argument("--name", default="tang-poems", help="name of the written files")
arguments = parser.parse_args()
name, prompt = arguments.name, arguments.prompt
try:
    checkpoints = textgen.Checkpoints(f"{name}.checkpoints", resume=arguments.resume)
except (OSError, ValueError) as error:
    parser.error(str(error))
checkpoints.how_to_resume = command

keras.utils.set_random_seed(0)
text = textgen.load_corpus("tang-poems")
vocabulary = textgen.Vocabulary.from_text(text)
train_ids, validation_ids = textgen.split(vocabulary.encode(text), 0.1)
train = textgen.SequenceDataset(train_ids, 64, batch_size=32, sampling="consecutive")
validation = textgen.SequenceDataset(
    validation_ids, 256, batch_size=8, sampling="consecutive", random_offset=False
)

schedule = textgen.warmup_cosine(2e-3, arguments.epochs * len(train))
if arguments.resume:
    model = textgen.load(checkpoints.last)
    model.optimizer.learning_rate = schedule
else:
    # Most characters are rare: input and output share one vector per character.
    model = textgen.LanguageModel(
        vocabulary,
        units=512,
        embedding=512,
        tie_weights=True,
        dropout=0.5,
        weight_dropout=0.25,
        return_sequences=True,
        stateful=True,
        batch_size=32,
    )
    optimizer = keras.optimizers.AdamW(
        schedule, weight_decay=1e-2, beta_2=0.99, global_clipnorm=1.0
    )
    model.compile(optimizer, metrics=[textgen.Perplexity()])
sample = textgen.SampleText(prompt, (0.5, 0.8, 1.0), max_new_tokens=60)
curve = keras.callbacks.CSVLogger(f"{name}.csv", append=arguments.resume)
callbacks = [sample, curve, checkpoints]
model.fit(
    train, epochs=arguments.epochs, validation_data=validation, callbacks=callbacks
)

# No text of the training had a beginning. Now separate couplets, of 17 characters, do.
keras.utils.set_random_seed(0)
couplets = textgen.LineDataset(train_ids, vocabulary.ids["\n"], 17, batch_size=64)
steps = min(400, len(couplets))
poet = textgen.load(checkpoints.best).stripped()
decay = keras.optimizers.schedules.CosineDecay(5e-4, steps)
poet.compile(keras.optimizers.Adam(decay, global_clipnorm=1.0))
poet.fit(couplets, steps_per_epoch=steps)

poet = poet.stripped()
poet.end_token = None  # a poem has several couplets
score = poet.score(vocabulary.decode(validation_ids))
print(f"Validation: {score.nats:.4f} nats, perplexity {score.perplexity:.2f}")
poet.notes = textgen.training_notes("tang-poems", text, 0, held_out_nats=score.nats)
poet.save(f"{name}.keras")

for poem in poet.generate(prompt, count=3, max_lines=4, temperature=0.8, seed=0):
    print(poem, end="\n\n")
print(f"More poems:\n  {sys.executable} -m textgen generate {name}.keras --max-lines 4")
