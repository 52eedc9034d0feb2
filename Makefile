# `make` or `make help` lists the targets.
PYTHON ?= python3
FUZZ_SECONDS ?= 60
CHANGES_SECONDS ?= 60
VENV := .venv
BIN := $(VENV)/bin
CODE := $(wildcard kubedns plugins tests bench tools)

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev run test e2e check format fuzz changes soak bench lock clean

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.run  ## Make .venv with the server in it, at .venv/bin/kubedns

$(VENV)/.run: requirements/build.txt requirements/run.txt pyproject.toml
	tools/venv.sh $(VENV) "$(PYTHON)" requirements/build.txt requirements/run.txt
	@touch $@
	@echo "The server is $(BIN)/kubedns"

setup-dev: $(VENV)/.dev

$(VENV)/.dev: requirements/dev.txt $(VENV)/.run
	tools/venv.sh $(VENV) "$(PYTHON)" requirements/dev.txt
	@touch $@

run: setup  ## Serve Corefile.example and the sample cluster on 127.0.0.1:1053
	@tools/ask.sh
	@exec $(BIN)/kubedns -conf Corefile.example -dns.port 1053 --manifests kubedns/sample

test: setup-dev  ## Run every test, on each of Python 3.11 and 3.13 that is here
	@tools/debian-packages.sh
	@tools/test.sh $(VENV)

e2e: setup-dev  ## Test in a cluster of network namespaces, as root: rollouts, edits, crashes under load
	@tools/debian-packages.sh
	$(BIN)/python -m pytest -q tests/e2e

check: setup-dev  ## Format, lint, types, import contracts, tests: what CI runs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy $(CODE)
	$(BIN)/lint-imports
	$(MAKE) --no-print-directory test

format: setup-dev  ## Format the code, and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

fuzz: $(VENV)/.fuzz  ## Fuzz for FUZZ_SECONDS (60)
	tools/fuzz.sh $(BIN)/python $(FUZZ_SECONDS)

$(VENV)/.fuzz: requirements/fuzz.txt $(VENV)/.dev
	tools/venv.sh $(VENV) "$(PYTHON)" requirements/fuzz.txt
	@touch $@

changes: setup-dev  ## Change a large cluster a hundred times a second for CHANGES_SECONDS (60)
	@tools/debian-packages.sh
	$(BIN)/python -m tests.soak.changes --seconds $(CHANGES_SECONDS)

soak: setup-dev  ## Fuzz for ten minutes, 100 reloads under load, 20 rollouts and 50 edits in a cluster, 60,000 changes
	$(MAKE) --no-print-directory fuzz FUZZ_SECONDS=600
	KUBEDNS_RELOADS=100 $(BIN)/python -m pytest -q tests/end_to_end/test_reload_under_load.py
	KUBEDNS_E2E_ROLLOUTS=20 KUBEDNS_E2E_EDITS=50 $(MAKE) --no-print-directory e2e
	$(MAKE) --no-print-directory changes CHANGES_SECONDS=600

bench: setup-dev  ## Measure CPU, latency and memory
	@tools/debian-packages.sh
	$(BIN)/python -m bench

lock:  ## Write requirements/*.txt anew, with the newest releases
	tools/lock.sh "$(PYTHON)"

clean:  ## Remove everything that the other targets made
	rm -rf .venv* .image-* .fuzz .bench .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
