"""Without a shift p-values are uniform; an injected shift is measured within its interval."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from galaxy_sommelier.catalog.campaigns import CAMPAIGNS, SCHEMAS
from galaxy_sommelier.catalog.crosswalk import CORE, crosswalk, same_answers
from galaxy_sommelier.core.files import BadInput
from galaxy_sommelier.studies.shift import (
    classifier_auc,
    column_shift,
    discrepancy,
    paired_shift,
    set_shift,
    shuffles,
    similarities,
)

REPEATS = 200


def uniform(p):
    return stats.kstest(p, "uniform").pvalue


@pytest.mark.parametrize("paired", [False, True])
def test_no_shift_gives_uniform_p_for_feature_vectors(paired):
    rng, found = np.random.default_rng(11 + paired), {"energy distance": [], "MMD²": []}
    for _ in range(REPEATS):
        galaxy = rng.normal(0, 1, (60, 5)) * paired
        points = np.r_[galaxy + rng.normal(0, 1, (60, 5)), galaxy + rng.normal(0, 1, (60, 5))]
        labels = shuffles(60, 60, 199, rng, paired)
        for name, alike in similarities(points).items():
            drawn = discrepancy(alike, labels)
            found[name].append((drawn >= drawn[0] - 1e-12).mean())
    for name, p in found.items():
        assert uniform(np.array(p) - 0.5 / 200) > 0.01, name
        assert abs(np.mean(np.array(p) <= 0.05) - 0.05) < 0.045, name


def test_no_shift_gives_uniform_p_for_the_classifier():
    rng = np.random.default_rng(13)
    p = [
        classifier_auc(rng.normal(0, 1, (80, 4)), rng.normal(0, 1, (80, 4)), rng)["p"] for _ in range(REPEATS)
    ]
    assert uniform(p) > 0.01


def test_no_shift_gives_uniform_p_for_columns():
    rng, p, pairs = np.random.default_rng(14), [], []
    for _ in range(REPEATS):
        a, b = (pd.DataFrame({"x": rng.normal(0, 1, 400)}) for _ in range(2))
        p.append(column_shift(a, b, resamples=10).p[0])
        pairs.append(paired_shift(a, b, resamples=10).p[0])
    assert uniform(p) > 0.01 and uniform(pairs) > 0.01


@pytest.mark.parametrize("size", [0.1, 0.5, 1.0])
def test_an_injected_shift_is_in_its_interval(size):
    rng, held = np.random.default_rng(25), []
    for _ in range(REPEATS):
        a, b = (
            pd.DataFrame({"x": rng.normal(5, 2, 150)}),
            pd.DataFrame({"x": rng.normal(5 + 2 * size, 2, 150)}),
        )
        row = column_shift(a, b, resamples=500).iloc[0]
        held.append(row.lower < size < row.upper)
    assert 0.90 <= np.mean(held) <= 0.99


def test_the_auc_of_a_shift_is_in_its_interval():
    rng, best, held = np.random.default_rng(16), stats.norm.cdf(1 / np.sqrt(2)), []
    for _ in range(100):
        told = classifier_auc(rng.normal(0, 1, (400, 1)), rng.normal(1, 1, (400, 1)), rng)
        held.append(told["lower"] < best < told["upper"])
    assert np.mean(held) >= 0.89


def test_false_discoveries_stay_below_one_in_twenty():
    rng, alarms = np.random.default_rng(17), []
    for _ in range(REPEATS):
        a, b = (pd.DataFrame(rng.normal(0, 1, (100, 20))) for _ in range(2))
        alarms.append((column_shift(a, b, resamples=2).q < 0.05).any())
    assert np.mean(alarms) < 0.09


def test_a_paired_shift_is_found_where_an_unpaired_one_is_not():
    rng = np.random.default_rng(18)
    galaxy = rng.normal(0, 1, (150, 6))
    moved = galaxy + rng.normal(0, 0.2, galaxy.shape) + [0.15, 0, 0, 0, 0, 0]
    tables = {
        paired: set_shift(galaxy, moved, paired, dims=6, permutations=300).set_index("statistic")
        for paired in (False, True)
    }
    assert tables[True].p["energy distance"] < 0.01 < tables[False].p["energy distance"]


def test_scores_over_different_answers_are_refused():
    """The first predecessor compared 74 outputs on SDSS with 9 answers on another survey."""
    outputs = [
        f"{answer}{kind}" for answer in SCHEMAS["gz2"].answers for kind in ("_fraction", "_weighted_fraction")
    ]
    with pytest.raises(BadInput, match="74 for sdss, 9 for ukidss"):
        same_answers(sdss=outputs, ukidss=[f"{answer}_fraction" for answer in CORE[:9]])
    assert same_answers(sdss=CORE, ukidss=CORE) == list(CORE)


def test_every_crosswalk_is_whole_and_the_same_both_ways():
    """All pairs of campaigns share measures, made of answers that each has; their order does not matter."""
    for a in CAMPAIGNS:
        for b in CAMPAIGNS:
            for m in crosswalk(a, b):
                assert set(m.weights[0]) <= set(a.answers) and set(m.weights[1]) <= set(b.answers)
                assert all(set(m.among[side]) <= set(s.answers) for side, s in enumerate((a, b)))
                assert all(0 <= w <= 1 for side in m.weights for w in side.values())
                assert set(m.weights[0]) <= set(m.among[0]) and set(m.weights[1]) <= set(m.among[1])
            assert [m.name for m in crosswalk(a, b)] and {m.name for m in crosswalk(a, b)} == {
                m.name for m in crosswalk(b, a)
            }
