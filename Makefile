# `make help` lists the targets. PYTHON=/path/to/python3.12 make setup picks another interpreter.
PYTHON ?= python3
# Processes that run tests, each a file's at a time: JOBS=0 is this one, as debuggers want it.
JOBS ?= 2
STAMP := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all lint docs bench bench-corpus clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv with inmf_flow and what its developers need

$(STAMP): pyproject.toml constraints.txt scripts/setup_venv.sh
	@PYTHON="$(PYTHON)" bash scripts/setup_venv.sh .venv
	@touch $@

demo: $(STAMP) ## Separate the recordings in pipelines/audio and say how well that went
	@.venv/bin/inmf run pipelines/quickstart.yaml

test: $(STAMP) ## Run the tests, two files at a time (JOBS=4: four)
	@.venv/bin/python -m pytest -n $(JOBS) --dist loadfile -m "not full"

test-all: $(STAMP) ## Run the tests, those with big counts too
	@HYPOTHESIS_PROFILE=full .venv/bin/python -m pytest -n $(JOBS) --dist loadfile

lint: $(STAMP) ## Check style, types and the floors
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

docs: $(STAMP) ## Build the documentation into site/
	@NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict

# BENCH="--case peers" passes arguments on.
bench: $(STAMP) ## Measure fits and transforms; writes benchmarks/results.json and the tables in docs/
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
	  --requirement benchmarks/requirements.txt || echo "torchnmf could not be installed: it is left out"
	@.venv/bin/python benchmarks/fit_speed.py $(BENCH)
	@.venv/bin/python benchmarks/gpu.py --out benchmarks/results.json
	@.venv/bin/python benchmarks/results.py
	@.venv/bin/python benchmarks/transforms.py

# BENCH="--case runs --clips 200 --turns 1" passes arguments on.
bench-corpus: $(STAMP) ## Measure runs over corpora; writes benchmarks/results.json and the table in docs/performance.md
	@.venv/bin/python benchmarks/corpus.py $(BENCH)

clean: ## Remove .venv and everything that was built or run
	rm -rf .venv build dist site runs pipelines/runs dask-worker-space *.egg-info \
	  .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
