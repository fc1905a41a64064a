"""The page and the HTTP API, with tiny models, compared with the models themselves."""

import asyncio
import html.parser
import threading

import numpy as np
import pytest
from asgi_client import Exchange, ask
from small_models import KINDS, VOCABULARY, log_probabilities, make, shared
from starlette.applications import Starlette
from starlette.routing import Mount

from textgen import PRETRAINED, ByteTokenizer
from textgen.web.application import application
from textgen.web.limits import Limits

LIMITS = Limits(max_new_tokens=50, max_characters=60, alternatives=4, workers=2)
SETTINGS = [
    {},
    {"model": "window", "prompt": "fade", "seed": 3, "temperature": 1.5},
    {"prompt": "Bad", "seed": 2**53 - 1, "top_k": 3},
    {"prompt": "a", "seed": 0, "top_p": 0.6, "temperature": 1},
    {"model": "state", "seed": 4, "stop": ["a", "de"], "temperature": 2},
    {"model": "state", "seed": 4, "temperature": 0, "max_new_tokens": 0},
    {"model": "state", "prompt": "xa", "seed": 5, "unknown": "skip"},
    {"model": "state", "prompt": "xa", "seed": 5, "unknown": "b"},
    {"model": "labels", "prompt": "a", "seed": 6, "label": ["one"]},
    {"model": "labels", "prompt": "a", "seed": 6, "label": "two"},
]


@pytest.fixture(scope="module")
def models():
    labels = make(**KINDS["state"], labels=["one", "two"])
    labels.notes["corpus"] = "poems.txt"
    return {
        "start step": shared("start step"),
        "state": shared("state"),
        "window": shared("window"),
        "labels": labels,
        "bytes": make(ByteTokenizer(), units=4, return_sequences=True),
    }


@pytest.fixture(scope="module")
def app(models):
    made = application(models, LIMITS)
    yield made
    made.state.service.close()


def by_definition(models, request, seed):
    """The text that the library generates."""
    request = {"max_new_tokens": 50, **request, "seed": seed}
    model = models[request.pop("model", "start step")]
    request["stop"] = request.get("stop") or None
    return model.generate(**request, echo=False)


# === /generate ===


@pytest.mark.parametrize("request_", SETTINGS)
def test_text_is_that_of_the_library_streamed_or_not(app, models, request_):
    body = {"max_new_tokens": 50, **request_}
    answer = ask(app, "POST", "/generate", body)
    assert answer.status == 200, answer
    found = answer.json
    assert found["model"] == request_.get("model", "start step")
    assert found["seed"] == request_.get("seed", found["seed"])
    assert found["text"] == by_definition(models, request_, found["seed"])
    assert set(found) == {"model", "seed", "text", "finished"}

    body |= {"stream": True, "seed": found["seed"]}
    answer = ask(app, "POST", "/generate", body)
    assert answer.headers[b"content-type"].startswith(b"text/event-stream")
    start, *texts, done = answer.events
    assert start == ("start", {"seed": found["seed"], "model": found["model"]})
    assert {event for event, _ in texts} <= {"text"}
    assert "".join(data["text"] for _, data in texts) == found["text"]
    assert all(data["text"] for _, data in texts)
    assert done == ("done", {"finished": found["finished"]})


def test_a_text_says_why_it_ended(app, models):
    for length in (1, 17, 50):
        body = {"model": "state", "max_new_tokens": length, "seed": 1}
        found = ask(app, "POST", "/generate", body).json
        assert len(found["text"]) == length
        assert found["finished"] == "length"
    whole = found["text"]
    at = whole.index(whole[-1])  # the first occurrence ends the text
    for length in (50, at + 1):  # also with the last token
        body = {"model": "state", "max_new_tokens": length, "seed": 1}
        found = ask(app, "POST", "/generate", {**body, "stop": [whole[-1]]}).json
        assert (found["text"], found["finished"]) == (whole[:at], "stop")


def test_other_texts_without_a_seed(app):
    texts = {ask(app, "POST", "/generate", {}).json["seed"] for _ in range(3)}
    assert len(texts) == 3


def test_the_first_text_comes_before_the_last(app, models):
    whole = by_definition(models, {"model": "state", "max_new_tokens": 50}, 1)

    async def run():
        body = {"model": "state", "seed": 1, "max_new_tokens": 50, "stream": True}
        exchange = Exchange(app, "POST", "/generate", body)
        seen, send = [], exchange.send

        async def record(message):
            seen.append(message.get("body", b""))
            await send(message)

        exchange.send = record
        await exchange.run()
        return seen

    seen = asyncio.run(run())
    pieces = [each for each in seen if each.startswith(b"event: text")]
    assert len(pieces) > 1
    assert len(pieces[0]) < len(whole)


def test_a_client_that_leaves_ends_its_text_and_frees_its_place(models):
    limits = Limits(parallel=1, waiting=0, workers=1, max_new_tokens=10**6)
    app = application(models, limits)
    body = {"model": "state", "max_new_tokens": 10**6, "seed": 1}

    async def run(stream):
        exchange = Exchange(app, "POST", "/generate", {**body, "stream": stream})
        task = asyncio.create_task(exchange.run())
        while app.state.service.places.taken != 1:
            await asyncio.sleep(0.001)
        if stream:
            await exchange.started.wait()
        # There is no other place, and nobody may wait.
        busy = await Exchange(app, "POST", "/generate", {}).run()
        assert busy.status == 503
        assert int(busy.headers[b"retry-after"]) > 0
        assert "try again" in busy.json["error"]
        exchange.gone.set()
        await asyncio.wait_for(task, 10)
        assert app.state.service.places.taken == 0
        assert b"done" not in exchange.body
        short = {"model": "state", "max_new_tokens": 1}
        assert (await Exchange(app, "POST", "/generate", short).run()).status == 200

    for stream in (True, False):
        asyncio.run(run(stream))
    app.state.service.close()


def test_requests_wait_for_their_turn(models):
    app = application(models, Limits(parallel=2, waiting=20, workers=2))
    body = {"model": "state", "max_new_tokens": 40, "stream": True}
    expected = [
        by_definition(models, {"model": "state", "max_new_tokens": 40}, seed)
        for seed in range(12)
    ]

    async def run():
        answers = [
            Exchange(app, "POST", "/generate", {**body, "seed": seed}).run()
            for seed in range(12)
        ]
        return await asyncio.gather(*answers)

    found = [
        "".join(data.get("text", "") for _, data in answer.events)
        for answer in asyncio.run(run())
    ]
    assert found == expected
    app.state.service.close()


def test_texts_advance_in_turn(models):
    """A short text does not wait for the end of a long one."""
    limits = Limits(workers=1, max_new_tokens=10**6)
    app = application(models, limits)

    async def run():
        body = {"model": "state", "max_new_tokens": 10**6, "stream": True}
        long = Exchange(app, "POST", "/generate", body)
        task = asyncio.create_task(long.run())
        await long.started.wait()
        short = {"model": "state", "max_new_tokens": 300}
        answer = await Exchange(app, "POST", "/generate", short).run()
        assert (answer.status, len(answer.json["text"])) == (200, 300)
        assert not task.done()
        long.gone.set()
        await task

    asyncio.run(run())
    app.state.service.close()


# === /score ===


def softmax_of(models, name, text):
    """Probabilities at each place, or `None` where the model has none."""
    rows = np.exp(log_probabilities(models[name], text))
    return [None if np.isnan(row).any() else row for row in rows[: len(text)]]


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("text", ["fade", "bad cafe\nface deaf\n" * 3])
def test_probabilities_are_the_softmax_of_the_logits(app, models, name, text):
    body = {"model": name, "text": text, "alternatives": 3}
    found = ask(app, "POST", "/score", body).json
    assert "".join(each["text"] for each in found["tokens"]) == text
    rows = softmax_of(models, name, text)
    for token, row in zip(found["tokens"], rows, strict=True):
        if row is None:
            assert (token["probability"], token["alternatives"]) == (None, [])
            continue
        index = VOCABULARY.ids[token["text"]]
        assert token["probability"] == pytest.approx(row[index], rel=1e-4)
        best = np.argsort(-row)[:3]
        names = [each["text"] for each in token["alternatives"]]
        assert names == [VOCABULARY.symbols[i] for i in best]
        values = [each["probability"] for each in token["alternatives"]]
        np.testing.assert_allclose(values, row[best], rtol=1e-4)
    counted = [
        row[VOCABULARY.ids[c]]
        for c, row in zip(text, rows, strict=True)
        if row is not None
    ]
    nats = -np.mean(np.log(counted))
    assert found["count"] == len(counted)
    assert found["nats"] == pytest.approx(nats, rel=1e-4)
    assert found["bits"] == pytest.approx(nats / np.log(2), rel=1e-4)
    assert found["bits_per_character"] == pytest.approx(found["bits"])
    assert found["perplexity"] == pytest.approx(np.exp(nats), rel=1e-4)


def test_text_is_shown_as_the_model_reads_it(app):
    body = {"text": "FaDe x", "unknown": "skip", "alternatives": 0}
    tokens = ask(app, "POST", "/score", body).json["tokens"]
    assert [each["text"] for each in tokens] == list("fade ")
    assert all(each["alternatives"] == [] for each in tokens)


def test_tokens_of_one_character_are_joined(app, models):
    text = "aé詩😀b"
    answer = ask(app, "POST", "/score", {"model": "bytes", "text": text})
    tokens = answer.json["tokens"]
    assert [each["text"] for each in tokens] == list(text)
    data = text.encode()
    logits = models["bytes"].predict_on_batch(np.array([list(data)]))[0]
    logits = logits.astype(np.float64)
    rows = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    places = np.cumsum([0, *(len(each.encode()) for each in text)])
    assert tokens[0]["probability"] is None
    for index in range(1, len(text)):
        first, end = places[index : index + 2]
        product = np.prod([rows[at - 1, data[at]] for at in range(first, end)])
        assert tokens[index]["probability"] == pytest.approx(product, rel=1e-3)
        best = np.argsort(-rows[first - 1])[:4]
        symbols = models["bytes"].vocabulary.symbols
        names = [each["text"] for each in tokens[index]["alternatives"]]
        assert names == [symbols[i] for i in best]


def test_labels_are_read_before_a_text(app, models):
    found = {}
    for label in (None, "one", ["two"]):
        body = {"model": "labels", "text": "fade", "label": label}
        answer = ask(app, "POST", "/score", body).json
        assert len(answer["tokens"]) == 4
        score = models["labels"].score("fade", label=label)
        assert answer["nats"] == pytest.approx(score.nats, rel=1e-5)
        found[str(label)] = answer["nats"]
    assert len(set(found.values())) == 3


# === Wrong requests ===

WRONG = [
    (b"", 422, "The body must be an object"),
    (b"{", 400, "The body is not JSON"),
    (b"\xff", 400, "The body is not JSON"),
    (b'{"seed": ' + b"9" * 5000 + b"}", 400, "The body is not JSON"),
    (b"[" * 50_000, 400, "The body is not JSON"),
    (b"[]", 422, "The body must be an object"),
    ("text", 422, "The body must be an object"),
    (None, 422, "The body must be an object"),
    ({"length": 5}, 422, "There is no field length"),
    ({"\x1b": 5}, 422, r"There is no field \x1b"),
    ({"model": "none"}, 404, "no model 'none': use one of start step, state"),
    ({"model": 3}, 422, "model=3 is not valid"),
    ({"prompt": 3}, 422, "prompt=3"),
    ({"prompt": None}, 422, "prompt=None"),
    ({"prompt": ["a"]}, 422, "prompt=['a']"),
    ({"prompt": "a" * 61}, 422, "prompt has 61 characters and must have at most 60"),
    ({"prompt": "axb"}, 422, '\'x\' at position 1. Send "unknown": "skip"'),
    ({"prompt": "\ud800"}, 422, r"'\ud800' at position 0"),
    ({"unknown": "xy"}, 422, "unknown='xy' must be"),
    ({"max_new_tokens": 51}, 422, "max_new_tokens=51 must be at most 50"),
    ({"max_new_tokens": -1}, 422, "max_new_tokens=-1"),
    ({"max_new_tokens": "5"}, 422, "max_new_tokens='5'"),
    ({"max_new_tokens": True}, 422, "max_new_tokens=True"),
    ({"max_new_tokens": 1.5}, 422, "max_new_tokens=1.5"),
    ({"temperature": -1}, 422, "temperature=-1"),
    ({"temperature": "hot"}, 422, "temperature='hot'"),
    (b'{"temperature": NaN}', 422, "temperature=nan"),
    (b'{"temperature": 1e999}', 422, "temperature=inf"),
    ({"top_p": 0}, 422, "top_p=0"),
    ({"top_p": 1.1}, 422, "top_p=1.1"),
    ({"top_k": 0}, 422, "top_k=0"),
    ({"top_k": 2**40}, 422, "top_k="),
    ({"seed": -1}, 422, "seed=-1"),
    ({"seed": 2**53}, 422, "seed=9007199254740992"),
    ({"stop": "a"}, 422, "stop='a'"),
    ({"stop": [""]}, 422, "stop.0=''"),
    ({"stop": ["a"] * 17}, 422, "stop=['a', 'a'"),
    ({"stop": [3]}, 422, "stop.0=3"),
    ({"label": "one"}, 422, "label"),
    ({"model": "labels", "label": ["three"]}, 422, "three"),
    ({"label": 3}, 422, "label"),
    ({"stream": "yes"}, 422, "stream='yes'"),
]


@pytest.mark.parametrize(("body", "status", "message"), WRONG)
def test_wrong_requests_have_clear_errors(app, body, status, message):
    answer = ask(app, "POST", "/generate", body)
    assert answer.status == status, answer
    assert answer.headers[b"content-type"] == b"application/json"
    assert list(answer.json) == ["error"]
    assert message in answer.json["error"]
    assert answer.json["error"].isprintable()
    assert len(answer.json["error"]) <= 1000


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({}, 422, "The field text is missing"),
        ({"text": ""}, 422, "The text is empty"),
        ({"text": "a", "model": "state"}, 422, "fewer than two tokens"),
        ({"text": "axb"}, 422, "'x' at position 1"),
        ({"text": "a" * 61}, 422, "text has 61 characters"),
        ({"text": "ab", "alternatives": 5}, 422, "alternatives=5 must be at most 4"),
        ({"text": "ab", "alternatives": -1}, 422, "alternatives=-1"),
        ({"text": "ab", "model": "none"}, 404, "no model 'none'"),
    ],
)
def test_wrong_scores_have_clear_errors(app, body, status, message):
    answer = ask(app, "POST", "/score", body)
    assert answer.status == status, answer
    assert message in answer.json["error"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/none", 404),
        ("GET", "/static/none.js", 404),
        ("GET", "/static/../application.py", 404),
        ("GET", "/static/%2e%2e/application.py", 404),
        ("GET", "/generate", 405),
        ("DELETE", "/models", 405),
        ("POST", "/", 405),
        ("GET", "/redoc", 404),
    ],
)
def test_other_paths(app, method, path, status):
    answer = ask(app, method, path)
    assert answer.status == status
    assert "GET /docs" in answer.json["error"]


def test_errors_inside_show_no_traceback(app, models, monkeypatch, capsys):
    def fails(*_, **__):
        yield "a"
        raise RuntimeError("secret")

    monkeypatch.setattr(models["state"], "stream", fails)
    body = {"model": "state"}
    answer = ask(app, "POST", "/generate", body)
    assert answer.status == 500
    assert "secret" not in answer.json["error"]
    assert "RuntimeError: secret" in capsys.readouterr().err
    events = ask(app, "POST", "/generate", {**body, "stream": True}).events
    assert [event for event, _ in events] == ["start", "text", "error"]
    assert "secret" not in events[-1][1]["message"]
    assert "RuntimeError: secret" in capsys.readouterr().err
    assert app.state.service.places.taken == 0


# === Models ===


def test_models_are_described(app):
    found = ask(app, "GET", "/models").json
    assert found["default"] == "start step"
    assert found["limits"] == {
        "max_new_tokens": 50,
        "max_characters": 60,
        "alternatives": 4,
    }
    by_name = {each["name"]: each for each in found["models"]}
    assert list(by_name) == ["start step", "state", "window", "labels", "bytes"]
    assert by_name["window"] == {
        "name": "window",
        "title": "window",
        "level": "character",
        "tokens": len(VOCABULARY),
        "network": "LSTM 6, 7",
        "lines": False,
        "labels": [],
        "samples": [],
    }
    assert by_name["labels"]["labels"] == ["one", "two"]
    assert by_name["labels"]["title"] == "Trained on poems.txt"
    assert (by_name["bytes"]["level"], by_name["bytes"]["tokens"]) == ("byte", 256)


def test_pretrained_models_are_loaded_at_first_use_and_once(monkeypatch):
    from textgen.models import loading

    loaded = []

    def load(name):
        loaded.append(name)
        assert threading.current_thread() is not threading.main_thread()
        return shared("state")

    monkeypatch.setattr(loading, "load", load)
    app = application({name: name for name in PRETRAINED}, LIMITS)
    assert loaded == []

    async def run():
        body = {"model": "tinyshakespeare", "prompt": "a", "max_new_tokens": 3}
        return await asyncio.gather(
            *(Exchange(app, "POST", "/generate", body).run() for _ in range(5))
        )

    assert {answer.status for answer in asyncio.run(run())} == {200}
    assert loaded == ["tinyshakespeare"]
    found = {each["name"]: each for each in ask(app, "GET", "/models").json["models"]}
    assert sorted(loaded) == sorted(found) == sorted(PRETRAINED)
    assert found["dinosaurs"]["title"] == "New dinosaur names"
    assert found["tinyshakespeare"]["samples"] == ["ROMEO:"]
    app.state.service.close()


def test_model_that_cannot_be_loaded(models, tmp_path, capsys):
    path = tmp_path / "bad.keras"
    path.write_bytes(b"no model")
    app = application({"bad": path, "state": models["state"]}, LIMITS)
    answer = ask(app, "POST", "/generate", {})
    assert answer.status == 500
    assert "The model bad cannot be loaded" in answer.json["error"]
    found = ask(app, "GET", "/models").json["models"]
    assert [each["name"] for each in found] == ["state"]
    assert ask(app, "POST", "/generate", {"model": "state"}).status == 200
    assert "bad.keras" in capsys.readouterr().err
    app.state.service.close()
    with pytest.raises(ValueError, match="models is empty"):
        application({})


def test_lifespan_warms_up_and_closes(monkeypatch, models):
    app = application({"state": models["state"]}, LIMITS, warm_up=True)
    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent = []

    async def receive():
        if len(messages) == 1:
            await app.state.service.models.ready("state")
        return messages.pop(0)

    async def send(message):
        sent.append(message["type"])

    asyncio.run(app({"type": "lifespan", "state": {}}, receive, send))
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    with pytest.raises(RuntimeError, match="stops"):
        app.state.service.workers.submit(print)


def test_application_can_be_mounted(models):
    inner = application({"state": models["state"]}, LIMITS)
    app = Starlette(routes=[Mount("/poems", inner)])
    assert ask(app, "GET", "/poems/models").json["default"] == "state"
    body = {"max_new_tokens": 3, "seed": 1}
    assert len(ask(app, "POST", "/poems/generate", body).json["text"]) == 3
    assert ask(app, "GET", "/poems/", headers=[(b"host", b"x")]).status == 403
    assert ask(app, "GET", "/poems/").status == 200
    assert b"127.0.0.1:8000/poems/generate" in ask(app, "GET", "/poems/docs").body
    inner.state.service.close()


# === Pages ===


class Page(html.parser.HTMLParser):
    """Collects what a page loads, and whether it has code or styles of its own."""

    def __init__(self, text):
        super().__init__()
        self.loaded, self.inline = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        names = dict(attributes)
        if tag in ("link", "script", "img", "a"):
            self.loaded += [names[key] for key in ("href", "src") if key in names]
        if (tag == "script" and "src" not in names) or tag == "style":
            self.inline.append(tag)
        self.inline += [key for key in names if key.startswith("on") or key == "style"]


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_pages_load_only_what_is_packaged(app, path):
    answer = ask(app, "GET", path)
    assert answer.status == 200
    assert answer.headers[b"content-type"] == b"text/html; charset=utf-8"
    assert answer.headers[b"content-security-policy"].startswith(b"default-src 'self';")
    page = Page(answer.body.decode())
    assert page.inline == []  # the policy would refuse it
    for address in page.loaded:
        if address.startswith("#"):
            continue
        assert "//" not in address
        assert ":" not in address
        assert ask(app, "GET", "/" + address.lstrip("./")).status == 200


def test_docs_name_all_fields_and_errors(app):
    description = ask(app, "GET", "/openapi.json").json
    text = ask(app, "GET", "/docs").body.decode()
    for schema in description["components"]["schemas"].values():
        if "ValidationError" in schema["title"]:
            continue
        for name in schema["properties"]:
            assert f"{name}</code>" in text or f'"{name}"' in text
    for path in ("/generate", "/score", "/models"):
        assert f" {path}</code>" in text
        assert f"curl http://127.0.0.1:8000{path}" in text
    for status in ("400", "403", "404", "413", "415", "422", "503"):
        assert f"<td>{status}</td>" in text
    # The example of a Host is not HTML.
    headers = [(b"host", b"localhost:8000")]
    assert (
        b"http://localhost:8000/models" in ask(app, "GET", "/docs", None, headers).body
    )
