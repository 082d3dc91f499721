"""Compiled loops: the same results, kept where something can be written, working where nothing can."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from upnext.core.compiled import compiled, compiled_sums

MODULE = """
from upnext.core.compiled import compiled

@compiled
def total(values):
    result = 0.0
    for value in values:
        result += value
    return result
"""
USE = "import numpy, kept; print(kept.total(numpy.arange(5.0)))"


def said(code: str, folder: Path) -> list[str]:
    """What a process of its own prints, word by word."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.split()


def dot(left: np.ndarray, right: np.ndarray) -> float:
    result = 0.0
    for i in range(len(left)):
        result += left[i] * right[i]
    return result


def test_a_compiled_sum_is_taken_in_the_order_written() -> None:
    values = np.random.default_rng(0).normal(size=1000)
    assert compiled(dot)(values, values) == dot(values, values)
    assert compiled_sums(dot)(values, values) == pytest.approx(dot(values, values), rel=1e-12)


def test_division_by_zero_is_numpys_infinity() -> None:
    @compiled
    def ratio(a: float, b: float) -> float:
        return a / b

    assert ratio(1.0, 0.0) == np.inf


def test_compiled_code_is_kept_beside_its_module(tmp_path: Path) -> None:
    (tmp_path / "kept.py").write_text(MODULE, "utf-8")
    assert said(USE, tmp_path) == ["10.0"]
    assert list(tmp_path.glob("__pycache__/kept.total*.nbi"))


def test_what_was_kept_is_void_once_the_package_or_the_module_changed(
    tmp_path: Path,
) -> None:
    module = tmp_path / "kept.py"
    old = MODULE.replace("values):", "pair):").replace("in values", "in pair.values")
    old = "from typing import NamedTuple\n\nclass Pair(NamedTuple):\n    values: object\n" + old
    module.write_text(old, "utf-8")
    use = "import numpy, kept; print(kept.total(kept.Pair(numpy.arange(5.0))))"
    assert said(use, tmp_path) == ["10.0"]
    module.write_text(MODULE, "utf-8")  # its type is gone, and what was kept speaks of it
    assert said(USE, tmp_path) == ["10.0"]
    hits = f"{USE}; print(sum(kept.total.stats.cache_hits.values()))"
    assert said(hits, tmp_path) == ["10.0", "1"]
    other = f"import upnext.core.compiled as c; c._stamp_of = lambda folder: 'another'; {hits}"
    assert [said(other, tmp_path)[1], said(other, tmp_path)[1]] == ["0", "1"]


def test_code_that_was_kept_for_other_types_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "kept.py").write_text(MODULE, "utf-8")
    totals = "kept.total(numpy.array([0.5, 0.5])), kept.total(numpy.array([2, 3]))"
    both = f"import numpy, kept; print({totals})"
    assert said(both, tmp_path) == ["1.0", "5.0"]
    one, other = sorted(tmp_path.glob("__pycache__/kept.total*.nbc"))
    whole, rest = one.read_bytes(), other.read_bytes()
    one.write_bytes(rest)
    other.write_bytes(whole)
    assert said(both, tmp_path) == ["1.0", "5.0"]


def test_a_damaged_file_or_a_full_disk_costs_a_compilation_alone(tmp_path: Path) -> None:
    (tmp_path / "kept.py").write_text(MODULE, "utf-8")
    assert said(USE, tmp_path) == ["10.0"]
    for suffix in ("nbc", "nbi"):
        (damaged,) = tmp_path.glob(f"__pycache__/kept.total*.{suffix}")
        for left in (b"", damaged.read_bytes()[:40]):
            damaged.write_bytes(left)
            assert said(USE, tmp_path) == ["10.0"]
    (damaged,) = tmp_path.glob("__pycache__/kept.total*.nbi")
    damaged.unlink()
    full = "import numba.core.caching as c, errno\n"
    full += "def dump(*_): raise OSError(errno.ENOSPC, 'No space left on device')\n"
    full += "c.IndexDataCacheFile._save_data = dump\n"
    assert said(full + USE, tmp_path) == ["10.0"]


def test_a_function_that_can_be_kept_nowhere_is_compiled_all_the_same() -> None:
    names: dict = {}
    exec(compile(MODULE, "<no file>", "exec"), names)
    assert names["total"](np.arange(5.0)) == 10
