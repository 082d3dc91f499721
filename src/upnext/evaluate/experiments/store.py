"""The experiments of a data folder: a file each, replaced whole, that running servers follow.

NAME.json    a Definition (definition.py)
lock         held by whoever starts, ramps or stops one: two starts never get the same buckets
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from upnext.artifacts.durable_folder import replace_file
from upnext.core.clock import Clock, SystemClock
from upnext.core.errors import InvalidInput, NotFound, Unavailable, expected
from upnext.core.types import Bool
from upnext.evaluate.co_diversion import co_divert
from upnext.evaluate.experiments.assignment import N_BUCKETS, Layer, allocate, ramped
from upnext.evaluate.experiments.definition import Experiment, check_apart, check_name

_LOCK: Final = "lock"
Version = tuple[tuple[str, int, int], ...]


class ExperimentStore:
    """Any number of processes read; changes take turns."""

    def __init__(self, path: Path, clock: Clock | None = None) -> None:
        """The folder `path` is made with the first experiment."""
        self.path = path
        self._clock = clock or SystemClock()

    def list(self) -> list[Experiment]:
        """All of them by their start. Raises Unavailable naming a file that can't be read."""
        found = [self._read(file) for file in self._files()]
        return sorted(found, key=lambda one: (one.started_us, one.name))

    def names(self) -> tuple[str, ...]:
        """Of all of them."""
        return tuple(file.stem for file in self._files())

    def read(self, name: str) -> Experiment:
        """One of them. Raises NotFound, Unavailable."""
        check_name("experiment", name)
        file = self._file(name)
        if not file.exists():
            known = ", ".join(file.stem for file in self._files()) or "none yet"
            raise NotFound(f"experiment {name!r}: not in {self.path}; known: {known}")
        return self._read(file)

    def version(self) -> Version:
        """Changes whenever any definition does; costs a few system calls. Raises Unavailable."""
        with self._outage():
            stats = [(file.name, file.stat()) for file in self._files()]
        return tuple((name, stat.st_ino, stat.st_mtime_ns) for name, stat in stats)

    def start(
        self, draft: Experiment, check: Callable[[Experiment], None] | None = None
    ) -> Experiment:
        """The experiment of this draft, from now on, with free buckets of its layer for the shares that its arms say.

        `check` may refuse it once units have arms. Raises InvalidInput: the name is taken, too few buckets are free, another layer's
        experiment sets the same key; and what `check` raises."""
        check_name("experiment", draft.name)
        check_name("layer", draft.layer)
        with self._changing():
            everything = self.list()
            if any(one.name == draft.name for one in everything):
                raise InvalidInput(
                    f"experiment {draft.name!r}: expected a new name, got that of an earlier one"
                )
            running = [one for one in everything if one.is_running]
            check_apart(draft, running)
            now_us = self._clock.now_us()
            shares = {name: arm.share for name, arm in draft.arms.items()}
            salt = f"{draft.name}@{now_us}"
            taken = _taken(draft.layer, running)
            started = msgspec.structs.replace(draft, started_us=now_us, stopped_us=None, salt=salt)
            if draft.kind == "two-sided":
                split = co_divert(salt, shares, layer=draft.layer, taken_viewers=taken)
                started = started.with_allocation(split.viewers).with_allocation(split.creators)
            else:
                viewers = allocate(Layer(draft.layer), salt, shares, taken)
                started = started.with_allocation(viewers)
            if check is not None:
                check(started)
            return self._write(started)

    def ramp(self, name: str, percent: float) -> Experiment:
        """The experiment with all its arms grown by one factor to `percent` of the layer's viewers; who is in stays where they are.

        One factor: arms keep their proportion, so those exposed before and after can be counted together.
        Raises InvalidInput: it is stopped, it would shrink, too few buckets are free, it is two-sided; NotFound."""
        with self._changing():
            old = self.read(name)
            if not old.is_running:
                raise InvalidInput(f"experiment {name!r}: expected a running one, got one stopped")
            if old.kind == "two-sided":
                raise InvalidInput(
                    f"experiment {name!r}: expected one of viewers alone, got a two-sided one, whose creators would bring in"
                    " what they won outside: stop it and start another"
                )
            total = sum(arm.share for arm in old.arms.values())
            if not total <= percent <= 100:
                raise expected("percent", f"from {total:g} to 100", percent)
            shares = {arm: said.share * percent / total for arm, said in old.arms.items()}
            others = [one for one in self.list() if one.is_running and one.name != name]
            grown = ramped(old.allocation(), old.salt, shares, _taken(old.layer, others))
            return self._write(old.with_allocation(grown))

    def stop(self, name: str) -> Experiment:
        """The experiment, ended now; its buckets are free. Stopping one again changes nothing. Raises NotFound."""
        with self._changing():
            old = self.read(name)
            if not old.is_running:
                return old
            return self._write(msgspec.structs.replace(old, stopped_us=self._clock.now_us()))

    def _files(self) -> tuple[Path, ...]:
        return tuple(sorted(self.path.glob("*.json")))  # nothing where there is no folder

    def _file(self, name: str) -> Path:
        return self.path / f"{name}.json"

    def _read(self, file: Path) -> Experiment:
        try:
            return msgspec.json.decode(file.read_bytes(), type=Experiment)
        except (OSError, msgspec.DecodeError) as error:
            raise Unavailable(f"experiment {file}: {error}") from error

    def _write(self, experiment: Experiment) -> Experiment:
        data = msgspec.json.format(msgspec.json.encode(experiment), indent=1)
        replace_file(self._file(experiment.name), data)
        return experiment

    @contextmanager
    def _changing(self) -> Iterator[None]:
        with self._outage():
            self.path.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.path / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
            finally:
                os.close(lock)

    @contextmanager
    def _outage(self) -> Iterator[None]:
        try:
            yield
        except Unavailable:
            raise
        except OSError as error:
            raise Unavailable(f"experiments {self.path}: {error}") from error


def _taken(layer: str, running: list[Experiment]) -> Bool:
    """bool[N_BUCKETS]: the layer's buckets that some experiment owns."""
    taken = np.zeros(N_BUCKETS, np.bool_)
    for one in running:
        if one.layer == layer:
            taken |= one.allocation().owned
    return taken
