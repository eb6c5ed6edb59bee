"""Fixtures: a folder for the output of tests, and real galaxies and weights where they are available."""

import os
import shutil
from pathlib import Path

import pytest

# $GALAXY_SOMMELIER_REAL, else a folder `shared` beside the repository, with data/{kaggle,gz2,stripe82}
# and weights/dinov2-small-saliency
REAL = Path(os.environ.get("GALAXY_SOMMELIER_REAL") or Path(__file__).resolve().parents[2] / "shared")


def real(name: str) -> Path:
    """Return the folder `name` under REAL; without it skip the test, or fail where real data are required."""
    folder = REAL / name
    if not folder.is_dir():
        complain = pytest.fail if os.environ.get("GALAXY_SOMMELIER_REQUIRE_REAL") == "1" else pytest.skip
        complain(f"needs {folder} (set GALAXY_SOMMELIER_REAL to the folder that holds {name})")
    return folder


@pytest.fixture(autouse=True, scope="session")
def data_folder(tmp_path_factory):
    """Put runs, stores and caches into a temporary folder, for this process and those that it starts."""
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
    """A DINOv2 checkpoint in Transformers format."""
    return real("weights/dinov2-small-saliency")


@pytest.fixture(scope="session")
def browser():
    """Chromium; without it the test is skipped or fails, with the reason."""
    from lab import FLAGS

    complain = pytest.fail if os.environ.get("GALAXY_SOMMELIER_REQUIRE_REAL") == "1" else pytest.skip
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        complain("needs the package playwright (pip install playwright)")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        complain("needs a Chromium (apt-get install chromium)")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield running
        running.close()
