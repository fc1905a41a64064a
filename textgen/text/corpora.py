"""Training texts: from files, standard input or the registry of named corpora."""

import dataclasses
import difflib
import hashlib
import http.client
import importlib.resources
import os
from collections.abc import Iterable
from pathlib import Path

from textgen import files
from textgen.messages import printable
from textgen.text import download


@dataclasses.dataclass(frozen=True)
class Corpus:
    """Description and location of a named corpus.

    Args:
        file: str. Name of the file in `TEXTGEN_DATA`, in the package and in the cache
            folder.
        description: str. One line.
        license: str. Licence of the text.
        characters: int. Length of the text in characters.
        url: str or `None`. Address of the file at a fixed commit, so that its bytes
            cannot change. `None` for a corpus that is part of the package.
        sha256: str or `None`. SHA-256 of the file, in hexadecimal.
    """

    file: str
    description: str
    license: str
    characters: int
    url: str | None = None
    sha256: str | None = None


_GITHUB = "https://raw.githubusercontent.com/"

_NOTEBOOKS = (
    f"{_GITHUB}jungsoh/rnn-character-level-language-model/"
    "b359fefb96bb0d18ed7f3a90b442c31510ae1131/"
)

CORPORA: dict[str, Corpus] = {
    "dinosaurs": Corpus(
        file="dinosaurs.txt",
        description="dinosaur genus names, one per line",
        license="MIT (a list of facts, compiled for textgen)",
        characters=18_848,
    ),
    "dinosaurs-reference": Corpus(
        file="dinos_reference.txt",
        description="the 1,536 dinosaur names of the reference notebooks",
        license="unstated; a list of facts",
        characters=19_909,
        url=f"{_NOTEBOOKS}dinos.txt",
        sha256="ad6465621cf56c08f71d4fbb40cf7eab763f9df42c54cc460d6c4d86e9c927fb",
    ),
    "shakespeare": Corpus(
        file="shakespeare.txt",
        description="Shakespeare's Sonnets",
        license="public domain",
        characters=94_275,
        url=f"{_NOTEBOOKS}shakespeare.txt",
        sha256="1b454b67b44e6f367c83a17ed295c46c5d4a1173cf5d09161882af4041bae023",
    ),
    "tinyshakespeare": Corpus(
        file="tinyshakespeare.txt",
        description="scenes from Shakespeare's plays",
        license="public domain",
        characters=1_115_394,
        url=(
            f"{_GITHUB}karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/"
            "data/tinyshakespeare/input.txt"
        ),
        sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
    ),
    "tang-poems": Corpus(
        file="tang_poems.txt",
        description="Tang-dynasty regulated verse, one couplet per line, Chinese",
        license="public domain",
        characters=942_681,
        url=(
            f"{_GITHUB}hzy46/Char-RNN-TensorFlow/"
            "7d23f2f1b436afbd5baf67af466d3b5a72f04b71/data/poetry.txt"
        ),
        sha256="ffc4d1112de038bc26cd0271ef3094fe9bae98e36c72537f4997959dec167154",
    ),
}


def find(name: str) -> Path:
    """Returns the path of a corpus file; downloads the file if necessary."""
    path = Path(os.path.expanduser(name))
    corpus = CORPORA.get(name)
    if path.exists() and not path.is_dir():
        return path
    if corpus is None:
        raise FileNotFoundError(
            f"{name!r} is neither an existing file or folder nor the name of a corpus. "
            + suggestion(name, CORPORA)
        )
    if folder := os.environ.get("TEXTGEN_DATA"):
        path = Path(folder).expanduser() / corpus.file
        if path.is_file():
            _check(
                sha256_of(path), corpus, str(path), "Replace it, or unset TEXTGEN_DATA."
            )
            return path
    if corpus.url is None:
        return package_folder("textgen.data") / corpus.file
    path = cache_folder() / corpus.file
    if path.is_file() and sha256_of(path) == corpus.sha256:
        return path
    _download(corpus, path)
    return path


def package_folder(package: str) -> Path:
    """Returns the folder of a package that holds files, such as `"textgen.data"`.

    Raises:
        FileNotFoundError: The package is missing because textgen is not installed.
    """
    try:
        return Path(str(importlib.resources.files(package)))
    except ModuleNotFoundError:
        clone = Path(__file__).parents[2]
        raise FileNotFoundError(
            f"textgen is not installed: the package {package} is missing. Run `pip "
            f"install .` (or `make demo`) in the folder of the clone, {clone}."
        ) from None


def suggestion(name: str, known: Iterable[str]) -> str:
    """Returns a hint for an unknown name: similar known names, and all known names."""
    known = list(known)
    near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(near)}? " if near else ""
    return f"{hint}Known: {', '.join(known)}."


def cache_folder() -> Path:
    """Returns the folder of downloaded and prepared corpora; it may not exist yet."""
    if folder := os.environ.get("TEXTGEN_CACHE"):
        return Path(folder).expanduser()
    if folder := os.environ.get("XDG_CACHE_HOME"):
        return Path(folder).expanduser() / "textgen"
    return Path.home() / ".cache" / "textgen"


def sha256_of(path: Path) -> str:
    """Returns the SHA-256 of a file, in hexadecimal."""
    with files.open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


def sha256_of_text(text: str) -> str:
    """Returns the SHA-256 of a text in UTF-8, in hexadecimal."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _check(found: str, corpus: Corpus, source: str, remedy: str) -> None:
    if corpus.sha256 is not None and found != corpus.sha256:
        raise ValueError(
            f"{source} is not the registered corpus: its SHA-256 is {found}, not "
            f"{corpus.sha256}. {remedy}"
        )


def _download(corpus: Corpus, path: Path) -> None:
    """Downloads a corpus, checks it, and writes it in one step."""
    assert corpus.url is not None
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        data = download.fetch(corpus.url, 4 * corpus.characters + (1 << 20))
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise OSError(
            f"{corpus.url} could not be downloaded ({printable(error)}). Save the file "
            f"as {corpus.file} in a folder, and set TEXTGEN_DATA to that folder."
        ) from None
    remedy = "The download may be incomplete: try again."
    _check(hashlib.sha256(data).hexdigest(), corpus, corpus.url, remedy)
    with files.replacing(path) as file:
        file.write(data)
