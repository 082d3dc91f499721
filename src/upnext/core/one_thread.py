"""One numeric thread per process, for processes that share a machine.

A numeric library starts a thread per core in each process; several processes then wait for each other's threads: on two cores, two processes of two
threads ran at a third of the speed of two processes of one. The libraries look at the environment once, when a process starts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

ONE_THREAD: Final = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "POLARS_MAX_THREADS": "1",
}


@contextmanager
def children_with_one_thread() -> Iterator[None]:
    """Processes started inside the block compute with one thread each."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(ONE_THREAD)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
