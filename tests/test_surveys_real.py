"""A head trained on Kaggle galaxies (SDSS), tested on other real sets as far as their labels allow.

Each score is given with n and an interval: pytest tests/test_surveys_real.py -s
"""

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import real
from sklearn.linear_model import RidgeCV

from galaxy_sommelier.catalog.gz2 import read_kaggle, read_willett
from galaxy_sommelier.catalog.schema import GZ2
from galaxy_sommelier.data.leaks import by_image, thumbnails
from galaxy_sommelier.data.splits import read_ids
from galaxy_sommelier.evaluation.intervals import wilson
from galaxy_sommelier.images.pixels import resize
from galaxy_sommelier.images.stretch import read_any
from galaxy_sommelier.models.features import encode_batch
from galaxy_sommelier.models.model import build_model
from galaxy_sommelier.studies.survey_scores import score_survey, survey_table

SIDE, TRAIN, TEST = 98, 700, 200
BASIC = GZ2.answers[:3]  # smooth, featured or disk, artifact


@pytest.fixture(scope="module")
def head(kaggle_root, stripe82_root, dino_weights):
    """Scores on Kaggle and Stripe 82, and a function that predicts the fractions of images."""
    torch.set_num_threads(1)
    network = build_model(dino_weights, image_size=SIDE).eval()

    def features(paths, crop):
        images = resize([read_any(path) for path in paths], crop, SIDE)
        return torch.cat([encode_batch(network, some)[:, 0] for some in images.split(50)]).numpy()

    table = read_kaggle(
        kaggle_root / "training_solutions_rev1.csv", images=kaggle_root / "images_training_rev1"
    )
    natural = table.id_str.isin(read_ids(kaggle_root / "natural_test_ids.csv"))
    train, test = table[~natural].sample(TRAIN, random_state=1), table[natural].sample(TEST, random_state=1)
    coadd = read_willett(stripe82_root / "zoo2Stripe82Coadd2.csv.gz")
    coadd["path"] = [stripe82_root / "images" / f"{name.split('-')[-1]}.jpg" for name in coadd.id_str]
    coadd = coadd[[path.exists() for path in coadd.path]].reset_index(drop=True)
    rows, small, _ = thumbnails(coadd)
    twice = by_image(thumbnails(train)[1], small).row_b.unique()
    coadd = coadd.drop(index=rows[twice]).reset_index(drop=True)
    columns = [f"{answer}_fraction" for answer in BASIC]
    learnt = RidgeCV(np.logspace(0, 5, 11)).fit(features(train.path, 0.6), train[columns])

    def predict(paths, crop):
        values = np.clip(learnt.predict(features(paths, crop)), 1e-3, 1)
        return values / values.sum(1, keepdims=True)

    return train, test, coadd, len(twice), predict


def whole(table, values):
    """Predictions of the first question as a table of all columns; unlearned answers are spread evenly."""
    even = np.concatenate(
        [np.full((len(table), len(q.answers)), 1 / len(q.answers)) for q in GZ2.questions], axis=1
    )
    even[:, :3] = values
    return pd.DataFrame(even, columns=GZ2.columns).assign(id_str=table.id_str.to_numpy())


def test_kaggle_to_stripe82_on_the_same_answers(head):
    train, test, coadd, twice, predict = head
    sets = {"kaggle natural": (test, 0.6), "stripe82": (coadd, 1.0)}
    constant, scored = train[[f"{answer}_fraction" for answer in BASIC]].mean().to_numpy(), []
    for name, (votes, crop) in sets.items():
        for what, values in ((name, predict(votes.path, crop)), (f"{name}, constant", constant)):
            scored.append(score_survey(what, whole(votes, values), votes, GZ2, GZ2, names=BASIC[:2]))
    table = survey_table(scored)
    print(
        f"\n{len(coadd)} of Stripe 82 ({twice} that are in the training set left out)\n"
        + table.round(3).to_string(index=False)
    )
    mae = table.set_index("survey").mae
    assert all(mae[name] < mae[f"{name}, constant"] for name in sets)


def test_exemplars_smooth_or_featured(head):
    predict, folder = head[-1], real("data/exemplars")
    shown = pd.read_csv(folder / "labels.csv").query("four_class_hint.notna() and survey != 'survey'")
    values = predict([folder / "images" / file for file in shown.file], 0.6)
    featured, predicted = shown.four_class_hint != "smooth", values[:, 1] > values[:, 0]
    rows = []
    for name, some in shown.groupby("survey").groups.items():
        place = shown.index.get_indexer(some)
        right, n, share = (
            int((featured.to_numpy()[place] == predicted[place]).sum()),
            len(place),
            featured.to_numpy()[place].mean(),
        )
        rows.append((name, n, right / n, *wilson(right, n), max(share, 1 - share)))
    table = pd.DataFrame(rows, columns=["survey", "n", "accuracy", "lower", "upper", "majority"])
    print("\n" + table.round(2).to_string(index=False))
    assert (table.upper - table.lower > 0.1).all(), "with so few exemplars nothing may be claimed to a tenth"
    assert np.average(table.accuracy, weights=table.n) > 0.5
