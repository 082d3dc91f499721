"""The best few thousand of a catalogue in one pass: bounded heaps, whose least a new value has to beat (Knuth, volume 3, section 5.2.3).

Values come in no order, so nearly all are dismissed by one comparison: a million take two milliseconds, a tenth of a partition of them.
Of equal values the lower row is the better one. Where most are met before the best, a pass that grades them keeps the rest from the heap.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from upnext.core.compiled import compiled
from upnext.core.types import Array, Float64, Int64

N_GRADES: Final = 2048
_MOST_COMPARED: Final = 128  # of one grade; more of them are kept in a heap
_GRADE_BITS: Final = 16  # of a float32 that a grade does not tell apart


class Heap(NamedTuple):
    """The best so far, the worst of them first: a parent at i is worse than its children at 2 i + 1 and 2 i + 2."""

    row: Int64  # [size]
    value: Float64  # [size], of the rows


@compiled
def best_rows(values: Float64, size: int) -> Int64:
    """Rows int64[m], m <= size, of the largest of values float64[n] that are above 0, best first."""
    heap = Heap(np.empty(size, np.int64), np.empty(size))
    n_held, least = 0, 0.0
    for row in range(len(values)):
        if values[row] > least:
            n_held = take_in(heap, n_held, row, values[row])
            least = _least(heap, n_held)
    sort_best_first(heap, n_held)
    return heap.row[:n_held]


@compiled
def largest_rows(values: Float64, size: int) -> Int64:
    """Rows int64[m], m <= size, of the largest of values float64[n] of either sign, best first."""
    return best_of(np.arange(len(values)), values, size)[0]


@compiled
def best_of(ids: Array, values: Float64, size: int) -> tuple[Int64, Float64]:
    """(ids int64[m], values float64[m]), m <= size, best first: the largest of n values with different ids, ties by id."""
    size = min(size, len(ids))
    grade = grades(values)
    count = per_grade(grade)
    last, n_reached = 0, count[0]
    while n_reached < size:
        last += 1
        n_reached += count[last]
    return best_of_places(places_of(grade, 0, last), ids, values, grade, size)


@compiled
def best_of_places(
    places: Int64, ids: Array, values: Float64, grade: Array, size: int
) -> tuple[Int64, Float64]:
    """The same of some places int64[m] in ids, values and grades: put in the order of their grades, few are left to be compared."""
    n = len(places)
    start = np.zeros(N_GRADES + 1, np.int32)
    most = 0
    for place in places:
        start[grade[place] + 1] += 1
        most = max(most, start[grade[place] + 1])
    heap = Heap(np.empty(n, np.int64), np.empty(n))
    if most > _MOST_COMPARED:
        heap, n_held = Heap(heap.row[:size], heap.value[:size]), 0
        for place in places:
            row, value = ids[place], values[place]
            if n_held < size or (size and is_worse(heap.value[0], heap.row[0], value, row)):
                n_held = take_in(heap, n_held, row, value)
        sort_best_first(heap, n_held)
        return heap.row[:n_held], heap.value[:n_held]
    for one in range(N_GRADES):
        start[one + 1] += start[one]
    for place in places:
        at = start[grade[place]]
        start[grade[place]] += 1
        heap.row[at], heap.value[at] = ids[place], values[place]
    for i in range(1, n):
        row, value, at = heap.row[i], heap.value[i], i
        while at and is_worse(heap.value[at - 1], heap.row[at - 1], value, row):
            heap.row[at], heap.value[at] = heap.row[at - 1], heap.value[at - 1]
            at -= 1
        heap.row[at], heap.value[at] = row, value
    return heap.row[:size], heap.value[:size]


@compiled
def places_of(grade: Array, first: int, last: int) -> Int64:
    """int64[m]: where grades int32[n] are first to last."""
    places = np.empty(len(grade), np.int64)
    n_found = 0
    for i in range(len(grade)):  # no branch: which one it is can't be guessed
        places[n_found] = i
        n_found += (grade[i] >= first) & (grade[i] <= last)
    return places[:n_found]


@compiled
def grades(values: Float64) -> Array:
    """int32[n], 0 to N_GRADES - 1: of two values the one with the lower grade is the larger.

    A grade is a 128th of an octave, counted from the largest value down; all that lie 16 octaves below it have the last. It takes about a nanosecond a
    value and no branch that must be guessed, where a heap that many values enter takes ten times that."""
    bits = values.astype(np.float32).view(np.int32)
    grade = np.empty(len(values), np.int32)
    first = np.int32(-(2**31))
    for i in range(len(values)):  # as numbers whose order is that of the values, also below 0
        grade[i] = bits[i] ^ ((bits[i] >> 31) & np.int32(0x7FFFFFFF))
        first = max(first, grade[i])
    first >>= _GRADE_BITS
    for i in range(len(values)):
        grade[i] = min(first - (grade[i] >> _GRADE_BITS), N_GRADES - 1)
    return grade


@compiled
def per_grade(grade: Array) -> Array:
    """int32[N_GRADES]: how many of grades int32[n] are each."""
    count = np.zeros(N_GRADES, np.int32)
    for one in grade:
        count[one] += 1
    return count


@compiled
def best_rows_by_group(
    values: Float64, group: Array, n_groups: int, size: int
) -> tuple[Int64, Int64]:
    """(rows int64[n_groups, size], best first, how many of them int64[n_groups]): the same within each group 0 .. n_groups - 1.

    group int[n]; rows of any other group are left out."""
    rows, held_values = np.empty((n_groups, size), np.int64), np.empty((n_groups, size))
    n_held, least = np.zeros(n_groups, np.int64), np.zeros(n_groups)
    for row in range(len(values)):
        code = group[row]
        if 0 <= code < n_groups and values[row] > least[code]:
            heap = Heap(rows[code], held_values[code])
            n_held[code] = take_in(heap, n_held[code], row, values[row])
            least[code] = _least(heap, n_held[code])
    for code in range(n_groups):
        sort_best_first(Heap(rows[code], held_values[code]), n_held[code])
    return rows, n_held


@compiled
def _least(heap: Heap, n_held: int) -> float:
    """What a later row has to beat."""
    if n_held < len(heap.row):
        return 0.0
    return heap.value[0] if n_held else np.inf


@compiled
def take_in(heap: Heap, n_held: int, row: int, value: float) -> int:
    """Puts a row in, where there is no room in place of the worst -> how many are held."""
    if n_held == len(heap.row):
        if n_held:
            _sink(heap, n_held, row, value)
        return n_held
    place = n_held
    while place:
        above = (place - 1) // 2
        if not is_worse(value, row, heap.value[above], heap.row[above]):
            break
        heap.row[place], heap.value[place] = heap.row[above], heap.value[above]
        place = above
    heap.row[place], heap.value[place] = row, value
    return n_held + 1


@compiled
def _sink(heap: Heap, n_held: int, row: int, value: float) -> None:
    """Puts a row in place of the worst of n_held."""
    place = 0
    while 2 * place + 1 < n_held:
        below = 2 * place + 1
        other = below + 1
        if other < n_held and is_worse(
            heap.value[other], heap.row[other], heap.value[below], heap.row[below]
        ):
            below = other
        if not is_worse(heap.value[below], heap.row[below], value, row):
            break
        heap.row[place], heap.value[place] = heap.row[below], heap.value[below]
        place = below
    heap.row[place], heap.value[place] = row, value


@compiled
def is_worse(value: float, row: int, than: float, than_row: int) -> bool:
    return value < than or (value == than and row > than_row)


@compiled
def sort_best_first(heap: Heap, n_held: int) -> None:
    """Best first: the worst of all that are left goes to the end, again and again."""
    for last in range(n_held - 1, 0, -1):
        row, value = heap.row[last], heap.value[last]
        heap.row[last], heap.value[last] = heap.row[0], heap.value[0]
        _sink(heap, last, row, value)
