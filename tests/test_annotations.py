"""Annotations on a disk that fills up, in a process of its own."""

import subprocess
import sys

import pandas as pd

CLICKS = """
import resource, sys
from galaxy_sommelier.core.files import BadInput
from galaxy_sommelier.inspector.annotations import AnnotationFile
annotations = AnnotationFile(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
try:
    for i in range(100):
        annotations.put(f"gz2-{i}", label="ring")
except (BadInput, OSError) as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
annotations.put(f"gz2-{i}", label="ring")
print(i, len(annotations.clicks))
"""


def test_a_full_disk_is_named_keeps_every_label_and_takes_the_click_again(tmp_path):
    path = tmp_path / "labels.csv"
    done = subprocess.run([sys.executable, "-c", CLICKS, str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    error, last = done.stdout.splitlines()
    failed, clicks = map(int, last.split())
    assert str(path) in error and "cannot be written" in error and 0 < failed < 100
    labels = pd.read_csv(path)
    assert labels.id_str.tolist() == [f"gz2-{i}" for i in range(failed + 1)] and clicks == failed + 1
    assert (labels.value == "ring").all() and labels.notna().all(axis=None)
