"""Distances of samples from real images, against closed forms and definitions written out."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from genkit.errors import DataError
from genkit.evaluate import distances, neighbours
from genkit.evaluate.estimate import error_of_share, estimate_share
from genkit.evaluate.neighbours import nearest


def with_moments(mean: Tensor, covariance: Tensor, count: int = 50) -> Tensor:
    """Features (count, F) whose mean and unbiased covariance are exactly these."""
    white = torch.randn(count, len(mean), dtype=torch.float64)
    white = torch.linalg.qr(white - white.mean(0)).Q * math.sqrt(count - 1)
    values, vectors = torch.linalg.eigh(covariance.double())
    return white @ (vectors * values.clamp(min=0).sqrt()).T + mean


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


# Fréchet


def test_frechet_of_diagonal_covariances() -> None:
    """|m₁ − m₂|² + Σ (σ₁ − σ₂)²."""
    ours = with_moments(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 4.0, 0.0]).diag())
    real = with_moments(torch.tensor([1.0, 0.0, 3.5]), torch.tensor([9.0, 4.0, 0.25]).diag(), count=80)
    assert distances.frechet_distance(ours, real) == pytest.approx(4 + 0.25 + 4 + 0 + 0.25)


def test_frechet_of_commuting_covariances() -> None:
    """With shared eigenvectors it is that of the eigenvalues."""
    axes = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64)).Q
    first, second = torch.tensor([1.0, 4.0, 16.0]).double(), torch.tensor([4.0, 4.0, 1.0]).double()
    ours, real = (with_moments(torch.zeros(3), axes * values @ axes.T) for values in (first, second))
    assert distances.frechet_distance(ours, real) == pytest.approx(1 + 0 + 9)


def test_frechet_of_a_shift_is_its_square() -> None:
    features = torch.randn(40, 6)
    assert distances.frechet_distance(features + 2, features) == pytest.approx(24, rel=1e-5)


@pytest.mark.parametrize("count", [2, 10, 300], ids=lambda count: f"{count} of 64 features")
def test_frechet_of_equal_sets_is_nothing(count: int) -> None:
    """Roots of eigenvalues would leave some 1e-7 where there are fewer images than features."""
    features = torch.randn(count, 5, dtype=torch.float64) @ torch.randn(5, 64, dtype=torch.float64) + 5
    assert distances.frechet_distance(features, features) < 1e-11
    twice = 2 * features - features.mean(0)  # with twice the standard deviation: Σ (2σ − σ)²
    expected = float(features.var(0).sum())
    assert distances.frechet_distance(twice, features) == pytest.approx(expected, rel=1e-12)


def test_frechet_of_constant_features() -> None:
    assert distances.frechet_distance(torch.ones(5, 3), torch.zeros(7, 3)) == pytest.approx(3)


@pytest.mark.parametrize("rank", [5, 8])
def test_frechet_agrees_with_the_roots_of_matrices(rank: int) -> None:
    """On covariances that don't commute, of full rank and singular, tr (S₁S₂)^½ from the symmetric square root."""
    first, second = (torch.randn(8, rank, dtype=torch.float64) for _ in range(2))
    first, second = first @ first.T, second @ second.T

    def root(matrix: Tensor) -> Tensor:
        values, vectors = torch.linalg.eigh(matrix)
        return vectors * values.clamp(min=0).sqrt() @ vectors.T

    expected = (first + second - 2 * root(root(first) @ second @ root(first))).trace()
    ours, real = with_moments(torch.zeros(8), first), with_moments(torch.zeros(8), second, count=70)
    assert distances.frechet_distance(ours, real) == pytest.approx(float(expected), rel=1e-6)
    assert distances.frechet_distance(real, ours) == pytest.approx(float(expected), rel=1e-6)


# Kernel


def test_kernel_distance_is_its_definition() -> None:
    ours, real = torch.randn(2, 4, 3, dtype=torch.float64)

    def kernel(a: Tensor, b: Tensor) -> float:
        return (float(a @ b) / 3 + 1) ** 3

    expected = 0.0
    for i in range(4):
        for j in range(4):
            if i != j:
                expected += (kernel(ours[i], ours[j]) + kernel(real[i], real[j])) / (4 * 3)
            expected -= 2 * kernel(ours[i], real[j]) / 4**2
    assert float(distances.squared_mmd(ours, real)) == pytest.approx(expected)
    two = distances.kernel_distance(ours[:2], real[:3])
    assert (two.n, two.error) == (1, None)


def test_kernel_distance_is_unbiased_and_its_error_is_right() -> None:
    """Over 300 pairs of sets from one distribution: nothing on average, spread as each says of itself."""
    found = [distances.kernel_distance(*torch.rand(2, 60, 5, dtype=torch.float64)) for _ in range(300)]
    values = torch.tensor([each.value for each in found])
    claimed = torch.tensor([each.error for each in found])
    assert abs(float(values.mean())) < 3 * float(values.std()) / math.sqrt(300)
    assert float(claimed.square().mean().sqrt()) == pytest.approx(float(values.std()), rel=0.15)
    assert values.min() < 0


def test_kernel_distance_of_known_distributions() -> None:
    """One feature, N(1, 1) against N(0, 1): E(xy + 1)³ = Σ binomial · (mᵢ mⱼ), which differs by 1·3 + 3·1² + 4²·1."""
    ours, real = torch.randn(20_000, 1) + 1, torch.randn(20_000, 1)
    moments = ((1, 0), (2, 1), (4, 0))  # the first three, of each
    expected = sum(weight * (a - b) ** 2 for weight, (a, b) in zip((3, 3, 1), moments, strict=True))
    found = distances.kernel_distance(ours, real)
    assert found.n == 20
    assert found.value == pytest.approx(expected, abs=4 * found.error)


def test_kernel_distance_is_seeded() -> None:
    ours, real = torch.randn(2, 100, 5)
    assert distances.kernel_distance(ours, real, seed=1) == distances.kernel_distance(ours, real, seed=1)
    assert distances.kernel_distance(ours, real, seed=1) != distances.kernel_distance(ours, real, seed=2)


def test_floor_takes_two_disjoint_sets() -> None:
    sets: list[list[int]] = []
    distances.floor(
        lambda a, b: sets.extend([a.flatten().tolist(), b.flatten().tolist()]), torch.arange(10)[:, None], 4
    )
    assert [len(each) for each in sets] == [4, 4]
    assert len(set(sets[0]) | set(sets[1])) == 8
    with pytest.raises(DataError, match="two disjoint sets of 6 real images need 12"):
        distances.floor(distances.frechet_distance, torch.randn(10, 2), 6)


# Neighbours


@pytest.mark.parametrize("block", [1 << 24, 30], ids=["at once", "in blocks"])
def test_nearest_are_those_of_all_distances(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "BLOCK", block)
    queries, points = torch.randn(20, 4).double(), torch.randn(15, 4).double()
    every = (queries[:, None] - points).norm(dim=2)
    found = nearest(queries, points, 3)
    torch.testing.assert_close(found.distances, every.sort().values[:, :3])
    assert torch.equal(found.indices, every.argsort()[:, :3])
    itself = nearest(points, points, 1, itself=True)
    assert torch.equal(itself.indices[:, 0], torch.cdist(points, points).fill_diagonal_(math.inf).argmin(1))


def test_twins_are_at_a_distance_of_nothing_however_far_out() -> None:
    points = torch.randn(50, 300, dtype=torch.float64) + 1e8
    found = nearest(points.flip(0), points)
    assert found.distances.eq(0).all()
    assert torch.equal(found.indices[:, 0], torch.arange(50).flip(0))


# Precision and recall


def test_overlap_of_hand_made_sets() -> None:
    """Balls of the nearest other one. Real: 0 and 1 reach 1, 3 reaches 2. Ours: 0.5 and 0.75 reach ¼, 10 reaches 9¼."""
    found = distances.precision_recall(column(0.5, 0.75, 10), column(0, 1, 3), k=1, density_k=1)
    assert found.precision == pytest.approx(2 / 3)
    # 1 lies within ¼ of 0.75; 1 and 3 within 9¼ of 10; 0 in none.
    assert found.recall == pytest.approx(2 / 3)
    # 0.5 lies in two balls, 0.75 in two, 10 in none... and 1.0 to 5 are the third ball's.
    assert found.density == pytest.approx(4 / 3)
    assert found.coverage == pytest.approx(2 / 3)


def test_precision_is_the_samples_and_recall_the_real_ones() -> None:
    """Samples from one of two real clusters are all right, and miss half."""
    real = torch.cat([torch.randn(50, 2), torch.randn(50, 2) + 100])
    ours = real[:50] + 1e-6
    found = distances.precision_recall(ours, real)
    assert found.precision == 1
    assert found.recall == 0.5
    assert found.coverage == 0.5
    other = distances.precision_recall(real, ours)
    assert (other.precision, other.recall, other.coverage) == (0.5, 1, 1)


def test_density_takes_balls_of_five() -> None:
    """Of real images at 0 … 5 the ball about 0 reaches 5, that about 2 only 3: a sample at 4.9 is in 0's too."""
    real, ours = column(0, 1, 2, 3, 4, 5), column(-2.5, -2.5, -2.5, -2.5, -2.5, -2.5)
    # −2.5 is in the balls of 0 (to 5) and 1 (to 4), but 2's reaches 3 of the 4.5 that it would need.
    found = distances.precision_recall(ours, real)
    assert found.density == pytest.approx(2 / 5)
    assert found.coverage == pytest.approx(2 / 6)
    assert found.precision == 1  # in 0's ball of three neighbours, which reaches 3
    assert found.recall == 0


def test_a_point_on_the_edge_of_a_ball_is_in_it() -> None:
    """However distances are rounded: each ball of one neighbour holds two of the images that it was made from."""
    real = torch.randn(300, 30)
    assert distances.precision_recall(real, real, k=1, density_k=1) == (1, 1, 2, 1)


def test_collapsed_samples_recall_nothing() -> None:
    real = torch.randn(200, 3)
    found = distances.precision_recall(real[:1].expand(200, 3), real)
    assert found.precision == 1
    assert found.recall == 1 / 200
    assert found.coverage < 0.1


# Classes


def test_class_histogram() -> None:
    found = distances.class_histogram(torch.tensor([0, 0, 2, 3]), 5)
    assert found.shares.tolist() == [0.5, 0, 0.25, 0.25, 0]
    assert found.errors.tolist() == pytest.approx([0.25, 1 / 5, math.sqrt(3 / 64), math.sqrt(3 / 64), 1 / 5])
    assert found.entropy.value == pytest.approx(1.5 * math.log(2))
    assert found.effective.value == pytest.approx(2**1.5)
    alone = distances.class_histogram(torch.tensor([1, 1, 1]), 3)
    assert (alone.entropy.value, alone.entropy.error, alone.effective.value) == (0, 0, 1)
    assert str(alone.entropy.value) == "0.0", "without a sign"


@pytest.mark.parametrize("n", [1, 10, 500])
def test_the_error_of_none_and_of_all_is_the_end_of_wilsons_interval(n: int) -> None:
    """The share p that is one standard deviation, √(p(1 − p)/n), from what was seen."""
    error = error_of_share(0, n)
    assert error == pytest.approx(math.sqrt(error * (1 - error) / n))
    assert error_of_share(1, n) == error
    assert error_of_share(0.5, n) == pytest.approx(math.sqrt(0.25 / n))
    assert estimate_share(torch.zeros(n)) == (0, error, n)
    assert estimate_share(torch.tensor([0.0, 1.0])).error == pytest.approx(0.5)


@pytest.mark.parametrize("odds", [[1.0] * 10, [5.0, 2, 1, 1, 1]], ids=["even", "uneven"])
def test_entropys_error_is_its_spread(odds: list[float]) -> None:
    draws = torch.multinomial(torch.tensor(odds), 400 * 500, replacement=True).view(400, 500)
    found = [distances.class_histogram(each, len(odds)) for each in draws]
    for name in ("entropy", "effective"):
        values = torch.tensor([getattr(each, name).value for each in found])
        claimed = torch.tensor([getattr(each, name).error for each in found])
        assert float(claimed.mean()) == pytest.approx(float(values.std()), rel=0.25)


# Memorisation


def test_copies_are_found_and_fresh_ones_are_not() -> None:
    train, held_out, fresh = torch.randn(3, 500, 4)
    copies = distances.memorisation(train[:100], train, held_out)
    assert copies.ratio == 0
    assert copies.nearer == 1
    new = distances.memorisation(fresh, train, held_out)
    assert new.ratio == pytest.approx(1, abs=0.1)
    assert new.nearer == pytest.approx(0.5, abs=0.06)
    far = distances.memorisation(fresh + 50, train, held_out)
    assert far.nearer == 0
    assert far.ratio > 10


def test_memorisation_in_exact_numbers() -> None:
    """Samples at 1, 2 and 2 from the training image, held-out ones at 2, 4 and 5; equal ones count by half."""
    found = distances.memorisation(column(1, 2, -2), column(0), column(2, 4, -5))
    assert found.ratio == 0.5
    assert found.nearer == pytest.approx((3 + 2.5 + 2.5) / 9)


# What can't be measured

FIVE = torch.randn(5, 2)


@pytest.mark.parametrize(
    "measure",
    [distances.frechet_distance, distances.kernel_distance, distances.precision_recall],
    ids=lambda measure: measure.__name__,
)
def test_features_that_cant_be_compared_are_refused(measure) -> None:
    many = torch.randn(9, 2)
    with pytest.raises(DataError, match="images or more, not 1"):
        measure(many, many[:1])
    with pytest.raises(DataError, match="aren't finite"):
        measure(many, many.clone().index_fill_(0, torch.tensor([3]), math.nan))
    with pytest.raises(DataError, match="of 2 and of 3 numbers"):
        measure(many, torch.randn(9, 3))
    with pytest.raises(DataError, match="a row of numbers an image"):
        measure(many[None], many)


def test_what_else_is_refused() -> None:
    with pytest.raises(DataError, match="classes go from 0 to 2"):
        distances.class_histogram(torch.tensor([0, 3]), 3)
    with pytest.raises(DataError, match="2 samples or more"):
        distances.class_histogram(torch.tensor([0]), 3)
    with pytest.raises(DataError, match="of 5 images none has 5 neighbours"):
        nearest(FIVE, FIVE, 5, itself=True)
    with pytest.raises(DataError, match="half of the held-out images"):
        distances.memorisation(FIVE, FIVE, FIVE)
    with pytest.raises(DataError, match="6 images or more, not 5"):
        distances.precision_recall(FIVE, FIVE)
