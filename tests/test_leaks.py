"""The same galaxy under two names, in real catalogues and images."""

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from galaxy_sommelier.catalog.gz2 import read_hart16, read_kaggle
from galaxy_sommelier.core.files import BadInput
from galaxy_sommelier.data.leaks import by_image, by_sky, check_leaks, keep_out, thumbnails, write_leaks
from galaxy_sommelier.data.splits import read_ids
from galaxy_sommelier.images.pixels import encode, read_image
from galaxy_sommelier.images.simulation import simulate


@pytest.fixture(scope="module")
def kaggle(kaggle_root):
    return read_kaggle(kaggle_root / "training_solutions_rev1.csv", kaggle_root / "images_training_rev1")


@pytest.fixture(scope="module")
def gz2(gz2_root):
    mapping, images = gz2_root / "gz2_filename_mapping.csv", gz2_root / "images_gz2" / "images"
    return read_hart16(
        gz2_root / "gz2_hart16_sample.csv", mapping=mapping, images=images, kind="weighted"
    )


@pytest.fixture(scope="module")
def leaks(gz2, kaggle):
    return check_leaks(gz2, kaggle)


def anywhere(n, rng):
    """Galaxies all over the sky."""
    ra, dec = rng.uniform(0, 360, n), np.degrees(np.arcsin(rng.uniform(-1, 1, n)))
    return pd.DataFrame({"id_str": [f"sky-{i}" for i in range(n)], "ra": ra, "dec": dec})


def copied(pixels, rng, cut, quality=60):
    """Cut off a share of each side of an image, resize it and compress it again."""
    side = round(len(pixels) * (1 - cut))
    top, left = rng.integers(0, len(pixels) - side + 1, 2)
    size = round(len(pixels) * rng.uniform(0.9, 1.1))
    changed = Image.fromarray(pixels[top : top + side, left : left + side]).resize(
        (size, size), Image.Resampling.BICUBIC
    )
    changed.save(buffer := io.BytesIO(), "JPEG", quality=quality)
    return buffer.getvalue()


def test_every_galaxy_one_arcsecond_away_is_found():
    rng = np.random.default_rng(0)
    a = anywhere(10_000, rng)
    turn, order = rng.uniform(0, 2 * np.pi, 10_000), rng.permutation(10_000)
    moved = a.assign(
        dec=a.dec + np.sin(turn) / 3600, ra=(a.ra + np.cos(turn) / 3600 / np.cos(np.radians(a.dec))) % 360
    )
    found = by_sky(a, moved.iloc[order])
    assert (
        (order[found.row_b] == found.row_a).all()
        and len(found) == 10_000
        and np.allclose(found.separation, 1, atol=1e-3)
    )
    assert not len(by_sky(a, moved, radius=0.9))


def test_the_downloads_share_32_galaxies(leaks, gz2, kaggle):
    assert len(leaks) == leaks.id_a.nunique() == leaks.id_b.nunique() == 32
    assert leaks.likeness.min() > 0.9 and leaks.separation.isna().all() and not leaks.attrs["images"]["bad"]


def test_volunteers_agree_on_the_shared_galaxies(leaks, gz2, kaggle):
    """Independent evidence: the edge-on fraction, which neither table corrects for redshift, agrees."""
    said = [table.set_index("id_str")["disk-edge-on_yes_fraction"] for table in (gz2, kaggle)]
    a, b = said[0][leaks.id_a].to_numpy(), said[1][leaks.id_b].to_numpy()
    assert np.abs(a - b).mean() < 0.02 and np.abs(a - np.roll(b, 1)).mean() > 0.2


def test_excluded_galaxies_are_gone(leaks, gz2, kaggle, tmp_path):
    ids = write_leaks(leaks, tmp_path / "leaks.csv", side="b")
    assert read_ids(tmp_path / "leaks.csv", among=kaggle.id_str) == ids == sorted(leaks.id_b)
    kept = keep_out(kaggle, tmp_path / "leaks.csv")
    assert len(kept) == len(kaggle) - 32 and not set(kept.id_str) & set(ids)
    with pytest.raises(BadInput, match="none of its 32 ids"):
        keep_out(gz2, tmp_path / "leaks.csv")
    with pytest.raises(BadInput, match="side"):
        write_leaks(leaks, tmp_path / "leaks.csv", side="kaggle")


@pytest.mark.parametrize("cut, least", [(0, 1), (0.03, 0.99), (0.05, 0.98)])
def test_recall_on_real_galaxies(kaggle, cut, least):
    rng = np.random.default_rng(1)
    some = kaggle.sample(700, random_state=2).reset_index(drop=True)
    copies = some[:100].assign(jpeg=[copied(read_image(path), rng, cut) for path in some.path[:100]])
    found = check_leaks(copies, some)
    assert (found.id_a == found.id_b).all() and len(found) >= 100 * least


def test_different_galaxies_do_not_match(kaggle):
    half = kaggle.sample(1000, random_state=3)
    _, thumbs, _ = thumbnails(half)
    assert not len(by_image(thumbs[:500], thumbs[500:]))


def test_coordinates_are_trusted_and_images_decide_the_rest():
    table, images = simulate(40, size=96, seed=3)
    sky = anywhere(40, np.random.default_rng(1))
    table = table.assign(jpeg=[encode(pixels) for pixels in images], ra=sky.ra, dec=sky.dec)
    blind = table.assign(id_str=[f"other-{i}" for i in range(40)], ra=table.ra.where(np.arange(40) < 30))
    found = check_leaks(table, blind).set_index("id_b").loc[blind.id_str]
    assert (
        (found.id_a.to_numpy() == table.id_str).all()
        and found.separation.notna().sum() == 30
        and (found.likeness > 0.95).all()
    )
    placed = check_leaks(table.drop(columns="jpeg"), blind[:30].drop(columns="jpeg"))
    assert len(placed) == 30 and placed.likeness.isna().all()


def test_unreadable_images_are_named():
    table, images = simulate(30, size=64, seed=3)
    table = table.assign(jpeg=[encode(pixels) for pixels in images])
    broken = table.assign(id_str=[f"other-{i}" for i in range(30)], jpeg=[b"404", None, *table.jpeg[2:]])
    with pytest.raises(BadInput, match="other-0.*other-1"):
        check_leaks(table, broken, max_bad=0.02)
    found = check_leaks(table, broken, max_bad=0.1)
    assert len(found) == 28 and set(found.attrs["images"]["bad"]) == {"b: other-0", "b: other-1"}
    blank = table.assign(jpeg=[encode(np.zeros((64, 64, 3), np.uint8))] * 30)
    assert not len(check_leaks(blank, blank)) and not len(check_leaks(table, table[:0]))
