# Everything a developer runs. `make demo` and `make test` work on a fresh Debian or Ubuntu with
# python3 (3.11 or newer), python3-venv and make; tests whose programs are missing are then skipped.
# `.ci/install`, as root, installs those.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEV_INSTALLED := $(VENV)/.dev-installed
PIP := $(BIN)/pip --disable-pip-version-check --quiet

.PHONY: help demo test coverage test-compiled test-packages test-real test-image wheel check style \
	lint types docs bench bench-quick bench-micro bench-micro-save lock clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 18

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

# Most tests wait most of the time, so there are more side by side than there are cores. What judges
# time or memory comes afterwards, one test after another; a plain `pytest` runs all of them so.
JOBS ?= 4
COVERED := tests/rules tests/proxy tests/ipc
COVERAGE := $(BIN)/python -m coverage
coverage: $(DEV_INSTALLED)  ## Run the tests of rules/, proxy/ and ipc/; fail if too few branches are covered
	@rm -rf .cache/coverage && mkdir -p .cache/coverage
	$(COVERAGE) run -m pytest -n $(JOBS) --dist worksteal -m "not alone and not exhaustive" $(COVERED)
	@$(COVERAGE) combine --quiet
	$(COVERAGE) report

test: coverage  ## Run all tests except those of the next four, JOBS (4) in parallel
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m "not alone" $(addprefix --ignore=,$(COVERED))
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m exhaustive $(COVERED)
	$(BIN)/python -m pytest -m alone

# A copy, since compiled modules beside the sources would be taken in place of them.
COMPILED := .cache/compiled
BESIDE_THE_DATA_PLANE := dashboard demo discovery doctor monitor route stalled_terminal
COMPILED_TESTS := tests/test_compiled.py tests/e2e tests/proxy tests/rules tests/ipc/test_score_table.py \
	$(addprefix --ignore=tests/e2e/test_,$(addsuffix .py,$(BESIDE_THE_DATA_PLANE)))
PYTEST_COMPILED := cd $(COMPILED) && FASTROUTE_COMPILED=1 PYTHONPATH=$$PWD \
	$(CURDIR)/$(BIN)/python -m pytest $(COMPILED_TESTS)
test-compiled: $(DEV_INSTALLED)  ## Compile the hot path in a copy and test the data plane on it
	@echo "compiling the hot path in $(COMPILED)"
	@rm -rf $(COMPILED) && mkdir -p $(COMPILED)
	@git ls-files -co --exclude-standard -z | xargs -0 cp --parents -t $(COMPILED)
	$(BIN)/python hatch_build.py $(COMPILED)
	$(PYTEST_COMPILED) -n $(JOBS) --dist worksteal -m "not alone"
	$(PYTEST_COMPILED) -m alone

test-packages: $(DEV_INSTALLED)  ## Compile, install and run a wheel with each installed Python
	$(BIN)/python -m pytest tests/packages -m packages -o faulthandler_timeout=900

test-real: $(DEV_INSTALLED)  ## Install vLLM for the CPU, run two servers, test through fastroute
	$(BIN)/python -m tests.real.setup_vllm
	$(BIN)/python -m pytest tests/real -m real -o faulthandler_timeout=600

test-image: $(DEV_INSTALLED)  ## Build the image with podman (as root) and test it
	$(BIN)/python -m pytest tests/image -m image -o faulthandler_timeout=1200

wheel: $(DEV_INSTALLED)  ## Build a wheel in dist/; FASTROUTE_PURE=1 leaves the hot path uncompiled
	$(BIN)/python -m hatchling build --target wheel

check: lint types  ## Lint, import contracts, types

style: $(DEV_INSTALLED)  ## Format the code and fix what ruff can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lint: $(DEV_INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/python -m slotscheck -m fastroute

types: $(DEV_INSTALLED)
	$(BIN)/mypy

docs: $(DEV_INSTALLED)  ## Render the generated parts of the documentation
	$(BIN)/python -m tests.support.docs
	$(BIN)/python -m tests.support.health_page
	$(BIN)/python -m tests.support.monitor_page
	$(BIN)/python -m tests.support.configuration_page
	$(BIN)/python -m tests.support.contributing_page
	$(BIN)/python -m tests.support.lifecycle_page

bench: $(DEV_INSTALLED)  ## Measure next to nginx, HAProxy, vllm-router and smg; renew the README's table
	$(BIN)/python -m benchmarks --publish

bench-quick: $(DEV_INSTALLED)  ## A short version in under 3 minutes, into .bench/results only
	$(BIN)/python -m benchmarks --quick

bench-micro: $(DEV_INSTALLED)  ## Time parts of the hot path; fail if one is 20 % slower than the baseline
	$(BIN)/python -m benchmarks.micro

bench-micro-save: $(DEV_INSTALLED)  ## Time parts of the hot path and save that as the baseline
	$(BIN)/python -m benchmarks.micro --save

COMPILE := $(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-header \
	--no-annotate --no-emit-index-url --no-emit-find-links --no-emit-trusted-host
NEEDS := $(BIN)/python -c 'import sys, tomllib; p = tomllib.load(open("pyproject.toml", "rb")); \
	run, dev, build = p["project"]["dependencies"], p["dependency-groups"]["dev"], \
	p["build-system"]["requires"]; \
	print(*{"run": run, "dev": run + dev, "build": build}[sys.argv[1]], sep="\n")'

lock: $(DEV_INSTALLED)  ## Renew the lock files of tests and image from pyproject.toml
	$(NEEDS) dev | $(COMPILE) --output-file requirements-dev.lock -
	$(NEEDS) run | $(COMPILE) --constraint requirements-dev.lock \
	  --output-file deploy/image/requirements.lock -
	$(NEEDS) build | $(COMPILE) --constraint requirements-dev.lock \
	  --output-file deploy/image/build.lock -

clean:  ## Remove what was made, the virtual environment too
	rm -rf $(VENV) .bench dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
