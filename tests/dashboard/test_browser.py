"""A person at the pages: real Chromium, real events, a feed that follows."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator

import pytest
from running import PAGED_WORKER, Running, running
from serve_worlds import videos

pytestmark = pytest.mark.browser
CHROMIUM = shutil.which("chromium")
HOSTILE = "<script>window.hacked=1</script><img src=x onerror=window.hacked=1>"


@pytest.fixture(scope="module")
def system() -> Iterator[Running]:
    with running(worker=PAGED_WORKER) as one:
        rows = videos(80)
        for row in rows[:40:2]:
            row["title"] = HOSTILE
        rows[1]["video_id"] = 'odd/"id" & #1?'
        one.fill(rows)
        with one.client() as client:
            client.put("/v1/users/ann", json={"country": "DE", "age": 30})
        yield one


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        one = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield one
        one.close()


@pytest.fixture
def page(browser, system: Running) -> Iterator[object]:
    context = browser.new_context(base_url=system.url, viewport={"width": 1280, "height": 800})
    context.set_default_timeout(8000)
    one = context.new_page()
    problems: list[str] = []
    one.on("pageerror", lambda error: problems.append(str(error)))
    one.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
    yield one
    assert one.evaluate("window.hacked") is None
    assert problems == []
    context.close()


def feed_ids(system: Running, user: str) -> list[str]:
    with system.client() as client:
        items = client.get("/v1/feed/home", params={"user_id": user, "n": 80}).json()["items"]
        return [item["video_id"] for item in items]


def until(what, timeout_s: float = 8.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)


def test_picking_a_viewer_leads_to_a_grid_that_scrolls_on_without_repeating(page) -> None:
    page.goto("/")
    page.get_by_text("ann", exact=True).click()
    page.wait_for_selector(".card")
    for _ in range(6):
        page.mouse.wheel(0, 4000)
        page.wait_for_timeout(250)
    shown = page.eval_on_selector_all(".card", "cards => cards.map(c => c.dataset.video)")
    assert len(shown) > 40
    assert len(set(shown[:80])) == min(80, len(shown))
    assert page.locator(".card img").first.evaluate("i => i.naturalWidth") > 0


def test_not_interested_hides_the_card_acts_on_the_feed_and_can_be_taken_back(
    page, system: Running
) -> None:
    page.goto("/home?user=bea")
    card = page.locator(".card").first
    video = card.get_attribute("data-video")
    card.locator("[data-act=not_interested]").click()
    page.wait_for_selector(".card.gone")
    page.wait_for_selector(".did.not-interested")  # the side panel knows
    assert video not in feed_ids(system, "bea")
    page.get_by_role("button", name="Undo").click()
    until(lambda: page.locator(".did.not-interested").count() == 0)


def test_a_like_shows_in_the_panel_and_a_second_press_takes_it_back(page) -> None:
    page.goto("/home?user=cleo")
    button = page.locator(".card [data-act=like]").first
    button.click()
    page.wait_for_selector(".did.liked")
    assert button.get_attribute("aria-pressed") == "true"
    button.click()
    until(lambda: page.locator(".did.liked").count() == 0)


def test_shorts_post_impressions_and_watch_time_and_move_by_key(page, system: Running) -> None:
    page.goto("/shorts?user=dan")
    page.wait_for_selector(".short.playing")
    first = page.locator(".short.playing").get_attribute("data-video")
    page.wait_for_timeout(300)
    page.keyboard.press("ArrowDown")
    page.wait_for_function(
        "v => document.querySelector('.short.playing')?.dataset.video !== v", arg=first
    )
    page.keyboard.press("l")
    page.wait_for_selector(".short.playing [data-act=like][aria-pressed=true]")
    page.wait_for_selector(".did.skipped, .did.watched")  # the first one, for a moment
    page.wait_for_selector(".did.liked")
    assert first not in feed_ids(system, "dan")


def test_why_opens_with_the_trace_of_the_slot(page) -> None:
    page.goto("/home?user=eva")
    page.locator(".card .why").first.click()
    page.wait_for_selector("dialog[open] table")
    text = page.locator("dialog").inner_text()
    assert "chance of this slot" in text
    assert "Proposed by" in text
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0


def test_watching_a_video_counts_seconds_and_lists_what_follows(page) -> None:
    page.goto("/home?user=fay")
    page.locator(".card h3 a").first.click()
    page.wait_for_selector(".now.playing")
    assert page.locator(".list .card").count() == 12
    page.locator(".now [data-speed]").click()
    page.locator(".now [data-speed]").click()  # sixteen times
    page.wait_for_selector(".did.watched-to-the-end, .did.watched-half", timeout=15_000)


def test_odd_ids_and_hostile_titles_are_just_text(page, system: Running) -> None:
    from urllib.parse import quote

    page.goto(f"/watch/{quote('odd/' + chr(34) + 'id' + chr(34) + ' & #1?', safe='')}?user=gil")
    page.wait_for_selector(".now.playing")
    page.goto("/home?user=%3Cscript%3Ewindow.hacked%3D1%3C%2Fscript%3E")
    page.wait_for_selector(".card")
    assert "<script>" in page.locator(".viewer-chip").inner_text()
    assert page.get_by_text("<script>window.hacked=1</script>").count() > 0


def test_every_button_and_picture_link_has_a_name(page) -> None:
    for path in ("/", "/home?user=hal", "/shorts?user=hal", "/watch/v3?user=hal"):
        page.goto(path)
        page.wait_for_timeout(300)
        nameless = page.evaluate(
            """() => [...document.querySelectorAll('button, a, input')].filter(e =>
            !(e.getAttribute('aria-label') || e.textContent.trim() || e.labels?.length)).map(e => e.outerHTML)"""
        )
        assert nameless == []
        assert page.locator("h1").count() == 1
        assert page.evaluate("[...document.images].every(i => i.hasAttribute('alt'))")


def test_nothing_is_loaded_from_another_host(page, system: Running) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for path in ("/", "/home?user=ida", "/shorts?user=ida", "/watch/v3?user=ida"):
        page.goto(path)
        page.wait_for_timeout(300)
    assert asked
    assert all(url.startswith(system.url) for url in asked)
