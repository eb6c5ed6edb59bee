"""Real galaxies and a real backbone: how well OOD scores separate artifacts and other surveys from SDSS.

    pytest tests/test_ood_real.py -s

Features of DINOv2-S (saliency-fine-tuned), frozen, at 98 pixels; fitted on Kaggle galaxies (SDSS) that are in
none of the sets below.
"""

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import real

from galaxy_sommelier.catalog.gz2 import read_kaggle
from galaxy_sommelier.catalog.schema import GZ2
from galaxy_sommelier.core.files import BadInput
from galaxy_sommelier.data.splits import read_ids
from galaxy_sommelier.images.pixels import BadImage, resize
from galaxy_sommelier.images.stretch import read_any
from galaxy_sommelier.models.features import encode_batch
from galaxy_sommelier.models.model import build_model
from galaxy_sommelier.studies.detection import altered_images, detection_table, distances, learn_known

SIDE, CROP, TRAIN, TEST, MOST = 98, 0.6, 400, 150, 100


def prepared(paths, crop=CROP):
    """Return the readable images at the network's input size, and the number of unreadable ones."""
    images, broken = [], 0
    for path in paths:
        try:
            images.append(read_any(path))
        except (BadImage, BadInput):
            broken += 1
    return resize(images, crop, SIDE), broken


@pytest.fixture(scope="module")
def image_sets(kaggle_root, stripe82_root, fits_root):
    table = read_kaggle(
        kaggle_root / "training_solutions_rev1.csv", images=kaggle_root / "images_training_rev1"
    )
    natural = table.id_str.isin(read_ids(kaggle_root / "natural_test_ids.csv"))
    train, test = table[~natural].sample(TRAIN, random_state=0), table[natural].sample(TEST, random_state=0)
    folder = real("data/exemplars")
    shown = pd.read_csv(folder / "labels.csv")
    shown["path"] = [folder / "images" / file for file in shown.file]
    artifact = shown.answer.str.contains("artifact", case=False, na=False)
    sets = {
        "train": train.path,
        "SDSS (Kaggle, natural)": test.path,
        "artifacts and stars, all surveys": shown.path[artifact],
    }
    for name in ("sloan", "decals", "gama", "goods_full", "ferengi"):
        some = shown.path[(shown.survey == name) & ~artifact]
        sets[f"exemplars: {name}"] = some.sample(min(MOST, len(some)), random_state=0)
    sets["SDSS Stripe 82 cutouts"] = sorted((stripe82_root / "images").glob("*.jpg"))[:MOST]
    sets["FITS: DECaLS, COSMOS, DECam, HST"] = [
        p for p in sorted(fits_root.rglob("*.fits*")) if "sdss" not in p.parent.name
    ]
    ready = {
        name: prepared(paths, 1.0 if name.startswith(("SDSS Stripe", "FITS")) else CROP)
        for name, paths in sets.items()
    }
    first = train[GZ2.columns[GZ2.slices["smooth-or-featured"]]].to_numpy().argmax(1)
    return (
        {name: images for name, (images, _) in ready.items()},
        {name: broken for name, (_, broken) in ready.items()},
        first,
    )


def test_scores_find_artifacts_and_other_surveys(image_sets, dino_weights):
    images, broken, first = image_sets
    torch.set_num_threads(1)
    images |= altered_images(images["SDSS (Kaggle, natural)"])
    model = build_model(dino_weights, image_size=SIDE).eval()
    features = {
        name: torch.cat([encode_batch(model, some)[:, 0] for some in each.split(50)]).numpy()
        for name, each in images.items()
    }
    known = learn_known(features.pop("train"), first)
    familiar = distances(known, features.pop("SDSS (Kaggle, natural)"))
    table = detection_table(familiar, {name: distances(known, each) for name, each in features.items()})
    shown = table.assign(
        interval=[
            f"[{low:.2f}, {high:.2f}]" for low, high in table[["auroc_lower", "auroc_upper"]].to_numpy()
        ]
    )
    print(
        "\n"
        + shown[["kind", "score", "n_in", "n_out", "auroc", "interval", "aupr_out", "fpr95"]]
        .round(3)
        .to_string(index=False)
    )
    print("could not be read:", {name: count for name, count in broken.items() if count})
    best = table[table.score == "mahalanobis"].set_index("kind")
    assert best.auroc["artifacts and stars, all surveys"] > 0.9  # 13 images: too few for an interval
    assert best.auroc_lower["far: noise"] > 0.95
    for survey in ("decals", "gama", "goods_full", "ferengi"):
        assert best.auroc_lower[f"exemplars: {survey}"] > 0.6, survey
    assert abs(np.median(best.n_in) - TEST) == 0
