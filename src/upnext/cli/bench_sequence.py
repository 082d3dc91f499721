"""`upnext bench sequence FOLDER`: the sequence model on MovieLens-1M, leave-last-out, every film ranked.

The protocol of the papers (Kang & McAuley 2018; Petrov & Macdonald 2023): ml-1m.txt in its own order, each user's last item is the test and
the one before it the validation, a user's own earlier items are left out of the list. The epoch with the best validation NDCG@10 is the
one that is tested; the test is read once, at the end. Every epoch leaves a checkpoint, and --resume goes on from it.
"""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from upnext.cli.progress import RichProgress
from upnext.core.errors import InvalidInput, expected
from upnext.core.types import Flag
from upnext.evaluate.full_ranking import VectorModel, full_ranking
from upnext.evaluate.metrics import Places, hit_rate, ndcg
from upnext.evaluate.split import Split, leave_last_out
from upnext.features.context import ContextEncoder, Vocabulary
from upnext.features.showings import Showings
from upnext.retrieval.checkpoint import read_checkpoint, write_checkpoint
from upnext.retrieval.material import Material, VideoCodes
from upnext.retrieval.sequence.config import SequenceConfig
from upnext.retrieval.sequence.learner import SequenceLearner

K: Final = 10
STATE: Final = "run.json"
BEST: Final = "best.npz"


def ml_1m_config(changed: Sequence[str]) -> SequenceConfig:
    """What the benchmark trains: orders alone, no times, no content, no feedback; changed by texts such as "layer=gru".

    Raises InvalidInput for a setting that there is not, or a bad value."""
    wanted: dict[str, object] = {
        "layer": "ligr", "embedding_size": 64, "n_layers": 2, "length": 200, "dropout": 0.2,
        "content": False, "codes": False, "feedback": False, "context": False,
        "time_bias": False, "popularity": False, "category_weight": 0.0, "id_dropout": 0.0,
        "loss": "full", "relevant_weight": 1.0, "batch_size": 64, "learning_rate": 2e-3,
        "epochs": 40, "device": "cpu",
    }  # fmt: skip
    for text in changed:
        name, is_set, value = text.partition("=")
        if not is_set:
            raise expected("--set", "name=value", text)
        wanted[name] = value
    try:
        return SequenceConfig.model_validate(wanted)
    except ValidationError as error:
        said = error.errors()[0]
        raise InvalidInput(f"--set {said['loc'][0]}: {said['msg']}") from error


@dataclass(frozen=True)
class Limits:
    """Where a run begins and when it ends."""

    resume: bool  # goes on with the folder's run
    patience: int  # epochs without a better validation
    minutes: float  # then it stops where it can be resumed


def run(
    folder: Path,
    work: Path,
    config: SequenceConfig,
    limits: Limits,
    as_json: bool,
    out: Console,
    err: Console,
) -> None:
    """Trains, or goes on training, and prints validation and test at the best epoch so far."""
    if not limits.resume and (work / STATE).exists():
        raise InvalidInput(f"{work} holds a run: --resume goes on with it, --work takes another")
    showings = read_ml_1m(folder)
    validation = leave_last_out(showings, flag=0, n_back=1)
    material = material_of(validation.train, int(showings.item_id.max()) + 1)
    learner = SequenceLearner(config, folder=work)
    epochs = _train(learner, material, validation, work, limits, err)
    learner.restore(read_checkpoint(work / BEST)[0])
    best = max(epochs, key=lambda row: row["ndcg"])
    figures = {
        "epochs": len(epochs),
        "best_epoch": int(best["epoch"]),
        "is_finished": not _is_hopeful(epochs, config, limits),
        "train_s": sum(row["train_s"] for row in epochs),
        "epoch_s": float(np.median([row["train_s"] for row in epochs])),
        "validation": {"hr@10": best["hr"], "ndcg@10": best["ndcg"]},
        "test": judged(learner, leave_last_out(showings, flag=0)),
        "config": config.model_dump(),
    }
    if as_json:
        out.file.write(json.dumps(figures) + "\n")
        return
    _draw(figures, out)


def _train(
    learner: SequenceLearner,
    material: Material,
    validation: Split,
    work: Path,
    limits: Limits,
    err: Console,
) -> list[dict[str, float]]:
    """What each epoch came to, those of earlier runs included; the best one's weights lie in the folder."""
    began_s = time.perf_counter()
    epochs = _epochs_of(work)
    progress = RichProgress(err)
    if not _is_hopeful(epochs, learner.config, limits):
        learner.learn(material, progress=progress, resume=True, stop_after=len(epochs))
    while _is_hopeful(epochs, learner.config, limits):
        start_s = time.perf_counter()
        learner.learn(material, progress=progress, resume=True, stop_after=len(epochs) + 1)
        train_s = time.perf_counter() - start_s
        found = judged(learner, validation)
        row = {"epoch": len(epochs) + 1, "train_s": train_s, "hr": found["hr@10"]}
        epochs.append({**row, "ndcg": found["ndcg@10"]})
        if found["ndcg@10"] >= max(row["ndcg"] for row in epochs):
            write_checkpoint(work / BEST, learner.snapshot(), {"epoch": len(epochs)})
        (work / STATE).write_text(json.dumps({"epochs": epochs}))
        err.print(
            f"epoch {len(epochs)}: {train_s:.1f} s, validation HR@{K} {found['hr@10']:.4f}"
            f" NDCG@{K} {found['ndcg@10']:.4f}"
        )
        if time.perf_counter() - began_s > limits.minutes * 60:
            break
    return epochs


def _epochs_of(work: Path) -> list[dict[str, float]]:
    path = work / STATE
    found: list[dict[str, float]] = json.loads(path.read_text())["epochs"] if path.exists() else []
    return found


def _is_hopeful(epochs: list[dict[str, float]], config: SequenceConfig, limits: Limits) -> bool:
    """Whether another epoch is to come."""
    if not epochs:
        return True
    best = max(range(len(epochs)), key=lambda i: epochs[i]["ndcg"])
    return len(epochs) < config.epochs and len(epochs) - 1 - best < limits.patience


def read_ml_1m(folder: Path) -> Showings:
    """The file's pairs in its own order, as showings whose times are not known.

    Raises InvalidInput where there is no ml-1m.txt.gz, or where its lines are not pairs grouped by user."""
    path = folder / "ml-1m.txt.gz"
    if not path.exists():
        raise expected(f"folder {folder}", "ml-1m.txt.gz", "none")
    try:
        with gzip.open(path, "rt") as file:
            pairs = np.loadtxt(file, np.int64, ndmin=2)
    except ValueError as error:
        raise expected(str(path), "two whole numbers a line", str(error)) from error
    if pairs.shape[1] != 2 or len(pairs) < 3 or pairs.min() < 1:
        raise expected(str(path), "lines of a user and an item, from 1", pairs.shape)
    if (np.diff(pairs[:, 0]) < 0).any():
        raise expected(str(path), "lines grouped by user, ascending", "others")
    users, user = np.unique(pairs[:, 0], return_inverse=True)
    n = len(pairs)
    return Showings(
        user.astype(np.int64),
        pairs[:, 1] - 1,
        np.zeros(n, np.int64),
        np.full(n, Flag.IMPRESSION | Flag.WATCHED_HALF, np.uint16),
        np.zeros(n, np.float32),
        np.full(n, -1, np.int64),
        tuple(str(u) for u in users.tolist()),
        (),
        {},
    )


def material_of(showings: Showings, n_items: int) -> Material:
    """Showings of videos of which nothing is known."""
    unknown = np.full(n_items, -1, np.int64)
    codes = VideoCodes(
        unknown.astype(np.int32),
        unknown,
        unknown.astype(np.int32),
        np.full(n_items, np.nan, np.float32),
        np.zeros(n_items, np.bool_),
        np.zeros(n_items, np.int64),
    )
    content = np.zeros((n_items, 1), np.float32)
    return Material(showings, content, ContextEncoder(Vocabulary()), codes)


def judged(learner: SequenceLearner, split: Split) -> dict[str, float]:
    """HR@10 and NDCG@10 of a split's viewers over all items but those they had."""
    viewers = learner.viewers(split.train, split.user)
    model = VectorModel(viewers, learner.item_vectors())
    lists = full_ranking(model, split.truth, K, excluded=split.seen)(np.arange(len(split.user)))
    places = Places.of(lists, split.truth)
    return {"hr@10": float(hit_rate(places, K).mean()), "ndcg@10": float(ndcg(places, K).mean())}


def _draw(figures: Mapping[str, Any], out: Console) -> None:
    table = Table(
        "", f"HR@{K}", f"NDCG@{K}", title="MovieLens-1M, leave-last-out, every film ranked"
    )
    for name in ("validation", "test"):
        row = figures[name]
        table.add_row(name, f"{row['hr@10']:.4f}", f"{row['ndcg@10']:.4f}")
    out.print(table)
    state = "finished" if figures["is_finished"] else "not finished, --resume goes on"
    out.print(
        f"best epoch {figures['best_epoch']} of {figures['epochs']} ({state}); training took "
        f"{figures['train_s']:.0f} s, {figures['epoch_s']:.1f} s an epoch (median)"
    )
