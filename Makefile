# Everything here works in a fresh clone with nothing but Python >= 3.10: each target makes the environment it needs.
#   make test     install with all extras, run all tests          make demo    train and predict on a phantom, report
#   make lint     ruff, mypy, import-linter, codespell     make docs    what is generated from the code
#   make nightly the tests that take long: kills at random moments, ten thousand random inputs
#   make bench    costs, into docs/performance.md                 make build   wheel and sdist into dist/, checked
#   make site     the documentation as web pages, into site/      make coverage    lines and branches that tests reach
# PYTHON chooses the interpreter, VENV the folder, PYTEST_ARGS goes to pytest.

PYTHON ?= python3
VENV ?= .venv
PYTEST_ARGS ?=

BIN := $(VENV)/bin
CORE := $(VENV)/.installed-core
ALL := $(VENV)/.installed-all

.PHONY: install test coverage nightly demo bench docs site lint build clean
.DELETE_ON_ERROR:

install: $(CORE)

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed; choose one with: make PYTHON=<python>")'
	$(PYTHON) -m venv $(VENV)

$(CORE): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --editable .
	touch $@

$(ALL): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --editable '.[all]'
	touch $@ $(CORE)

test: $(ALL)
	$(BIN)/python -m pytest -n 2 $(PYTEST_ARGS)

# The quick tests, with the commands that they start; fails under the floor in pyproject.toml.
coverage: $(ALL)
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest -n 2 -m "not slow and not nightly" $(PYTEST_ARGS)
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

nightly: $(ALL)
	HYPOTHESIS_PROFILE=nightly $(BIN)/python -m pytest -m "nightly or hypothesis" $(PYTEST_ARGS)

demo: $(CORE)
	$(BIN)/nnUNetv2_textguided demo

# glibc gives large blocks back to the kernel at once, and every page of them is zeroed anew: a quarter of a step's
# processor time, at random, which no GPU's caching allocator would take.
bench: export MALLOC_MMAP_MAX_ = 0
bench: export MALLOC_TRIM_THRESHOLD_ = 100000000000
bench: $(ALL)
	$(BIN)/python -m pytest tests/performance --benchmark-enable --benchmark-only --benchmark-json=benchmark.json $(PYTEST_ARGS); \
	status=$$?; $(BIN)/python -m tests.performance.table benchmark.json && exit $$status

docs: $(CORE)
	$(BIN)/python docs/generate.py

site: $(ALL)
	$(BIN)/mkdocs build --strict

lint: $(ALL)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy nnunetv2_textguided
	$(BIN)/lint-imports --no-cache
	$(BIN)/codespell

build: $(ALL)
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/python -m twine check --strict dist/*

clean:
	rm -rf $(VENV) build dist site .coverage .coverage.* .pytest_cache .ruff_cache .mypy_cache .hypothesis .benchmarks demo_output
