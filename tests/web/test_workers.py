"""Threads that work in turn, and places in a bounded queue."""

import asyncio
import threading

import pytest

from textgen.web.workers import BusyError, Places, Workers


@pytest.fixture
def workers():
    """One thread, so that the order is known."""
    made = Workers(1)
    yield made
    made.close()


@pytest.fixture
def blocked(workers):
    """A function `() -> None` that releases the thread, which waits until then."""
    go, waiting = threading.Event(), threading.Event()

    def wait():
        waiting.set()
        assert go.wait(10)

    workers.submit(wait)
    assert waiting.wait(10)
    yield go.set
    go.set()


def test_functions_are_called_in_order_and_first_pieces_overtake(workers, blocked):
    done = []
    futures = [
        workers.submit(lambda name=name: done.append(name), first)
        for name, first in (("a", False), ("b", True), ("c", False), ("d", True))
    ]
    blocked()
    for future in futures:
        future.result(10)
    assert done == ["b", "d", "a", "c"]


def test_results_and_errors_reach_the_caller(workers):
    def fails():
        raise KeyError("a")

    async def run():
        assert await workers.run(lambda: 3) == 3
        with pytest.raises(KeyError, match="a"):
            await workers.run(fails)
        return await workers.run(lambda: 4)  # the thread goes on

    assert asyncio.run(run()) == 4


def test_what_nobody_waits_for_is_not_called(workers, blocked):
    done = []

    async def run():
        task = asyncio.create_task(workers.run(lambda: done.append("a")))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        last = workers.submit(lambda: done.append("b"))
        blocked()
        await asyncio.wrap_future(last)

    asyncio.run(run())
    assert done == ["b"]


def test_several_threads_work_at_the_same_time():
    workers = Workers(3)
    meeting = threading.Barrier(3)  # it breaks unless three threads come
    futures = [workers.submit(lambda: meeting.wait(10)) for _ in range(3)]
    assert sorted(future.result(10) for future in futures) == [0, 1, 2]
    workers.close()


def test_closed_workers_end_and_take_nothing(blocked, workers):
    waiting = workers.submit(lambda: 1)
    threads = workers._threads
    blocked()
    workers.close()
    assert not any(thread.is_alive() for thread in threads)
    assert waiting.done() or waiting.cancel()
    with pytest.raises(RuntimeError, match="stops"):
        workers.submit(lambda: 1)
    Workers(2).close()  # without threads


# === Places ===


def test_places_are_bounded_and_given_in_order():
    async def run():
        places, order, most = Places(2, 3, 10), [], 0
        go = asyncio.Event()

        async def hold(name):
            nonlocal most
            async with places.place():
                order.append(name)
                most = max(most, places.taken)
                await go.wait()

        tasks = [asyncio.create_task(hold(name)) for name in range(5)]
        await asyncio.sleep(0.01)
        assert order == [0, 1]
        with pytest.raises(BusyError, match="generating 2 texts, and 3 requests are"):
            await hold(5)
        go.set()
        await asyncio.gather(*tasks)
        assert order == [0, 1, 2, 3, 4]
        assert (most, places.taken) == (2, 0)

    asyncio.run(run())


def test_waiting_has_an_end_and_leaving_frees_the_place_in_the_queue():
    async def run():
        places = Places(1, 1, 0.05)
        async with places.place():
            for _ in range(3):
                with pytest.raises(BusyError, match=r"busy for 0\.05 seconds"):
                    async with places.place():
                        pass
            places = Places(1, 1, 10)
            async with places.place():
                for _ in range(3):
                    task = asyncio.create_task(places.place().__aenter__())
                    await asyncio.sleep(0.01)
                    task.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await task
            assert places.taken == 0
            async with places.place():
                assert places.taken == 1

    asyncio.run(run())


def test_errors_free_the_place():
    async def run():
        places = Places(1, 0, 0)
        for _ in range(3):
            with pytest.raises(KeyError):
                async with places.place():
                    raise KeyError
        assert places.taken == 0

    asyncio.run(run())
