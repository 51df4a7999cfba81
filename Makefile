# Three commands: `make demo`, `make test`, `make check`. Everything they need is installed into .venv from the lock files.
PYTHON ?= python3
BIN := .venv/bin
# Where Python is told to keep no bytecode, each of the hundreds of processes that tests start would compile everything anew.
export PYTHONDONTWRITEBYTECODE =
.DEFAULT_GOAL := help
.PHONY: help demo test check types lock lock-check

help:
	@echo "make demo   set up, and run the main job: a customer's request across three agents and two MCP servers"
	@echo "make test   set up, and run every test"
	@echo "make check  formatting, lint, types, imports, lock files, then make test"

# uv, pinned like everything else, installs in seconds what takes pip most of a minute; where it cannot, pip does.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
UV := $(BIN)/uv pip install --quiet --python $(BIN)/python
define install
	@$(UV) --compile-bytecode --require-hashes -r $(1) 2>/dev/null || $(PIP) --require-hashes -r $(1)
endef

.venv/.runtime: requirements.lock requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Drawbridge needs Python 3.11 or newer; set PYTHON=")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing (once) ..."
	@awk '/^uv==/ {found = 1} found {print} found && /# via/ {exit}' requirements-dev.lock > .venv/uv.lock
	@$(PIP) --require-hashes -r .venv/uv.lock
	$(call install,requirements.lock)
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.dev: requirements-dev.lock .venv/.runtime
	@echo "installing test tools (once) ..."
	$(call install,requirements-dev.lock)
	@touch $@

demo: .venv/.runtime
	@$(BIN)/drawbridge demo

# Clients, servers and the conformance suite that are programs for Node; the Node itself comes with the test tools.
NODE_TOOLS := tests/node/node_modules/.complete
$(NODE_TOOLS): tests/node/package-lock.json .venv/.dev
	@echo "installing Node tools (once) ..."
	@$(BIN)/python -m tests.node_tools

test: .venv/.dev $(NODE_TOOLS)
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder

check: .venv/.dev lock-check
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	@rm -f $(FINDINGS)
	@$(MAKE) --no-print-directory -j 2 types test || { test -f $(FINDINGS) && cat $(FINDINGS); exit 1; }

# Beside the tests, which leave it the time they wait. What it finds is shown at once, and again below what the tests say.
FINDINGS := .venv/types.txt
types: .venv/.dev
	@nice -n 5 $(BIN)/pyright >$(FINDINGS) 2>&1 || { echo; cat $(FINDINGS); exit 1; }
	@rm $(FINDINGS)

LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

# Read the registries anew: after a change of pyproject.toml, or to take newer releases (delete the lock files first).
lock: .venv/.dev
	$(LOCK) --group build pyproject.toml -o requirements.lock
	$(LOCK) --group dev pyproject.toml -o requirements-dev.lock

# Every dependency named in pyproject.toml is pinned, and both lock files agree. Works without a registry.
lock-check: .venv/.dev
	$(BIN)/python -m tests.lock_check
