"""The experiment over training sizes: all methods and the constant, each score with its interval."""

import pandas as pd
import pytest

from galaxy_sommelier.core.config import read_config
from galaxy_sommelier.core.files import BadInput
from galaxy_sommelier.core.runs import execute, find_experiment, merge, run_experiment, shipped
from galaxy_sommelier.training.stages import FIT

SMALL = {
    "simulated": 240,  # so that the test has the 30 galaxies that an interval needs
    "sizes": [20],
    "methods": ["head", "lora"],
    "image_size": 32,
    "epochs": 1,
    "resamples": 50,
}


def test_all_methods_are_beside_the_constant(tmp_path):
    run = run_experiment("label_efficiency", SMALL, out=tmp_path / "run")
    table = pd.read_csv(run / "label_efficiency.csv")
    assert table.groupby("method", sort=False).size().to_dict() == {"constant": 2, "head": 2, "lora": 2}
    assert (
        (table.lower <= table.score).all()
        and (table.score <= table.upper).all()
        and (table.lower < table.upper).all()
    )
    assert (run / "figures" / "label_efficiency.png").exists() and not list(run.rglob("checkpoints"))
    notebook = find_experiment("label_efficiency")
    # as in Jupyter, where config.json is not checked
    with pytest.raises(BadInput, match="head-20: holds another run .epochs 1, not 2"):
        execute(notebook, merge(notebook, SMALL, {"epochs": 2, "out": str(run)}), run, False)


@pytest.mark.parametrize("values", [{}, "kaggle_label_efficiency.yaml"], ids=["unchanged", "kaggle"])
def test_its_parameters_name_existing_methods(values):
    given = read_config(shipped("configs") / values) if values else {}
    found = merge(find_experiment("label_efficiency"), given)
    assert set(found["methods"]) <= set(FIT) and found["sizes"] == sorted(found["sizes"])
