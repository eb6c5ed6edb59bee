"""One model for two surveys whose volunteers were asked different questions, through the command line."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from commands import refused, sommelier

from galaxy_sommelier.catalog.campaigns import DECALS5, DESI, HUBBLE, SCHEMAS
from galaxy_sommelier.catalog.schema import GZ2, Question, Schema
from galaxy_sommelier.core.files import BadInput, read_json
from galaxy_sommelier.data.dataset import GalaxyDataset
from galaxy_sommelier.data.mixture import (
    MixedStore,
    names_in,
    of_campaign,
    open_store,
    simulated_mix,
    to_union,
    union_schema,
    write_mixed,
)
from galaxy_sommelier.data.store import Store, write_store
from galaxy_sommelier.models.model import load_model, parameter_groups
from galaxy_sommelier.training.settings import make_settings
from galaxy_sommelier.training.stages import make_model
from galaxy_sommelier.training.targets import with_targets
from galaxy_sommelier.training.trainer import ImageTrainer, make_trainer

UNION = union_schema([GZ2, DECALS5])
SMALL = [
    "-p", "image_size", "32", "-p", "epochs", "2", "-p", "batch_size", "16", "-p", "tta", "false",
    "-p", "precision", "fp32"
]


@pytest.fixture(scope="module")
def skies(tmp_path_factory):
    """Two surveys, 200 galaxies each, and their mixture."""
    folder = tmp_path_factory.mktemp("mix") / "skies"
    simulated_mix(folder, n=200, size=32)
    return folder


@pytest.fixture(scope="module")
def run(skies, tmp_path_factory):
    """A small model, trained on the votes of the mixture in a process of its own."""
    out = tmp_path_factory.mktemp("runs") / "full"
    words = [
        "train", skies / "mixed", "--stage", "full", "--backbone", "tiny", "--out", out, *SMALL,
        "-p", "loss", "votes"
    ]
    command = [sys.executable, "-c", "from galaxy_sommelier.cli.main import main; main()", *map(str, words)]
    done = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0 and "../gz2" in done.stdout and "../decals5" in done.stdout, done.stderr
    return out


# from training to scores


def test_a_model_of_the_mixture_is_scored_survey_by_survey(skies, run, tmp_path):
    for name, schema in (("gz2", GZ2), ("decals5", DECALS5)):
        predicted, scores = tmp_path / f"{name}.parquet", tmp_path / f"{name}.json"
        words = "predict", skies / name, "--model", run, "--split", "test", "--out", predicted, "--no-tta"
        code, output = sommelier(*words)
        assert code == 0, output
        table, facts = pd.read_parquet(predicted), pq.read_schema(predicted).metadata
        assert facts[b"schema_fingerprint"].decode() == schema.fingerprint
        assert [c for c in table if c.endswith("_fraction")] == schema.columns
        assert {f"{answer}_{end}" for answer in schema.answers for end in ("lower", "upper")} <= set(table)
        code, output = sommelier("evaluate", predicted, skies / name, "--split", "test", "--out", scores)
        assert code == 0 and "kaggle_rmse" in output, output
        at_once = read_json(run / "metrics.json")["stores"][f"../{name}"]
        assert at_once["ids_sha"] == read_json(scores)["ids_sha"]
        assert np.isclose(at_once["kaggle_rmse"], read_json(scores)["kaggle_rmse"], atol=1e-4)


def test_shards_and_calibration_are_of_the_campaign(skies, run, tmp_path):
    model = tmp_path / "run"
    shutil.copytree(run, model)
    code, output = sommelier("calibrate", model, skies / "decals5", "--split", "test")
    assert code == 0 and (model / "model" / "calibration-decals5.json").exists(), output
    words = "predict", skies / "decals5", "--model", model, "--out", tmp_path / "shards", "--no-tta"
    code, output = sommelier(*words)
    assert code == 0 and len(pd.read_parquet(tmp_path / "shards")) == 200, output
    code, output = sommelier("evaluate", tmp_path / "shards", skies / "decals5", "--split", "test")
    assert code == 0, output


def test_inputs_that_do_not_fit_are_refused(skies, run, tmp_path):
    predicted = tmp_path / "predicted.parquet"
    refused("one by one", "predict", skies / "mixed", "--model", run, "--out", predicted)
    refused("take one of them", "evaluate", run / "predictions.parquet", skies / "mixed")
    refused("another schema", "evaluate", run / "predictions.parquet", skies / "gz2")
    shutil.copytree(skies / "gz2", tmp_path / "copy")
    refused("ids with ", "mix", skies / "gz2", tmp_path / "copy", "--out", tmp_path / "m")
    refused(
        "one of the surveys decals, sdss", "mix", skies / "gz2", skies / "decals5", "--out", tmp_path / "m",
        "--weight", "hst", "2"
    )
    refused(
        "above 0", "mix", skies / "gz2", skies / "decals5", "--out", tmp_path / "m", "--weight", "sdss", "0"
    )
    refused("no such folder", "mix", skies / "gz2", tmp_path / "nowhere", "--out", tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_a_model_of_one_campaign_is_refused_the_votes_of_another(skies, tmp_path):
    plain = [
        "train", skies / "gz2", "--stage", "baseline", "--backbone", "tiny", "--out", tmp_path / "run",
        *SMALL
    ]
    assert sommelier(*plain)[0] == 0
    words = "--model", tmp_path / "run", "--out", tmp_path / "p.parquet", "--no-tta"
    assert sommelier("predict", skies / "decals5", *words)[0] == 0
    refused("another schema", "evaluate", tmp_path / "p.parquet", skies / "decals5")


# which question learns from which campaign


@pytest.mark.parametrize("loss", ["fractions", "votes"])
def test_a_question_learns_from_the_campaigns_that_ask_it(skies, loss, tmp_path):
    mixed = open_store(skies / "mixed")
    settings = make_settings(stage="full", image_size=32, loss=loss)
    model = make_model(mixed, settings).train()
    data = GalaxyDataset(mixed, size=32)
    groups, both = parameter_groups(model, 1e-4, 1e-3), {"train": data, "val": data}
    trainer = make_trainer(ImageTrainer, model, groups, both, mixed.schema, settings, tmp_path)
    for campaign, rows in mixed.table.groupby("campaign").indices.items():
        batch = torch.utils.data.default_collate(data.__getitems__(rows[:60].tolist()))
        model.zero_grad()
        trainer.compute_loss(model, batch, num_items_in_batch=60).backward()
        for question, where in mixed.schema.slices.items():
            asked = mixed.schema.questions[mixed.schema.question_names.index(question)].campaigns or (
                "gz2",
                "decals5",
            )
            moved = float(model.head[-1].weight.grad[where].abs().sum())
            assert (moved > 0) == (campaign in asked), (question, campaign, moved)


def test_weights_go_into_the_loss_or_into_sampling(skies, tmp_path):
    mixed = write_mixed([skies / "gz2", skies / "decals5"], tmp_path / "m", {"decals": 3.0})
    sdss = (mixed.table.survey == "sdss").to_numpy()
    assert np.isclose(mixed.weights.mean(), 1) and np.allclose(
        mixed.weights[~sdss], 3 * mixed.weights[sdss][0]
    )
    assert np.allclose(with_targets(mixed, make_settings(stage="full")).weights, mixed.weights)
    assert np.allclose(with_targets(mixed, make_settings(stage="full", balance="sample")).weights, 1)
    assert np.allclose(
        with_targets(mixed, make_settings(stage="head", balance="sample")).weights, mixed.weights
    )


def test_balance_by_sampling_draws_the_heavy_survey_more_often(skies, tmp_path, monkeypatch):
    from galaxy_sommelier.training import stages as training

    mixed = write_mixed([skies / "gz2", skies / "decals5"], tmp_path / "m", {"decals": 3.0})
    seen = {}
    monkeypatch.setattr(training, "make_trainer", lambda *words: seen.update(weights=words[-1]))
    monkeypatch.setattr(training, "run_trainer", lambda *words: [])
    settings = make_settings(stage="full", image_size=32, balance="sample")
    training.fit_images(make_model(mixed, settings), mixed, settings, tmp_path)
    weighted = seen["weights"]
    plain = open_store(skies / "mixed")
    training.fit_images(make_model(plain, settings), plain, settings, tmp_path)
    decals = (mixed.table.survey == "decals").to_numpy()[mixed.indices("train")]
    ratio = weighted / seen["weights"]
    assert np.allclose(ratio[decals], 1.5) and np.allclose(ratio[~decals], 0.5)


@pytest.mark.parametrize("stage", ["head", "probe", "lora"])
def test_all_stages_take_a_mixture(skies, stage, tmp_path):
    words = [*SMALL, "-p", "smoothing", "2", "-p", "balance", "weight", "-p", "views", "1"]
    code, output = sommelier(
        "train", skies / "mixed", "--stage", stage, "--backbone", "tiny", "--out", tmp_path / stage, *words
    )
    assert code == 0 and load_model(tmp_path / stage).schema == UNION, output


def test_counts_and_fractions_mix(skies, tmp_path):
    """A store with fractions alone keeps them; the other uses its smoothed counts."""
    gz2 = Store(skies / "gz2")
    table = gz2.table.drop(columns=[c for c in gz2.table if c.endswith("votes")])
    write_store(table, tmp_path / "shares", GZ2, np.stack([gz2.image(i) for i in range(len(gz2))]), gz2.split)
    mixed = write_mixed([tmp_path / "shares", skies / "decals5"], tmp_path / "m")
    assert (
        np.isnan(mixed.votes[:200]).all()
        and np.isfinite(mixed.votes[200:, mixed.schema.slices["bar-decals5"]]).all()
    )
    learnt = with_targets(mixed, make_settings(smoothing=5.0)).fractions
    np.testing.assert_array_equal(learnt[:200], mixed.fractions[:200])
    rows = np.intersect1d(mixed.indices("train"), np.arange(200, 400))
    assert np.nanmax(np.abs(learnt - mixed.fractions)[rows]) > 0.01
    assert np.array_equal(np.isnan(learnt), np.isnan(mixed.fractions))
    alone = write_mixed([tmp_path / "shares"], tmp_path / "alone")
    assert alone.votes is None and alone.schema == GZ2
    with pytest.raises(BadInput, match="no numbers of votes"):
        with_targets(alone, make_settings(loss="votes"))


# the union of schemas


@pytest.mark.parametrize(
    "names", [("gz2", "decals5"), ("decals5", "gz2"), ("gz2", "hubble", "candels"), tuple(SCHEMAS)]
)
def test_a_union_holds_each_campaign(names):
    """The shares of volunteers along a campaign's own tree are those along the union's."""
    schemas = [SCHEMAS[name] for name in names]
    union, rng = union_schema(schemas), np.random.default_rng(0)
    fractions = np.concatenate([rng.dirichlet(np.ones(len(q.answers)), 5) for q in union.questions], axis=1)
    table = pd.DataFrame(fractions, columns=union.columns)
    asked = pd.DataFrame(union.asked(fractions), columns=union.question_names)
    assert Schema.from_dict(json.loads(json.dumps(union.to_dict()))) == union
    for schema in schemas:
        own = of_campaign(table, union, schema)
        assert sorted(own) == sorted(schema.columns)
        np.testing.assert_allclose(
            schema.asked(own[schema.columns].to_numpy()), asked[list(names_in(union, schema).values())]
        )
        back = to_union(own, union, schema)
        assert set(back) == set(union.columns) and back[union.columns].notna().sum(axis=None) == 5 * len(
            schema.answers
        )
        pd.testing.assert_frame_equal(of_campaign(back, union, schema)[list(own)], own)


def test_old_fingerprints_stay():
    """Schemas of one campaign are stored as before, whatever unions need."""
    assert all(
        "campaigns" not in question
        for schema in SCHEMAS.values()
        for question in schema.to_dict()["questions"]
    )
    assert (
        GZ2.fingerprint
        == Schema.from_dict({"name": "gz2", "questions": GZ2.to_dict()["questions"]}).fingerprint
    )


def test_ways_that_differ_are_told_apart():
    a = Schema("a", (Question("x", "?", ("yes", "no")), Question("y", "?", ("yes", "no"), ("x_yes",))))
    b = Schema(
        "b",
        (
            Question("x", "?", ("no", "yes")),
            Question("y", "?", ("yes", "no"), ("x_no",)),
            Question("z", "?", ("1", "2"), ("y_yes",)),
        ),
    )
    union = union_schema([a, b])
    assert union.question_names == ["x", "y", "y-b", "z"] and union.questions[3].asked_after == ("y-b_yes",)
    assert [q.campaigns for q in union.questions] == [(), ("a",), ("b",), ("b",)]
    with pytest.raises(BadInput, match="take one of its campaigns"):
        names_in(union_schema([GZ2, HUBBLE]), DESI)


# the folder of a mixture


def test_fingerprint_follows_the_parts(skies, tmp_path):
    folder = tmp_path / "skies"
    shutil.copytree(skies, folder)
    before, same = MixedStore(skies / "mixed"), MixedStore(folder / "mixed")
    assert before.fingerprint == same.fingerprint == same.verify().fingerprint and same.ids == before.ids
    part = Store(folder / "gz2")
    shutil.rmtree(folder / "gz2")
    write_store(
        part.table[:50],
        folder / "gz2",
        GZ2,
        np.stack([Store(skies / "gz2").image(i) for i in range(50)]),
        part.split[:50],
    )
    changed = MixedStore(folder / "mixed")
    assert (
        changed.fingerprint != before.fingerprint
        and len(changed) == 250
        and changed.jpeg(50) == before.jpeg(200)
    )
    (folder / "gz2").rename(folder / "away")
    refused("put it back", "train", folder / "mixed", "--out", tmp_path / "run")


def test_galaxies_on_both_sides_of_a_split_are_refused(skies, tmp_path):
    rng = np.random.default_rng(0)
    ra, dec = rng.uniform(0, 360, 200), rng.uniform(-60, 60, 200)
    for name, schema, away in (("gz2", GZ2, 0), ("decals5", DECALS5, 1 / 3600)):
        store = Store(skies / name)
        images = np.stack([store.image(i) for i in range(200)])
        write_store(store.table.assign(ra=ra, dec=dec + away), tmp_path / name, schema, images, store.split)
        write_store(
            store.table.assign(ra=ra, dec=dec + away),
            tmp_path / f"{name}-same",
            schema,
            images,
            Store(skies / "gz2").split,
        )
    straddling = int((Store(skies / "gz2").split != Store(skies / "decals5").split).sum())
    refused(
        f"have {straddling} galaxies in common but in different splits",
        "mix",
        tmp_path / "gz2",
        tmp_path / "decals5",
        "--out",
        tmp_path / "m",
    )
    assert write_mixed([tmp_path / "gz2-same", tmp_path / "decals5-same"], tmp_path / "m").unplaced == 0


def test_workers_read_a_mixture(skies):
    data = GalaxyDataset(open_store(skies / "mixed"), [1, 250], size=32)
    (batch,) = torch.utils.data.DataLoader(data, batch_size=2, num_workers=1, multiprocessing_context="spawn")
    (alone,) = torch.utils.data.DataLoader(data, batch_size=2)
    assert torch.equal(batch["pixel_values"], alone["pixel_values"]) and batch["labels"].shape == (2, 49)
