"""Releases: folders of files under a manifest with checksums; publishing is one rename, choosing one is another.

    <path>/work-*          folders being filled; never listed
    <path>/<release_id>/   manifest.json and files, read only from then on
    <path>/current         the release_id that serves
    <path>/promotions.jsonl    every promotion, so that a rollback knows what was there before
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from upnext.core.clock import Clock, SystemClock
from upnext.core.errors import DamagedRelease, InvalidInput, NotFound

MANIFEST: Final = "manifest.json"
FORMAT: Final = 1


class FileEntry(msgspec.Struct, frozen=True):
    """What a file of a release must be."""

    sha256: str
    n_bytes: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a release is and where it came from."""

    release_id: str
    created_us: int
    parent: str | None
    settings: dict[str, Any]
    data_window: dict[str, Any]
    metrics: dict[str, Any]
    files: dict[str, FileEntry]
    format: int = FORMAT


class Release(msgspec.Struct, frozen=True):
    """An opened release whose files are whole."""

    path: Path
    manifest: Manifest

    def file(self, name: str) -> Path:
        """The path of one of its files or folders. Raises NotFound."""
        path = self.path / name
        if not path.exists():
            raise NotFound(f"release {self.manifest.release_id}: has no {name!r}")
        return path


class ReleaseStore:
    """The releases of a folder."""

    def __init__(self, path: Path, clock: Clock | None = None) -> None:
        self._path = path
        self._clock = clock or SystemClock()

    def begin(self) -> Path:
        """An empty folder to fill; publish takes it."""
        self._path.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix="work-", dir=self._path))

    def publish(
        self,
        folder: Path,
        *,
        settings: Mapping[str, Any],
        data_window: Mapping[str, Any],
        metrics: Mapping[str, Any],
        parent: str | None,
        promote: bool = True,
    ) -> str:
        """Checksums the folder's files, makes them durable and the release visible at once -> its id."""
        now_us = self._clock.now_us()
        files = {
            str(path.relative_to(folder)): FileEntry(_sha256(path), path.stat().st_size)
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.name != MANIFEST
        }
        manifest = Manifest(
            release_id=self._new_id(now_us, files),
            created_us=now_us,
            parent=parent,
            settings=dict(settings),
            data_window=dict(data_window),
            metrics=dict(metrics),
            files=files,
        )
        (folder / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=1))
        folder.chmod(0o755)
        for path in sorted(folder.rglob("*")):
            _fsync(path)
        _fsync(folder)
        os.rename(folder, self._path / manifest.release_id)
        _fsync(self._path)
        if promote:
            self.promote(manifest.release_id)
        return manifest.release_id

    def current(self) -> str | None:
        """The id of the release that serves; None before the first."""
        try:
            return (self._path / "current").read_text("utf-8").strip() or None
        except FileNotFoundError:
            return None

    def list(self) -> list[Manifest]:
        """The manifests of all whole-looking releases, oldest first; a folder without a manifest is none."""
        found = []
        for path in sorted(self._path.glob(f"*/{MANIFEST}")):
            if not path.parent.name.startswith("work-"):
                found.append(self._manifest(path.parent.name))
        return sorted(found, key=lambda manifest: (manifest.created_us, manifest.release_id))

    def promote(self, release_id: str) -> None:
        """Makes a release the current one. Raises NotFound."""
        self._manifest(release_id)
        with (self._path / "promotions.jsonl").open("a", encoding="utf-8") as journal:
            entry = {"release_id": release_id, "time_us": self._clock.now_us(), "was": self.current()}
            journal.write(json.dumps(entry) + "\n")
            journal.flush()
            os.fsync(journal.fileno())
        self._point_to(release_id)

    def rollback(self) -> str:
        """Makes the release that was current before the current one current again -> its id.

        Raises InvalidInput when there was none."""
        path = self._path / "promotions.jsonl"
        lines = path.read_text("utf-8").splitlines() if path.exists() else []
        entries = [json.loads(line) for line in lines]
        current = self.current()
        while entries and entries[-1]["release_id"] != current:
            entries.pop()
        was = entries[-1]["was"] if entries else None
        if was is None:
            raise InvalidInput(f"releases {self._path}: nothing was current before {current}")
        self._manifest(was)
        temporary = path.with_suffix(".tmp")
        temporary.write_text("".join(json.dumps(entry) + "\n" for entry in entries[:-1]), "utf-8")
        _fsync(temporary)
        os.replace(temporary, path)
        self._point_to(was)
        return str(was)

    def open(self, release_id: str, *, verify: bool = True) -> Release:
        """The release, every file checked against the manifest.

        Raises NotFound, and DamagedRelease naming the first file that is missing or differs."""
        manifest = self._manifest(release_id)
        folder = self._path / release_id
        for name, entry in manifest.files.items():
            path = folder / name
            if not path.is_file():
                raise DamagedRelease(f"release {release_id}: file {name!r} is missing")
            if path.stat().st_size != entry.n_bytes:
                raise DamagedRelease(
                    f"release {release_id}: file {name!r}: expected {entry.n_bytes} bytes, got {path.stat().st_size}"
                )
            if verify and _sha256(path) != entry.sha256:
                raise DamagedRelease(f"release {release_id}: file {name!r} differs from its checksum")
        return Release(folder, manifest)

    def discard(self, folder: Path) -> None:
        """Removes a working folder that will not be published."""
        if folder.parent == self._path and folder.name.startswith("work-"):
            shutil.rmtree(folder, ignore_errors=True)

    def _manifest(self, release_id: str) -> Manifest:
        path = self._path / release_id / MANIFEST
        if "/" in release_id or not path.is_file():
            raise NotFound(f"release {release_id!r}: not in {self._path}")
        try:
            return msgspec.json.decode(path.read_bytes(), type=Manifest)
        except msgspec.MsgspecError as error:
            raise DamagedRelease(f"release {release_id}: file {MANIFEST!r}: {error}") from error

    def _new_id(self, now_us: int, files: Mapping[str, FileEntry]) -> str:
        stamp = datetime.fromtimestamp(now_us / 1e6, UTC).strftime("%Y%m%dT%H%M%S")
        digest = hashlib.sha256("".join(f"{n}{e.sha256}" for n, e in files.items()).encode()).hexdigest()
        name, n = f"{stamp}-{digest[:8]}", 1
        while (self._path / name).exists():
            n += 1
            name = f"{stamp}-{digest[:8]}-{n}"
        return name

    def _point_to(self, release_id: str) -> None:
        temporary = self._path / "current.tmp"
        temporary.write_text(release_id + "\n", "utf-8")
        _fsync(temporary)
        os.replace(temporary, self._path / "current")
        _fsync(self._path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
