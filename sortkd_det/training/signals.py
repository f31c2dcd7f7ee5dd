"""SIGTERM: a word to the run, and the end of any other process, as everywhere."""

import contextlib
import functools
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkContext, ForkProcess
from types import FrameType
from typing import Any

from torch.utils.data import DataLoader

#: Seconds after the first SIGTERM within which further ones say the same: launchers pass on
#: what clusters send to every process anyway.
REPEATED_WITHIN = 5.0

_STOPPING = multiprocessing.RawValue('b', False)  # shared with the workers of loaders


@contextlib.contextmanager
def listening(note_stop: Callable[[], None]) -> Iterator[None]:
    """Have ``note_stop`` called at the first SIGTERM; a later one ends this process at once.

    Processes that are forked meanwhile (a metric's ``multiprocessing.Pool``) have the handler
    that there was before. Only the main thread can listen; in others nothing is done.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    listener = _Listener(note_stop)
    signal.signal(signal.SIGTERM, listener)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, listener.previous)
        _STOPPING.value = False


class _Listener:
    """The handler of a process that trains."""

    def __init__(self, note_stop: Callable[[], None]) -> None:
        self.note_stop = note_stop
        self.previous = signal.getsignal(signal.SIGTERM) or signal.SIG_DFL
        self.first: float | None = None  # when it was called first

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.first is None:
            self.first = time.monotonic()
            _STOPPING.value = True
            self.note_stop()
        elif time.monotonic() - self.first > REPEATED_WITHIN:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


class _Fork:
    """Takes the listener out of a forked process, before any SIGTERM can reach it there.

    Python forgets signals that come to a new process before it has run a line there, so
    the signal is blocked meanwhile.
    """

    def __init__(self) -> None:
        self.masks = threading.local()

    def before(self) -> None:
        """Block the signal in the parent while a run listens."""
        listens = isinstance(signal.getsignal(signal.SIGTERM), _Listener)
        self.masks.value = _block() if listens else None

    def in_parent(self) -> None:
        """Unblock the signal in the parent."""
        if self.masks.value is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, self.masks.value)

    def in_child(self) -> None:
        """Put the former handler back in the child, and unblock the signal."""
        if self.masks.value is not None:
            signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM).previous)
            signal.pthread_sigmask(signal.SIG_SETMASK, self.masks.value)


def _block() -> set[signal.Signals]:
    """Block SIGTERM in this thread; the mask that there was before."""
    return signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


_FORK = _Fork()
os.register_at_fork(
    before=_FORK.before, after_in_parent=_FORK.in_parent, after_in_child=_FORK.in_child
)


# -- workers of loaders --------------------------------------------------------


def guard_workers(loader: DataLoader) -> None:
    """Let the workers of a loader live on while a run that was told to stop saves.

    Clusters send SIGTERM to all processes; who else sends it to a worker wants its end.
    """
    loader.worker_init_fn = functools.partial(_start_worker, _STOPPING, loader.worker_init_fn)
    forks = multiprocessing.get_start_method(allow_none=True) in (None, 'fork')
    if loader.num_workers and loader.multiprocessing_context is None and forks:
        loader.multiprocessing_context = _WorkerContext()


class _Worker(ForkProcess):
    """A process that SIGTERM does not reach before it has a handler of its own."""

    def start(self) -> None:
        """Fork with the signal blocked: here until it is done, in the child from its start."""
        mask = _block()
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


class _WorkerContext(ForkContext):
    Process = _Worker


def _start_worker(stopping: Any, init: Callable[[int], None] | None, worker: int) -> None:
    def end_unless_stopping(number: int, frame: FrameType | None) -> None:
        for _ in range(100):  # the run may hear of it after its workers do
            if stopping.value:
                return
            time.sleep(0.01)
        os._exit(0)

    signal.signal(signal.SIGTERM, end_unless_stopping)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    if init is not None:
        init(worker)
