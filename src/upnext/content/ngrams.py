"""Titles as bags of hashed pieces: words, word pairs and runs of 3 to 5 characters, for any script, at array speed.

The hashing trick (Weinberger et al. 2009, "Feature Hashing for Large Scale Multitask Learning") over the pieces of fastText
(Bojanowski et al. 2017): nothing is downloaded, no vocabulary is kept, and a word never seen before still shares its character
runs with its relatives. Text is NFKC-normalised and case-folded; ideographs, kana and emoji are words of their own, since those
scripts put no spaces between words; invisible marks (joiners, direction controls, variation selectors) are dropped. The hash is
a polynomial over code points mod 2^64, finished by splitmix64 (Steele et al. 2014): the same on every machine.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from upnext.core.types import Array, Bool, Float32, Int64

UInt64 = npt.NDArray[np.uint64]

MAX_CHARACTERS = 512
WORD_WEIGHT, PAIR_WEIGHT = 1.0, 0.6
RUN_WEIGHTS = {
    3: 0.2,
    4: 0.25,
    5: 0.25,
}  # a word of 6 letters weighs about as much by its runs as by itself

_PRIME = np.uint64(0x100000001B3)
_DROP, _GAP, _WORD, _SOLO = 0, 1, 2, 3
_SPACE = np.uint32(0x20)


@dataclass(frozen=True)
class Pieces:
    """The hashed pieces of n texts, flat, grouped by text."""

    start: Int64  # [n + 1]: the pieces of text i are start[i] to start[i + 1]
    bucket: Int64  # [m] in 0..2^bits - 1
    weight: Float32  # [m]


def pieces_of(texts: Sequence[str], bits: int) -> Pieces:
    """The pieces of each text; a text without letters, digits or emoji has none. Beyond MAX_CHARACTERS text is cut."""
    codes, text, kind = _characters(texts)
    hashes: list[UInt64] = []
    owners: list[Int64] = []
    weights: list[Float32] = []

    def put(hashed: UInt64, owner: Int64, salt: int, weight: float) -> None:
        hashes.append(_finish(hashed + np.uint64(salt) * _PRIME))
        owners.append(owner)
        weights.append(np.full(len(hashed), weight, np.float32))

    words, word_text = _words(codes, text, kind)
    put(words, word_text, 1, WORD_WEIGHT)
    paired = word_text[1:] == word_text[:-1]
    put((_finish(words[:-1]) * _PRIME + words[1:])[paired], word_text[1:][paired], 2, PAIR_WEIGHT)
    rolled = codes.astype(np.uint64) + np.uint64(1)
    run = rolled
    for length in range(2, max(RUN_WEIGHTS) + 1):
        run = run[:-1] * _PRIME + rolled[length - 1 :]
        if length in RUN_WEIGHTS:
            inside = text[: len(run)] == text[length - 1 :]
            put(run[inside], text[: len(run)][inside], length, RUN_WEIGHTS[length])
    owner = np.concatenate(owners)
    order = np.argsort(owner, kind="stable")
    start = np.zeros(len(texts) + 1, np.int64)
    np.cumsum(np.bincount(owner, minlength=len(texts)), out=start[1:])
    bucket = (np.concatenate(hashes)[order] >> np.uint64(64 - bits)).astype(np.int64)
    return Pieces(start, bucket, np.concatenate(weights)[order])


def _characters(texts: Sequence[str]) -> tuple[npt.NDArray[np.uint32], Int64, Array]:
    """(code points[m], text row[m], kind[m]): every text between single spaces, gaps collapsed, marks dropped."""
    clean = [f" {unicodedata.normalize('NFKC', t[:MAX_CHARACTERS]).casefold()} " for t in texts]
    codes = np.frombuffer("".join(clean).encode("utf-32-le", "surrogatepass"), np.uint32)
    text = np.repeat(np.arange(len(texts)), [len(t) for t in clean]).astype(np.int64)
    kind = _kinds(codes)
    kept = kind != _DROP
    codes, text, kind = codes[kept], text[kept], kind[kept]
    gap = kind == _GAP
    doubled = np.zeros(len(codes), np.bool_)
    doubled[1:] = gap[1:] & gap[:-1] & (text[1:] == text[:-1])
    codes = np.where(gap, _SPACE, codes)
    return codes[~doubled], text[~doubled], kind[~doubled]


def _kinds(codes: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint8]:
    """The kind of each code point; only the distinct ones are looked up."""
    present: Bool = np.zeros(0x110000, np.bool_)
    present[codes] = True
    table = np.zeros(0x110000, np.uint8)
    for code in np.flatnonzero(present):
        table[code] = _kind(int(code))
    return table[codes]


def _kind(code: int) -> int:
    category = unicodedata.category(chr(code))
    if (
        category == "Cf" or 0xFE00 <= code <= 0xFE0F
    ):  # joiners, direction marks, variation selectors
        return _DROP
    if (
        category == "So"
        or 0x3040 <= code <= 0x30FF
        or 0x3400 <= code <= 0x9FFF
        or 0x20000 <= code <= 0x3FFFF
    ):
        return _SOLO
    return _WORD if category[0] in "LNM" else _GAP


def _words(codes: npt.NDArray[np.uint32], text: Int64, kind: Array) -> tuple[UInt64, Int64]:
    """(hash[w], text row[w]) of every word in order."""
    after = np.concatenate(([_GAP], kind[:-1]))
    begins = ((kind == _WORD) & (after != _WORD)) | (kind == _SOLO)
    lettered = kind >= _WORD
    if not lettered.any():
        return np.zeros(0, np.uint64), np.zeros(0, np.int64)
    begins, letters, owner = begins[lettered], codes[lettered].astype(np.uint64), text[lettered]
    start = np.flatnonzero(begins)
    place = np.arange(len(letters)) - np.repeat(start, np.diff(np.append(start, len(letters))))
    powers = np.full(int(place.max()) + 1, _PRIME, np.uint64)
    powers[0] = 1
    powers = np.cumprod(powers, dtype=np.uint64)
    hashed = np.add.reduceat((letters + np.uint64(1)) * powers[place], start)
    return hashed, owner[start]


def _finish(hashed: UInt64) -> UInt64:
    """splitmix64's finaliser: every bit of the input moves every bit of the output."""
    mixed = hashed + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
