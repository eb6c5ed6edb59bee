"""Fixtures: a folder for what tests write, and the real galaxies and weights where they are to be had."""

import os
from pathlib import Path

import pytest

# $GALAXY_SOMMELIER_REAL, else a folder `shared` beside the repository: data/{kaggle,gz2,stripe82}, weights/dinov2-small-saliency
REAL = Path(os.environ.get("GALAXY_SOMMELIER_REAL") or Path(__file__).resolve().parents[2] / "shared")


def real(name: str) -> Path:
    """The folder `name` under REAL; without it the test is skipped, or fails where real data are required."""
    folder = REAL / name
    if not folder.is_dir():
        complain = pytest.fail if os.environ.get("GALAXY_SOMMELIER_REQUIRE_REAL") == "1" else pytest.skip
        complain(f"needs {folder} (set GALAXY_SOMMELIER_REAL to the folder that holds {name})")
    return folder


@pytest.fixture(autouse=True, scope="session")
def data_folder(tmp_path_factory):
    """Runs, stores and caches of the tests go to a temporary folder, in this process and in those it starts."""
    os.environ["GALAXY_SOMMELIER_DATA"] = str(tmp_path_factory.mktemp("data"))
    os.environ["MPLBACKEND"] = "agg"


@pytest.fixture(scope="session")
def kaggle_root() -> Path:
    """images_training_rev1/, training_solutions_rev1.csv, natural_test_ids.csv"""
    return real("data/kaggle")


@pytest.fixture(scope="session")
def gz2_root() -> Path:
    """images_gz2/images/, gz2_filename_mapping.csv, gz2_hart16_sample.csv"""
    return real("data/gz2")


@pytest.fixture(scope="session")
def stripe82_root() -> Path:
    """images/, image_index.csv, zoo2Stripe82Coadd2.csv.gz"""
    return real("data/stripe82")


@pytest.fixture(scope="session")
def fits_root() -> Path:
    """cosmos_acs_*/, decals_*/, decam_*/, hst_*/, sdss_*/ with FITS files"""
    return real("data/fits")


@pytest.fixture(scope="session")
def dino_weights() -> Path:
    """A DINOv2 checkpoint in transformers format."""
    return real("weights/dinov2-small-saliency")
