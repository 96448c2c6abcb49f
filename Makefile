# Tallow's workbench. `make help` lists the targets; everything runs in .venv, which `make venv` creates.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
SIZE   ?= 256MiB
SEEDS  ?= 2000
FUZZ   ?= 50
JOBS   ?= 3

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-lab test-interop check format sim fuzz bench bench-lab docs lock clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(STAMP)  ## create the environment with what is needed to run, test and check

$(STAMP): pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable '.[dev]'
	@touch $@

demo: venv  ## send a real file (SIZE=256MiB) between two processes, with the live panel
	$(BIN)/python -m tests.support.demo $(SIZE)

test: check  ## all checks, then all tests that can run here (within 20 minutes on 2 cores)
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

test-lab: venv  ## the tests in network and mount namespaces alone (root; iproute2, nftables, util-linux)
	$(BIN)/python -m pytest -m lab

check: venv  ## formatting, lint, types, and who may import whom
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: venv  ## rewrite the code in house style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

sim: venv  ## simulate in virtual time: the seeded tests (SEEDS=2000), then the table of profiles
	TALLOW_SEEDS=$(SEEDS) $(BIN)/python -m pytest -m sim
	$(BIN)/python -m tests.sim.table

fuzz: venv  ## hostile input for longer: FUZZ=50 times the examples of the tests
	TALLOW_FUZZ=$(FUZZ) $(BIN)/python -m pytest --timeout 0 -s tests/property tests/fuzz

test-interop: venv  ## install libdatachannel and libwebrtc into .interop/, then test against them
	$(BIN)/python -m tests.interop.install
	$(BIN)/python -m pytest -m interop

bench: venv  ## file-to-file rate beside a bare aiortc script, in one run
	$(BIN)/tallow bench --disk --runs 3 --compare bare

bench-lab: venv  ## over emulated networks in namespaces, beside iperf3 (root; iproute2, ethtool, iperf3, cc)
	$(BIN)/python -m tests.lab.bench_lab --runs 3

docs: venv  ## write the generated pages anew
	$(BIN)/python -m tests.support.cli_reference

lock: venv  ## renew requirements.lock from what is installed
	@{ sed -n '/^#/p' requirements.lock; $(BIN)/python -m pip freeze --exclude-editable; } > requirements.lock.new
	@mv requirements.lock.new requirements.lock

clean:  ## remove the environment, caches and the demo's files
	rm -rf $(VENV) demo dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
