"""Scores against independent implementations: scikit-learn, scipy, and loops over galaxies."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy import special, stats
from sklearn import metrics as sk

from galaxy_sommelier.catalog.classes import CLASSES
from galaxy_sommelier.catalog.gz2 import read_kaggle
from galaxy_sommelier.catalog.schema import GZ2, kaggle_form
from galaxy_sommelier.catalog.table import fractions_of
from galaxy_sommelier.core.files import BadInput
from galaxy_sommelier.data.store import Store, write_store
from galaxy_sommelier.evaluation.evaluate import evaluate_file, readable, stage_table
from galaxy_sommelier.evaluation.intervals import (
    bootstrap,
    interval,
    intervals,
    leave_one_out,
    mean_of_shares,
    spread,
    too_few,
    wilson,
)
from galaxy_sommelier.evaluation.metrics import (
    align,
    class_scores,
    classes_report,
    compare,
    kaggle_headline,
    kaggle_moments,
    moments,
    people,
    per_answer,
    reached,
    smooth_featured,
    spearman,
    summarise,
    training_mean,
    versus,
)
from galaxy_sommelier.evaluation.predecessors import (
    expect_zero_filled,
    key_features,
    pooled_scores,
    predecessor,
    results_table,
    second_predecessor,
    write_results,
)
from galaxy_sommelier.evaluation.scores import per_question, scores, vote_log_probability

ANSWERS = len(GZ2.answers)


def headline(pred, true):
    """The three headline numbers of conditional fractions."""
    return kaggle_headline(kaggle_moments(pred, true).sum(0))


def kaggle_rmse(pred, true):
    return headline(pred, true)["kaggle_rmse"]


def kaggle_mae(pred, true):
    return headline(pred, true)["kaggle_mae"]


def mean_r(pred, true):
    return headline(pred, true)["mean_r"]


def random_fractions(n, seed, sharpness=1.0):
    """Conditional fractions, a Dirichlet draw for each question."""
    rng = np.random.default_rng(seed)
    parts = [rng.dirichlet(np.full(s.stop - s.start, sharpness), n) for s in GZ2.slices.values()]
    return np.concatenate(parts, axis=1)


def walk_votes(fractions, volunteers, seed):
    """Volunteers walk the tree, galaxy by galaxy: counts, and fractions with NaN where nobody was asked."""
    rng = np.random.default_rng(seed)
    votes, shares = np.zeros(fractions.shape, dtype=int), np.full(fractions.shape, np.nan)
    for i in range(len(fractions)):
        given = {}
        for question in GZ2.questions:
            came = sum(given[a] for a in question.asked_after) if question.asked_after else volunteers
            part = GZ2.slices[question.name]
            p = fractions[i, part] / fractions[i, part].sum()
            votes[i, part] = rng.multinomial(came, p)
            given |= dict(zip(question.columns, votes[i, part].tolist(), strict=True))
            if came:
                shares[i, part] = votes[i, part] / came
    return votes, shares


@pytest.fixture(scope="module")
def galaxies():
    """Predicted fractions, votes and vote fractions of 400 galaxies, some questions unreached or unknown."""
    p = random_fractions(400, 0)
    votes, true = walk_votes(p, 12, 1)
    # unknown, although volunteers were asked
    true[np.random.default_rng(2).random(400) < 0.05, GZ2.slices["bar"]] = np.nan
    assert np.isnan(true).mean() > 0.1
    return 0.6 * p + 0.4 * random_fractions(400, 3), votes, true


def by_hand(pred, true):
    """Mean error, RMSE, r and R² of two lists, by scikit-learn and scipy."""
    return {
        "mae": sk.mean_absolute_error(true, pred),
        "rmse": sk.root_mean_squared_error(true, pred),
        "r": stats.pearsonr(pred, true)[0],
        "r2": sk.r2_score(true, pred),
    }


def test_per_answer_against_sklearn(galaxies):
    pred, _, true = galaxies
    table = per_answer(pred, true).set_index("answer")
    for j, answer in enumerate(GZ2.answers):
        use = [
            i for i in range(len(true)) if asked_by_hand(true[i], answer) >= 0.5 and np.isfinite(true[i, j])
        ]
        assert table.n[answer] == len(use)
        if len(use) > 2:
            for name, value in by_hand(pred[use, j], true[use, j]).items():
                assert table.loc[answer, name] == pytest.approx(value, abs=1e-9), (answer, name)


def awkward(seed, n=40):
    """A random table of four columns with ties and NaN; one column with one row, one with none."""
    rng = np.random.default_rng(seed)
    true = rng.random((n, 4)).round(1)
    pred = (0.5 * true + 0.5 * rng.random((n, 4))).round(1)
    true[rng.random(true.shape) < 0.2] = np.nan
    true[1:, 2], true[:, 3] = np.nan, np.nan
    true[0, 2] = 0.4
    return pred, true


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.filterwarnings("ignore::scipy.stats.ConstantInputWarning")
def test_scores_of_awkward_tables_against_scipy(seed):
    pred, true = awkward(seed)
    mask = np.random.default_rng(seed + 100).random(true.shape) < 0.9
    mask[0, 2] = True
    got, ranks = summarise(moments(pred, true, mask).sum(0)), spearman(pred, true, mask)
    for j in range(2):
        use = mask[:, j] & np.isfinite(true[:, j])
        assert got["n"][j] == use.sum()
        for name, value in by_hand(pred[use, j], true[use, j]).items():
            assert got[name][j] == pytest.approx(value, abs=1e-10)
        assert ranks[j] == pytest.approx(stats.spearmanr(pred[use, j], true[use, j]).statistic, abs=1e-10)
    assert got["n"][2] == 1 and got["mae"][2] == pytest.approx(abs(pred[0, 2] - 0.4))
    assert np.isnan([got["r"][2], got["r2"][2], ranks[2]]).all()
    assert got["n"][3] == 0 and np.isnan([got["mae"][3], got["rmse"][3], got["r"][3], ranks[3]]).all()


def test_spearman_of_a_constant_is_zero_and_of_nothing_nan():
    x = np.arange(5.0)[:, None]
    assert spearman(np.ones_like(x), x)[0] == 0 and spearman(x**3, x)[0] == pytest.approx(1)
    assert np.isnan(spearman(x, np.full_like(x, np.nan))[0])


def test_people_and_reached_by_hand(galaxies):
    _, votes, true = galaxies
    asked, mask = people(votes), reached(true, votes=votes, min_votes=7)
    for i, j in ((0, 0), (5, 9), (17, 30), (200, 36)):
        part = next(s for s in GZ2.slices.values() if s.start <= j < s.stop)
        assert asked[i, j] == votes[i, part].sum()
        assert mask[i, j] == (asked_by_hand(true[i], GZ2.answers[j]) >= 0.5 and asked[i, j] >= 7)


def asked_by_hand(row, answer):
    """Return the share of volunteers who reached the question of an answer, by walking up the tree."""
    question = next(q for q in GZ2.questions if answer in q.columns)
    if not question.asked_after:
        return 1.0
    total = 0.0
    for parent in question.asked_after:
        came = asked_by_hand(row, parent)
        total += came * row[GZ2.index(parent)] if came > 0 else 0.0
    return total


def test_kaggle_headline_against_loops(galaxies):
    pred, _, true = galaxies
    p, t = kaggle_form(pred), kaggle_form(true)
    known = np.isfinite(t)
    assert known.mean() < 1  # the unknown bars stay unknown
    assert kaggle_rmse(pred, true) == pytest.approx(sk.root_mean_squared_error(t[known], p[known]))
    assert kaggle_mae(pred, true) == pytest.approx(sk.mean_absolute_error(t[known], p[known]))
    each = [stats.pearsonr(p[known[:, j], j], t[known[:, j], j])[0] for j in range(ANSWERS)]
    assert mean_r(pred, true) == pytest.approx(np.mean(each))


def test_float32_scores_are_those_of_float64(galaxies):
    pred, _, true = galaxies
    assert kaggle_rmse(pred.astype("f4"), true.astype("f4")) == pytest.approx(
        kaggle_rmse(pred, true), abs=1e-6
    )
    assert mean_r(pred.astype("f4"), true.astype("f4")) == pytest.approx(mean_r(pred, true), abs=1e-5)


def test_a_constant_has_r_zero_and_a_constant_truth_none():
    x = np.linspace(0, 1, 50)[:, None]
    still, flat = np.full_like(x, 0.3), np.full_like(x, 0.7)
    assert summarise(moments(still, x).sum(0))["r"][0] == 0
    assert np.isnan(summarise(moments(x, flat).sum(0))["r"][0]) and np.isnan(
        summarise(moments(x, flat).sum(0))["r2"][0]
    )
    assert summarise(moments(np.full_like(x, x.mean()), x).sum(0))["r2"][0] == pytest.approx(0)
    assert summarise(moments(1 - x, x).sum(0))["r2"][0] < 0  # r**2 would be 1


def test_a_nan_prediction_is_detected():
    true = np.array([[0.1], [0.9], [np.nan]])
    assert np.isnan(summarise(moments(np.array([[0.1], [np.nan], [0.5]]), true).sum(0))["rmse"][0])
    assert summarise(moments(np.array([[0.1], [0.9], [np.nan]]), true).sum(0))["rmse"][0] == 0


def test_bootstrap_is_what_resampling_rows_gives(galaxies):
    pred, _, true = galaxies
    found = bootstrap(kaggle_headline, kaggle_moments(pred, true), resamples=30, seed=7)
    rng = np.random.default_rng(7)
    for b in range(30):
        rows = rng.integers(0, len(true), len(true))
        assert found["kaggle_rmse"][b] == pytest.approx(kaggle_rmse(pred[rows], true[rows]), abs=1e-10)
        assert found["mean_r"][b] == pytest.approx(mean_r(pred[rows], true[rows]), abs=1e-8)


def test_intervals_cover_the_truth():
    """The 95 % interval of a mean holds the true mean about 95 times of 100."""
    held = 0
    for seed in range(200):
        x = np.random.default_rng(seed).exponential(1.0, 150)
        low, high = interval(bootstrap(lambda s: {"mean": s[:, 0] / 150}, x[:, None], 300, seed)["mean"])
        held += low < 1.0 < high
    assert 0.88 <= held / 200 <= 0.99


def test_intervals_agree_with_scipy(galaxies):
    pred, _, true = galaxies
    error = np.abs(pred[:, 0] - true[:, 0])
    theirs = stats.bootstrap(
        (error,), np.mean, n_resamples=4000, method="percentile", rng=0
    ).confidence_interval
    ours = interval(bootstrap(lambda s: {"mean": s / len(error)}, error[:, None], 4000)["mean"])
    assert [float(x[0]) for x in ours] == pytest.approx(list(theirs), abs=0.002)


def test_intervals_of_a_mean_agree_with_scipy(galaxies):
    """BCa and Student's t, which is 1.98 for 400 galaxies without outliers."""
    pred, _, true = galaxies
    error = np.abs(pred[:, 0] - true[:, 0])
    bca = stats.bootstrap((error,), np.mean, n_resamples=4000, method="BCa", rng=0).confidence_interval
    t = stats.t.interval(0.95, len(error) - 1, error.mean(), stats.sem(error))
    ours = intervals(lambda s: {"mean": s / len(error)}, error[:, None], 4000)["mean"]
    assert [float(x[0]) for x in ours] == pytest.approx(list(bca), abs=0.002)
    assert [float(x[0]) for x in ours] == pytest.approx(t, abs=0.001)


def scores_of_three(sums):
    """RMSE, r and MAE from sums of `moments`."""
    found = summarise(sums[..., None])
    return {"kaggle_rmse": found["rmse"][..., 0], "r": found["r"][..., 0], "mae": found["mae"][..., 0]}


@pytest.mark.parametrize("size", [60, 200])
def test_intervals_hold_where_percentiles_are_too_narrow(size):
    """95 % of test sets of heavy-tailed errors: 300 of them, so that chance is 0.013."""
    rng = np.random.default_rng(7)
    true = rng.beta(0.5, 2, (20_000, 1))
    every = moments(true + 0.05 * rng.standard_t(5, true.shape), true)[:, :, 0]
    truth = {name: float(v[0]) for name, v in scores_of_three(every.sum(0)[None]).items()}
    held = dict.fromkeys([(kind, name) for kind in ("percentile", "ours") for name in truth], 0)
    for seed in range(300):
        parts = every[rng.integers(0, len(every), size)]
        plain = {name: interval(v) for name, v in bootstrap(scores_of_three, parts, 200, seed).items()}
        for kind, ends in (("percentile", plain), ("ours", intervals(scores_of_three, parts, 200, seed))):
            for name, (low, high) in ends.items():
                held[kind, name] += bool(low <= truth[name] <= high)
    shares = {key: count / 300 for key, count in held.items()}
    for name in truth:
        assert 0.92 <= shares["ours", name] <= 0.985, shares
    assert size > 60 or shares["percentile", "kaggle_rmse"] < 0.91, shares


def test_too_few_galaxies_have_no_interval_and_a_reason(galaxies):
    pred, votes, true = galaxies
    for n, printed in ((29, False), (30, True)):
        got = scores(pred[:n], true[:n], resamples=50)
        assert (got["kaggle_rmse_lower"] is not None) is printed
        assert ("kaggle_rmse_no_interval" in got) is not printed
    assert got["mean_r_no_interval"] == too_few("mean_r", 30) == "too few galaxies: needs 500 or more"
    rows = per_answer(pred, true, votes=votes, resamples=50).set_index("answer")
    assert not (rows.rmse_lower.notna() & (rows.n < 60)).any() and rows.rmse_lower.notna().any()
    assert not (rows.mae_lower.notna() & (rows.n < 30)).any() and (rows.n[rows.mae_lower.isna()] < 30).all()


def test_the_balanced_accuracy_holds_with_a_rare_class():
    """Classes of 80, 15 and 5 per cent, recalled in 9, 8 and 7 of 10."""
    rng, recall, share = np.random.default_rng(0), np.array([0.9, 0.8, 0.7]), [0.8, 0.15, 0.05]
    held = []
    for _ in range(1000):
        counts = rng.multinomial(100, share)
        low, high = mean_of_shares(rng.binomial(counts, recall), counts)
        held.append(np.nan if np.isnan(low) else low <= recall.mean() <= high)
    assert 0.93 <= np.nanmean(held) <= 0.97 and np.isnan(held).mean() < 0.02
    assert mean_of_shares([7], [9]) == pytest.approx(wilson(7, 9))
    assert np.isnan(mean_of_shares([1, 0], [2, 0])).all()


def test_a_score_without_scatter_has_an_interval_without_width():
    low, high = intervals(lambda s: {"share": s / 30}, np.ones((30, 1)), 100)["share"]
    assert low == high == 1
    low, high = intervals(lambda s: {"none": s * np.nan}, np.ones((30, 1)), 100)["none"]
    assert np.isnan(low) and np.isnan(high)


def test_wilson_against_scipy():
    for k, n in ((0, 2), (1, 17), (22, 141), (283, 795), (5, 5)):
        theirs = stats.binomtest(k, n).proportion_ci(method="wilson")
        assert wilson(k, n) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert np.isnan(wilson(0, 0)).all()


@pytest.mark.parametrize("seed", range(5))
def test_classes_report_against_sklearn(seed):
    rng = np.random.default_rng(seed)
    true = rng.choice(CLASSES, 80, p=[0.15, 0.01, 0.04, 0.8]).tolist()
    pred = np.where(rng.random(80) < 0.5, true, rng.choice(CLASSES, 80)).tolist()
    got = classes_report(true, pred)
    assert got["confusion"] == sk.confusion_matrix(true, pred, labels=CLASSES).tolist()
    assert got["accuracy"] == pytest.approx(sk.accuracy_score(true, pred))
    assert got["mcc"] == pytest.approx(sk.matthews_corrcoef(true, pred))
    seen = [c for c in CLASSES if c in true]
    assert got["balanced_accuracy"] == pytest.approx(
        sk.recall_score(true, pred, labels=seen, average="macro")
    )
    # over classes that are true or predicted
    assert got["macro_f1"] == pytest.approx(sk.f1_score(true, pred, average="macro"))
    recall = sk.recall_score(true, pred, labels=CLASSES, average=None, zero_division=np.nan)
    precision = sk.precision_score(true, pred, labels=CLASSES, average=None, zero_division=np.nan)
    rows = pd.DataFrame(got["per_class"]).astype({"recall": float, "precision": float})
    np.testing.assert_allclose(rows.recall, recall)
    np.testing.assert_allclose(rows.precision, precision)
    assert got["majority"] == max(true.count(c) for c in CLASSES) / 80


@pytest.mark.parametrize("seed", range(5))
def test_class_scores_of_many_matrices_against_sklearn(seed):
    rng = np.random.default_rng(seed)
    true, pred = rng.integers(0, 3, (2, 20, 12))  # twenty tables of twelve galaxies; a class may be missing
    matrices = np.stack([sk.confusion_matrix(t, p, labels=range(3)) for t, p in zip(true, pred, strict=True)])
    got = class_scores(matrices)
    for i, (t, p) in enumerate(zip(true, pred, strict=True)):
        assert got["accuracy"][i] == pytest.approx(sk.accuracy_score(t, p))
        assert got["mcc"][i] == pytest.approx(sk.matthews_corrcoef(t, p))
        assert got["macro_f1"][i] == pytest.approx(sk.f1_score(t, p, average="macro"))
        assert got["balanced_accuracy"][i] == pytest.approx(
            sk.recall_score(t, p, labels=np.unique(t), average="macro")
        )
    assert np.isnan(list(class_scores(np.zeros((3, 3))).values())).all()


def test_per_question_against_sklearn_and_loops(galaxies):
    pred, votes, true = galaxies
    table = per_question(pred, true, training_mean(true), votes=votes).set_index("question")
    for question, part in GZ2.slices.items():
        use = [
            i
            for i in range(len(true))
            if asked_by_hand(true[i], GZ2.answers[part.start]) >= 0.5
            and np.isfinite(true[i, part]).all()
            and votes[i, part].sum() >= 2
        ]
        row = table.loc[question]
        assert row.n == len(use)
        if use:
            winners = [[int(np.argmax(x[i, part])) for i in use] for x in (true, pred)]
            assert row.accuracy == pytest.approx(sk.accuracy_score(*winners))
            assert row.mcc == pytest.approx(sk.matthews_corrcoef(*winners))
            assert row.majority == pytest.approx(np.bincount(winners[0]).max() / len(use))
            assert row.accuracy_lower <= row.accuracy <= row.accuracy_upper


def test_per_question_with_no_galaxy_at_all():
    true = np.full((3, ANSWERS), np.nan)
    table = per_question(random_fractions(3, 0), true, np.full(ANSWERS, 0.5))
    assert (table.n == 0).all() and table.accuracy.isna().all()


def test_vote_log_probability_against_scipy(galaxies):
    pred, votes, _ = galaxies
    got = vote_log_probability(pred, votes)
    for q, part in enumerate(GZ2.slices.values()):
        n = votes[:, part].sum(1)
        p = pred[:, part] / pred[:, part].sum(1, keepdims=True)
        coefficients = special.gammaln(n + 1) - special.gammaln(votes[:, part] + 1).sum(1)
        theirs = [
            stats.multinomial.logpmf(k, m, w) for k, m, w in zip(votes[:, part], n, p, strict=True)
        ] - coefficients
        np.testing.assert_allclose(got[:, q], theirs, atol=1e-8)
    impossible = np.where(votes[:1] > 0, 0.0, pred[:1])
    assert vote_log_probability(impossible, votes[:1])[0, 0] == -np.inf


def test_compare_is_the_bootstrap_of_the_difference(galaxies):
    pred, _, true = galaxies
    other = 0.5 * pred + 0.5 * random_fractions(len(true), 8)
    parts = [kaggle_moments(x, true) for x in (pred, other)]
    found = compare(kaggle_headline, *parts, resamples=40, seed=3)["kaggle_rmse"]
    rng, differences = np.random.default_rng(3), []
    for _ in range(40):
        rows = rng.integers(0, len(true), len(true))
        differences.append(kaggle_rmse(other[rows], true[rows]) - kaggle_rmse(pred[rows], true[rows]))
    left = leave_one_out(lambda sums: {"difference": np.diff(kaggle_headline(sums)["kaggle_rmse"])[:, 0]},
                         np.stack(parts, axis=1))  # fmt: skip
    error, freedom = spread(left["difference"])
    middle, half = 2 * found["difference"] - np.mean(differences), stats.t.ppf(0.975, freedom) * error
    assert (found["lower"], found["upper"]) == pytest.approx((middle - half, middle + half), abs=1e-9)
    assert found["difference"] == pytest.approx(kaggle_rmse(other, true) - kaggle_rmse(pred, true))
    same = compare(kaggle_headline, parts[0], parts[0], resamples=20)["mean_r"]
    assert same["lower"] == same["difference"] == same["upper"] == 0
    with pytest.raises(BadInput, match="399 galaxies"):
        compare(kaggle_headline, parts[0][1:], parts[1])


def test_equal_models_rarely_differ_significantly():
    """Two equally good models: the 95 % interval of the difference excludes zero about 5 times in 100."""
    wrong = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        true, shared = rng.random((150, 1)), rng.normal(0, 0.1, (150, 1))
        first, second = (moments(true + shared + rng.normal(0, 0.05, (150, 1)), true) for _ in range(2))
        found = compare(lambda s: {"rmse": summarise(s)["rmse"]}, first, second, 200, seed)["rmse"]
        wrong += not found["lower"][0] <= 0 <= found["upper"][0]
    assert 0.01 <= wrong / 200 <= 0.11


def test_classes_report_refuses_unknown_and_unequal():
    with pytest.raises(BadInput, match="elliptical"):
        classes_report(["spiral"], ["elliptical"])
    with pytest.raises(BadInput, match="2 true, 1 predicted"):
        classes_report(["spiral", "smooth"], ["spiral"])
    with pytest.raises(BadInput):
        classes_report([], [])


def test_smooth_featured_by_hand(galaxies):
    pred, _, true = galaxies
    right = sum((p[0] > p[1]) == (t[0] > t[1]) for p, t in zip(pred, true, strict=True))
    assert smooth_featured(pred, true)["correct"] == right


def test_training_mean_is_the_mean_of_the_kaggle_columns(galaxies):
    _, votes, true = galaxies
    complete = np.isfinite(kaggle_form(true)).all(1)
    mean = training_mean(true[complete])
    np.testing.assert_allclose(kaggle_form(mean[None])[0], kaggle_form(true[complete]).mean(0), atol=2e-3)
    totals = {q: votes[complete][:, s].sum() for q, s in GZ2.slices.items()}
    # a mean over all volunteers
    for question in ("disk-edge-on", "how-rounded", "spiral-winding"):
        part = GZ2.slices[question]
        np.testing.assert_allclose(mean[part], votes[complete][:, part].sum(0) / totals[question], atol=1e-9)


def test_no_constant_beats_the_training_mean_on_its_own_galaxies(galaxies):
    _, _, true = galaxies
    true = true[np.isfinite(kaggle_form(true)).all(1)]
    best = kaggle_rmse(np.broadcast_to(training_mean(true), true.shape), true)
    for seed in range(20):
        other = random_fractions(1, seed, sharpness=5)
        assert kaggle_rmse(np.broadcast_to(other, true.shape), true) > best


def test_reached_treats_nan_as_not_reached():
    true = random_fractions(1, 6)
    true[0, GZ2.slices["smooth-or-featured"]] = np.nan
    asked = reached(true)
    assert asked[0, 0] and not asked[0, 3:].any()


def test_pooled_scores_against_numpy(galaxies):
    pred, _, true = galaxies
    zero = np.nan_to_num(true)
    got = pooled_scores(pred, zero)
    r = np.corrcoef(pred.ravel(), zero.ravel())[0, 1]
    assert got["pooled_r (predecessor)"] == pytest.approx(r)
    assert got["r_squared (predecessor, r**2)"] == pytest.approx(r**2)
    assert got["r_squared (predecessor, r**2)"] != pytest.approx(
        sk.r2_score(zero.ravel(), pred.ravel()), abs=1e-3
    )
    assert got["pooled_mae (predecessor)"] == pytest.approx(np.abs(pred - zero).mean())
    first = np.mean([np.argmax(p[:3]) == np.argmax(t[:3]) for p, t in zip(pred, zero, strict=True)])
    assert got["main_accuracy (predecessor, first three columns)"] == pytest.approx(first)


def test_predecessor_takes_74_columns_in_the_published_order(galaxies):
    pred, _, true = galaxies
    weighted = np.clip(np.nan_to_num(true) + np.random.default_rng(0).normal(0, 0.01, true.shape), 0, 1)
    guess, target = np.empty((len(true), 2 * ANSWERS)), np.empty((len(true), 2 * ANSWERS))
    guess[:, ::2] = guess[:, 1::2] = expect_zero_filled(pred)
    target[:, ::2], target[:, 1::2] = np.nan_to_num(true), weighted
    got = predecessor(pred, true, weighted=weighted)
    for name, value in pooled_scores(guess, target).items():
        assert got[name]["value"] == pytest.approx(value)
    main = got["main_accuracy (predecessor, first three columns)"]
    assert (
        main["honest"] == "smooth_featured_accuracy"
        and main["honest_value"] == smooth_featured(pred, true)["accuracy"]
    )


def test_pooled_r_of_a_constant_is_the_root_of_the_variance_between_columns(galaxies):
    pred, _, true = galaxies
    got, zero = predecessor(pred, true)["pooled_r (predecessor)"], np.nan_to_num(true)
    assert got["constant"] ** 2 == pytest.approx(zero.mean(0).var() / zero.var())
    assert got["honest"] == "mean_r" and got["honest_value"] == pytest.approx(mean_r(pred, true))


def test_expect_zero_filled_is_the_mean_of_zero_filled_votes():
    p = np.repeat(random_fractions(1, 11), 4000, axis=0)
    _, true = walk_votes(p, 5, 12)
    np.testing.assert_allclose(
        expect_zero_filled(p[:1], volunteers=5)[0], np.nan_to_num(true).mean(0), atol=0.025
    )


def test_key_features_give_the_r_of_all_and_of_the_asked(galaxies):
    pred, _, true = galaxies
    table = key_features(pred, true, per_answer(pred, true)).set_index("feature")
    j = GZ2.index("bar_yes")
    everybody = stats.pearsonr(expect_zero_filled(pred)[:, j], np.nan_to_num(true)[:, j])[0]
    assert table.loc["bar", "r (predecessor)"] == pytest.approx(everybody)
    use = reached(true)[:, j] & np.isfinite(true[:, j])
    assert table.loc["bar", "r"] == pytest.approx(stats.pearsonr(pred[use, j], true[use, j])[0])


def test_second_predecessor_reproduces_its_published_numbers():
    right = {"edge_on": (22, 141), "featured": (0, 2), "smooth": (1, 17), "spiral": (283, 795)}
    answer = [name for name, (_, n) in right.items() for _ in range(n)]
    predicted = [
        name if i < k else CLASSES[CLASSES.index(name) - 1]
        for name, (k, n) in right.items()
        for i in range(n)
    ]
    got = second_predecessor(results_table([str(i) for i in range(955)], answer, predicted), missing=45)
    assert got["total (predecessor)"] == 955 and got["correct (predecessor)"] == 306
    assert got["per_class_accuracy (predecessor)"]["edge_on"] == "15.60% (22/141)"
    assert round(100 * got["accuracy (predecessor)"], 2) == 32.04 and got["majority_class"] == "spiral"
    assert got["balanced_accuracy"] < 0.25 and got["missing_images"] == 45


def test_results_are_the_same_bytes_and_keep_long_ids(tmp_path):
    table = results_table(
        ["gz2-587722981741363294", "587741490367889543"], ["spiral", "smooth"], ["spiral", "spiral"]
    )
    first, second = (write_results(table, tmp_path / name).read_bytes() for name in ("a.csv", "b.csv"))
    assert first == second
    assert (
        first
        == b"ID,answer,model_answer,TRUE/FALSE\n"
        b"587722981741363294,spiral,spiral,TRUE\n587741490367889543,smooth,spiral,FALSE\n"
    )
    assert pd.read_csv(tmp_path / "a.csv", dtype=str, keep_default_na=False).equals(table)


def as_tables(pred, true):
    ids = [f"kaggle-{i}" for i in range(len(true))]
    return (pd.DataFrame(x, columns=GZ2.columns).assign(id_str=ids) for x in (pred, true))


def test_align_brings_the_same_galaxies_together(galaxies):
    pred, _, true = galaxies
    predictions, table = as_tables(pred, true)
    for shuffled in (table, table.sample(frac=1, random_state=1)):
        p, t = align(predictions, shuffled)
        np.testing.assert_array_equal(p, pred)
        np.testing.assert_array_equal(t, true)


def test_align_refuses_what_does_not_fit(galaxies):
    pred, _, true = galaxies
    predictions, table = as_tables(pred, true)
    with pytest.raises(BadInput, match="no prediction for 1 "):
        align(predictions.iloc[1:], table)
    with pytest.raises(BadInput, match="no votes for 2 "):
        align(predictions, table.iloc[2:])
    with pytest.raises(BadInput, match="is duplicated"):
        align(pd.concat([predictions, predictions.iloc[:1]]), table)
    with pytest.raises(BadInput, match="bar_yes_fraction"):
        align(predictions.drop(columns="bar_yes_fraction"), table)
    with pytest.raises(BadInput, match="a fraction is no number"):
        align(predictions.assign(bar_yes_fraction="x"), table)
    with pytest.raises(BadInput, match=r"1 galaxy \(kaggle-3\) has a fraction that is NaN"):
        align(
            predictions.assign(bar_yes_fraction=predictions.bar_yes_fraction.mask(predictions.index == 3)),
            table,
        )


def test_scores_are_json_and_repeat(galaxies):
    pred, votes, true = galaxies
    ids = [str(i) for i in range(len(true))]
    one, two = (scores(pred, true, votes=votes, ids=ids, resamples=50) for _ in range(2))
    assert json.dumps(one, allow_nan=False) == json.dumps(two, allow_nan=False)
    assert one["kaggle_rmse"] == pytest.approx(kaggle_rmse(pred, true))
    assert one["kaggle_rmse_lower"] < one["kaggle_rmse"] < one["kaggle_rmse_upper"]
    assert (
        one["mean_r_constant"] == 0
        and one["smooth_featured_accuracy_constant"] == one["smooth_featured"]["majority"]
    )
    assert len(one["per_answer"]) == ANSWERS and len(one["key_features"]) == 6


def test_scores_with_votes_have_floors_and_skill(galaxies):
    pred, votes, true = galaxies
    got = scores(pred, true, votes=votes, resamples=20)
    for name in ("kaggle_rmse", "kaggle_mae"):
        assert got[f"{name}_floor"] < got[name] < got[f"{name}_constant"]
        share = (got[f"{name}_constant"] - got[name]) / (got[f"{name}_constant"] - got[f"{name}_floor"])
        assert name == "kaggle_mae" or got[f"{name}_skill"] == pytest.approx(share)
    assert {"floor_rmse", "skill_rmse", "skill_rmse_lower"} <= set(
        got["per_answer"][0]
    ) and "skill_accuracy" in got["per_question"][0]
    without = scores(pred, true, resamples=20)
    assert "kaggle_rmse_floor" not in without and "floor_rmse" not in without["per_answer"][0]


def test_versus_does_not_depend_on_the_order(galaxies):
    pred, _, true = galaxies
    predictions, table = as_tables(pred, true)
    worse = predictions.copy()
    worse[GZ2.columns] = 0.5 * pred + 0.5 * random_fractions(len(true), 8)
    got = versus(predictions, worse.sample(frac=1, random_state=2), table, resamples=30)
    assert got.loc["kaggle_rmse", "second"] == pytest.approx(kaggle_rmse(worse[GZ2.columns].to_numpy(), true))
    assert got.loc["kaggle_rmse", "lower"] > 0


def test_stage_table_shows_the_constant_first_and_refuses_unlike_tests(galaxies):
    pred, _, true = galaxies
    ids = [str(i) for i in range(len(true))]
    whole = scores(pred, true, ids=ids, resamples=20)
    table = stage_table([("head", whole), ("full", whole)])
    assert table.stage.tolist() == ["training mean", "head", "full"]
    assert table.kaggle_rmse[0] == whole["kaggle_rmse_constant"] and np.isnan(table.kaggle_rmse_lower[0])
    text = readable(table).loc["full"]
    assert text["kaggle_rmse"].startswith(f"{whole['kaggle_rmse']:.3f} [")
    assert text["mean_r"] == f"{whole['mean_r']:.3f}"  # of 400 galaxies: too few for an interval
    with pytest.raises(BadInput, match="different galaxies"):
        stage_table([("head", whole), ("full", scores(pred[1:], true[1:], ids=ids[1:], resamples=20))])


@pytest.fixture(scope="module")
def packed(galaxies, tmp_path_factory):
    """A store of the 400 galaxies, with predictions for them."""
    pred, _, true = galaxies
    predictions, table = as_tables(pred, true)
    images = np.random.default_rng(0).integers(0, 256, (len(table), 16, 16, 3), dtype=np.uint8)
    split = pd.Series(np.repeat(["train", "val", "test"], [250, 50, 100]), index=table.id_str)
    out = tmp_path_factory.mktemp("scores") / "store"
    write_store(
        table.assign(survey="sim", campaign="gz2", ra=np.nan, dec=np.nan), out, images=images, split=split
    )
    return Store(out), predictions


def test_evaluate_file_takes_the_constant_from_training_galaxies(packed, galaxies, tmp_path):
    store, predictions = packed
    pred, _, true = galaxies
    predictions.sample(frac=1, random_state=0).to_parquet(tmp_path / "p.parquet")
    got = evaluate_file(tmp_path / "p.parquet", store.path, split="test", resamples=20)
    assert got["n"] == 100 and got["coverage"] == {"test": {"predicted": 100, "galaxies": 100}}
    assert got["kaggle_rmse"] == pytest.approx(kaggle_rmse(pred[300:], true[300:]), abs=1e-6)
    still = np.broadcast_to(training_mean(true[:250]), true[300:].shape)
    assert got["kaggle_rmse_constant"] == pytest.approx(kaggle_rmse(still, true[300:]), abs=1e-6)
    assert got["constant_from"] == "training galaxies" and got["classes"] is None


def test_evaluate_file_shows_what_was_scored(packed):
    store, predictions = packed
    some = evaluate_file(predictions.iloc[240:310], store, resamples=20)
    assert some["coverage"] == {
        "train": {"predicted": 10, "galaxies": 250},
        "val": {"predicted": 50, "galaxies": 50},
        "test": {"predicted": 10, "galaxies": 100},
    }
    assert evaluate_file(predictions.iloc[:250], store, resamples=20)["constant_from"] == "scored galaxies"


def test_evaluate_file_refuses_what_does_not_fit(packed, tmp_path):
    store, predictions = packed
    with pytest.raises(BadInput, match="no prediction for 1 "):
        evaluate_file(predictions.iloc[:-1], store, split="test")
    with pytest.raises(BadInput, match="no votes for 1 "):
        evaluate_file(predictions.assign(id_str=["kaggle-x", *predictions.id_str[1:]]), store)
    with pytest.raises(BadInput, match="check the name of the file"):
        evaluate_file(tmp_path / "none.parquet", store)
    (tmp_path / "text.parquet").write_text("no table")
    with pytest.raises(BadInput, match="text.parquet"):
        evaluate_file(tmp_path / "text.parquet", store)
    with pytest.raises(BadInput, match="nothing to score"):
        evaluate_file(predictions.iloc[:0], store)


def test_a_galaxy_without_a_predicted_class_counts_as_wrong(packed):
    store, predictions = packed
    got = evaluate_file(predictions.assign(label=None), store, resamples=5)["classes"]
    assert got["accuracy"] == 0 and got["n"] > 100 and got["classes"][-1] == "none"


def test_the_training_mean_on_real_galaxies(kaggle_root):
    """Scores of a constant on the natural test set: the first row of every stage table."""
    table = read_kaggle(kaggle_root / "training_solutions_rev1.csv")
    natural = "kaggle-" + pd.read_csv(kaggle_root / "natural_test_ids.csv", dtype=str).iloc[:, 0]
    true = fractions_of(table)
    test = table.id_str.isin(natural).to_numpy()
    constant = training_mean(true[~test])
    found = scores(np.broadcast_to(constant, true[test].shape), true[test], constant=constant, resamples=20)
    assert found["n"] == len(natural) == 1833
    assert found["kaggle_rmse"] == found["kaggle_rmse_constant"] == pytest.approx(0.1657, abs=2e-4)
    assert found["kaggle_mae"] == pytest.approx(0.1051, abs=2e-4) and found["mean_r"] == 0
    assert found["smooth_featured_accuracy_constant"] == pytest.approx(0.561, abs=1e-3)
    assert found["predecessor"]["pooled_r (predecessor, on Kaggle columns)"]["value"] == pytest.approx(
        0.709, abs=2e-3
    )
    # and again without our code
    raw = pd.read_csv(kaggle_root / "training_solutions_rev1.csv").iloc[:, 1:].to_numpy()
    assert found["kaggle_rmse"] == pytest.approx(
        np.sqrt(((raw[~test].mean(0) - raw[test]) ** 2).mean()), abs=2e-5
    )
