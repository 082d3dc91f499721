"""What every network's training shares: its device, its precision, and how the learning rate goes."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch


def device_of(name: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """The device of a setting; auto: CUDA where it is."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


def is_half(precision: Literal["auto", "float32", "bfloat16"], device: torch.device) -> bool:
    """Whether matrix products run in bfloat16; auto: on CUDA that has it."""
    if precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported()
    return precision == "bfloat16"


def rate(step: int, total: int) -> float:
    """The share of the peak learning rate: up over 2 % of the steps, then a cosine down to 2 %."""
    warm = max(1, total // 50)
    if step < warm:
        return (step + 1) / warm
    return float(0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * (step - warm) / max(1, total - warm))))
