# Everything a developer runs, on a machine with Python >= 3.11, make and a package index; nothing else is needed.
# The virtual environment is made once; the stamps in it say which extras of pyproject.toml it holds.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEV := $(VENV)/.stamp-dev
DEMO := $(VENV)/.stamp-demo
ARGS ?=
SANITIZED := build/sanitized

# One thing at a time: the tests measure durability on real disks, and the last line of `check` is the tests' own.
.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help demo test test-long check lint type bench docs sanitize clean
.DELETE_ON_ERROR:

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(DEMO) ## train a small network on the digits data, log every step, draw its loss
	@$(BIN)/python examples/digits.py $(ARGS)

test: $(DEV) ## the tests of a few minutes (ARGS="-k name" picks some)
	$(BIN)/python -m pytest -m "not long" $(ARGS)

test-long: $(DEV) ## the long tests, then the benchmarks in their short form
	$(BIN)/python -m pytest -m long $(ARGS)
	$(BIN)/python -m bench --short

check: lint type docs test ## exactly what CI runs

lint: $(DEV) ## ruff: rules and format
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

type: $(DEV) ## mypy, strict
	$(BIN)/python -m mypy

bench: $(DEV) ## the benchmarks, with their baselines, in full
	$(BIN)/python -m bench $(ARGS)

docs: $(DEV) ## links resolve, pages are reachable, examples run
	$(BIN)/python -m pytest -q tests/house/test_docs.py

sanitize: $(DEV) ## the ring's tests on a C core with AddressSanitizer and UndefinedBehaviorSanitizer
	@mkdir -p $(SANITIZED) && rm -rf $(SANITIZED)/penstock && cp -R src/penstock $(SANITIZED)/ && rm -f $(SANITIZED)/penstock/_journal/_ring.*so
	$(CXX) -std=c++17 -O1 -g -Wall -Wextra -Werror -fPIC -shared -fno-omit-frame-pointer -fsanitize=address,undefined \
	  -fno-sanitize-recover=all -I$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("include"))') \
	  src/penstock/_journal/_ring.cpp -o $(SANITIZED)/penstock/_journal/_ring.abi3.so
	LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libstdc++.so)" \
	  ASAN_OPTIONS=detect_leaks=0:handle_segv=0:quarantine_size_mb=1 UBSAN_OPTIONS=print_stacktrace=1 PYTHONMALLOC=malloc PENSTOCK_CORE=c \
	  PYTHONPATH=$(CURDIR)/$(SANITIZED) $(BIN)/python -m pytest tests/unit/journal tests/unit/engine/test_fastdrain.py $(ARGS)

clean: ## remove the virtual environment and what tools left behind
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis src/*.egg-info
	find src tests bench examples -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# pip is the last thing that venv installs: where it is missing, set-up was interrupted and starts afresh.
define venv
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "penstock needs Python 3.11 or later; try: make PYTHON=python3.12")'
@test -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV)
endef

$(DEV): pyproject.toml setup.py src/penstock/_journal/_ring.cpp
	$(venv)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	@touch $@

$(DEMO): pyproject.toml setup.py src/penstock/_journal/_ring.cpp
	$(venv)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[demo]"
	@touch $@
