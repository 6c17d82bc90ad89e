# setup: .venv with elman in it · demo: train on real data · check: lint and types · test: the tests
# test-all: also the slow proofs · reproductions: measure docs/reproductions.md again (about an hour)
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
STAMP := .venv/.installed
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: setup demo check format test test-all reproductions clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/elman train digits --out runs/demo --overwrite

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test: $(STAMP)
	$(BIN)/pytest -m "not slow" -n 2

test-all: $(STAMP)
	$(BIN)/pytest -n 2

reproductions: $(STAMP)
	$(BIN)/python benchmarks/reproductions.py

clean:
	rm -rf .venv build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache
