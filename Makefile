# Everything a developer runs. `make demo` and `make test` work on a fresh Debian or Ubuntu with
# python3 (3.11 or newer), python3-venv and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEV_INSTALLED := $(VENV)/.dev-installed
PIP := $(BIN)/pip --disable-pip-version-check --quiet

.PHONY: help demo test test-real test-image check style lint types bench bench-quick bench-micro lock clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

$(VENV)/bin/python:
	@echo "making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)

$(INSTALLED): pyproject.toml | $(VENV)/bin/python
	@echo "installing fastroute into $(VENV)"
	@$(PIP) install --editable .
	@touch $@

$(DEV_INSTALLED): pyproject.toml requirements-dev.lock | $(VENV)/bin/python
	@echo "installing fastroute and what its tests need into $(VENV)"
	@$(PIP) install --require-hashes --requirement requirements-dev.lock
	@$(PIP) install --no-build-isolation --no-deps --editable .
	@touch $(INSTALLED) $@

demo: $(INSTALLED)  ## Show the router in front of three stand-in servers
	@$(BIN)/fastroute demo

test: $(DEV_INSTALLED)  ## Run all tests but those of the next two
	$(BIN)/python -m pytest

test-real: $(DEV_INSTALLED)  ## Install vLLM for the CPU, run two servers, test through fastroute
	$(BIN)/python -m tests.real.setup_vllm
	$(BIN)/python -m pytest tests/real -m real -o faulthandler_timeout=600

test-image: $(DEV_INSTALLED)  ## Build the image with podman (as root) and test it
	$(BIN)/python -m pytest tests/image -m image -o faulthandler_timeout=1200

check: lint types  ## Lint, import contracts, types

style: $(DEV_INSTALLED)  ## Format the code and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lint: $(DEV_INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/python -m slotscheck -m fastroute

types: $(DEV_INSTALLED)
	$(BIN)/mypy

bench-micro: $(DEV_INSTALLED)  ## Time the pieces of the hot path
	$(BIN)/python -m pytest benchmarks -o python_files='bench_*.py' --benchmark-only

bench: $(DEV_INSTALLED)  ## Measure CPU and latency beside nginx and HAProxy (Debian's packages)
	$(BIN)/python -m benchmarks.side_by_side

bench-quick: $(DEV_INSTALLED)  ## The same in under 3 minutes
	$(BIN)/python -m benchmarks.side_by_side --quick

COMPILE := $(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-header \
	--no-annotate --no-emit-index-url --no-emit-find-links --no-emit-trusted-host
NEEDS := $(BIN)/python -c 'import sys, tomllib; p = tomllib.load(open("pyproject.toml", "rb")); \
	run, dev, build = p["project"]["dependencies"], p["dependency-groups"]["dev"], \
	p["build-system"]["requires"]; \
	print(*{"run": run, "dev": run + dev, "build": build}[sys.argv[1]], sep="\n")'

lock: $(DEV_INSTALLED)  ## Renew the locks of tests and image from pyproject.toml
	$(NEEDS) dev | $(COMPILE) --output-file requirements-dev.lock -
	$(NEEDS) run | $(COMPILE) --constraint requirements-dev.lock \
	  --output-file deploy/image/requirements.lock -
	$(NEEDS) build | $(COMPILE) --constraint requirements-dev.lock \
	  --output-file deploy/image/build.lock -

clean:  ## Remove what was made, the virtual environment too
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
