"""Releases: what training hands to serving, published whole or not at all, checked before it is used."""

from upnext.artifacts.manifest import FileEntry, Manifest
from upnext.artifacts.releases import Release, ReleaseStore

__all__ = ["FileEntry", "Manifest", "Release", "ReleaseStore"]
