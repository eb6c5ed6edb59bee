"""Calibration against SciPy, an injected strength, and the truth of a simulated sky."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from galaxy_sommelier.catalog.campaigns import HUBBLE
from galaxy_sommelier.catalog.schema import GZ2
from galaxy_sommelier.core.files import BadInput
from galaxy_sommelier.evaluation.calibration import (
    Calibration,
    add_intervals,
    answer_beta,
    answer_intervals,
    calibrate,
    count_probability,
    read_calibration,
    tempered,
    votes_log_likelihood,
    write_calibration,
)
from galaxy_sommelier.evaluation.metrics import people, reached
from galaxy_sommelier.evaluation.reliability import (
    calibration_error,
    coverage,
    equivalent_volunteers,
    reliability,
    vote_pit,
)
from galaxy_sommelier.images.painting import sample_truth
from galaxy_sommelier.images.simulation import true_fractions, vote

STRENGTH = 15.0


def whole(x, schema=GZ2):
    """Divide the answers of each question by their sum, independently of `Schema.normalise`."""
    return np.concatenate([x[:, s] / x[:, s].sum(1, keepdims=True) for s in schema.slices.values()], axis=1)


@pytest.fixture(scope="module")
def sky():
    """Predictions for 12,000 galaxies, truth around them with strength 15, votes of 30 to 60, a mask."""
    rng = np.random.default_rng(11)
    predicted = whole(true_fractions(sample_truth(12_000, seed=12)).astype(float).clip(0.01))
    p = whole(rng.gamma(STRENGTH * predicted))
    votes = vote(p, rng.integers(30, 61, len(p)), 13)
    asked = people(votes)
    true = np.divide(votes, asked, out=np.full(p.shape, np.nan), where=asked > 0)
    return predicted, p, votes, true, reached(true, votes=votes)


@pytest.fixture(scope="module")
def fitted(sky):
    return calibrate(sky[0][:4000], sky[2][:4000])


def test_distributions_against_scipy(sky):
    predicted, _, votes, _, _ = sky
    for part in GZ2.slices.values():
        k, a = votes[:40, part], 3.3 * predicted[:40, part]
        np.testing.assert_allclose(
            votes_log_likelihood(k, a), stats.dirichlet_multinomial.logpmf(k, a, k.sum(1)), atol=1e-9
        )
    k = np.arange(8)
    np.testing.assert_allclose(count_probability(k, 7, 0.4, 12.0), stats.betabinom.pmf(k, 7, 0.4, 12.0))
    assert count_probability(0, 0, 2.0, 3.0) == pytest.approx(1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_injected_strength_and_temperature_are_recovered(sky, temperature):
    predicted, _, votes, _, _ = sky
    found = calibrate(tempered(predicted, np.full(11, 1 / temperature))[:4000], votes[:4000])
    np.testing.assert_allclose(found.temperature, temperature, rtol=0.08)
    np.testing.assert_allclose(found.strength, STRENGTH, rtol=0.2)


def test_calibration_raises_the_likelihood_of_unseen_votes(sky, fitted):
    predicted, _, votes, _, _ = sky
    bold = tempered(predicted, np.full(11, 0.6))
    found = calibrate(bold[:4000], votes[:4000])
    after = tempered(bold, found.temperature)
    for q, part in enumerate(GZ2.slices.values()):
        k = votes[4000:, part]
        before = votes_log_likelihood(k, found.strength[q] * bold[4000:, part].clip(1e-9))
        gain = votes_log_likelihood(k, found.strength[q] * after[4000:, part].clip(1e-9)) - before
        assert gain.mean() > 2 * gain.std() / np.sqrt(len(gain))


def test_a_question_that_few_reached_has_no_intervals(sky, tmp_path):
    predicted, _, votes, _, mask = sky
    few = votes[:60].copy()
    few[10:, GZ2.slices["bar"]] = 0
    found = calibrate(predicted[:60], few)
    bar = GZ2.question_names.index("bar")
    assert np.isnan(found.strength[bar]) and found.galaxies[bar] <= 10 and np.isfinite(found.strength[0])
    low, high = answer_intervals(predicted[:5], found)
    assert np.isnan(low[:, GZ2.slices["bar"]]).all() and np.isfinite(high[:, 0]).all()
    low, _ = answer_intervals(predicted[:5], found, volunteers=10)
    assert np.isnan(low[:, GZ2.slices["bar"]]).all()
    assert np.isnan(vote_pit(predicted[:60], votes[:60], found, mask[:60])[:, GZ2.slices["bar"]]).all()
    write_calibration(found, tmp_path / "c.json")
    pd.testing.assert_frame_equal(read_calibration(tmp_path / "c.json").table(), found.table())


def test_a_calibration_of_another_tree_is_refused(fitted, tmp_path):
    write_calibration(fitted, tmp_path / "c.json")
    with pytest.raises(BadInput, match="questions of gz2, not of hubble"):
        read_calibration(tmp_path / "c.json", HUBBLE)
    with pytest.raises(BadInput):
        read_calibration(tmp_path / "none.json")


def test_intervals_for_volunteers_against_scipy(sky, fitted):
    predicted = sky[0][:20]
    a, b = answer_beta(predicted, fitted)
    for n in (1, 5, 44):
        low, high = answer_intervals(predicted, fitted, level=0.8, volunteers=n)
        np.testing.assert_array_equal(np.round(low * n), stats.betabinom.ppf(0.1, n, a, b))
        np.testing.assert_array_equal(np.round(high * n), stats.betabinom.ppf(0.9, n, a, b))
    many = answer_intervals(predicted, fitted, volunteers=400)
    for end, crowd in zip(answer_intervals(predicted, fitted), many, strict=True):
        np.testing.assert_allclose(end, crowd, atol=0.03)  # the next 400 are nearly an infinite crowd


def test_added_intervals_are_beside_their_answers(sky, fitted):
    predicted = sky[0][:10]
    table = add_intervals(
        pd.DataFrame(predicted, columns=GZ2.columns).assign(id_str=[str(i) for i in range(10)]),
        fitted,
        level=0.8,
    )
    low, high = answer_intervals(predicted, fitted, level=0.8)
    for j in (0, 8, 36):
        np.testing.assert_array_equal(table[f"{GZ2.answers[j]}_lower"], low[:, j])
        np.testing.assert_array_equal(table[f"{GZ2.answers[j]}_upper"], high[:, j])
    assert list(table.id_str) == [str(i) for i in range(10)] and len(table.columns) == 1 + 3 * 37


def test_intervals_cover_the_truth_and_the_next_volunteers(sky, fitted):
    predicted, p, _, _, _ = sky
    rows = slice(4000, None)
    low, high = answer_intervals(predicted[rows], fitted)
    assert ((low <= p[rows]) & (p[rows] <= high)).mean() == pytest.approx(0.9, abs=0.01)
    next_votes = vote(p[rows], 20, 99)[:, :3] / 20
    low, high = (end[:, :3] for end in answer_intervals(predicted[rows], fitted, volunteers=20))
    # whole numbers: somewhat above 0.9
    assert 0.9 <= ((low <= next_votes) & (next_votes <= high)).mean() < 0.98


def test_pit_against_scipy_and_uniform(sky, fitted):
    predicted, _, votes, _, mask = sky
    rows = slice(4000, 6000)
    pit = vote_pit(predicted[rows], votes[rows], fitted, mask[rows], seed=5)
    assert np.array_equal(np.isfinite(pit), mask[rows])
    a, b = answer_beta(predicted[rows], fitted)
    n, k = people(votes[rows]), votes[rows]
    use = mask[rows]
    below, upto = (stats.betabinom.cdf(k[use] - d, n[use], a[use], b[use]) for d in (1, 0))
    assert (pit[use] >= below - 1e-9).all() and (pit[use] <= upto + 1e-9).all()
    for j in (0, 3, 5):
        assert stats.kstest(pit[use[:, j], j], "uniform").pvalue > 0.001
    lost = Calibration(GZ2, fitted.temperature, fitted.strength * 6, fitted.galaxies)
    wrong = vote_pit(predicted[rows], votes[rows], lost, use)
    assert stats.kstest(wrong[:, 0], "uniform").pvalue < 1e-6


def test_coverage_against_a_loop(sky, fitted):
    predicted, _, votes, _, mask = sky
    rows = slice(4000, 8000)
    pit = vote_pit(predicted[rows], votes[rows], fitted, mask[rows])
    table = coverage(pit, levels=(0.5, 0.9)).set_index(["question", "level"])
    for question, part in [*GZ2.slices.items(), ("all", slice(None))]:
        inside = [abs(u - 0.5) <= 0.45 for u in pit[:, part].ravel() if np.isfinite(u)]
        assert table.loc[(question, 0.9), "coverage"] == pytest.approx(np.mean(inside))
    assert table.loc[("all", 0.5), "lower"] < 0.5 < table.loc[("all", 0.5), "upper"]
    assert table.loc[("all", 0.9), "coverage"] == pytest.approx(0.9, abs=0.01)
    assert np.isnan(coverage(np.full((3, 37), np.nan)).coverage).all()


def test_reliability_and_ece_against_loops(sky):
    predicted, _, _, true, mask = sky
    table = reliability(predicted, true, mask, bins=8)
    j, error, total = GZ2.index("bar_yes"), 0.0, 0
    use = np.flatnonzero(mask[:, j])
    for number, rows in enumerate(np.array_split(use[np.argsort(predicted[use, j], kind="stable")], 8)):
        row = table[(table.answer == "bar_yes") & (table.bin == number)].iloc[0]
        assert (row.n, row.predicted, row.voted) == pytest.approx(
            (len(rows), predicted[rows, j].mean(), true[rows, j].mean())
        )
        error += len(rows) * abs(predicted[rows, j].mean() - true[rows, j].mean())
        total += len(rows)
    found = calibration_error(table).set_index("answer")
    assert found.ece["bar_yes"] == pytest.approx(error / total)
    assert (found.ece / found.ece_chance).median() < 1.7  # this model is calibrated: chance alone
    shifted = calibration_error(reliability(np.clip(predicted + 0.05, 0, 1), true, mask)).set_index("answer")
    assert shifted.ece["smooth-or-featured_smooth"] > 0.03


def test_equivalent_volunteers_are_the_injected_strength(sky):
    predicted, _, votes, _, mask = sky
    table = equivalent_volunteers(predicted, votes, mask, resamples=300).set_index("question")
    assert ((table.lower <= STRENGTH) & (STRENGTH <= table.upper)).sum() >= 9
    assert table.volunteers["smooth-or-featured"] == pytest.approx(STRENGTH, rel=0.05)


def test_a_crowd_is_equivalent_to_itself(sky):
    """Ten other volunteers as the model: they are equivalent to ten."""
    _, p, votes, _, mask = sky
    ten = np.zeros(p.shape)
    for part in GZ2.slices.values():
        ten[:, part] = np.random.default_rng(part.start).multinomial(10, p[:, part]) / 10
    table = equivalent_volunteers(ten, votes, mask, resamples=100).set_index("question")
    assert table.volunteers["smooth-or-featured"] == pytest.approx(10, rel=0.06)
    assert table.volunteers["bar"] == pytest.approx(10, rel=0.1)
