"""Releases: immutable folders under checksums, published atomically."""
