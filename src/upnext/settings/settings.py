"""upnext.toml: one strict, frozen tree of settings that gathers each lower room's config class.

An unknown key is an error that names the nearest known one. Paths are relative to the config file.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.json_schema import SkipJsonSchema

from upnext.core.errors import InvalidInput
from upnext.features.config import FeaturesConfig
from upnext.filters.config import FiltersConfig
from upnext.pipeline.config import HOME, SHORTS, SOURCES, UPNEXT, PipelineConfig, SurfaceConfig
from upnext.ranking.config import RankingConfig
from upnext.retrieval.config import RetrievalConfig

CONFIG_NAME = "upnext.toml"


class Section(BaseModel):
    """A table of the file: frozen, and strict about its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DataConfig(Section):
    """Where the platform's data lives."""

    folder: str = Field("upnext-data", description="holds the catalogue, log, state and releases")


class ContentConfig(Section):
    """How text becomes vectors."""

    text_model: str = Field(
        "",
        description="a local sentence-transformers or ONNX model folder; empty: hashed n-grams, no download",
    )
    text_size: Annotated[int, Field(ge=8)] = Field(
        64, description="dimensions of a title's n-gram vector"
    )
    tag_size: Annotated[int, Field(ge=4)] = Field(32, description="dimensions of a tag's vector")


class ApiKey(Section):
    """A key and what it may do."""

    key: Annotated[str, Field(min_length=8)] = Field(
        description="sent as `Authorization: Bearer <key>`"
    )
    scopes: tuple[Literal["read", "write", "admin"], ...] = Field(
        ("read",), description="read: feeds; write: events and catalogue; admin: everything"
    )


class ServeConfig(Section):
    """The HTTP edge."""

    host: str = Field("127.0.0.1", description="address to listen on")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(
        8900, description="port; 0 takes a free one"
    )
    workers: Annotated[int, Field(ge=1, le=64)] = Field(
        2, description="processes that answer requests"
    )
    max_waiting: Annotated[int, Field(ge=1)] = Field(
        8, description="requests waiting per worker before a cheaper pipeline answers, flagged"
    )
    max_in_flight: Annotated[int, Field(ge=1)] = Field(
        32, description="requests in flight per worker before 503 with Retry-After"
    )
    max_body_mb: Annotated[int, Field(ge=1)] = Field(8, description="largest request body")
    api_keys: tuple[ApiKey, ...] = Field((), description="none: open to whoever reaches the port")
    ranker_threads: Annotated[int, Field(ge=1)] = Field(
        2, description="threads that share the ranking of one page where cores are idle"
    )
    clock: Literal["system", "simulated"] = Field(
        "system",
        description='"simulated": time is what requests say it is, for `upnext simulate --against` alone; never for people',
    )


class LearnConfig(Section):
    """The training job."""

    seed: int = Field(0, description="of everything random in training")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="where models train")
    threads: Annotated[int, Field(ge=0)] = Field(0, description="CPU threads; 0: all")
    refit_epochs: Annotated[int, Field(ge=1)] = Field(
        1, description="passes of the final refit, which takes the first pass's towers further"
    )
    fine_tune_epochs: Annotated[int, Field(ge=1)] = Field(
        1, description="passes of a fine-tuning over what came since the release"
    )
    fine_tune_rate: Annotated[float, Field(gt=0)] = Field(
        0.5, description="of a fine-tuning: multiplies each network's learning rate"
    )
    newest_rate: Annotated[float, Field(gt=0)] = Field(
        0.03,
        description="of the ranker's one pass through the newest rows, after the gate or in a fine-tuning: multiplies its learning rate",
    )
    ranker_share: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.6,
        description="latest share of showings, at most, that the ranker learns from; generators of that pass see the rest",
    )
    ranker_days: Annotated[float, Field(gt=0)] = Field(
        1.0,
        description="latest days that the ranker learns from, or more where they have fewer than max_ranker_showings showings",
    )
    max_ranker_showings: Annotated[int, Field(ge=100)] = Field(
        18_000,
        description="showings that become ranker rows; of more, whole requests are drawn at random",
    )
    shown_days: Annotated[float, Field(ge=0)] = Field(
        28.0,
        description="days before those from which heads that are given a showing learn too, by what was shown alone; 0: none",
    )
    max_shown: Annotated[int, Field(ge=0)] = Field(
        200_000, description="showings of those days that become ranker rows, at most"
    )
    unshown_per_request: Annotated[int, Field(ge=0)] = Field(
        16,
        description="retrieved but not shown candidates sampled per request for the relevant head",
    )
    relevant_within_h: Annotated[float, Field(ge=0)] = Field(
        24.0,
        description="a retrieved video that is found relevant on another page within this time counts as relevant; 0: this page alone",
    )
    gate_window_h: Annotated[float, Field(gt=0)] = Field(
        24.0, description="last hours kept from the gate's models and used to compare releases"
    )
    gate_margin: Annotated[float, Field(ge=0)] = Field(
        0.01, description="a release worse by more than this share is refused"
    )
    gate_users: Annotated[int, Field(ge=10)] = Field(
        2_000, description="viewers that the gate scores at most"
    )
    gate_pages: Annotated[int, Field(ge=0)] = Field(
        4_000,
        description="logged pages, at most, on which the gate estimates what a release would have earned; 0: none",
    )


def _surfaces() -> dict[str, SurfaceConfig]:
    return {"home": HOME, "shorts": SHORTS, "upnext": UPNEXT}


class Settings(Section):
    """The whole file."""

    data: DataConfig = Field(default_factory=DataConfig)
    content: ContentConfig = Field(default_factory=ContentConfig)
    features: FeaturesConfig = Field(default_factory=FeaturesConfig)
    filters: FiltersConfig = Field(default_factory=FiltersConfig)
    retrieval: RetrievalConfig = Field(default_factory=RetrievalConfig)
    ranking: RankingConfig = Field(default_factory=RankingConfig)
    pipeline: PipelineConfig = Field(default_factory=PipelineConfig)
    surfaces: dict[str, SurfaceConfig] = Field(default_factory=_surfaces)
    learn: LearnConfig = Field(default_factory=LearnConfig)
    serve: ServeConfig = Field(default_factory=ServeConfig)
    root: SkipJsonSchema[Path] = Field(
        Path(), exclude=True, description="folder of the file; set when it is read"
    )

    @model_validator(mode="before")
    @classmethod
    def _surfaces_start_from_ours(cls, data: Any) -> Any:
        """A surface given in part keeps our values for the rest."""
        if not isinstance(data, dict) or not isinstance(data.get("surfaces"), dict):
            return data
        ours = {name: surface.model_dump() for name, surface in _surfaces().items()}
        given = data["surfaces"]
        merged: dict[str, Any] = dict(ours)
        for name, surface in given.items():
            if isinstance(surface, dict):
                start = ours.get(name, ours["home"])
                policy = surface.get("policy", {})
                if isinstance(policy, dict):
                    policy = {**start["policy"], **policy}
                merged[name] = {**start, **surface, "policy": policy}
            else:
                merged[name] = surface
        return {**data, "surfaces": merged}

    @property
    def folder(self) -> Path:
        """The data folder."""
        return self.root / self.data.folder

    @property
    def catalog_path(self) -> Path:
        """The catalogue's file."""
        return self.folder / "catalog.db"

    @property
    def events_path(self) -> Path:
        """The log's folder."""
        return self.folder / "events"

    @property
    def state_path(self) -> Path:
        """The state's folder."""
        return self.folder / "state"

    @property
    def releases_path(self) -> Path:
        """The releases' folder."""
        return self.folder / "releases"

    @property
    def weights_path(self) -> Path:
        """The weights of the value that are in force beside those of the file."""
        return self.folder / "weights.json"

    @property
    def experiments_path(self) -> Path:
        """The definitions of experiments."""
        return self.folder / "experiments"

    @property
    def run_path(self) -> Path:
        """Sockets and pids of a running system."""
        return self.folder / "run"


def load(path: Path | None = None) -> Settings:
    """The settings of a file; without one, UPNEXT_CONFIG, else ./upnext.toml, else our defaults here.

    Raises InvalidInput with the file, the key and, for an unknown key, the nearest known one.
    """
    if path is None:
        named = os.environ.get("UPNEXT_CONFIG")
        path = Path(named) if named else Path(CONFIG_NAME)
        if not named and not path.exists():
            return Settings(root=Path.cwd())
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InvalidInput(f"{path}: {error.strerror}; `upnext init` writes one") from error
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"{path}: not TOML: {error}") from error
    return parse(data, str(path), path.resolve().parent)


def parse(data: dict[str, Any], name: str, root: Path) -> Settings:
    """Settings of a decoded file; errors name `name`."""
    if "root" in data:
        raise InvalidInput(f"{name}: unknown key 'root'")
    try:
        settings = Settings.model_validate({**data, "root": root})
    except ValidationError as error:
        raise InvalidInput("\n".join(_line(name, e) for e in error.errors())) from error
    known = (*SOURCES, *settings.pipeline.http_sources)
    for surface, config in settings.surfaces.items():
        for source in sorted(config.sources.keys() - known):
            raise InvalidInput(
                f"{name}: unknown source 'surfaces.{surface}.sources.{source}'{nearest(source, known)}"
            )
    return settings


def _line(name: str, error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] != "extra_forbidden":
        return f"{name}: {where}: {error['msg']}, got {error['input']!r}"
    known = _known_keys(error["loc"][:-1])
    return f"{name}: unknown key {where!r}{nearest(str(error['loc'][-1]), known)}"


def nearest(word: str, known: Iterable[str]) -> str:
    """What an error says behind an unknown word: the known one that is most like it, else all of them."""
    known = sorted(known)
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"


def _known_keys(loc: tuple[Any, ...]) -> list[str]:
    model: Any = Settings
    for part in loc:
        field = model.model_fields.get(part) if hasattr(model, "model_fields") else None
        if field is None:
            continue
        model = field.annotation
        for argument in getattr(model, "__args__", ()):
            if isinstance(argument, type) and issubclass(argument, BaseModel):
                model = argument
    fields = getattr(model, "model_fields", {})
    return [key for key in fields if key != "root"]
