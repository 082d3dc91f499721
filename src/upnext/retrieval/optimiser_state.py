"""The state of torch optimisers as named arrays, for a checkpoint that a killed training goes on from to the same bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch

from upnext.core.types import Array

PREFIX: Final = "optimiser:"


def optimiser_arrays(optimisers: Sequence[torch.optim.Optimizer]) -> dict[str, Array]:
    """{"optimiser:number:parameter:entry": array} of every optimiser."""
    arrays: dict[str, Array] = {}
    for number, optimiser in enumerate(optimisers):
        for key, state in optimiser.state_dict()["state"].items():
            for name, value in state.items():
                arrays[f"{PREFIX}{number}:{key}:{name}"] = torch.as_tensor(value).cpu().numpy()
    return arrays


def load_optimisers(
    optimisers: Sequence[torch.optim.Optimizer], arrays: Mapping[str, Array]
) -> None:
    """Puts every optimiser into the state that optimiser_arrays read; other arrays are passed over."""
    for number, optimiser in enumerate(optimisers):
        state: dict[int, dict[str, Any]] = {}
        for name, array in arrays.items():
            if name.startswith(f"{PREFIX}{number}:"):
                _, _, key, entry = name.split(":", 3)
                value = torch.from_numpy(np.array(array))
                # a sparse optimiser counts its steps in a plain number
                plain = entry == "step" and isinstance(optimiser, torch.optim.SparseAdam)
                state.setdefault(int(key), {})[entry] = int(value) if plain else value
        groups = optimiser.state_dict()["param_groups"]
        optimiser.load_state_dict({"state": state, "param_groups": groups})
