"""Online state in LMDB: one writing process, any number of reading ones, no server.

LMDB runs without fsync per transaction: the pages are in the kernel's cache, so a killed process loses nothing; a power cut may cost
the latest transactions or the whole file, and the log, which is the durable truth, rebuilds it. The watermark moves inside the same
transaction as the data, so what is here always reflects a prefix of the log.

LMDB keys hold at most 511 bytes: a longer key keeps its first 400 and a hash of the whole, so prefixes up to there still scan.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import lmdb

from upnext.core.errors import Unavailable

WATERMARK_KEY: Final = b"\x00watermark"
MAX_KEY: Final = 511
_KEPT: Final = 400


class LmdbState:
    """A StateStore on a folder. Raises Unavailable when the folder can't be opened or read."""

    def __init__(self, path: Path, *, read_only: bool = False, map_size: int = 1 << 36) -> None:
        self._path = path
        self._map_size = map_size
        if not read_only:
            try:
                path.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise Unavailable(f"state {path}: {error.strerror}") from error
        try:
            self._env: Any = lmdb.open(
                str(path), map_size=map_size, readonly=read_only, sync=False, metasync=False,
                max_readers=512, max_dbs=0, create=not read_only, readahead=False,
            )  # fmt: skip
        except lmdb.Error as error:
            raise Unavailable(f"state {path}: {error}; a rebuild from the log makes it anew") from error
        if not read_only:
            self._env.reader_check()

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values, aligned with the keys, of one moment."""
        try:
            with self._begin() as transaction:
                return [transaction.get(_stored(key)) for key in keys]
        except lmdb.Error as error:
            raise self._unavailable(error) from error

    def apply(self, deltas: Mapping[bytes, bytes | None], log_seq: int) -> None:
        """One transaction: sets (None deletes) every key and the watermark. Raises Unavailable; nothing is applied then."""
        while True:
            try:
                with self._env.begin(write=True) as transaction:
                    for key, value in deltas.items():
                        if value is None:
                            transaction.delete(_stored(key))
                        else:
                            transaction.put(_stored(key), value)
                    transaction.put(WATERMARK_KEY, log_seq.to_bytes(8, "big"))
                return
            except lmdb.MapFullError:
                self._map_size *= 2
                self._env.set_mapsize(self._map_size)
            except lmdb.Error as error:
                raise self._unavailable(error) from error

    def watermark(self) -> int:
        """The log_seq that the data reflects; 0 at first."""
        (data,) = self.get([WATERMARK_KEY])
        return int.from_bytes(data, "big") if data is not None else 0

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """(key as stored, value) of every key that begins with `prefix`, in order of key, of one moment."""
        try:
            with self._begin() as transaction, transaction.cursor() as cursor:
                found = cursor.set_range(prefix[:_KEPT])
                while found and cursor.key().startswith(prefix[:_KEPT]):
                    yield bytes(cursor.key()), bytes(cursor.value())
                    found = cursor.next()
        except lmdb.Error as error:
            raise self._unavailable(error) from error

    def checksum(self) -> str:
        """sha256 over all keys and values in order of key, the watermark included: equal states, equal sums."""
        digest = hashlib.sha256()
        for key, value in self.scan(b""):
            digest.update(len(key).to_bytes(4, "big") + key + len(value).to_bytes(8, "big") + value)
        return digest.hexdigest()

    def clear(self) -> None:
        """Removes everything, the watermark too."""
        try:
            with self._env.begin(write=True) as transaction:
                transaction.drop(self._env.open_db(txn=transaction), delete=False)
        except lmdb.Error as error:
            raise self._unavailable(error) from error

    def sync(self) -> None:
        """Brings what was applied to the disk."""
        try:
            self._env.sync(True)
        except lmdb.Error as error:
            raise self._unavailable(error) from error

    def close(self) -> None:
        """Releases the files."""
        self._env.close()

    def _begin(self) -> Any:
        try:
            return self._env.begin()
        except lmdb.MapResizedError:
            self._env.set_mapsize(0)  # another process grew the map: take its size
            return self._env.begin()

    def _unavailable(self, error: Exception) -> Unavailable:
        return Unavailable(f"state {self._path}: {error}")


def _stored(key: bytes) -> bytes:
    if len(key) <= MAX_KEY:
        return key
    return key[:_KEPT] + b"\x00" + hashlib.blake2b(key, digest_size=32).digest()
