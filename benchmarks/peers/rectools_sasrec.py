"""RecTools' SASRec on exported rows: two causal blocks of 64 factors, sampled softmax, every impression a step.

The number of epochs is the one with the best recall@100 on the validation day. After each epoch a checkpoint is written, and a killed run goes on from it;
draws are seeded per epoch, so a resumed run draws the same.

    python rectools_sasrec.py FOLDER
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from exchange import Exchange, Rows, read, say
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel

NAME = "rectools_sasrec"
EPOCHS = 20
PATIENCE = 3  # epochs without a better validation day
SETTINGS = {
    "n_factors": 64,
    "n_blocks": 2,
    "n_heads": 4,
    "session_max_len": 50,
    "batch_size": 128,
    "loss": "sampled_softmax",
    "n_negatives": 32,
    "lr": 0.002,
    "dropout_rate": 0.2,
}


def dataset_of(rows: Rows) -> Dataset:
    """All showings in order; stored histories stand before the timed ones."""
    order = np.arange(len(rows.user))  # each viewer's rows are in order already
    when = pd.to_datetime(order, unit="s")
    frame = pd.DataFrame(
        {Columns.User: rows.user, Columns.Item: rows.item, Columns.Weight: 1.0, Columns.Datetime: when}
    )  # fmt: skip
    return Dataset.construct(frame)


def train_epoch(model: SASRecModel, dataset: Dataset, epoch: int, path: Path) -> None:
    """One more epoch, then a checkpoint."""
    torch.manual_seed(1000 + epoch)
    model.fit_partial(dataset, min_epochs=1, max_epochs=1)
    model.fit_trainer.save_checkpoint(path.with_suffix(".part"))
    path.with_suffix(".part").rename(path)


def scores_of(model: SASRecModel, dataset: Dataset, rows: Rows, users: np.ndarray) -> np.ndarray:
    """float32[c, n_items]: 0 for a viewer without a past, less than all others for a video that was never shown."""
    known = users[np.isin(users, rows.user)]
    preparator, lightning = model.data_preparator, model.lightning_model
    asked = preparator.transform_dataset_u2i(dataset, known)
    loader = preparator.get_dataloader_recommend(asked, model.recommend_batch_size)
    user_vectors, item_vectors = lightning._get_user_item_embeddings(loader, "cpu")
    rows_of = asked.user_id_map.convert_to_external(np.arange(len(user_vectors)))
    items = preparator.get_known_items_sorted_internal_ids()
    found = (user_vectors @ item_vectors[items].T).detach().numpy()
    scores = np.zeros((len(users), rows.n_items), np.float32)
    place = np.searchsorted(users, rows_of.astype(np.int64))
    scores[place] = found.min() - 1
    scores[np.ix_(place, preparator.get_known_item_ids().astype(np.int64))] = found
    return scores


def load(path: Path) -> SASRecModel:
    """The model of a checkpoint, or an untrained one."""
    if path.exists():
        return SASRecModel.load_from_checkpoint(path)
    return SASRecModel(**SETTINGS, epochs=EPOCHS, deterministic=True, verbose=0)


def done_epochs(folder: Path) -> list[list[float]]:
    """[[recall@100, NDCG@10]] of the epochs that were judged."""
    path = folder / "judged.json"
    return json.loads(path.read_text()) if path.exists() else []


def choose_epochs(exchange: Exchange, folder: Path) -> int:
    """The number of epochs that was best on the validation day."""
    day = exchange.day()
    dataset, path = dataset_of(day.rows), folder / "day.ckpt"
    model = load(path)
    judged = done_epochs(folder)
    while not is_over(judged):
        if epochs_of(model) == len(judged):
            train_epoch(model, dataset, len(judged), path)
        scores = scores_of(model, dataset, day.rows, day.users)
        judged.append(list(day.judge(scores)))
        say(f"{NAME}: epoch {len(judged)}: day {judged[-1][0]:.4f} / {judged[-1][1]:.4f}")
        if best_epoch(judged) == len(judged):
            exchange.save_scores(NAME, "day", scores)
        (folder / "judged.json").write_text(json.dumps(judged))
    return best_epoch(judged)


def epochs_of(model: SASRecModel) -> int:
    """How many epochs a model has learned."""
    trainer = model.fit_trainer
    return 0 if trainer is None else trainer.fit_loop.epoch_progress.current.ready


def best_epoch(judged: list[list[float]]) -> int:
    """From 1; 0 before any."""
    return int(np.argmax([recall for recall, _ in judged])) + 1 if judged else 0


def is_over(judged: list[list[float]]) -> bool:
    """Whether nothing better is to be expected."""
    return len(judged) >= EPOCHS or len(judged) - best_epoch(judged) >= PATIENCE


def learn(exchange: Exchange, folder: Path, epochs: int) -> None:
    """Trains on all rows up to a number of epochs, from where it stands."""
    path = folder / "asked.ckpt"
    dataset, model = dataset_of(exchange.rows), load(path)
    for epoch in range(epochs_of(model), epochs):
        train_epoch(model, dataset, epoch, path)
        say(f"{NAME}: {epoch + 1} of {epochs} epochs on all rows")
    scores = scores_of(model, dataset, exchange.rows, exchange.asked_users)
    exchange.save_scores(NAME, "asked", scores)
    exchange.write_lists(NAME, scores)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    exchange = read(Path(sys.argv[1]))
    if exchange.has(NAME):
        say(f"{NAME}: there already")
        sys.exit(0)
    folder = exchange.own_folder(NAME)
    learn(exchange, folder, choose_epochs(exchange, folder))
