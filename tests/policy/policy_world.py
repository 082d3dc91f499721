"""Settings that the policy's tests share."""

from __future__ import annotations

from upnext.policy.config import PolicyConfig

# a softmax of the standardised values, and nothing else
PLAIN = PolicyConfig(
    temperature=1.0,
    epsilon=0.0,
    mmr_lambda=1.0,
    max_per_creator=0,
    max_per_category=0,
    duplicate_similarity=1.0,
)
