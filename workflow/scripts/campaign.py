"""A campaign: one YAML file, read and checked as a whole, becomes rows, each a command with its folder."""

import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

import click
from pydantic import Field

from galaxy_sommelier.cli.main import main
from galaxy_sommelier.core.config import Settings, closest, read_config, value_of
from galaxy_sommelier.core.files import BadInput
from galaxy_sommelier.core.runs import find_experiment, merge, parameters
from galaxy_sommelier.download.hub import cached_folder, check_folder
from galaxy_sommelier.training.settings import STAGES, TrainSettings, check_together, make_settings

TOP = Path(__file__).resolve().parents[2]  # relative paths in a campaign's file start here
MADE = {  # what another row can refer to, and the file that says that it is there
    "skies": "table.parquet",
    "weights": "config.json",
    "lists": "",
    "leaks": "",
    "stores": "done.json",
    "runs": "done.json",
}
REFERENCE = re.compile(rf"({'|'.join(MADE)})/([\w.-]+)(/.*)?")
NAME = re.compile(r"[A-Za-z][\w-]*")
BACKBONES = ("backbone", "backbones")
SKY = {"survey": "sdss", "n": 200, "size": 64, "seed": 42, "volunteers": 44}  # of `simulate`
LIST = {"table": "", "below": 0}
OF_TRAINING = {"store": "", "from": "", "config": "", "seeds": [], "processes": 1}
OF_EXPERIMENT = {"experiment": "", "config": ""}


class Campaign(Settings):
    """What a campaign's file may hold."""

    out: str = Field("", description="folder of everything that the campaign makes")
    attempts: int = Field(3, ge=1, description="how often a row is started before it counts as failed")
    threads: int = Field(1, ge=1, description="of a row; two rows run at once where there are twice as many")
    folders: dict = Field({}, description="NAME -> folder, for $NAME in the rows; the shell's NAME wins")
    common: dict = Field({}, description="values for each training and experiment that knows them")
    skies: dict = Field({}, description="simulated downloads: survey, n, size (pixels), seed, volunteers")
    weights: tuple = Field((), description="backbones made from installed packages: efficientnet-lite0")
    lists: dict = Field({}, description="lists of ids: table, a CSV, and below, the first id left out")
    stores: dict = Field({}, description="source, root and further options of `sommelier prepare`")
    leaks: dict = Field({}, description="[A, B]: the galaxies of store B that are also in store A")
    trainings: dict = Field({}, description="store, from, config, seeds, processes, settings of training")
    cards: tuple = Field((), description="trainings that are calibrated and get a card")
    experiments: dict = Field({}, description="experiment, config and parameters of the notebook")


@dataclass
class Row:
    """One command and what it needs; `folder` and `inputs` start from the campaign's folder."""

    name: str
    rule: str
    folder: str
    command: list[str]
    inputs: list[str] = field(default_factory=list)
    values: dict = field(default_factory=dict)  # settings or parameters, as checked


class Plan:
    """The rows of a campaign's file, checked; a fault is one line with file, row and key."""

    def __init__(self, path: str | Path):  # of the YAML file
        self.path, given = Path(path), read_config(path)
        self.campaign = c = Campaign.of(given, str(path))
        if not c.out:
            raise BadInput(f"{path}: no `out`, the folder of everything that the campaign makes; add it")
        self.folders = {name: os.environ.get(name, str(text)) for name, text in c.folders.items()}
        self.out = self.place(c.out, "out")
        self.check_names()
        self.check_common()
        self.stores = {name: self.prepare(name, dict(spec)) for name, spec in c.stores.items()}
        seeds = [self.train(name, spec) for name, spec in c.trainings.items()]
        self.trainings = {row.name: row for rows in seeds for row in rows}
        self.cards = [self.known("cards", "runs", name) for name in c.cards]
        if wrong := [name for name in self.cards if name not in self.trainings]:
            self.refuse("cards", f"{wrong[0]!r} is no training; only trainings have cards")
        self.experiments = {name: self.experiment(name, dict(spec)) for name, spec in c.experiments.items()}
        self.leaks = {name: self.pair(name, stores) for name, stores in c.leaks.items()}
        for name, spec in c.lists.items():
            self.fields(f"lists: {name}", spec, LIST)
            if missing := [key for key in LIST if key not in spec]:
                self.refuse(f"lists: {name}", f"no {missing[0]!r}; a list takes `table` and `below`")
            self.check_value(f"lists: {name}: table", spec.get("table", ""))
        for name, spec in c.skies.items():
            self.fields(f"skies: {name}", spec, SKY)
            if "n" not in spec:
                self.refuse(f"skies: {name}", "no 'n', the number of galaxies")
        for name in c.weights:
            if name != "efficientnet-lite0":
                raise BadInput(f"{path}: weights: {name!r} is not known (known: efficientnet-lite0)")

    @property
    def rows(self) -> dict[str, Row]:
        return self.stores | self.trainings | self.experiments

    def by_rule(self) -> dict[str, list[Row]]:
        """Return the rows of each rule."""
        found = {}
        for row in self.rows.values():
            found.setdefault(row.rule, []).append(row)
        return found

    def refuse(self, where: str, what: str):
        raise BadInput(f"{self.path}: {where}: {what}")

    def place(self, text: str, where: str) -> Path:
        """Return a folder of the file as an absolute path."""
        try:
            text = Template(text).substitute(os.environ | self.folders)
        except (KeyError, ValueError) as error:
            self.refuse(where, f"{text}: no folder is named {error}; add it to `folders`")
        return (TOP / Path(text).expanduser()).resolve()

    def check_names(self):
        """Refuse a name that is no name of a folder, or is used twice."""
        c, seen = self.campaign, {}
        for kind in ("skies", "lists", "stores", "leaks", "trainings", "experiments"):
            for name, spec in getattr(c, kind).items():
                if not NAME.fullmatch(name):
                    self.refuse(kind, f"{name!r} is no name; take letters, digits, - and _")
                if kind != "leaks" and not isinstance(spec, dict):
                    self.refuse(f"{kind}: {name}", f"takes `name: value` lines, not {spec!r}")
        for kind, known in (("trainings", OF_TRAINING), ("experiments", OF_EXPERIMENT)):
            for name, spec in getattr(c, kind).items():
                self.fields(f"{kind}: {name}", {key: spec[key] for key in spec if key in known}, known)
        rows = {"stores": c.stores, "trainings": self.training_names(), "experiments": c.experiments}
        for kind, names in rows.items():
            for name in names:
                if name in seen:
                    what = f"{name!r} is also one of {seen[name]} (a seed is part of the name)"
                    self.refuse(kind, f"{what}; take another name")
                seen[name] = kind

    def check_common(self):
        """Refuse a common value that no row would take."""
        experiments = (spec.get("experiment", name) for name, spec in self.campaign.experiments.items())
        known = {key for name in experiments for key in parameters(self.experiment_of(name))}
        known |= {"store", *TrainSettings.model_fields} if self.campaign.trainings else set()
        for name, value in self.campaign.common.items():
            if name not in known:
                self.refuse("common", f"unknown name {name!r}{closest(name, sorted(known - {'out'}))}")
            self.check_value(f"common: {name}", value)

    def experiment_of(self, name: str) -> Path:
        try:
            return find_experiment(str(self.place(name, "experiments")) if name.endswith(".ipynb") else name)
        except BadInput as error:
            self.refuse("experiments", f"{error}; name it with `experiment: NAME`")

    def fields(self, where: str, spec: dict, known: dict):
        """Refuse a key that is not known, and a value of another type."""
        for key, value in spec.items():
            if key not in known:
                self.refuse(where, f"unknown key {key!r}{closest(key, known)}")
            if type(value) is not type(known[key]):
                self.refuse(where, f"{key!r} takes a value like {known[key]!r}, not {value!r}")

    def known(self, where: str, kind: str, name: str) -> str:
        """Check that a row of this kind exists."""
        c = self.campaign
        names = {"runs": [*self.training_names(), *c.experiments], "weights": c.weights}.get(kind)
        names = list(getattr(c, kind)) if names is None else names
        bare = name.removesuffix(".csv") if kind in ("lists", "leaks") else name
        if bare not in names:
            self.refuse(where, f"{kind}/{name} is not made by this campaign{closest(bare, names)}")
        if kind in ("lists", "leaks") and name == bare:
            self.refuse(where, f"{kind}/{name} is no file; write {kind}/{name}.csv")
        return name

    def training_names(self) -> list[str]:
        seeds = {name: spec.get("seeds") or [""] for name, spec in self.campaign.trainings.items()}
        return [f"{name}-{seed}" if seed != "" else name for name, each in seeds.items() for seed in each]

    def check_value(self, where: str, value):
        """Return a value with $NAME replaced; refuse a file that is neither made here nor there."""
        if isinstance(value, dict):
            return {key: self.check_value(f"{where}: {key}", one) for key, one in value.items()}
        if isinstance(value, list):
            return [self.check_value(where, one) for one in value]
        if not isinstance(value, str):
            return value
        if found := REFERENCE.fullmatch(value):
            self.known(where, *found.groups()[:2])
            return value
        marked = "$" in value or value.startswith(("/", "./", "../", "~"))
        if not (marked or "/" in value and (TOP / value).exists()):
            if "/" in value:
                self.check_there(where, value)
            return value
        path = self.place(value, where)
        if not path.exists():
            names = ", ".join(f"{key}={text}" for key, text in self.folders.items() if f"${key}" in value)
            self.refuse(where, f"{path} does not exist; check the path" + (f" ({names})" if names else ""))
        if where.split(": ")[-1] in BACKBONES and path.is_dir():
            try:
                check_folder(path)
            except BadInput as error:
                self.refuse(where, str(error))
        return str(path)

    def check_there(self, where: str, value: str):
        """Refuse a name with a slash that is neither a folder here nor, for the hub, fetched."""
        key = where.split(": ")[-1]
        if key in (*BACKBONES, "model") and not cached_folder(value):
            self.refuse(where, f"{value} is no folder, and not fetched from the hub: hf download {value}")
        if key in ("store", "from", "root"):
            self.refuse(where, f"{TOP / value} does not exist; check the path")

    def needs(self, *values) -> list[str]:
        """Return the files that values refer to, made by other rows or given."""
        found = {}
        for value in values:
            if isinstance(value, dict | list):
                nested = value.values() if isinstance(value, dict) else value
                found |= dict.fromkeys(self.needs(*nested))
            elif isinstance(value, str) and (part := REFERENCE.fullmatch(value)):
                kind, name, _ = part.groups()
                found[f"{kind}/{name}/{MADE[kind]}".rstrip("/")] = None
                if kind == "runs" and name in self.campaign.cards:  # its predictions have intervals
                    found[f"runs/{name}/model/calibration.json"] = None
            elif isinstance(value, str) and Path(value).is_absolute():  # as `check_value` returns it
                path = Path(value)
                patterns = ("*.safetensors", "model/*.safetensors", "config.json", "store.json")
                given = [each for pattern in patterns for each in sorted(path.glob(pattern))]
                found |= dict.fromkeys(map(str, [path] if path.is_file() else given))
        return list(found)

    def settle(self, where: str, spec: dict, known) -> dict:  # known: names that take a common value
        """Return the values of a row: those of `common`, of its config file, and its own, later ones win."""
        config = spec.pop("config", None)
        values = {key: value for key, value in self.campaign.common.items() if key in known}
        values |= read_config(TOP / config) if config else {}
        return self.check_value(where, values | spec)

    def prepare(self, name: str, spec: dict) -> Row:
        """Return the row of a store."""
        where, folder = f"stores: {name}", f"stores/{name}"
        spec = self.check_value(where, spec)
        words = ["prepare", str(spec.pop("source", ""))]
        for key, value in ({"out": folder} | spec).items():
            words += [f"--{key}", str(value)]
        try:
            main.commands["prepare"].make_context("prepare", list(words[1:]))
        except click.ClickException as error:
            self.refuse(where, " ".join(error.format_message().split()))
        return Row(name, "prepare", folder, ["sommelier", *words], self.needs(spec), spec)

    def train(self, name: str, spec: dict) -> list[Row]:
        """Return the rows of a training, one for each seed."""
        where, own = f"trainings: {name}", {key: spec[key] for key in spec if key in OF_TRAINING}
        rest = {key: value for key, value in spec.items() if key not in own}
        values = self.settle(where, rest | {k: own[k] for k in ("config", "store", "from") if k in own},
                             ("store", *TrainSettings.model_fields))  # fmt: skip
        store, start = values.pop("store", ""), values.pop("from", "")
        if not store:
            self.refuse(where, "no `store`; name one, e.g. stores/sky")
        values.setdefault("stage", name if name in STAGES else "full")
        rows = []
        for seed in own.get("seeds") or [None]:
            try:
                settings = make_settings(**values | ({} if seed is None else {"seed": seed}))
                check_together(settings)
                if "processes" in own or settings.report_to != "none":
                    from galaxy_sommelier.training.run_folder import check_processes  # imports torch

                    check_processes(settings, own.get("processes", 1))
            except BadInput as error:
                self.refuse(where, str(error))
            if own.get("processes", 1) < 1:
                self.refuse(where, f"processes: {own['processes']} is less than 1")
            row = name if seed is None else f"{name}-{seed}"
            words = ["sommelier", "train", store, "--out", f"runs/{row}"]
            words += ["--from", start] if start else []
            words += ["--processes", str(own["processes"])] if "processes" in own else []
            given = settings.model_dump(mode="json", include={*values, "seed"})
            inputs, known = self.needs(store, start, values), settings.model_dump() | {"store": store}
            rows.append(Row(row, f"train_{name}", f"runs/{row}", words + pairs(given), inputs, known))
        return rows

    def experiment(self, name: str, spec: dict) -> Row:
        """Return the row of an experiment."""
        where = f"experiments: {name}"
        given = spec.pop("experiment", name)
        notebook = self.experiment_of(given)
        values = self.settle(where, spec, parameters(notebook))
        try:
            whole = merge(notebook, values)
        except BadInput as error:
            self.refuse(where, str(error))
        which = str(notebook) if given.endswith(".ipynb") else given  # the row runs in another folder
        words = ["sommelier", "run", which, "--out", f"runs/{name}", *pairs(values)]
        inputs = [*self.needs(values), str(notebook)]
        return Row(name, f"run_{name}", f"runs/{name}", words, inputs, whole)

    def pair(self, name: str, stores) -> list[str]:
        """Return the two stores in which the same galaxies are looked for."""
        if not (isinstance(stores, tuple | list) and len(stores) == 2):
            self.refuse(f"leaks: {name}", f"takes two stores, [A, B], not {stores!r}")
        return [f"stores/{self.known(f'leaks: {name}', 'stores', store)}" for store in stores]


def pairs(values: dict) -> list[str]:
    """Return values as options -p, each as text that `value_of` reads as the same value."""
    words = []
    for name, value in values.items():
        as_it_is = isinstance(value, str) and value_of(value) == value
        words += ["-p", name, value if as_it_is else json.dumps(value)]
    return words
