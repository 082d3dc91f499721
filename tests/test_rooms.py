"""The borders: serving runs without the training libraries, and a room imports only rooms below it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TRAINING = ("torch", "onnx", "scipy", "safetensors", "sklearn", "sentence_transformers")
WITHOUT_TRAINING = f"""
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.util import spec_from_loader

class Refuses(MetaPathFinder, Loader):  # looking for them is harmless, importing them is not
    def find_spec(self, name, path=None, target=None):
        return spec_from_loader(name, self) if name.partition(".")[0] in {TRAINING!r} else None
    def create_module(self, spec):
        raise ImportError(spec.name + " is not part of a serving installation")
    def exec_module(self, module):
        raise AssertionError

sys.meta_path.insert(0, Refuses())
"""
SERVES = """
import upnext.cli.main
import upnext.cli.worker
import upnext.pipeline.serving
import upnext.serve.intake
import upnext.serve.supervisor
import upnext.serve.worker
from pathlib import Path

from upnext.core.types import Request
from upnext.serve.json_table import json_table
from upnext.serve.stores import open_stores
from upnext.serve.worker import brain_of
from upnext.settings.settings import Settings

settings = Settings(root=Path(sys.argv[1]))
stores = open_stores(settings)
stores.catalog.put_videos(json_table([{"video_id": f"v{i}"} for i in range(9)], "videos"))
stores.close()  # one process opens the state once
brain = brain_of(settings)
request = Request("r", "u", "home", 5, 1_700_000_000_000_000)
answer = brain.pipeline().recommend(request)
print(len(answer.record.video_id), sorted({m.partition(".")[0] for m in sys.modules} & {*TRAINING}))
brain.close()
"""


def test_serving_answers_where_no_training_library_is_installed(tmp_path: Path) -> None:
    text = f"TRAINING = {TRAINING!r}\n{WITHOUT_TRAINING}{SERVES}"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", text, str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["5", "[]"]


def test_the_guard_of_the_test_above_would_notice() -> None:
    text = f"{WITHOUT_TRAINING}\nimport upnext.retrieval.two_tower.network"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True)
    assert "not part of a serving installation" in done.stderr


def test_a_room_imports_only_rooms_below_it() -> None:
    command = Path(sys.executable).parent / "lint-imports"
    if not command.exists():
        found = shutil.which("lint-imports")
        if found is None:
            pytest.skip("import-linter is not installed")
        command = Path(found)
    done = subprocess.run([command, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_no_module_is_longer_than_400_lines() -> None:
    folders = ("src", "tests", "benchmarks")
    files = [file for folder in folders for file in (ROOT / folder).rglob("*.py")]
    assert len(files) > 300
    sizes = {file.name: len(file.read_text("utf-8").splitlines()) for file in files}
    assert {name: size for name, size in sizes.items() if size > 400} == {}
