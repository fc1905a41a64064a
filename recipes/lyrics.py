"""Compares random and consecutive sampling on song lyrics or any other text.

    python recipes/lyrics.py lyrics.txt.zip
    python recipes/lyrics.py tang-poems --every 1 --epochs 20

A SimpleRNN layer of 256 units on the first 10,000 characters, as in the chapter on
recurrent networks "from scratch" of Dive into Deep Learning: SGD with learning rate 100
and gradients clipped to a global norm of 0.01. Random sampling starts each batch from
a zero state; consecutive sampling carries the state from batch to batch. There is no
validation: the model learns the text by heart.

On the Tang poems (1,739 symbols), the perplexity (exp of the loss; the notebook printed
the loss under that name) after 250 epochs is 1.08 and 1.00. The initial weights of the
chapter (--initializer notebook: normal, standard deviation 0.01) are enough for its
lyrics, but not for the Tang poems, which need a first kernel of unit variance.

The recipe writes lyrics.keras (consecutive sampling, lowest loss), lyrics-random.csv
and lyrics-consecutive.csv, and lyrics.checkpoints, from which --resume continues.
"""

import argparse
from pathlib import Path

import textgen

command = textgen.plain_exits()  # no traceback after Ctrl-C
keras = textgen.import_keras()  # without the start-up lines of TensorFlow

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("path", help="text file or name of a corpus")
parser.add_argument("--prefixes", nargs="+", metavar="TEXT", help="texts to continue")
parser.add_argument("--epochs", type=int, default=250, help="epochs of each training")
parser.add_argument("--every", type=int, default=50, help="epochs between samples")
parser.add_argument("--initializer", choices=("unit", "notebook"), default="unit")
parser.add_argument("--resume", action="store_true", help="continue the training")
parser.add_argument("--name", default="lyrics", help="name of the written files")
arguments = parser.parse_args()
name = arguments.name
folder = Path(f"{name}.checkpoints")
if arguments.resume != folder.exists():
    parser.error(f"no {folder}" if arguments.resume else f"{folder}: use --resume")
try:
    text = textgen.load_corpus(arguments.path).replace("\n", " ")[:10_000]
except (OSError, ValueError) as error:
    parser.error(str(error))
prefixes = arguments.prefixes or [text[:4], text[5000:5004]]
vocabulary = textgen.Vocabulary.from_text(text)
ids = vocabulary.encode(text)
print(f"{len(text):,} characters, {len(vocabulary):,} symbols")
for sampling in ("random", "consecutive"):
    keras.utils.set_random_seed(0)
    print(f"\n=== {sampling} sampling ===")
    resumed = any((folder / sampling).glob("*.keras"))
    checkpoints = textgen.Checkpoints(folder / sampling, resume=resumed)
    checkpoints.how_to_resume = command
    # The same sequences in every epoch, as in the notebook.
    train = textgen.SequenceDataset(ids, 35, 32, sampling, random_offset=False)
    if resumed:
        model = textgen.load(checkpoints.last)
        if model.vocabulary != vocabulary:
            parser.error(f"{checkpoints.last} was trained on another text")
    else:
        normal = keras.initializers.RandomNormal(stddev=0.01)
        model = textgen.LanguageModel(
            vocabulary,
            cell="simple_rnn",
            units=256,
            return_sequences=True,
            stateful=sampling == "consecutive",
            batch_size=32,
            initializer=normal if arguments.initializer == "notebook" else None,
        )
        if arguments.initializer == "unit":
            # Keras scales the first kernel for dense inputs, but a one-hot input reads
            # one row of it. With rows of unit variance, training is five times faster.
            kernel = model.recurrent_layers[0].cell.kernel
            kernel.assign(keras.random.normal(kernel.shape))
        model.compile(
            keras.optimizers.SGD(100.0, global_clipnorm=0.01),
            metrics=[textgen.Perplexity()],
        )
    sample = textgen.SampleText(prefixes, (0.0, 0.5, 1.0), arguments.every, "epoch", 50)
    curve = keras.callbacks.CSVLogger(f"{name}-{sampling}.csv", append=resumed)
    callbacks = [sample, curve, checkpoints]
    model.fit(train, epochs=arguments.epochs, callbacks=callbacks)

poet = textgen.load(checkpoints.best).stripped()
poet.notes = textgen.training_notes(arguments.path, text, seed=0)
poet.save(f"{name}.keras")
print(f"\nThe model of consecutive sampling is {name}.keras.")
