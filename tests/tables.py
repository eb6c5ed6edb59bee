"""Tables in the published formats at any size: simulated galaxies with votes along the tree of a campaign."""

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from galaxy_sommelier.catalog.campaigns import CANDELS, DECALS12, DESI, EUCLID, HUBBLE
from galaxy_sommelier.catalog.gz2 import KAGGLE_COLUMNS, STEMS
from galaxy_sommelier.catalog.later_campaigns import CANDELS_STEMS, HUBBLE_STEMS, decals_names
from galaxy_sommelier.catalog.newer_campaigns import EUCLID_NAMES, VOTE_TABLES, vote_columns
from galaxy_sommelier.catalog.schema import GZ2, kaggle_form

CHUNK = 20_000  # rows made and written at once
NO_QUOTES = pa.csv.WriteOptions(quoting_style="none", quoting_header="none")  # as the published tables


def draw(schema, n, seed=0):
    """Return votes of each answer, (n,) int; some galaxies are so clear that some questions are unreached."""
    rng, votes = np.random.default_rng(seed), {}
    for question in schema.questions:
        asked = (
            sum(votes[answer] for answer in question.asked_after)
            if question.asked_after
            else rng.integers(28, 60, n)
        )
        likes = rng.dirichlet(np.full(len(question.answers), 0.4), n)
        votes |= zip(question.columns, rng.multinomial(asked, likes).T, strict=True)
    return votes


def shares(votes, schema):
    """Return fractions of those who were asked, NaN where nobody was, and their number by question."""
    asked = {
        question.name: sum(votes[answer] for answer in question.columns) for question in schema.questions
    }
    with np.errstate(invalid="ignore"):
        return {
            answer: votes[answer] / asked[q.name] for q in schema.questions for answer in q.columns
        }, asked


def place(n, seed):
    """Return right ascension and declination in degrees, six decimals."""
    rng = np.random.default_rng((seed, 1))
    return rng.uniform(0, 360, n).round(6), np.degrees(np.arcsin(rng.uniform(-0.2, 0.9, n))).round(6)


def zero_filled(fraction):
    """Round as the tables of Galaxy Zoo 2 and Hubble do: three decimals, 0 where nobody was asked."""
    return np.nan_to_num(fraction).round(3)


def single(values):
    """Round to float32: 0.81 becomes 0.8100000023841858, as in the published file of 364 MB."""
    return values.astype("float32").astype(float)


def hart16_rows(start, n, seed):
    """`gz2_hart16.csv`: 9 columns, then 6 for each of 37 answers."""
    rng, votes, (ra, dec) = np.random.default_rng((seed, 2)), draw(GZ2, n, seed), place(n, seed)
    fractions, asked = shares(votes, GZ2)
    rows = {
        "dr7objid": 587722981741363200 + start + np.arange(n),
        "ra": ra,
        "dec": dec,
        "rastring": [f"{int(a // 15):02}:{int(a * 4 % 60):02}:{a * 240 % 60:05.2f}" for a in ra],
        "decstring": [f"{d:+05.1f}:30:15.5" for d in dec],
        "sample": rng.choice(["original", "extra", "stripe82"], n, p=[0.87, 0.09, 0.04]),
        "gz2_class": rng.choice(["Ei", "Er", "Sc?t", "SBb2m", "Ser", "Sb(m)", "A"], n),
        "total_classifications": asked["smooth-or-featured"],
        "total_votes": sum(votes.values()),
    }
    for answer, stem in zip(GZ2.answers, STEMS, strict=True):
        fraction, weight = single(zero_filled(fractions[answer])), single(votes[answer] * 0.97)
        rows |= {
            f"{stem}_count": votes[answer],
            f"{stem}_weight": weight,
            f"{stem}_fraction": fraction,
            f"{stem}_weighted_fraction": fraction,
            f"{stem}_debiased": fraction,
            f"{stem}_flag": (fraction > 0.8).astype(int),
        }
    return rows


def kaggle_fractions(n, seed):
    """Return fractions (n, 37); where nobody was asked for anything odd, all count as "no", as at Kaggle."""
    fractions = shares(draw(GZ2, n, seed), GZ2)[0]
    for answer, share in (("yes", 0.0), ("no", 1.0)):
        fractions[f"something-odd_{answer}"] = np.nan_to_num(fractions[f"something-odd_{answer}"], nan=share)
    return np.stack([fractions[answer] for answer in GZ2.answers], axis=1)


def kaggle_rows(start, n, seed):
    """`training_solutions_rev1.csv`: cumulative fractions."""
    fractions = kaggle_fractions(n, seed)
    return {"GalaxyID": 100008 + start + np.arange(n)} | dict(
        zip(KAGGLE_COLUMNS, np.nan_to_num(kaggle_form(fractions)).T, strict=True)
    )


def decals_rows(schema):
    """`gz_decals_volunteers_1_and_2` or `_5`: counts, fractions, and for half of them debiased fractions."""

    def rows(start, n, seed):
        votes, (ra, dec), names = draw(schema, n, seed), place(n, seed), decals_names(schema)
        fractions, asked = shares(votes, schema)
        other = "in_gzd_c" if schema is DECALS12 else "in_gzd_ab"
        rows = {
            "iauname": [f"J{100000 + i}.00-010258.5" for i in range(start, start + n)],
            "ra": ra,
            "dec": dec,
            "redshift": np.full(n, 0.05),
            "upload_group": ["early"] * n,
            other: [True] * n,
        }
        for question in schema.questions:
            rows[f"{question.name}_total-votes"] = asked[question.name]
            for answer in question.columns:
                debiased = np.where(np.arange(n) % 2, fractions[answer], np.nan)
                rows |= {
                    names[f"{answer}_votes"]: votes[answer],
                    names[f"{answer}_fraction"]: fractions[answer],
                    names[f"{answer}_debiased"]: debiased,
                }
        return rows

    return rows


def predicted(schema, n, seed):
    """Return predicted fractions, (n, answers), missing where few would be asked."""
    rng = np.random.default_rng(seed)
    fractions = np.concatenate(
        [rng.dirichlet(np.full(len(q.answers), 0.4), n).astype("float32") for q in schema.questions], axis=1
    )
    fractions[schema.asked_per_answer(fractions) < 0.5] = np.nan
    return fractions


def desi_rows(start, n, seed):
    """`gz_desi_deep_learning_catalog_friendly`: predicted fractions, missing where few would be asked."""
    fractions, (ra, dec), number = predicted(DESI, n, seed), place(n, seed), start + np.arange(n)
    brick, number = number // 5000 + 300_000, number % 5000
    rows = {
        "dr8_id": [f"{b}_{i}" for b, i in zip(brick, number, strict=True)],
        "brickid": brick,
        "objid": number,
        "ra": ra,
        "dec": dec,
        "hdf5_loc": ["somewhere"] * n,
    }
    return rows | dict(zip(DESI.columns, fractions.T, strict=True))


def euclid_rows(start, n, seed):
    """`morphology_catalogue`: predicted fractions; every second number of an object is negative."""
    fractions, (ra, dec), number = predicted(EUCLID, n, seed), place(n, seed), 842787 + start + np.arange(n)
    rows = {
        "tile_index": np.full(n, 102011288),
        "object_id": np.where(number % 2, -number, number),
        "right_ascension": ra,
        "declination": dec,
        "warning_galaxy_fails_training_cuts": np.zeros(n, bool),
    }
    return rows | dict(zip(EUCLID_NAMES.values(), fractions.T, strict=True))


def vote_rows(name):
    """`<name>_train_catalog.parquet` of galaxy-datasets: votes, and the name of the image."""
    kind = VOTE_TABLES[name]

    def rows(start, n, seed):
        votes, number = draw(kind.schema, n, seed), range(start, start + n)
        image = [f"{88113560 + i}" if kind.image == "subject_id" else f"lz_{i}_cutout.jpg" for i in number]
        columns = {c: votes[a[:-6]] for a, c in vote_columns(name).items() if a.endswith("_votes")}
        return {kind.image: image, "subfolder": ["lz_595"] * n, **columns}

    return rows


def tidal_rows(start, n, seed):
    """Table of J/ApJ/765/28: confidence and letters of the kinds of features."""
    rng, (ra, dec) = np.random.default_rng(seed), place(n, seed)
    confidence = rng.integers(0, 5, n)
    letters = ["".join(rng.permutation(list("HSALFM"))[: rng.integers(1, 4)]) for _ in range(n)]
    return {
        "ID": [f"W1-{i}" for i in range(start, start + n)],
        "CONF": confidence,
        "FEAT": np.where(confidence < 2, "N", letters),
        "RAJ2000": ra,
        "DEJ2000": dec,
    }


def task_rows(schema, stems, endings, first):
    """Tables with a column for each task and answer.

    `endings` are those of fractions, weighted fractions, numbers and weights of those asked.
    """

    def rows(start, n, seed):
        votes, (ra, dec) = draw(schema, n, seed), place(n, seed)
        fractions, asked = shares(votes, schema)
        rows = first(start, n, ra, dec)
        for question in schema.questions:
            for answer in question.columns:
                rows |= dict.fromkeys(
                    [stems[answer] + ending for ending in endings[:2]], zero_filled(fractions[answer])
                )
            task, number = stems[question.name], asked[question.name]
            rows |= {task + endings[2]: number, task + endings[3]: number * 0.97}
        return rows

    return rows


def hubble_first(start, n, ra, dec):
    number = start + np.arange(n)
    return {
        "zooniverse_id": [f"AHZ{i:07x}" for i in number],
        "survey_id": number,
        "RA": ra,
        "DEC": dec,
        "Z_BEST": np.where(number % 3, 0.8, 999.0),
        "correction_type": number % 5,
        "imaging": np.array(["AEGIS", "COSMOS", "GEMS", "GOODS-N-FULLDEPTH"])[number % 4],
        "total_count": np.full(n, 40),
    }


def candels_first(start, n, ra, dec):
    return {
        "ID": [f"COS_{i}" for i in range(start, start + n)],
        "RA": ra,
        "Dec": dec,
        "num_classifications": np.full(n, 40),
    }


hubble_rows = task_rows(
    HUBBLE, HUBBLE_STEMS, ("_fraction", "_weighted_fraction", "_total_count", "_total_weight"), hubble_first
)
candels_rows = task_rows(
    CANDELS, CANDELS_STEMS, ("_frac", "_weighted_frac", "_count", "_weight"), candels_first
)


def write(path, rows, n, seed=0):
    """Write `n` rows of a format, as .csv, .csv.gz or .parquet by the name; return the path."""
    writer = None
    with pa.output_stream(path, compression="detect" if str(path).endswith(".gz") else None) as sink:
        for start in range(0, n, CHUNK):
            table = pa.table(rows(start, min(CHUNK, n - start), seed + start))
            if writer is None and str(path).endswith(".parquet"):
                writer = pa.parquet.ParquetWriter(sink, table.schema)
            elif writer is None:
                writer = pa.csv.CSVWriter(sink, table.schema, write_options=NO_QUOTES)
            writer.write_table(no_nan(table) if isinstance(writer, pa.csv.CSVWriter) else table)
        writer.close()
    return path


def no_nan(table):
    """Write unknown numbers as empty cells."""
    for i, field in enumerate(table.schema):
        if pa.types.is_floating(field.type):
            table = table.set_column(i, field, pa.array(table[i].to_numpy(), field.type, from_pandas=True))
    return table
