# Each target does all its own set-up: a virtual environment in .venv, this package, and what the target needs.
#
#   make demo [PORT=8000]   serve the example app on loopback
#   make test               all tests, with branch coverage
#   make examples           the examples for nine frameworks, each on a real server
#   make check              format, lint, types, architecture
#   make bench              the figures we promise, measured here
#   make docs               the site, in site
#   make clean              remove what the others made

PYTHON ?= python3
PORT ?= 8000
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo test examples check bench docs clean

help:
	@sed -n 's/^#   //p' Makefile

# One stamp for each extra: .venv/.dev, .venv/.demo, .venv/.docs.
$(VENV)/.%: pyproject.toml constraints.txt
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[$*]'
	@touch $@

demo: $(VENV)/.demo
	@$(BIN)/ductape demo --port $(PORT)

test: $(VENV)/.dev
	$(BIN)/pytest --numprocesses 2 --dist worksteal --cov --cov-report term $(ARGS)

# In an environment of its own, which the other tests do not see: nine frameworks bring event loops, parsers and plugins.
examples: $(VENV)/examples/.installed
	$(VENV)/examples/bin/pytest --confcutdir tests/examples tests/examples $(ARGS)

$(VENV)/examples/.installed: pyproject.toml constraints.txt
	@test -x $(VENV)/examples/bin/pip || $(PYTHON) -m venv $(VENV)/examples
	$(VENV)/examples/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[examples]'
	@touch $@

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/pytest --quiet tests/test_architecture.py

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks

docs: $(VENV)/.docs
	$(BIN)/zensical build --clean

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage .coverage.* build dist site .ductape-demo
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
