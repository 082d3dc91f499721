"""The rows that an import left out, one JSON line each with the reason, so that nothing is dropped silently."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import msgspec

from upnext.core.errors import Unavailable
from upnext.intake.report import Problem


class Rejected:
    """A file that comes into being with the first bad row; without a path nothing is written."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.n_rows = 0
        self._file: BinaryIO | None = None

    def write(
        self,
        file: str,
        row: int,
        problem: Problem,
        got: object,
        values: Mapping[str, object] | None,
    ) -> None:
        """Adds one row. Raises Unavailable when the file can't be written."""
        self.n_rows += 1
        if self.path is None:
            return
        line = {
            "file": file,
            "row": row,
            "column": problem.column,
            "expected": problem.expected,
            "got": got,
            "values": values,
        }
        try:
            if self._file is None:
                self._file = self.path.open("wb")
            self._file.write(msgspec.json.encode(line, enc_hook=repr) + b"\n")
        except OSError as error:
            raise Unavailable(f"rejected rows can't be written to {self.path}: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()
