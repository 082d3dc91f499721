"""The errors that cross a room's border, each with one line a person can act on.

An adapter turns every outage of what it adapts into `Unavailable`; a caller may go on without it.
Input that breaks a rule is `InvalidInput`. Everything else is a bug and stays loud.
"""

from __future__ import annotations


class UpNextError(Exception):
    """A failure with a message meant for the person who runs the system."""


class InvalidInput(UpNextError, ValueError):
    """What came in breaks a stated rule: says where, what was expected and what was found."""


class NotFound(UpNextError, LookupError):
    """An id that names nothing here."""


class Unavailable(UpNextError, OSError):
    """A store or a source can't answer now; its caller degrades, flagged, and goes on."""


class DamagedRelease(UpNextError):
    """A file of a release is missing or differs from the manifest's checksum; names the file."""


class Overloaded(UpNextError):
    """More requests in flight than the bound allows; the client may retry after a second."""


def expected(where: str, wanted: str, got: object) -> InvalidInput:
    """An InvalidInput that reads "<where>: expected <wanted>, got <got>"."""
    shown = repr(got)
    if len(shown) > 120:
        shown = shown[:117] + "..."
    return InvalidInput(f"{where}: expected {wanted}, got {shown}")
