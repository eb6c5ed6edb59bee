"""The noise floor against perfect predictors, known on a simulated sky, and on real vote counts."""

import numpy as np
import pytest
from scipy import stats

from galaxy_sommelier.catalog.gz2 import read_willett
from galaxy_sommelier.catalog.schema import GZ2
from galaxy_sommelier.catalog.table import votes_of
from galaxy_sommelier.evaluation.metrics import (
    kaggle_headline,
    kaggle_moments,
    moments,
    people,
    reached,
    summarise,
    training_mean,
)
from galaxy_sommelier.evaluation.noise_floor import (
    answer_floors,
    answer_noise,
    answer_skills,
    beliefs,
    best_accuracy,
    kaggle_floor,
    mixture_weights,
    noise_parts,
    question_floors,
    skill,
    vote_noise,
)
from galaxy_sommelier.images.painting import sample_truth
from galaxy_sommelier.images.simulation import true_fractions, vote


def judged(p, volunteers, seed):
    """Votes, people asked, vote fractions and what is scored."""
    votes = vote(p, volunteers, seed)
    asked = people(votes)
    true = np.divide(votes, asked, out=np.full(p.shape, np.nan), where=asked > 0)
    return votes, asked, true, reached(true, votes=votes)


def simulated(n):
    """Simulated galaxies with 30 to 60 volunteers each: their true fractions, and as from `judged`."""
    p = true_fractions(sample_truth(n, seed=5)).astype(float)
    p = np.concatenate([p[:, s] / p[:, s].sum(1, keepdims=True) for s in GZ2.slices.values()], axis=1)
    return p, *judged(p, np.random.default_rng(6).integers(30, 61, len(p)), 7)


@pytest.fixture(scope="module")
def sky():
    return simulated(20_000)


@pytest.fixture(scope="module")
def noise(sky):
    _, votes, asked, _, mask = sky
    return noise_parts(votes, mask, asked)


def expected(p, asked, mask):
    """RMSE and MAE of the perfect predictor over all possible votes, by SciPy's binomial: (answers,) each."""
    rmse, mae = np.full(p.shape[1], np.nan), np.full(p.shape[1], np.nan)
    for j, use in enumerate(mask.T):
        n, share = asked[use, j], p[use, j]
        rmse[j] = np.sqrt((share * (1 - share) / n).mean())
        top = np.floor(n * share)  # De Moivre's formula for the mean absolute deviation
        mae[j] = (2 * (top + 1) * stats.binom.pmf(top + 1, n, share) * (1 - share) / n).mean()
    return rmse, mae


def test_de_moivre_is_the_mean_absolute_deviation():
    n, share, k = np.array([7]), np.array([0.3]), np.arange(8)
    direct = (stats.binom.pmf(k, 7, 0.3) * np.abs(k / 7 - 0.3)).sum()
    assert expected(share[:, None], n[:, None], np.array([[True]]))[1][0] == pytest.approx(direct)


def test_floors_are_right_within_two_per_cent():
    """All 37 answers, over so many galaxies that sampling noise is smaller than that."""
    p, votes, asked, _, mask = simulated(100_000)
    rows, (rmse, mae) = answer_floors(votes, mask, noise_parts(votes, mask, asked)), expected(p, asked, mask)
    assert (rows.n > 10_000).all()
    np.testing.assert_allclose(rows.floor_rmse, rmse, rtol=0.02)
    np.testing.assert_allclose(rows.floor_mae, mae, rtol=0.02)


def test_a_perfect_predictor_reaches_the_floor(sky, noise):
    p, votes, _, true, mask = sky
    rows, got = answer_floors(votes, mask, noise), summarise(moments(p, true, mask).sum(0))
    often = (rows.n > 4000) & (got["r"] > 0.5)
    np.testing.assert_allclose(rows.floor_r[often], got["r"][often], rtol=0.01)
    np.testing.assert_allclose(rows.floor_r2[often], got["r2"][often], atol=0.015)
    skills = answer_skills(p, true, training_mean(true), mask, noise, resamples=200)
    held = skills.skill_rmse_lower.le(1) & skills.skill_rmse_upper.ge(1)
    assert held[rows.n > 1000].mean() > 0.8 and skills.skill_rmse[rows.n > 4000].between(0.97, 1.03).all()


def test_accuracy_and_likelihood_floors(sky, noise):
    p, votes, _, _, mask = sky
    for _, row in question_floors(votes, mask, noise).iterrows():
        part = GZ2.slices[row.question]
        use = mask[:, part.start]
        k, predicted = votes[use, part], p[use, part]
        assert row.floor_accuracy == pytest.approx((k.argmax(1) == predicted.argmax(1)).mean(), rel=0.02), (
            row.question
        )
        assert row.floor_log_likelihood == pytest.approx(
            (k * np.log(predicted.clip(1e-12))).sum() / k.sum(), rel=0.02
        ), row.question


def test_headline_floors(sky):
    p, votes, _, true, _ = sky
    floor, got = kaggle_floor(votes), kaggle_headline(kaggle_moments(p, true).sum(0))
    for name, value in got.items():
        assert floor[name] == pytest.approx(float(value), rel=0.01), name


def test_no_prediction_beats_the_floor(sky, noise):
    """Every change of the truth has a larger squared error than the floor."""
    p, votes, _, true, mask = sky
    rows = answer_floors(votes, mask, noise)
    for seed in range(3):
        other = np.clip(p + np.random.default_rng(seed).normal(0, 0.05, p.shape), 0, 1)
        rmse = summarise(moments(other, true, mask).sum(0))["rmse"]
        assert (rmse > rows.floor_rmse)[rows.n > 1000].all()


@pytest.mark.parametrize("n", [2, 3, 11])
@pytest.mark.parametrize("share", [0.0, 0.07, 0.5, 1.0])
def test_vote_noise_is_unbiased(n, share):
    k = np.arange(n + 1)
    assert stats.binom.pmf(k, n, share) @ vote_noise(k, n) == pytest.approx(
        share * (1 - share) / n, abs=1e-12
    )


def test_one_vote_carries_no_information():
    assert np.isnan(vote_noise(np.array([0, 1]), np.array([1, 1]))).all() and np.isnan(vote_noise(0, 0))


def test_mixture_is_the_most_probable_one():
    """No other weights make the votes more probable: the gradient condition of Kiefer and Wolfowitz."""
    rng = np.random.default_rng(0)
    k = rng.binomial(20, rng.choice([0.1, 0.7], 3000, p=[0.8, 0.2]))
    grid = np.linspace(0.005, 0.995, 100)
    like = stats.binom.pmf(np.arange(21)[:, None], 20, grid)
    weights = mixture_weights(like, np.bincount(k, minlength=21), steps=3000)
    gradient = like.T @ (np.bincount(k, minlength=21) / (like @ weights)) / len(k)
    assert weights.sum() == pytest.approx(1) and gradient.max() < 1.02  # 1 at convergence
    assert weights[grid < 0.4].sum() == pytest.approx(0.8, abs=0.03)
    assert grid[grid < 0.4] @ weights[grid < 0.4] / weights[grid < 0.4].sum() == pytest.approx(0.1, abs=0.01)


def test_beliefs_are_bayes(sky):
    votes = sky[1][:50, :3]
    candidates = np.random.default_rng(1).dirichlet([2, 2, 0.5], 30)
    rows, place, belief = beliefs(votes, candidates)
    assert np.array_equal(rows[place], votes) and np.allclose(belief.sum(1), 1)
    like = np.stack([stats.multinomial.pmf(k, k.sum(), candidates) for k in rows])
    prior = belief[0] / like[0]
    np.testing.assert_allclose(like * prior / (like * prior).sum(1, keepdims=True), belief, atol=1e-8)


def test_no_galaxies_no_votes_and_one_vote():
    assert (
        answer_noise(np.zeros(0, int), np.zeros(0, int)).shape == (0, 3)
        and len(best_accuracy(np.zeros((0, 3), int))) == 0
    )
    votes = np.zeros((4, len(GZ2.answers)), int)
    votes[0, 0] = 1  # one volunteer, who voted "smooth"
    asked = people(votes)
    true = np.divide(votes, asked, out=np.full(votes.shape, np.nan), where=asked > 0)
    mask = reached(true, votes=votes)
    rows = answer_floors(votes, mask, noise_parts(votes, mask, asked))
    assert not mask.any() and (rows.n == 0).all() and rows.floor_rmse.isna().all()
    assert question_floors(votes, mask, noise_parts(votes, mask, asked)).floor_accuracy.isna().all()


def test_skill():
    np.testing.assert_allclose(skill([0.3, 0.2, 0.1, 0.4], 0.3, 0.1), [0, 0.5, 1, -0.5])
    assert (
        skill(0.9, 0.5, 1.0) == pytest.approx(0.8)
        and np.isnan(skill(0.2, 0.1, 0.1))
        and np.isnan(skill(np.nan, 0, 1))
    )


def test_floors_of_real_votes(stripe82_root):
    """19,761 galaxies of Stripe 82: the floor agrees with halves of the volunteers, without any model."""
    votes = votes_of(read_willett(stripe82_root / "zoo2Stripe82Coadd2.csv.gz"), GZ2)
    asked = people(votes)
    true = np.divide(votes, asked, out=np.full(votes.shape, np.nan), where=asked > 0)
    mask = reached(true, votes=votes, min_votes=10)
    rows = answer_floors(votes, mask, noise_parts(votes, mask, asked)).set_index("answer")
    assert rows.n["smooth-or-featured_smooth"] > 19_000
    rng = np.random.default_rng(0)
    for answer in (
        "smooth-or-featured_smooth", "disk-edge-on_yes", "bar_yes", "has-spiral-arms_yes",
        "something-odd_yes"
    ):
        j = GZ2.index(answer)
        k, n = votes[mask[:, j], j], asked[mask[:, j], j]
        half = rng.hypergeometric(k, n - k, n // 2, (40, len(n)))
        # in the mean square two halves of a crowd differ by p(1-p)(1/a + 1/b),
        # a crowd from the infinite one by p(1-p)/n
        apart = (half / (n // 2) - (k - half) / (n - n // 2)) ** 2 / (1 / (n // 2) + 1 / (n - n // 2)) / n
        assert rows.floor_rmse[answer] == pytest.approx(np.sqrt(apart.mean()), rel=0.01), answer
        assert rows.floor_mae[answer] < rows.floor_rmse[answer] < 0.13


# answer: volunteers, RMSE; estimates for 44 classifications from this table's vote shares, good to 20 %
ESTIMATED = {
    "smooth-or-featured_smooth": (44, 0.063),
    "smooth-or-featured_featured-or-disk": (44, 0.058),
    "smooth-or-featured_artifact": (44, 0.035),
    "disk-edge-on_yes": (20, 0.065),
    "bar_yes": (21, 0.086),
    "has-spiral-arms_yes": (21, 0.091),
    "bulge-size_none": (21, 0.055),
    "bulge-size_just-noticeable": (21, 0.105),
    "bulge-size_obvious": (21, 0.105),
    "bulge-size_dominant": (21, 0.067),
    "something-odd_yes": (42, 0.059),
    "how-rounded_round": (33, 0.063),
    "how-rounded_in-between": (33, 0.072),
    "how-rounded_cigar-shaped": (33, 0.045),
    "edge-on-bulge_rounded": (17, 0.104),
    "edge-on-bulge_boxy": (17, 0.064),
    "edge-on-bulge_none": (17, 0.097),
    "spiral-winding_tight": (25, 0.096),
    "spiral-winding_medium": (25, 0.098),
    "spiral-winding_loose": (25, 0.071),
}


def test_floors_of_stripe82_agree_with_an_independent_estimate(stripe82_root):
    """Noise scales as one over the root of the volunteers; the selections differ where few were asked."""
    votes = votes_of(read_willett(stripe82_root / "zoo2Stripe82Coadd2.csv.gz"), GZ2)
    asked = people(votes)
    mask = reached(
        np.divide(votes, asked, out=np.full(votes.shape, np.nan), where=asked > 0), votes=votes, min_votes=10
    )
    rows, ratios = answer_floors(votes, mask, noise_parts(votes, mask, asked)).set_index("answer"), {}
    for answer, (volunteers, rmse) in ESTIMATED.items():
        here = np.median(asked[mask[:, GZ2.index(answer)], GZ2.index(answer)])
        ratios[answer] = rows.floor_rmse[answer] * np.sqrt(here / volunteers) / rmse
    assert all(0.75 < ratio < 1.25 for ratio in ratios.values()), ratios
    assert np.median(list(ratios.values())) == pytest.approx(1, abs=0.1)
    assert all(
        ratios[name] == pytest.approx(1, abs=0.06)
        for name in ("smooth-or-featured_smooth", "bar_yes", "something-odd_yes")
    )
