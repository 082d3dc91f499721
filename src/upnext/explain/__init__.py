"""Why this video."""
