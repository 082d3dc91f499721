"""What the docs say exists, exists; what exists is in the docs."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import typer

from upnext.cli.main import app
from upnext.core.columns import EVENT_KINDS, EVENTS_SENT
from upnext.features.labels import LABELS
from upnext.serve.api_types import FeedItem, FeedQuery, RankBody
from upnext.serve.openapi import openapi
from upnext.serve.routes import Api
from upnext.settings.settings import Settings, parse
from upnext.settings.template import page
from upnext.simulate.policies import POLICIES
from upnext.simulate.worlds import WORLDS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
COMMANDS = typer.main.get_command(app)


def _text(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def _commands() -> dict[str, list[str]]:
    """{"release list": its options}."""
    found: dict[str, list[str]] = {}
    for name, command in COMMANDS.commands.items():  # type: ignore[attr-defined]
        below = getattr(command, "commands", {"": command})
        for sub, leaf in below.items():
            options = [o for p in leaf.params for o in p.opts if o.startswith("--")]
            found[f"{name} {sub}".strip()] = options
    return found


@pytest.mark.parametrize("command", _commands())
def test_every_command_and_option_is_in_the_docs(command: str) -> None:
    text = _text("docs/cli.md")
    assert f"`upnext {command}" in text
    for option in _commands()[command]:
        if option in ("--config", "--json", "--help", "--size"):
            continue
        assert option in text, option


def test_every_command_that_readme_and_docs_name_exists() -> None:
    known = {name.split()[0] for name in _commands()}
    pages = ["README.md", "CHANGELOG.md", *(f"docs/{p.name}" for p in DOCS.glob("*.md"))]
    for name in pages:
        for block in re.findall(r"`([^`]+)`", _text(name)) + _text(name).splitlines():
            said = re.match(r"upnext ([a-z]+(?:-[a-z]+)*)\b", block.strip())
            if said:
                assert said[1] in known, f"{name}: upnext {said[1]}"


def test_every_documented_option_exists() -> None:
    known = {option for options in _commands().values() for option in options}
    for option in re.findall(r"(?<![-\w])--[a-z][a-z-]*", _text("docs/cli.md")):
        assert option in known, option


def _api() -> dict[str, dict[str, dict[str, object]]]:
    api = Api(None, None, None, lambda: "")  # type: ignore[arg-type]
    paths: dict[str, dict[str, dict[str, object]]] = openapi(api.routes(), "0")["paths"]
    return paths


def test_every_route_is_in_the_docs_and_every_documented_route_exists() -> None:
    text = _text("docs/http.md")
    routes = {f"{m.upper()} {p}" for p, methods in _api().items() for m in methods}
    assert routes - {r for r in routes if f"`{r}`" in text} == set()
    written = re.findall(r"`((?:GET|POST|PUT|PATCH|DELETE) [^`]+)`", text)
    assert set(written) - routes - {"GET /openapi.json"} == set()


def test_every_parameter_and_field_of_a_feed_is_in_the_docs() -> None:
    text = _text("docs/http.md")
    for kind in (FeedQuery, RankBody, FeedItem):
        for name in kind.__struct_fields__:
            assert f"`{name}`" in text, name


def test_every_scope_in_the_docs_is_the_routes() -> None:
    text = _text("docs/http.md")
    for path, methods in _api().items():
        for method, operation in methods.items():
            written = re.search(rf"### `{method.upper()} {re.escape(path)}` \((\w+)\)", text)
            if written:
                assert operation["security"] == [{"key": [written[1]]}], path


def test_curl_examples_ask_routes_that_exist() -> None:
    paths = [re.sub(r"{\w+}", "[^/]+", path) for path in _api()]
    for name in ("README.md", "docs/http.md"):
        for url, query in re.findall(
            r"curl [^\n]*?localhost:8900(/[^\s'?]*)\??([^\s']*)", _text(name)
        ):
            assert any(re.fullmatch(path, url) for path in paths), f"{name}: {url}"
            for parameter in re.findall(r"(\w+)=", query):
                assert parameter in FeedQuery.__struct_fields__, f"{name}: {parameter}"


def test_the_settings_page_is_current() -> None:
    again = "run: python -m upnext.settings.template > docs/settings.md"
    assert _text("docs/settings.md") == page(), again


def test_the_settings_page_reads_back_as_the_defaults() -> None:
    [block] = re.findall(r"```toml\n(.*?)```", _text("docs/settings.md"), re.DOTALL)
    assert parse(tomllib.loads(block), "docs", Path()).model_dump() == Settings().model_dump()


def test_every_setting_that_the_docs_name_exists() -> None:
    sections = "|".join(Settings.model_fields)
    for file in ["README.md", *(f"docs/{p.name}" for p in DOCS.glob("*.md"))]:
        for name in re.findall(rf"`((?:{sections})\.[a-z_.]+)`", _text(file)):
            if name.endswith((".md", ".db", ".py", ".toml")) or name.startswith(
                ("pipeline.http_sources.", "serve.api_keys.")
            ):
                continue
            value: object = Settings()
            for part in name.split("."):
                assert hasattr(value, part), f"{file}: {name}"
                value = getattr(value, part)


def test_every_environment_variable_that_is_read_is_documented() -> None:
    read: set[str] = set()
    for path in (ROOT / "src").rglob("*.py"):
        read |= set(
            re.findall(r"os\.(?:environ(?:\.get)?|getenv)[\[(]\"(\w+)\"", path.read_text("utf-8"))
        )
    assert read == {"UPNEXT_CONFIG"}
    for name in read:
        assert f"`{name}`" in _text("docs/settings.md")


def test_every_event_kind_column_and_label_is_documented() -> None:
    text = _text("docs/events.md")
    for name in (*EVENT_KINDS, *EVENTS_SENT.names, *LABELS):
        assert f"`{name}`" in text, name


def test_every_metric_is_documented_and_every_documented_metric_exists() -> None:
    sources = [path.read_text("utf-8") for path in (ROOT / "src/upnext/serve").glob("*metrics.py")]
    exposed = {name for source in sources for name in re.findall(r"\"(upnext_\w+)\"", source)}
    text = _text("docs/operate.md")
    assert set(re.findall(r"`(upnext_\w+)", text)) == exposed


def test_every_word_of_degraded_is_documented() -> None:
    words: set[str] = set()
    for path in (ROOT / "src/upnext").rglob("*.py"):
        source = path.read_text("utf-8")
        words |= set(re.findall(r"degraded\.append\(f?\"([a-z_]+:?)", source))
    text = _text("docs/operate.md")
    for word in (*words, "state", "unlogged"):
        assert f"| `{word}" in text, word


def test_links_between_pages_lead_somewhere() -> None:
    for path in [ROOT / "README.md", ROOT / "ARCHITECTURE.md", ROOT / "LAB.md", *DOCS.glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text("utf-8")):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_every_room_is_in_the_architecture() -> None:
    text = _text("ARCHITECTURE.md")
    for room in (ROOT / "src/upnext").iterdir():
        if (room / "__init__.py").exists():
            assert re.search(rf"\b{room.name}\b", text), room.name
    for name in re.findall(r"`(\w+/\w+\.py)`", text):
        assert (ROOT / "src/upnext" / name).exists(), name


def test_every_named_world_is_in_its_page_with_what_must_fail_there() -> None:
    text = _text("docs/simulate.md")
    for world in WORLDS:
        assert f"| `{world.name}` | {world.says} | {world.falsifies} |" in text
    for policy in POLICIES:
        assert f"`{policy}`" in text
