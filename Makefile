# make demo | reproduce | plan | stale | test | check | notebooks | lint | pytest | export | readme | clean
# VENV=FOLDER uses an environment of your own as it is (conda: make test VENV=$CONDA_PREFIX); without it .venv is made here.
PYTHON ?= python3
VENV ?= .venv
OUT ?=
README ?= README.md
CONFIG ?= configs/workflow/simulated.yaml
PROFILE ?=
DRY ?=
SHELL := /bin/bash
BIN := $(abspath $(VENV))/bin
export PATH := $(BIN):$(PATH)

ifeq ($(VENV),.venv)
READY := .venv/.ready
endif

# one thread per process, since two processes run at once; no model hub; no window for figures
QUIET_RUN := HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 MPLBACKEND=agg

.PHONY: help install demo reproduce plan stale test check notebooks lint agree touched pytest docs export readme clean
.DEFAULT_GOAL := help

help:
	@echo "make demo     everything on a simulated sky, under 10 minutes on 2 cores (OUT=FOLDER: where it goes)"
	@echo "make reproduce  every table and figure, on a simulated sky (CONFIG=FILE.yaml: of real data; PROFILE=perlmutter: by Slurm)"
	@echo "make plan     what make reproduce would run, why, and what it costs (also: make reproduce DRY=1)"
	@echo "make stale    published tables and figures made by code that has changed since"
	@echo "make test     every check: modules and notebooks agree, notebooks run, pytest, ruff, the site"
	@echo "make check    the quick loop: ruff, modules equal notebooks, what changed since the last commit on main"
	@echo "make export   after editing a notebook: write the modules again and clean the notebooks"
	@echo "make docs     the site, in _docs/html"
	@echo "make readme   write README.md from nbs/index.ipynb"
	@echo "make install  only make .venv and install into it"

.venv/.ready: settings.ini setup.py constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --progress-bar off -c constraints.txt -e .[dev]
	touch $@

install: $(READY)

demo: $(READY)
	$(BIN)/sommelier demo $(if $(OUT),--out $(OUT))

# the same line goes on after any kill; the campaign is a YAML file, see nbs/guide/nersc.md
reproduce: $(READY)
	@$(BIN)/python workflow/scripts/reproduce.py $(CONFIG) $(if $(PROFILE),--profile $(PROFILE)) $(if $(DRY),--plan)

plan: $(READY)
	@$(BIN)/python workflow/scripts/reproduce.py $(CONFIG) $(if $(PROFILE),--profile $(PROFILE)) --plan

stale: $(READY)
	@$(BIN)/python benchmarks/published.py

# each check runs, even if one before it failed; the exit code says whether all passed
test: $(READY)
	@$(MAKE) --no-print-directory -k lint docs notebooks pytest

# the loop while working: ruff, modules equal notebooks, order of imports, what changed since the last commit on main
check: $(READY)
	@$(MAKE) --no-print-directory -k lint agree touched

lint: $(READY)
	$(BIN)/ruff check .
	@echo "check passed: lint"

agree: $(READY)
	$(QUIET_RUN) $(BIN)/python -m pytest -q -n 2 tests/test_project.py

MAIN ?= main
since = { git diff --name-only --diff-filter=d $(MAIN) -- $(1); git ls-files --others --exclude-standard -- $(1); } | sort -u

touched: $(READY)
	@notebooks=$$($(call since,'nbs/*.ipynb')) && tests=$$($(call since,'tests/test_*.py') | grep -v test_project) || true; \
	data=$$(mktemp -d) && trap 'rm -rf "$$data"' EXIT; failed=0; \
	for notebook in $$notebooks; do echo "$$notebook"; \
	  GALAXY_SOMMELIER_DATA=$$data $(QUIET_RUN) $(BIN)/nbdev_test --path "$$notebook" --n_workers 0 || failed=1; done; \
	if [ -n "$$tests" ]; then $(QUIET_RUN) $(BIN)/python -m pytest -q -n 2 --dist loadfile $$tests || failed=1; fi; exit $$failed

# nbdev_test runs every notebook's code, the experiments with their defaults; what they leave goes to a temporary folder
notebooks: $(READY)
	@data=$$(mktemp -d) && trap 'rm -rf "$$data"' EXIT && \
	GALAXY_SOMMELIER_DATA=$$data $(QUIET_RUN) $(BIN)/nbdev_test --n_workers 2 --timing
	@echo "check passed: notebooks"

# a file's tests stay in one process, because they share what is trained once
pytest: $(READY)
	$(QUIET_RUN) $(BIN)/python -m pytest -q -n 2 --dist loadfile --durations=10 tests
	@echo "check passed: pytest"

# no notebook runs: the outputs that are stored are shown; a warning fails the build
docs: $(READY)
	@$(BIN)/python docs/prepare.py _docs/source
	@$(BIN)/sphinx-build -q -W --keep-going -j 2 -b html -c docs _docs/source _docs/html
	@echo "check passed: docs"

export: $(READY)
	$(BIN)/nbdev_export
	$(BIN)/nbdev_clean

# in the notebook links start from nbs/, in the README from the top
readme: $(READY)
	@set -o pipefail; $(BIN)/jupyter nbconvert --log-level ERROR --to markdown --no-input --stdout nbs/index.ipynb \
	| sed 's|](\.\./|](|g; s|="\.\./|="|g' > $(README).partial && mv $(README).partial $(README) || { rm -f $(README).partial; exit 1; }

clean:
	rm -rf .venv .pytest_cache .ruff_cache
