"""Images with random damage: pixels, or one line that names the image.

A longer search: `FUZZ_EXAMPLES=20000 pytest tests/test_image_fuzz.py`.
"""

import io
import os
import struct
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from galaxy_sommelier.images.pixels import FORMATS, BadImage, decode

LONGER = int(os.environ.get("FUZZ_EXAMPLES", 0))
FUZZ = settings(
    max_examples=LONGER or 60,
    derandomize=not LONGER,
    deadline=10_000,  # milliseconds
    suppress_health_check=list(HealthCheck),
    database=None,
)
SIDE = 48
GALAXY = np.random.default_rng(2).integers(0, 255, (SIDE, SIDE, 3), np.uint8)
EXIF = Image.Exif()
EXIF[0x0112] = 6


def file_of(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


RGB, GREY = Image.fromarray(GALAXY), Image.fromarray(GALAXY[..., 0].astype(np.uint16) * 257)
SEEDS = {
    "jpeg": file_of(RGB, "JPEG"),
    "progressive jpeg with exif": file_of(RGB, "JPEG", progressive=True, exif=EXIF),
    "cmyk jpeg": file_of(RGB.convert("CMYK"), "JPEG"),
    "png": file_of(RGB, "PNG"),
    "palette png": file_of(RGB.quantize(16), "PNG", transparency=3, exif=EXIF),
    "16-bit png": file_of(GREY, "PNG"),
    "tiff": file_of(RGB, "TIFF", exif=EXIF),
    "packed tiff": file_of(RGB, "TIFF", compression="tiff_lzw"),
    "16-bit tiff": file_of(GREY, "TIFF", compression="tiff_adobe_deflate"),
    "gif": file_of(RGB.quantize(16), "GIF"),
    "webp": file_of(RGB, "WEBP", exif=EXIF),
    "bmp": file_of(RGB, "BMP"),
    "jpeg 2000": file_of(RGB, "JPEG2000"),
}


def check(data):
    """Decode an image; an error is one line of printable text with its name in front."""
    with warnings.catch_warnings(action="ignore"):
        try:
            pixels = decode(data, "587.jpg")
        except BadImage as error:
            line = str(error)
            assert line.startswith("587.jpg: ") and "\n" not in line and len(line) < 400, line
            return
    assert pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.dtype == np.uint8


@st.composite
def damaged(draw, seed):
    """Return a file with bytes changed, cut out, put in or repeated, more often near its start."""
    data = bytearray(seed)
    for _ in range(draw(st.integers(1, 6))):
        near = draw(st.sampled_from((64, 700, len(seed))))
        at = draw(st.integers(0, min(near, len(data)) - 1)) if data else 0
        new = draw(st.one_of(
            st.binary(max_size=8),
            st.sampled_from([struct.pack(order + "I", number) for order in "<>" for number in
                             (0, 1, 2**16, 2**31 - 1, 2**31, 2**32 - 1)]),
            st.just(bytes(data[at : at + 40])),
        ))
        data[at : at + draw(st.sampled_from((0, len(new), 1, 30)))] = new
    return bytes(data[: draw(st.one_of(st.just(len(data)), st.integers(0, len(data))))])


def with_sums(data):
    """Return a PNG file with the right checksum of each chunk, so that damage passes the first check."""
    whole, at = data[:8], 8
    while at + 12 <= len(data):
        length = min(int.from_bytes(data[at : at + 4], "big"), len(data) - at - 12)
        chunk = data[at + 4 : at + 8 + length]
        whole += struct.pack(">I", length) + chunk + struct.pack(">I", zlib.crc32(chunk))
        at += 12 + length
    return whole


@pytest.mark.parametrize("kind", SEEDS)
@FUZZ
@given(st.data())
def test_a_damaged_image_is_pixels_or_one_line(kind, data):
    content = data.draw(damaged(SEEDS[kind]))
    check(content)
    if content[1:4] == b"PNG":
        check(with_sums(content))


STARTS = [
    b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*", b"II+\0", b"GIF89a", b"BM",
    b"RIFF\0\1\0\0WEBPVP8 ", b"\0\0\0\x0cjP  \r\n\x87\n", b"%!PS-Adobe", b"\x0a\5\1\x08",
]


@FUZZ
@given(st.sampled_from(STARTS), st.binary(max_size=300))
def test_bytes_with_the_start_of_an_image_are_refused(start, rest):
    check(start + rest)


SIDES, MODES = st.integers(1, 70), st.sampled_from("1 L LA P RGB RGBA CMYK".split())


@FUZZ
@given(st.sampled_from(FORMATS), SIDES, SIDES, MODES)
def test_every_size_and_mode_is_pixels_or_one_line(kind, width, height, mode):
    image = RGB.resize((width, height)).convert(mode)
    try:
        data = file_of(image, kind)
    except (OSError, ValueError):  # this format has no such mode
        return
    check(data)
