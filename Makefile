# Everything that a person or the continuous integration does with Ringfence starts here: make help.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# One set of flags for builds and tests, so that they share what the cache holds.
export GOFLAGS := -trimpath -buildvcs=false
export CGO_ENABLED := 0
OUT := $(CURDIR)/out
TOOLS := $(OUT)/bin
MODULES := proto libs services/watcher services/pce-bridge services/policy-store services/enforcer tools
LAB := $(TOOLS)/lab

.PHONY: help
help: ## Print every target with a line.
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- build -----------------------------------------------------------------------------------------------------------

.PHONY: build images generate dev-tools lab-tool
build: ## Compile the command line, the console and the demo into out/bin.
	@mkdir -p $(TOOLS)
	@tools/dev/gobuild.sh tools -o $(TOOLS)/ ./tools/ringfence/cmd/ringfence ./tools/pce/cmd/pce ./tools/demo/cmd/demo && echo "built out/bin/ringfence, out/bin/pce and out/bin/demo"

images: ## Build the container images as OCI archives in out/images, without a container engine.
	@deploy/images/build.sh

generate: dev-tools ## Generate the Go code of the protocol buffers.
	@cd proto && GOWORK=off $(TOOLS)/buf generate

lab-tool: ## Build the lab's program into out/bin; it builds Kubernetes itself when it is first started.
	@mkdir -p $(TOOLS)
	@GOWORK=off go -C tools/lab build -o $(TOOLS)/lab .

dev-tools: ## Build buf, golangci-lint, gotestsum and helm, pinned in tools/dev, into out/bin.
	@tools/dev/build.sh $(TOOLS)

# --- run -------------------------------------------------------------------------------------------------------------

.PHONY: lab-up lab-down lab-status demo demo-down prerequisites
lab-up: lab-tool ## Start a real Kubernetes with three nodes on this machine (Linux, root).
	@$(LAB) up

lab-down: lab-tool ## Stop it, and leave nothing behind.
	@$(LAB) down

lab-status: lab-tool ## Show what of it runs.
	@$(LAB) status

demo: ## Show Ringfence at work, on KUBECONFIG's cluster or on the lab.
	@[ -n "$${KUBECONFIG:-}" ] || $(MAKE) prerequisites
	@$(MAKE) lab-tool dev-tools images build
	@$(TOOLS)/demo run

demo-down: lab-tool dev-tools build ## Remove everything that the demo made.
	@$(TOOLS)/demo remove

prerequisites: ## Install the Debian packages that are needed beyond Go, git and make.
	@.ci/prerequisites

# --- measure ---------------------------------------------------------------------------------------------------------

.PHONY: bench-engine bench-log bench-scale bench-pce
bench-engine: ## Measure the engine beside its peers, 15 min; parts with BENCH="--workloads A1 --modes cold"; out/bench/engine.json.
	@mkdir -p $(TOOLS)
	@tools/dev/gobuild.sh bench -o $(TOOLS)/bench ./tools/bench/cmd/bench
	@$(TOOLS)/bench engine --save out/bench/engine.json --charts docs/bench $(BENCH)

bench-log: ## Measure the log beside etcd, process for process, 20 min; parts with BENCH="--rows write,fan-out"; out/bench/log.json.
	@mkdir -p $(TOOLS)
	@tools/dev/gobuild.sh bench -o $(TOOLS)/ ./tools/bench/cmd/bench ./services/policy-store/cmd/policy-store
	@cd tools/bench/etcd && GOWORK=off $(CURDIR)/tools/dev/gobuild.sh bench-etcd -o $(TOOLS)/bench-etcd .
	@$(TOOLS)/bench log --save out/bench/log.json $(BENCH)

bench-scale: ## Run policy-store with a thousand nodes that follow it, 15 min; parts with BENCH="--during 1m --no-growth"; out/bench/scale.json.
	@mkdir -p $(TOOLS)
	@tools/dev/gobuild.sh bench -o $(TOOLS)/ ./tools/bench/cmd/bench ./services/policy-store/cmd/policy-store
	@$(TOOLS)/bench scale --save out/bench/scale.json --charts docs/bench $(BENCH)

bench-pce: ## Measure pce-bridge between a console of 20,000 labels and the log, 5 min; parts with BENCH="--rounds 1 --during 1m"; out/bench/pce.json.
	@mkdir -p $(TOOLS)
	@tools/dev/gobuild.sh bench -o $(TOOLS)/ ./tools/bench/cmd/bench ./tools/pce/cmd/pce ./services/policy-store/cmd/policy-store
	@$(TOOLS)/bench pce --save out/bench/pce.json $(BENCH)

# --- check -----------------------------------------------------------------------------------------------------------

.PHONY: test lint vet fuzz soak mutation
test: ## Run every check and test, the end-to-end test on the lab included (Linux, root).
	@.ci/suites

lint: dev-tools vet ## Run golangci-lint, buf lint and the check for breaking changes of the protocol.
	@for m in $(MODULES); do echo "golangci-lint $$m"; (cd $$m && $(TOOLS)/golangci-lint run --config $(CURDIR)/.golangci.yml ./...); done
	@for m in tools/lab tools/bench/etcd; do echo "golangci-lint $$m"; (cd $$m && GOWORK=off $(TOOLS)/golangci-lint run --config $(CURDIR)/.golangci.yml ./...); done
	@echo "generated code"; cd proto && GOWORK=off $(TOOLS)/buf generate -o $(OUT)/generated && diff -r --exclude='*.proto' ringfence $(OUT)/generated/ringfence || { echo "the Go code of proto/ is out of date: run make generate"; exit 1; }
	@echo "buf lint and breaking"; cd proto && $(TOOLS)/buf lint && $(TOOLS)/buf breaking --against released.binpb

vet: ## Run go vet over the workspace.
	@go vet work

soak: ## Run the random suites for SOAK (default 10m) each, with a seed of SEED (default: the clock's).
	@RINGFENCE_RANDOM_TIME=$${SOAK:-10m} RINGFENCE_SEED=$${SEED:-$$(date +%s)} go test -count=1 -timeout 0 -run Random -v ./libs/clas/... ./libs/eventlog/...

fuzz: ## Run every fuzz target for FUZZ (default 20s) each.
	@.ci/fuzz $${FUZZ:-20s}

mutation: ## Change the engine's matching and precedence code in 900 ways and see whether its tests notice, 10 min.
	@mkdir -p $(TOOLS)
	@tools/dev/gobuild.sh mutation -o $(TOOLS)/mutation ./tools/mutation
	@$(TOOLS)/mutation --accepted libs/clas/testdata/mutation/accepted --test '^TestSpec$$' --test '^Test[^RS]' libs/clas $$(grep -v '^#' libs/clas/testdata/mutation/functions)
