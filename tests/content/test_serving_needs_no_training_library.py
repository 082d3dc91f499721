"""Opening and using a stored content encoder needs neither torch nor onnx nor scipy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa

from upnext.content.encoder import fit_content
from upnext.content.tags import TagVectors
from upnext.content.text import fit_hashed_ngrams

_SCRIPT = """
import sys
from pathlib import Path
sys.modules.update(dict.fromkeys(["torch", "onnx", "scipy"]))  # refuses them
from upnext.content.encoder import ContentEncoder
rows = ContentEncoder.load(Path(sys.argv[1])).encode([{"title": "a new video", "tags": ["cat"]}])
assert rows.any()
print(sorted({"tokenizers"} & set(sys.modules)))
"""


def test_a_stored_encoder_needs_only_numpy_and_onnx_runtime(tmp_path: Path) -> None:
    tags = TagVectors(np.eye(1, 4, dtype=np.float32), ("cat",))
    fit_content(pa.table({"video_id": ["v"]}), fit_hashed_ngrams(["cat"]), tags).save(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
