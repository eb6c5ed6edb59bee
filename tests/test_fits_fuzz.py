"""FITS files with random headers and random damage: an image, or one line that names the file.

A longer search: `FUZZ_EXAMPLES=20000 pytest tests/test_fits_fuzz.py`.
"""

import gzip
import io
import os

import numpy as np
from astropy.io import fits
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from galaxy_sommelier.images.pixels import BadImage
from galaxy_sommelier.images.stretch import decode_any

LONGER = int(os.environ.get("FUZZ_EXAMPLES", 0))
FUZZ = settings(
    max_examples=LONGER or 150,
    derandomize=not LONGER,
    deadline=10_000,  # milliseconds
    suppress_health_check=list(HealthCheck),
    database=None,
)
SIDE = 24
LIGHT = np.random.default_rng(1).normal(0.5, 1, (3, SIDE, SIDE)).astype(np.float32)


def file_of(*hdus):
    stream = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(stream)
    return stream.getvalue()


def packed(kind, values):
    return fits.CompImageHDU(values, compression_type=kind, tile_shape=(8, SIDE))


COUNTS = (100 + 20 * LIGHT[0]).astype(np.int16)
FILES = {
    "cube": file_of(fits.ImageHDU(LIGHT, fits.Header([("BANDS", "grz"), ("BUNIT", "nanomaggy")]))),
    "lsst": file_of(*(fits.ImageHDU(LIGHT[0], name=name) for name in ("IMAGE", "MASK", "VARIANCE"))),
    "maps": file_of(fits.ImageHDU(LIGHT[0]), fits.ImageHDU(COUNTS), fits.ImageHDU(COUNTS, name="DQ")),
    "rice": file_of(packed("RICE_1", LIGHT[0]), packed("RICE_1", COUNTS)),
    "gzip": file_of(packed("GZIP_1", LIGHT[0]), packed("GZIP_2", COUNTS)),
    "plio": file_of(packed("PLIO_1", COUNTS)),
    "table": file_of(fits.BinTableHDU.from_columns([fits.Column("ra", "D", array=[1.0, 2.0])])),
}
KEYS = """
SIMPLE XTENSION BITPIX NAXIS NAXIS1 NAXIS2 NAXIS3 PCOUNT GCOUNT GROUPS TFIELDS TFORM1 THEAP END
ZIMAGE ZCMPTYPE ZBITPIX ZNAXIS ZNAXIS1 ZNAXIS2 ZTILE1 ZTILE2 ZVAL1 ZNAME1 ZQUANTIZ ZDITHER0 ZBLANK
BSCALE BZERO BLANK BUNIT SATURATE MAGZERO PHOTFLAM PHOTPLAM EXPTIME BANDS FILTER BAND1 SURVEY ORIGIN
TELESCOP INSTRUME EXTNAME EXTTYPE EXTVER IMTYPE MP_BAD MP_SAT COMMENT CONTINUE HIERARCH INHERIT CHECKSUM
CTYPE1 CTYPE2 CRVAL1 CRVAL2 CRPIX1 CD1_1 CD2_2 CDELT1 CDELT2 CROTA2 PV2_1 A_ORDER WCSAXES LONPOLE CUNIT1
""".split()
NUMBERS = st.one_of(
    st.sampled_from([-1, 0, 1, 2, 3, 8, 16, 24, 32, 64, 999, 10**9, 2**31, 2**63, 10**30]),
    st.integers(),
    st.floats(),
)
WORDS = """
T F ' '' g F814W MASK SCI nanomaggy 1/nanomaggy^2 RA---TAN DEC--TAN HST JWST ACS GZIP_1 HCOMPRESS_1 NaN 1D3
PB(9) IMAGE BINTABLE LegacySurvey /
""".split()
VALUES = st.one_of(NUMBERS.map(str), st.sampled_from(["", *WORDS]), st.text(max_size=70))
TEXTS = st.tuples(VALUES, st.booleans()).map(lambda pair: f"'{pair[0]}'" if pair[1] else pair[0])
CARDS = st.tuples(st.sampled_from(KEYS), TEXTS, st.booleans(), st.integers(0, 40))


def changed(data, cards):
    """Replace the cards of these keywords, or overwrite and insert others."""
    for key, text, insert, at in cards:
        card = f"{key:8}= {text}".encode("latin-1", "replace")[:80].ljust(80)
        found = data.find(f"\n{key:8}=".encode()[1:], 80 * at)
        start = found if found >= 0 and found % 80 == 0 and not insert else 80 * at
        data = data[:start] + card + data[start + 80 :]
    return data


def check(data, name="fuzzed.fits"):
    try:
        pixels = decode_any(data, name)
    except BadImage as error:
        assert str(error).startswith(f"{name}: ") and "\n" not in str(error) and len(str(error)) < 600
    else:
        assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3


@FUZZ
@given(st.sampled_from(sorted(FILES)), st.lists(CARDS, min_size=1, max_size=4), st.booleans())
@example("cube", [("NAXIS", "1000000000", False, 0)], False)
@example("cube", [("SATURATE", "'60000'", True, 8)], False)
def test_any_header_is_an_image_or_one_line(kind, cards, pack):
    data = changed(FILES[kind], cards)
    check(gzip.compress(data, 1) if pack else data)


@FUZZ
@given(
    st.sampled_from(sorted(FILES)),
    st.lists(st.tuples(st.integers(0, 2**16), st.binary(min_size=1, max_size=12)), max_size=5),
    st.integers(0, 2**16),
    st.booleans(),
)
def test_any_damage_is_an_image_or_one_line(kind, changes, end, cut):
    data = bytearray(FILES[kind])
    for at, piece in changes:
        at %= len(data)
        data[at : at + len(piece)] = piece
    check(bytes(data[: end % len(data)] if cut else data))
