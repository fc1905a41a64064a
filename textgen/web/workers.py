"""Threads that compute pieces of texts in turn, and places in a bounded queue."""

import asyncio
import concurrent.futures
import contextlib
import itertools
import queue
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any


class Workers:
    """A few threads that call functions in the order in which they come.

    A text is generated piece by piece: its next piece comes to the end of the queue
    after the last one was sent. So all texts advance in turn, and a slow client holds
    no thread. First pieces overtake all others, so that every text begins soon.

    The threads start at the first call.

    Args:
        count: int. Number of threads.
    """

    def __init__(self, count: int) -> None:
        self._count, self._closed = count, False
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._queue: queue.PriorityQueue = queue.PriorityQueue()

    def submit(
        self, function: Callable[[], Any], first: bool = False
    ) -> concurrent.futures.Future:
        """Calls a function in one of the threads.

        Args:
            function: Callable without arguments.
            first: bool. Whether it overtakes the functions that are not first. Defaults
                to `False`.

        Returns:
            Future of its result. If it is cancelled in time, nothing is called.

        Raises:
            RuntimeError: The workers were closed.
        """
        future: concurrent.futures.Future = concurrent.futures.Future()
        with self._lock:
            if self._closed:
                raise RuntimeError("The server stops.")
            if not self._threads:
                for _ in range(self._count):
                    thread = threading.Thread(target=self._work, daemon=True)
                    thread.start()
                    self._threads.append(thread)
            self._queue.put((not first, next(self._numbers), future, function))
        return future

    def close(self, seconds: float = 10.0) -> None:
        """Cancels what waits, and waits for the functions that run.

        Native code must not run any more when Python ends.

        Args:
            seconds: float. How long to wait, at most. Defaults to `10.0`.
        """
        with self._lock:
            self._closed = True
            for _ in self._threads:  # in front of all others
                self._queue.put((-1, next(self._numbers), None, None))
        for thread in self._threads:
            thread.join(seconds)

    async def run(self, function: Callable[[], Any], first: bool = False) -> Any:
        """Calls a function in one of the threads, and waits for its result."""
        return await asyncio.wrap_future(self.submit(function, first))

    def _work(self) -> None:
        while True:
            *_, future, function = self._queue.get()
            if future is None:
                return
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function())
                except BaseException as error:  # the caller gets it
                    future.set_exception(error)
            del future, function  # they would be kept until the next one comes


class BusyError(Exception):
    """There is no place for another request."""


class Places:
    """A number of places, and a bounded queue of those who wait for one.

    Args:
        parallel: int. Number of places.
        waiting: int. How many can wait.
        seconds: float. How long one waits.
    """

    def __init__(self, parallel: int, waiting: int, seconds: float) -> None:
        self._free = asyncio.Semaphore(parallel)
        self._parallel, self._most, self._seconds = parallel, waiting, seconds
        self._taken = self._waiting = 0

    @property
    def taken(self) -> int:
        """The number of places that are in use."""
        return self._taken

    @contextlib.asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Holds a place in its block; those who came first get one first.

        Raises:
            BusyError: The queue is full, or the time of waiting is over.
        """
        await self._acquire()
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1
            self._free.release()

    async def _acquire(self) -> None:
        if not self._free.locked():
            await self._free.acquire()
            return
        if self._waiting >= self._most:
            raise BusyError(
                f"The server is generating {self._parallel} texts, and {self._waiting} "
                "requests are waiting: try again later."
            )
        self._waiting += 1
        try:
            async with asyncio.timeout(self._seconds):
                await self._free.acquire()
        except TimeoutError:
            raise BusyError(
                f"The server was busy for {self._seconds:g} seconds: try again later."
            ) from None
        finally:
            self._waiting -= 1
