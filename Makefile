# `make help` tells what can be made. For GNU make 3.81 and newer, as root or as a user; needs Python 3.11 or newer.
PY := .venv/bin/python
STAMP := .venv/.installed
SINCE := $(shell date +%s)

# Cheap suites first, those with real servers last.
FIRST := $(wildcard tests/domain tests/vault tests/service tests/testing tests/simulation)
LAST := $(wildcard tests/providers tests/acceptance tests/benchmarks)
SUITES := $(FIRST) $(wildcard tests/test_*.py) \
	$(filter-out $(FIRST) $(LAST) tests/__pycache__,$(patsubst %/,%,$(wildcard tests/*/))) $(LAST)

.DEFAULT_GOAL := help
.PHONY: help run stop setup test lint types contracts check format lock simulate clean tools peers bench bench-compare

help: ## what can be made
	@sed -n 's/^\([a-z-]*\):.*## /  make \1|/p' Makefile | awk -F'|' '{printf "%-17s %s\n", $$1, $$2}'

run: $(STAMP) ## start the service if it does not run, and have a living guestbook
	@MADE_SINCE=$(SINCE) $(PY) tools/run.py start

stop: $(STAMP) ## end the service that `make run` started, its local servers and apps; all data stay
	@$(PY) tools/run.py stop

setup: $(STAMP) ## only make .venv
	@:

$(STAMP): requirements.lock pyproject.toml tools/setup.sh
	@sh tools/setup.sh
	@touch $@

# Who narrows to suites that have nothing to do with a tool need not have it built.
PULUMI := .tools/pulumi .tools/pulumi-language-yaml
GITEA := .tools/gitea
CADDY := .tools/caddy
WITH_PULUMI := tests tests/providers tests/providers/test_pulumi% tests/acceptance tests/acceptance/test_pulumi% tests/examples%
WITH_GITEA := tests tests/providers tests/providers/test_gitea% tests/acceptance tests/acceptance/test_pull_requests%
WITH_CADDY := tests tests/providers tests/providers/test_caddy% tests/providers/test_local% tests/acceptance tests/acceptance/test_route% tests/acceptance/test_pull_requests% tests/acceptance/test_github% tests/acceptance/test_ten% tests/acceptance/test_doors% tests/examples%

test: $(STAMP) $(if $(filter $(WITH_PULUMI),$(SUITES)),$(PULUMI)) $(if $(filter $(WITH_GITEA),$(SUITES)),$(GITEA)) $(if $(filter $(WITH_CADDY),$(SUITES)),$(CADDY)) ## all tests, with real servers; SUITES=tests/store or ARGS="-k scale" narrow them
	@$(PY) -m pytest $(SUITES) $(ARGS)

lint: $(STAMP) ## ruff: rules and format
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .

types: $(STAMP) ## mypy --strict
	@$(PY) -m mypy

contracts: $(STAMP) ## who may import whom
	@.venv/bin/lint-imports

check: lint types contracts ## lint, types and contracts

format: $(STAMP) ## have ruff mend what it can
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

tools: $(PULUMI) $(CADDY) $(GITEA) ## Pulumi's CLI and YAML, Caddy, and a Gitea for tests, in .tools: built from Go's modules, ten minutes, once

.tools/%: tools/%/go.mod tools/%/go.sum | $(STAMP)
	@sh tools/go.sh $*

peers: $(STAMP) ## the peers for `make bench` in .tools: five minutes, once. Needs npm; tells what it lacks
	@sh tests/benchmarks/peers.sh

bench: peers ## measure everything beside the peers; writes docs/benchmarks.md. A quarter of an hour on an idle machine
	@$(PY) -m tests.benchmarks.run $(ARGS)

bench-compare: $(STAMP) ## measure Twin again and name what is worse than the committed result beyond noise
	@$(PY) -m tests.benchmarks.compare $(ARGS)

lock: ## pin anew what pyproject.toml asks for; UPGRADE=--upgrade takes newer versions. Needs uv
	@uv pip compile --universal --all-extras --no-strip-extras --generate-hashes --no-header --no-emit-index-url --quiet $(UPGRADE) \
		pyproject.toml --output-file requirements.lock

simulate: $(STAMP) ## simulated years with all faults; SEEDS=0..99 chooses, ARGS="--days 500" changes
	@PYTHONHASHSEED=0 $(PY) -m twin.testing.simulator --seeds $(or $(SEEDS),0..3) $(ARGS)

clean: ## remove .venv, caches and builds; data in .twin stay
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build
	@find . -name __pycache__ -type d -not -path './.twin/*' -not -path './.git/*' -exec rm -rf {} +
