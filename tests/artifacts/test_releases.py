"""Releases: whole or not at all, checked byte by byte, one command back."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from upnext.artifacts import ReleaseStore
from upnext.core.clock import ManualClock
from upnext.core.errors import DamagedRelease, InvalidInput, NotFound, Unavailable

START_US = 1_764_000_000_123_456  # 2025-11-24T16:00:00.123456Z


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START_US)


@pytest.fixture
def store(tmp_path: Path, clock: ManualClock) -> ReleaseStore:
    return ReleaseStore(tmp_path / "releases", clock)


def publish(store: ReleaseStore, text: str = "weights", **fields: Any) -> str:
    folder = store.begin()
    (folder / "ranker").mkdir()
    (folder / "ranker" / "model.onnx").write_bytes(text.encode())
    (folder / "vectors.npz").write_bytes(bytes(1000))
    plain: dict[str, Any] = {
        "settings": {"seed": 1}, "data_window": {"until_us": 5}, "metrics": {"ndcg_at_10": 0.25},
        "parent": None,
    }  # fmt: skip
    return store.publish(folder, **{**plain, **fields})


def test_an_empty_store_has_no_releases(store: ReleaseStore) -> None:
    assert store.list() == []
    assert store.current() is None
    with pytest.raises(NotFound, match="no release"):
        store.rollback()


def test_a_published_release_opens_with_its_manifest_and_files(store: ReleaseStore) -> None:
    release_id = publish(store, parent="earlier")
    assert release_id == "20251124-160000-123456"
    release = store.open(release_id)
    assert release.file("ranker/model.onnx").read_bytes() == b"weights"
    manifest = release.manifest
    assert (manifest.created_us, manifest.parent) == (START_US, "earlier")
    assert manifest.settings == {"seed": 1}
    assert manifest.metrics == {"ndcg_at_10": 0.25}
    assert {name: entry.bytes for name, entry in manifest.files.items()} == {
        "ranker/model.onnx": 7,
        "vectors.npz": 1000,
    }
    # printf weights | sha256sum
    expected = "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c"
    assert manifest.files["ranker/model.onnx"].sha256 == expected
    assert store.current() == release_id
    assert store.list() == [manifest]
    with pytest.raises(NotFound, match="no file 'tower'"):
        release.file("tower")


def test_ids_are_unique_and_sort_by_age_even_where_the_clock_goes_back(
    store: ReleaseStore, clock: ManualClock
) -> None:
    ids = [publish(store), publish(store)]
    clock.set(START_US - 10**9)
    ids.append(publish(store))
    clock.set(START_US + 10**9)
    ids.append(publish(store))
    assert ids == sorted(set(ids))
    assert [m.release_id for m in store.list()] == ids


def test_rolling_back_goes_to_what_was_current_before_one_release_at_a_time(
    store: ReleaseStore,
) -> None:
    a, b, c = (publish(store, text) for text in "abc")
    d = publish(store, "d", promote=False)
    assert store.current() == c
    assert store.rollback() == b
    store.promote(d)
    store.promote(d)
    assert store.rollback() == b
    assert store.rollback() == a
    with pytest.raises(NotFound, match=f"before {a}"):
        store.rollback()
    assert ReleaseStore(store.path).current() == a
    assert [(p.verb, p.release_id) for p in store.promotions().journal] == [
        ("promote", a), ("promote", b), ("promote", c), ("rollback", b), ("promote", d),
        ("rollback", b), ("rollback", a),
    ]  # fmt: skip


@pytest.mark.parametrize("harm", ["changed", "longer", "missing", "folder"])
def test_a_damaged_file_is_refused_by_name(store: ReleaseStore, harm: str) -> None:
    release_id = publish(store)
    file = store.open(release_id).file("ranker/model.onnx")
    if harm == "changed":
        file.write_bytes(b"Weights")
    elif harm == "longer":
        file.write_bytes(b"weights!")
    else:
        file.unlink()
    if harm == "folder":
        file.mkdir()
    with pytest.raises(DamagedRelease, match=r"ranker/model\.onnx"):
        store.open(release_id)
    if harm == "changed":  # of the same size: seen by its checksum alone
        store.open(release_id, verify=False)
        return
    for use in (lambda: store.open(release_id, verify=False), lambda: store.promote(release_id)):
        with pytest.raises(DamagedRelease, match=r"ranker/model\.onnx"):
            use()


def test_a_half_written_release_is_never_listed_and_never_opened(store: ReleaseStore) -> None:
    whole = publish(store)
    unfinished = store.begin()
    (unfinished / "model.onnx").write_bytes(b"half")
    half = store.path / "20990101-000000-000000"
    shutil.copytree(store.path / whole, half)
    (half / "manifest.json").unlink()
    assert [m.release_id for m in store.list()] == [whole]
    with pytest.raises(DamagedRelease, match=r"manifest\.json"):
        store.open(half.name)
    (half / "manifest.json").write_text('{"release_id": "20990101')
    assert [m.release_id for m in store.list()] == [whole]
    with pytest.raises(DamagedRelease, match=r"manifest\.json"):
        store.promote(half.name)
    for name in ("work", "", "..", f"work/{unfinished.name}", "nothing"):
        with pytest.raises(NotFound):
            store.open(name)
    assert store.current() == whole


def test_a_manifest_under_another_name_or_of_a_newer_version_is_refused(
    store: ReleaseStore,
) -> None:
    whole = publish(store)
    shutil.copytree(store.path / whole, store.path / "copy")
    with pytest.raises(DamagedRelease, match="expected release 'copy'"):
        store.open("copy")
    manifest = store.path / whole / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"schema_version": 1', '"schema_version": 99'))
    with pytest.raises(DamagedRelease, match="got 99"):
        store.open(whole)


def test_nothing_is_published_from_an_empty_folder_or_with_a_value_without_json(
    store: ReleaseStore,
) -> None:
    for folder in (store.begin(), store.path / "absent"):
        with pytest.raises(InvalidInput, match="expected files"):
            store.publish(folder, settings={}, data_window={}, metrics={}, parent=None)
    with pytest.raises(InvalidInput, match="manifest"):
        publish(store, settings={"f": lambda: None})
    assert store.list() == []


def test_an_unreadable_pointer_is_unavailable(store: ReleaseStore) -> None:
    publish(store)
    (store.path / "current.json").write_text("{")
    with pytest.raises(Unavailable, match=r"current\.json"):
        store.current()


def test_a_failed_rename_publishes_nothing(
    store: ReleaseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = publish(store)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("upnext.artifacts.releases.move_folder", full)
    with pytest.raises(Unavailable, match="No space left"):
        publish(store)
    assert [m.release_id for m in store.list()] == [first]
    assert store.current() == first
