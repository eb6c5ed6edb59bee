"""The package is complete when installed from a wheel, outside the clone."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = ("galaxy_sommelier", "nbs/experiments", "configs", "settings.ini", "setup.py", "README.md", "LICENSE")


def run(*command, cwd, **env):
    words = [str(word) for word in command]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")} | env
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Return the programs of a new environment with the wheel and the dependencies of this environment."""
    top = tmp_path_factory.mktemp("installed")
    for name in FILES:
        (top / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, top / "source" / name)
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    run(*pip, "wheel", "--no-deps", "--wheel-dir", top / "wheels", top / "source", cwd=top)
    shutil.rmtree(top / "source")
    venv.create(top / "env", with_pip=False)
    packages = Path(sysconfig.get_path("purelib", vars={"base": top / "env", "platbase": top / "env"}))
    # a .pth file adds a folder to the path but reads no .pth files in it, so the clone stays out of reach
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (wheel,) = (top / "wheels").glob("*.whl")
    run(*pip, "--python", top / "env" / "bin" / "python", "install", "--no-deps", "--force-reinstall",
        "--ignore-installed", wheel, cwd=top)  # fmt: skip
    return top / "env" / "bin"


def test_the_package_comes_from_the_wheel(installed, tmp_path):
    code = "import galaxy_sommelier, sys; print(galaxy_sommelier.__file__, 'torch' in sys.modules)"
    where, torch = run(installed / "python", "-c", code, cwd=tmp_path).split()
    assert Path(where).is_relative_to(installed.parent) and torch == "False"


def test_demo_and_commands_run_outside_the_clone(installed, tmp_path):
    env = {"GALAXY_SOMMELIER_DATA": str(tmp_path / "data"), "PATH": f"{installed}:{os.environ['PATH']}"}
    sommelier = installed / "sommelier"
    tiny = {"galaxies": 60, "image_size": 32, "epochs_head": 1, "epochs_full": 1}
    pairs = [word for pair in tiny.items() for word in ("-p", *pair)]
    text = run(sommelier, "demo", *pairs, "--out", "demo", cwd=tmp_path, **env)
    assert "full" in text and (tmp_path / "demo" / "stages.csv").exists()
    store = tmp_path / "demo" / "store"
    (tmp_path / "small.yaml").write_text("stage: head\nepochs: 1\nimage_size: 32\n")
    train = ("train", store, "--backbone", "tiny", "-c", "small.yaml", "--out", "run")
    assert "kaggle_rmse" in run(sommelier, *train, cwd=tmp_path, **env)
    text = run(sommelier, "predict", store, "--model", "run", "--out", "p.parquet", cwd=tmp_path, **env)
    assert "60 galaxies" in text and (tmp_path / "p.parquet").exists()
    values = ("-p", "store", store, "-p", "backbone", "tiny", "-p", "image_size", "32", "-p", "epochs", "1")
    run(sommelier, "run", "finetune", *values, "--out", "finetune", cwd=tmp_path, **env)
    assert (tmp_path / "finetune" / "notebook.ipynb").exists()
