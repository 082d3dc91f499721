"""manifest.json: what a release is made of, from what it was trained, and how good it was."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final

import msgspec

from upnext.core.columns import SCHEMA_VERSION
from upnext.core.errors import DamagedRelease, InvalidInput

MANIFEST: Final = "manifest.json"


class FileEntry(msgspec.Struct, frozen=True):
    """One file as it was published."""

    sha256: str
    bytes: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """One release."""

    release_id: str  # UTC time of publication: sorts by age
    created_us: int
    parent: str | None  # the release it was fine-tuned from
    settings: dict[str, Any]
    data_window: dict[str, Any]
    metrics: dict[str, Any]
    files: dict[str, FileEntry]  # by path inside the release, "/" between folders
    schema_version: int = SCHEMA_VERSION


def file_entries(folder: Path) -> dict[str, FileEntry]:
    """Every file under the folder, the manifest aside, with checksum and size."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {
        name: FileEntry(sha256_of(file), file.stat().st_size)
        for file in files
        if (name := file.relative_to(folder).as_posix()) != MANIFEST
    }


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes manifest.json; the caller makes it durable. Raises InvalidInput when a value has no JSON."""
    try:
        data = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
    except (TypeError, OverflowError, UnicodeEncodeError) as error:
        raise InvalidInput(f"release {manifest.release_id}: manifest: {error}") from error
    (folder / MANIFEST).write_bytes(data)


def read_manifest(folder: Path) -> Manifest:
    """The release's manifest. Raises DamagedRelease when it is missing or can't be read."""
    file = folder / MANIFEST
    try:
        manifest = msgspec.json.decode(file.read_bytes(), type=Manifest)
    except (OSError, msgspec.DecodeError) as error:
        raise DamagedRelease(f"{file}: {error}") from error
    if manifest.schema_version > SCHEMA_VERSION:
        raise DamagedRelease(
            f"{file}: expected schema version {SCHEMA_VERSION}, got {manifest.schema_version}: made by a newer UpNext"
        )
    if manifest.release_id != folder.name:
        raise DamagedRelease(
            f"{file}: expected release {folder.name!r}, got {manifest.release_id!r}"
        )
    return manifest


def check_files(folder: Path, manifest: Manifest, *, checksums: bool) -> None:
    """Sizes, and with `checksums` every byte. Raises DamagedRelease naming the first file that is missing or differs."""
    for name, entry in manifest.files.items():
        file = folder / name
        try:
            n_bytes = file.stat().st_size
            if n_bytes != entry.bytes:
                raise DamagedRelease(f"{file}: expected {entry.bytes} bytes, got {n_bytes}")
            found = sha256_of(file) if checksums else entry.sha256
        except OSError as error:
            raise DamagedRelease(f"{file}: {error.strerror or error}") from error
        if found != entry.sha256:
            raise DamagedRelease(f"{file}: expected sha256 {entry.sha256}, got {found}")


def sha256_of(file: Path) -> str:
    """The file's SHA-256, hexadecimal, read in blocks."""
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()
