"""Running experiments as the pipeline sees them: who is in which arm, and each arm's surfaces as checked settings; and the weights in force.

A definition is followed like the current release: a worker looks every second whether any file changed, and swaps all of them at once. What
can't run here (its release is gone, the settings changed under it) is left out as a whole and logged, so its viewers get the base.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any, Final

from upnext.artifacts.releases import ReleaseStore
from upnext.artifacts.value_weights import ValueWeights
from upnext.artifacts.value_weights import Version as ValueVersion
from upnext.core.errors import InvalidInput, UpNextError, expected
from upnext.evaluate.experiments.assignment import NO_ARM, Layer, bucket_of, unit_hash
from upnext.evaluate.experiments.definition import (
    Arm,
    Experiment,
    check_kind,
    dotted,
    overlaid,
)
from upnext.evaluate.experiments.store import ExperimentStore, Version
from upnext.events.slate import INTERLEAVED
from upnext.filters.own_corpus import Split
from upnext.pipeline.config import SOURCES, SurfaceConfig
from upnext.pipeline.serving import Serving
from upnext.pipeline.variants import Arms, Variant
from upnext.ranking.tasks import TASKS
from upnext.settings.settings import Settings, nearest, parse

log = logging.getLogger(__name__)
MAX_VARIANTS: Final = 1_000  # of one surface: the product of its layers' arms
_BY_REQUEST: Final = ("size", "max_size")  # the client and the edge decide on them

_Entry = tuple[str, str] | None  # (experiment, arm)
_Table = list[_Entry]  # [N_BUCKETS]


class RunningTrials:
    """Trials of definitions that were checked against the settings."""

    def __init__(self, settings: Settings, experiments: Iterable[Experiment]) -> None:
        """Raises InvalidInput where an arm doesn't fit the settings."""
        self._settings = settings
        self._experiments = {one.name: one for one in experiments if one.is_running}
        tables = {one.name: _table(one) for one in self._experiments.values()}
        self._layers: dict[str, list[tuple[int, _Table]]] = {}
        self._variants: list[Variant] = []
        for surface in settings.surfaces:
            by_layer: dict[str, list[Experiment]] = {}
            for one in sorted(self._experiments.values(), key=lambda one: (one.layer, one.name)):
                if surface in one.surfaces or one.kind == "two-sided":
                    by_layer.setdefault(one.layer, []).append(one)
            self._layers[surface] = [
                (Layer(layer).key, _united([tables[one.name] for one in members]))
                for layer, members in by_layer.items()
            ]
            self._variants += self._combined(surface, list(by_layer.values()))

    def arms_of(self, user_id: str, surface: str) -> Arms:
        """The viewer's arms there, in the order of layers."""
        layers = self._layers.get(surface)
        if not layers:
            return ()
        hashed = unit_hash(user_id)
        found = [table[bucket_of(key, hashed)] for key, table in layers]
        return tuple([entry for entry in found if entry is not None])

    def variants(self) -> list[Variant]:
        """Of every surface, every combination."""
        return self._variants

    def split(self) -> Split | None:
        """Of the two-sided experiment that runs."""
        for one in self._experiments.values():
            if one.kind == "two-sided":
                return Split(one.name, tuple(one.arms), one.allocation("creator").rows)
        return None

    def _combined(self, surface: str, layers: list[list[Experiment]]) -> list[Variant]:
        choices: list[list[_Entry]] = [
            [None, *((one.name, arm) for one in members for arm in one.logged_arms)]
            for members in layers
        ]
        combinations = [tuple(e for e in each if e is not None) for each in product(*choices)]
        if len(combinations) > MAX_VARIANTS:
            raise expected(
                f"experiments of {surface!r}", f"at most {MAX_VARIANTS} combinations", len(combinations)
            )  # fmt: skip
        return [self._variant(surface, arms) for arms in combinations if arms]

    def _variant(self, surface: str, arms: Arms) -> Variant:
        mixed = [self._experiments[name] for name, arm in arms if arm == INTERLEAVED]
        if mixed:  # nothing that changes the surface runs beside it (definition.check_apart)
            teams = tuple(mixed[0].arms)
            own, rivals = (
                self._config(surface, [mixed[0].arms[team]], f"arm {team!r}") for team in teams
            )
            return Variant(surface, arms, own, None, ((teams[0], teams[1]), rivals))
        said = [self._experiments[name].arms[arm] for name, arm in arms]
        config = self._config(surface, said, f"experiments {dict(arms)}")
        releases = [arm.release_id for arm in said if arm.release_id is not None]
        return Variant(surface, arms, config, releases[0] if releases else None)

    def _config(self, surface: str, arms: list[Arm], where: str) -> SurfaceConfig:
        changes: dict[str, Any] = {}
        for arm in arms:
            changes = overlaid(changes, arm.surfaces.get(surface, {}))
        return surface_with(self._settings, surface, changes, where)


class TrialsFollower:
    """Keeps one Serving in step with the folder of definitions and with the weights of the value."""

    def __init__(
        self,
        store: ExperimentStore,
        releases: ReleaseStore,
        settings: Settings,
        serving: Serving,
    ) -> None:
        self._store = store
        self._releases = releases
        self._settings = settings
        self._serving = serving
        self._values = ValueWeights(settings.weights_path)
        self._version: tuple[Version, ValueVersion] = ((), None)

    def follow(self) -> bool:
        """Swaps in what runs now if any definition or weight changed -> whether it did. Raises UpNextError where that fails as a whole."""
        version = self._store.version(), self._values.version()
        if version == self._version:
            return False
        fit = [one for name in self._store.names() if (one := self._running(name)) is not None]
        self._version = version  # what can't be followed is said once, like a refused release
        settings = self._in_force()
        self._serving.follow_trials(RunningTrials(settings, fit), settings.surfaces)
        log.info("experiments followed", extra={"running": [one.name for one in fit]})
        return True

    def _in_force(self) -> Settings:
        """The settings with the weights in force; with their own where those can't be read or don't fit, which is logged."""
        try:
            return weighted(self._settings, self._values.at())
        except UpNextError as error:
            log.error("weights left out", extra={"error": str(error)})
            return self._settings

    def weights(self, surface: str, arms: Mapping[str, str], time_us: int) -> Mapping[str, float]:
        """The weights of the value under which a slate of these arms was made at that time; of an experiment that ended, too.

        {} for a surface that the settings don't have. Raises Unavailable."""
        if surface not in self._settings.surfaces:
            return {}
        changes: dict[str, Any] = {}
        known = self._store.names() if arms else ()
        for name, arm in sorted(arms.items()):
            said = self._store.read(name).arms.get(arm) if name in known else None
            if said is not None:
                changes = overlaid(changes, said.surfaces.get(surface, {}))
        settings = weighted(self._settings, self._values.at(time_us))
        return surface_with(settings, surface, changes, f"arms {dict(arms)}").weights

    def _running(self, name: str) -> Experiment | None:
        """The experiment if it runs and can run here."""
        try:
            one = self._store.read(name)
            if not one.is_running:
                return None
            check(self._settings, self._releases, one)
        except UpNextError as error:
            log.error("experiment left out", extra={"experiment": name, "error": str(error)})
            return None
        return one


def check(settings: Settings, releases: ReleaseStore, one: Experiment) -> None:
    """Raises InvalidInput, NotFound or DamagedRelease where an experiment can't run on these settings and releases."""
    check_kind(one)
    unknown = [name for name in one.surfaces if name not in settings.surfaces]
    if unknown:
        known = ", ".join(sorted(settings.surfaces))
        raise expected(f"experiment {one.name!r}: surface", f"one of {known}", unknown[0])
    for name, arm in one.arms.items():
        for surface, changes in arm.surfaces.items():
            surface_with(settings, surface, changes, f"arm {name!r}")
        if arm.release_id is not None:
            releases.open(arm.release_id)


def weighted(settings: Settings, weights: Mapping[str, Mapping[str, float]]) -> Settings:
    """The settings with {surface: weights} over their own. Raises InvalidInput for an unknown surface or task, and for a weight of the wrong sign."""
    surfaces = dict(settings.surfaces)
    for surface, own in weights.items():
        changes = {"weights": dict(own)}
        surfaces[surface] = surface_with(settings, surface, changes, f"weights of {surface!r}")
    return settings.model_copy(update={"surfaces": surfaces})


def surface_with(
    settings: Settings, surface: str, changes: dict[str, Any], where: str
) -> SurfaceConfig:
    """The surface's settings with an arm's changes. Raises InvalidInput naming the key, and the one that may be meant."""
    base = settings.surfaces.get(surface)
    if base is None:
        raise InvalidInput(
            f"{where}: unknown surface {surface!r}{nearest(surface, settings.surfaces)}"
        )
    for key in changes:
        if key in _BY_REQUEST:
            raise InvalidInput(f"{where}: surfaces.{surface}.{key}: not an arm's to change")
    for key in dotted(changes):
        table, _, name = key.partition(".")
        known = {"sources": (*SOURCES, *settings.pipeline.http_sources), "weights": TASKS}.get(
            table
        )
        if known is not None and name not in known and name not in getattr(base, table):
            raise InvalidInput(
                f"{where}: unknown key 'surfaces.{surface}.{key}'{nearest(name, known)}"
            )
    merged = overlaid(base.model_dump(), changes)
    own = {"http_sources": settings.pipeline.model_dump()["http_sources"]}
    data = {"surfaces": {surface: merged}, "pipeline": own}
    return parse(data, where, settings.root).surfaces[surface]


def _table(one: Experiment) -> _Table:
    owner = one.allocation().arm_of_bucket.tolist()
    names = [INTERLEAVED] * len(one.arms) if one.kind == "interleaving" else one.arms
    entries: list[_Entry] = [(one.name, arm) for arm in names]
    return [entries[row] if row != NO_ARM else None for row in owner]


def _united(tables: list[_Table]) -> _Table:
    """One table of experiments that share no bucket."""
    if len(tables) == 1:
        return tables[0]
    return [next((e for e in column if e is not None), None) for column in zip(*tables)]
