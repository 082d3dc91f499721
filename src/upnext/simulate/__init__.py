"""Worlds whose truth is known: viewers and videos, the history they leave as ordinary tables, and viewers who answer a live feed."""
