"""FITS files: every header variant, every kind of damage, known truths, and real files."""

import bz2
import gzip
import io
import time
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from PIL import Image

from galaxy_sommelier.core.files import BadInput
from galaxy_sommelier.core.tables import header as columns
from galaxy_sommelier.data.inputs import open_images, open_input
from galaxy_sommelier.data.leaks import thumbnails
from galaxy_sommelier.images.fits import FitsImage, LeftOut, _tell, is_fits, join, read_fits
from galaxy_sommelier.images.pixels import BadImage
from galaxy_sommelier.images.stretch import RECIPES, decode_any, default_recipe, read_any, resample, to_rgb

SIDE = 64
Y, X = np.mgrid[:SIDE, :SIDE]
BLOB = np.exp(-((X - 32) ** 2 + (Y - 32) ** 2) / 50)
SKY = {
    "CTYPE1": "RA---TAN",
    "CRVAL1": 40.0,
    "CRPIX1": 32.5,
    "CTYPE2": "DEC--TAN",
    "CRVAL2": 60.0,
    "CRPIX2": 32.5,
}


def scene(colour, seed=1):
    """(3, H, W) float32: a round source with this flux in each band, nanomaggies, on a noisy sky."""
    noise = np.random.default_rng(seed).normal(0, 0.01, (3, SIDE, SIDE))
    return (np.array(colour)[:, None, None] * BLOB + noise).astype(np.float32)


def write(path, *hdus, **cards):
    """Write arrays as images and None as an empty header; cards go into the first header."""
    made = [
        hdu if isinstance(hdu, fits.ImageHDU | fits.CompImageHDU | fits.BinTableHDU) else None for hdu in hdus
    ]
    made[0] = fits.PrimaryHDU(hdus[0])
    made = [hdu if hdu is not None else fits.ImageHDU(data) for hdu, data in zip(made, hdus, strict=True)]
    made[0].header.update(cards)
    fits.HDUList(made).writeto(path, overwrite=True)
    return path


@pytest.fixture
def grz(tmp_path):
    """A good grz cube in nanomaggies."""
    return write(tmp_path / "grz.fits", scene((0.3, 0.6, 0.9)), BANDS="grz", BUNIT="nanomaggy")


# files that cannot be used


@pytest.mark.parametrize("share", [0.999, 0.9, 0.5, 0.2, 0.1, 0.05, 0.01])
@pytest.mark.parametrize("pack", ["plain", "gzip", "bzip2", "fz"])
def test_a_file_that_ends_early_is_named_and_never_read(tmp_path, grz, pack, share):
    if pack == "fz":
        planes = [
            fits.CompImageHDU(plane, fits.Header([("FILTER", band)]))
            for band, plane in zip("grz", scene((1, 1, 1)), strict=True)
        ]
        grz = write(tmp_path / "whole.fits.fz", None, *planes, BUNIT="nanomaggy")
    whole = {"gzip": gzip.compress, "bzip2": bz2.compress}.get(pack, bytes)(grz.read_bytes())
    if pack in ("plain", "fz"):  # the last block is padded with zeros that belong to no image
        whole = whole.rstrip(b"\0")
    path = tmp_path / "short.fits"
    path.write_bytes(whole[: int(share * len(whole)) - 1])
    with pytest.raises(BadImage, match="short.fits: ") as caught:
        read_fits(path)
    assert "\n" not in str(caught.value)


def test_missing_padding_is_not_damage(tmp_path, grz):
    whole = grz.read_bytes()
    (tmp_path / "unpadded.fits").write_bytes(whole[: 2880 + 3 * SIDE * SIDE * 4])
    assert np.array_equal(read_fits(tmp_path / "unpadded.fits").bands, read_fits(grz).bands)


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "is empty"),
        (b"404: no such galaxy", "is not a FITS file"),
        (b"\xff\xd8\xff\xe0 a JPEG", "is not a FITS file"),
        (gzip.compress(b"text", mtime=0), "is not a FITS file"),
        (b"\x1f\x8b\x08 no gzip after all", "damaged|cut off"),
        (b"SIMPLE  =                    T" + b" " * 50, "cut off|cannot be read"),
    ],
)
def test_files_that_are_not_fits(tmp_path, content, reason):
    path = tmp_path / "odd.fits"
    path.write_bytes(content)
    with pytest.raises(BadImage, match=f"odd.fits: .*({reason})"):
        read_fits(path)


def nan_band(bands):
    bands[1] = np.nan
    return bands


BROKEN = {
    "no image, only": lambda: [None],
    "no image": lambda: [None, fits.BinTableHDU.from_columns([fits.Column("ra", "D", array=[1.0])])],
    "holds no image": lambda: [np.arange(30.0)],
    "band r has no good pixel": lambda: [nan_band(scene((1, 1, 1)))],
    "band z is 0 everywhere": lambda: [scene((1, 1, 1)) * np.array([1, 1, 0], "f4")[:, None, None]],
    "different shape": lambda: [
        None,
        *(np.asarray(plane[:n], order="C") for plane, n in zip(scene((1, 1, 1)), (64, 64, 48), strict=True)),
    ],
    "4 axes": lambda: [np.stack([scene((1, 1, 1))] * 2)],
    "at most 16": lambda: [np.random.default_rng(0).normal(size=(17, 16, 16))],
    "a side must have 16": lambda: [scene((1, 1, 1))[:, :8]],
}


@pytest.mark.parametrize("reason", BROKEN)
def test_images_that_cannot_be_used(tmp_path, reason):
    path = write(tmp_path / "bad.fits", *BROKEN[reason](), BANDS="grz")
    with pytest.raises(BadImage, match=f"bad.fits: .*{reason}"):
        read_fits(path)


def test_extensions_that_contradict_each_other(tmp_path):
    one, two, _ = scene((1, 1, 1))
    chips = [fits.ImageHDU(plane, name="SCI") for plane in (one, two)]
    with pytest.raises(BadImage, match="several images in one band"):
        read_fits(write(tmp_path / "chips.fits", None, *chips, FILTER="F814W"))
    units = [
        fits.ImageHDU(plane, fits.Header([("BUNIT", unit)]))
        for plane, unit in ((one, "nanomaggy"), (two, "adu"))
    ]
    with pytest.raises(BadImage, match="different units"):
        read_fits(write(tmp_path / "units.fits", None, *units))
    with pytest.raises(BadImage, match="different shape"):
        read_fits(write(tmp_path / "flags.fits", one, fits.ImageHDU(np.zeros((20, 20), np.uint8), name="DQ")))


def header(*cards):
    """A header of one block, and no data."""
    return b"".join(card.ljust(80).encode() for card in (*cards, "END")).ljust(2880)


def image_header(*shape):
    sides = [f"NAXIS{i}  = {n}" for i, n in enumerate(shape[::-1], 1)]
    return header(SIMPLE, "BITPIX  = -32", f"NAXIS   = {len(shape)}", *sides)


def tile_bomb():
    """An image of 64x64 pixels whose only tile unpacks to 200 million bytes."""
    bomb = gzip.compress(bytes(200_000_000), 1)
    stream = io.BytesIO()
    tile = fits.CompImageHDU(np.ones((64, 64), np.int16), compression_type="GZIP_1", tile_shape=(64, 64))
    fits.HDUList([fits.PrimaryHDU(), tile]).writeto(stream)
    stream.seek(0)
    with fits.open(stream, disable_image_compression=True) as hdus:
        cards = hdus[1].header
        cards.update(PCOUNT=len(bomb), TFORM1=f"1PB({len(bomb)})")
        table = np.array([len(bomb), 0], ">i4").tobytes() + bomb
        whole = hdus[0].header.tostring() + cards.tostring()
    return whole.encode() + table + bytes(-len(table) % 2880)


SIMPLE = "SIMPLE  =                    T"
TABLE = ("XTENSION= 'BINTABLE'", "BITPIX  = 8", "NAXIS   = 2", "NAXIS1  = 8", "NAXIS2  = 1")
EMPTY = ("XTENSION= 'IMAGE'", "BITPIX  = 8", "NAXIS   = 0")
PROMISES = {
    "NAXIS = 1,000,000,000": lambda: header(SIMPLE, "BITPIX  = 8", "NAXIS   = 1000000000"),
    "promises 20000x20000": lambda: gzip.compress(image_header(20000, 20000) + bytes(1000)),
    "promises 9000x9000": lambda: bz2.compress(image_header(9000, 9000)),
    "a band may have 9,437,184": lambda: image_header(4096, 4096).ljust(2880 + 4 * 4096**2 + 2048),
    "TFIELDS = 1,000,000,000": lambda: image_header(0) + header(*TABLE, "TFIELDS = 1000000000"),
    "a header of over 1,048,576 bytes": lambda: gzip.compress(SIMPLE.encode().ljust(10**8)),
    "over 1,000 parts": lambda: image_header(0) + 1000 * header(*EMPTY),
    "a tile of over 75,497,472 bytes": tile_bomb,
}  # fmt: skip


@pytest.mark.parametrize("what", PROMISES)
def test_a_file_that_promises_too_much_is_refused_before_it_is_unpacked(tmp_path, what):
    path = tmp_path / "bomb.fits"
    path.write_bytes(PROMISES[what]())
    tracemalloc.start()
    start = time.monotonic()
    with pytest.raises(BadImage, match=f"bomb.fits: .*{what}"):
        read_any(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert time.monotonic() - start < 10 and peak < 2 * path.stat().st_size + 2e8


def test_a_table_that_promises_too_much_is_refused(tmp_path):
    for what in ("NAXIS = 1,000,000,000", "TFIELDS = 1,000,000,000"):
        (tmp_path / "table.fits").write_bytes(PROMISES[what]())
        with pytest.raises(BadInput, match=f"table.fits: promises {what}"):
            columns(tmp_path / "table.fits")


def test_a_large_image_is_drawn_at_1536_pixels(tmp_path):
    y, x = np.mgrid[:1600, :1700]
    noise = np.random.default_rng(0).normal(0, 0.1, x.shape)
    light = np.exp(-((x - 800) ** 2 + (y - 800) ** 2) / 50_000) + noise
    assert read_any(write(tmp_path / "large.fits", light.astype(np.float32))).shape == (1536, 1632, 3)


def test_a_missing_path(tmp_path):
    with pytest.raises(BadImage, match="nowhere.fits: cannot be read"):
        read_fits(tmp_path / "nowhere.fits")


@pytest.mark.parametrize("seed", range(20))
def test_random_damage_is_an_image_or_one_line(tmp_path, grz, seed):
    """Whatever bytes are overwritten, the reader returns an image or raises `BadImage`."""
    rng = np.random.default_rng(seed)
    data = bytearray(grz.read_bytes())
    for at in rng.integers(0, 2880, 6):
        data[at] = rng.integers(0, 256)
    path = tmp_path / "damaged.fits"
    path.write_bytes(bytes(data))
    try:
        assert isinstance(read_fits(path), FitsImage)
    except BadImage as error:
        assert "damaged.fits" in str(error) and "\n" not in str(error)


# header variants


def test_every_packing_gives_the_same_light(tmp_path, grz):
    expected, whole = read_fits(grz), grz.read_bytes()
    for name, content in {
        "a.fits.gz": gzip.compress(whole),
        "b.fits.bz2": bz2.compress(whole),
        "c.jpg": whole,
    }.items():
        (tmp_path / name).write_bytes(content)
        read = read_fits(tmp_path / name)
        assert np.array_equal(read.bands, expected.bands) and read.names == expected.names
    tiles = fits.CompImageHDU(
        scene((0.3, 0.6, 0.9)), fits.Header([("BANDS", "grz")]), quantize_level=0, compression_type="GZIP_2"
    )
    assert np.array_equal(read_fits(write(tmp_path / "d.fits.fz", None, tiles)).bands, expected.bands)


def test_scaled_and_blank_whole_numbers(tmp_path):
    truth = np.linspace(-3, 30, SIDE * SIDE).reshape(SIDE, SIDE)
    raw = np.round((truth - 20) / 0.001).astype(np.int16)
    raw[5, 7] = -32768
    hdu = fits.PrimaryHDU(raw)
    hdu.header.update({"BSCALE": 0.001, "BZERO": 20.0, "BLANK": -32768, "FILTER": "r"})
    hdu.writeto(tmp_path / "scaled.fits")
    image = read_fits(tmp_path / "scaled.fits")
    assert np.nanmax(np.abs(image.bands[0] - truth)) < 0.001
    assert image.bad == {"not a number": 1, "empty": 0, "saturated": 0, "flagged": 0} and np.isnan(
        image.bands[0, 5, 7]
    )
    counts = (1000 + 500 * BLOB).astype(np.uint16)  # unsigned: BZERO = 32768
    assert np.array_equal(read_fits(write(tmp_path / "unsigned.fits", counts)).bands[0], counts)


@pytest.mark.parametrize("turn", [0, 37, 90, 200])
@pytest.mark.parametrize("mirrored", [False, True])
def test_pixel_scale_north_and_centre_agree_with_astropy(tmp_path, turn, mirrored):
    angle, scale = np.radians(turn), 0.396 / 3600
    matrix = (
        scale
        * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        @ np.diag([1 if mirrored else -1, 1])
    )
    cards = {f"CD{i + 1}_{j + 1}": float(matrix[i, j]) for i in range(2) for j in range(2)}
    image = read_fits(write(tmp_path / "turned.fits", scene((1, 1, 1))[0], **SKY, **cards))
    wcs = WCS(fits.getheader(tmp_path / "turned.fits"))
    ra, dec = wcs.pixel_to_world_values(31.5, 31.5)
    dx, dy = np.array(wcs.world_to_pixel_values(ra, dec + 1 / 3600)) - 31.5
    away = (image.north - np.degrees(np.arctan2(-dx, dy)) + 180) % 360 - 180
    assert image.pixel_scale == pytest.approx(0.396) and abs(away) < 0.01
    assert image.centre == pytest.approx((float(ra), float(dec)))


LOST = [
    {},
    {"CTYPE1": "RA---TAN"},
    {**SKY, "CD1_1": 0.0, "CD2_2": 0.0},
    {"CTYPE1": "LINEAR", "CTYPE2": "LINEAR"},
]


@pytest.mark.parametrize("cards", LOST)
def test_missing_or_broken_coordinates(tmp_path, cards):
    image = read_fits(write(tmp_path / "lost.fits", scene((1, 1, 1))[0], **cards))
    assert (image.pixel_scale, image.north, image.centre) == (None, None, None)


def test_flags_weights_and_saturation(tmp_path):
    bands = scene((1, 1, 1))
    bands[0, :4] = np.nan
    flags, seen = np.zeros((SIDE, SIDE), np.int16), np.ones((SIDE, SIDE), np.float32)
    flags[10, 10], seen[20, 20] = 4096, 0
    legacy = np.zeros((SIDE, SIDE), np.int32)
    legacy[40, 40], legacy[41, 41] = 64, 4096  # bad in all r exposures; part of a large galaxy
    flags[30:40], where = 16 | 64, {"TELESCOP": "HST", "INSTRUME": "ACS"}  # hot and warm pixels are corrected
    remarks = {"DQ": flags, "WHT": seen, "MASKBITS": legacy, "ERR": seen}
    extra = [fits.ImageHDU(values, name=name) for name, values in remarks.items()]
    image = read_fits(
        write(tmp_path / "flags.fits", bands, *extra, BANDS="grz", BUNIT="nanomaggy", SATURATE=0.99, **where)
    )
    core = int((bands >= 0.99).sum())
    assert image.bad == {"not a number": 4 * SIDE, "empty": 0, "saturated": core, "flagged": 7} and core > 0
    assert image.mask.sum() == 4 * SIDE + core + 7 and np.isnan(image.bands).sum() == 4 * SIDE + 7
    assert (
        np.isnan(image.bands[1, 40, 40])
        and not np.isnan(image.bands[0, 40, 40])
        and not image.mask[:, 41, 41].any()
    )
    assert image.missing == pytest.approx([(4 * SIDE + 2) / SIDE**2, 3 / SIDE**2, 2 / SIDE**2])


MASKS = {
    "LSST": ({"EXTTYPE": "MASK", "MP_BAD": 0, "MP_SAT": 1, "MP_DETECTED": 5}, {}, 1, 2, 32),
    "HST": ({"EXTNAME": "DQ"}, {"TELESCOP": "HST", "INSTRUME": "WFC3", "DETECTOR": "IR"}, 4, 256, 512),
    "JWST": ({"EXTNAME": "DQ"}, {"TELESCOP": "JWST"}, 1, 2, 4),
    "BPM": ({"EXTNAME": "BPM"}, {}, 7, 0, 0),
}


@pytest.mark.parametrize("survey", MASKS)
def test_only_the_bits_of_a_mask_that_mean_not_measured_count(tmp_path, survey):
    own, file, bad, full, harmless = MASKS[survey]
    mask = np.full((SIDE, SIDE), harmless, np.int32)
    mask[3, :5], mask[4, :6] = bad, full
    light = fits.ImageHDU(scene((1, 1, 1))[1], fits.Header([("EXTTYPE", "IMAGE")]))
    variance = fits.ImageHDU(light.data**2, fits.Header([("EXTTYPE", "VARIANCE")]))
    path = write(tmp_path / "mask.fits", None, light, fits.ImageHDU(mask, fits.Header(own)), variance, **file)
    image = read_fits(path)
    assert image.bands.shape == (1, SIDE, SIDE) and "part 3 (noise map)" in str(image)
    assert image.bad == {"not a number": 0, "empty": 0, "saturated": 6 if full else 0, "flagged": 5}
    assert np.isnan(image.bands).sum() == 5 and default_recipe(image) == "grey"


PAIRS = {  # cards of the masks, and of the images, of g, r and z
    "by name": ([{"EXTNAME": f"BPM_{band}"} for band in "ZGR"], [{}] * 3, (2, 0, 1)),
    "by filter": ([{"EXTNAME": "BPM", "FILTER": band} for band in "rzg"], [{}] * 3, (1, 2, 0)),
    "by version": ([{"EXTNAME": "BPM", "EXTVER": k} for k in (3, 1, 2)], [{"EXTVER": k} for k in (1, 2, 3)],
                   (2, 0, 1)),
    "by place": ([{"EXTNAME": "BPM"}] * 3, [{}] * 3, (0, 1, 2)),
    "one for a band": ([{"EXTNAME": "BPM_R"}], [{}] * 3, (1,)),
}  # fmt: skip


@pytest.mark.parametrize("how", PAIRS)
def test_a_mask_marks_its_own_band_alone(tmp_path, how):
    masks, images, owners = PAIRS[how]
    light = [
        fits.ImageHDU(plane, fits.Header([*{"EXTNAME": "SCI", "FILTER": band, **cards}.items()]))
        for plane, band, cards in zip(scene((1, 1, 1)), "grz", images, strict=True)
    ]
    parts = []
    for k, cards in enumerate(masks):
        mask = np.zeros((SIDE, SIDE), np.uint8)
        mask[30 + 2 * k, 32 : 33 + k] = 1
        parts.append(fits.ImageHDU(mask, fits.Header([*cards.items()])))
    image = read_fits(write(tmp_path / "masks.fits", None, *light, *parts, BUNIT="nanomaggy"))
    expected = np.zeros((3, SIDE, SIDE), bool)
    for k, owner in enumerate(owners):
        expected[owner, 30 + 2 * k, 32 : 33 + k] = True
    assert image.names == ("g", "r", "z") and np.array_equal(image.mask, expected)
    assert np.array_equal(np.isnan(image.bands), expected)
    rgb = to_rgb(image, "decals")[::-1]
    assert rgb[expected.any(0)].min() > 100  # the other bands show the galaxy's core


def test_one_mask_for_all_bands_marks_them_all_and_one_of_two_planes_is_refused(tmp_path):
    light, mask = scene((1, 1, 1)), np.zeros((3, SIDE, SIDE), np.uint8)
    mask[:, 9, 9] = 1
    path, cards = tmp_path / "mask.fits", {"BANDS": "grz", "BUNIT": "nanomaggy"}
    image = read_fits(write(path, light, fits.ImageHDU(mask[0], name="BPM"), **cards))
    assert image.mask[:, 9, 9].all() and image.mask.sum() == 3 and not to_rgb(image)[::-1][9, 9].any()
    with pytest.raises(BadImage, match="mask of 2 bands for 3"):
        read_fits(write(path, light, fits.ImageHDU(mask[:2], name="BPM"), **cards))


def test_a_mask_of_an_unknown_survey_is_named_and_not_applied(tmp_path):
    _tell.cache_clear()  # it is told once in a process
    mask = fits.ImageHDU(np.full((SIDE, SIDE), 4, np.int16), name="DQ")
    with pytest.warns(LeftOut, match="mask DQ"):
        image = read_fits(write(tmp_path / "mask.fits", scene((1, 1, 1))[1], mask, TELESCOP="ESO-NTT"))
    assert not image.mask.any() and "mask DQ (the meaning of its bits is not known)" in str(image)


SEGMENTS = (BLOB > 0.2).astype(np.int32) + 2 * (X > 60)
MAPS = {
    "galaxy.fits": ("a noise map", [BLOB], {"BUNIT": "1/nanomaggy^2"}),
    "j8hm01_drz.wht.fits": ("a weight", [BLOB + 900], {}),
    "0831p015-w1-unc-3.fits": ("a noise map", [BLOB], {}),
    "stk.g.unconv.wt.fits": ("a weight", [BLOB + 900], {}),
    "ngc1300_psf.fits": ("a point spread function", [BLOB], {}),
    "ngc1300_seg.fits.gz": ("a map of sources", [SEGMENTS], {}),
    "labels.fits": ("holds a map", [SEGMENTS], {}),
    "floats.fits": ("holds a map", [SEGMENTS.astype(np.float32)], {}),
    "invvar.fits": ("a weight", [BLOB], {"IMTYPE": "invvar"}),
    "two.fits": ("a noise map and a mask", [None, fits.ImageHDU(BLOB, name="ERR"),
                                            fits.ImageHDU(SEGMENTS, name="MASK")], {}),
}  # fmt: skip


@pytest.mark.parametrize("name", MAPS)
def test_maps_are_no_galaxies(tmp_path, name):
    what, planes, cards = MAPS[name]
    with pytest.raises(BadImage, match=what):
        read_fits(write(tmp_path / name, *planes, **cards))


def test_a_galaxy_among_maps_is_found_whatever_the_file_is_called(tmp_path):
    light = scene((1, 1, 1))[0]
    for name in ("galaxy.fits", "galaxy_seg.fits"):
        path = write(tmp_path / name, light, SEGMENTS, (SEGMENTS > 1).astype(np.int16))
        image = read_fits(path)
        assert np.array_equal(image.bands, light[None]) and "part 1 (map of whole numbers)" in str(image)
    assert read_any(path).shape == (SIDE, SIDE, 3)


@pytest.mark.parametrize("level", [0, 2000])
def test_a_solid_area_of_zeros_is_empty_and_single_zeros_are_sky(tmp_path, level):
    light = (100 * scene((1, 1, 1))[1] + level).astype(np.float32)
    expected = to_rgb(read_fits(write(tmp_path / "whole.fits", light)))
    light[np.random.default_rng(3).random(light.shape) < 0.01] = 0
    assert read_fits(write(tmp_path / "single.fits", light)).bad["empty"] == 0
    light[:, :9] = 0
    drawn = read_any(write(tmp_path / "strip.fits", light)).astype(int)
    assert np.abs(drawn - expected)[:, 9:].mean() < 6 and drawn.max() == 255 and not drawn[:, :9].any()
    light[:, :25] = 0
    with pytest.raises(BadImage, match="lacks 39% of band 1"):
        read_any(write(tmp_path / "half.fits", light))


@pytest.mark.parametrize("value", [-9999, -99, 1e30, -1e30, -3.4e38])
def test_values_that_mark_missing_data_are_no_light(tmp_path, value):
    light = scene((1, 1, 1))[1]
    light[40:] = value
    with pytest.raises(BadImage, match="lacks 38% of band 1"):
        read_any(write(tmp_path / "sentinel.fits", light))
    light[:] = value
    with pytest.raises(BadImage, match="everywhere|no good pixel"):
        read_any(write(tmp_path / "all.fits", light))


def test_axes_of_length_one_and_a_band_without_data(tmp_path):
    light = scene((0.3, 0.6, 0.9))
    for shape in ((1, SIDE, SIDE), (1, 1, SIDE, SIDE), (SIDE, SIDE, 1), (SIDE, 1, SIDE, 1)):
        image = read_fits(write(tmp_path / "axes.fits", light[1].reshape(shape)))
        assert np.array_equal(image.bands, light[1:2])
    for cube in (light[None], light[..., None], light[:, :, None]):
        assert np.array_equal(read_fits(write(tmp_path / "axes.fits", cube)).bands, light)
    for dead in (0, np.nan):
        griz = np.concatenate([light[:2], np.full_like(light[:1], dead), light[2:]])
        path = write(tmp_path / "griz.fits", griz, BANDS="griz", BUNIT="nanomaggy")
        image = read_fits(path)
        assert image.names == ("g", "r", "z") and "band i" in str(image)
        assert np.array_equal(read_any(path), to_rgb(image_of(light, "grz")))
    griz[2], griz[2, :30] = light[1], np.nan
    partial = write(tmp_path / "partial.fits", griz, BANDS="griz", SURVEY="LegacySurvey")
    assert np.array_equal(read_any(partial), to_rgb(image_of(light, "grz")))  # i is not used


@pytest.mark.parametrize("key, text, what", [
    ("MAGZERO", "25.0", ""), ("SATURATE", "60000", ""), ("SATURATE", "high", "SATURATE is 'high'"),
    ("MAGZERO", "1e9", "MAGZERO is '1e9'"), ("BSCALE", "2", "BSCALE is the text .2.,"),
])  # fmt: skip
def test_numbers_in_quotes(tmp_path, key, text, what):
    path = write(tmp_path / "quotes.fits", scene((1, 1, 1))[1], **{key: text})
    if not what:
        assert read_any(path).shape == (SIDE, SIDE, 3)
        return
    with pytest.raises(BadImage, match=what) as caught:
        read_fits(path)
    assert "fetch it again" not in str(caught.value)


def test_an_sdss_frame_with_its_tables(tmp_path):
    table = fits.BinTableHDU.from_columns([fits.Column("allsky", "E", array=[0.1])])
    cards = {"FILTER": "r", "BUNIT": "nanomaggy", "ORIGIN": "SDSS"}
    image = read_fits(
        write(tmp_path / "frame.fits", scene((1, 1, 1))[1], fits.ImageHDU(np.ones(64)), table, **cards)
    )
    assert (image.names, image.unit, image.survey) == (("r",), "nanomaggy", "sdss") and default_recipe(
        image
    ) == "grey"


def test_hubble_science_extension_takes_the_filter_from_the_first_header(tmp_path):
    one = scene((1, 1, 1))[0]
    header = fits.Header([("BUNIT", "ELECTRONS/S")])
    extra = [fits.ImageHDU(one, header, name="SCI"), fits.ImageHDU(one[:20].copy(), name="D001SCAL")]
    cards = {"FILTER1": "CLEAR1L", "FILTER2": "F814W", "PHOTFLAM": 7.033e-20, "PHOTPLAM": 8047.0}
    image = read_fits(write(tmp_path / "drz.fits", None, *extra, **cards))
    assert (image.names, image.unit) == (("F814W",), "nanomaggy")


def test_join(tmp_path, grz):
    cards = dict(SKY, CDELT1=-1e-4, CDELT2=1e-4, BUNIT="nanomaggy")
    bands = scene((0.3, 0.6, 0.9))
    one_each = [
        read_fits(write(tmp_path / f"{band}.fits", plane, FILTER=band, **cards))
        for band, plane in zip("grz", bands, strict=True)
    ]
    assert np.array_equal(to_rgb(join(*one_each)), to_rgb(read_fits(grz)))
    for name, rows, change in (
        ("smaller", 50, {}),
        ("elsewhere", SIDE, {"CRVAL2": 60.01}),
        ("counts", SIDE, {"BUNIT": "adu"}),
    ):
        other = read_fits(
            write(tmp_path / f"{name}.fits", bands[1, :rows].copy(), FILTER="r", **{**cards, **change})
        )
        with pytest.raises(BadInput, match=f"{name}.fits"):
            join(one_each[0], other)
    with pytest.raises(BadInput, match="one band"):
        join(one_each[0], one_each[0])


# known truths


def image_of(bands, names, unit="nanomaggy"):
    bands = np.asarray(bands, np.float32)
    return FitsImage(bands, np.isnan(bands), tuple(names), unit, name="made")


@pytest.mark.parametrize("recipe, names", [("sdss", "gri"), ("decals", "grz")])
@pytest.mark.parametrize("red", [True, False])
def test_a_red_source_is_red_and_a_blue_one_blue(recipe, names, red):
    flux = (0.1, 0.5, 1.5) if red else (0.6, 0.5, 0.4)
    r, g, b = (
        to_rgb(image_of(scene(flux), names), recipe)[26:38, 26:38].reshape(-1, 3).astype(int).mean(axis=0)
    )
    assert r > g > b if red else r < g < b


@pytest.mark.parametrize("red", [True, False])
def test_two_bands_in_either_order_and_cosmos(red):
    blue, _, long = scene((0.2, 0.5, 1.5) if red else (1.5, 1, 0.4))
    forth = to_rgb(image_of([blue, long], ("F606W", "F814W")))
    assert np.array_equal(forth, to_rgb(image_of([long, blue], ("F814W", "F606W"))))
    sharp = scene((1, 1, 1), seed=2)[:1]
    pseudo = to_rgb(
        image_of(
            np.concatenate([scene((0.2, 0.5, 1.5) if red else (1.5, 1, 0.4)), sharp]),
            ("B", "r", "i", "F814W"),
        )
    )
    for rgb in (forth, pseudo):
        r, g, b = rgb[28:36, 28:36].reshape(-1, 3).astype(int).mean(axis=0)
        assert r > g > b if red else r < g < b


def test_cosmos_keeps_the_sharpness_of_hubble():
    ground = np.stack([band + 0 * BLOB for band in scene((0.5, 0.5, 0.5))])
    sharp = np.exp(-((X - 32) ** 2 + (Y - 32) ** 2) / 4) + np.random.default_rng(3).normal(
        0, 0.01, BLOB.shape
    )
    width = {}
    for name, bands in {"pseudo": [*ground, sharp], "ground": [*ground, BLOB + 0 * sharp]}.items():
        bright = to_rgb(image_of(bands, ("B", "r", "i", "F814W"))).max(axis=2)
        width[name] = (bright > 128).sum()
    assert width["pseudo"] < 0.5 * width["ground"]


UNITS = [
    ({"BUNIT": "nanomaggy"}, 1),
    ({"BUNIT": "NANOMAGGIES"}, 1),
    ({"BUNIT": "uJy"}, 3.631),
    ({"BUNIT": "Jy"}, 3.631e-6),
    ({"BUNIT": "adu", "MAGZERO": 25.0}, 10),
    ({"MAGZERO": 30.0}, 1000),
    ({"SURVEY": "DECaLS"}, 1),
]


@pytest.mark.parametrize("cards, factor", UNITS)
def test_the_rgb_image_does_not_depend_on_the_unit(tmp_path, grz, cards, factor):
    image = read_fits(
        write(
            tmp_path / "unit.fits", scene((0.3, 0.6, 0.9)).astype(np.float64) * factor, BANDS="grz", **cards
        )
    )
    assert image.unit == "nanomaggy" and np.allclose(image.bands, read_fits(grz).bands, rtol=1e-4, atol=1e-7)
    assert np.abs(to_rgb(image).astype(int) - to_rgb(read_fits(grz))).max() <= 1


@pytest.mark.parametrize("factor, pedestal", [(1e-12, 0), (1e6, 0), (40, 900)])
def test_grey_depends_on_neither_scale_nor_sky(factor, pedestal):
    band = scene((1, 1, 1))[:1].astype(np.float64)
    difference = to_rgb(image_of(band, "r")).astype(int) - to_rgb(
        image_of(band * factor + pedestal, "r", "adu")
    )
    assert np.abs(difference).max() <= 2


def test_resampling_keeps_the_mean_light_and_leaves_holes_alone():
    image = image_of(scene((0.5, 1, 2)), "grz")
    for size in (16, 32, 48, 128):
        assert np.allclose(
            resample(image, size).bands.mean(axis=(1, 2)), image.bands.mean(axis=(1, 2)), rtol=0.02
        )
    hot = image_of(np.full((1, SIDE, SIDE), 3.0), "r")
    hot.bands[0, 20:40, 20:40] = 1e6
    hot.mask[0, 20:40, 20:40] = True  # flagged: must not reach its surroundings
    hot.bands[hot.mask] = np.nan
    for size in (16, 32, 48, 128):
        light = resample(hot, size).bands
        assert np.allclose(light[~np.isnan(light)], 3) and np.isnan(light).mean() == pytest.approx(
            400 / SIDE**2, rel=0.25
        )


def test_a_saturated_core_stays_bright_and_counts_as_bad():
    image = image_of(scene((1, 1, 1)), "grz")
    core = (X - 32) ** 2 + (Y - 32) ** 2 < 30
    image.bands[:, core], image.mask[:, core] = 500, True
    small = resample(image, 32)
    assert small.mask[:, 16, 16].all() and (to_rgb(image, size=32)[15, 16] == 255).all()


def test_a_pixel_without_any_band_is_black_and_without_one_is_grey():
    image = image_of(scene((0.5, 1, 2)), "grz")
    image.bands[0, :, :32], image.bands[:, :, 50:] = np.nan, np.nan
    for recipe in ("decals", "sdss"):
        rgb = to_rgb(image_of(image.bands, "grz" if recipe == "decals" else "gri"), recipe).astype(int)
        assert (
            (rgb[:, 50:] == 0).all()
            and np.ptp(rgb[:, :32], axis=2).max() <= 1
            and np.ptp(rgb[:, 32:50], axis=2).max() > 10
        )


def test_the_rgb_image_is_upright():
    band = scene((1, 1, 1))[:1] * 0.1
    band[0, -10:, :10] += 2  # the last rows of a FITS image are its top
    assert to_rgb(image_of(band, "r"))[:8, :8].mean() > 200


# choice of the recipe


@pytest.mark.parametrize(
    "names, unit, message",
    [
        ("gri", "adu", "sdss"),
        (("", "", ""), "nanomaggy", "sdss or decals"),
        ("ugr", "nanomaggy", "no recipe fits"),
        (("F606W", "F814W"), "unknown", "two_bands"),
        (("", ""), "nanomaggy", "two_bands"),
    ],
)
def test_where_no_recipe_fits_the_error_names_those_that_would(names, unit, message):
    with pytest.raises(BadInput, match=message) as caught:
        to_rgb(image_of(scene((1, 1, 1))[: len(names)], names, unit))
    assert str(caught.value).count("made") == 1 and "\n" not in str(caught.value)


def test_what_the_message_says_to_write_into_the_header_helps(tmp_path):
    light, path = scene((0.3, 0.6, 0.9)), tmp_path / "cube.fits"
    with pytest.raises(BadImage, match="BUNIT = 'nanomaggy' and BANDS = 'gri' or BANDS = 'grz'") as caught:
        read_any(write(path, light))
    assert str(caught.value).count("cube.fits") == 1 and "unit=" not in str(caught.value)
    assert read_any(write(path, light, BUNIT="nanomaggy", BANDS="grz")).shape == (SIDE, SIDE, 3)
    parts = [fits.ImageHDU(plane) for plane in light]
    with pytest.raises(BadImage, match=r"FILTER \('g', 'r', 'i' or 'g', 'r', 'z', in parts 1, 2, 3\)"):
        read_any(write(path, None, *parts, BUNIT="nanomaggy"))
    for number, band in enumerate("grz", 1):
        fits.setval(path, "FILTER", value=band, ext=number)
    assert read_any(path).shape == (SIDE, SIDE, 3)
    griz, cards = np.concatenate([light, light[:1]]), {"BUNIT": "nanomaggy", "BANDS": "griz"}
    with pytest.raises(BadImage, match="SURVEY = 'SDSS' or 'DECaLS'"):
        read_any(write(path, griz, **cards))
    assert read_any(write(path, griz, SURVEY="DECaLS", **cards)).shape == (SIDE, SIDE, 3)


@pytest.mark.parametrize("unit, factor", [("nanomaggy", 1), ("uJy", 3.631)])
def test_a_unit_that_is_given_stands_for_that_of_the_header(unit, factor, tmp_path, grz):
    light = scene((0.3, 0.6, 0.9)).astype(np.float64) * factor
    path = write(tmp_path / "cube.fits", light, BANDS="grz", BUNIT="adu")
    with pytest.raises(BadImage, match="the option --unit nanomaggy stands for that BUNIT"):
        read_any(path)
    image = read_fits(path, unit)
    assert image.unit == "nanomaggy" and np.allclose(image.bands, read_fits(grz).bands, rtol=1e-4, atol=1e-7)
    assert np.abs(read_any(path, unit=unit).astype(int) - read_any(grz)).max() <= 1
    table = pd.DataFrame({"id_str": ["one"], "path": [str(path)]})
    assert len(thumbnails(table, unit)[0]) == 1 and len(thumbnails(table)[0]) == 0
    _, squares, bad = open_images([("one", path)], 32, 1.0, unit=unit)
    assert len(squares) == 1 and not bad
    given, read = open_input(path, unit=unit), open_input(path)
    assert given.unit == unit and given.identity != read.identity
    assert list(given.all_rows()) == [("cube", path)]


def test_a_named_recipe_takes_unnamed_bands_in_their_order():
    bands = scene((0.3, 0.6, 0.9))
    assert np.array_equal(to_rgb(image_of(bands, ("", "", "")), "decals"), to_rgb(image_of(bands, "grz")))
    assert np.array_equal(to_rgb(image_of(bands[::-1], "zrg")), to_rgb(image_of(bands, "grz")))
    with pytest.raises(BadInput, match="recipes are"):
        to_rgb(image_of(bands, "grz"), "hubble")
    with pytest.raises(BadInput, match="size is 3"):
        to_rgb(image_of(bands, "grz"), size=3)


def test_read_any_tells_fits_from_other_images_by_content(tmp_path, grz):
    rgb = to_rgb(read_fits(grz))
    (tmp_path / "wrong_name.jpg").write_bytes(gzip.compress(grz.read_bytes()))
    Image.fromarray(rgb).save(tmp_path / "image.png")
    for name in ("wrong_name.jpg", "image.png"):
        assert np.array_equal(read_any(tmp_path / name), rgb)
    (tmp_path / "page.fits").write_text("<html>")
    for name in ("page.fits", "nowhere.fits"):
        with pytest.raises(BadImage, match=name):
            read_any(tmp_path / name)
    half = scene((0.3, 0.6, 0.9))
    half[2, :, :40] = np.nan
    path = write(tmp_path / "half.fits", half, BANDS="grz", BUNIT="nanomaggy")
    with pytest.raises(BadImage, match="half.fits: lacks 62% of band z"):
        read_any(path)
    assert read_any(path, max_missing=1).shape == (SIDE, SIDE, 3) and is_fits(path.read_bytes())
    with pytest.raises(BadImage, match="memory.fits"):
        decode_any(path.read_bytes()[:5000], "memory.fits")


# real files


def test_every_real_file_is_an_image_or_an_error_that_names_it(fits_root):
    paths = sorted(path for path in fits_root.rglob("*") if path.is_file())
    assert len(paths) == 39
    refused, flat = {}, []
    for path in paths:
        try:
            image = read_fits(path)
        except BadImage as error:
            refused[path.name] = str(error)
            continue
        rgb = to_rgb(image, size=96)
        recipe = default_recipe(image)
        assert rgb.dtype == np.uint8 and min(rgb.shape[:2]) == 96, path
        assert recipe == ("decals" if "decals" in str(path) else "grey"), path
        if np.ptp(rgb) < 200 or not 5 < np.median(rgb) < 160:
            flat.append(path.name)
    assert list(refused) == ["example_incomplete.fits"]
    assert (
        "example_incomplete.fits: is cut off: 1389044 of 2162880 bytes" in refused["example_incomplete.fits"]
    )
    assert not flat
    gaps = read_fits(fits_root / "decals_zooniverse/example_bad_pix.fits")
    assert gaps.missing == pytest.approx([0.757, 0.728, 0], abs=0.001) and set(RECIPES) >= {"decals", "grey"}
    with pytest.raises(BadImage, match="lacks 76% of band g"):
        read_any(gaps.name)  # the name is the path


def test_real_headers(fits_root):
    frame = read_fits(fits_root / "sdss_weinaike/image.fit")
    assert (frame.names, frame.unit, frame.survey, frame.bad["not a number"]) == (
        ("r",),
        "nanomaggy",
        "sdss",
        768,
    )
    assert frame.pixel_scale == pytest.approx(0.396, abs=0.001) and frame.north == pytest.approx(-90, abs=0.2)
    close, wide = (
        read_fits(fits_root / f"decals_zooniverse/{name}.fits") for name in ("example_a", "temp_small")
    )
    assert (close.names, close.unit, close.survey) == (("g", "r", "z"), "nanomaggy", "decals")
    assert (
        close.pixel_scale == pytest.approx(0.1)
        and wide.pixel_scale == pytest.approx(0.262)
        and abs(close.north) < 1e-6
    )
    assert close.centre == pytest.approx(wide.centre, abs=1e-4)
    decam = [read_fits(fits_root / f"decam_piraino/132_{band}band.fits") for band in "gr"]
    assert all(
        image.unit == "unknown" and image.pixel_scale == pytest.approx(0.263, abs=0.001) for image in decam
    )
    assert decam[0].bad["not a number"] == 7936
    hubble = read_fits(fits_root / "hst_matthewkirby/hstx2366y9367.r.fits")
    assert (hubble.pixel_scale, hubble.names, hubble.unit) == (None, ("",), "unknown")
