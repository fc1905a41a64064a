"""Generates sonnets with two stacked LSTM layers, as the course notebook does.

    python recipes/shakespeare.py
    python recipes/shakespeare.py --resume --epochs 80

40 epochs of about 15 seconds on two cores. The validation loss is 2.14 nats per
character after 5 epochs, and lowest, 1.79, after 30. A sample (temperature 0.5):

    Shall I compare thee thee,
    and then the wert my beauty's beauty day,
    and to the sore the will think in the precesing,

The first 90 % of the text is for training, the rest for validation. With --all, the
model trains on the 31,412 windows of the notebook, and the best epoch is that of the
lowest training loss. The recipe writes shakespeare.keras (the weights of the best
epoch), shakespeare.csv (the learning curve) and shakespeare.checkpoints (the state from
which --resume continues).
"""

import argparse
import sys

import textgen

command = textgen.plain_exits()  # no traceback after Ctrl-C
keras = textgen.import_keras()  # without the start-up lines of TensorFlow

PROMPT = "Forsooth this maketh no sense "

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--epochs", type=int, default=40, help="epochs in total")
parser.add_argument("--all", action="store_true", help="train on the complete text")
parser.add_argument("--resume", action="store_true", help="continue the training")
parser.add_argument("--name", default="shakespeare", help="name of the written files")
arguments = parser.parse_args()
name = arguments.name
try:
    checkpoints = textgen.Checkpoints(f"{name}.checkpoints", resume=arguments.resume)
except (OSError, ValueError) as error:
    parser.error(str(error))
checkpoints.how_to_resume = command

keras.utils.set_random_seed(0)
corpus = textgen.load_corpus("shakespeare")
text = corpus.lower()
vocabulary = textgen.Vocabulary.from_text(text)
train_text, validation_text = textgen.split(text, 0.1)
train, validation = (
    textgen.WindowDataset(vocabulary.encode(part), 40, sequence_stride=3)
    for part in (text if arguments.all else train_text, validation_text)
)
print(f"{train.num_examples:,} windows, {len(vocabulary)} symbols")

if arguments.resume:
    model = textgen.load(checkpoints.last)
else:
    model = textgen.LanguageModel(
        vocabulary, cell="lstm", units=(128, 128), dropout=0.5, sequence_length=40
    )
    model.compile(keras.optimizers.Adam(1e-3, clipvalue=5.0))
model.summary()
sample = textgen.SampleText(PROMPT, temperatures=(0.5, 0.8, 1.0))
curve = keras.callbacks.CSVLogger(f"{name}.csv", append=arguments.resume)
callbacks = [sample, curve, checkpoints]
model.fit(
    train,
    epochs=arguments.epochs,
    validation_data=None if arguments.all else validation,
    callbacks=callbacks,
)

poet = textgen.load(checkpoints.best).stripped()
score = poet.score(validation_text)
print(f"Last 10 %: {score.nats:.4f} nats per character, {score.bits:.4f} bits")
poet.notes = textgen.training_notes("shakespeare", corpus, seed=0, lowercase=True)
if not arguments.all:
    poet.notes["held_out_nats"] = score.nats
poet.save(f"{name}.keras")

print(poet.generate(PROMPT, seed=0))
print("\nMore sonnets:")
print(f"  {sys.executable} -m textgen generate {name}.keras --prompt '{PROMPT}'")
