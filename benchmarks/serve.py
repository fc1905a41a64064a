"""Measures `textgen serve` under load, and checks it with hostile clients.

    python benchmarks/serve.py [MODEL]

It starts `textgen serve MODEL` on a free port of this machine, and measures:

- 50 clients for a minute; each asks for one streamed text of 400 tokens after another.
  Errors, seconds from the request to the first characters (median and 95th percentile),
  characters per second, and the anonymous memory of the server, as medians of five
  seconds: in the middle of the minute, and at its end;
- 200 requests at once, more than there are places: each gets its text, or the status
  503 with `Retry-After`;
- hostile clients, after each of which the server must give the same text as before;
- Ctrl-C, which must end the server within five seconds.

It exits with 1 if something went wrong. Writes benchmark-serve.json. Linux only. The
clients need a part of the cores, which the server lacks.
"""

import argparse
import asyncio
import contextlib
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

TOKENS = 400  # of each text
FIXED = {"seed": 1, "max_new_tokens": 60}  # the text that must stay the same

parser = argparse.ArgumentParser(description="Measures `textgen serve`.")
parser.add_argument("model", nargs="?", default="tinyshakespeare")
parser.add_argument("--clients", type=int, default=50)
parser.add_argument("--seconds", type=float, default=60)


class Server:
    """`textgen serve` in a process of its own.

    Args:
        model: str. A file, or the name of a pretrained model.
    """

    def __init__(self, model: str) -> None:
        command = [sys.executable, "-m", "textgen", "serve", model, "--port", "0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+) ", line)
        if not found:
            raise SystemExit(f"The server did not start: {line!r}")
        self.port = int(found[1])

    def memory(self) -> float:
        """Returns the anonymous resident memory in MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"RssAnon:\s*(\d+) kB", status)
        assert found
        return int(found[1]) * 1024 / 1e6

    def stop(self) -> tuple[int, float]:
        """Sends Ctrl-C; returns the exit code, and the seconds until the end."""
        start = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(30), time.monotonic() - start
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait(), time.monotonic() - start


@contextlib.asynccontextmanager
async def connection(
    port: int,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Opens a connection, and closes it without waiting."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


def request(value: Any, path: str = "/generate", **headers: str) -> bytes:
    """Returns a POST request; underscores in names of headers are hyphens."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    fields = {
        "Host": "127.0.0.1",
        "Connection": "close",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        **{name.replace("_", "-"): text for name, text in headers.items()},
    }
    lines = [f"POST {path} HTTP/1.1", *(f"{a}: {b}" for a, b in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def answer(port: int, data: bytes, wait: float = 60) -> tuple[int, bytes]:
    """Sends bytes; returns the status and everything that comes; 0 for no answer."""
    async with connection(port) as (reader, writer):
        with contextlib.suppress(ConnectionError):
            writer.write(data)
            await writer.drain()
        received = b""
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(wait):
                while piece := await reader.read(1 << 16):
                    received += piece
    found = re.match(rb"HTTP/1.1 (\d+)", received)
    return int(found[1]) if found else 0, received


# === Load ===


async def one_text(port: int, seed: int) -> tuple[float, int]:
    """Streams a text; returns the seconds to its first characters, and its length."""
    body = {"seed": seed, "max_new_tokens": TOKENS, "stream": True}
    first, characters, done = 0.0, 0, False
    async with connection(port) as (reader, writer):
        start = time.perf_counter()
        writer.write(request(body))
        event = ""
        async for line in reader:
            if line.startswith(b"event: "):
                event = line[7:].decode().strip()
            elif line.startswith(b"data: ") and event == "text":
                first = first or time.perf_counter() - start
                characters += len(json.loads(line[6:])["text"])
            done = done or event == "done"
    if not done or not first:
        raise RuntimeError("a stream ended without the event done")
    return first, characters


async def load(server: Server, clients: int, seconds: float) -> dict[str, Any]:
    """Runs all clients, each with one text after another."""
    end = time.monotonic() + seconds
    waits: list[float] = []
    lengths: list[int] = []
    errors: list[str] = []
    memory: list[float] = []

    async def client(number: int) -> None:
        turn = 0
        while time.monotonic() < end:
            turn += 1
            try:
                wait, length = await one_text(server.port, 1000 * number + turn)
            except Exception as error:
                errors.append(f"{type(error).__name__}: {error}")
            else:
                waits.append(wait)
                lengths.append(length)

    async def watch() -> None:
        while time.monotonic() < end:
            memory.append(server.memory())
            await asyncio.sleep(min(1, seconds / 30))

    await asyncio.gather(watch(), *map(client, range(clients)))
    middle = len(memory) // 2
    half = statistics.median(memory[middle - 2 : middle + 3])
    last = statistics.median(memory[-5:])
    return {
        "clients": clients,
        "seconds": seconds,
        "texts": len(waits),
        "errors": errors,
        "first characters, median": statistics.median(waits),
        "first characters, 95 %": statistics.quantiles(waits, n=20)[-1],
        "characters per second": sum(lengths) / seconds,
        "MB at half time": half,
        "MB at the end": last,
        "growth": last / half - 1,
    }


async def overload(port: int) -> str:
    """More requests than places: texts, or the status 503 with Retry-After."""
    data = request({"max_new_tokens": TOKENS})
    found = await asyncio.gather(*(answer(port, data) for _ in range(200)))
    statuses = {each: 0 for each, _ in found}
    for status, received in found:
        statuses[status] += 1
        if status == 503 and b"retry-after" not in received.lower():
            raise RuntimeError("a 503 without Retry-After")
    if set(statuses) != {200, 503}:
        raise RuntimeError(f"statuses {statuses}")
    return ", ".join(f"{count} times {each}" for each, count in statuses.items())


# === Hostile clients ===


async def expect(port: int, data: bytes, *statuses: int) -> str:
    """Sends bytes, and raises RuntimeError for another status."""
    status, received = await answer(port, data)
    if status not in statuses or b"Traceback" in received:
        raise RuntimeError(f"status {status}: {received[-200:]!r}")
    return str(status)


async def huge(port: int) -> str:
    """A body of 64 MB, by its length and in chunks."""
    chunk = b"10000\r\n" + b"a" * 0x10000 + b"\r\n"
    head = request(b"", Transfer_Encoding="chunked").replace(
        b"Content-Length: 0\r\n", b""
    )
    await expect(port, request(b"a" * (64 << 20)), 413, 0)
    await expect(port, head + chunk * 1000, 413, 0)
    await expect(port, request(b"", Content_Length="9" * 15), 413)
    return "413, or closed while it was sent"


async def wrong(port: int) -> str:
    """Bodies that are not what they should be."""
    values: list[Any] = [b"", b"{", b"\xff" * 1000, b"[" * 100_000, [], None, "text"]
    values += [{"prompt": 5}, {"max_new_tokens": "5"}, {"max_new_tokens": 10**9}]
    values += [{"seed": -1}, {"temperature": 1e300}, {"stop": [""]}, {"x": 1}]
    values += [{"prompt": "a" * 100_000}, {"model": "../../etc/passwd"}]
    values += [b'{"seed": ' + b"9" * 10_000 + b"}", {"prompt": "\x00"}]
    found = {await expect(port, request(each), 400, 404, 422) for each in values}
    return " and ".join(sorted(found))


async def strangers(port: int) -> str:
    """Wrong `Host`, `Origin` and type of a body."""
    await expect(port, request({}, Host="poems.example"), 403)
    await expect(port, request({}, Origin="http://poems.example"), 403)
    await expect(port, request({}, Origin="null"), 403)
    await expect(port, request({}, Content_Type="text/plain"), 415)
    return "403 and 415"


async def not_http(port: int) -> str:
    """Bytes that are not a request."""
    for data in (b"\0\xff" * 10_000, b"GET /" + b"a" * 10**6 + b" HTTP/1.1\r\n"):
        await expect(port, data, 400, 0)
    return "400"


async def leaving(port: int) -> str:
    """200 clients that disconnect in the middle of a stream."""

    async def leave(number: int) -> None:
        async with connection(port) as (reader, writer):
            writer.write(request({"max_new_tokens": 2000, "stream": True}))
            received = b""
            # There may be no place yet: the last ones have just left.
            while number % 2 and not re.search(b"event: text| 503 ", received):
                piece = await reader.read(1 << 16)
                if not piece:
                    raise RuntimeError(f"closed after {received[-200:]!r}")
                received += piece

    for first in range(0, 200, 50):
        await asyncio.gather(*map(leave, range(first, first + 50)))
    return "200 streams were ended"


async def slow(port: int) -> str:
    """100 clients that send half a request, or do not read, for a while."""
    half = [b"", b"POST /gen", request({})[:-1], request({})[:40]]
    whole = request({"max_new_tokens": 2000, "stream": True})
    async with contextlib.AsyncExitStack() as stack:
        writers = [
            (await stack.enter_async_context(connection(port)))[1] for _ in range(100)
        ]
        for number, writer in enumerate(writers):
            writer.write([*half, whole][number % 5])
        await asyncio.sleep(1)
        start = time.perf_counter()
        await expect(port, request(FIXED), 200)
        return f"answered others in {time.perf_counter() - start:.2f} s"


HOSTILE: dict[str, Callable[[int], Awaitable[str]]] = {
    "200 requests at once": overload,
    "huge bodies": huge,
    "wrong values": wrong,
    "wrong Host, Origin, type": strangers,
    "not HTTP": not_http,
    "leaving in the middle": leaving,
    "slow clients": slow,
}


async def measure(server: Server, clients: int, seconds: float) -> dict[str, Any]:
    """Runs everything; returns the results, with a list of `errors`."""
    status, expected = await answer(server.port, request(FIXED), 300)
    if status != 200:
        raise SystemExit(f"The first text failed: {expected!r}")
    await load(server, clients, min(10, seconds))  # what is compiled at first use
    results = await load(server, clients, seconds)
    for name, check in HOSTILE.items():
        try:
            results[name] = await check(server.port)
            _, again = await answer(server.port, request(FIXED))
            if again.partition(b"\r\n\r\n")[2] != expected.partition(b"\r\n\r\n")[2]:
                raise RuntimeError("then another text than before")
        except Exception as error:
            results[name] = f"FAILED: {type(error).__name__}: {error}"
            results["errors"].append(f"{name}: {error}")
    results["MB after hostile clients"] = server.memory()
    return results


def main() -> None:
    """Runs the benchmark, and prints its table."""
    arguments = parser.parse_args()
    server = Server(arguments.model)
    try:
        results = asyncio.run(measure(server, arguments.clients, arguments.seconds))
    finally:
        code, seconds = server.stop()
    results["Ctrl-C"] = f"exit code {code} after {seconds:.1f} s"
    if code != 130 or seconds > 5:
        results["errors"].append(f"Ctrl-C: {results['Ctrl-C']}")
    if results["growth"] > 0.05:
        results["errors"].append("the memory grew by more than 5 %")
    if results["first characters, median"] > 1:
        results["errors"].append("the first characters took more than 1 s")
    print(f"| textgen serve {arguments.model}, {os.cpu_count()} cores | |\n|---|---|")
    for name, value in results.items():
        shown = f"{value:,.3g}" if isinstance(value, float) and value < 100 else value
        shown = f"{value:,.0f}" if isinstance(value, float) and value >= 100 else shown
        print(f"| {name} | {shown} |")
    with open("benchmark-serve.json", "w") as file:
        json.dump({"model": arguments.model, **results}, file, indent=1)
    sys.exit(1 if results["errors"] else 0)


if __name__ == "__main__":
    main()
