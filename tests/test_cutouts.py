"""Cutouts from a local server that stands in for those of the surveys, working and failing."""

import bz2
import io
import json
import os
import re
import subprocess
import sys
import threading
import time
import types
from collections import Counter, defaultdict
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from commands import sommelier

from galaxy_sommelier.catalog.schema import GZ2
from galaxy_sommelier.cli.main import main
from galaxy_sommelier.core.files import BadInput, alone
from galaxy_sommelier.download import cutouts, services, transfer
from galaxy_sommelier.download.cutouts import fetch_cutouts, read_cutout_manifest
from galaxy_sommelier.download.services import LegacyCubes, LegacyImages, SdssFields, SdssImages
from galaxy_sommelier.images.fits import read_fits
from galaxy_sommelier.images.pixels import encode, read_image

ORIGINAL = {name: service() for name, service in services.SERVICES.items() if name != "hst"}
PATHS = {"sdss": "/getjpeg", "sdss-fits": "/frames", "legacy": "/jpeg-cutout", "legacy-fits": "/fits-cutout"}
NOISE = np.random.default_rng(1)


def jpeg_of(side=424):
    return encode(NOISE.integers(5, 30, (side, side, 3), dtype=np.uint8))


def fits_file(data, header=None):
    file = io.BytesIO()
    fits.PrimaryHDU(data.astype(np.float32), header).writeto(file)
    return file.getvalue()


def field(ra, dec, shape=(300, 320)):
    """A field of SDSS around a position, bz2-compressed."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], [ra, dec]
    wcs.wcs.crpix = [shape[1] / 2, shape[0] / 2]
    wcs.wcs.cd = np.diag([-1, 1]) * services.SDSS_SCALE / 3600
    return bz2.compress(fits_file(NOISE.normal(0, 1, shape), wcs.to_header()))


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60

    def setup(self):
        super().setup()
        self.server.count("connections", 1)

    def finish(self):
        self.server.count("connections", -1)
        super().finish()

    def do_GET(self):
        self.server.count("requests", 1)
        try:
            url = urlsplit(self.path)
            asked = {"path": url.path} | dict(parse_qsl(url.query))
            self.server.log.append(asked)
            self.server.before(asked)
            script = self.server.scripts[asked.get("ra", url.path)]
            self.send(*(script.pop(0) if script else (200, "image/jpeg", self.server.good(asked))))
        finally:
            self.server.count("requests", -1)

    def send(self, status, kind, data, headers=(), length=None):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", len(data) if length is None else length)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)
        self.close_connection = length is not None

    def log_message(self, *args):
        pass


class Sky(ThreadingHTTPServer):
    """A stand-in for all services; `scripts` holds the replies at a position before good images follow."""

    daemon_threads, request_queue_size = True, 64

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.log, self.scripts, self.lock = [], defaultdict(list), threading.Lock()
        self.now, self.peak = Counter(), Counter()
        self.before = lambda asked: None
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, address):
        pass  # the client may be gone

    def count(self, what, change):
        with self.lock:
            self.now[what] += change
            self.peak[what] = max(self.peak[what], self.now[what])

    def good(self, asked):
        if asked["path"].startswith("/frames"):
            return field(180.0, 0.0)
        side = int(asked.get("size", asked.get("width", 0)))
        cube = asked["path"] == "/fits-cutout"
        return fits_file(NOISE.normal(0, 1, (3, side, side))) if cube else jpeg_of(side)

    def asked_for(self):
        return Counter(asked["ra"] for asked in self.log)


@pytest.fixture
def sky(monkeypatch):
    """The server; clients make three attempts without waiting."""
    monkeypatch.setattr(transfer, "RETRY", transfer.RETRY.new(total=2, backoff_factor=0, backoff_jitter=0))
    server = Sky()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def sdss(sky):
    return SdssImages(base=sky.url + PATHS["sdss"])


def galaxies(n=1, **columns):
    values = {
        "id_str": [f"gz2-58772298174208{4144 + i}" for i in range(n)],
        "ra": 180.0 + np.arange(n),
        "dec": 0.0,
        "petroR90_r": 9.7,
    }
    return pd.DataFrame(values | columns)


def fetch(table, service, out, **values):
    return fetch_cutouts(table, service, out, **{"interval": 0.0, "max_bad": 1.0} | values)


def fetch_none(table, service, out):
    with pytest.raises(BadInput, match="0 good images"):
        fetch(table, service, out)


def report(out):
    return pd.read_csv(out / "report.csv", index_col="id_str")


# requests


@pytest.mark.parametrize(
    "name, expected",
    [
        ("sdss", {"scale": "0.194000", "width": "424", "height": "424"}),
        ("legacy", {"pixscale": "0.194000", "size": "424", "layer": "ls-dr9"}),
        ("legacy-fits", {"pixscale": "0.262000", "size": "314", "layer": "ls-dr9", "bands": "grz"}),
    ],
)
def test_the_parameters_of_a_request_are_those_of_the_service(name, expected, sky, tmp_path):
    service = services.SERVICES[name](base=sky.url + PATHS[name])
    result = fetch(galaxies(), service, tmp_path)
    assert sky.log == [{"path": PATHS[name], "ra": "180.000000", "dec": "0.000000"} | expected]
    assert result.survey.tolist() == [service.survey] and result.path[0].endswith(service.ending)
    with open(result.path[0], "rb") as file:
        if service.ending == ".fits":
            assert fits.getdata(file).shape == (3, 314, 314)
        else:
            assert read_image(result.path[0]).shape == (424, 424, 3)


def test_the_addresses_are_those_of_the_public_services():
    bases = [services.SERVICES[name]().base for name in PATHS]
    assert bases == [
        "https://skyserver.sdss.org/dr17/SkyServerWS/ImgCutout/getjpeg",
        "https://data.sdss.org/sas/dr17/eboss/photoObj/frames",
        "https://www.legacysurvey.org/viewer/jpeg-cutout",
        "https://www.legacysurvey.org/viewer/fits-cutout",
    ]


def test_three_fields_of_sdss_become_one_cube(sky, tmp_path):
    result = fetch(galaxies(), SdssFields(base=sky.url + PATHS["sdss-fits"]), tmp_path)
    assert [asked["path"] for asked in sky.log] == [
        f"/frames/301/752/1/frame-{band}-000752-1-0274.fits.bz2" for band in "gri"
    ]
    image = read_fits(result.path[0])
    assert (image.bands.shape, image.names) == ((3, 208, 208), ("g", "r", "i"))
    assert (image.unit, image.survey) == ("nanomaggy", "sdss")
    assert np.allclose(image.centre, (180.0, 0.0), atol=1 / 3600)
    assert image.pixel_scale == pytest.approx(0.396127, abs=1e-6)


def test_a_galaxy_outside_of_its_field_is_absent(sky, tmp_path):
    fetch_none(galaxies(ra=[187.0]), SdssFields(base=sky.url + PATHS["sdss-fits"]), tmp_path)
    found = report(tmp_path)
    assert found.status.tolist() == ["absent"] and "outside of the field" in found.reason.iloc[0]


# replies

BLANK = encode(np.zeros((424, 424, 3), np.uint8))
STEPS = (np.arange(424, dtype=np.uint16) // 60).astype(np.uint8)[:, None, None]
GREY = encode(np.full((424, 424, 3), 200, np.uint8) + STEPS)
NOT_FOUND = (404, "text/html", b"<html>not found</html>")
BAD = {
    "blank": ((200, "image/jpeg", BLANK), "absent", "is blank"),
    "nearly one colour": ((200, "image/jpeg", GREY), "absent", "is blank"),
    "not found": (NOT_FOUND, "absent", "404"),
    "text": ((200, "image/jpeg", b"System.OutOfMemoryException"), "failed", "not an image in a known format"),
    "page": ((200, "text/html", b"<html>please sign in</html>"), "failed", "HTML page"),
    "nothing": ((200, "image/jpeg", b""), "failed", "is empty"),
    "another size": ((200, "image/jpeg", jpeg_of(256)), "failed", "has 256x256 pixels where 424x424"),
    "half a file": ((200, "image/jpeg", jpeg_of()[:9000]), "failed", "damaged JPEG"),
    "line drops": ((200, "image/jpeg", jpeg_of()[:9000], (), 90_000), "failed", "cannot be reached"),
    "server at fault": ((500, "text/plain", b"oops"), "failed", "500"),
    "too many requests": ((429, "text/plain", b"slow down"), "failed", "429"),
    "forbidden": ((403, "text/plain", b"go away"), "failed", "403"),
}


@pytest.mark.parametrize("answer, status, reason", BAD.values(), ids=BAD)
def test_a_reply_without_an_image_is_not_kept_but_explained(answer, status, reason, sky, tmp_path):
    table = galaxies(2)
    sky.scripts["181.000000"] = [answer] * 3
    result = fetch(table, sdss(sky), tmp_path)
    found = report(tmp_path).loc[table.id_str[1]]
    assert (found.status, result.path.isna().tolist()) == (status, [False, True])
    assert re.search(re.escape(reason), found.reason) and "http" not in found.reason
    assert [path.name for path in (tmp_path / "images").iterdir()] == [f"{table.id_str[0]}.jpg"]

    sky.scripts.clear()
    before = sky.asked_for()
    again = fetch(table, sdss(sky), tmp_path)
    new = sky.asked_for() - before
    # a final answer is not requested again, any other is
    assert new == ({} if status == "absent" else {"181.000000": 1})
    assert again.path.isna().tolist() == [False, status == "absent"]


@pytest.mark.parametrize(
    "data, status, reason",
    [
        (fits_file(np.zeros((3, 314, 314))), "absent", "g, r, z"),
        (fits_file(NOISE.normal(0, 1, (3, 314, 314)) * [[[1]], [[np.nan]], [[1]]]), "absent", "band(s) r"),
        (fits_file(NOISE.normal(0, 1, (3, 300, 300))), "failed", "(3, 300, 300)"),
        (fits_file(NOISE.normal(0, 1, (3, 314, 314)))[:50_000], "failed", "cannot be read"),
        (b"no such layer", "failed", "cannot be read"),
    ],
)
@pytest.mark.filterwarnings("ignore:File may have been truncated")
def test_a_cube_without_data_is_not_kept_but_explained(data, status, reason, sky, tmp_path):
    sky.scripts["180.000000"] = [(200, "image/fits", data)]
    fetch_none(galaxies(), LegacyCubes(base=sky.url + PATHS["legacy-fits"]), tmp_path)
    found = report(tmp_path).iloc[0]
    assert found.status == status and reason in found.reason and not list((tmp_path / "images").iterdir())


DAMAGED = [field(180, 0)[:-100], bz2.compress(fits_file(np.zeros(0))), b"no such field"]


@pytest.mark.parametrize("data", DAMAGED)
def test_a_damaged_field_fails(data, sky, tmp_path):
    sky.scripts["/frames/301/752/1/frame-r-000752-1-0274.fits.bz2"] = [(200, "application/x-bzip2", data)]
    fetch_none(galaxies(), SdssFields(base=sky.url + PATHS["sdss-fits"]), tmp_path)
    found = report(tmp_path)
    assert found.status.tolist() == ["failed"] and "field cannot be read" in found.reason.iloc[0]


# load on the server


@pytest.mark.parametrize(
    "script",
    [
        [(503, "text/plain", b"")] * 2,
        [(429, "text/plain", b"", [("Retry-After", "0")])],
        [(500, "text/plain", b"")],
    ],
)
def test_a_request_to_a_busy_server_is_repeated(script, sky, tmp_path):
    sky.scripts["180.000000"] = list(script)
    result = fetch(galaxies(), sdss(sky), tmp_path)
    assert result.path.notna().all() and len(sky.log) == len(script) + 1


def test_there_are_at_most_four_connections(sky, tmp_path):
    four = threading.Event()

    def before(asked):  # no reply before four requests are open at the same time
        if sky.now["requests"] >= 4:
            four.set()
        assert four.wait(60)

    sky.before = before
    assert len(fetch(galaxies(40), sdss(sky), tmp_path)) == 40
    assert sky.peak == {"requests": 4, "connections": 4}


def test_requests_are_spaced(sky, tmp_path):
    start = time.monotonic()
    fetch(galaxies(9), sdss(sky), tmp_path, interval=0.05)
    assert time.monotonic() - start >= 8 * 0.05


def test_a_silent_server_times_out(sky, tmp_path, monkeypatch):
    monkeypatch.setattr(services, "TIMEOUT", (30, 0.2))
    end = threading.Event()
    sky.before = lambda asked: end.wait(60)
    fetch_none(galaxies(), sdss(sky), tmp_path)
    end.set()
    assert report(tmp_path).status.tolist() == ["failed"] and len(sky.log) == 3


def test_it_gives_up_on_a_server_that_always_fails(sky, tmp_path):
    table = galaxies(60)
    for ra in table.ra:
        sky.scripts[f"{ra:.6f}"] = [(403, "text/plain", b"go away")]
    with pytest.raises(BadInput, match="20 failures in a row, the last: the server answers 403"):
        fetch(table, sdss(sky), tmp_path)
    assert Counter(report(tmp_path).status) == {"failed": 20, "waiting": 40} and len(sky.log) < 30


def test_an_address_without_a_server_is_one_line(tmp_path, sky):
    with pytest.raises(BadInput, match="cannot be reached") as error:
        fetch(galaxies(20), SdssImages(base="http://127.0.0.1:9/getjpeg"), tmp_path)
    assert "\n" not in str(error.value)


# impossible requests


def test_galaxies_that_cannot_be_requested_are_counted_and_named(sky, tmp_path):
    ra = [180.0, np.nan, 400.0, -1.0, 180.0, 180.0, 180.0, 180.0]
    dec = [0.0, 0.0, 0.0, 0.0, 91.0, np.nan, 0.0, 0.0]
    r90 = [9.7, 9.7, 9.7, 9.7, 9.7, 9.7, np.nan, -9999.0]
    table = galaxies(8, ra=ra, dec=dec, petroR90_r=r90)
    result = fetch(table, sdss(sky), tmp_path)
    assert report(tmp_path).status.tolist() == ["here"] + ["unusable"] * 7 and len(sky.log) == 1
    assert list(result.attrs["images"]["bad"]) == table.id_str[1:].tolist()
    assert Counter(result.attrs["images"]["bad"].values()) == {
        "no coordinates in degrees": 2,
        "coordinates out of range": 3,
        "no petroR90_r": 1,
        "petroR90_r is not a size": 1,
    }
    with pytest.raises(BadInput, match="7 bad .87.5%."):
        fetch(table, sdss(sky), tmp_path, max_bad=0.05)


def test_a_frame_that_the_service_would_cut_down_is_refused(sky, tmp_path):
    largest = 3000 * 0.262 / 8.48
    table = galaxies(2, petroR90_r=[largest * 1.001, largest * 0.4])
    fetch(table, LegacyCubes(base=sky.url + PATHS["legacy-fits"]), tmp_path)
    found = report(tmp_path)
    assert found.status.tolist() == ["unusable", "here"] and "3,000" in found.reason.iloc[0]
    assert max(int(asked["size"]) for asked in sky.log) <= 3000 and len(sky.log) == 1


def test_without_an_sdss_id_there_is_no_field(sky, tmp_path):
    fetch_none(galaxies(id_str=["kaggle-100008"]), SdssFields(base=sky.url + PATHS["sdss-fits"]), tmp_path)
    assert report(tmp_path).status.tolist() == ["unusable"] and not sky.log


@pytest.mark.parametrize("missing", ["id_str", "ra", "dec", "petroR90_r"])
def test_a_missing_column_is_one_line(missing, tmp_path):
    with pytest.raises(BadInput, match=f"'{missing}' is missing"):
        fetch(galaxies().drop(columns=missing), SdssImages(), tmp_path)


def test_an_id_may_be_any_text(sky, tmp_path):
    table = galaxies(3, id_str=["../../etc/passwd", "J1234+01 a/b", "ngc 1300"])
    result = fetch(table, sdss(sky), tmp_path)
    assert result.path.notna().all()
    assert {os.path.dirname(path) for path in result.path} == {str(tmp_path / "images")}
    assert len(list((tmp_path / "images").iterdir())) == 3


# repeated starts, also after a kill


def test_existing_files_are_not_requested_again_unless_the_frame_changes(sky, tmp_path):
    table = galaxies(3)
    first = fetch(table, sdss(sky), tmp_path)
    pd.testing.assert_frame_equal(first, fetch(table, sdss(sky), tmp_path))
    assert len(sky.log) == 3
    os.truncate(first.path[1], 1000)
    fetch(table.assign(petroR90_r=[9.7, 9.7, 12.0]), sdss(sky), tmp_path)
    assert sky.asked_for() == {"180.000000": 1, "181.000000": 2, "182.000000": 2}
    assert len(read_cutout_manifest(tmp_path)) == 3


def test_a_limit_is_reported_and_the_next_start_continues(sky, tmp_path):
    table = galaxies(7)
    with pytest.warns(UserWarning, match="limit of 5 requests reached: 2 galaxies not requested yet"):
        assert len(fetch(table, sdss(sky), tmp_path, limit=5)) == 5
    assert Counter(report(tmp_path).status) == {"here": 5, "waiting": 2}
    result = fetch(table, sdss(sky), tmp_path, limit=5)
    assert len(result) == 7 == len(sky.log) and result.attrs["waiting"] == 0


def test_one_folder_is_for_one_service_and_one_process(sky, tmp_path):
    fetch(galaxies(), sdss(sky), tmp_path)
    with pytest.raises(BadInput, match="holds images from elsewhere"):
        fetch(galaxies(), LegacyImages(base=sky.url + PATHS["legacy"]), tmp_path)
    with alone(tmp_path), pytest.raises(BadInput, match="at work in this folder"):
        fetch(galaxies(), sdss(sky), tmp_path)


def test_a_full_disk_stops_it(sky, tmp_path, monkeypatch):
    def full(path):
        what = "cannot be written (No space left on device)"
        raise BadInput(f"{path}: {what}; free some space or choose another folder")

    real = cutouts.atomic_path
    stand_in = lambda path: full(path) if path.suffix == ".jpg" else real(path)  # noqa: E731
    monkeypatch.setattr(cutouts, "atomic_path", stand_in)
    with pytest.raises(BadInput, match="No space left"):
        fetch(galaxies(), sdss(sky), tmp_path)
    assert report(tmp_path).status.tolist() == ["waiting"]


WORKER = """
import sys
from galaxy_sommelier.download.cutouts import fetch_cutouts, read_galaxies
from galaxy_sommelier.download.services import SdssImages
fetch_cutouts(read_galaxies(sys.argv[1]), SdssImages(base=sys.argv[2]), sys.argv[3], interval=0.0)
"""


def test_a_killed_process_leaves_whole_images_and_can_be_resumed(sky, tmp_path):
    table, out = galaxies(40), tmp_path / "out"
    table.to_csv(tmp_path / "galaxies.csv", index=False)
    for answered in (2, 13, 25):
        reached, gone = threading.Event(), threading.Event()

        # from then on the server withholds its replies
        def before(asked, answered=answered, reached=reached, gone=gone):
            if len(sky.log) > answered:
                reached.set()
                gone.wait(60)

        sky.before = before
        command = [sys.executable, "-c", WORKER, tmp_path / "galaxies.csv", sky.url + PATHS["sdss"], out]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as worker:
            assert reached.wait(500)
            worker.kill()
        gone.set()
        for path in (out / "images").glob("[!.]*"):
            assert read_image(path).shape == (424, 424, 3)
    sky.before = lambda asked: None
    known = read_cutout_manifest(out)
    before = sky.asked_for()
    with open(out / "manifest.jsonl", "a") as file:
        file.write('{"id_str": "gz2-58772')
    result = fetch(table, sdss(sky), out)
    assert result.path.notna().all() and len(result) == len(read_cutout_manifest(out)) == 40
    # what the manifest lists is not requested again
    assert sum((sky.asked_for() - before).values()) == 40 - len(known)
    assert not list((out / "images").glob(".*")) and len(list((out / "images").iterdir())) == 40
    lines = (out / "manifest.jsonl").read_text().splitlines()
    assert all(json.loads(line)["status"] == "here" for line in lines)


# Hubble, by a stand-in for astroquery


def hubble(monkeypatch, found):
    asked = []

    def get_cutouts(coordinates, *, size=5, survey=None):
        asked.append((coordinates.ra.deg, coordinates.dec.deg, size.to_value("arcsec")))
        if isinstance(found, Exception):
            raise found
        return found

    mast = types.ModuleType("astroquery.mast")
    mast.Zcut = types.SimpleNamespace(get_cutouts=get_cutouts)
    monkeypatch.setitem(sys.modules, "astroquery", types.ModuleType("astroquery"))
    monkeypatch.setitem(sys.modules, "astroquery.mast", mast)
    return asked


def hdus(*planes):
    return fits.HDUList([fits.PrimaryHDU(), *(fits.ImageHDU(plane.astype(np.float32)) for plane in planes)])


@pytest.mark.parametrize(
    "found, status",
    [
        ([hdus(NOISE.normal(0, 1, (9, 9))), hdus(*NOISE.normal(0, 1, (2, 9, 9)))], "here"),
        ([], "absent"),
        ([hdus(np.zeros((9, 9)))], "absent"),
        (RuntimeError("504 Gateway Timeout"), "failed"),
    ],
)
def test_hubble(found, status, tmp_path, monkeypatch):
    asked = hubble(monkeypatch, found)
    (fetch if status == "here" else fetch_none)(galaxies(), services.SERVICES["hst"](), tmp_path)
    assert asked == [(180.0, 0.0, pytest.approx(8.48 * 9.7))] and report(tmp_path).status.tolist() == [status]
    for path in (tmp_path / "images").iterdir():
        assert len(fits.info(path, output=False)) == 3


# the command line


@pytest.fixture
def at_home(sky, monkeypatch):
    """Make the command line use the server of the test."""
    for name, path in PATHS.items():
        here = partial(type(ORIGINAL[name]), base=sky.url + path)
        monkeypatch.setitem(services.SERVICES, name, here)
    return sky


def test_the_command_line_goes_from_a_table_to_a_store(at_home, tmp_path):
    table = galaxies(6).assign(**{column: np.nan for column in GZ2.columns})
    table[["smooth-or-featured_smooth_fraction", "smooth-or-featured_featured-or-disk_fraction"]] = 0.5
    table["smooth-or-featured_artifact_fraction"] = 0.0
    table.to_csv(tmp_path / "galaxies.csv", index=False)
    words = ["cutouts", tmp_path / "galaxies.csv", "--survey", "sdss", "--out", tmp_path / "out"]
    code, text = sommelier(*words, "--limit", 4)
    assert code == 0 and "4 galaxies, 0 images left out" in text
    assert "2 galaxies still to be fetched" in text
    code, text = sommelier(*words)
    assert code == 0 and "6 galaxies, 0 images left out" in text and "still to be fetched" not in text
    code, text = sommelier("prepare", "table", "--root", tmp_path / "out", "--out", tmp_path / "store")
    assert code == 0 and "6 galaxies, 0 images left out" in text, text


def test_the_command_line_reports_bad_input_in_one_line(at_home, tmp_path, monkeypatch):
    galaxies(4).to_parquet(tmp_path / "galaxies.parquet")
    at_home.scripts["181.000000"] = [(200, "image/jpeg", BLANK)]
    words = ["cutouts", tmp_path / "galaxies.parquet", "--out", tmp_path / "out", "--survey"]
    code, text = sommelier(*words, "sdss")
    assert code == 2 and text.splitlines()[-1].startswith("sommelier: 3 good images, 1 bad (25.0%)")
    code, text = sommelier(*words, "sdss", "--max-bad", 0.5)
    assert code == 0 and "is blank" in text
    monkeypatch.setitem(sys.modules, "astroquery", None)
    monkeypatch.setitem(sys.modules, "astroquery.mast", None)
    code, text = sommelier(*words, "hst")
    assert (code, len(text.splitlines())) == (2, 1) and "pip install astroquery" in text
    code, text = sommelier("cutouts", tmp_path / "nowhere.csv", "--survey", "sdss", "--out", tmp_path / "out")
    assert (code, len(text.splitlines())) == (2, 1) and "nowhere.csv" in text


def test_the_command_line_offers_every_service():
    survey = next(option for option in main.commands["cutouts"].params if option.name == "survey")
    assert list(survey.type.choices) == list(services.SERVICES)
