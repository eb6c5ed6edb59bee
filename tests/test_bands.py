"""Images of a single band, from files to predictions, without pretending to three colours."""

import numpy as np
import pandas as pd
import pytest
import simplejpeg
import torch
from astropy.io import fits
from commands import printed
from PIL import Image

from galaxy_sommelier.core.files import BadInput
from galaxy_sommelier.data.dataset import GalaxyDataset
from galaxy_sommelier.data.mixture import open_store
from galaxy_sommelier.data.store import Store, simulated_store, write_store
from galaxy_sommelier.images.pixels import encode, is_grey
from galaxy_sommelier.images.simulation import simulate
from galaxy_sommelier.models.attention import attention_map
from galaxy_sommelier.models.backbone import first_layer
from galaxy_sommelier.models.model import build_model, load_model
from galaxy_sommelier.models.predict import predict, predict_images
from galaxy_sommelier.models.shards import predict_file

N, SIZE = 40, 64
SMALL = ["-p", "image_size", "32", "-p", "tta", "false", "-p", "precision", "fp32", "-p", "epochs", "1"]


@pytest.fixture(scope="module")
def sky():
    """A simulated sky, its grey images (n, H, W), and those in colours."""
    table, images = simulate(N, size=SIZE, seed=4)
    return table, images.mean(-1).round().astype(np.uint8), images


@pytest.fixture(scope="module")
def files(sky, tmp_path_factory):
    """The grey images as files of several kinds, and a table that names them."""
    folder, (table, grey, _) = tmp_path_factory.mktemp("files"), sky
    paths = []
    for i, (name, image) in enumerate(zip(table.id_str, grey, strict=True)):
        path = folder / f"{name}{('.jpg', '.png', '.fits', '.colour.jpg')[i % 4]}"
        if i % 4 == 0:
            path.write_bytes(encode(image[..., None]))
        elif i % 4 == 1:
            Image.fromarray(image).save(path)
        elif i % 4 == 2:
            fits.PrimaryHDU(image.astype(np.float32)).writeto(path)
        else:  # three equal colours
            path.write_bytes(encode(np.repeat(image[..., None], 3, axis=-1)))
        paths.append(str(path))
    return folder, table.assign(path=paths)


@pytest.fixture(scope="module")
def store(files, tmp_path_factory):
    out = tmp_path_factory.mktemp("band") / "store"
    split = np.array(["train"] * 28 + ["val"] * 12)
    write_store(files[1], out, split=pd.Series(split))
    return out


def test_grey_files_make_a_store_of_one_band(store, sky):
    packed = Store(store)
    assert packed.bands == packed.header["bands"] == 1
    spaces = {simplejpeg.decode_jpeg_header(packed.jpeg(i))[2] for i in (0, 2)}  # a JPEG, and a FITS file
    assert spaces == {"Gray"}
    batch = GalaxyDataset(packed, size=32, margin=1.2)[0]["pixel_values"]
    assert batch.shape[0] == 1
    write_store(sky[0], store.with_name("colours"), images=sky[2])
    colours = Store(store.with_name("colours"))
    assert colours.bands == 3 and GalaxyDataset(colours, size=32)[0]["pixel_values"].shape[0] == 3
    one_colour = np.repeat(sky[1][..., None], 3, axis=-1)
    one_colour[5] = sky[2][5]  # one image with colours
    write_store(sky[0], store.with_name("mixed"), images=one_colour)
    assert Store(store.with_name("mixed")).bands == 3


@pytest.mark.parametrize("stage", ["full", "probe", "lora"])
def test_train_and_predict_on_one_band(stage, store, files, tmp_path):
    printed("train", store, "--stage", stage, "--out", tmp_path / "run", *SMALL)
    model = load_model(tmp_path / "run")
    assert model.config.bands == 1 and len(model.config.image_mean) == 1
    assert first_layer(model.backbone).weight.shape[1] == 1
    table = predict(store, model, precision="fp32", tta=False)
    folder = predict(files[0], model, precision="fp32", tta=False)  # the same files, not packed
    values = table.set_index("id_str").filter(like="_fraction")
    again = folder.assign(id_str=folder.id_str.str.removesuffix(".colour")).set_index("id_str")
    again, packed = again.loc[values.index, values.columns].to_numpy(), np.arange(N) % 4 == 2  # FITS as JPEG
    np.testing.assert_allclose(values[~packed], again[~packed], atol=1e-6)
    assert np.abs(values[packed] - again[packed]).to_numpy().mean() < 0.01
    if stage == "full":
        image = np.asarray(Store(store).image(0))
        assert np.isfinite(attention_map(model, image)).all()
        text = printed("evaluate", tmp_path / "run" / "predictions.parquet", store)
        assert "mean_r" in text


@pytest.mark.parametrize(
    "kind, tolerance", [("tiny-vit", 1e-5), ("tiny-convnext", 1e-5), ("tiny-resnet", 0.05)]
)
def test_a_folded_backbone_predicts_as_with_three_equal_colours(kind, tolerance, sky, tmp_path):
    """Exact where the filters of the first layer stay inside the image, close where they reach beyond."""
    build_model(kind, image_size=32).backbone.save_pretrained(tmp_path / kind)
    grey = torch.from_numpy(sky[1][:, None, :32, :32])
    three, one = (build_model(tmp_path / kind, image_size=32, bands=bands).eval() for bands in (3, 1))
    expected = predict_images(three, grey.expand(-1, 3, -1, -1), precision="fp32")
    found = predict_images(one, grey, precision="fp32")
    assert np.abs(found - expected).max() < tolerance and expected.std(0).max() > 1e-4
    np.testing.assert_array_equal(predict_images(three, grey, precision="fp32"), expected)
    one.save_pretrained(tmp_path / "one")
    np.testing.assert_array_equal(predict_images(load_model(tmp_path / "one"), grey, precision="fp32"), found)


def test_start_from_a_model_of_colours(store, tmp_path):
    """A trained model of three colours is folded, so that training goes on from the same predictions."""
    colours = Store(simulated_store(tmp_path / "sky", n=30, size=SIZE, seed=2)).path
    printed("train", colours, "--stage", "probe", "--out", tmp_path / "first", *SMALL)
    start = ["--from", tmp_path / "first", "--stage", "baseline"]
    printed("train", store, *start, "--out", tmp_path / "second", *SMALL)
    values = [predict(store, tmp_path / run, precision="fp32", tta=False) for run in ("first", "second")]
    first, second = (table.filter(like="_fraction").to_numpy() for table in values)
    np.testing.assert_allclose(first, second, atol=1e-5)
    words = "--from", tmp_path / "second", "--out", tmp_path / "third"
    text = printed("train", colours, *words, *SMALL, expect=2)
    assert "reads a single band, and the store's images have three colours" in text


def test_colours_for_a_model_of_one_band_are_refused(sky, tmp_path):
    model = build_model("tiny", image_size=32, bands=1).eval()
    with pytest.raises(BadInput, match="they have colours, and the model reads a single band"):
        predict_images(model, torch.from_numpy(sky[2][:2, :32, :32]).permute(0, 3, 1, 2), precision="fp32")
    colours = simulated_store(tmp_path / "sky", n=10, size=SIZE, seed=2)
    with pytest.raises(BadInput, match="has colours, and the model reads a single band"):
        predict(colours, model)


def test_grey_galaxies_are_shown_and_mixed(store, sky, files, tmp_path):
    """A sheet of images, and a mixture with a store of colours, take grey galaxies as any other."""
    model = build_model("tiny", image_size=32, bands=1).eval()
    predict_file(store, model, tmp_path / "grey.csv")
    printed("show", tmp_path / "grey.csv", store, "--out", tmp_path / "sheet.png")
    assert Image.open(tmp_path / "sheet.png").width > 100
    table, _, images = sky
    other = table.assign(id_str="colour-" + table.id_str, survey="other", ra=np.nan, dec=np.nan)
    split = pd.Series(["train"] * 28 + ["val"] * 12)
    write_store(other, tmp_path / "colours", images=images[:, ::-1], split=split)
    printed("mix", store, tmp_path / "colours", "--out", tmp_path / "mixed")
    mixed = open_store(tmp_path / "mixed")
    assert mixed.bands == 3
    batch = GalaxyDataset(mixed, size=32).pixels(np.array([0, N]))
    assert is_grey(batch[0].permute(1, 2, 0).numpy()) and not is_grey(batch[1].permute(1, 2, 0).numpy())
