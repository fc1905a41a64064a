"""What is refused before the application sees it."""

import asyncio

import pytest
from asgi_client import HOST, JSON, Exchange, ask

from textgen.web.guard import LOOPBACK, Guard, as_json
from textgen.web.limits import Limits

LIMITS = Limits(body_bytes=100, body_seconds=0.2)


async def echo(scope, receive, send):
    """Sends the body back."""
    message = await receive()
    assert message["type"] == "http.request"
    assert not message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": message["body"]})


def guarded(app=echo, hosts=LOOPBACK):
    return Guard(app, LIMITS, hosts)


def refused(answer, status):
    assert answer.status == status
    assert list(answer.json) == ["error"]
    return answer.json["error"]


def test_a_body_is_passed_on_at_once():
    for body in (b"a" * 100, [b"ab", b"", b"cd"], b""):
        expected = body if isinstance(body, bytes) else b"".join(body)
        answer = ask(guarded(), "POST", "/", body)
        assert (answer.status, answer.body) == (200, expected)


def test_headers_are_those_of_a_page_that_loads_nothing_from_elsewhere():
    for answer in (
        ask(guarded(), "GET", "/"),
        ask(guarded(), "GET", "/", headers=[(b"host", b"x")]),
    ):
        policy = answer.headers[b"content-security-policy"].decode()
        rules = dict(each.strip().split(" ", 1) for each in policy.split(";"))
        assert rules.pop("default-src") == rules.pop("form-action") == "'self'"
        assert set(rules.values()) == {"'none'"}
        assert set(rules) == {"base-uri", "frame-ancestors", "object-src"}
        assert answer.headers[b"x-content-type-options"] == b"nosniff"
        assert answer.headers[b"cache-control"] == b"no-store"
        assert answer.headers[b"cross-origin-resource-policy"] == b"same-origin"


@pytest.mark.parametrize(
    ("host", "hosts", "status"),
    [
        ("localhost", LOOPBACK, 200),
        ("LOCALHOST:9000", LOOPBACK, 200),  # a forwarded port
        ("localhost.", LOOPBACK, 200),
        ("127.0.0.1", LOOPBACK, 200),
        ("[::1]:8000", LOOPBACK, 200),
        ("[0:0:0:0:0:0:0:1]", LOOPBACK, 200),
        ("poems.example", LOOPBACK, 403),
        ("poems.example", [*LOOPBACK, "Poems.example"], 200),
        ("localhost.poems.example", LOOPBACK, 403),
        ("127.0.0.1.poems.example", LOOPBACK, 403),
        ("poems.example:127.0.0.1", LOOPBACK, 403),
        ("[::1].poems.example", LOOPBACK, 403),
        ("10.0.0.7", LOOPBACK, 403),
        ("0.0.0.0", LOOPBACK, 403),
        ("", LOOPBACK, 403),
        ("[", LOOPBACK, 403),
        ("\xe9\x1b[2J", LOOPBACK, 403),
    ],
)
def test_host(host, hosts, status):
    headers = [(b"host", host.encode("latin-1"))]
    answer = ask(guarded(hosts=hosts), "GET", "/", headers=headers)
    if status != 200:
        assert "--allow-host NAME" in refused(answer, status)
        assert b"\x1b" not in answer.body
    assert answer.status == status


def test_the_address_that_the_client_connected_to_is_a_host():
    async def run():
        exchange = Exchange(guarded(), "GET", "/", headers=[(b"host", b"10.0.0.7:80")])
        exchange.scope["server"] = ("10.0.0.7", 80)
        return await exchange.run()

    assert asyncio.run(run()).status == 200


def test_a_server_without_an_address_has_its_names():
    async def run(host):
        exchange = Exchange(guarded(), "GET", "/", headers=[(b"host", host)])
        exchange.scope["server"] = None
        return (await exchange.run()).status

    assert asyncio.run(run(b"localhost")) == 200
    assert asyncio.run(run(b"None")) == asyncio.run(run(b"")) == 403


def test_one_host_is_needed():
    async def run(values):
        exchange = Exchange(guarded(), "GET", "/")
        exchange.scope["headers"] = [(b"host", value) for value in values]
        return await exchange.run()

    for values in ([], [HOST, HOST], [HOST, b"poems.example"]):
        assert f"this one has {len(values)}" in refused(asyncio.run(run(values)), 400)


@pytest.mark.parametrize(
    ("origin", "host", "status"),
    [
        ("http://127.0.0.1:8000", "127.0.0.1:8000", 200),
        ("HTTP://LocalHost:8000", "localhost:8000", 200),
        ("http://localhost", "localhost:80", 200),
        ("https://localhost", "localhost", 200),  # behind a proxy
        ("http://127.0.0.1:8001", "127.0.0.1:8000", 403),
        ("http://localhost:8000", "127.0.0.1:8000", 403),
        ("http://poems.example", "127.0.0.1:8000", 403),
        ("null", "127.0.0.1:8000", 403),
        ("", "127.0.0.1:8000", 403),
        ("file://127.0.0.1:8000", "127.0.0.1:8000", 403),
        ("127.0.0.1:8000", "127.0.0.1:8000", 403),
        ("http://127.0.0.1:8000.poems.example", "127.0.0.1:8000", 403),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_origin(method, origin, host, status):
    headers = [(b"host", host.encode()), (b"origin", origin.encode())]
    answer = ask(guarded(), method, "/", b"x", headers)
    assert answer.status == status
    if status != 200:
        assert "only pages of this server" in refused(answer, status)


def test_a_second_origin_is_checked_too():
    headers = [
        (b"origin", b"http://" + HOST),
        (b"origin", b"http://poems.example"),
    ]
    assert ask(guarded(), "GET", "/", headers=headers).status == 403


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/json", 200),
        ("Application/JSON; charset=utf-8", 200),
        ("text/plain", 415),  # another site can send these three without a permission
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=application/json", 415),
        ("", 415),
        ("text/plain;application/json", 415),
    ],
)
def test_type_of_a_body(kind, status):
    headers = [(b"content-type", kind.encode())]
    assert ask(guarded(), "POST", "/", b"{}", headers).status == status


def test_two_types_are_no_type():
    headers = [JSON, (b"content-type", b"text/plain")]
    assert "application/json" in refused(
        ask(guarded(), "POST", "/", b"{}", headers), 415
    )


def test_large_bodies():
    read = []

    async def pieces():
        read.append(1)
        assert len(read) < 10
        return {"type": "http.request", "body": b"a" * 40, "more_body": True}

    answer = ask(guarded(), "POST", "/", pieces)
    assert "more than 100 bytes" in refused(answer, 413)
    assert answer.headers[b"connection"] == b"close"
    assert len(read) == 3  # nothing is read beyond the limit
    # A length that is announced is refused before anything is read.
    for length in (b"101", b"9" * 30, b"9" * 5000):
        headers = [(b"content-length", length)]
        refused(ask(guarded(), "POST", "/", pieces, headers), 413)
    assert len(read) == 3
    for length in (b"-1", b"x", b"", b"1_0", b"\xb2"):
        refused(ask(guarded(), "POST", "/", b"", [(b"content-length", length)]), 400)
    assert ask(guarded(), "POST", "/", b"a", [(b"content-length", b"1")]).status == 200


def test_slow_bodies():
    read = []

    async def pieces():
        await asyncio.sleep(0.03)
        read.append(1)
        return {"type": "http.request", "body": b"a", "more_body": True}

    answer = ask(guarded(), "POST", "/", pieces)
    assert "within 0.2 seconds" in refused(answer, 408)
    assert 0 < len(read) < 20
    assert answer.headers[b"connection"] == b"close"


def test_client_that_leaves_before_its_body_is_complete():
    async def leaves():
        return {"type": "http.disconnect"}

    async def never(*_):
        raise AssertionError

    answer = ask(guarded(never), "POST", "/", leaves)
    assert answer.status is None


def test_errors_show_no_traceback(capsys):
    async def fails(scope, receive, send):
        raise RuntimeError("secret\n\x1b[2J")

    message = refused(ask(guarded(fails), "GET", "/"), 500)
    assert "secret" not in message
    [line] = capsys.readouterr().err.splitlines()
    assert line == "textgen serve: error: RuntimeError: secret \\x1b[2J"


def test_error_in_the_middle_of_an_answer(capsys):
    async def fails(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        raise RuntimeError

    answer = ask(guarded(fails), "GET", "/")
    assert (answer.status, answer.body) == (200, b"a")
    assert "RuntimeError" in capsys.readouterr().err


def test_there_are_no_websockets():
    sent = []

    async def send(message):
        sent.append(message)

    async def run():
        await guarded()({"type": "websocket", "headers": []}, None, send)

    asyncio.run(run())
    assert [message["type"] for message in sent] == ["websocket.close"]


def test_json_of_any_text():
    assert as_json({"a": "né 詩"}) == '{"a": "né 詩"}'.encode()
    assert as_json("\ud800é") == b'"\\ud800\\u00e9"'
    with pytest.raises(ValueError, match="JSON"):
        as_json(float("nan"))


@pytest.mark.parametrize("name", ["parallel", "body_bytes", "workers"])
def test_limits_are_checked(name):
    with pytest.raises(ValueError, match=f"{name}=0 must be at least 1"):
        Limits(**{name: 0})
    with pytest.raises(ValueError, match="waiting=-1 must be at least 0"):
        Limits(waiting=-1)
