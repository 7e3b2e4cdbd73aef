# hamlet: `make` lists the targets.
SHELL := /bin/bash
PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 8080
CONFIG ?=
QUALITY ?=
VENV := .venv
BIN := $(VENV)/bin
COMPILE := uv pip compile --quiet --universal --generate-hashes --no-strip-extras --no-emit-index-url \
	--no-emit-find-links --no-header --no-annotate
PINNED := $(COMPILE) --python-version 3.11

FAST_TESTS := tests/unit tests/structure tests/conformance tests/tooling

.DEFAULT_GOAL := help
.PHONY: help serve demo check test lint format bench load soak replay versus bench-suggest restarts cutover \
	fleet-report chaos cancels bench-redis pictures rendered demo-fleet image schemas nightly bench-signals \
	bench-steps bench-instructions bench-streams quality docs lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-19s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

serve: $(VENV)/.serve ## Set up and serve on HOST:PORT (CONFIG=file.yaml)
	@$(BIN)/hamlet serve --host $(HOST) --port $(PORT) $(if $(CONFIG),--config $(CONFIG))

demo: $(VENV)/.serve ## Serve the main screen with a simulated model and switches for its faults
	@$(BIN)/hamlet serve --host $(HOST) --port $(PORT) --config deploy/examples/demo.yaml

check: lint ## Style, types, imports and the fast tests: the inner loop (under a minute)
	$(BIN)/pytest -q -n auto -m "not slow and not external" $(FAST_TESTS)

test: $(VENV)/.dev ## Set up, check and test everything: what CI runs (minutes)
	@deploy/test-servers.sh
	@deploy/node-client.sh
	@deploy/tools.sh
	$(MAKE) --no-print-directory lint docs
	$(BIN)/pytest -n auto --cov --cov-report= tests
	$(BIN)/coverage report --fail-under=100 \
		--include='src/hamlet/core/*,src/hamlet/spi/*,src/hamlet/gateway/*,src/hamlet/routing/*'

lint: $(VENV)/.dev ## Check style, types and the direction of imports
	$(BIN)/ruff format --check src tests examples loadtest deploy
	$(BIN)/ruff check src tests examples loadtest deploy
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev ## Format the code and apply the fixes of ruff
	$(BIN)/ruff format src tests examples loadtest deploy
	$(BIN)/ruff check --fix src tests examples loadtest deploy

bench: $(VENV)/.dev ## Compare hamlet with other gateways, and measure what it adds to a call
	@deploy/peers.sh
	$(BIN)/python -m loadtest.bench.peers
	$(BIN)/python -m loadtest.bench.call_overhead

load: $(VENV)/.dev ## Run every load scenario in full size (6.5 hours; 2.5 with WITHOUT=soak)
	$(BIN)/python -m loadtest all --size full $(if $(WITHOUT),--without $(WITHOUT))

soak: $(VENV)/.dev ## Ten times the peak rate with 2 % faults: memory, descriptors and tasks must not grow (MINUTES=30)
	$(BIN)/python -m loadtest run soak-10x --minutes $(or $(MINUTES),30)

replay: $(VENV)/.dev ## Replay 20 minutes of traffic through hamlet and directly (TRACE=file.csv, or a generated trace)
	$(BIN)/python -m loadtest run replay --size full $(if $(TRACE),--trace $(TRACE))

versus: $(VENV)/.dev ## Compare the stand-in for hamlet1 with hamlet, 15,000 requests to each (20 minutes; SIZE=ci: 20 s)
	$(BIN)/python -m loadtest versus --size $(or $(SIZE),full)

bench-suggest: $(VENV)/.dev ## Load /v1/suggest, healthy and with every upstream down
	$(BIN)/python -m loadtest.scenarios.suggest

restarts: $(VENV)/.dev ## Rolling restarts under load: 10 restarts, 30,000 requests, 200 streams (6 minutes)
	$(BIN)/python -m loadtest.scenarios.rolling_restarts

cutover: $(VENV)/.dev ## Run the whole migration from hamlet1 under load (EDGE=envoy or nginx; 4 minutes)
	$(BIN)/python -m loadtest.scenarios.migration --edge $(or $(EDGE),envoy)

fleet-report: $(VENV)/.dev ## Measure the goals of routing on virtual time, with charts in OUT (TRACE=file.csv, OUT=out/fleet; minutes)
	$(BIN)/python -m loadtest.bench.routing_cost
	$(BIN)/python -m loadtest.scenarios.routing $(TRACE) --out $(or $(OUT),out/fleet)

chaos: $(VENV)/.dev ## Fuzz routing on virtual time and check its invariants (SEEDS=10000; 5 minutes on 2 cores)
	$(BIN)/python -m loadtest.scenarios.chaos $(or $(SEEDS),10000)

cancels: $(VENV)/.dev ## Cancel 10,000 calls at random points over real sockets and count what leaks
	$(BIN)/python -m loadtest.scenarios.cancellations

bench-redis: $(VENV)/.dev ## Kill, hang and restart Redis under load: errors and added latency
	$(BIN)/python -m loadtest.scenarios.redis_outages

pictures: $(VENV)/.dev ## Draw the dashboards over six hours of generated data, into docs/pictures
	$(BIN)/python -m loadtest.tools.dashboard_pictures

rendered: $(VENV)/.dev ## Render the Kubernetes manifests and the configuration of compose again
	@deploy/tools.sh
	PYTHONPATH=tests $(BIN)/python -m support.helm_chart
	$(BIN)/python -m loadtest.tools.compose

demo-fleet: $(VENV)/.dev ## Run the services of compose without Docker under traffic, and draw their dashboards (5 minutes)
	@deploy/test-servers.sh
	$(BIN)/python -m loadtest.tools.demo_stack

image: $(VENV)/.dev ## Build the image with buildah, run it and stop it (root on Debian; minutes)
	@deploy/image.sh
	$(BIN)/python -m loadtest.tools.image

schemas: $(VENV)/.dev ## Validate the chart's custom resources against the schemas of their operators
	@deploy/tools.sh operators
	PYTHONPATH=tests $(BIN)/python -m support.helm_chart schemas

nightly: schemas image demo-fleet restarts ## Everything too slow for each commit: schemas, image, demo-fleet, restarts

bench-signals: $(VENV)/.dev ## Measure what metrics, the access line and ids cost a call, and how long a scrape blocks the loop
	$(BIN)/python -m loadtest.bench.telemetry_cost

bench-steps: $(VENV)/.dev ## Measure each step of a plain chat call, and compare their sum with the call
	$(BIN)/python -m loadtest.bench.call_steps

bench-instructions: $(VENV)/.dev ## Count instructions of a plain call and of a cached /v1/suggest (AGAINST=commit: 5 minutes)
	@deploy/programs.sh wrk nginx valgrind
	$(BIN)/python -m loadtest.bench.instructions $(if $(AGAINST),--against $(AGAINST))

bench-streams: $(VENV)/.dev ## Memory and latency with 2,000 stalled streams and 2,000 slow readers
	$(BIN)/python -m loadtest.scenarios.stalled_streams

quality: $(VENV)/.dev ## Measure retrieval and chips on the sets in QUALITY=folder (fails below the minimums)
	@test -n "$(QUALITY)" || { echo "QUALITY=folder: where the sets are; see loadtest/bench/retrieval_quality.py" >&2; exit 1; }
	$(BIN)/python -m loadtest.bench.retrieval_quality $(QUALITY)
	$(BIN)/python -m loadtest.bench.retrieval_quality $(QUALITY) --embed
	$(BIN)/python -m loadtest.bench.chip_quality --embed $(addprefix --vectors ,$(wildcard $(QUALITY)/chip_vectors.jsonl)) \
		loadtest/bench/contexts.jsonl $(wildcard $(QUALITY)/contexts.jsonl)

docs: $(VENV)/.serve .venv-docs/.docs ## Build the documentation into site/ and check its links
	$(BIN)/python -m deploy.docsite
	$(BIN)/python -m deploy.docsite.lists
	.venv-docs/bin/zensical build --strict --clean
	$(BIN)/python -m deploy.docsite.publish site
	$(BIN)/python -m deploy.docsite.check site

lock: ## Pin all dependencies again, with hashes (needs uv)
	$(PINNED) requirements/build.in -o requirements/build.txt
	$(PINNED) pyproject.toml requirements/build.in -o requirements/base.txt
	$(PINNED) pyproject.toml requirements/dev.in -c requirements/base.txt -o requirements/dev.txt
	$(PINNED) pyproject.toml --extra redis --extra otel --extra dashboards --extra aiohttp --extra migration -c requirements/dev.txt -o requirements/image.txt
	$(PINNED) requirements/operators.in -o requirements/operators.txt
	$(PINNED) requirements/tools.in -o requirements/tools.txt
	$(PINNED) requirements/docs.in -o requirements/docs.txt
	$(COMPILE) --python-version 3.12 requirements/helm.in -o requirements/helm.txt
	$(PINNED) requirements/image-build.in -c requirements/dev.txt -o requirements/image-build.txt

clean: ## Remove the environments and what was built
	rm -rf $(VENV) .venv-docs site .tools .image node_modules tests/e2e/node/node_modules

# The stamp files make the next start fast: pip runs only if a pin or the project's metadata has changed.
$(VENV)/bin/python:
	@deploy/need-python.sh $(PYTHON)
	$(PYTHON) -m venv $(VENV)

$(VENV)/.serve: requirements/base.txt pyproject.toml | $(VENV)/bin/python
	@echo "setting up $(VENV): about 20 s ..." >&2
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/base.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements/dev.txt pyproject.toml | $(VENV)/bin/python
	@echo "setting up $(VENV) for development: about a minute ..." >&2
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@ $(VENV)/.serve

# The site's builder shares no dependency with hamlet: it has an environment of its own.
.venv-docs/.docs: requirements/docs.txt
	@echo "setting up .venv-docs: about 10 s ..." >&2
	@deploy/need-python.sh $(PYTHON)
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/docs.txt
	@touch $@
