"""Random YAML, JSON, notebooks' parameters and archives: each is read, or refused in one line.

A longer search: `FUZZ_EXAMPLES=20000 pytest tests/test_fuzz.py`.
"""

import bz2
import gzip
import io
import json
import lzma
import math
import os
import tarfile
import tempfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from galaxy_sommelier.core.config import read_config, value_of
from galaxy_sommelier.core.files import BadInput, read_json
from galaxy_sommelier.core.runs import jsonable, merge, parameters
from galaxy_sommelier.core.slurm import Profile, batch_script
from galaxy_sommelier.download.fetch import defect
from galaxy_sommelier.download.transfer import Part, continues, note_of, range_of
from galaxy_sommelier.download.unpack import unpack
from galaxy_sommelier.training.settings import TrainSettings

LONGER = int(os.environ.get("FUZZ_EXAMPLES", 0))
fuzz = settings(
    max_examples=LONGER or 25,
    derandomize=not LONGER,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
)
PIECES = ["- ", ": ", "[", "]", "{", "}", ", ", "\n", "  ", "'", '"', "|\n", ">\n", "? ", "~", "!!int ",
          "!!map ", "!!python/name:os.system ", "&a ", "*a", "<<: ", "1e5", ".nan", "-.inf", "0x1f", "010",
          "1_0", "12:30:00", "2020-13-45", "yes", "null", "=", "%YAML 1.1\n", "---\n", "...\n", "# ", "\t",
          "\0", "\ud800", "9" * 30, "lr: 1e-4\n", "seconds: 3\n", "name: x\n"]  # fmt: skip
yaml_text = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=30).map("".join)
raw = st.binary(max_size=200)
numbers = st.integers() | st.floats() | st.booleans() | st.none() | st.text(max_size=20)
values = st.recursive(
    numbers, lambda one: st.lists(one, max_size=4) | st.dictionaries(st.text(), one, max_size=3)
)
names = st.sampled_from(["seconds", "name", "pair", "any"]) | st.text(max_size=5)


def outcome(call, *arguments):
    """Return what a call returns, or None where it refuses in one line; any other exception is a failure."""
    try:
        return call(*arguments)
    except BadInput as error:
        assert str(error) and len(str(error).splitlines()) == 1 and len(str(error)) < 5000
        return None


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


def is_plain(value) -> bool:
    """Return whether a value is of the kinds that JSON has, and infinite numbers."""
    if isinstance(value, dict):
        return all(isinstance(name, str) and is_plain(one) for name, one in value.items())
    if isinstance(value, list):
        return all(map(is_plain, value))
    return value is None or type(value) in (bool, int, float, str)


@fuzz
@given(yaml_text)
def test_a_typed_value(text):
    value = value_of(text)
    assert is_plain(value)
    assert not isinstance(value, int) or abs(value) < 2**63


@fuzz
@given(yaml_text.map(lambda text: text.encode("utf-8", "surrogatepass")) | raw)
def test_a_config_file(place, content):
    (place / "config.yaml").write_bytes(content)
    config = outcome(read_config, place / "config.yaml")
    assert config is None or isinstance(config, dict) and is_plain(config)
    if config is not None:
        outcome(TrainSettings.of, config, "config.yaml")
        outcome(Profile.of, config, "config.yaml")


def notebook(place: Path, source: str) -> Path:
    cell = nbformat.v4.new_code_cell(source, metadata={"tags": ["parameters"]})
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), place / "one.ipynb")
    return place / "one.ipynb"


@fuzz
@given(st.dictionaries(names, values, max_size=4))
def test_parameters_given(place, given):
    path = notebook(place, 'seconds = 1.0\nname = ""\npair = (1, 2)\nany = None\nout = ""')
    merged = outcome(merge, path, given)
    if merged is not None:
        assert json.loads(json.dumps(merged, allow_nan=False)) == merged
        assert math.isfinite(merged["seconds"]) if merged["seconds"] is not None else True


SOURCE = ["a = ", "b: int = ", "1", "-", "(", ")", "[", "]", "{", "}", ",", ":", "\n", "'", "#", "...", "b''",
          "1j", "f''", "1e999", "None", "\\", "    ", "%matplotlib inline\n", "lambda: 0", "9" * 5000,
          "(" * 300]  # fmt: skip
letters = st.text(st.characters(codec="utf-8"), max_size=3)
source_text = st.lists(st.sampled_from(SOURCE) | letters, max_size=12)
deep = st.sampled_from([b"[" * 100_000, b'{"a":' * 50_000])


@fuzz
@given(source_text.map("".join))
def test_the_parameters_cell(place, source):
    found = outcome(parameters, notebook(place, source))
    assert found is None or jsonable(found) == found


@fuzz
@given(raw | deep | values.map(lambda value: json.dumps(value).encode()[:150]))
def test_json(place, content):
    (place / "x.json").write_bytes(content)
    outcome(read_json, place / "x.json")


@fuzz
@given(st.dictionaries(st.sampled_from(list(Profile.model_fields)), values, max_size=4), st.text(max_size=20))
def test_a_slurm_profile(given, name):
    profile = outcome(Profile.of, {"data": ""} | given, "profile")
    if profile is None or "/" in name:
        return
    profile = profile.model_copy(update={"setup": ()})  # lines of shell, which may be anything
    script = outcome(batch_script, ["sommelier", "run", name], profile, Path("r", name))
    if script is not None:  # all directives come from us, one line each
        known = len(batch_script(["sommelier"], Profile(), Path("r")).splitlines())
        head = script.split("\n\n")[0].splitlines()
        assert all(line.startswith(("#!/bin/bash", "#SBATCH --")) for line in head) and len(head) < known + 9


def contents() -> dict[str, bytes]:
    """Small sound archives."""
    made, members = {}, {"images/1.jpg": b"\xff\xd8one", "images/2.jpg": b"two" * 400, "caf\u00e9.txt": b""}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    made["zip"] = buffer.getvalue()
    for kind in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=kind) as archive:
            for name, data in (members | {"long" * 20 + "/" + "name" * 15: b"long"}).items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        made[f"tar{kind}"] = buffer.getvalue()
    packings = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}
    return made | {f"tar.{name}": pack(made["tar1"]) for name, pack in packings.items()}


ARCHIVES = contents()
change = st.tuples(st.floats(0, 1, exclude_max=True), st.sampled_from("flip cut insert number".split()),
                   st.binary(min_size=1, max_size=12))  # fmt: skip


def changed(data: bytes, changes) -> bytes:
    """Change an archive at some places: overwrite, remove or insert bytes, or write a number as tar does."""
    for share, how, what in changes:
        at = int(share * len(data)) if data else 0
        new = b"%011o\0" % int.from_bytes(what[:5], "big") if how == "number" else what
        gone = {"flip": len(new), "cut": what[0], "insert": 0, "number": len(new)}[how]
        data = data[:at] + (b"" if how == "cut" else new) + data[at + gone :]
    return data


def repaired(data: bytes) -> bytes:
    """Make the checksums of a tar's headers right again, so that what follows them is reached."""
    blocks = [data[at : at + 512] for at in range(0, len(data), 512)]
    for number, block in enumerate(blocks):
        if len(block) == 512 and block[257:262] == b"ustar":
            total = sum(block[:148]) + 8 * 32 + sum(block[156:])
            blocks[number] = block[:148] + b"%06o\0 " % total + block[156:]
    return b"".join(blocks)


@fuzz
@given(st.sampled_from(sorted(ARCHIVES)), st.lists(change, max_size=4), st.booleans())
def test_an_archive(kind, changes, repair):
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        data = changed(ARCHIVES[kind], changes)
        (top / "archive").write_bytes(repaired(data) if repair else data)
        out = outcome(unpack, top / "archive", top / "out")
        assert sorted(p.name for p in top.iterdir()) == (["archive"] if out is None else ["archive", "out"])
        assert changes or out is not None


ENDINGS = ["", *".csv .csv.gz .tsv .zip .parquet .h5 .tar.gz .fits .png .tgz .tar.xz".split()]


@fuzz
@given(st.sampled_from(ENDINGS), raw | st.sampled_from(sorted(ARCHIVES.values())) | raw.map(gzip.compress))
def test_what_a_file_holds(place, ending, content):
    (place / "file").write_bytes(content)
    reason = defect(place / "file", f"file{ending}")
    assert reason is None or isinstance(reason, str) and "\n" not in reason


@fuzz
@given(raw | st.sampled_from([b"[]", b'{"url": "u"}', b'{"url": "u", "version": 3, "bytes": "x"}']),
       st.text(max_size=30) | st.just("bytes 3-9/10"))  # fmt: skip
def test_the_note_and_the_answer_of_a_partial_file(place, note, where):
    part = Part("u", place / "partial")
    part.beside.write_bytes(note)
    part.file.write_bytes(b"abc")
    headers = {"Content-Range": where, "ETag": '"v1"'}
    assert isinstance(note_of(part), dict) and isinstance(range_of(part), dict)
    assert isinstance(continues(SimpleNamespace(status_code=206, headers=headers), part), bool)
