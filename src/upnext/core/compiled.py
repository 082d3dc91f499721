"""Inner loops in machine code (numba): for what a request does per candidate and per slot.

A request's arrays are small, a few hundred rows. At that size numpy spends its time on calls and on passes over memory, not on numbers; one
loop that reads each row once is several times faster and says plainly what happens to a row. Functions take and return numpy arrays and
numbers alone and release the interpreter's lock.

Compiled code is kept beside the module, or in the user's cache folder (or where NUMBA_CACHE_DIR points), so that an installation pays for
compilation once; where nothing can be written, each process compiles anew. Compiled functions call each other across modules, and numba
knows a stale one by its own module alone; so whatever is kept is void as soon as any file of the package changes.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from pickle import UnpicklingError  # numba writes its files so: a damaged one raises this
from typing import Any, TypeVar, cast

import numba
from numba.core.caching import FunctionCache

_F = TypeVar("_F", bound=Callable[..., Any])
_PACKAGE = Path(__file__).parents[1]


def compiled(function: _F) -> _F:
    """The function in machine code, compiled for the argument types of its first call. Sums are taken in the order written."""
    return _compiled(function, reassociate=False)


def compiled_sums(function: _F) -> _F:
    """The same, for dot products: floating-point sums may be taken in another order, many numbers at once."""
    return _compiled(function, reassociate=True)


def _compiled(function: _F, *, reassociate: bool) -> _F:
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    if reassociate:
        options["fastmath"] = {"reassoc", "contract", "nsz"}
    dispatcher = numba.njit(**options)(function)
    try:
        dispatcher._cache = _Kept(function)
    except RuntimeError:  # no folder to keep it in
        return cast(_F, dispatcher)
    return cast(_F, dispatcher)


class _Kept(FunctionCache):
    """What numba keeps of one function, void once the package has changed."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)  # type: ignore[no-untyped-call]
        stamps = numba.__version__, _stamp_of(_PACKAGE), self._impl.locator.get_source_stamp()
        self._cache_file._version = repr(stamps)  # another version is not even read

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The code kept for these argument types; none where two processes that wrote at once mixed up what is whose, or where a file is damaged."""
        try:
            found = super().load_overload(sig, target_context)  # type: ignore[no-untyped-call]
        except (OSError, EOFError, UnpicklingError):
            return None
        return found if found is not None and found.signature.args == tuple(sig) else None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keeps the code where there is room for it: a full disk costs the next process a compilation, not this one its answer."""
        with suppress(OSError, EOFError, UnpicklingError):
            super().save_overload(sig, data)  # type: ignore[no-untyped-call]


@cache
def _stamp_of(folder: Path) -> str:
    """Another one after any change of the folder's Python files."""
    told = sha256()
    for path in sorted(folder.rglob("*.py")):
        stat = path.stat()
        told.update(f"{path.relative_to(folder)} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return told.hexdigest()
