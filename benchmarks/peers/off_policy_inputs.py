"""The generated log and slates on which obp's estimators and ours are compared; numpy only, the same in both environments."""

from __future__ import annotations

import numpy as np

SEED = 20
N_ROUNDS, N_ACTIONS, N_SLATES, N_SLOTS = 400, 7, 120, 3
SWITCH, SHRINKAGE, CLIP = 1.5, 3.0, 2.0


def inputs() -> dict[str, np.ndarray]:
    """Columns of N_ROUNDS single draws, and under slate_* of N_SLATES x N_SLOTS slots drawn one by one."""
    rng = np.random.RandomState(SEED)  # its stream is frozen: the same numbers in every numpy
    softmax = lambda x: np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)  # noqa: E731
    logging, target = (softmax(rng.normal(size=(N_ROUNDS, N_ACTIONS))) for _ in range(2))
    action = _draws(logging, rng)
    row = np.arange(N_ROUNDS)
    single = {
        "reward": (rng.random_sample(N_ROUNDS) < 0.2 + 0.08 * action).astype(float),
        "action": action,
        "logged": logging[row, action],
        "target": target[row, action],
        "target_all": target,
        "predictions": rng.random_sample((N_ROUNDS, N_ACTIONS)),
    }
    return single | _slates(rng, softmax)


def _slates(rng: np.random.RandomState, softmax) -> dict[str, np.ndarray]:
    shape = (N_SLATES, N_SLOTS, N_ACTIONS)
    logging, target = (softmax(rng.normal(size=shape)) for _ in range(2))
    action = _draws(logging.reshape(-1, N_ACTIONS), rng).reshape(N_SLATES, N_SLOTS)
    taken = np.take_along_axis(logging, action[..., None], axis=2)[..., 0]
    wanted = np.take_along_axis(target, action[..., None], axis=2)[..., 0]
    return {
        "slate_reward": rng.random_sample((N_SLATES, N_SLOTS)),
        "slate_action": action,
        "slate_logged": taken,
        "slate_target": wanted,
        "slate_target_all": target,
        "slate_predictions": rng.random_sample(shape),
    }


def _draws(probabilities: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    uniform = rng.random_sample(len(probabilities))[:, None]
    return (np.cumsum(probabilities, axis=1) < uniform).sum(axis=1).clip(max=N_ACTIONS - 1)
