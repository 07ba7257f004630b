# `make setup` once, `make check` while working, `make test` before a change goes out, `make demo` to see it work.
# All of it runs from .venv; nothing is installed elsewhere but the control plane, in the user's cache folder.

BIN := .venv/bin
PYTEST_FLAGS ?=
FUZZ_SECONDS ?= 60
LIMIT ?= 20
SEEDS ?= 20000
seeds = $(if $(filter file,$(origin SEEDS)),$(1),$(SEEDS))

# CONTROLPLANE=1.36 (1.35, 1.34) runs what follows on that release of Kubernetes; it is built once, like the usual one.
ifdef CONTROLPLANE
export DRA_OPERATOR_CONTROLPLANE_VERSION := $(CONTROLPLANE)
endif

.DEFAULT_GOAL := help
.PHONY: docs manifests help setup controlplane demo check audit test unit test-agent cluster e2e burst chaos conformance fuzz fuzz-cel bench-core bench-cel simtest simtest-bugs bench-e2e bench-scale validation-diff validation-record setup-kubelet e2e-kubelet e2e-kueue bench-agent image clean

help: ## this list
	@echo 'targets:'
	@sed -nE 's/^([a-z0-9-]+):.* ## (.*)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

setup: ## .venv with everything that development needs (PYTHON=... names an interpreter)
	@tools/setup.sh

controlplane: setup ## the programs of a Kubernetes cluster; built once (about 10 minutes), then from the cache
	@$(BIN)/python -m dra_operator.sandbox.binaries

demo: controlplane ## a cluster on this machine with simulated GPUs: pods get them, share them, wait for them (KEEP=1: leave it running)
	@$(BIN)/dra-operator sandbox demo $(if $(KEEP),--keep)

check: setup ## style, types, layers: what needs no test run
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/bandit --quiet --recursive --configfile pyproject.toml operator
	@$(BIN)/python tools/protos.py --check
	@$(BIN)/python tools/docs.py --check
	@$(BIN)/python tools/manifests.py --check
	@$(BIN)/python -m tools.crds --check

test: check controlplane ## everything: check, unit, conformance, simulation, agent, integration, e2e
	@echo 'in two halves side by side: e2e, and all others, which are shown when they are done'
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target e2e-half other-half

# "+" keeps a line out of --output-sync: one half is shown as it goes on.
.PHONY: e2e-half other-half
e2e-half: setup
	+@$(BIN)/pytest tests/e2e $(PYTEST_FLAGS)

other-half: setup
	@$(BIN)/pytest tests/unit tests/conformance tests/fuzz tests/simulation $(PYTEST_FLAGS)
	@$(BIN)/pytest tests/agent tests/integration tests/chaos $(PYTEST_FLAGS)

unit: setup ## the tests that need no cluster: unit, conformance, simulation
	@$(BIN)/pytest tests/unit tests/conformance tests/fuzz tests/simulation $(PYTEST_FLAGS)

conformance: setup ## golden vectors of any folder: VECTORS=DIR [LIMIT=20 failing ones shown for a file]
	@$(BIN)/python -m tests.conformance "$(VECTORS)" --limit "$(LIMIT)" --near "$(PWD)"

fuzz: setup ## generated and crossed cases, selectors and calls, decided by Kubernetes' libraries too: SEEDS=20000 of each (Go builds them once)
	@$(BIN)/python -m tests.fuzz --seeds $(SEEDS)
	@$(BIN)/python -m tests.fuzz --crossed --seeds $(SEEDS)
	@$(BIN)/python -m tests.fuzz.selectors --seeds $(SEEDS)
	@$(BIN)/python -m tests.fuzz.calls --seeds $(SEEDS)

audit: setup ## known weaknesses of the locked packages; asks PyPI's advisories, and fails if a package cannot be asked about
	@$(BIN)/pip-audit --disable-pip --require-hashes --strict --progress-spinner off --requirement requirements-dev.lock

simtest: setup ## the whole controller against a cluster that fails in every way: SEEDS=2000 [FIRST=0 JOBS=2]
	@$(BIN)/python -m tests.simulation --seed $(or $(FIRST),0) --seeds $(call seeds,2000) --jobs $(or $(JOBS),2) --shrink

simtest-bugs: setup ## defects planted on purpose: each is caught within SEEDS=500, nearly all within 100
	@$(BIN)/python -m tests.simulation --bugs --seeds $(call seeds,500) --jobs $(or $(JOBS),2)

bench-core: setup ## our decisions beside those of kube-scheduler's library, on the same inventories (minutes)
	@$(BIN)/python -m tests.perf

test-agent: setup ## the node agent as its kubelet meets it: gRPC over real sockets, real files, kills at every step
	@$(BIN)/pytest tests/agent $(PYTEST_FLAGS)

cluster: controlplane ## the tests on a real control plane: integration, e2e, half a minute of chaos
	@$(BIN)/pytest tests/integration tests/e2e tests/chaos $(PYTEST_FLAGS)

e2e: controlplane ## one suite of scenarios in every way to install (E2E_FLAVOURS=native-adopt,... for some; CONTROLPLANE=1.36, 1.35 or 1.34); prints the table
	@E2E_FLAVOURS=$(or $(E2E_FLAVOURS),all) $(BIN)/pytest tests/e2e/suite $(if $(CONTROLPLANE),tests/e2e/releases) $(PYTEST_FLAGS)

burst: controlplane ## PODS=5000 pods at once on a real control plane: all run, none twice; what it took in memory and requests
	@BURST_PODS=$(or $(PODS),5000) $(BIN)/pytest -q tests/e2e/test_burst.py $(PYTEST_FLAGS)

chaos: controlplane ## faults and kills on a real control plane, an observer of every revision: MINUTES=10 [SEED=N] [CHAOS_FLAGS=--stock]
	@GRPC_ENABLE_FORK_SUPPORT=0 $(BIN)/python -m tests.chaos --minutes $(or $(MINUTES),10) $(if $(SEED),--seed $(SEED)) $(CHAOS_FLAGS)

validation-diff: controlplane ## mutated objects, our answers and a real API server's: SEEDS=2000 FIRST=1 ALPHA=1
	@$(BIN)/python -m tests.validation_diff --first $(or $(FIRST),1) --seeds $(SEEDS) $(if $(ALPHA),--alpha)

validation-record: controlplane ## record what a real API server answers to tests/corpus
	@$(BIN)/python -m tests.record_corpus

bench-cel: setup ## selectors beside cel-python and cel-go: warm, cold, memory (Go builds upstream's library once)
	@$(BIN)/python -m tests.perf.bench_cel

fuzz-cel: setup ## selectors, quantities, versions and slices against random text: FUZZ_SECONDS=60 for each target
	@$(BIN)/python -m tests.fuzz.text --seconds $(FUZZ_SECONDS)

bench-e2e: controlplane ## pods a second, end to end, beside the stock programs (BENCH_FLAGS='--nodes 100 --rounds 3')
	@$(BIN)/python -m tests.perf.bench_e2e $(BENCH_FLAGS)

bench-scale: controlplane ## the operator on 5,000 nodes, 40,000 devices and 20,000 pods: start, memory, events, stalls
	@$(BIN)/python -m tests.perf.bench_scale $(BENCH_FLAGS)

image: setup ## the container image as an OCI archive, without a daemon and without pulling (IMAGE=name, FRESH=1: newer packages)
	@$(BIN)/python -m tools.image $(if $(IMAGE),--name $(IMAGE)) $(if $(FRESH),--fresh)

setup-kubelet: setup ## what a real kubelet needs: runc, busybox, CNI plugins, containerd (needs root)
	@tools/kubelet/setup.sh

e2e-kubelet: controlplane setup-kubelet ## users' pods on a real kubelet and containerd, with what the agent prepares
	@$(BIN)/pytest tests/kubelet $(PYTEST_FLAGS)

e2e-kueue: controlplane ## beside Kueue's own manager: quota, preemption, devices counted by class (Go builds it once, minutes)
	@$(BIN)/python -m tests.kueue.manager
	@$(BIN)/pytest tests/kueue $(PYTEST_FLAGS)

bench-agent: controlplane ## the agent's start, memory, idle load, and how long it prepares
	@$(BIN)/python -m tests.perf.bench_agent

docs: setup ## docs/reference, written from the code
	@$(BIN)/python tools/docs.py

manifests: setup ## crds/, and roles, policies and flow schemas of manifests/, written from the code
	@$(BIN)/python tools/manifests.py
	@$(BIN)/python -m tools.crds

clean: ## remove what was generated here (the control plane in the cache stays)
	@rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find operator tests tools -name __pycache__ -type d -prune -exec rm -rf {} +
