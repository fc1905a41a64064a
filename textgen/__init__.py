"""textgen: recurrent language models with Keras, trained on your own text.

`import textgen` loads neither Keras nor TensorFlow: every public name below is
imported from its module the first time it is used.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Public name -> module. A name is added here and in the block below.
_MODULES = {
    "import_keras": "quiet",
    "plain_exits": "quiet",
    "CORPORA": "text.corpora",
    "load_corpus": "text.reading",
    "LineLabels": "text.labels",
    "PreparedCorpus": "text.prepared",
    "prepare": "text.preparing",
    "split": "text.splits",
    "split_lines": "text.splits",
    "PRETRAINED": "models.catalogue",
    "ByteTokenizer": "text.byte_level",
    "SubwordTokenizer": "text.subword",
    "Vocabulary": "text.vocabulary",
    "distribute": "distribution",
    "LostProcessError": "distribution",
    "use_all_devices": "distribution",
    "LineDataset": "line_dataset",
    "SequenceDataset": "datasets",
    "WindowDataset": "datasets",
    "vectorize": "datasets",
    "GRU": "layers.recurrent",
    "LSTM": "layers.recurrent",
    "OneHot": "layers.inputs",
    "SimpleRNN": "layers.recurrent",
    "LanguageModel": "models.language_model",
    "from_keras": "models.keras_writer",
    "load": "models.loading",
    "ModelFileError": "model_file",
    "Blend": "models.blend",
    "Adaptation": "decoding.adaptation",
    "Checkpoints": "training.checkpoints",
    "Progress": "training.progress",
    "SampleText": "training.callbacks",
    "TimeBudget": "training.time_budget",
    "TrainingDivergedError": "training.session",
    "TrainingLog": "training.training_log",
    "TrainingStopped": "training.signals",
    "Accuracy": "training.metrics",
    "BitsPerCharacter": "training.metrics",
    "CrossEntropy": "training.losses",
    "Perplexity": "training.metrics",
    "export_html": "export.page",
    "Activations": "analysis.activations",
    "cell_activations": "analysis.activations",
    "rank_cells": "analysis.ranking",
    "readable_features": "analysis.features",
    "Surprisal": "analysis.surprisal",
    "surprisal": "analysis.surprisal",
    "surprisal_difference": "analysis.surprisal",
    "plot_curves": "analysis.curves",
    "Setup": "advice.setup",
    "suggest": "advice.suggestion",
    "training_notes": "training.provenance",
    "warmup_cosine": "training.schedules",
}

if TYPE_CHECKING:
    from textgen.advice.setup import Setup as Setup
    from textgen.advice.suggestion import suggest as suggest
    from textgen.analysis.activations import Activations as Activations
    from textgen.analysis.activations import cell_activations as cell_activations
    from textgen.analysis.curves import plot_curves as plot_curves
    from textgen.analysis.features import readable_features as readable_features
    from textgen.analysis.ranking import rank_cells as rank_cells
    from textgen.analysis.surprisal import Surprisal as Surprisal
    from textgen.analysis.surprisal import surprisal as surprisal
    from textgen.analysis.surprisal import surprisal_difference as surprisal_difference
    from textgen.datasets import SequenceDataset as SequenceDataset
    from textgen.datasets import WindowDataset as WindowDataset
    from textgen.datasets import vectorize as vectorize
    from textgen.decoding.adaptation import Adaptation as Adaptation
    from textgen.distribution import LostProcessError as LostProcessError
    from textgen.distribution import distribute as distribute
    from textgen.distribution import use_all_devices as use_all_devices
    from textgen.export.page import export_html as export_html
    from textgen.layers.inputs import OneHot as OneHot
    from textgen.layers.recurrent import GRU as GRU
    from textgen.layers.recurrent import LSTM as LSTM
    from textgen.layers.recurrent import SimpleRNN as SimpleRNN
    from textgen.line_dataset import LineDataset as LineDataset
    from textgen.model_file import ModelFileError as ModelFileError
    from textgen.models.blend import Blend as Blend
    from textgen.models.catalogue import PRETRAINED as PRETRAINED
    from textgen.models.keras_writer import from_keras as from_keras
    from textgen.models.language_model import LanguageModel as LanguageModel
    from textgen.models.loading import load as load
    from textgen.quiet import import_keras as import_keras
    from textgen.quiet import plain_exits as plain_exits
    from textgen.text.byte_level import ByteTokenizer as ByteTokenizer
    from textgen.text.corpora import CORPORA as CORPORA
    from textgen.text.labels import LineLabels as LineLabels
    from textgen.text.prepared import PreparedCorpus as PreparedCorpus
    from textgen.text.preparing import prepare as prepare
    from textgen.text.reading import load_corpus as load_corpus
    from textgen.text.splits import split as split
    from textgen.text.splits import split_lines as split_lines
    from textgen.text.subword import SubwordTokenizer as SubwordTokenizer
    from textgen.text.vocabulary import Vocabulary as Vocabulary
    from textgen.training.callbacks import SampleText as SampleText
    from textgen.training.checkpoints import Checkpoints as Checkpoints
    from textgen.training.losses import CrossEntropy as CrossEntropy
    from textgen.training.metrics import Accuracy as Accuracy
    from textgen.training.metrics import BitsPerCharacter as BitsPerCharacter
    from textgen.training.metrics import Perplexity as Perplexity
    from textgen.training.progress import Progress as Progress
    from textgen.training.provenance import training_notes as training_notes
    from textgen.training.schedules import warmup_cosine as warmup_cosine
    from textgen.training.session import TrainingDivergedError as TrainingDivergedError
    from textgen.training.signals import TrainingStopped as TrainingStopped
    from textgen.training.time_budget import TimeBudget as TimeBudget
    from textgen.training.training_log import TrainingLog as TrainingLog

__all__ = [*_MODULES, "__version__"]


# The modules above that import no Keras.
_WITHOUT_KERAS = (
    *("text.", "model_file", "models.catalogue", "quiet", "analysis.curves"),
)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'textgen' has no attribute {name!r}")
    if not _MODULES[name].startswith(_WITHOUT_KERAS):
        importlib.import_module("textgen.quiet").import_keras()
    value = getattr(importlib.import_module(f"textgen.{_MODULES[name]}"), name)
    globals()[name] = value  # the next access is an ordinary one
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
