# The front door.  Portable to GNU make and BSD make; needs Python 3.11 or later, and a package index to install from.
#   make demo    install into .venv and compare designs on a real build
#   make test    all tests
#   make lint    formatting, style, types, import order
#   make bench   measurements, side by side in one run
#   make docs    the documentation, as HTML in docs/_build
#   make nightly the long tests: thousands of random programs for each fit and each design
#   make mutation  change the code at random places, and see whether the tests notice
#   make clean   remove what the others made
# Another interpreter: make PYTHON=python3.12 demo

PYTHON = python3
VENV = .venv
BIN = $(VENV)/bin

CHECK = import sys; sys.exit(0 if sys.version_info >= (3, 11) else \
	"coalloc needs Python 3.11 or later, and this is %d.%d; try: make PYTHON=python3.12" % sys.version_info[:2])

PYTEST = $(BIN)/python -m pytest -q -n 2 --dist worksteal

help:
	@sed -n '/^#   make/s/^#   //p' Makefile

$(VENV)/run: pyproject.toml
	@$(PYTHON) -c '$(CHECK)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[cli,plot]'
	@touch $@

$(VENV)/dev: $(VENV)/run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

demo: $(VENV)/run
	$(BIN)/coalloc compare

test: $(VENV)/dev
	$(PYTEST) --timeout 600 --cov --cov-report=term-missing:skip-covered --cov-fail-under=100

lint: $(VENV)/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/dev
	$(BIN)/python -m pytest -q -p no:xdist benchmarks/test_calls.py --benchmark-only
	$(BIN)/python -m benchmarks.peers
	$(BIN)/python -m benchmarks.replay
	$(BIN)/python -m benchmarks.startup

docs: $(VENV)/dev
	$(BIN)/sphinx-build -W -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

SAMPLE = 60
SEED = 1
mutation: $(VENV)/dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[mutation]'
	$(BIN)/python -m benchmarks.mutation --sample $(SAMPLE) --seed $(SEED) $(ROOMS)

nightly: $(VENV)/dev
	HYPOTHESIS_PROFILE=nightly $(PYTEST) tests/stateful tests/properties tests/strangers

clean:
	rm -rf $(VENV) docs/_build .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .benchmarks \
		.mutation

.PHONY: help demo test lint bench docs nightly mutation clean
