import bz2
import contextlib
import gzip
import hashlib
import http.client
import http.server
import io
import lzma
import os
import re
import sys
import threading
import urllib.request
import zipfile
from pathlib import Path

import pytest

import textgen
from textgen.text import corpora

GITHUB = "https://raw.githubusercontent.com"
NOTEBOOKS = (
    f"{GITHUB}/jungsoh/rnn-character-level-language-model/"
    "b359fefb96bb0d18ed7f3a90b442c31510ae1131"
)
REGISTERED = {
    "dinosaurs-reference": (
        f"{NOTEBOOKS}/dinos.txt",
        "ad6465621cf56c08f71d4fbb40cf7eab763f9df42c54cc460d6c4d86e9c927fb",
    ),
    "shakespeare": (
        f"{NOTEBOOKS}/shakespeare.txt",
        "1b454b67b44e6f367c83a17ed295c46c5d4a1173cf5d09161882af4041bae023",
    ),
    "tinyshakespeare": (
        f"{GITHUB}/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e"
        "/data/tinyshakespeare/input.txt",
        "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
    ),
    "tang-poems": (
        f"{GITHUB}/hzy46/Char-RNN-TensorFlow/7d23f2f1b436afbd5baf67af466d3b5a72f04b71"
        "/data/poetry.txt",
        "ffc4d1112de038bc26cd0271ef3094fe9bae98e36c72537f4997959dec167154",
    ),
}

# Longer than one block of the download.
TOY_TEXT = "A toy, naïve.\n" * 20_000
TOY = TOY_TEXT.encode()
TOY_SHA256 = hashlib.sha256(TOY).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.requests.append(self.path)
        self.close_connection = True
        if self.path == "/missing":
            return self.send_error(404)
        self.send_response(200)
        if self.path == "/endless":
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                while True:
                    self.wfile.write(TOY)
        if self.path == "/cut-chunk":
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(len(TOY)))
        self.end_headers()
        if self.path == "/cut-chunk":
            self.wfile.write(b"%x\r\n" % len(TOY))
        cut = len(TOY) // 2 if self.path.startswith("/cut") else len(TOY)
        self.wfile.write(TOY[:cut])

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.requests = []
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Creates empty folders: the working folder, a cache and a data folder."""
    for name in ("here", "data", "cache"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("TEXTGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TEXTGEN_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path


@pytest.fixture
def register(folders, server, monkeypatch):
    """Returns a function that registers the corpus "toy" at a path of the server."""

    def register(path="/toy", sha256=TOY_SHA256):
        url = f"http://127.0.0.1:{server.server_port}{path}"
        entry = corpora.Corpus("toy.txt", "a toy", "none", len(TOY_TEXT), url, sha256)
        monkeypatch.setitem(textgen.CORPORA, "toy", entry)

    return register


@pytest.fixture
def write(tmp_path):
    def write(data):
        path = tmp_path / "text.txt"
        path.write_bytes(data)
        return path

    return write


def files(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("name", REGISTERED)
def test_registered_address_and_hash(name):
    entry = textgen.CORPORA[name]
    assert (entry.url, entry.sha256) == REGISTERED[name]
    assert entry.license
    assert entry.description


def test_registry_holds_nothing_else():
    assert set(textgen.CORPORA) == {"dinosaurs", *REGISTERED}


# The lengths in data/SOURCES.md of the corpora.
@pytest.mark.parametrize(
    ("name", "characters"),
    [
        ("dinosaurs-reference", 19_909),
        ("shakespeare", 94_275),
        ("tinyshakespeare", 1_115_394),
        ("tang-poems", 942_681),
    ],
)
def test_length_of_registered_corpus(corpus_text, name, characters):
    assert len(corpus_text(name)) == characters


def test_reference_names(corpus_text):
    text = corpus_text("dinosaurs-reference", lowercase=True)
    assert len(text.splitlines()) == 1_536
    assert len(set(text)) == 27
    assert not text.endswith("\n")


def test_built_in_names(folders):
    text = textgen.load_corpus("dinosaurs")
    assert text.endswith("\n")
    names = text[:-1].split("\n")
    assert len(names) >= 1_000
    assert [name for name in names if not re.fullmatch("[A-Z][a-z]+", name)] == []
    assert names == sorted(set(names))


def test_path_takes_precedence_over_data_folder(register, folders):
    register()
    (folders / "data" / "toy.txt").write_bytes(TOY)
    Path("toy").write_text("my own file")
    assert textgen.load_corpus("toy") == "my own file"


def test_folder_of_the_name_does_not_hide_the_corpus(register, folders):
    register()
    (folders / "data" / "toy.txt").write_bytes(TOY)
    Path("toy").mkdir()
    assert textgen.load_corpus("toy") == TOY_TEXT


def test_data_folder_takes_precedence_over_package(folders):
    (folders / "data" / "dinosaurs.txt").write_text("Mine\n")
    assert textgen.load_corpus("dinosaurs") == "Mine\n"


def test_package_takes_precedence_over_cache(folders):
    (folders / "cache" / "dinosaurs.txt").write_text("Cached\n")
    assert "Tyrannosaurus\n" in textgen.load_corpus("dinosaurs")


def test_data_folder_takes_precedence_over_cache(register, folders, server):
    register(sha256=None)
    (folders / "data" / "toy.txt").write_text("data")
    (folders / "cache" / "toy.txt").write_text("cache")
    assert textgen.load_corpus("toy") == "data"
    assert server.requests == []


def test_cache_takes_precedence_over_download(register, folders, server):
    register()
    (folders / "cache" / "toy.txt").write_bytes(TOY)
    assert textgen.load_corpus("toy") == TOY_TEXT
    assert server.requests == []


@pytest.mark.parametrize("data", [None, "", "missing-folder"])
def test_download_without_data(register, folders, server, monkeypatch, data):
    register()
    if data is None:
        monkeypatch.delenv("TEXTGEN_DATA")
    else:
        monkeypatch.setenv("TEXTGEN_DATA", data)
    assert textgen.load_corpus("toy") == TOY_TEXT
    assert server.requests == ["/toy"]


def test_download_once(register, folders, server):
    register()
    assert textgen.load_corpus("toy") == TOY_TEXT
    assert textgen.load_corpus("toy") == TOY_TEXT
    assert server.requests == ["/toy"]
    assert files(folders / "cache") == ["toy.txt"]
    assert (folders / "cache" / "toy.txt").read_bytes() == TOY


def test_download_creates_the_cache_folder(register, folders, monkeypatch):
    register()
    monkeypatch.setenv("TEXTGEN_CACHE", str(folders / "new" / "folder"))
    assert textgen.load_corpus("toy") == TOY_TEXT
    assert files(folders / "new" / "folder") == ["toy.txt"]


@pytest.mark.parametrize(
    ("variable", "folder"),
    [("XDG_CACHE_HOME", "textgen"), ("HOME", ".cache/textgen")],
)
def test_default_cache_folders(register, folders, monkeypatch, variable, folder):
    register()
    monkeypatch.delenv("TEXTGEN_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv(variable, str(folders / "home"))
    textgen.load_corpus("toy")
    assert (folders / "home" / folder / "toy.txt").read_bytes() == TOY


@pytest.mark.parametrize("cached", [b"", TOY[:-1], TOY + b"\n"])
def test_corrupt_cached_file_is_downloaded_again(register, folders, server, cached):
    register()
    (folders / "cache" / "toy.txt").write_bytes(cached)
    assert textgen.load_corpus("toy") == TOY_TEXT
    assert server.requests == ["/toy"]
    assert (folders / "cache" / "toy.txt").read_bytes() == TOY


def test_download_of_other_bytes(register, folders):
    register(sha256="0" * 64)
    with pytest.raises(ValueError, match=f"/toy is not.*{TOY_SHA256}.*{'0' * 64}"):
        textgen.load_corpus("toy")
    assert files(folders / "cache") == []


def test_download_that_ends_early(register, folders):
    register("/cut")
    with pytest.raises(ValueError, match=r"/cut is not.*may be incomplete: try again"):
        textgen.load_corpus("toy")
    assert files(folders / "cache") == []


@pytest.mark.parametrize(
    "path",
    [
        "/missing",
        "/cut-chunk",
    ],
)
def test_failed_download(register, folders, path):
    register(path)
    with pytest.raises(OSError, match=rf"{path} .*toy\.txt.*TEXTGEN_DATA"):
        textgen.load_corpus("toy")
    assert files(folders / "cache") == []


def test_failed_download_leaves_no_temporary_file(register, folders):
    register("/cut-chunk")
    with pytest.raises((OSError, http.client.HTTPException)):
        textgen.load_corpus("toy")
    assert files(folders / "cache") == []


def test_unreachable_address(register, server):
    register()
    server.shutdown()
    server.server_close()
    with pytest.raises(OSError, match=r"could not be downloaded.*toy\.txt"):
        textgen.load_corpus("toy")


def test_interrupt_leaves_no_temporary_file(register, folders, monkeypatch):
    class Response(io.BytesIO):
        def read1(self, size=-1):
            if block := super().read1(size):
                return block
            raise KeyboardInterrupt

    register()
    monkeypatch.setattr(urllib.request, "urlopen", lambda *a, **k: Response(TOY))
    with pytest.raises(KeyboardInterrupt):
        textgen.load_corpus("toy")
    assert files(folders / "cache") == []


def test_download_replaces_nothing_before_its_end(register, folders):
    register("/cut-chunk")
    (folders / "cache" / "toy.txt").write_bytes(b"old")
    with pytest.raises(OSError, match="could not be downloaded"):
        textgen.load_corpus("toy")
    assert (folders / "cache" / "toy.txt").read_bytes() == b"old"


def test_download_of_an_endless_text(register, folders):
    register("/endless")
    with pytest.raises(OSError, match=r"it has more than 2,\d{3},\d{3} bytes"):
        textgen.load_corpus("toy")
    assert files(folders / "cache") == []


def test_cache_that_is_a_pipe(register, folders):
    register()
    os.mkfifo(folders / "cache" / "toy.txt")
    with pytest.raises(OSError, match="it is a device or a named pipe"):
        textgen.load_corpus("toy")


@pytest.mark.parametrize("suffix", [".txt", ".zip"])
def test_pipe(tmp_path, suffix):
    os.mkfifo(tmp_path / f"pipe{suffix}")
    with pytest.raises(OSError, match=r"named pipe; it must be .* give - as name"):
        textgen.load_corpus(tmp_path / f"pipe{suffix}")


def test_device():
    with pytest.raises(OSError, match="/dev/zero is a device"):
        textgen.load_corpus("/dev/zero")


def test_other_bytes_in_data_folder(register, folders, server):
    register()
    path = folders / "data" / "toy.txt"
    path.write_bytes(TOY[1:])
    found = hashlib.sha256(TOY[1:]).hexdigest()
    with pytest.raises(
        ValueError, match=f"{found}.*{TOY_SHA256}.*TEXTGEN_DATA"
    ) as info:
        textgen.load_corpus("toy")
    assert str(path) in str(info.value)
    assert server.requests == []


@pytest.mark.parametrize("home", [False, True])
def test_path_of_a_file(tmp_path, monkeypatch, home):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "my text.txt").write_text("mine")
    path = "~/my text.txt" if home else tmp_path / "my text.txt"
    assert textgen.load_corpus(path) == "mine"


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("shakespear", ["shakespeare"]),
        ("tinyshakspeare", ["tinyshakespeare"]),
        ("dinosaur", ["dinosaurs", "dinosaurs-reference"]),
        ("tang", ["tang-poems"]),
        ("xyzzy", list(textgen.CORPORA)),
    ],
)
def test_unknown_name(folders, name, near):
    with pytest.raises(FileNotFoundError, match=f"'{name}'") as info:
        textgen.load_corpus(name)
    for known in near:
        assert known in str(info.value)


def test_missing_file(folders):
    with pytest.raises(FileNotFoundError, match=re.escape("'no/such file.txt'")):
        textgen.load_corpus("no/such file.txt")


@pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbf"])
def test_empty_file(write, data):
    with pytest.raises(ValueError, match=r"text\.txt is empty"):
        textgen.load_corpus(write(data))


@pytest.mark.parametrize(
    ("data", "encoding", "offset", "byte"),
    [
        (b"\xff", "utf-8", 0, 0xFF),
        ("naïve".encode("latin-1"), "utf-8", 2, 0xEF),
        (b"\xef\xbb\xbfab\xe9", "utf-8", 5, 0xE9),
        (b"x" * 100_000 + b"\xc3", "utf-8", 100_000, 0xC3),
        (b"\r\n\r\nab\x81", "cp1252", 6, 0x81),
        ("é".encode(), "ascii", 0, 0xC3),
        pytest.param(
            b"\xef\xbb\xbfab\xe9",
            "utf-8-sig",
            5,
            0xE9,
        ),
    ],
)
def test_invalid_bytes(write, data, encoding, offset, byte):
    with pytest.raises(ValueError, match="encoding=") as info:
        textgen.load_corpus(write(data), encoding=encoding)
    assert f"not valid {encoding}: byte 0x{byte:02x} at offset {offset}." in str(
        info.value
    )
    assert "text.txt" in str(info.value)


@pytest.mark.parametrize("encoding", ["utf-9", "", "hex"])
def test_unknown_encoding(write, encoding):
    with pytest.raises(ValueError, match=f"encoding='{encoding}'"):
        textgen.load_corpus(write(b"text"), encoding=encoding)


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("utf-8", "naïve 詩 \U0001f996\n"),
        ("latin-1", "naïve ÿ\x80\n"),
        ("cp1252", "naïve – “quoted”\n"),
        ("utf-16", "naïve 詩 \U0001f996\n"),
        ("gb18030", "白日依山尽\n"),
    ],
)
def test_encodings(write, encoding, text):
    path = write(text.encode(encoding))
    assert textgen.load_corpus(path, encoding=encoding) == text


def test_codec_with_other_errors(write):
    with pytest.raises(ValueError, match=r"text\.txt is not valid undefined: .+\."):
        textgen.load_corpus(write(b"a"), encoding="undefined")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16-le", "utf-32-be"])
def test_byte_order_mark_is_removed(write, encoding):
    path = write("\ufeffa\ufeffb".encode(encoding))
    assert textgen.load_corpus(path, encoding=encoding) == "a\ufeffb"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize(
    "text",
    [
        "a\r\nb\r\n",
        "a\rb\r",
        "\r\r\n\n\r",
        "a\x0bb\x0cc\x1cd\x85e\u2028f\u2029",
        "\x00\r\n\x1a",
    ],
)
def test_newlines_as_open_reads_them(write, encoding, text):
    path = write(text.encode(encoding))
    assert textgen.load_corpus(path, encoding=encoding) == path.read_text(encoding)


def test_newlines_become_line_feeds(write):
    assert textgen.load_corpus(write(b"a\r\nb\rc\n\r\r\n")) == "a\nb\nc\n\n\n"


def test_zip_file(tmp_path):
    with zipfile.ZipFile(tmp_path / "text.zip", "w") as archive:
        archive.writestr("text.txt", "Naïve\r\n".encode("latin-1"))
    assert textgen.load_corpus(tmp_path / "text.zip", True, "latin-1") == "naïve\n"


def test_lowercase(write):
    path = write("ABC Éß Σ\n".encode())
    assert textgen.load_corpus(path, lowercase=True) == "abc éß σ\n"
    assert textgen.load_corpus(path) == "ABC Éß Σ\n"


def test_standard_input(monkeypatch):
    data = "\ufeffNaïve\r\n".encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), "ascii"))
    assert textgen.load_corpus("-", lowercase=True) == "naïve\n"


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"", "standard input is empty"), (b"ab\xff", "standard input .* offset 2")],
)
def test_bad_standard_input(monkeypatch, data, message):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    with pytest.raises(ValueError, match=message):
        textgen.load_corpus("-")


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
@pytest.mark.parametrize(
    ("data", "what"),
    [
        (gzip.compress(bz2.compress(b"text"), mtime=0), "compressed twice"),
        (lzma.compress(bz2.compress(b"text")), "compressed twice"),
        (bz2.compress(bytes(257) + b"ustar"), "a tar archive.* give its folder"),
        (b"%PDF-1.7 ...", "a PDF file.*pdftotext"),
        (b"PK\x03\x04 a .docx", "a zip file"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (b"\x89PNG\r\n", "an image"),
    ],
)
def test_kind_of_a_file_that_is_not_text_is_named(data, what, encoding, tmp_path):
    path = tmp_path / "file.txt"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=f"file.txt is {what}"):
        textgen.load_corpus(path, encoding=encoding)


def test_binary_file_is_not_read_as_latin_1(tmp_path):
    path = tmp_path / "file.txt"
    path.write_bytes(b"ELF\x00\x01\x02")
    with pytest.raises(ValueError, match="zero bytes: it is a binary file"):
        textgen.load_corpus(path, encoding="latin-1")
    path.write_text("text", encoding="utf-16")
    assert textgen.load_corpus(path, encoding="utf-16") == "text"
