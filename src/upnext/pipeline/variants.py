"""What answers while experiments run: a pipeline for each combination of arms, beside that of everybody else.

A variant shares all that is heavy with the release it serves (index, features, ranker) and has a surface of its own: sources' quotas,
weights and policy. All of them are made when the experiments or the release change, so a request costs one hash of its viewer and a look
into a table, and pins one variant. While creators are in arms too (filters/own_corpus.py), each variant and the base say whose videos their viewers see.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from upnext.core.protocols import Hydrator
from upnext.core.types import Corpus, Request
from upnext.filters.own_corpus import Split
from upnext.pipeline.assemble import Assembled, Parts
from upnext.pipeline.config import SurfaceConfig
from upnext.pipeline.recommend import Answer, Pipeline

Arms = tuple[tuple[str, str], ...]  # (experiment, arm) of one viewer on one surface


@dataclass(frozen=True, slots=True)
class Variant:
    """What one combination of arms changes."""

    surface: str
    arms: Arms
    config: SurfaceConfig
    release_id: str | None  # None: the current one
    rival: tuple[tuple[str, str], SurfaceConfig] | None = (
        None  # (names of both teams, the second's settings)
    )


class Trials(Protocol):
    """The experiments that run; immutable (serve/trials.py makes them of definitions)."""

    def arms_of(self, user_id: str, surface: str) -> Arms:
        """The viewer's arms there, () for none; the same for every request of one viewer."""
        ...

    def variants(self) -> Iterable[Variant]:
        """One for each combination that `arms_of` may give."""
        ...

    def split(self) -> Split | None:
        """The arms of creators, if they are in any."""
        ...


class NoTrials:
    """Nothing runs."""

    def arms_of(self, user_id: str, surface: str) -> Arms:
        """None."""
        return ()

    def variants(self) -> Iterable[Variant]:
        """None."""
        return ()

    def split(self) -> Split | None:
        """None."""
        return None


class Variants:
    """The pipelines of one moment: the base and each combination's."""

    def __init__(
        self,
        base: Assembled,
        releases: Mapping[str, Assembled],
        parts: Parts,
        trials: Trials,
        surfaces: Mapping[str, SurfaceConfig] | None = None,
    ) -> None:
        """`releases`: those that arms serve, loaded; `surfaces`: of everybody else, where they are not those of the parts."""
        split = trials.split()
        own = base.pipeline
        if surfaces is not None and surfaces != parts.surfaces:
            changed = {name: base.surface(name, one, parts) for name, one in surfaces.items()}
            own = replace(own, surfaces=changed)
        self.base = own if split is None else _within(own, split.corpus({}))
        self._trials = trials
        self._pipelines: dict[tuple[str, Arms], Pipeline] = {}
        for variant in trials.variants():
            assembled = base if variant.release_id is None else releases[variant.release_id]
            surface = assembled.surface(variant.surface, variant.config, parts, variant.rival)
            arms = dict(variant.arms)
            corpus = split.corpus(arms) if split is not None else None
            surface = replace(surface, arms=arms, corpus=corpus)
            all_surfaces = {**assembled.pipeline.surfaces, variant.surface: surface}
            self._pipelines[variant.surface, variant.arms] = replace(
                assembled.pipeline, surfaces=all_surfaces
            )

    @property
    def release_id(self) -> str:
        """The current release's."""
        return self.base.release_id

    @property
    def hydrator(self) -> Hydrator:
        """What completes requests."""
        return self.base.hydrator

    def of(self, request: Request) -> Pipeline:
        """The pipeline of the request's viewer."""
        arms = self._trials.arms_of(request.user_id, request.surface)
        return self._pipelines[request.surface, arms] if arms else self.base

    def warm(self, time_us: int) -> None:
        """Draws one interleaved page, so that no viewer waits for what is compiled in the first run of an installation."""
        for (surface, _), pipeline in self._pipelines.items():
            if pipeline.surfaces[surface].rival is not None:
                pipeline.recommend(Request("warm", "", surface, 1, time_us))
                return

    def recommend(self, request: Request, *, cheap: bool = False, share: bool = False) -> Answer:
        """The page that the viewer's arms make of the request."""
        return self.of(request).recommend(request, cheap=cheap, share=share)

    def rank(self, request: Request, item_ids: Sequence[int]) -> Answer:
        """The caller's own candidates as the viewer's arms arrange them."""
        return self.of(request).rank(request, item_ids)


def _within(pipeline: Pipeline, corpus: Corpus) -> Pipeline:
    """The pipeline on all of whose surfaces viewers see that corpus alone."""
    surfaces = {name: replace(one, corpus=corpus) for name, one in pipeline.surfaces.items()}
    return replace(pipeline, surfaces=surfaces)
