"""The application: one page and the HTTP API, for any ASGI server."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.staticfiles import StaticFiles

from textgen.messages import printable
from textgen.web import schema
from textgen.web.answers import Service
from textgen.web.documentation import page
from textgen.web.guard import LOOPBACK, Guard, as_json
from textgen.web.limits import Limits
from textgen.web.served import ServedModels

_STATIC = Path(__file__).with_name("static")

_DESCRIPTION = (
    "Generates text with recurrent language models, and says how probable a text is. "
    "All requests have JSON bodies."
)

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": schema.Problem, "description": "The body is not JSON."},
    403: {"model": schema.Problem, "description": "A wrong Host or Origin."},
    404: {"model": schema.Problem, "description": "There is no such model."},
    413: {"model": schema.Problem, "description": "The body is too large."},
    415: {"model": schema.Problem, "description": "The body has another type."},
    422: {"model": schema.Problem, "description": "A field has a wrong value."},
    503: {
        "model": schema.Problem,
        "description": "Too many requests wait: try again after Retry-After seconds.",
    },
}


def application(
    models: Mapping[str, Any],
    limits: Limits | None = None,
    hosts: Iterable[str] = LOOPBACK,
    warm_up: bool = False,
) -> FastAPI:
    """Returns the application, which any ASGI server can run, or another one mount.

    Args:
        models: Mapping of name, and a textgen model, the path of a `.keras` file, or
            the name of a pretrained model. The first one is the default model. Files
            are loaded at first use.
        limits: `Limits`, or `None` for the default ones.
        hosts: Iterable of str. Names and addresses that the header `Host` of a request
            may have, beside the address that the client connected to. Defaults to the
            names of this machine for itself.
        warm_up: bool. Whether all models are loaded and compiled in the background when
            the server starts. Defaults to `False`.

    Returns:
        FastAPI application. `state.service` holds its models and limits.

    Raises:
        ValueError: There are no models.

    Example:

    ```python
    from textgen.web.application import application

    app = application({"poems": "poems.keras"}, hosts=["poems.example"])
    ```
    """
    limits = limits or Limits()
    service = Service(ServedModels(models), limits)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if warm_up:
            service.models.warm_up()
        yield
        await asyncio.to_thread(service.close)

    app = FastAPI(
        title="textgen",
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # it loads scripts from another server
        redoc_url=None,
    )
    app.state.service = service
    app.add_middleware(Guard, limits=limits, hosts=tuple(hosts))
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    _add_routes(app, service)
    app.mount("/static", StaticFiles(directory=_STATIC))
    return app


def _add_routes(app: FastAPI, service: Service) -> None:
    limits = service.limits

    @app.get("/", include_in_schema=False)
    async def index() -> Response:
        return FileResponse(_STATIC / "index.html")

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> Response:
        return HTMLResponse(page(app.openapi(), _examples(request)))

    @app.get(
        "/models",
        summary="The models and the limits",
        response_model=None,
        responses={200: {"model": schema.Models, "description": "The models."}},
    )
    async def models() -> Response:
        return _json(
            {
                "default": service.models.default,
                "models": await service.models.descriptions(),
                "limits": {
                    "max_new_tokens": limits.max_new_tokens,
                    "max_characters": limits.max_characters,
                    "alternatives": limits.alternatives,
                },
            }
        )

    @app.post(
        "/generate",
        summary="Generate a text",
        response_model=None,
        responses={
            200: {
                "model": schema.Generated,
                "description": "The text. With stream, the events start (seed, model), "
                "text (text, the next piece), done (finished) and error (message).",
            },
            **_PROBLEMS,
        },
    )
    async def generate(request: schema.Generate) -> Response:
        return service.generate(request)

    @app.post(
        "/score",
        summary="Say how probable a text is",
        response_model=None,
        responses={
            200: {"model": schema.Scored, "description": "The text, token by token."},
            **_PROBLEMS,
        },
    )
    async def score(request: schema.ScoreRequest) -> Response:
        return service.score(request)


def _examples(request: Request) -> dict[str, str]:
    """Returns a command for each path, with the address that the client used."""
    url = str(request.url.replace(query="")).removesuffix("docs")
    body = {"prompt": "", "max_new_tokens": 100, "seed": 1}
    post = f"curl {url}{{}} -H 'Content-Type: application/json' \\\n  -d '{{}}'"
    return {
        "/models": f"curl {url}models",
        "/generate": post.format("generate", json.dumps(body)),
        "/score": post.format("score", json.dumps({"text": "rex"})),
    }


def _json(
    value: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    return Response(as_json(value), status, headers, "application/json")


async def _http_error(request: Request, error: Exception) -> Response:
    """Answers what the framework found, such as a path that does not exist."""
    assert isinstance(error, HTTPException)
    shown = f"{request.method} {printable(request.url.path, 100)}"
    messages = {
        400: "The body is not JSON: send an object such as {}.",
        404: f"There is no {shown}: GET /docs lists what there is.",
        405: f"{shown} does not exist: GET /docs lists the methods.",
    }
    message = messages.get(error.status_code, printable(error.detail))
    return _json({"error": message}, error.status_code, error.headers)


async def _invalid(_: Request, error: Exception) -> Response:
    """Answers a request that has not the fields of its schema."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return _json(
            {"error": f"The body is not JSON: {first['ctx']['error']}."}, status=400
        )
    names = [str(each) for each in first["loc"] if each != "body"]
    name = printable(".".join(names), 100)
    if not names:
        message = "The body must be an object with the fields of GET /docs."
    elif first["type"] == "missing":
        message = f"The field {name} is missing: GET /docs describes it."
    elif first["type"] == "extra_forbidden":
        message = f"There is no field {name}: GET /docs lists the fields."
    else:
        value = printable(ascii(first["input"]), 60)
        reason = printable(first["msg"][:1].lower() + first["msg"][1:])
        message = f"{name}={value} is not valid: {reason.replace('input', 'it')}."
    return _json({"error": message}, status=422)
