"""What a store must survive: a full disk, a kill, worker processes, damage, and a hundred thousand reads."""

import os
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from galaxy_sommelier.catalog.gz2 import read_kaggle
from galaxy_sommelier.catalog.schema import GZ2, Question, Schema
from galaxy_sommelier.catalog.table import fractions_of, votes_of
from galaxy_sommelier.core.files import BadInput, write_json
from galaxy_sommelier.data.dataset import GalaxyDataset
from galaxy_sommelier.data.inputs import open_input
from galaxy_sommelier.data.mixture import open_store
from galaxy_sommelier.data.store import Store, simulated_store, write_shard, write_store
from galaxy_sommelier.images.pixels import ImageReport, decode, encode
from galaxy_sommelier.images.simulation import simulate

N = 60


@pytest.fixture(scope="module")
def sky():
    return simulate(N, size=48, seed=8)


@pytest.fixture
def store(sky, tmp_path):
    table, images = sky
    write_store(
        table,
        tmp_path / "store",
        images=images,
        shard_size=25,
        split=["train"] * 40 + ["val"] * 8 + ["test"] * 12,
    )
    return Store(tmp_path / "store", schema=GZ2)


def test_everything_is_read_back(sky, store):
    table, images = sky
    assert store.ids == table.id_str.tolist() and len(store) == N
    assert (
        np.array_equal(store.fractions, fractions_of(table), equal_nan=True)
        and np.isnan(store.fractions).any()
    )
    assert np.array_equal(store.votes, votes_of(table))
    for i in RNG.permutation(N):
        assert store.jpeg(i) == encode(images[i])
    kept = [column for column in table if column != "path"]
    pd.testing.assert_frame_equal(store.table[kept], table[kept], check_dtype=False)


RNG = np.random.default_rng(0)


def test_shards_are_plain_parquet(store):
    rows = pd.concat([pq.read_table(file).to_pandas() for file in store.files], ignore_index=True)
    assert rows.id_str.tolist() == store.ids and [len(pq.read_table(file)) for file in store.files] == [
        25,
        25,
        10,
    ]
    assert all(decode(jpeg).shape == (48, 48, 3) for jpeg in rows.jpeg)


def test_splits_and_ids(store):
    assert [len(store.indices(name)) for name in ("train", "val", "test")] == [40, 8, 12]
    assert store.indices(store.ids[::-1]).tolist() == list(range(N))[::-1]
    for which in ("nonsense", ["sim-999999"]):
        with pytest.raises(BadInput):
            store.indices(which)


def test_split_by_id_may_come_in_any_order(sky, tmp_path):
    table, images = sky
    sides = pd.Series(np.where(np.arange(N) % 2, "train", "test"), table.id_str)
    write_store(table, tmp_path / "store", images=images, split=sides.sample(frac=1, random_state=1))
    assert Store(tmp_path / "store").split.tolist() == sides.tolist()
    with pytest.raises(BadInput, match="split"):
        write_store(table, tmp_path / "other", images=images, split=sides[:10])


def test_same_input_same_bytes(sky, tmp_path, store):
    table, images = sky
    for name, part in (("a", images), ("b", images), ("c", 255 - images)):
        write_store(table, tmp_path / name, images=part)
    a, b, c = (Store(tmp_path / name).fingerprint for name in "abc")
    assert a == b != c


def test_inputs_that_do_not_fit_are_refused(sky, store, tmp_path):
    table, images = sky
    for broken, what in (
        (table.drop(columns="bar_yes_fraction"), "bar_yes_fraction"),
        (pd.concat([table, table[:1]]), "is duplicated"),
        (table.assign(bar_yes_fraction=1.5), "1.5"),
        (table[:0], "no galaxies"),
    ):
        with pytest.raises(BadInput, match=what):
            write_store(broken, tmp_path / "new", images=np.concatenate([images, images[:1]])[: len(broken)])
    with pytest.raises(BadInput, match="60 galaxies but 59 images"):
        write_store(table, tmp_path / "new", images=images[1:])
    with pytest.raises(BadInput, match="exists"):
        write_store(table, store.path, images=images)
    with pytest.raises(BadInput, match="schema"):
        Store(store.path, schema=Schema("mine", (Question("spiral", "Spiral?", ("yes", "no")),)))
    assert not (tmp_path / "new").exists() and sorted(os.listdir(tmp_path)) == ["store"]


def test_folders_that_are_not_stores(store, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "store.json").write_text('{"schema": ')
    for name, what in (("nowhere", "no such folder"), ("empty", "not a store"), ("cut", "not valid JSON")):
        with pytest.raises(BadInput, match=what):
            Store(tmp_path / name)
    store.files[1].write_bytes(store.files[1].read_bytes()[:-100])
    with pytest.raises(BadInput, match="shard-00001.parquet: is missing or has been cut"):
        Store(store.path)
    store.files[1].unlink()
    with pytest.raises(BadInput, match="shard-00001.parquet: is missing"):
        Store(store.path)


@pytest.mark.parametrize("name", ["store.json", "mixed.json"])
@pytest.mark.parametrize("content", [
    5, None, "text", [], {}, {"schema": {}, "shards": 5, "index": {}, "fingerprint": "x"},
    {"stores": 5, "weights": {}},
    {"schema": {}, "shards": [1], "index": {}, "fingerprint": "x"}, {"stores": [1], "weights": {}},
])  # fmt: skip
def test_a_folder_whose_header_holds_something_else_is_refused(name, content, tmp_path):
    write_json(tmp_path / name, content)
    for opened in (Store, open_store):
        with pytest.raises(BadInput) as caught:
            opened(tmp_path)
        assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_images_of_a_store_have_no_unit(store):
    with pytest.raises(BadInput, match="leave --unit out"):
        open_input(store, unit="nanomaggy")


def test_damage_is_found(store):
    assert store.verify() is store
    content = bytearray(store.files[1].read_bytes())
    content[len(content) // 2] ^= 1
    store.files[1].write_bytes(content)
    with pytest.raises(BadInput, match="shard-00001.parquet: has changed"):
        store.verify()


def test_a_header_of_something_else_is_refused(store, tmp_path):
    (tmp_path / "strange").mkdir()
    write_json(tmp_path / "strange" / "store.json", {"name": "not ours"})
    with pytest.raises(BadInput, match="not a store"):
        Store(tmp_path / "strange")


def test_worker_processes_read_the_same(store):
    assert pickle.loads(pickle.dumps(store)).jpeg(3) == store.jpeg(3)
    data = GalaxyDataset(store, store.indices("train"), size=32, crop=0.7, margin=1.2)
    alone, together = (
        list(torch.utils.data.DataLoader(data, batch_size=8, num_workers=workers)) for workers in (0, 2)
    )
    for a, b in zip(alone, together, strict=True):
        assert (
            torch.equal(a["pixel_values"], b["pixel_values"]) and a["index"].tolist() == b["index"].tolist()
        )
        assert a["pixel_values"].dtype == torch.uint8 and torch.equal(
            a["labels"].isnan(), b["labels"].isnan()
        )


@pytest.mark.parametrize(
    "size,crop,margin", [(32, 1.0, 1.5), (32, 0.5, 1.0), (30, 0.55, 1.42), (98, 0.8, 1.2), (33, 0.99, 1.3)]
)
def test_margin_keeps_the_pixel_scale(store, size, crop, margin):
    data = GalaxyDataset(store, [0], size, crop, margin)
    assert (
        np.isclose(data.side / data.crop, size / crop)
        and size <= data.side <= round(size * margin)
        and data.crop <= 1
    )
    assert data[0]["pixel_values"].shape == (3, data.side, data.side)


PACK = """
import resource, sys
from galaxy_sommelier.data.store import simulated_store
from galaxy_sommelier.core.files import BadInput
from galaxy_sommelier.images.simulation import simulate
limit = int(sys.argv[2])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    print("start", flush=True)
    simulated_store(sys.argv[1], n=int(sys.argv[3]), size=64)
except BadInput as error:
    print(error)
    sys.exit(2)
"""


def pack(out, limit=0, n=100):
    command = [sys.executable, "-c", PACK, str(out), str(limit), str(n)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_a_full_disk_leaves_nothing(tmp_path):
    run = pack(tmp_path / "store", limit=200_000)
    said, _ = run.communicate(timeout=120)
    assert run.returncode == 2, said
    last = said.strip().splitlines()[-1]
    assert str(tmp_path / "store") in last and "cannot be written" in last
    assert list(tmp_path.iterdir()) == []


SLOW = """
import sys, time
import numpy as np
from galaxy_sommelier.data import store
from galaxy_sommelier.images.simulation import simulate
table, images = simulate(30, size=32)
write_shard = store.write_shard
def slow(*arguments):
    places = write_shard(*arguments)
    print("shard", flush=True)
    time.sleep(30)
    return places
store.write_shard = slow
store.write_store(table, sys.argv[1], images=images, shard_size=10)
"""


def test_a_kill_in_the_middle_leaves_nothing_under_the_final_name(tmp_path, sky):
    run = subprocess.Popen(
        [sys.executable, "-c", SLOW, str(tmp_path / "store")], stdout=subprocess.PIPE, text=True
    )
    assert "shard" in run.stdout.readline()
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert not (tmp_path / "store").exists()
    table, images = sky
    # and the next attempt succeeds
    write_store(table, tmp_path / "store", images=images)
    assert len(Store(tmp_path / "store")) == N


def files_of(sky, folder, count=N):
    """Return the galaxy table with its images in files."""
    table, images = sky
    folder.mkdir()
    paths = [folder / f"{name}.png" for name in table.id_str[:count]]
    for path, image in zip(paths, images, strict=False):
        path.write_bytes(encode(image))
    return table[:count].assign(path=[str(path) for path in paths])


KILLED = """
import os, signal, sys
import pandas as pd
from galaxy_sommelier.data import store
write_shard = store.write_shard
def dies(path, *arguments):
    if "shard-00003" in path.name:
        os.kill(os.getpid(), signal.SIGKILL)
    return write_shard(path, *arguments)
store.write_shard = dies
store.write_store(pd.read_pickle(sys.argv[1]), sys.argv[2], shard_size=10)
"""


def test_continues_after_a_kill(tmp_path, sky, monkeypatch):
    from galaxy_sommelier.data import store as module

    table = files_of(sky, tmp_path / "images")
    table.to_pickle(tmp_path / "table.pickle")
    run = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "table.pickle"), str(tmp_path / "store")],
        capture_output=True,
    )
    assert run.returncode == -signal.SIGKILL and not (tmp_path / "store").exists(), run.stderr
    os.utime(table.path[12], ns=(1, 1))  # an image that has changed since: its shard is made again
    made = []
    monkeypatch.setattr(
        module, "write_shard", lambda path, *more: made.append(path.name) or write_shard(path, *more)
    )
    write_store(table, tmp_path / "store", shard_size=10)
    assert made == [f"shard-{i:05d}.parquet" for i in (1, 3, 4, 5)]
    write_store(table, tmp_path / "again", shard_size=10)
    for name in os.listdir(tmp_path / "again"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "store" / name).read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "images", "store", "table.pickle"]
    assert Store(tmp_path / "store").verify().ids == table.id_str.tolist()


def test_a_store_with_too_many_bad_images_is_refused_and_leaves_nothing(tmp_path, sky):
    table = files_of(sky, tmp_path / "images")
    for path in table.path[:20]:
        open(path, "wb").close()
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(BadInput, match="20 bad"):
        write_store(table, tmp_path / "store", shard_size=10)
    assert sorted(os.listdir(tmp_path)) == before


def test_files_of_an_earlier_attempt_are_checked(tmp_path, sky, monkeypatch):
    table = files_of(sky, tmp_path / "images")
    for path in table.path[:20]:
        open(path, "wb").close()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):  # after the last shard
        patch.setattr(ImageReport, "check", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        write_store(table, tmp_path / "store", shard_size=10)
    left = tmp_path / ".unfinished-store"
    shard = left / "shard-00001.parquet"
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")  # damaged, with its note beside it
    # fewer galaxies than before
    report = write_store(table[:40], tmp_path / "store", shard_size=10, max_bad=0.6)
    store = Store(tmp_path / "store").verify()
    assert report.ok == len(store) == 20 and store.ids == table.id_str[20:40].tolist() and not left.exists()
    assert sorted(os.listdir(store.path)) == [
        "images.index",
        "shard-00000.parquet",
        "shard-00001.parquet",
        "store.json",
    ]


def test_random_reads_are_fast_and_need_little_memory(tmp_path):
    store = Store(simulated_store(tmp_path / "store", n=300, size=128))
    order = RNG.integers(0, len(store), 3000)
    began = time.process_time()
    for i in order:
        store.jpeg(i)
    assert 3000 / (time.process_time() - began) > 5000
    data = GalaxyDataset(store, size=98, crop=0.8)
    began = time.process_time()
    for start in range(0, 320, 32):
        data.__getitems__(order[start : start + 32].tolist())
    assert 320 / (time.process_time() - began) > 1000


def test_real_galaxies(kaggle_root, tmp_path):
    table = read_kaggle(
        kaggle_root / "training_solutions_rev1.csv", images=kaggle_root / "images_training_rev1"
    )[:40]
    report = write_store(table, tmp_path / "store", shard_size=16)
    store = Store(tmp_path / "store", schema=GZ2)
    assert report.ok == len(store) == 40 and store.votes is None
    for i in (0, 17, 39):
        assert store.jpeg(i) == open(table.path.iloc[i], "rb").read() and store.image(i).shape == (
            424,
            424,
            3,
        )
