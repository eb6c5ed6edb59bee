"""Tables and annotation files as hypothesis makes them: read back the same, or refused in one line.

A longer search: `FUZZ_EXAMPLES=20000 pytest tests/test_tables_fuzz.py`.
"""

import contextlib
import os
import warnings

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from galaxy_sommelier.catalog.table import exact_ids, read_frame
from galaxy_sommelier.core.files import BadInput
from galaxy_sommelier.core.frames import write_csv
from galaxy_sommelier.core.tables import as_cell, from_cell, header, is_fits_table, pieces
from galaxy_sommelier.data.export import export_table, read_facts
from galaxy_sommelier.inspector.annotations import AnnotationFile, append, locked

LONGER = int(os.environ.get("FUZZ_EXAMPLES", 0))
some = settings(
    max_examples=LONGER or 25,
    derandomize=not LONGER,
    deadline=10_000,  # milliseconds
    suppress_health_check=list(HealthCheck),
    database=None,
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
OURS = st.sampled_from(["bar_yes_fraction", "RA", "Dec", "path", "label", "x y"])
NAMES = st.one_of(OURS, TEXT.filter(bool))
COLUMNS = {
    "text": st.lists(TEXT, min_size=3, max_size=3),
    "whole": st.lists(st.one_of(st.none(), st.integers(-(2**63) + 1, 2**64 - 1)), min_size=3, max_size=3),
    "number": st.lists(st.floats(width=64), min_size=3, max_size=3),
    "yes": st.lists(st.booleans(), min_size=3, max_size=3),
    "list": st.lists(st.lists(st.integers(-9, 9), max_size=2), min_size=3, max_size=3),
}
VALUES = st.one_of(*COLUMNS.values())


@contextlib.contextmanager
def one_line():
    """Accept a refusal, if it is one line of printable text."""
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    except BadInput as error:
        assert str(error).isprintable(), str(error)
        str(error).encode()


def frame_of(columns):
    """Make a table of three galaxies."""
    ids = ["gz2-587722981742084144", "=1+1", "a,b\"'\u00e9"]
    return pd.DataFrame({"id_str": ids} | {name: pd.Series(v, dtype=object) for name, v in columns.items()})


@pytest.mark.parametrize("ending", ["csv", "parquet", "fits", "vot"])
@given(columns=st.dictionaries(NAMES.filter(lambda name: name != "id_str"), VALUES, max_size=3))
@some
def test_what_is_written_is_read_back_or_refused(ending, columns, tmp_path):
    table, path = frame_of(columns).infer_objects(), tmp_path / f"table.{ending}"
    path.unlink(missing_ok=True)
    if ending in ("fits", "vot"):
        table["id_str"] = ["gz2-587722981742084144", "=1+1", "a,b\"'"]
    with one_line():
        if ending == "csv":
            write_csv(table, path)
        elif ending == "parquet":
            try:
                table.to_parquet(path)
            except (OverflowError, TypeError, ValueError):  # not ours: pyarrow has no type for the column
                return
        else:
            export_table(table, path, {"model": "a model"})
            assert read_facts(path) == {"model": "a model"}
        assert read_frame(path).id_str.tolist() == table.id_str.tolist()


FINITE = st.floats(allow_nan=False, allow_infinity=False)


@given(numbers=st.lists(FINITE, min_size=1, max_size=4), whole=st.integers(0, 2**63 - 1))
@some
def test_numbers_are_exact_in_every_format(numbers, whole, tmp_path):
    table = pd.DataFrame({"id_str": [f"g{i}" for i in range(len(numbers))], "ra": numbers, "n": whole})
    for name, write in {
        "a.csv": lambda path: write_csv(table, path),
        "a.parquet": table.to_parquet,
        "a.fits": lambda path: export_table(table, path),
        "a.vot": lambda path: export_table(table, path),
    }.items():
        write(tmp_path / name)
        back = read_frame(tmp_path / name)
        assert back.ra.tolist() == numbers and back.n.tolist() == [whole] * len(numbers)
        (tmp_path / name).unlink()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """One table in each format, as bytes."""
    place, table = tmp_path_factory.mktemp("files"), frame_of({"ra": [1.5, 2, None], "n": [1, 2, 3]})
    table["id_str"] = ["gz2-587722981742084144", "b", "c"]
    write_csv(table.infer_objects(), place / "a.csv")
    table.infer_objects().to_parquet(place / "a.parquet")
    for ending in ("fits", "vot"):
        export_table(table.infer_objects(), place / f"a.{ending}")
    about = "# %ECSV 1.0\n# ---\n# datatype: [{name: id_str, datatype: string}]\n"
    (place / "a.ecsv").write_text(about + "id_str\na\n")
    return {path.suffix: path.read_bytes() for path in place.iterdir()}


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".fits", ".vot", ".ecsv"])
@given(data=st.data())
@some
def test_a_damaged_table_is_read_or_refused_in_one_line(ending, data, files, tmp_path):
    content = bytearray(files[ending])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content)))
        new, cut = data.draw(st.binary(max_size=8)), data.draw(st.sampled_from([0, 1, 8, 80]))
        content[at : at + cut] = new
    end = data.draw(st.sampled_from([len(content), 100, 3000]))
    (path := tmp_path / f"a{ending}").write_bytes(content[:end])
    is_fits_table(path)
    for read in (header, read_frame, lambda path: list(pieces(path, ["id_str"], ["ra"])), read_facts):
        with one_line():
            read(path)


NO_IDS = st.one_of(st.floats(), st.none(), st.booleans())
ANYTHING = st.one_of(st.text(max_size=9), st.binary(max_size=4), st.integers(), NO_IDS)


@given(st.lists(ANYTHING))
@some
def test_ids_are_text_or_refused(values):
    ids = pd.Series(values, name="id_str", dtype=object)
    with one_line():
        found = exact_ids(ids, "table")
        assert all(isinstance(one, str) and one for one in found) and len(found) == len(values)
        for one, value in zip(found, values, strict=True):
            if isinstance(value, int) and not isinstance(value, bool):
                assert int(one) == value


@given(st.text())
@some
def test_a_cell_comes_back(text):
    assert from_cell(as_cell(text)) == text and not as_cell(text).startswith(tuple("=+-@\t\r"))


LONG = st.integers(0, 200_000).map("x".__mul__)


@given(galaxy=st.text(max_size=8), comment=st.one_of(st.text(), LONG), junk=st.binary())
@some
def test_an_annotation_is_kept_or_refused_and_junk_costs_only_itself(galaxy, comment, junk, tmp_path):
    (path := tmp_path / "labels.csv").unlink(missing_ok=True)
    with locked(path) as file:
        append(file, path, [("first", "label", "spiral", "ada", "")])
    path.write_bytes(path.read_bytes() + junk + b"\n")
    with one_line():
        AnnotationFile(path, "ada").put(galaxy, comment=comment)
    with warnings.catch_warnings(action="ignore"):
        again = AnnotationFile(path, "ada")
        again.put("last", label="smooth")
        again = AnnotationFile(path, "ada")
    assert again.mine("first")["label"] == "spiral" and again.mine("last")["label"] == "smooth"


@given(content=st.binary())
@some
def test_any_file_is_an_annotation_file_or_refused(content, tmp_path):
    (path := tmp_path / "any.csv").write_bytes(content)
    with one_line():
        AnnotationFile(path, "ada").put("a", label="spiral")
        assert AnnotationFile(path, "ada").mine("a") == {"label": "spiral"}
    assert path.read_bytes().startswith(content)  # what is not an annotation file is left alone
