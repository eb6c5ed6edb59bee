"""A profile says where rows run; Slurm is asked about the job of each before the first starts."""

import os
from pathlib import Path

from campaign import TOP, Plan
from yte import process_yaml

from galaxy_sommelier.core.config import closest
from galaxy_sommelier.core.files import BadInput
from galaxy_sommelier.core.slurm import NoAnswer, slurm

PROFILES = TOP / "workflow" / "profiles"
TEXTS = {"slurm_account": "account", "slurm_partition": "partition", "qos": "qos", "constraint": "constraint"}
NUMBERS = {"gpu": "gpus", "cpus_per_task": "cpus-per-task", "mem_mb": "mem", "runtime": "time"}


def find_profile(name: str, plan: Plan) -> Path:  # of a folder in workflow/profiles, or the path of one
    """Return the folder of a profile; refuse one that cannot work here."""
    known = {path.name: path for path in sorted(PROFILES.iterdir())}
    folder = known.get(name, Path(name)).resolve()
    if not (folder / "config.yaml").exists():
        raise BadInput(f"profile {name!r} is not known{closest(name, known)}")
    text = (folder / "config.yaml").read_text()
    if "executor: slurm" in text:
        slurm("sbatch", "--version")
    if 'environ["ACCOUNT"]' in text and not os.environ.get("ACCOUNT"):
        raise BadInput(f"profile {name}: no account; add ACCOUNT=m1234, yours in place of m1234")
    if "executor: slurm" in text:
        file = folder / "config.yaml"
        try:
            profile = process_yaml(text, require_use_yte=True)
            if not isinstance(profile, dict):
                raise TypeError(f"expected `name: value` lines, found a {type(profile).__name__}")
        except Exception as error:  # of YAML, or of Python in it
            raise BadInput(f"{file}: not readable as YAML ({' '.join(str(error).split())})") from None
        try_out(file, profile, plan)
    return folder


def resources(file: Path, profile: dict, *names: str) -> dict:
    """Return the resources below names, empty where there are none; refuse another form of them."""
    found, where = profile, str(file)
    for name in names:
        found, where = found.get(name) or {}, f"{where}: {name}"
        if not isinstance(found, dict):
            form = "train_full: {mem_mb: 8000}" if name == "set-resources" else "mem_mb: 8000"
            raise BadInput(f"{where}: takes `name: value` lines like `{form}`, not {found!r}")
    return found


def options(resources: dict) -> tuple[str, ...]:
    """Return what Slurm may refuse as options of sbatch; 0 and "" are its defaults."""
    asked = {TEXTS[name]: value for name, value in resources.items() if name in TEXTS}
    asked |= {NUMBERS[k]: value for k, value in resources.items() if k in NUMBERS and isinstance(value, int)}
    return tuple(f"--{name}={value}" for name, value in asked.items() if value)


def try_out(file: Path, profile: dict, plan: Plan) -> None:
    """Ask Slurm whether it takes the job of each rule, by one that is held and cancelled at once.

    `sbatch --test-only` does not do: it refuses while all nodes are down, when a job would only wait.
    """
    default = resources(file, profile, "default-resources")
    jobs = {options(default): "default-resources"}
    of_stores, of_models = ["leaks"] if plan.leaks else [], ["calibrate", "card"] if plan.cards else []
    for rule in (*plan.by_rule(), *of_stores, *of_models):
        jobs.setdefault(options(default | resources(file, profile, "set-resources", rule)), rule)
    for words, rule in jobs.items():
        try:
            job = slurm("sbatch", "--hold", "--parsable", "--output=/dev/null", *words, "--wrap=true")
            slurm("scancel", job.strip().partition(";")[0])
        except NoAnswer:
            raise
        except BadInput as error:
            where = f"{file}: {rule} ({' '.join(words)})"
            raise BadInput(f"{where}: {error}; change it there, an account with ACCOUNT=m1234") from None
