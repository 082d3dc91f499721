"""The layers of a sequence model: each maps steps float32[b, h, d] to the same shape, and no step sees a later one.

- SASRec (Kang & McAuley 2018), here with the norm before each part: x + Drop(MHA(LN x)), then x + Drop(FFN(LN x)).
- LiGR (Borisyuk 2024, as eSASRec uses it): what a part adds is gated by its input,
  x + sigmoid(W1 x + b1) * Drop(MHA(LN x)), then x + sigmoid(W2 x + b2) * Drop(SwiGLU(LN x)).
- GRU (Cho 2014; GRU4Rec, Hidasi 2016): one step's state is all that later steps read, so serving could go on from it.

Sequences stand at the left, padding at the right: causality alone keeps real steps from reading padding, and no mask is needed.
Attention may carry a bias by time (HSTU, Zhai 2024): step i asks for the next watch at time_us[i + 1], and what it reads of step j is
shifted by a learned number of the bucket of log |time_us[i + 1] - time_us[j]|.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class SelfAttention(nn.Module):
    """Causal multi-head attention."""

    def __init__(self, size: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.together = nn.Linear(size, 3 * size)
        self.out = nn.Linear(size, size)

    def forward(self, steps: Tensor, bias: Tensor | None) -> Tensor:
        """float32[b, h, d]; bias float32[b, heads, h, h] is added to the scores, -inf above the diagonal."""
        b, h, d = steps.shape
        parts = self.together(steps).view(b, h, 3, self.n_heads, d // self.n_heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        found = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=bias, is_causal=bias is None
        )
        mixed: Tensor = self.out(found.transpose(1, 2).reshape(b, h, d))
        return mixed


class SwiGlu(nn.Module):
    """W3 (SiLU(W1 x) * W2 x) (Shazeer 2020)."""

    def __init__(self, size: int, hidden: int) -> None:
        super().__init__()
        self.both = nn.Linear(size, 2 * hidden)
        self.out = nn.Linear(hidden, size)

    def forward(self, steps: Tensor) -> Tensor:
        """float32[b, h, d]."""
        gate, value = self.both(steps).chunk(2, -1)
        found: Tensor = self.out(functional.silu(gate) * value)
        return found


class SasrecLayer(nn.Module):
    """A transformer layer with plain residuals and a ReLU network."""

    def __init__(self, size: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.before_attention = nn.LayerNorm(size)
        self.attention = SelfAttention(size, n_heads)
        self.before_network = nn.LayerNorm(size)
        self.network = nn.Sequential(nn.Linear(size, size), nn.ReLU(), nn.Linear(size, size))
        self.dropout = nn.Dropout(dropout)

    def forward(self, steps: Tensor, bias: Tensor | None) -> Tensor:
        """float32[b, h, d]."""
        steps = steps + self.dropout(self.attention(self.before_attention(steps), bias))
        added: Tensor = self.dropout(self.network(self.before_network(steps)))
        return steps + added


class LigrLayer(nn.Module):
    """A transformer layer whose additions are gated by what they are added to."""

    def __init__(self, size: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.before_attention = nn.LayerNorm(size)
        self.attention = SelfAttention(size, n_heads)
        self.attention_gate = nn.Linear(size, size)
        self.before_network = nn.LayerNorm(size)
        self.network = SwiGlu(size, 4 * size)
        self.network_gate = nn.Linear(size, size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, steps: Tensor, bias: Tensor | None) -> Tensor:
        """float32[b, h, d]."""
        mixed = self.dropout(self.attention(self.before_attention(steps), bias))
        steps = steps + torch.sigmoid(self.attention_gate(steps)) * mixed
        added = self.dropout(self.network(self.before_network(steps)))
        found: Tensor = steps + torch.sigmoid(self.network_gate(steps)) * added
        return found
