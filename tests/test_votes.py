"""The loss on votes against SciPy, for every campaign's tree, and against an injected strength."""

import numpy as np
import pytest
import torch
from scipy import stats

from galaxy_sommelier.catalog.campaigns import SCHEMAS
from galaxy_sommelier.catalog.schema import GZ2, kaggle_form
from galaxy_sommelier.images.simulation import vote
from galaxy_sommelier.models.losses import (
    concentrations,
    question_nll,
    reach,
    vote_loss,
    vote_nll,
)
from galaxy_sommelier.models.model import tree_softmax


def batch(schema, n=20, volunteers=15, seed=0):
    """Return logits, and votes of volunteers who follow the tree."""
    logits = torch.randn(
        n, len(schema.answers), generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    return logits, torch.tensor(vote(tree_softmax(logits, schema).numpy(), volunteers, seed, schema)).double()


@pytest.mark.parametrize("name", SCHEMAS)
@pytest.mark.parametrize("strength", [0.3, 15.0, 4000.0])
def test_vote_nll_against_scipy(name, strength):
    schema = SCHEMAS[name]
    logits, votes = batch(schema)
    alpha = concentrations(logits, torch.full((len(schema.questions),), strength).log().double(), schema)
    got = vote_nll(alpha, votes, schema).numpy()
    for q, part in enumerate(schema.slices.values()):
        k, a = votes[:, part].numpy().astype(int), alpha[:, part].numpy()
        np.testing.assert_allclose(a.sum(1), strength, rtol=1e-6)
        np.testing.assert_allclose(got[:, q], -stats.dirichlet_multinomial.logpmf(k, a, k.sum(1)), atol=1e-8)
    assert (got[votes[:, schema.slices[schema.question_names[-1]]].sum(1) == 0, -1] == 0).all()


def test_the_probabilities_of_all_votes_sum_to_one():
    part, n = GZ2.slices["smooth-or-featured"], 9
    every = [(a, b, n - a - b) for a in range(n + 1) for b in range(n + 1 - a)]
    votes = torch.zeros(len(every), 37)
    votes[:, part] = torch.tensor(every).float()
    alpha = concentrations(batch(GZ2, 1)[0].repeat(len(every), 1), torch.full((11,), 1.5), GZ2)
    assert torch.exp(-vote_nll(alpha, votes, GZ2)[:, 0]).sum().item() == pytest.approx(1)


@pytest.mark.parametrize("name", ["gz2", "hubble"])
def test_gradients_with_unknown_and_unasked_questions(name):
    schema = SCHEMAS[name]
    logits, votes = batch(schema, 3)
    votes[0, schema.slices["bar"]], votes[1, schema.slices["how-rounded"]] = 0.0, float("nan")
    fractions = votes / schema.spread(schema.sums(votes))
    votes[2] = float("nan")  # this galaxy has only fractions
    strength = torch.full((len(schema.questions),), 2.0, dtype=torch.float64, requires_grad=True)
    logits.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda z, s: vote_loss(z, s, votes, fractions, schema), (logits, strength)
    )
    vote_loss(logits, strength, votes, fractions, schema).backward()
    assert torch.isfinite(logits.grad).all() and not logits.grad[0, schema.slices["bar"]].any()
    assert not logits.grad[1, schema.slices["how-rounded"]].any() and logits.grad[2].any()


def test_mixed_batches_are_the_mean_of_their_galaxies():
    logits, votes = batch(GZ2, 6)
    fractions = votes / GZ2.spread(GZ2.sums(votes))
    votes[::2] = float("nan")
    strength = torch.linspace(0, 4, 11).double()
    alone = [
        vote_loss(logits[i : i + 1], strength, votes[i : i + 1], fractions[i : i + 1], GZ2, worth=7.0)
        for i in range(6)
    ]
    assert vote_loss(logits, strength, votes, fractions, GZ2, worth=7.0).item() == pytest.approx(
        float(sum(alone)) / 6
    )
    soft = 7 * (reach(kaggle_form(fractions[:1]), GZ2) * question_nll(logits[:1], fractions[:1], GZ2)).sum()
    assert alone[0].item() == pytest.approx(soft.item())
    hard = vote_nll(concentrations(logits[1:2], strength, GZ2), votes[1:2], GZ2).sum()
    assert alone[1].item() == pytest.approx(hard.item())


def test_the_injected_strength_is_recovered():
    """Where fractions scatter around the model's with a known strength, the loss has its minimum."""
    rng = np.random.default_rng(0)
    logits, _ = batch(GZ2, 4000, seed=3)
    predicted, part = tree_softmax(logits, GZ2).numpy(), GZ2.slices["smooth-or-featured"]
    real = np.stack([rng.dirichlet(25.0 * p[part]) for p in predicted])
    votes = torch.full((4000, 37), float("nan"))
    votes[:, part] = torch.tensor(rng.multinomial(40, real)).float()
    tried = np.array([10.0, 15, 20, 22, 25, 28, 32, 40, 60])
    costs = [
        vote_loss(
            logits, torch.full((11,), float(np.log(s))), votes, torch.full((4000, 37), float("nan")), GZ2
        ).item()
        for s in tried
    ]
    assert tried[np.argmin(costs)] in (22, 25, 28)


def test_float32_logits_are_precise_enough():
    logits, votes = batch(GZ2)
    strength = torch.full((11,), 8.0)
    exact = vote_nll(concentrations(logits, strength.double(), GZ2), votes, GZ2)
    single = vote_nll(concentrations(logits.float(), strength, GZ2), votes.float(), GZ2)
    torch.testing.assert_close(single, exact, atol=1e-3, rtol=1e-4)
