"""Image files in every colour mode and with every kind of damage."""

import io
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from galaxy_sommelier.data.store import Store, write_store
from galaxy_sommelier.images.pixels import BadImage, ImageReport, decode, encode, read_image, resize
from galaxy_sommelier.images.simulation import simulate
from galaxy_sommelier.images.stretch import read_any

RNG = np.random.default_rng(0)
PIXELS = np.asarray(
    Image.fromarray(RNG.integers(0, 255, (12, 12, 3), np.uint8)).resize((64, 64), Image.Resampling.BICUBIC)
)
GREY = np.asarray(Image.fromarray(PIXELS).convert("L"))


def file_of(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


IMAGE = Image.fromarray(PIXELS)
CLEAR = np.dstack([PIXELS, np.full((64, 64), 255, np.uint8)])
CLEAR[3, 3, 3] = 254
PALETTE = IMAGE.quantize(16)


def chunk(name, content):  # of a PNG file
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def deep_png(values, bits=None):  # (64, 64) or (64, 64, 3), 16 bits each; bits: as in sBIT
    head = struct.pack(">2I5B", 64, 64, 16, 2 if values.ndim == 3 else 0, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    parts = [chunk(b"IHDR", head), chunk(b"sBIT", bytes([bits])) if bits else b""]
    return b"".join([b"\x89PNG\r\n\x1a\n", *parts, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")])


def tiff_of_12_bits(values):  # (64, 64), two numbers in three bytes
    a, b = values[:, ::2].ravel(), values[:, 1::2].ravel()
    packed = np.stack([a >> 4, (a & 15) << 4 | b >> 8, b & 255], -1).astype(np.uint8).tobytes()
    tags = {256: 64, 257: 64, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: 64, 279: len(packed)}
    entries = b"".join(struct.pack("<2H2I", tag, 4, 1, value) for tag, value in tags.items())
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(packed)) + packed + directory


def with_bits(bits):  # the grey image as a camera counts it
    return np.round(GREY * ((2**bits - 1) / 255)).astype(np.uint16)

GOOD = {  # each becomes (64, 64, 3) within the given mean difference, in grey levels
    "jpeg": (file_of(IMAGE, "JPEG", quality=95, subsampling=0), PIXELS, 4),
    "progressive jpeg": (file_of(IMAGE, "JPEG", quality=95, subsampling=0, progressive=True), PIXELS, 4),
    "grey jpeg": (file_of(IMAGE.convert("L"), "JPEG", quality=95), np.dstack([GREY] * 3), 4),
    "cmyk jpeg": (file_of(IMAGE.convert("CMYK"), "JPEG", quality=95), PIXELS, 5),
    "png": (file_of(IMAGE, "PNG"), PIXELS, 0),
    "grey png": (file_of(IMAGE.convert("L"), "PNG"), np.dstack([GREY] * 3), 0),
    "black and white png": (
        file_of(IMAGE.convert("1"), "PNG"),
        np.asarray(IMAGE.convert("1").convert("RGB")),
        0,
    ),
    "palette png": (file_of(PALETTE, "PNG"), np.asarray(PALETTE.convert("RGB")), 0),
    "opaque rgba png": (file_of(IMAGE.convert("RGBA"), "PNG"), PIXELS, 0),
    "opaque grey and alpha png": (file_of(IMAGE.convert("LA"), "PNG"), np.dstack([GREY] * 3), 0),
    "16-bit png": (file_of(Image.fromarray(GREY.astype(np.uint16) * 257), "PNG"), np.dstack([GREY] * 3), 0),
    "16-bit tiff": (file_of(Image.fromarray(GREY.astype(np.uint16) * 257), "TIFF"), np.dstack([GREY] * 3), 0),
    "16-bit tiff, 0 is white": (
        file_of(Image.fromarray(65535 - GREY.astype(np.uint16) * 257), "TIFF", tiffinfo={262: 0}),
        np.dstack([GREY] * 3),
        0,
    ),
    "14 bits in a png that names them": (deep_png(with_bits(14), 14), np.dstack([GREY] * 3), 0),
    "12 bits in a png that names them": (deep_png(with_bits(12), 12), np.dstack([GREY] * 3), 0),
    "12 bits in a png, shifted up": (deep_png(with_bits(12) * 16, 12), np.dstack([GREY] * 3), 0.5),
    "12-bit tiff": (tiff_of_12_bits(with_bits(12)), np.dstack([GREY] * 3), 0),
    "16-bit colour png": (deep_png(PIXELS.astype(np.uint16) * 257), PIXELS, 0),
    "jpeg 2000": (file_of(IMAGE, "JPEG2000"), PIXELS, 0),
    "gif": (file_of(PALETTE, "GIF"), np.asarray(PALETTE.convert("RGB")), 0),
    "webp": (file_of(IMAGE, "WEBP", lossless=True), PIXELS, 0),
    "tiff": (file_of(IMAGE, "TIFF"), PIXELS, 0),
    "cmyk tiff": (file_of(IMAGE.convert("CMYK"), "TIFF"), PIXELS, 1),
}

JPEG = file_of(IMAGE, "JPEG", quality=95)
PNG = file_of(IMAGE, "PNG")
FRAME = JPEG.index(b"\xff\xc0") + 5  # height and width of the frame
JPEG_OF_16000 = JPEG[:FRAME] + struct.pack(">2H", 16000, 16000) + JPEG[FRAME + 4 :]
HEAD = b"IHDR" + struct.pack(">2I", 16000, 16000) + PNG[24:29]
PNG_OF_16000 = PNG[:12] + HEAD + struct.pack(">I", zlib.crc32(HEAD)) + PNG[33:]
BAD = {  # each is refused for a reason that names what is wrong
    "empty": (b"", "empty"),
    "text": (b"<html>404 Not Found</html>", "not an image"),
    "only the first bytes of a jpeg": (JPEG[:3], "damaged JPEG"),
    "cut jpeg": (JPEG[: len(JPEG) // 2], "damaged JPEG"),
    "jpeg without its last bytes": (JPEG[:-20], "damaged JPEG"),
    "cut png": (PNG[: len(PNG) // 2], "cannot be decoded"),
    "cut gif": (file_of(PALETTE, "GIF")[:900], "cannot be decoded"),
    "1x1 jpeg": (file_of(IMAGE.crop((0, 0, 1, 1)), "JPEG"), "too small: 1x1"),
    "1x1 png": (file_of(IMAGE.crop((0, 0, 1, 1)), "PNG"), "too small: 1x1"),
    "one row": (file_of(IMAGE.crop((0, 0, 64, 1)), "PNG"), "too small: 64x1"),
    "transparent pixel": (file_of(Image.fromarray(CLEAR), "PNG"), "transparent"),
    "transparent colour of a palette": (
        file_of(PALETTE, "PNG", transparency=PALETTE.getpixel((0, 0))),
        "transparent",
    ),
    "12-bit png": (file_of(Image.fromarray(GREY.astype(np.uint16) * 16), "PNG"), "fewer than 16 bits"),
    "12 bits in a tiff": (file_of(Image.fromarray(with_bits(12)), "TIFF"), "fewer than 16 bits"),
    "14 bits in a png": (file_of(Image.fromarray(with_bits(14)), "PNG"), "fewer than 16 bits"),
    "14 bits in a tiff": (file_of(Image.fromarray(with_bits(14)), "TIFF"), "fewer than 16 bits"),
    "a dark png, shifted up": (deep_png(with_bits(12) // 16 * 16, 12), "fewer than 16 bits"),
    "14 bits in a colour png": (deep_png(PIXELS.astype(np.uint16) * 64), "fewer than 16 bits"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\nshowpage", "known format"),
    "huge jpeg": (JPEG_OF_16000, "too large: 16000x16000"),
    "huge png": (PNG_OF_16000, "too large: over 33,554,432 pixels"),
    "huge webp": (file_of(Image.new("L", (6000, 6000)), "WEBP", quality=1, method=0), "too large: 6000x6000"),
    "floating-point tiff": (file_of(Image.fromarray(GREY.astype(np.float32)), "TIFF"), "white level"),
    "32-bit tiff": (file_of(Image.fromarray(GREY.astype(np.int32)), "TIFF"), "white level"),
    "several frames": (
        file_of(PALETTE, "GIF", save_all=True, append_images=[PALETTE.rotate(90)]),
        "2 frames",
    ),
}


@pytest.mark.parametrize("kind", GOOD)
def test_becomes_rgb(kind):
    data, expected, tolerance = GOOD[kind]
    pixels = decode(data, kind)
    assert pixels.shape == (64, 64, 3) and pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - expected).mean() <= tolerance


@pytest.mark.parametrize("kind", BAD)
def test_is_refused_in_one_line(kind):
    data, reason = BAD[kind]
    with pytest.raises(BadImage) as caught:
        decode(data, "folder/587.jpg")
    assert (
        str(caught.value).startswith("folder/587.jpg: ")
        and reason in str(caught.value)
        and "\n" not in str(caught.value)
    )


def test_no_truncated_jpeg_passes():
    for kept in range(2, len(JPEG) - 2, 97):
        with pytest.raises(BadImage):
            decode(JPEG[:kept], "cut.jpg")


def test_noise_with_the_name_of_an_image_is_refused():
    for start in (b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\x00", b"BM"):
        for _ in range(20):
            with pytest.raises(BadImage):
                decode(start + RNG.bytes(500), "noise")


def test_flipped_bytes_give_pixels_or_a_named_error():
    for position in range(0, len(JPEG), 61):
        changed = bytearray(JPEG)
        changed[position] ^= 0xFF
        try:
            assert decode(bytes(changed), "flipped.jpg").ndim == 3
        except BadImage as error:
            assert error.name == "flipped.jpg"


def test_stray_bytes_and_metadata_before_the_picture_do_no_harm():
    plain = decode(JPEG)
    quantisation = JPEG.index(b"\xff\xdb")
    for stray in (b"\0\0\0\0", b"stray", b"\xff\0\xff\xff", b"\xff\xe2\0\x10ICC_PROFILE\0\x09\x02"):
        assert np.array_equal(decode(JPEG[:quantisation] + stray + JPEG[quantisation:]), plain), stray
    scan = JPEG.index(b"\xff\xda") + 40
    with pytest.raises(BadImage, match="damaged JPEG"):  # in the picture itself they do
        decode(JPEG[:quantisation] + b"stray" + JPEG[quantisation:scan] + b"\xff\xd0" + JPEG[scan:])


@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_as_its_exif_demands(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = IMAGE.crop((0, 0, 64, 40))
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95, "subsampling": 0}}
    data = file_of(stored, kind, exif=exif, **options.get(kind, {}))
    seen = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    pixels = decode(data)
    assert pixels.shape == seen.shape == ((64, 40, 3) if orientation > 4 else (40, 64, 3))
    assert np.abs(pixels.astype(int) - seen).max() <= 4


@pytest.mark.parametrize("colour", [False, True])
def test_a_dark_image_is_as_deep_as_it_declares_and_a_warning_says_so_once(colour, tmp_path):
    deep = np.round((PIXELS if colour else GREY) * (32767 / 255)).astype(np.uint16)  # of 15 bits
    with pytest.warns(UserWarning, match="uses 15; it is read as declared, half as bright") as told:
        seen = [decode(deep_png(deep), str(tmp_path / f"{number}.png")) for number in range(2)]
    assert len(told) == 1 and str(told[0].message).startswith(f"{tmp_path}: ")
    expected = PIXELS if colour else np.dstack([GREY] * 3)
    assert all(np.abs(2.0 * each - expected).max() <= 2 for each in seen)
    if not colour:  # the header gives the number of bits
        assert np.abs(decode(deep_png(deep, 15), "deep.png") - expected.astype(float)).max() <= 2


def test_damaged_exif_does_no_harm():
    exif = b"Exif\0\0II*\0\xff\xff\xff\xff\x07\0"
    segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    assert np.array_equal(decode(JPEG[:2] + segment + JPEG[2:]), decode(JPEG))
    assert np.array_equal(decode(JPEG[:2] + b"\0" + segment + JPEG[2:]), decode(JPEG))  # and stray bytes


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG"])
@pytest.mark.parametrize("level", [0, 32, 255])
def test_an_image_of_nothing_is_refused(kind, level, tmp_path):
    path = tmp_path / "blank.jpg"
    path.write_bytes(file_of(Image.new("RGB", (64, 64), (level,) * 3), kind))
    with pytest.raises(BadImage, match="is blank"):
        read_any(path)
    (tmp_path / "dim.png").write_bytes(file_of(Image.fromarray((PIXELS // 17).astype(np.uint8)), "PNG"))
    with pytest.raises(BadImage, match="is blank"):  # as from 12 bits per colour in a file of 16
        read_any(tmp_path / "dim.png")


def test_an_image_with_a_masked_background_is_used(tmp_path):
    masked = np.zeros((96, 96, 3), np.uint8)
    masked[40:56, 40:56] = PIXELS[:16, :16]
    (tmp_path / "masked.png").write_bytes(file_of(Image.fromarray(masked), "PNG"))
    assert np.array_equal(read_any(tmp_path / "masked.png"), masked)


PEAK = """
import resource, sys
from galaxy_sommelier.images.pixels import BadImage, read_image
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
before = peak()
for path in sys.argv[1:]:
    try: read_image(path)
    except BadImage as error: assert "too large" in str(error), error
    else: raise AssertionError(path)
print(peak() - before)
"""


def test_a_small_file_that_promises_a_huge_image_takes_no_memory(tmp_path):
    huge = Image.new("L", (16000, 16000))
    for kind, options in (("JPEG", {}), ("PNG", {}), ("TIFF", {"compression": "tiff_deflate"})):
        huge.save(tmp_path / f"huge.{kind}", kind, **options)
    files = sorted(map(str, tmp_path.iterdir()))
    assert all(os.path.getsize(file) < 2**22 for file in files)
    done = subprocess.run([sys.executable, "-c", PEAK, *files], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 100  # MB, where the pixels alone would be 730


@pytest.mark.parametrize("name", ["galaxy.jpg", "galaxy.eps"])
def test_postscript_is_never_run(tmp_path, monkeypatch, name):
    interpreter = tmp_path / "gs"
    interpreter.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    interpreter.chmod(0o755)
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", str(interpreter))
    program = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\n64 64 scale showpage\n"
    (tmp_path / name).write_text(program)
    with pytest.raises(BadImage, match="known format"):
        read_image(tmp_path / name)
    assert not (tmp_path / "ran").exists()
    with pytest.raises(OSError), Image.open(tmp_path / name) as image:  # it would have been run
        image.load()
    assert (tmp_path / "ran").exists()


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "galaxy.jpg")
    with pytest.raises(BadImage, match="pipe or a device"):
        read_image(tmp_path / "galaxy.jpg")


def test_missing_file_and_folder_in_its_place(tmp_path):
    for path in (tmp_path / "nothing.jpg", tmp_path):
        with pytest.raises(BadImage, match="cannot be read"):
            read_image(path)


def test_a_run_continues_without_bad_images_up_to_a_share(tmp_path):
    table, images = simulate(len(BAD) + 20, size=32)
    table["path"] = [str(tmp_path / f"{name}.jpg") for name in table.id_str]
    for path, image in zip(table.path, images, strict=True):
        (tmp_path / path).write_bytes(encode(image))
    for path, (data, _) in zip(table.path, BAD.values(), strict=False):
        (tmp_path / path).write_bytes(data)
    with pytest.raises(ValueError, match=f"{len(BAD)} bad"):
        write_store(table, tmp_path / "store")
    assert not (tmp_path / "store").exists()
    report = write_store(table, tmp_path / "store", max_bad=0.6)
    assert report.ok == 20 and list(report.bad) == table.id_str[: len(BAD)].tolist()
    store = Store(tmp_path / "store")
    assert store.ids == table.id_str[len(BAD) :].tolist() and store.header["report"]["bad"] == report.bad


def test_report_limits():
    assert ImageReport(ok=95, bad=dict.fromkeys("abcde", "is empty")).check(0.05).share == 0.05
    for report, limit in (
        (ImageReport(ok=94, bad=dict.fromkeys("abcdef", "is empty")), 0.05),
        (ImageReport(bad={"a": "is empty"}), 1.0),
    ):
        with pytest.raises(ValueError, match="a: is empty"):
            report.check(limit)


def test_resize_agrees_with_pillow_on_a_real_size():
    frame = np.clip(RNG.normal(60, 25, (424, 424, 3)), 0, 255).astype(np.uint8)
    for crop, size in ((1.0, 224), (0.55, 98), (0.25, 224)):
        side = round(424 * crop)
        edge = (424 - side) // 2
        pillow = Image.fromarray(frame[edge : edge + side, edge : edge + side]).resize(
            (size, size), Image.Resampling.BICUBIC
        )
        ours = resize([frame], crop, size)[0].permute(1, 2, 0).numpy()
        assert np.abs(ours.astype(int) - np.asarray(pillow)).max() <= 2


def test_real_galaxies_decode(kaggle_root):
    paths = sorted((kaggle_root / "images_training_rev1").glob("*.jpg"))[:50]
    for path in paths:
        theirs = np.asarray(Image.open(path).convert("RGB")).astype(int)
        assert np.abs(read_image(path) - theirs).max() <= 4  # two decoders of one standard
