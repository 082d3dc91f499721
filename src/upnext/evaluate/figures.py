"""A figure with its interval, as JSON and as a cell of a table."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping

from upnext.core.types import Estimate
from upnext.evaluate.bootstrap import is_better


def point(value: float, n_effective: float) -> Estimate:
    """A figure without an interval: its ends are NaN, null in JSON."""
    return Estimate(value, math.nan, math.nan, n_effective)


def figure_json(figure: Estimate) -> dict[str, object]:
    """{"mean", "low", "high", "n", "verdict"}; what is not a number is null."""
    return {
        "mean": _number(figure.mean),
        "low": _number(figure.low),
        "high": _number(figure.high),
        "n": _number(figure.n_effective),
        "verdict": figure.verdict,
    }


def figures_json(figures: Mapping[str, Estimate]) -> dict[str, object]:
    """{name: figure_json} in the order given."""
    return {name: figure_json(figure) for name, figure in figures.items()}


def difference_json(figure: Estimate, *, higher_is_better: bool = True) -> dict[str, object]:
    """figure_json of a paired difference with "is_better" and "is_worse": its interval excludes zero on that side."""
    return {
        **figure_json(figure),
        "is_better": is_better(figure, higher_is_better=higher_is_better),
        "is_worse": is_better(figure, higher_is_better=not higher_is_better),
    }


def figure_text(figure: Estimate, digits: int = 4) -> str:
    """ "0.4056 [0.3930, 0.4186]", the figure alone without an interval, "-" without a figure."""
    if not math.isfinite(figure.mean):
        return "-"
    if not math.isfinite(figure.low):
        return f"{figure.mean:.{digits}f}"
    return f"{figure.mean:.{digits}f} [{figure.low:.{digits}f}, {figure.high:.{digits}f}]"


def difference_text(figure: Estimate | None) -> str:
    """figure_text of a paired difference with "better", "worse" or "even"; "" for none."""
    if figure is None:
        return ""
    is_worse = is_better(figure, higher_is_better=False)
    return f"{figure_text(figure)} {'better' if is_better(figure) else 'worse' if is_worse else 'even'}"


def differences_json(
    differences: Mapping[str, Estimate], lower_is_better: Container[str] = ()
) -> dict[str, object]:
    """{name: difference_json} in the order given."""
    return {
        name: difference_json(one, higher_is_better=name not in lower_is_better)
        for name, one in differences.items()
    }


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
