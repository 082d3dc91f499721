"""Small values that the tests of serve share."""

from __future__ import annotations

from upnext.events.slate import SlateRecord

N_VIDEOS = 120
TOPICS = ("music", "cooking", "chess", "trains")


def videos(n: int = N_VIDEOS) -> list[dict]:
    """Rows of a small catalogue."""
    return [
        {
            "video_id": f"v{i}", "title": f"{TOPICS[i % 4].title()} number {i}", "creator_id": f"c{i % 10}",
            "duration_s": 20.0 + i % 40, "category": TOPICS[i % 4], "tags": [TOPICS[i % 4]],
            "language": "en", "uploaded_us": 1_700_000_000_000_000 + i,
        }
        for i in range(n)
    ]  # fmt: skip


def slate_record(
    request_id: str, user_id: str, session_id: str, item_ids: list[int], *, page: int = 0,
    time_us: int = 1_700_000_000_000_000, surface: str = "home", is_repeat: bool = False,
) -> SlateRecord:  # fmt: skip
    """A slate with plausible entries."""
    k = len(item_ids)
    return SlateRecord(
        request_id=request_id, log_seq=0, time_us=time_us, user_id=user_id, session_id=session_id,
        page=page, surface=surface, release_id="r-1", policy_version="p-1", policy="{}", draw_key=7,
        arms={}, degraded=[], item_id=item_ids, video_id=[f"v{i}" for i in item_ids],
        sources=[["popular"]] * k, source_scores=[[0.5]] * k, tasks=["relevant"],
        predictions=[[0.25]] * k, value=[0.25] * k, propensity=[0.5] * k, n_eligible=[9] * k,
        reason=["popular"] * k, is_repeat=[is_repeat] * k, features=b"\0\0\0\0" * k, n_features=1, trace={"fetched": {"popular": k}},
    )  # fmt: skip
