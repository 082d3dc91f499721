"""A report's plots as inline SVG: real text, colours from the page's variables, nothing to fetch.

matplotlib writes the SVG with sentinel colours; they become CSS variables, so that one picture is right in the light and in the dark theme.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from upnext.core.errors import InvalidInput
from upnext.core.types import Array
from upnext.evaluate.report_document import Plot

_INK, _LINE = "#010203", "#040506"
_SERIES: Final = ("#0a0b01", "#0a0b02", "#0a0b03")
_VARIABLES: Final = {
    _INK: "var(--soft)", _LINE: "var(--line)",
    **{colour: f"var(--series-{i})" for i, colour in enumerate(_SERIES)},
}  # fmt: skip
_SCALE: Final = {"share": 100.0, "change": 100.0, "points": 100.0}
_UNIT: Final = {"share": "%", "change": "%", "points": "pp", "seconds": "s"}
MOST_LABELS: Final = 16


def check_plots() -> None:
    """Raises InvalidInput without matplotlib (the extra upnext[evaluate])."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise InvalidInput('report: plots need matplotlib: pip install "upnext[evaluate]"') from error  # fmt: skip


def svg(plot: Plot, number: int) -> str:
    """An <svg> element with a title and a description, ids made unique by `number`."""
    import matplotlib as mpl

    with mpl.rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": f"plot{number}", "text.parse_math": False}
    ):
        text = _tidied(_drawn(plot), number)
    names = f'role="img" aria-labelledby="plot{number}-t plot{number}-d"'
    said = (
        f'<title id="plot{number}-t">{html.escape(plot.title)}</title>'
        f'<desc id="plot{number}-d">{html.escape(plot.alt)}</desc>'
    )
    return text.replace("<svg ", f"<svg {names} ", 1).replace(">", f">{said}", 1)


def _drawn(plot: Plot) -> str:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    is_change = plot.unit == "change" and not plot.is_line
    height = max(2.4, 0.42 * len(plot.places) + 0.9) if is_change else 3.0
    figure = Figure(figsize=(7.2, height), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    draw = _draw_changes if is_change else _draw_lines if plot.is_line else _draw_bars
    draw(axes, plot)
    _dress(axes, plot, across=is_change)
    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    return out.getvalue()


def _tidied(text: str, number: int) -> str:
    """The element alone, its ids unique in the page, its colours the page's."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(r'(<svg[^>]*?)\swidth="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?)\sheight="[^"]*"', r"\1", text, count=1)
    text = re.sub(r"\n\s*", "\n", text)
    for name in set(re.findall(r'id="([^"]+)"', text)):
        unique = f"p{number}-{name}"
        text = text.replace(f'id="{name}"', f'id="{unique}"').replace(f"#{name})", f"#{unique})").replace(f'"#{name}"', f'"#{unique}"')  # fmt: skip
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, variable)
    return re.sub(r"font: ?([\d.]+px)[^;\"]*", r"font: \1 system-ui, sans-serif", text)


def _values(plot: Plot, place: int) -> tuple[Array, Array]:
    """(float64[n] figures, float64[2, n] how far the interval reaches below and above), scaled to the unit; NaN where not known."""
    scale = _SCALE.get(plot.unit, 1.0)
    figures = plot.series[place].figures
    mean, low, high = (
        scale * np.array([getattr(f, end) for f in figures], np.float64) for end in ("mean", "low", "high")
    )  # fmt: skip
    reach = np.nan_to_num(np.stack([mean - low, high - mean]), nan=0.0)
    return mean, np.maximum(reach, 0.0)


def _draw_lines(axes: Any, plot: Plot) -> None:
    x = np.arange(len(plot.places))
    for j, series in enumerate(plot.series):
        mean, reach = _values(plot, j)
        colour = _SERIES[j % len(_SERIES)]
        axes.fill_between(x, mean - reach[0], mean + reach[1], color=colour, alpha=0.18, linewidth=0)  # fmt: skip
        axes.plot(x, mean, color=colour, linewidth=2, marker="o", markersize=3.5, label=series.name)
    _label_places(axes, plot.places)


def _draw_bars(axes: Any, plot: Plot) -> None:
    n = len(plot.series)
    width = 0.8 / n
    for j, series in enumerate(plot.series):
        mean, reach = _values(plot, j)
        x = np.arange(len(plot.places)) + (j - (n - 1) / 2) * width
        axes.bar(x, mean, width * 0.92, color=_SERIES[j % len(_SERIES)], label=series.name)
        axes.errorbar(x, mean, reach, fmt="none", ecolor=_INK, elinewidth=1.2, capsize=2)
    _label_places(axes, plot.places)


def _draw_changes(axes: Any, plot: Plot) -> None:
    """Points with intervals on lines across, a vertical line at zero."""
    mean, reach = _values(plot, 0)
    y = np.arange(len(plot.places))[::-1]
    axes.axvline(0, color=_INK, linewidth=1)
    axes.errorbar(mean, y, xerr=reach, fmt="o", color=_SERIES[0], ecolor=_SERIES[0], elinewidth=2, capsize=3, markersize=5)  # fmt: skip
    axes.set_yticks(y, list(plot.places))
    axes.set_ylim(-0.7, len(plot.places) - 0.3)


def _label_places(axes: Any, places: Sequence[str]) -> None:
    step = -(-len(places) // MOST_LABELS)
    is_long = sum(len(name) for name in places[::step]) > 90
    axes.set_xticks(range(0, len(places), step), list(places[::step]), rotation=35 if is_long else 0, ha="right" if is_long else "center")  # fmt: skip


def _dress(axes: Any, plot: Plot, *, across: bool) -> None:
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(side == "bottom" and not across)
        axes.spines[side].set_color(_LINE)
    axes.tick_params(colors=_INK, labelcolor=_INK, length=0, labelsize=10)
    axes.grid(visible=True, axis="x" if across else "y", color=_LINE, linewidth=1)
    axes.set_axisbelow(True)
    unit = _UNIT.get(plot.unit, "")
    (axes.set_xlabel if across else axes.set_ylabel)(unit, color=_INK, fontsize=10)
    if plot.axis and not across:
        axes.set_xlabel(plot.axis, color=_INK, fontsize=10)
    if not across and not plot.is_line:
        axes.set_ylim(bottom=0)
    if not across and plot.is_line:
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    if len(plot.series) > 1:
        axes.figure.legend(frameon=False, labelcolor=_INK, fontsize=10, loc="outside upper right", ncols=len(plot.series))  # fmt: skip
