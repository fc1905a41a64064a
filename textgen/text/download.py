"""Downloads of limited size and time."""

import queue
import threading
import time
import urllib.request

# Limits in seconds: without data, and in total.
_TIMEOUT = 60
_TIME = 300

_BLOCK = 1 << 16  # bytes


def fetch(url: str, limit: int) -> bytes:
    """Returns the bytes at an address.

    Another thread waits for the server, because the timeout of a socket starts again
    with each byte, also while the names, the certificates and the headers are read.

    Args:
        url: str.
        limit: int. Maximum number of bytes.

    Raises:
        OSError: The address cannot be read, it took more than 300 seconds, or there are
            more than `limit` bytes.
        http.client.HTTPException: The server broke off or does not follow HTTP.
    """
    blocks: queue.SimpleQueue[bytes | BaseException] = queue.SimpleQueue()
    gone = threading.Event()  # nobody waits any more

    def wait() -> None:
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT) as response:
                while (block := response.read1(_BLOCK)) and not gone.is_set():
                    blocks.put(block)
            blocks.put(b"")
        except BaseException as error:
            blocks.put(error)

    threading.Thread(target=wait, daemon=True).start()
    end = time.monotonic() + _TIME
    data = bytearray()
    try:
        while True:
            try:
                block = blocks.get(timeout=max(0, end - time.monotonic()))
            except queue.Empty:
                raise TimeoutError(
                    f"only {len(data):,} bytes came in {_TIME} seconds"
                ) from None
            if isinstance(block, BaseException):
                raise block
            data += block
            if len(data) > limit:
                raise OSError(f"it has more than {limit:,} bytes")
            if not block:
                return bytes(data)
    finally:
        gone.set()
