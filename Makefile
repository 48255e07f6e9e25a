# Every command a developer types; `make` alone lists them.
PY := .venv/bin/python
export PATH := $(CURDIR)/.venv/bin:$(PATH)
SHELL := /bin/bash
# What images hold: the CNI plugin also runs on nodes whose C library is older than ours.
STATIC_PROXY := cargo rustc --locked --release --quiet --package linkerd-proxy --bin linkerd-proxy -- -C target-feature=+crt-static

.PHONY: help demo build test test-unit test-rust test-integration test-walkthroughs test-browser test-deep lint golden gen bench bench-control fuzz scorecard images test-kubernetes test-helm conformance clean

help: ## List the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: build ## Start a local cluster with emojivoto meshed, and show it
	@$(PY) tools/demo.py

build: .venv/.built ## Build everything into .venv: the linkerd command and the proxy

test: test-unit test-rust test-integration test-walkthroughs ## Run every test

test-unit: build ## Run the fast Python tests
	$(PY) -m pytest -n 2 --dist loadfile

test-rust: .venv/.python ## Run the proxy's tests
	cargo test --locked --workspace --quiet

test-integration: build ## Run the tests that start a local cluster (root)
	$(PY) -m pytest tests/integration --timeout 300

test-walkthroughs: build ## Run the documents' walk-throughs on a local cluster (root)
	$(PY) -m pytest tests/walkthroughs --timeout 1800

test-browser: build ## Look at the dashboard with Chromium on a local cluster (root)
	@bash tools/setup.sh browser
	$(PY) -m pytest tests/browser --timeout 240

test-deep: build ## Run generated tests for long: 10,000 steps an index, 1,000 schedules of faults
	MACHINE_STEPS=10000 $(PY) -m pytest -n 2 tests/property/test_machines.py --timeout 3600
	FAULT_SCHEDULES=1000 $(PY) -m pytest -n 2 tests/wire/test_watch_faults.py

test-kubernetes: build ## Run the mesh on a real Kubernetes, and compare ours with it (root, Go)
	$(PY) -m tests.kubernetes.bed build
	$(STATIC_PROXY)
	$(PY) -m pytest tests/kubernetes --timeout 900

bench-control: build ## Measure what the control plane costs
	cargo build --locked --release --quiet --package linkerd-proxy-loadgen
	$(PY) -m bench.control_plane

test-helm: build ## Compare our rendering of the charts with Helm's (Go)
	$(PY) -m pytest tests/helm --timeout 900

conformance: build ## Run the Gateway API's mesh conformance tests, and write the report (root, Go)
	$(STATIC_PROXY)
	$(PY) -m tests.kubernetes.conformance

images: build ## Build the container images as OCI archives in dist/images, without Docker
	$(STATIC_PROXY)
	$(PY) -m images.build

lint: .venv/.python ## Check formats, lints, types, imports and generated files
	ruff check . && ruff format --check .
	mypy
	lint-imports
	cargo fmt --check --all
	cargo clippy --locked --workspace --all-targets --quiet -- -D warnings
	$(PY) tools/gen.py --check

golden: .venv/.python ## Rewrite the expected outputs in tests/golden
	UPDATE_GOLDEN=1 $(PY) -m pytest tests/golden

gen: .venv/.python ## Generate code from proto/, and the lock files
	$(PY) tools/gen.py

fuzz: .venv/.python ## Explore each of the proxy's fuzz targets for 20 s (SEED=1: the same inputs again)
	$(PY) tools/fuzz.py --seed $(or $(SEED),0)

scorecard: .venv/.python ## Measure what the proxy stands: attacks, bad input, load, failures (root)
	$(PY) -m tests.scorecard

bench: build ## Compare the proxy with its peers on this machine
	$(PY) bench/run.py

clean: ## Remove everything that was built
	rm -rf .venv target dist web/node_modules linkerd/viz/static

.venv/.python: requirements-dev.txt tools/setup.sh
	@bash tools/setup.sh
	@touch $@

.venv/.built: .venv/.python pyproject.toml Cargo.toml Cargo.lock $(shell find proxy -name '*.rs' -o -name Cargo.toml) $(shell find web -path web/node_modules -prune -o -type f -print 2>/dev/null)
	@$(PY) tools/build.py
	@touch $@
