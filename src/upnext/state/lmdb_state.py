"""The state store in LMDB: one writer, any number of reading processes, a get without a system call (symas.com/lmdb).

Each `apply` is one transaction that moves the watermark with the data, so a reader never sees one without the other. Commits are not
fsync'd (sync=False): the log is the durable truth, and the owner calls `sync` now and then. Without fsync a crash of the *machine*
may leave a damaged file, which is then rebuilt from the log; a killed *process* loses nothing that it committed. A file that was removed
lives on for whoever has it open, so a reader looks now and then whether its file still stands at the path, is Unavailable while none
does, and opens the one that the writer builds anew. writemap stays off:
with it a stray write corrupts the file and the file is sparse at its full map size, and on batches of 4 KB values it gained nothing.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar, cast

import lmdb

from upnext.core.errors import Unavailable, expected
from upnext.state.stored_key import PREFIX, RESERVED, stored_key

T = TypeVar("T")
_WATERMARK: Final = RESERVED + b"watermark"
_PAGE: Final = 1024  # entries of one read transaction while scanning
_MAX_READERS: Final = 512
_MAX_MAP: Final = 1 << 46  # beyond what a 64-bit address space gives
_LOOK_EVERY_S: Final = 0.5
_ADVICE: Final = "rebuild the state from the log"
_DAMAGED: Final = (
    lmdb.CorruptedError, lmdb.InvalidError, lmdb.PageNotFoundError, lmdb.VersionMismatchError,
    lmdb.PanicError,
)  # fmt: skip


class LmdbState:
    """StateStore. Safe to call from several threads; one process writes, the others open it with read_only=True."""

    def __init__(self, path: Path, *, read_only: bool = False, map_size: int = 1 << 36) -> None:
        """Opens the folder `path`; a writer makes it. map_size (bytes) is address space, not disk, and grows by itself.

        Raises Unavailable when it can't be opened: damaged, or a reader before the first writer."""
        self.path = path
        self._read_only = read_only
        self._map_size = map_size
        self._calm = threading.Condition(
            threading.Lock()
        )  # a map is only resized while no transaction of this process is open
        self._n_open = 0
        self._is_resizing = False
        self._is_closed = False
        self._look_at_s = 0.0
        self._open()

    def _open(self) -> None:
        """Opens the file that stands at the path."""
        if self._read_only and self._standing() is None:
            raise Unavailable(f"state {self.path}: not there yet; its writer makes it")
        with self._outage():
            self.path.mkdir(parents=True, exist_ok=True)
            self._environment = lmdb.open(
                str(self.path),
                map_size=self._map_size,
                readonly=self._read_only,
                create=not self._read_only,
                sync=False,
                writemap=False,
                readahead=False,  # reads are of single keys
                max_readers=_MAX_READERS,
            )
            self._environment.reader_check()  # frees the slots of killed readers
            self._check_length()
        self._map_size = self._environment.info()["map_size"]
        self._file = self._standing()

    def _standing(self) -> tuple[int, int] | None:
        """Which file stands at the path (device, inode); None without one."""
        try:
            found = (self.path / "data.mdb").stat()
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def is_in_place(self) -> bool:
        """Whether the file that is open still stands at the path. Raises Unavailable."""
        with self._outage():
            return self._standing() == self._file

    def _check_length(self) -> None:
        """A file cut short would end the process when a page beyond its end is read."""
        n_bytes = (self.path / "data.mdb").stat().st_size
        page, n_pages = self._environment.stat()["psize"], self._environment.info()["last_pgno"] + 1
        if n_bytes < page * n_pages:
            self._environment.close()
            raise Unavailable(
                f"state {self.path}: expected {page * n_pages} bytes, got {n_bytes}; {_ADVICE}"
            )

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The value of each key, None where there is none: of one state. Raises Unavailable."""
        stored = [stored_key(key) for key in keys]

        def read(transaction: lmdb.Transaction) -> list[bytes | None]:
            return cast("list[bytes | None]", [transaction.get(key) for key in stored])

        return self._read(read)

    def watermark(self) -> int:
        """The log_seq that the state reflects, 0 for an empty one. Raises Unavailable."""
        return self._read(_watermark)

    def apply(self, deltas: Mapping[bytes, bytes | None], log_seq: int) -> None:
        """One transaction: sets (None deletes) every key and moves the watermark to log_seq.

        Raises Unavailable when the disk is full or fails, InvalidInput when log_seq lies before the watermark; then nothing changed.
        """
        writes = [(stored_key(key), value) for key, value in deltas.items()]

        def write(transaction: lmdb.Transaction) -> None:
            before = _watermark(transaction)
            if log_seq < before:
                raise expected("state: log_seq", f"at least the watermark {before}", log_seq)
            for key, value in writes:
                if value is None:
                    transaction.delete(key)
                else:
                    transaction.put(key, value)
            transaction.put(_WATERMARK, log_seq.to_bytes(8, "little"))

        self._write(write)

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """(key, value) of every key that starts with `prefix` (at most 400 bytes), in the order of keys.

        A key over 479 bytes comes back in its shortened form: 400 bytes and a digest. Reads pages of one state each, so a long
        scan does not hold the writer's old pages; for one state of all keys, stop the writer. Raises InvalidInput, Unavailable.
        """
        if len(prefix) > PREFIX:
            raise expected("state: prefix", f"at most {PREFIX} bytes", len(prefix))
        first = stored_key(prefix)
        start, skip = first, False
        while True:
            page = self._read(lambda transaction: _page(transaction, start, first, skip))  # noqa: B023
            yield from ((key[1:], value) for key, value in page)
            if len(page) < _PAGE:
                return
            start, skip = page[-1][0], True

    def checksum(self) -> str:
        """A digest of all keys and values in the order of keys, the watermark aside: equal for equal states. Raises Unavailable."""
        return self._read(_digest)

    def sync(self) -> None:
        """Puts every commit so far on disk, and frees the pages that killed readers held. Raises Unavailable."""
        with self._outage():
            self._environment.reader_check()
            self._environment.sync(True)

    def clear(self) -> None:
        """Empties the store; the watermark is 0 again. Raises Unavailable."""

        def empty(transaction: lmdb.Transaction) -> None:
            transaction.drop(self._environment.open_db(txn=transaction), delete=False)

        self._write(empty)

    def close(self) -> None:
        """Gives the file back. A writer's commits are put on disk."""
        if not self._is_closed and not self._read_only:
            self.sync()
        self._is_closed = True
        self._environment.close()

    # Beneath

    def _read(self, work: Callable[[lmdb.Transaction], T]) -> T:
        """What `work` gives of one state; follows a map that the writer has grown, and a file that it has built anew."""
        if self._read_only and time.monotonic() >= self._look_at_s:
            self._look()
        for _ in range(3):
            self._enter()  # no context managers of our own here: they would double the time of a get
            try:
                with self._environment.begin() as transaction:
                    return work(transaction)
            except lmdb.MapResizedError:
                pass
            except (lmdb.Error, OSError) as error:
                raise self._unavailable(error) from error
            finally:
                self._leave()
            self._resize(0)  # 0: as large as the writer has made it
        raise Unavailable(f"state {self.path}: its writer keeps growing it; try again")

    def _look(self) -> None:
        """Opens the file that stands at the path if it is another. Raises Unavailable while there is none."""
        if not self.is_in_place():
            with self._calmly():
                if not self.is_in_place():
                    self._environment.close()
                    self._open()
        self._look_at_s = time.monotonic() + _LOOK_EVERY_S

    def _write(self, work: Callable[[lmdb.Transaction], object]) -> None:
        """Commits `work`, in a larger map when it is full."""
        if self._read_only:
            raise Unavailable(f"state {self.path}: open for reading only")
        with self._outage():
            while True:
                self._enter()
                try:
                    with self._environment.begin(write=True) as transaction:
                        work(transaction)
                    return
                except lmdb.MapFullError:
                    if self._map_size >= _MAX_MAP:
                        raise
                finally:
                    self._leave()
                self._resize(2 * self._map_size)

    def _enter(self) -> None:
        """Before a transaction, which must not be open while the map moves."""
        with self._calm:
            while self._is_resizing:
                self._calm.wait()
            self._n_open += 1

    def _leave(self) -> None:
        """After a transaction."""
        with self._calm:
            self._n_open -= 1
            if not self._n_open:
                self._calm.notify_all()

    def _resize(self, map_size: int) -> None:
        with self._outage(), self._calmly():
            self._environment.set_mapsize(map_size)
            self._map_size = self._environment.info()["map_size"]

    @contextmanager
    def _calmly(self) -> Iterator[None]:
        """While no transaction of this process is open."""
        with self._calm:
            while self._is_resizing:
                self._calm.wait()
            self._is_resizing = True
            while self._n_open:
                self._calm.wait()
            try:
                yield
            finally:
                self._is_resizing = False
                self._calm.notify_all()

    @contextmanager
    def _outage(self) -> Iterator[None]:
        try:
            yield
        except Unavailable:
            raise
        except (lmdb.Error, OSError) as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: Exception) -> Unavailable:
        advice = f"; {_ADVICE}" if isinstance(error, _DAMAGED) else ""
        return Unavailable(f"state {self.path}: {error}{advice}")


def _watermark(transaction: lmdb.Transaction) -> int:
    data = transaction.get(_WATERMARK)
    return int.from_bytes(data, "little") if data is not None else 0


def _digest(transaction: lmdb.Transaction) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with transaction.cursor() as cursor:
        for key, value in _entries(cursor):
            if not key.startswith(RESERVED):
                digest.update(len(key).to_bytes(4, "little") + key)
                digest.update(len(value).to_bytes(8, "little") + value)
    return digest.hexdigest()


def _page(
    transaction: lmdb.Transaction, start: bytes, prefix: bytes, skip: bool
) -> list[tuple[bytes, bytes]]:
    """The next entries that start with `prefix`, from `start` on (`skip`: strictly after it)."""
    page: list[tuple[bytes, bytes]] = []
    with transaction.cursor() as cursor:
        if not cursor.set_range(start):
            return page
        for key, value in _entries(cursor):
            if not key.startswith(prefix) or len(page) == _PAGE:
                return page
            if not (skip and key == start):
                page.append((key, value))
    return page


def _entries(cursor: lmdb.Cursor) -> Iterator[tuple[bytes, bytes]]:
    """From where the cursor stands to the end; bytes, because transactions are opened without buffers."""
    return cast("Iterator[tuple[bytes, bytes]]", iter(cursor))
