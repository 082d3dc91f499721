"""The store of releases: a folder of folders, each with a manifest of checksums.

    <release_id>/      files and manifest.json, renamed here whole
    work/              releases in the making; whatever a crash leaves there is never listed and never opened
    current.json       which release is current and which were before

Training calls begin, fills the folder, and publishes; serving opens what `current` names and refuses it when a file is damaged.
"""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec

from upnext.artifacts.durable_folder import move_folder, replace_file, sync_tree
from upnext.artifacts.manifest import (
    MANIFEST,
    Manifest,
    check_files,
    file_entries,
    read_manifest,
    write_manifest,
)
from upnext.artifacts.promotions import CURRENT, Promotions, read_promotions
from upnext.core.clock import Clock, SystemClock
from upnext.core.errors import DamagedRelease, InvalidInput, NotFound, Unavailable

_WORK: Final = "work"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
Manifests = list[Manifest]


@dataclass(frozen=True, slots=True)
class Release:
    """One opened release."""

    path: Path
    manifest: Manifest

    def file(self, name: str) -> Path:
        """The path of one of its files. Raises NotFound when the manifest has no such file."""
        if name not in self.manifest.files:
            raise NotFound(f"release {self.manifest.release_id}: no file {name!r}")
        return self.path / name


class ReleaseStore:
    """All releases of one folder. One process publishes and promotes at a time; any number read."""

    def __init__(self, path: Path, clock: Clock | None = None) -> None:
        """Opens the folder `path`; it is made with the first release."""
        self.path = path
        self._clock = clock or SystemClock()

    def begin(self) -> Path:
        """An empty working folder beside the releases. Raises Unavailable."""
        with self._outage():
            work = self.path / _WORK
            work.mkdir(parents=True, exist_ok=True)
            return Path(tempfile.mkdtemp(dir=work))

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
        """The release_id under which the folder's files are now a release, on disk, current if `promote`; the folder is moved.

        Raises InvalidInput when the folder is empty or a value has no JSON, Unavailable when the disk fails; then nothing is published.
        """
        with self._outage():
            files = file_entries(folder) if folder.is_dir() else {}
            if not files:
                raise InvalidInput(f"release folder {folder}: expected files, got none")
            created_us = self._next_us()
            manifest = Manifest(
                release_id=_release_id(created_us),
                created_us=created_us,
                parent=parent,
                settings=dict(settings),
                data_window=dict(data_window),
                metrics=dict(metrics),
                files=files,
            )
            write_manifest(folder, manifest)
            sync_tree(folder)
            move_folder(folder, self.path / manifest.release_id)
            if promote:
                self.promote(manifest.release_id)
        return manifest.release_id

    def _next_us(self) -> int:
        """Now, or just after the newest release where the clock stands or went back: ids are unique and sort by age."""
        return max([self._clock.now_us(), *(m.created_us + 1 for m in self.list())])

    def current(self) -> str | None:
        """The release_id that is current, None before the first promotion. Raises Unavailable."""
        return read_promotions(self.path).current()

    def list(self) -> Manifests:
        """The manifests of all releases, oldest first; a folder without a readable manifest is no release."""
        if not self.path.is_dir():
            return []
        manifests = []
        for folder in self.path.iterdir():
            try:
                manifests.append(read_manifest(folder))
            except DamagedRelease:
                continue  # `open` names what is wrong with it
        return sorted(manifests, key=lambda manifest: manifest.created_us)

    def promote(self, release_id: str) -> None:
        """Makes a release current. Raises NotFound, DamagedRelease when a file is missing or of another size, Unavailable."""
        self.open(release_id, verify=False)
        with self._outage():
            promotions = read_promotions(self.path)
            self._write(promotions.promoted(release_id, self._clock.now_us()))

    def rollback(self) -> str:
        """The release that was current before, current again. Raises NotFound when there is none, DamagedRelease, Unavailable."""
        promotions = read_promotions(self.path).rolled_back(self._clock.now_us())
        release_id = promotions.journal[-1].release_id
        self.open(release_id, verify=False)
        with self._outage():
            self._write(promotions)
        return release_id

    def promotions(self) -> Promotions:
        """Every change of the current release, oldest first. Raises Unavailable."""
        return read_promotions(self.path)

    def open(self, release_id: str, *, verify: bool = True) -> Release:
        """The release, every file checked against its sha256 (`verify` False: against its size).

        Raises NotFound when there is no such release, DamagedRelease naming the file."""
        path = self.path / release_id
        if path.name != release_id or release_id in (_WORK, "..") or not path.is_dir():
            raise NotFound(f"release {release_id!r}: not in {self.path}")
        if not (path / MANIFEST).exists():
            raise DamagedRelease(f"{path / MANIFEST}: missing")
        manifest = read_manifest(path)
        check_files(path, manifest, checksums=verify)
        return Release(path, manifest)

    def _write(self, promotions: Promotions) -> None:
        replace_file(self.path / CURRENT, msgspec.json.encode(promotions))

    @contextmanager
    def _outage(self) -> Iterator[None]:
        try:
            yield
        except Unavailable:
            raise
        except OSError as error:
            reason = (
                "expected a folder of the same disk (begin)"
                if error.errno == errno.EXDEV
                else error
            )
            raise Unavailable(f"releases {self.path}: {reason}") from error


def _release_id(created_us: int) -> str:
    return (_EPOCH + timedelta(microseconds=created_us)).strftime("%Y%m%d-%H%M%S-%f")
