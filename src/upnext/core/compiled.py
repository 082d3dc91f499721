"""Inner loops in machine code (numba): for what a request does per candidate and per slot.

A request's arrays are small, a few hundred rows. At that size numpy spends its time on calls and on passes over memory, not on numbers; one
loop that reads each row once is several times faster and says plainly what happens to a row. Compiled code is kept beside the
module, or in the user's cache folder (or where NUMBA_CACHE_DIR points), so that a process pays for compilation once per installation; where
nothing can be written, it is compiled anew in each process. Functions take and return numpy arrays and numbers alone and release
the interpreter's lock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

_F = TypeVar("_F", bound=Callable[..., Any])


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
    try:
        return cast(_F, numba.njit(cache=True, **options)(function))
    except RuntimeError:  # no folder to keep it in
        return cast(_F, numba.njit(**options)(function))
