# hamlet: `make` lists the targets.
SHELL := /bin/bash
PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 8080
CONFIG ?=
QUALITY ?= ../shared/quality
VENV := .venv
BIN := $(VENV)/bin
COMPILE := uv pip compile --quiet --universal --generate-hashes --no-strip-extras --no-emit-index-url \
	--no-emit-find-links --no-header --no-annotate
PINNED := $(COMPILE) --python-version 3.11

.DEFAULT_GOAL := help
.PHONY: help serve demo test lint check-imports format bench load soak replay versus docs image nightly rendered demo-fleet schemas lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

serve: $(VENV)/.serve ## Set up and serve on HOST:PORT (CONFIG=file.yaml)
	@$(BIN)/hamlet serve --host $(HOST) --port $(PORT) $(if $(CONFIG),--config $(CONFIG))

demo: $(VENV)/.serve ## Serve the page with switches for providers' troubles
	@$(BIN)/hamlet serve --host $(HOST) --port $(PORT) --config deploy/examples/demo.yaml

test: $(VENV)/.dev ## Set up, check and test everything
	@deploy/test-servers.sh
	@deploy/node-client.sh
	@deploy/tools.sh
	$(MAKE) --no-print-directory lint docs
	$(BIN)/pytest -n auto --cov --cov-report= tests
	$(BIN)/coverage report --fail-under=100 --include='src/hamlet/core/*,src/hamlet/spi/*,src/hamlet/gateway/*'

lint: $(VENV)/.dev ## Style, types, and the way imports flow
	$(BIN)/ruff format --check src tests examples loadtest deploy
	$(BIN)/ruff check src tests examples loadtest deploy
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev ## Put the code in the house style
	$(BIN)/ruff format src tests examples loadtest deploy
	$(BIN)/ruff check --fix src tests examples loadtest deploy

bench: $(VENV)/.dev ## Measure hamlet beside other gateways, and what it adds to a call
	@deploy/peers.sh
	$(BIN)/python -m loadtest.bench.peers
	$(BIN)/python -m loadtest.bench.call_overhead

load: $(VENV)/.dev ## Play every load scenario in full size (6.5 hours; 2.5 WITHOUT=soak)
	$(BIN)/python -m loadtest all --size full $(if $(WITHOUT),--without $(WITHOUT))

soak: $(VENV)/.dev ## Ten times the peak with 2 % faults: nothing grows (MINUTES=30)
	$(BIN)/python -m loadtest run soak-10x --minutes $(or $(MINUTES),30)

replay: $(VENV)/.dev ## Replay 20 minutes of traffic through hamlet and beside it (TRACE=file.csv, or one of its shape)
	$(BIN)/python -m loadtest run replay --size full $(if $(TRACE),--trace $(TRACE))

versus: $(VENV)/.dev ## hamlet1's stand-in against hamlet, the same 15,000 requests to each (20 minutes; SIZE=ci: 20 s)
	$(BIN)/python -m loadtest versus --size $(or $(SIZE),full)

bench-suggest: $(VENV)/.dev ## Load the main screen, healthy and with every upstream down
	$(BIN)/python -m loadtest.scenarios.suggest

restarts: $(VENV)/.dev ## Restart under load: 10 times, 30,000 requests, 200 streams (6 minutes)
	$(BIN)/python -m loadtest.scenarios.rolling_restarts

cutover: $(VENV)/.dev ## Play the whole move from hamlet1 under load (EDGE=envoy or nginx; 4 minutes)
	$(BIN)/python -m loadtest.scenarios.migration --edge $(or $(EDGE),envoy)

fleet-report: $(VENV)/.dev ## Measure the fleet's goals on virtual time and draw it into out/fleet (TRACE=file.csv, OUT=folder; some minutes)
	$(BIN)/python -m loadtest.bench.routing_cost
	$(BIN)/python -m loadtest.scenarios.routing $(TRACE) --out $(or $(OUT),out/fleet)

chaos: $(VENV)/.dev ## Play SEEDS (10000) of chaos on virtual time and watch what must hold (5 minutes on 2 cores)
	$(BIN)/python -m loadtest.scenarios.chaos $(or $(SEEDS),10000)

cancels: $(VENV)/.dev ## Call off 10,000 calls at random points over real sockets and count what is left
	$(BIN)/python -m loadtest.scenarios.cancellations

bench-redis: $(VENV)/.dev ## Kill, hang and restart Redis under load, and measure what calls notice
	$(BIN)/python -m loadtest.scenarios.redis_outages

pictures: $(VENV)/.dev ## Draw the dashboards over six invented hours, into docs/pictures
	$(BIN)/python -m loadtest.tools.dashboard_pictures

rendered: $(VENV)/.dev ## Write anew what is made of the chart, its values and the example fleet
	@deploy/tools.sh
	PYTHONPATH=tests $(BIN)/python -m support.helm_chart
	$(BIN)/python -m loadtest.tools.compose

demo-fleet: $(VENV)/.dev ## Run compose's services without Docker under traffic, and draw their dashboards (5 minutes)
	@deploy/test-servers.sh
	$(BIN)/python -m loadtest.tools.demo_stack

image: $(VENV)/.dev ## Build the image with buildah, run it as it says, stop it (root on Debian; minutes)
	@deploy/image.sh
	$(BIN)/python -m loadtest.tools.image

schemas: $(VENV)/.dev ## Hold the chart's objects for operators against their schemas, strictly
	@deploy/tools.sh operators
	PYTHONPATH=tests $(BIN)/python -m support.helm_chart schemas

nightly: schemas image demo-fleet restarts ## What is too long for every commit: schemas, image, compose's services, restarts

bench-signals: $(VENV)/.dev ## Measure what metrics, log line and ids cost a call, and what a scrape stops
	$(BIN)/python -m loadtest.bench.telemetry_cost

bench-steps: $(VENV)/.dev ## Measure each step of a plain chat call, and their sum beside the whole
	$(BIN)/python -m loadtest.bench.call_steps

bench-instructions: $(VENV)/.dev ## Count a plain call's instructions and cache misses (AGAINST=commit; 3 minutes)
	@deploy/programs.sh wrk nginx valgrind
	$(BIN)/python -m loadtest.bench.instructions $(if $(AGAINST),--against $(AGAINST))

bench-streams: $(VENV)/.dev ## Hold 2,000 stalled streams and 2,000 slow readers: memory, and others' time
	$(BIN)/python -m loadtest.scenarios.stalled_streams

quality: $(VENV)/.dev ## Measure retrieval on the public sets in QUALITY (fails below the floors)
	$(BIN)/python -m loadtest.bench.retrieval_quality $(QUALITY)
	$(BIN)/python -m loadtest.bench.retrieval_quality $(QUALITY) --embed
	$(BIN)/python -m loadtest.bench.chip_quality --embed $(addprefix --vectors ,$(wildcard $(QUALITY)/chip_vectors.jsonl)) \
		loadtest/bench/contexts.jsonl $(wildcard $(QUALITY)/contexts.jsonl)

docs: $(VENV)/.serve .venv-docs/.docs ## Build the documentation into site/, strictly, and check its links
	$(BIN)/python -m deploy.docsite
	$(BIN)/python -m deploy.docsite.lists
	.venv-docs/bin/zensical build --strict --clean
	$(BIN)/python -m deploy.docsite.publish site
	$(BIN)/python -m deploy.docsite.check site

lock: ## Pin all dependencies anew, with hashes (needs uv)
	$(PINNED) requirements/build.in -o requirements/build.txt
	$(PINNED) pyproject.toml requirements/build.in -o requirements/base.txt
	$(PINNED) pyproject.toml requirements/dev.in -c requirements/base.txt -o requirements/dev.txt
	$(PINNED) pyproject.toml --extra redis --extra otel --extra dashboards --extra aiohttp --extra migration -c requirements/dev.txt -o requirements/image.txt
	$(PINNED) requirements/operators.in -o requirements/operators.txt
	$(PINNED) requirements/tools.in -o requirements/tools.txt
	$(PINNED) requirements/docs.in -o requirements/docs.txt
	$(COMPILE) --python-version 3.12 requirements/helm.in -o requirements/helm.txt
	$(PINNED) requirements/image-build.in -c requirements/dev.txt -o requirements/image-build.txt

clean: ## Remove what was set up
	rm -rf $(VENV) .venv-docs site .tools .image node_modules tests/e2e/node/node_modules

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
