"""The page of a report: whole in one file, the figures those of the tables, words of strangers harmless."""

from __future__ import annotations

import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from upnext.core.errors import InvalidInput
from upnext.core.types import Estimate
from upnext.dashboard.report import report_html
from upnext.evaluate.report_document import Column, Document, Plot, Section, Series, Summary, Table

HOSTILE = "<script>window.hacked=1</script>$x^2$"


def figure(mean: float) -> Estimate:
    return Estimate(mean, mean - 0.01, mean + 0.02, 40)


def document() -> Document:
    """One section of every kind of thing, with a hostile name everywhere a name can stand."""
    names = [HOSTILE, "b", "c"]
    rows = [[name, float(1000 * i), figure(0.1 * i), figure(0.05 * i - 0.02), figure(12.0)] for i, name in enumerate(names)]  # fmt: skip
    columns = [Column("group"), Column("viewers", "count"), Column("rate", "share"), Column("change", "change"), Column("watch", "seconds")]  # fmt: skip
    rows.append(["no figure", 0.0, "–", "–", "–"])
    long = Table("Long", [Column("day"), Column("n", "count")], [[f"d{i}", float(i)] for i in range(30)])  # fmt: skip
    kinds = Table("Rates", [Column("rate"), Column("a", "row")], [["x", figure(0.5)], ["y", 7.0]], row_kinds=["share", "count"])  # fmt: skip
    unknown = Estimate(float("nan"), float("nan"), float("nan"), 0, "not identifiable")
    plots = [
        Plot("Lines", HOSTILE, names, [Series(HOSTILE, [figure(1), unknown, figure(3)]), Series("other", [figure(2)] * 3)], "seconds", True, HOSTILE),
        Plot("Bars", "bars", names, [Series("s", [figure(0.1)] * 3)], "share", False),
        Plot("Changes", "changes", names, [Series("s", [figure(0.1), unknown, figure(-0.2)])], "change", False),
    ]  # fmt: skip
    main = Section(
        "Main", [HOSTILE], [Table(HOSTILE, columns, rows, [HOSTILE]), long, kinds], plots
    )
    return Document(HOSTILE, [("span", HOSTILE)], [Summary("When", [HOSTILE], "note")], [main])


class Reader(HTMLParser):
    """Every attribute, and the cells of every row."""

    def __init__(self) -> None:
        super().__init__()
        self.attributes: list[tuple[str, str, str]] = []
        self.rows: list[list[str]] = []
        self._in_cell = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self._in_cell = True
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self.rows[-1][-1] += data


@pytest.fixture(scope="module")
def page() -> str:
    pytest.importorskip("matplotlib", reason="plots need the extra upnext[evaluate]")
    return report_html(document())


def test_the_page_refers_to_nothing_outside_itself(page: str) -> None:
    reader = Reader()
    reader.feed(page)
    linked = [(t, n, v) for t, n, v in reader.attributes if n in ("src", "href", "xlink:href", "srcset", "data", "action")]  # fmt: skip
    assert linked
    assert all(value.startswith("#") for _, _, value in linked), linked
    assert not re.search(r"https?:|@import|url\((?!#)", page)
    assert "default-src 'none'" in page


def test_every_cell_of_the_page_is_a_cell_of_the_tables(page: str) -> None:
    reader = Reader()
    reader.feed(page)
    wanted = []
    for table in document().sections[0].tables:
        wanted.append([column.name for column in table.columns])
        wanted += table.texts()
    assert [[cell.strip() for cell in row] for row in reader.rows] == wanted


def test_cells_read_as_their_kind_says() -> None:
    table = document().sections[0].tables[0]
    assert table.texts()[1] == ["b", "1,000", "10.0 % [9.00, 12.0]", "+3.0 % [+2.0, +5.0]", "12.0 s [12.0, 12.0]"]  # fmt: skip
    assert [row[1] for row in document().sections[0].tables[2].texts()] == ["50.0 % [49.0, 52.0]", "7"]  # fmt: skip


def test_names_of_strangers_are_text_and_never_markup(page: str) -> None:
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "$x^2$" in page  # no mathematics is made of it


def test_plots_have_a_title_a_description_and_ids_of_their_own(page: str) -> None:
    assert page.count('role="img"') == page.count("<svg") == 3
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    for names in re.findall(r'aria-labelledby="([^"]+)"', page):
        assert set(names.split()) <= set(ids)
    used = re.findall(r'(?:href="#|url\(#)([^")]+)', page)
    assert set(used) <= set(ids)


def test_equal_documents_make_equal_pages(page: str) -> None:
    assert report_html(document()) == page


def test_a_missing_matplotlib_is_one_line_that_names_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InvalidInput, match=r"upnext\[evaluate\]"):
        report_html(document())


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_opens_offline_on_a_phone(page: str, tmp_path: Path, scheme: str) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    file = tmp_path / "report.html"
    file.write_text(page, "utf-8")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": 390, "height": 800}, color_scheme=scheme, offline=True)  # fmt: skip
        one = context.new_page()
        said: list[str] = []
        one.on("console", lambda message: said.append(message.text))
        one.goto(file.as_uri())
        assert one.evaluate("window.hacked") is None
        assert one.evaluate("document.documentElement.scrollWidth") <= 390
        line = one.locator("svg path[style*='series-0']").first
        ink = line.evaluate("e => getComputedStyle(e).stroke + getComputedStyle(e).fill")
        assert ("rgb(106, 69, 240)" in ink) == (scheme == "light")
        assert said == []
        browser.close()
