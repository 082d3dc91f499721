"""A report as one HTML file: styles and pictures inside, nothing to fetch, readable on a phone, light and dark."""

from __future__ import annotations

from itertools import count

import jinja2
from markupsafe import Markup

from upnext.dashboard.report_plots import check_plots, svg
from upnext.evaluate.report_document import Document, Plot


def report_html(document: Document) -> str:
    """The page. Raises InvalidInput without matplotlib."""
    check_plots()
    numbers = count(1)

    def drawn(plot: Plot) -> Markup:
        return Markup(svg(plot, next(numbers)))

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("upnext.dashboard", "templates"), autoescape=True,
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    template = environment.get_template("report.html")
    return template.render(document=document, drawn=drawn)
