"""The OpenAPI page, made from the route table: every path, its parameters and schemas, nothing by hand."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from upnext.serve.api_types import ErrorAnswer
from upnext.serve.routes import Route

_REASONS = {401: "No valid key", 403: "The key lacks the scope", 404: "Unknown id", 422: "Input that breaks a rule",
            503: "Busy or a store is away; Retry-After says when to ask again"}  # fmt: skip


def openapi(routes: Sequence[Route], version: str) -> dict[str, Any]:
    """OpenAPI 3.1 of the routes."""
    kinds: list[Any] = [ErrorAnswer]
    for route in routes:
        kinds += [kind for kind in (route.answer, route.body, route.query) if kind is not None]
    schemas, components = msgspec.json.schema_components(
        kinds, ref_template="#/components/schemas/{name}"
    )
    shape = {id(kind): schema for kind, schema in zip(kinds, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = re.sub(r":path}", "}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, shape, components)
    return {
        "openapi": "3.1.0",
        "info": {"title": "UpNext", "version": version, "description": "A video recommender."},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(
    route: Route, shape: dict[int, dict[str, Any]], components: dict[str, Any]
) -> dict[str, Any]:
    kind = "text/plain" if route.answer is str else "application/json"
    answer = {"description": "Done", "content": {kind: {"schema": shape[id(route.answer)]}}}
    responses: dict[str, Any] = {"200": answer}
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorAnswer"}}}
    statuses = route.statuses if route.scope == "none" else (401, 403, *route.statuses)
    for status in statuses:
        responses[str(status)] = {"description": _REASONS[status], "content": error}
    operation: dict[str, Any] = {
        "summary": route.summary,
        "operationId": f"{route.method.lower()}_{getattr(route.handler, '__name__', 'route')}",
        "parameters": _parameters(route, components),
        "responses": responses,
    }
    if route.body is not None:
        body = {"application/json": {"schema": shape[id(route.body)]}}
        operation["requestBody"] = {"required": True, "content": body}
    if route.scope != "none":
        operation["security"] = [{"key": [route.scope]}]
    return operation


def _parameters(route: Route, components: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for name in re.findall(r"{(\w+)(?::path)?}", route.path):
        found.append({"name": name, "in": "path", "required": True, "schema": {"type": "string"}})
    if route.query is not None:
        properties = components[route.query.__name__]["properties"]
        for name, schema in properties.items():
            plain = {k: v for k, v in schema.items() if k != "description"}
            found.append({
                "name": name, "in": "query", "required": False, "schema": plain,
                "description": schema.get("description", ""),
            })  # fmt: skip
    return found
