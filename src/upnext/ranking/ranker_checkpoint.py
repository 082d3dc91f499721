"""A training as it stands after a whole epoch, in one safetensors file: network, best network so far, AdamW's moments, counts."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from upnext.core.errors import InvalidInput, expected


class Checkpoint:
    """Keeps the best network with its optimiser's moments, and writes everything after each epoch when it has a path."""

    def __init__(self, path: Path | None, fingerprint: str) -> None:
        self._path, self._fingerprint = path, fingerprint
        self.best_epoch = 0
        self.best_loss = math.inf
        self._best: dict[str, Tensor] = {}

    def load(self, model: nn.Module, optimiser: torch.optim.Optimizer) -> int:
        """The epoch to go on with: 0 without a file. Raises InvalidInput when the file can't be read or is of another training."""
        if self._path is None or not self._path.exists():
            return 0
        tensors, said = read_state(self._path)
        if said.get("fingerprint") != self._fingerprint:
            raise expected(f"checkpoint {self._path}", "the same rows and settings", "others")
        put_state(self._path, tensors, model, optimiser)
        self._best = _under("best.", tensors)
        self.best_epoch, self.best_loss = said["best_epoch"], said["best_loss"]
        return int(said["epoch"]) + 1

    def epoch_done(
        self, model: nn.Module, optimiser: torch.optim.Optimizer, epoch: int, loss: float
    ) -> None:
        """Notes an epoch's held-out loss and writes the file, whole or not at all."""
        if not self._best or loss < self.best_loss:
            self.best_epoch, self.best_loss = epoch, loss
            self._best = {k: v.cpu().clone() for k, v in _state(model, optimiser).items()}
        if self._path is None:
            return
        said = {
            "fingerprint": self._fingerprint,
            "epoch": epoch,
            "best_epoch": self.best_epoch,
            "best_loss": self.best_loss,
        }
        best = {f"best.{k}": v for k, v in self._best.items()}
        write_state(self._path, model, optimiser, said, best)

    def restore_best(self, model: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        """Puts the best epoch's weights in the network, and the moments of that epoch in its optimiser."""
        if self._best:
            _put(self._best, model, optimiser)


def write_state(
    path: Path,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    said: Mapping[str, Any],
    more: Mapping[str, Tensor] | None = None,
) -> None:
    """Writes network and moments, with what is `said` of them and `more` tensors, whole or not at all."""
    tensors = {k: v.cpu().contiguous() for k, v in _state(model, optimiser).items()}
    partial = path.with_suffix(".partial")
    save_file({**tensors, **(more or {})}, str(partial), {"training": json.dumps(dict(said))})
    os.replace(partial, path)


def read_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(tensors, what was said of them) of a file of write_state. Raises InvalidInput when it can't be read."""
    try:
        with safe_open(str(path), framework="pt") as file:
            said = json.loads(file.metadata()["training"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise InvalidInput(f"checkpoint {path}: can't be read: {error}") from error
    return tensors, said


def put_state(
    path: Path,
    tensors: Mapping[str, Tensor],
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
) -> None:
    """Puts the tensors of `read_state(path)` in network and optimiser. Raises InvalidInput where they are of another network."""
    try:
        _put(tensors, model, optimiser)
    except (RuntimeError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise InvalidInput(f"checkpoint {path}: is of another network: {reason}") from error


def _state(model: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    tensors = {f"model.{k}": v.detach() for k, v in model.state_dict().items()}
    for i, parameter in enumerate(model.parameters()):
        for key, value in optimiser.state[parameter].items():
            tensors[f"optimiser.{i}.{key}"] = value.detach()
    return tensors


def _put(tensors: Mapping[str, Tensor], model: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    model.load_state_dict(_under("model.", tensors))
    moments = _under("optimiser.", tensors)
    device = next(model.parameters()).device
    for i, parameter in enumerate(model.parameters()):
        # copies: the optimiser changes its moments in place
        optimiser.state[parameter] = {
            key: moments[f"{i}.{key}"].to("cpu" if key == "step" else device, copy=True)
            for key in ("step", "exp_avg", "exp_avg_sq")
        }


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
