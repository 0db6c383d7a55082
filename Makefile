# `make` alone lists what there is. Everything runs in .venv, which is made at the first need. Works with GNU make 3.81.

PY := .venv/bin/python
COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	--no-header --no-annotate

# The first Python that is new enough; asked only by targets that need it.
FIND_PYTHON = for python in python3.13 python3.12 python3.11 python3; do \
	    if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then break; fi; python=; \
	done; \
	if [ -z "$$python" ]; then echo "Python 3.11 or later is needed, and none was found on the PATH."; exit 1; fi

.PHONY: help run dev seeds audit load chaos bench test test-scale test-docker lint format lock audit-deps clean install install-dev

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: install ## start everything on this machine, sell tickets; Ctrl-C ends it all
	@exec $(PY) -m ticketing run

dev: install ## the same, and every part begins anew when its code changes
	@exec $(PY) -m ticketing run --dev

seeds: install ## put events on sale; make seeds EVENTS=3 TICKETS=5000
	@exec $(PY) -m seeds $(EVENTS) $(TICKETS)

audit: install ## check on the running store that every ticket is sold once at most
	@exec $(PY) -m ticketing audit

load: install-dev ## buy like a crowd, judge what came of it; make load ARGS="--event 1 --connections 5000"
	@exec $(PY) -m tests.load $(or $(ARGS),--full)

bench: install-dev ## measure every target of speed beside its peers, half an hour; make bench ARGS=--quick
	@exec $(PY) -m tests.bench $(ARGS)

test: lint ## lint, types, import contracts, and every test
	@$(PY) -m pytest -n 2 --dist loadfile

test-scale: install-dev ## fail the primary while two hosts sell, and all that needs several servers; ROUNDS=3
	@SCALE_ROUNDS=$(or $(ROUNDS),3) $(PY) -m pytest -m scale

test-docker: install-dev ## build the containers, and run the stack on the Docker engine that answers
	@$(PY) -m pytest -v tests/docker

chaos: install-dev ## fail everything while two hosts sell; make chaos MINUTES=5 SEED=7 SCALE=1
	@$(PY) -m tests.chaos --minutes $(or $(MINUTES),5) --seed $(or $(SEED),7) $(if $(filter-out 0,$(SCALE)),--scale)

lint: install-dev ## lint, types and import contracts alone
	@$(PY) -m ruff check
	@$(PY) -m ruff format --check
	@$(PY) -m mypy
	@$(PY) -c 'from importlinter.cli import lint_imports_command; lint_imports_command()' --no-cache

format: install-dev ## put the code into its form
	@$(PY) -m ruff check --fix-only
	@$(PY) -m ruff format

lock: ## pin what requirements.in and requirements-dev.in ask for, with hashes (needs uv)
	@command -v uv >/dev/null || { echo "uv is needed: pip install uv"; exit 1; }
	$(COMPILE) requirements.in -o requirements.txt
	$(COMPILE) -c requirements.txt requirements-dev.in -o requirements-dev.txt

audit-deps: ## ask whether a vulnerability is known of what is pinned (needs uv); exits 2 where nobody can be asked
	@python3 .ci/audit_deps.py requirements-dev.txt

clean: ## remove .venv and every cache; var/, which holds what was sold, stays
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

install:
	@$(FIND_PYTHON); exec $$python .ci/install.py requirements.txt

install-dev:
	@$(FIND_PYTHON); exec $$python .ci/install.py requirements-dev.txt
