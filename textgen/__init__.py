"""textgen: recurrent language models with Keras that write on your own corpus.

`import textgen` loads neither Keras nor TensorFlow: every public name below is
imported from its module the first time it is used.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Public name -> module. A name is added here and in the block below.
_MODULES = {
    "CORPORA": "corpus",
    "load_corpus": "corpus",
    "split": "corpus",
    "split_lines": "corpus",
    "PRETRAINED": "catalogue",
    "Vocabulary": "vocabulary",
    "LineDataset": "datasets",
    "SequenceDataset": "datasets",
    "WindowDataset": "datasets",
    "vectorize": "datasets",
    "GRU": "layers",
    "LSTM": "layers",
    "OneHot": "layers",
    "SimpleRNN": "layers",
    "LanguageModel": "model",
    "load": "model",
    "Blend": "blend",
    "SampleText": "callbacks",
    "Accuracy": "metrics",
    "BitsPerCharacter": "metrics",
    "CrossEntropy": "metrics",
    "Perplexity": "metrics",
}

if TYPE_CHECKING:
    from textgen.blend import Blend as Blend
    from textgen.callbacks import SampleText as SampleText
    from textgen.catalogue import PRETRAINED as PRETRAINED
    from textgen.corpus import CORPORA as CORPORA
    from textgen.corpus import load_corpus as load_corpus
    from textgen.corpus import split as split
    from textgen.corpus import split_lines as split_lines
    from textgen.datasets import LineDataset as LineDataset
    from textgen.datasets import SequenceDataset as SequenceDataset
    from textgen.datasets import WindowDataset as WindowDataset
    from textgen.datasets import vectorize as vectorize
    from textgen.layers import GRU as GRU
    from textgen.layers import LSTM as LSTM
    from textgen.layers import OneHot as OneHot
    from textgen.layers import SimpleRNN as SimpleRNN
    from textgen.metrics import Accuracy as Accuracy
    from textgen.metrics import BitsPerCharacter as BitsPerCharacter
    from textgen.metrics import CrossEntropy as CrossEntropy
    from textgen.metrics import Perplexity as Perplexity
    from textgen.model import LanguageModel as LanguageModel
    from textgen.model import load as load
    from textgen.vocabulary import Vocabulary as Vocabulary

__all__ = [*_MODULES, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'textgen' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"textgen.{_MODULES[name]}"), name)
    globals()[name] = value  # the next access is an ordinary one
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
