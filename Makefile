# Everything happens in .venv; the only things needed beside it are Python 3.11 or later, pip and make.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
VIDEOS ?=
CRASH  := tests/test_crash.py tests/test_purge_crash.py
MODEL  ?=

.PHONY: help install demo test test-slow check format docs clean

help:
	@echo "make demo         make phantoms, ingest and search them; one's own videos: VIDEOS=DIR MODEL=MODEL"
	@echo "make test         the unit tests (under five minutes on two cores)"
	@echo "make test-slow    the tests with the full-size model"
	@echo "make check        the gate: format, lint, types, layers, doors, README in step with --help"
	@echo "make format docs  put format, or README and schemas, right"
	@echo "make clean        remove what the others made (.venv, .cache, demo)"

install: $(VENV)/installed
demo: install
	$(BIN)/python scripts/demo.py $(if $(VIDEOS),--videos "$(VIDEOS)") $(if $(MODEL),--model "$(MODEL)")

test: $(VENV)/installed-test
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

test-slow: $(VENV)/installed-test
	$(BIN)/python -m pytest -n 2 -m slow $(CRASH)
	$(BIN)/python -m pytest -m slow $(addprefix --ignore=,$(CRASH))

check: $(VENV)/installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/write_docs.py --check
	$(BIN)/python -m pytest -q tests/test_repository.py

format: $(VENV)/installed-test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/installed-test
	$(BIN)/python scripts/write_docs.py
	$(BIN)/python scripts/write_schemas.py

clean:
	rm -rf $(VENV) .cache demo build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "echosearch needs Python 3.11 or later; say which: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[phantom]'
	@touch $@

$(VENV)/installed-test: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	@touch $@ $(VENV)/installed
