"""`textgen serve`: models in a browser and over HTTP."""

import argparse
import functools
import sys
import threading
from pathlib import Path
from typing import Any

import textgen
from textgen.cli import options
from textgen.models import catalogue
from textgen.web.limits import Limits

PORT = 8000

_FIRST = "tinyshakespeare"  # the default model: it knows all that English texts have

_MINIMUMS = {
    "port": 0,
    "max_new_tokens": 1,
    "max_characters": 1,
    "max_body_bytes": 1,
    "parallel": 1,
    "waiting": 0,
}


def add_serve(commands: Any) -> None:
    """Adds the command `serve` to the parser."""
    parser = commands.add_parser(
        "serve",
        help="serve models in a browser and over HTTP",
        usage="%(prog)s [MODEL ...] [options]",
        description="Serve a page on which models generate and explain text, and the "
        "same over HTTP: POST /generate, POST /score and GET /models; /docs describes "
        "them. Only this machine can connect, unless --host says otherwise. Ctrl-C "
        "stops it. It needs the extra web: pip install 'keras-textgen[web]'.",
        formatter_class=options.HelpFormatter,
    )
    parser.set_defaults(run=_serve, parser=parser)
    add = parser.add_argument
    add(
        "models",
        nargs="*",
        metavar="MODEL",
        help="a .keras file, or the name of a pretrained model; the first one is the "
        "default (default: all pretrained models)",
    )
    add(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="address to listen on; 0.0.0.0 for all networks: then anyone who reaches "
        "this machine can use the models, there is no password",
    )
    add(
        "--port",
        type=int,
        default=PORT,
        metavar="N",
        help="port to listen on; 0 takes a free one",
    )
    add(
        "--allow-host",
        nargs="+",
        default=[],
        metavar="NAME",
        help="further names of this machine, as a browser shows them; requests under "
        "other names are refused",
    )
    add("--open", action="store_true", help="open the page in the browser")

    limits = Limits()
    group = parser.add_argument_group(
        "limits", "A request beyond them gets an error that names the limit."
    )
    add = group.add_argument
    add(
        "--max-new-tokens",
        type=int,
        default=limits.max_new_tokens,
        metavar="N",
        help="new tokens of one text",
    )
    add(
        "--max-characters",
        type=int,
        default=limits.max_characters,
        metavar="N",
        help="characters of a prompt, or of a text that is scored",
    )
    add(
        "--max-body-bytes",
        type=int,
        default=limits.body_bytes,
        metavar="N",
        help="bytes of the body of a request",
    )
    add(
        "--parallel",
        type=int,
        default=limits.parallel,
        metavar="N",
        help="texts that are generated at the same time",
    )
    add(
        "--waiting",
        type=int,
        default=limits.waiting,
        metavar="N",
        help="further requests that wait; all others get the status 503",
    )


def _serve(arguments: argparse.Namespace) -> None:
    options.check_minimums(arguments, _MINIMUMS)
    if arguments.port > 65535:
        raise ValueError(f"--port {arguments.port} must be at most 65535.")
    models = _models(arguments.models)
    try:
        from textgen.web import server
    except ImportError as error:
        if (error.name or "").partition(".")[0] == "textgen":
            raise
        raise ImportError(
            f"textgen serve needs {error.name}: pip install 'keras-textgen[web]'"
        ) from error
    limits = Limits(
        max_new_tokens=arguments.max_new_tokens,
        max_characters=arguments.max_characters,
        body_bytes=arguments.max_body_bytes,
        parallel=arguments.parallel,
        waiting=arguments.waiting,
    )
    listening = server.bind(arguments.host, arguments.port)
    textgen.import_keras()
    models = {  # an error of a file is told now
        name: source if source == name else textgen.load(source)
        for name, source in models.items()
    }
    started = functools.partial(_tell, arguments, server, listening, len(models))
    hosts = [arguments.host, *arguments.allow_host]
    server.run(listening, models, limits, hosts, started)


def _models(given: list[str]) -> dict[str, Any]:
    """Returns the sources of the models by their names, without loading them.

    Raises:
        FileNotFoundError: A model does not exist.
        ValueError: Two models have the same name.
    """
    if not given:
        names = sorted(catalogue.PRETRAINED, key=lambda name: name != _FIRST)
        return {name: name for name in names}
    found: dict[str, Any] = {}
    for each in given:
        path = catalogue.find(each)
        name = each if each in catalogue.PRETRAINED else Path(path).stem
        if name in found:
            raise ValueError(
                f"Two models are called {name}: rename the file {each}, or leave it "
                "out."
            )
        found[name] = each if name == each else path
    return found


def _tell(
    arguments: argparse.Namespace, server: Any, listening: Any, count: int
) -> None:
    """Prints where the page is, and opens it."""
    url = server.url_of(listening)
    if not server.is_loopback(listening):
        print(
            f"textgen serve: warning: anyone who reaches {arguments.host} can use the "
            "models: there is no password.",
            file=sys.stderr,
        )
    models = "1 model" if count == 1 else f"{count} models"
    print(f"Serving {models} at {url} (Ctrl-C stops)", flush=True)
    if arguments.open:
        import webbrowser

        threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
