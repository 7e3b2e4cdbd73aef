# hamlet: `make` lists the targets.
SHELL := /bin/bash
PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 8080
CONFIG ?=
QUALITY ?= ../shared/quality
VENV := .venv
BIN := $(VENV)/bin
COMPILE := uv pip compile --quiet --universal --generate-hashes --no-emit-index-url \
	--no-emit-find-links --no-header --no-annotate --python-version 3.11

.DEFAULT_GOAL := help
.PHONY: help serve demo test lint check-imports format bench load docs lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

serve: $(VENV)/.serve ## Set up and serve on HOST:PORT (CONFIG=file.yaml)
	@$(BIN)/hamlet serve --host $(HOST) --port $(PORT) $(if $(CONFIG),--config $(CONFIG))

demo: $(VENV)/.serve ## Serve the page with switches for providers' troubles
	@$(BIN)/hamlet serve --host $(HOST) --port $(PORT) --config deploy/examples/demo.yaml

test: $(VENV)/.dev ## Set up, check and test everything
	@deploy/test-servers.sh
	@deploy/node-client.sh
	$(MAKE) --no-print-directory lint
	$(BIN)/pytest -n auto --cov --cov-report= tests
	$(BIN)/coverage report --fail-under=100 --include='src/hamlet/core/*,src/hamlet/spi/*,src/hamlet/gateway/*'

lint: $(VENV)/.dev ## Style, types, and the way imports flow
	$(BIN)/ruff format --check src tests examples loadtest docsite
	$(BIN)/ruff check src tests examples loadtest docsite
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev ## Put the code in the house style
	$(BIN)/ruff format src tests examples loadtest docsite
	$(BIN)/ruff check --fix src tests examples loadtest docsite

bench: $(VENV)/.dev ## Measure hamlet beside other gateways, and what it adds to a call
	@deploy/peers.sh
	$(BIN)/python -m loadtest.peers
	$(BIN)/python loadtest/overhead.py

load: $(VENV)/.dev ## Play every load scenario in full size (hours; see loadtest/scenarios.toml)
	$(BIN)/python -m loadtest all --size full

bench-suggest: $(VENV)/.dev ## Load the main screen, healthy and with every upstream down
	$(BIN)/python loadtest/suggest.py

restarts: $(VENV)/.dev ## Restart under load: 10 times, 30,000 requests, 200 streams (6 minutes)
	$(BIN)/python loadtest/restarts.py

cutover: $(VENV)/.dev ## Play the whole move from hamlet1 under load (EDGE=envoy or nginx; 4 minutes)
	$(BIN)/python loadtest/cutover.py --edge $(or $(EDGE),envoy)

fleet-report: $(VENV)/.dev ## Measure the fleet's goals on virtual time (TRACE=file.csv; some minutes)
	$(BIN)/python loadtest/fleet_cost.py
	$(BIN)/python -m loadtest.fleet $(TRACE)

pictures: $(VENV)/.dev ## Draw the dashboards over six invented hours, into docs/pictures
	$(BIN)/python -m loadtest.pictures

bench-signals: $(VENV)/.dev ## Measure what metrics, log line and ids cost a call, and what a scrape stops
	$(BIN)/python -m loadtest.signals

quality: $(VENV)/.dev ## Measure retrieval on the public sets in QUALITY (fails below the floors)
	$(BIN)/python loadtest/quality.py $(QUALITY)
	$(BIN)/python loadtest/quality.py $(QUALITY) --embed
	$(BIN)/python loadtest/chips.py --embed $(addprefix --vectors ,$(wildcard $(QUALITY)/chip_vectors.jsonl)) \
		loadtest/contexts.jsonl $(wildcard $(QUALITY)/contexts.jsonl)

docs: $(VENV)/.serve .venv-docs/.docs ## Build the documentation into site/, strictly, and check its links
	$(BIN)/python -m docsite
	$(BIN)/python -m docsite.lists
	.venv-docs/bin/zensical build --strict --clean
	$(BIN)/python -m docsite.publish site
	$(BIN)/python -m docsite.check site

lock: ## Pin all dependencies anew, with hashes (needs uv)
	$(COMPILE) requirements/build.in -o requirements/build.txt
	$(COMPILE) pyproject.toml requirements/build.in -o requirements/base.txt
	$(COMPILE) pyproject.toml requirements/dev.in -c requirements/base.txt -o requirements/dev.txt
	$(COMPILE) requirements/docs.in -o requirements/docs.txt

clean: ## Remove what was set up
	rm -rf $(VENV) .venv-docs site node_modules tests/e2e/node/node_modules

# The stamps make a second start quick: pip runs only when a pin or the project's metadata changed.
$(VENV)/bin/python:
	@deploy/need-python.sh $(PYTHON)
	$(PYTHON) -m venv $(VENV)

$(VENV)/.serve: requirements/base.txt pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/base.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements/dev.txt pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@ $(VENV)/.serve

# The site's builder has nothing in common with hamlet: an environment of its own.
.venv-docs/.docs: requirements/docs.txt
	@deploy/need-python.sh $(PYTHON)
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/docs.txt
	@touch $@
