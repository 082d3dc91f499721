"""The state of a platform that lives as long as its test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class MemoryState:
    """A StateStore in a dictionary."""

    def __init__(self) -> None:
        self._values: dict[bytes, bytes] = {}
        self._log_seq = 0

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return [self._values.get(key) for key in keys]

    def apply(self, deltas: Mapping[bytes, bytes | None], log_seq: int) -> None:
        for key, value in deltas.items():
            if value is None:
                self._values.pop(key, None)
            else:
                self._values[key] = value
        self._log_seq = log_seq

    def watermark(self) -> int:
        return self._log_seq

    def clear(self) -> None:
        self._values, self._log_seq = {}, 0
