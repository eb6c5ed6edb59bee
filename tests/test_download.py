"""A misbehaving server and hostile archives: a file is complete, or absent with a one-line error."""

import gzip
import hashlib
import io
import queue
import random
import re
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import threading
import time
import tracemalloc
import zipfile
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from galaxy_sommelier.core.files import BadInput, alone
from galaxy_sommelier.download import transfer
from galaxy_sommelier.download.datasets import DATASETS, DataFile, DataSet
from galaxy_sommelier.download.fetch import download, fetch, read_manifest
from galaxy_sommelier.download.unpack import HARMLESS, unpack

DATA = random.Random(5).randbytes(300_000)
OTHER = random.Random(6).randbytes(300_000)
SHA256 = hashlib.sha256(DATA).hexdigest()
TABLE = b"id_str,ra,dec\n" + b"".join(b"a-%d,%d,%d\n" % (n, DATA[n], DATA[n + 1]) for n in range(2000))


class Rude(BaseHTTPRequestHandler):
    """Answers with the page of the path: a function of this handler and the number of earlier visits."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.close_connection = True
        visit = len(self.server.visits(self.path))
        self.server.asked.append((self.path, dict(self.headers)))
        with suppress(ConnectionError):
            self.server.pages[self.path](self, visit)

    def say(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in ({"Content_Length": len(body), "Connection": "close"} | headers).items():
            if value is not None:
                self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    """A misbehaving server: `pages` by path; `asked` holds the headers of each request."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Rude)
    server.pages, server.asked = {}, []
    server.visits = lambda path: [headers for asked, headers in server.asked if asked == path]
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Retry at once, as many times as usual."""
    monkeypatch.setattr(transfer, "RETRY", transfer.RETRY.new(backoff_factor=0, backoff_jitter=0))


def polite(data=DATA, tag='"v1"', cut=lambda visit: None, **more):
    """A page that follows the standard, but may end after `cut` bytes of the body."""

    def page(self, visit):
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(wanted[1]) if wanted and self.headers.get("If-Range", tag) == tag else 0
        if start >= len(data):
            return self.say(416, Content_Range=f"bytes */{len(data)}")
        rest = data[start:]
        place = {"Content_Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if start else {}
        headers = {"Content_Length": len(rest), "ETag": tag} | place | more
        self.say(206 if start else 200, rest[: cut(visit)], **headers)

    return page


def say(status, body=b"", **headers):
    return lambda self, visit: self.say(status, body, **headers)


def in_turn(*pages):
    """Serve one page after the other, and repeat the last."""
    return lambda self, visit: pages[min(visit, len(pages) - 1)](self, visit)


def refused(words, server, target, **known):
    """Check that `fetch` fails with one line that contains `words`, and leaves no file."""
    with pytest.raises(BadInput, match=words) as caught:
        fetch(f"{server.url}/file", target, **known)
    line = str(caught.value)
    assert "\n" not in line and server.url in line and not target.exists()
    return line


# a misbehaving server, where the file arrives all the same


def test_drops_at_random_bytes(server, tmp_path):
    cuts = random.Random(1)
    server.pages["/file"] = polite(cut=lambda visit: cuts.randrange(60_000) if visit < 7 else None)
    came = fetch(f"{server.url}/file", tmp_path / "file", sha256=SHA256)
    assert (tmp_path / "file").read_bytes() == DATA
    assert came["sha256"] == SHA256 and came["bytes"] == len(DATA)
    starts = [int(headers.get("Range", "bytes=0-")[6:-1]) for headers in server.visits("/file")]
    assert len(starts) == 8 and starts == sorted(starts) and starts[-1] > 0
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("patience, waits", [({"Retry_After": 7}, [7, 7]), ({}, [])])
def test_429(server, tmp_path, monkeypatch, patience, waits):
    slept = []
    monkeypatch.setattr(transfer.Patient, "pause", lambda self, seconds: slept.append(seconds))
    busy = say(429, **patience)
    server.pages["/file"] = in_turn(busy, busy, polite())
    fetch(f"{server.url}/file", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == DATA and slept == waits and len(server.asked) == 3


def test_a_long_wait_is_announced_and_can_be_stopped(server, tmp_path, capsys):
    server.pages["/file"] = say(429, Retry_After=3600)
    stop = threading.Event()
    threading.Timer(1, stop.set).start()
    started = time.monotonic()
    with pytest.raises(BadInput, match="stopped while waiting"):
        fetch(f"{server.url}/file", tmp_path / "file", stop=stop)
    assert time.monotonic() - started < 30
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("file: the server answers 429; waiting 1:00:00 h, until ")
    assert "Ctrl-C stops" in line


def test_500_three_times_then_200(server, tmp_path, monkeypatch):
    slept = []
    monkeypatch.setattr(transfer, "RETRY", transfer.RETRY.new(backoff_factor=1, backoff_jitter=1))
    monkeypatch.setattr(transfer.Patient, "pause", lambda self, seconds: slept.append(seconds))
    server.pages["/file"] = in_turn(*[say(500)] * 3, polite())
    fetch(f"{server.url}/file", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == DATA and len(server.asked) == 4
    assert len(slept) == 2 and 2 <= slept[0] <= 3 and 4 <= slept[1] <= 5  # the first retry is immediate


def test_no_range_support_starts_over(server, tmp_path):
    short = say(200, DATA[:1000], Content_Length=len(DATA), ETag='"v1"')
    server.pages["/file"] = in_turn(short, say(200, DATA, ETag='"v1"'))
    fetch(f"{server.url}/file", tmp_path / "file")
    assert "Range" in server.asked[1][1] and (tmp_path / "file").read_bytes() == DATA


def test_without_a_name_for_the_version_it_starts_over(server, tmp_path):
    server.pages["/file"] = polite(ETag='W/"v1"', cut=lambda visit: None if visit else 1000)
    fetch(f"{server.url}/file", tmp_path / "file")
    assert not any("Range" in headers for headers in server.visits("/file"))
    assert (tmp_path / "file").read_bytes() == DATA


@pytest.mark.parametrize(
    "second",
    [
        polite(OTHER, tag='"v2"'),
        say(206, OTHER[1000:], ETag='"v2"', Content_Range=f"bytes 1000-{len(OTHER) - 1}/{len(OTHER)}"),
        say(206, OTHER[1000:], ETag='"v1"', Content_Range=f"bytes 1000-{len(OTHER)}/{len(OTHER) + 1}"),
        say(206, OTHER[999:], ETag='"v1"', Content_Range=f"bytes 999-{len(OTHER) - 1}/{len(OTHER)}"),
        say(206, OTHER[1000:], ETag='"v1"'),
        say(206, OTHER[1000:], Content_Range=f"bytes 1000-{len(OTHER) - 1}/{len(OTHER)}"),
        say(206, OTHER[1000:2000], ETag='"v1"', Content_Range=f"bytes 1000-1999/{len(OTHER)}"),
        say(206, OTHER[1000:2000], ETag='"v1"', Content_Range=f"bytes 1000-{len(OTHER) - 1}/{len(OTHER)}"),
        say(206, OTHER[1000:], ETag='"v1"', Content_Range=f"bytes 1000-{len(OTHER) - 1}/*"),
    ],
    ids=["honest", "ignores If-Range", "another length", "another place", "no place", "no version",
         "a piece", "less than it says", "no total"],
)
def test_the_file_changes_between_two_parts(server, tmp_path, second):
    server.pages["/file"] = in_turn(polite(cut=lambda visit: 1000), second, polite(OTHER, tag='"v2"'))
    fetch(f"{server.url}/file", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == OTHER


def test_another_address_for_the_same_file(server, tmp_path):
    server.pages |= {"/old": in_turn(polite(cut=lambda visit: 1000), say(404)), "/new": polite(OTHER)}
    with pytest.raises(BadInput, match="404"):
        fetch(f"{server.url}/old", tmp_path / "file")
    assert (tmp_path / "file.part").stat().st_size == 1000
    fetch(f"{server.url}/new", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == OTHER


def test_416_starts_over(server, tmp_path):
    server.pages["/file"] = in_turn(polite(cut=lambda visit: 1000), polite(DATA[:500]), polite(DATA[:500]))
    fetch(f"{server.url}/file", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == DATA[:500]


def test_slow_drip(server, tmp_path):
    def drip(self, visit):
        self.say(200, Content_Length=2000)
        for n in range(2000):
            self.wfile.write(DATA[n : n + 1])

    server.pages["/file"] = drip
    fetch(f"{server.url}/file", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == DATA[:2000]


def test_a_stalled_connection_is_retried(server, tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "TIMEOUT", (30, 2))
    done = threading.Event()

    def stall(self, visit):
        polite(cut=lambda visit: 1000)(self, visit)
        done.wait(60)

    server.pages["/file"] = in_turn(stall, polite())
    fetch(f"{server.url}/file", tmp_path / "file")
    done.set()
    assert (tmp_path / "file").read_bytes() == DATA and len(server.asked) > 1


def test_a_stalled_connection_is_not_retried_after_a_stop(server, tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "TIMEOUT", (30, 3))
    stop, done = threading.Event(), threading.Event()

    def stall(self, visit):
        polite(cut=lambda visit: 1000)(self, visit)
        done.wait(1)  # by now the bytes have arrived, and the connection is silent
        stop.set()
        done.wait(60)

    server.pages["/file"] = in_turn(stall, polite())
    refused("stopped; start it again", server, tmp_path / "file", stop=stop)
    done.set()
    assert len(server.asked) == 1


def chunked(*pieces, end=True):
    def page(self, visit):
        self.say(200, Content_Length=None, Transfer_Encoding="chunked")
        for piece in pieces:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n" if end else b"")

    return page


def test_a_body_in_chunks_that_breaks(server, tmp_path):
    server.pages["/file"] = in_turn(chunked(DATA[:900], end=False), chunked(DATA[:900], DATA[900:]))
    fetch(f"{server.url}/file", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == DATA


# a misbehaving server, where one line replaces the file


@pytest.mark.parametrize("status, times", [(404, 1), (403, 1), (500, 9), (429, 9)])
def test_a_status_that_stays(server, tmp_path, status, times):
    server.pages["/file"] = say(status)
    refused(f"answers {status}", server, tmp_path / "file")
    assert len(server.asked) == times and not list(tmp_path.iterdir())


def test_redirects(server, tmp_path):
    server.pages["/file"] = say(302, Location="/file")
    refused("too many redirects", server, tmp_path / "file")
    server.pages["/file"] = say(302, Location="/elsewhere?key=secret")
    server.pages["/elsewhere?key=secret"] = polite(cut=lambda visit: None if visit else 1000)
    fetch(f"{server.url}/file", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == DATA and server.asked[-1][1]["Range"] == "bytes=1000-"
    server.pages["/elsewhere?key=secret"] = say(403)
    assert "secret" not in refused("/file: the server answers 403", server, tmp_path / "again")


def test_no_server_at_the_address(server, tmp_path):
    server.shutdown()
    server.server_close()
    refused("cannot be reached", server, tmp_path / "file")


def test_a_connection_that_always_breaks(server, tmp_path):
    server.pages["/file"] = polite(cut=lambda visit: 10)
    refused("dropped too often", server, tmp_path / "file")
    assert (tmp_path / "file.part").read_bytes() == DATA[:90]  # nine times ten bytes, kept for the next start


def test_wrong_length(server, tmp_path):
    server.pages["/file"] = say(200, DATA[:1000], Content_Length=2000)  # announces more than it sends
    refused("dropped too often", server, tmp_path / "file")
    server.pages["/file"] = say(200, DATA)  # another file than the recorded one
    refused("300,000 bytes instead of 5", server, tmp_path / "file", bytes=5)
    server.pages["/file"] = chunked(DATA[:1000])
    refused("1,000 bytes instead of 2,000", server, tmp_path / "file", bytes=2000)
    server.pages["/file"] = say(200, DATA, Content_Length=1000)  # announces less than it sends
    refused("its sha256 is", server, tmp_path / "file", sha256=SHA256)


def test_no_length_at_all(server, tmp_path):
    server.pages["/file"] = server.pages["/file.gz"] = say(200, gzip.compress(DATA), Content_Length=None)
    refused("does not state where file ends", server, tmp_path / "file")
    fetch(f"{server.url}/file.gz", tmp_path / "file.gz")  # a gzip has an end of its own
    assert gzip.decompress((tmp_path / "file.gz").read_bytes()) == DATA


def test_wrong_bytes(server, tmp_path):
    (tmp_path / "old").write_bytes(b"older")
    server.pages["/file"] = polite(OTHER)
    for known in ({"sha256": SHA256}, {"md5": hashlib.md5(DATA).hexdigest()}):
        refused(f"its {next(iter(known))} is", server, tmp_path / "file", **known)
        with pytest.raises(BadInput):
            fetch(f"{server.url}/file", tmp_path / "old", **known)
    assert (tmp_path / "old").read_bytes() == b"older" and len(list(tmp_path.iterdir())) == 1


def test_an_unverified_checksum_is_only_logged(server, tmp_path, caplog):
    server.pages["/file"] = polite(OTHER)
    fetch(f"{server.url}/file", tmp_path / "file", sha256=SHA256, verified=False)
    assert (tmp_path / "file").read_bytes() == OTHER
    assert [record.levelname for record in caplog.records] == ["WARNING"] and "unverified" in caplog.text


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/octet-stream"])
def test_html_page_with_status_200(server, tmp_path, kind):
    page = b"\n<!DOCTYPE html><html><title>Sign in</title></html>"
    server.pages["/file"] = say(200, page, Content_Type=kind)
    for name in ("table.csv", "images.zip", "table.csv.gz", "file"):
        refused("an HTML page", server, tmp_path / name)
    assert not list(tmp_path.iterdir())


NO_TABLES = {
    "BOM": (b"\xef\xbb\xbf<!DOCTYPE html><html><title>Sign in</title></html>", "HTML page"),
    "comment": (b"<!-- (c) a, b -->\n<!-- 2 -->\n<html><title>Sign in</title></html>", "HTML page"),
    "XHTML": (b'<?xml version="1.0"?>\n<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0//EN">', "HTML page"),
    "UTF-16": ("\ufeff<html><title>Sign in</title></html>".encode("utf-16-le"), "HTML page"),
    "JSON": (b'{"status": 404, "message": "no such record"}', "begins with '{'"),
    "XML": (b'<?xml version="1.0"?><Error><Code>NoSuchKey</Code></Error>', "begins with '<'"),
    "words": (b"Service Unavailable\n", "does not begin with column names"),
    "gzip": (gzip.compress(b"id_str,ra,dec\n"), "does not begin with column names"),
    "cut": (b"id_str,ra,dec\na-1,3.0,4.0\na-2,3", "ends early"),
}


@pytest.mark.parametrize("case", NO_TABLES)
def test_what_is_no_table_is_not_kept_as_one(server, tmp_path, case):
    body, words = NO_TABLES[case]
    server.pages["/file"] = say(200, body)
    refused(words, server, tmp_path / "table.csv")
    if case != "cut":  # a gzip that is whole cannot hold half a file
        server.pages["/file"] = say(200, gzip.compress(body))
        words = "packed twice" if case == "gzip" else words
        refused(words, server, tmp_path / "table.csv.gz")
    assert not list(tmp_path.iterdir())


KINDS = {Path(file.name).suffix for dataset in DATASETS.values() for file in dataset.files}


@pytest.mark.parametrize("name", sorted(KINDS | {".ecsv", ".vot"}))
def test_every_kind_of_file_is_told_from_an_error_in_json(server, tmp_path, name):
    body = b'{"status": 404, "message": "no such record", "links": []}'
    server.pages["/file"] = say(200, body)
    refused("it (begins with|is not a)", server, tmp_path / f"file{name}")
    server.pages["/file"] = say(200, body, Content_Type="application/json; charset=utf-8")
    refused("sends JSON instead of", server, tmp_path / f"file{name}")


def test_tables_that_are_kept(server, tmp_path):
    tables = [b"\xef\xbb\xbfid,ra\n1,2\n", b"# from, to\n\nid,ra\n1,2", b"id,ra\n1,2\n3,"]
    tables.append(b"id,name\n1,\xe9\n")
    for number, table in enumerate(tables):
        server.pages["/file"] = say(200, table)
        fetch(f"{server.url}/file", tmp_path / f"{number}.csv")
        assert (tmp_path / f"{number}.csv").read_bytes() == table


def test_a_file_is_about_as_long_as_published(server, tmp_path):
    server.pages["/file"] = polite()
    refused("300,000 bytes instead of about 13 MB", server, tmp_path / "file", about=13e6)
    fetch(f"{server.url}/file", tmp_path / "file", about=25e4)


def test_truncated_files(server, tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("1.jpg", DATA)
    whole = {
        "table.csv.gz": gzip.compress(TABLE),
        "images.zip": buffer.getvalue(),
        "table.parquet": b"PAR1" + DATA + b"PAR1",
    }
    for name, data in whole.items():
        server.pages["/file"] = say(200, data[:-7])
        refused("ends early or is damaged", server, tmp_path / name)
        server.pages["/file"] = say(200, data)
        fetch(f"{server.url}/file", tmp_path / name)
        assert (tmp_path / name).read_bytes() == data
    server.pages["/file"] = say(200, b"")
    refused("it is empty", server, tmp_path / "file")


def test_a_body_that_is_compressed_on_the_way(server, tmp_path):
    packed = gzip.compress(b"id_str,ra,dec\n")
    server.pages["/file"] = say(200, packed, Content_Encoding="gzip")
    refused("compresses table.csv", server, tmp_path / "table.csv")
    fetch(f"{server.url}/file", tmp_path / "table.csv.gz")
    assert (tmp_path / "table.csv.gz").read_bytes() == packed


def test_a_full_disk_is_reported_before_a_byte_arrives(server, tmp_path, monkeypatch):
    server.pages["/file"] = polite()
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=299_999))
    with pytest.raises(BadInput, match="300 kB are needed and 300 kB are free; free some space"):
        fetch(f"{server.url}/file", tmp_path / "file")
    assert not (tmp_path / "file").exists() and (tmp_path / "file.part").stat().st_size == 0


# killed processes

START = "import sys; from galaxy_sommelier.download.fetch import fetch; fetch(*sys.argv[1:])"


def test_killed_at_twenty_random_bytes(server, tmp_path):
    data, places, victims = random.Random(7).randbytes(8_000_000), random.Random(8), queue.Queue()
    for n in range(20):
        place, path, target = places.randrange(len(data) + 1), f"/file{n}", tmp_path / f"file{n}"

        def kill(self, visit, place=place):
            self.say(200, data[:place], Content_Length=len(data), ETag='"v1"')
            victims.get().kill()

        server.pages[path] = in_turn(kill, polite(data))
        process = subprocess.Popen([sys.executable, "-c", START, server.url + path, str(target)])
        victims.put(process)
        assert process.wait(300) == -signal.SIGKILL
        assert not target.exists()
        fetch(server.url + path, target)
        assert target.read_bytes() == data
    assert sum("Range" in headers for _, headers in server.asked) >= 5


def test_killed_again_and_again(server, tmp_path):
    data, pieces = random.Random(9).randbytes(40_000_000), random.Random(10)
    victims, target = queue.Queue(), tmp_path / "file"

    def kill(self, visit):
        polite(data, cut=lambda visit: 5_000_000 + pieces.randrange(5_000_000))(self, visit)
        victims.get().kill()

    server.pages["/file"] = in_turn(kill, kill, kill, polite(data))
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", START, f"{server.url}/file", str(target)])
        victims.put(process)
        assert process.wait(300) == -signal.SIGKILL and not target.exists()
    fetch(f"{server.url}/file", target)
    starts = [int(headers.get("Range", "bytes=0-")[6:-1]) for headers in server.visits("/file")]
    assert target.read_bytes() == data and starts == sorted(set(starts)) and len(starts) == 4


def example(server, *names):
    """A data set of files on the server."""
    files = tuple(DataFile(f"{server.url}/{name}", name) for name in names)
    return DataSet("example", "Example", "files", "nobody", files)


@pytest.fixture
def known(monkeypatch):
    """Add a data set to the table for the duration of a test."""
    return lambda data: monkeypatch.setitem(DATASETS, data.name, data)


CTRL_C = """
import signal, sys, threading
from galaxy_sommelier.download import datasets
from galaxy_sommelier.download.fetch import download
signal.signal(signal.SIGINT, signal.default_int_handler)

# a signal to another thread, or to the main one just before it begins to wait, wakes no thread
def on_a_word():
    sys.stdin.readline()
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)

threading.Thread(target=on_a_word, daemon=True).start()
files = tuple(datasets.DataFile(sys.argv[1] + name, name[1:]) for name in ("/a", "/b"))
datasets.DATASETS["example"] = datasets.DataSet("example", "Example", "files", "nobody", files)
download("example", sys.argv[2])
"""


@pytest.mark.parametrize("interrupted", ["main", "another"])
def test_ctrl_c_leaves_a_state_that_resumes(server, tmp_path, known, interrupted):
    ready, victims = threading.Barrier(2), queue.Queue()

    def stop(process):
        if interrupted == "main":
            process.send_signal(signal.SIGINT)
        else:
            process.stdin.write("now\n")
            process.stdin.flush()

    def interrupt(self, visit):
        self.say(200, DATA[:100_000], Content_Length=len(DATA), ETag='"v1"')
        if ready.wait(300) == 0:
            stop(victims.get())
        for n in range(100_000, len(DATA) - 1):  # a byte at a time, until the client is gone
            self.wfile.write(DATA[n : n + 1])
        self.rfile.read(1)

    server.pages |= {"/a": in_turn(interrupt, polite()), "/b": in_turn(interrupt, polite())}
    process = subprocess.Popen(
        [sys.executable, "-c", CTRL_C, server.url, str(tmp_path)],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    victims.put(process)
    process.wait(300)
    assert "KeyboardInterrupt" in process.stderr.read()
    assert not (tmp_path / "a").exists() and not (tmp_path / "b").exists()
    known(example(server, "a", "b"))
    assert [path.read_bytes() for path in download("example", tmp_path)] == [DATA, DATA]
    assert all("Range" in server.visits(path)[-1] for path in ("/a", "/b"))


# data sets


def test_a_data_set_is_downloaded_once(server, tmp_path, known):
    known(example(server, "a", "b", "c", "d", "e", "f"))
    server.pages |= {f"/{name}": polite(DATA[:1000] + name.encode()) for name in "abcdef"}
    paths = download("example", tmp_path)
    assert [path.read_bytes()[-1:] for path in paths] == [b"a", b"b", b"c", b"d", b"e", b"f"]
    assert len(server.asked) == 6
    manifest = read_manifest(tmp_path)
    assert sorted(manifest) == list("abcdef") and all(came["bytes"] == 1001 for came in manifest.values())
    assert manifest["a"]["sha256"] == hashlib.sha256(DATA[:1000] + b"a").hexdigest()
    assert manifest["a"]["url"] == f"{server.url}/a"
    (tmp_path / "b").write_bytes(b"short")
    (tmp_path / "c").unlink()
    assert download("example", tmp_path) == paths and len(server.asked) == 8
    assert (tmp_path / "b").read_bytes()[-1:] == b"b"


def test_one_missing_file_does_not_stop_the_others(server, tmp_path, known):
    known(example(server, "a", "b", "c"))
    server.pages |= {"/a": polite(), "/b": say(404), "/c": polite()}
    words = "1 of 3 files could not be fetched .*/b: the server answers 404"
    with pytest.raises(BadInput, match=words) as caught:
        download("example", tmp_path)
    assert "\n" not in str(caught.value)
    assert sorted(read_manifest(tmp_path)) == ["a", "c"] and not (tmp_path / "b").exists()


def test_limit_and_archives(server, tmp_path, known):
    known(example(server, "table.csv.gz", "images_gz2.zip", "never"))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("images/1.jpg", DATA)
        archive.writestr("__MACOSX/images/._1.jpg", b"junk")
    table, images = polite(gzip.compress(TABLE)), polite(buffer.getvalue())
    server.pages |= {"/table.csv.gz": table, "/images_gz2.zip": images}
    paths = download("example", tmp_path, limit=2)
    assert [path.name for path in paths] == ["table.csv.gz", "images_gz2"]
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.jpg")] == ["images_gz2/images/1.jpg"]


def test_two_downloads_do_not_share_a_folder(server, tmp_path, known):
    known(example(server, "a"))
    with alone(tmp_path), pytest.raises(BadInput, match="another process is at work"):
        download("example", tmp_path)
    assert not server.asked


def test_a_file_of_yours_is_not_replaced(server, tmp_path, known):
    known(example(server, "a"))
    server.pages["/a"] = polite()
    (tmp_path / "a").write_bytes(b"mine")
    with pytest.raises(BadInput, match="a: exists already, and not from a download"):
        download("example", tmp_path)
    (tmp_path / "a").unlink()
    (tmp_path / "manifest.json").write_text('{"name": "of something else"}')
    with pytest.raises(BadInput, match="manifest.json: does not list downloads"):
        download("example", tmp_path)
    assert not server.asked and [p.name for p in tmp_path.iterdir()] == ["manifest.json"]


def test_room_for_all_files_is_checked_first(server, tmp_path, known, monkeypatch):
    file = DataFile(f"{server.url}/a.zip", "a.zip", about=1e9)
    known(DataSet("example", "Example", "a zip", "nobody", (file,)))
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=1_500_000_000))
    with pytest.raises(BadInput, match="2 GB are needed and 1.5 GB are free"):
        download("example", tmp_path)
    assert not server.asked


@pytest.mark.parametrize(
    "name, client",
    [("gz2-kaggle", "kagglehub"), ("kaggle-challenge", "kagglehub"), ("hub-gz2", "huggingface_hub")],
)
def test_other_clients(tmp_path, monkeypatch, name, client):
    monkeypatch.setitem(sys.modules, client, None)  # as if it were not installed
    with pytest.raises(BadInput, match=f"needs the package {client}; install it with `pip install {client}`"):
        download(name, tmp_path)

    def fetched(*handle, **options):
        with zipfile.ZipFile(tmp_path / "images_training_rev1.zip", "w") as archive:
            archive.writestr("images_training_rev1/100008.jpg", DATA)
        return str(tmp_path)

    def broken(*handle, **options):
        raise RuntimeError("401\nUnauthorized")

    both = {"dataset_download": fetched, "competition_download": fetched, "snapshot_download": fetched}
    monkeypatch.delenv("KAGGLEHUB_CACHE", raising=False)
    monkeypatch.setitem(sys.modules, client, SimpleNamespace(**both))
    assert download(name, tmp_path) == [tmp_path, tmp_path / "images_training_rev1"]
    assert (tmp_path / "images_training_rev1" / "100008.jpg").read_bytes() == DATA
    monkeypatch.setitem(sys.modules, client, SimpleNamespace(**dict.fromkeys(both, broken)))
    with pytest.raises(BadInput, match="could not be fetched .401 Unauthorized."):
        download(name, tmp_path)
    monkeypatch.delenv("KAGGLEHUB_CACHE", raising=False)


def test_it_imports_no_heavy_library():
    heavy = "{'torch', 'pandas', 'matplotlib'}"
    code = f"import sys, galaxy_sommelier.download.fetch; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_the_command(server, tmp_path, known):
    from click.testing import CliRunner

    from galaxy_sommelier.cli.main import main

    def sommelier(*words):
        result = CliRunner().invoke(main, ["download", *map(str, words)])
        return result.exit_code, result.output

    code, text = sommelier("--list")
    assert code == 0 and all(name in text for name in DATASETS)
    assert "CC-BY-NC-SA-4.0" in text and "3.41 GB" in text
    known(example(server, "a", "b"))
    server.pages["/a"] = polite()
    code, text = sommelier("example", "--list")
    assert code == 0 and "licence  not stated" in text and not server.asked
    code, text = sommelier("example", "--root", tmp_path, "--limit", 1)
    assert code == 0 and text.splitlines()[-1] == str(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == DATA
    server.pages["/b"] = say(404)
    code, text = sommelier("example", "--root", tmp_path)
    assert code == 2 and text.splitlines()[-1].startswith("sommelier: ") and "404" in text.splitlines()[-1]
    code, text = sommelier("gz2-image")
    names = ", ".join(DATASETS)
    hint = f"did you mean 'gz2-images'? (known: {names})"
    assert code == 2 and text == f"sommelier: gz2-image: no such data set, {hint}\n"


# archives


def a_zip(path, members):
    """Make a zip of (name, content): bytes, or the Unix mode of something that is not a file."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (content if isinstance(content, int) else stat.S_IFREG | 0o644) << 16
            archive.writestr(info, "/etc" if isinstance(content, int) else content)
    return path


TAR_TYPES = {
    stat.S_IFLNK: tarfile.SYMTYPE,
    stat.S_IFREG: tarfile.LNKTYPE,
    stat.S_IFIFO: tarfile.FIFOTYPE,
    stat.S_IFCHR: tarfile.CHRTYPE,
}


def a_tar(path, members):
    """Make a compressed tar of (name, content): bytes, or the type of a tar member that is not a file."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, int):
                info.type, info.linkname = TAR_TYPES[content], "/etc"
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return path


GOOD = ("images/1.jpg", b"one")
HOSTILE = {
    "climbs": (("../evil", b"x"), "outside"),
    "climbs inside": (("images/../../evil", b"x"), "outside"),
    "root": (("/tmp/evil", b"x"), "outside"),
    "windows": (("C:\\evil", b"x"), "outside"),
    "windows climbs": (("..\\evil", b"x"), "outside"),
    "link": (("images/link", stat.S_IFLNK | 0), "is a link"),
    "pipe": (("images/pipe", stat.S_IFIFO | 0), "is a device"),
    "device": (("images/device", stat.S_IFCHR | 0), "is a device"),
    "twice": (("./images/1.jpg", b"two"), "is duplicated"),
    "file as a folder": (("images/1.jpg/2.jpg", b"two"), "is duplicated"),
    "folder as a file": (("images", b"two"), "is duplicated"),
    "line break": (("images/1\n.jpg", b"x"), "no readable name"),
    "bomb": (("zeros", bytes(HARMLESS + 1)), "far more than its packed size"),
}


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("make", [a_zip, a_tar])
def test_an_archive_with_a_hostile_member_is_refused(tmp_path, make, case):
    member, reason = HOSTILE[case]
    folder = tmp_path / "folder"
    folder.mkdir()
    archive = make(folder / "archive", [GOOD, member])
    with pytest.raises(BadInput, match=reason) as caught:
        unpack(archive, folder / "out")
    assert "\n" not in str(caught.value) and str(archive) in str(caught.value)
    assert [p.name for p in tmp_path.rglob("*")] == ["folder", "archive"]


def test_a_huge_name_in_a_tar_takes_no_memory(tmp_path):
    """Each kind of entry that describes the next one, of 300 MB, in a process with less memory than that."""
    for number, kind in enumerate((tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE)):
        archive, header = tmp_path / f"{number}.tar.gz", tarfile.TarInfo("name")
        header.type, header.size = kind, 300_000_000
        with gzip.open(archive, "wb", compresslevel=1) as file:
            file.write(header.tobuf(tarfile.GNU_FORMAT))
            for _ in range(300):
                file.write(b"a" * 1_000_000)
        tracemalloc.start()
        with pytest.raises(BadInput, match="holds a name of 300,000,000 bytes"):
            unpack(archive, tmp_path / "out")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 20_000_000 and not (tmp_path / "out").exists()


def test_a_sparse_file_in_a_tar(tmp_path):
    header = tarfile.TarInfo("zeros")
    header.type, header.size = tarfile.GNUTYPE_SPARSE, 512
    (tmp_path / "archive").write_bytes(header.tobuf(tarfile.GNU_FORMAT) + bytes(2048))
    with pytest.raises(BadInput, match="is a sparse file"):
        unpack(tmp_path / "archive", tmp_path / "out")


@pytest.mark.parametrize("packing", ["gz", "bz2", "xz"])
def test_damage_in_every_packing_of_a_tar(tmp_path, packing):
    with tarfile.open(tmp_path / "whole", f"w:{packing}") as archive:
        info = tarfile.TarInfo("1.jpg")
        info.size = len(DATA)
        archive.addfile(info, io.BytesIO(DATA))
    whole, places = (tmp_path / "whole").read_bytes(), random.Random(4)
    for _ in range(40):
        place = places.randrange(len(whole))
        (tmp_path / "bad").write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
        with suppress(BadInput):  # some bytes, such as the time in the header of a gz, do not matter
            out = unpack(tmp_path / "bad", tmp_path / "out")
            assert (out / "1.jpg").read_bytes() == DATA
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad", "whole"]


def test_names_that_are_no_utf8(tmp_path):
    with pytest.raises(BadInput, match="no readable name"):
        unpack(a_tar(tmp_path / "archive", [GOOD, ("images/\udce9.jpg", b"x")]), tmp_path / "out")
    data = a_zip(tmp_path / "archive", [("images/\u00e9.jpg", b"x")]).read_bytes()
    (tmp_path / "archive").write_bytes(data.replace("\u00e9".encode(), b"\xff\xfe"))
    with pytest.raises(BadInput, match="damaged"):
        unpack(tmp_path / "archive", tmp_path / "out")


def test_a_hard_link_in_a_tar(tmp_path):
    with pytest.raises(BadInput, match="is a link"):
        unpack(a_tar(tmp_path / "archive", [GOOD, ("images/2.jpg", stat.S_IFREG)]), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_bomb_of_many_small_members(tmp_path):
    members = [(f"{n}.fits", bytes(2_000_000)) for n in range(HARMLESS // 2_000_000 + 1)]
    with pytest.raises(BadInput, match="far more than its packed size"):
        unpack(a_zip(tmp_path / "archive", members), tmp_path / "out")
    with gzip.open(tmp_path / "zeros.fits.gz", "wb") as file:
        file.write(bytes(HARMLESS + 1))
    with pytest.raises(BadInput, match="far more than its packed size"):
        unpack(tmp_path / "zeros.fits.gz", tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["archive", "zeros.fits.gz"]


def test_a_hundred_thousand_members(tmp_path):
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
        for n in range(100_000):  # one in a hundred is a file, the others are shadows from a Mac
            archive.writestr(f"{n % 7}/{n}.jpg" if n % 100 == 0 else f"__MACOSX/{n % 7}/._{n}.jpg", b"x")
    with pytest.raises(BadInput, match="more than 50,000 members"):
        unpack(tmp_path / "many.zip", tmp_path / "out", max_count=50_000)
    assert [p.name for p in tmp_path.iterdir()] == ["many.zip"]
    out = unpack(tmp_path / "many.zip", tmp_path / "out")
    assert sum(p.is_file() for p in out.rglob("*")) == 1000


@pytest.mark.parametrize("make", [a_zip, a_tar])
def test_a_damaged_archive_is_named(tmp_path, make):
    data = make(tmp_path / "whole", [(f"{n}.jpg", DATA[:50_000]) for n in range(4)]).read_bytes()
    flipped = data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 255]) + data[len(data) // 2 + 1 :]
    cases = {"half": data[: len(data) // 2], "cut": data[:-10], "flipped": flipped}
    for name, content in (cases | {"text": b"not found", "empty": b""}).items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BadInput, match="ends early|damaged") as caught:
            unpack(tmp_path / name, tmp_path / "out")
        assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()
    with pytest.raises(BadInput, match="no such file"):
        unpack(tmp_path / "nowhere.zip", tmp_path / "out")
