"""
Threads that may never come back, and do not keep the process from ending.
"""

from __future__ import annotations

from threading import Thread
from typing import Any

from twisted.python.threadpool import ThreadPool

__all__ = ["startedPool"]


class _Thread(Thread):
    """
    What it calls comes back when it likes.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs, daemon=True)


class _Threads(ThreadPool):
    threadFactory = _Thread


def startedPool(reactor: Any, threads: int, name: str) -> ThreadPool:
    """
    A pool of up to C{threads} that runs until the reactor stops.  A thread is
    started when there is none to spare.

    @param reactor: provides L{IReactorCore
        <twisted.internet.interfaces.IReactorCore>}.
    """
    pool = _Threads(0, threads, name)
    pool.start()
    # Not stop(), which would wait for the threads.
    reactor.addSystemEventTrigger("during", "shutdown", pool.adjustPoolsize, 0, 0)
    return pool
