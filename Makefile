# setup: .venv with elman in it · build: compile csrc/ again · demo: train on real data
# check: lint and types · test: the tests · test-all: also the slow proofs · wheel: dist/*.whl
# bench: speed beside other libraries · sanitize: the kernels under address, undefined and thread
# torture: trainings killed and resumed; KILLS=2000 LIMIT=7200 for more
# fuzz: damaged and hostile files; INPUTS=1000000 for as many, SEED=1 for others
# lock: requirements-hashed.txt again, with the sums of the files on PyPI
# reproductions: measure docs/reproductions.md again (about an hour)
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
STAMP := .venv/.installed
BUILT := .venv/.built
# The build tools are in .venv, pinned as all else: pip need not fetch them for every build.
INSTALL := $(BIN)/pip install --quiet --constraint constraints.txt --no-build-isolation
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: setup build demo check format test test-all wheel lock bench sanitize fuzz torture reproductions clean

setup build: $(BUILT)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(INSTALL) scikit-build-core nanobind cmake ninja
	$(INSTALL) --editable '.[dev]'
	touch $(STAMP)

$(BUILT): $(STAMP) CMakeLists.txt $(wildcard csrc/*.cpp csrc/*.h)
	$(INSTALL) --no-deps --editable .
	touch $(BUILT)

demo: $(BUILT)
	$(BIN)/elman train digits --out runs/demo --overwrite

check: $(BUILT)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(BUILT)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test: $(BUILT)
	$(BIN)/pytest -m "not slow" -n 2

test-all: $(BUILT)
	$(BIN)/pytest -n 2

wheel: $(STAMP)
	$(BIN)/pip wheel --quiet --no-build-isolation --no-deps --wheel-dir dist .

# Not in constraints.txt, which `setup` uses: one sum in it, and pip refuses to install this folder.
lock:
	$(PYTHON) scripts/lock.py

.venv/.bench: $(STAMP)
	$(INSTALL) --editable '.[dev,bench]'
	touch $@

bench: .venv/.bench $(BUILT)
	$(BIN)/python benchmarks/bench.py

sanitize: sanitize-address,undefined sanitize-thread

sanitize-%: $(STAMP)
	$(BIN)/cmake -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN))/ninja -DELMAN_SANITIZE=$* -S . -B build/$@
	$(BIN)/cmake --build build/$@
	build/$@/test_kernels

INPUTS ?= 20000
SEED ?= 0
KILLS ?= 300
LIMIT ?= 180
torture: $(BUILT)
	$(BIN)/python tests/reliability/torture.py --kills $(KILLS) --seconds $(LIMIT)

fuzz: $(BUILT)
	$(BIN)/python tests/reliability/fuzz.py --inputs $(INPUTS) --seed $(SEED)

reproductions: $(BUILT)
	$(BIN)/python benchmarks/reproductions.py

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache
