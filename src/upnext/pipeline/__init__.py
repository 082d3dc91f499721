"""One request, top to bottom; no HTTP, no writes."""
