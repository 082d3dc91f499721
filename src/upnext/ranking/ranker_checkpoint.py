"""A training as it stands after a whole epoch, in one safetensors file: network, best network so far, AdamW's moments, counts."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from upnext.core.errors import InvalidInput, expected


class Checkpoint:
    """Keeps the best network, and writes everything after each epoch when it has a path."""

    def __init__(self, path: Path | None, fingerprint: str) -> None:
        self._path, self._fingerprint = path, fingerprint
        self.best_epoch = 0
        self.best_loss = math.inf
        self._best: dict[str, Tensor] = {}

    def load(self, model: nn.Module, optimiser: torch.optim.Optimizer) -> int:
        """The epoch to go on with: 0 without a file. Raises InvalidInput when the file can't be read or is of another training."""
        if self._path is None or not self._path.exists():
            return 0
        try:
            with safe_open(str(self._path), framework="pt") as file:
                said = json.loads(file.metadata()["training"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise InvalidInput(f"checkpoint {self._path}: can't be read: {error}") from error
        if said["fingerprint"] != self._fingerprint:
            raise expected(f"checkpoint {self._path}", "the same rows and settings", "others")
        model.load_state_dict(_under("model.", tensors))
        self._best = _under("best.", tensors)
        self.best_epoch, self.best_loss = said["best_epoch"], said["best_loss"]
        moments = _under("optimiser.", tensors)
        device = next(model.parameters()).device
        for i, parameter in enumerate(model.parameters()):
            optimiser.state[parameter] = {
                key: moments[f"{i}.{key}"].to("cpu" if key == "step" else device)
                for key in ("step", "exp_avg", "exp_avg_sq")
            }
        return int(said["epoch"]) + 1

    def epoch_done(
        self, model: nn.Module, optimiser: torch.optim.Optimizer, epoch: int, loss: float
    ) -> None:
        """Notes an epoch's held-out loss and writes the file, whole or not at all."""
        if not self._best or loss < self.best_loss:
            self.best_epoch, self.best_loss = epoch, loss
            self._best = {k: v.detach().cpu().clone() for k, v in model.state_dict().items()}
        if self._path is None:
            return
        tensors = {f"model.{k}": v.detach().cpu() for k, v in model.state_dict().items()}
        tensors |= {f"best.{k}": v for k, v in self._best.items()}
        for i, parameter in enumerate(model.parameters()):
            for key, value in optimiser.state[parameter].items():
                tensors[f"optimiser.{i}.{key}"] = value.detach().cpu()
        said = {
            "fingerprint": self._fingerprint,
            "epoch": epoch,
            "best_epoch": self.best_epoch,
            "best_loss": self.best_loss,
        }
        partial = self._path.with_suffix(".partial")
        contiguous = {k: v.contiguous() for k, v in tensors.items()}
        save_file(contiguous, str(partial), {"training": json.dumps(said)})
        os.replace(partial, self._path)

    def restore_best(self, model: nn.Module) -> None:
        """Puts the best epoch's weights in the network."""
        if self._best:
            model.load_state_dict(self._best)


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
