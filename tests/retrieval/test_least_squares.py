"""Weighted least squares: one loss for every convention, and solvers that reach its minimum."""

import numpy as np
import pytest
from factorisation_world import dense_loss, pairs_of_matrix, random_pairs

from upnext.retrieval.factorisation.fold_in import fold_in
from upnext.retrieval.factorisation.least_squares import Weighting, loss_of, sides_of
from upnext.retrieval.factorisation.sgd import first_sums, sgd_epoch
from upnext.retrieval.factorisation.solvers import gram_of, solve_by_blocks, solve_by_cg

W, D = 0.25, 5
SCALED = Weighting(W, "unobserved", 0.5, 0.5)
RENDLE = Weighting(W, "all", 0.5, 1.0)


def factors_of(n_users, n_items, d=D, seed=1):
    rng = np.random.default_rng(seed)
    return (
        rng.standard_normal((n_users, d)).astype(np.float32),
        rng.standard_normal((n_items, d)).astype(np.float32),
    )


def dense_row(dense, items, weighting, ridge):
    """The normal equations of one viewer over all videos, written out."""
    weight = np.where(dense != 0, np.abs(dense), W)
    if weighting.weighs == "all":
        weight = np.abs(dense) + W
    pull = np.maximum(dense, 0)
    matrix = (items.T * weight) @ items + ridge * np.eye(items.shape[1])
    return np.linalg.solve(matrix, items.T @ pull)


def half_steps(sides, users, items, w, n, solve=lambda *a: solve_by_blocks(*a, D, 1)):
    """n iterations; yields the loss after every half of one."""
    for _ in range(n):
        solve(sides[0], items, w, users)
        yield loss_of(*sides, users, items, w)
        solve(sides[1], users, w, items)
        yield loss_of(*sides, users, items, w)


@pytest.mark.parametrize("weighting", [SCALED, RENDLE])
def test_the_loss_is_the_sum_over_every_pair(weighting):
    pairs, dense = random_pairs()
    sides = sides_of(pairs, dense.shape[1], weighting)
    users, items = factors_of(*dense.shape)
    kept_small = (sides[0].ridge[:, None] * users**2).sum() + (
        sides[1].ridge[:, None] * items**2
    ).sum()
    expected = dense_loss(dense, users, items, W, weighs=weighting.weighs) + kept_small
    assert loss_of(*sides, users, items, W) == pytest.approx(expected, rel=1e-5)


def test_the_ridge_grows_with_the_weight_of_all_pairs_of_a_row():
    pairs, dense = random_pairs()
    users, items = sides_of(pairs, dense.shape[1], RENDLE)
    weight = np.abs(dense)
    assert users.ridge == pytest.approx(0.5 * (weight.sum(1) + W * dense.shape[1]), rel=1e-6)
    assert items.ridge == pytest.approx(0.5 * (weight.sum(0) + W * dense.shape[0]), rel=1e-6)


@pytest.mark.parametrize("weighting", [SCALED, RENDLE])
def test_the_gram_trick_gives_the_row_of_the_dense_ridge_regression(weighting):
    pairs, dense = random_pairs()
    items = np.random.default_rng(4).standard_normal((dense.shape[1], D))
    users, _ = sides_of(pairs, dense.shape[1], weighting)
    for u in range(len(dense)):
        own = slice(pairs.start[u], pairs.start[u + 1])
        row = fold_in(
            items[pairs.item_id[own]], pairs.confidence[own], W * items.T @ items, len(items), weighting
        )  # fmt: skip
        dense_one = dense_row(dense[u], items, weighting, float(users.ridge[u]))
        assert row == pytest.approx(dense_one, abs=1e-10)


@pytest.mark.parametrize("size", [D, 2, 3])
@pytest.mark.parametrize("weighting", [SCALED, RENDLE])
def test_blocks_reach_the_exact_rows(weighting, size):
    pairs, dense = random_pairs()
    users, items = factors_of(*dense.shape)
    side, _ = sides_of(pairs, dense.shape[1], weighting)
    for _ in range(1 if size == D else 150):
        solve_by_blocks(side, items, W, users, size, 1)
    exact = [dense_row(dense[u], items, weighting, side.ridge[u]) for u in range(len(dense))]
    assert users == pytest.approx(np.array(exact), abs=1e-4)


def test_as_many_steps_of_conjugate_gradients_as_factors_reach_the_exact_rows():
    pairs, dense = random_pairs()
    users, items = factors_of(*dense.shape)
    side, _ = sides_of(pairs, dense.shape[1], SCALED)
    solve_by_cg(side, items, W, users, D + 2, 1)
    exact = [dense_row(dense[u], items, SCALED, side.ridge[u]) for u in range(len(dense))]
    assert users == pytest.approx(np.array(exact), abs=1e-3)


@pytest.mark.parametrize(
    "solve",
    [
        lambda *a: solve_by_cg(*a, 1, 1),
        lambda *a: solve_by_cg(*a, 3, 1),
        lambda *a: solve_by_blocks(*a, 2, 1),
        lambda *a: solve_by_blocks(*a, D, 1),
    ],
)
def test_the_loss_never_rises_over_half_steps(solve):
    pairs, dense = random_pairs(40, 30)
    sides = sides_of(pairs, dense.shape[1], SCALED)
    losses = list(half_steps(sides, *factors_of(*dense.shape), W, 8, solve))
    assert (np.diff(losses) <= 1e-5 * losses[0]).all()
    assert losses[-1] < 0.9 * losses[0]


def test_hu_and_rendle_are_one_model_up_to_the_scale_of_factors():
    """c = 1 + 1 / alpha0, reg_Hu = reg (1 + alpha0) / alpha0: factors sqrt(1 + alpha0) times Rendle's (METHODS A1)."""
    alpha0, reg = 0.25, 0.5
    shown = random_pairs(values=(1.0,))[1]
    scale = np.sqrt(1 + alpha0)
    items = np.random.default_rng(4).standard_normal((shown.shape[1], D))
    rendle = Weighting(alpha0, "all", reg, 0.0)
    hu = Weighting(1.0, "unobserved", reg * (1 + alpha0) / alpha0, 0.0)
    for u in np.flatnonzero(shown.any(1)):
        own = np.flatnonzero(shown[u])
        ones = np.ones(len(own), np.float32)
        gram = items.T @ items
        row = fold_in(items[own], ones, alpha0 * gram, len(items), rendle)
        scaled = fold_in(
            scale * items[own], (1 + 1 / alpha0) * ones, scale**2 * gram, len(items), hu
        )
        assert scaled == pytest.approx(scale * row, abs=1e-10)
        unscaled = fold_in(items[own], (1 + 1 / alpha0) * ones, gram, len(items), hu)
        assert unscaled != pytest.approx(scale * row, abs=1e-3)


@pytest.mark.filterwarnings("ignore:OpenBLAS is configured:RuntimeWarning")  # of implicit
@pytest.mark.parity
def test_one_iteration_is_that_of_implicit_with_its_cholesky_solver():
    als = pytest.importorskip("implicit.cpu.als")
    sparse = pytest.importorskip("scipy.sparse")
    pairs, dense = random_pairs(40, 30)
    users, items = (f.astype(np.float64) for f in factors_of(40, 30))
    model = als.AlternatingLeastSquares(
        factors=D, regularization=0.5, alpha=1.0, iterations=1, use_cg=False, dtype=np.float64,
        num_threads=1,
    )  # fmt: skip
    model.user_factors, model.item_factors = users.copy(), items.copy()
    model.fit(sparse.csr_matrix(dense), show_progress=False)
    weighting = Weighting(1.0, "unobserved", 0.5, 0.0)
    gram = items.T @ items
    for u in range(40):
        own = slice(pairs.start[u], pairs.start[u + 1])
        row = fold_in(items[pairs.item_id[own]], pairs.confidence[own], gram, 30, weighting)
        assert row == pytest.approx(model.user_factors[u], abs=1e-10)
    # the training's solvers, in float32
    sides = sides_of(pairs, 30, weighting)
    ours = users.astype(np.float32), items.astype(np.float32)
    list(half_steps(sides, *ours, 1.0, 1))
    assert ours[0] == pytest.approx(model.user_factors, abs=1e-4)
    assert ours[1] == pytest.approx(model.item_factors, abs=1e-4)


def test_a_planted_matrix_of_low_rank_is_recovered_when_every_pair_is_shown():
    taste = np.arange(24) % 3
    dense = np.where(taste[:, None] == (np.arange(18) % 3)[None], 1.0, -1.0)  # -1: target 0
    weighting = Weighting(0.0, "unobserved", 1e-6, 0.0)
    sides = sides_of(pairs_of_matrix(dense), 18, weighting)
    users, items = factors_of(24, 18, d=3)
    list(half_steps(sides, users, items, 0.0, 30, lambda *a: solve_by_blocks(*a, 3, 1)))
    # the ridge and float32 leave a little over a thousandth
    assert users @ items.T == pytest.approx(np.maximum(dense, 0), abs=5e-3)


def test_the_order_of_viewers_and_videos_does_not_matter():
    _, dense = random_pairs(20, 15)
    rng = np.random.default_rng(8)
    of_users, of_items = rng.permutation(20), rng.permutation(15)
    users, items = factors_of(20, 15)
    moved = users[of_users].copy(), items[of_items].copy()
    for matrix, (u, i) in ((dense, (users, items)), (dense[of_users][:, of_items], moved)):
        sides = sides_of(pairs_of_matrix(matrix), 15, SCALED)
        list(half_steps(sides, u, i, W, 4))
    assert moved[0] == pytest.approx(users[of_users], abs=1e-4)
    assert moved[1] == pytest.approx(items[of_items], abs=1e-4)


def test_any_number_of_threads_gives_the_same_bits():
    pairs, _ = random_pairs(60, 40)
    side, _ = sides_of(pairs, 40, SCALED)
    start, items = factors_of(60, 40)
    one, three = start.copy(), start.copy()
    solve_by_cg(side, items, W, one, 3, 1)
    solve_by_cg(side, items, W, three, 3, 3)
    assert np.array_equal(one, three)
    solve_by_blocks(side, items, W, one, 2, 1)
    solve_by_blocks(side, items, W, three, 2, 3)
    assert np.array_equal(one, three)


def test_stochastic_gradients_come_near_the_loss_that_alternating_least_squares_reach():
    """Within 5 %: Adagrad's steps shrink, so it stands close to the minimum, not on it. Without random pairs it is far off."""
    pairs, _ = random_pairs(60, 40, values=(1.0,))
    sides = sides_of(pairs, 40, SCALED)
    best = factors_of(60, 40)
    *_, least = half_steps(sides, *best, W, 60)
    reached = []
    for w in (W, 0.0):
        users, items = (0.1 * f for f in factors_of(60, 40))
        sums = first_sums(users), first_sums(items)
        for epoch in range(150):
            sgd_epoch(*sides, (users, items), sums, w, 0.1, epoch)
        reached.append(loss_of(*sides, users, items, W))
    assert least <= reached[0] < 1.05 * least
    assert reached[1] > 1.2 * least


def test_with_shown_pairs_alone_every_pair_scores_like_a_shown_one():
    """Design A's trap: the loss over shown pairs alone is zero where every score is 1."""
    _, dense = random_pairs(60, 40, values=(1.0,))
    gap = []
    for w in (0.0, W):
        sides = sides_of(pairs_of_matrix(dense), 40, Weighting(w, "unobserved", 0.01, 0.0))
        users, items = np.full((60, 1), 0.5, np.float32), np.full((40, 1), 0.5, np.float32)
        list(half_steps(sides, users, items, w, 20, lambda *a: solve_by_blocks(*a, 1, 1)))
        gap.append((users @ items.T)[dense == 0].mean())
    assert gap[0] == pytest.approx(1.0, abs=0.02)
    assert gap[1] < 0.8


def test_the_gram_matrix_is_weighted():
    _, items = factors_of(3, 4)
    assert gram_of(items, 0.5) == pytest.approx(0.5 * items.T @ items)
