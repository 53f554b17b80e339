# nap: `make help` lists what can be made.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

bin := node_modules/.bin
vitest := $(bin)/vitest run --config hack/vitest.config.ts

.PHONY: help
help: ## show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  \033[1m%-18s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##  Try it

.PHONY: demo
demo: ## a guestbook over three Docker hosts on this machine, in a few minutes (root, Debian)
	@hack/setup demo
	@$(MAKE) build
	@hack/demo/up

.PHONY: demo-down
demo-down: ## remove every trace of the demo
	@hack/demo/down

##  Build

node_modules/.package-lock.json: package.json package-lock.json
	@echo "Installing npm packages"
	@npm ci --no-audit --no-fund --loglevel=error
	@touch $@

.PHONY: build
build: dist/nap.js ## bundle the one binary, dist/nap.js

dist/nap.js: node_modules/.package-lock.json hack/build.ts $(shell find src crds -type f -not -name '*.test.ts')
	@echo "Building dist/nap.js"
	@$(bin)/tsx hack/build.ts

.PHONY: crds
crds: node_modules/.package-lock.json ## generate crds/ and README's reference from the schemas in src/api
	@$(bin)/tsx hack/generate-crds.ts
	@$(bin)/tsx hack/generate-reference.ts

.PHONY: verify
verify: node_modules/.package-lock.json ## check that generated files are current
	@$(bin)/tsx hack/generate-crds.ts --check
	@$(bin)/tsx hack/generate-reference.ts --check

.PHONY: lint
lint: node_modules/.package-lock.json ## types, style, import rules, dead code, shell scripts
	@$(bin)/tsc --noEmit
	@$(bin)/eslint --config hack/eslint.config.js --max-warnings 0 .
	@$(bin)/prettier --check --log-level warn .
	@$(bin)/depcruise --config .dependency-cruiser.cjs --output-type err-long src
	@$(bin)/knip
	@shellcheck hack/cluster hack/setup hack/demo/up hack/demo/down hack/demo/images hack/demo/guestbook/cgi-bin/index.cgi .ci/run

##  Test

.PHONY: test
test: ## everything: lint, generated files, and all four suites (root, Debian)
	@hack/setup test
	@$(MAKE) lint verify build
	@$(MAKE) test-unit
	@$(MAKE) test-contract
	@$(MAKE) test-integration
	@$(MAKE) test-e2e

.PHONY: test-unit
test-unit: node_modules/.package-lock.json ## pure logic; needs nothing but Node
	@$(vitest) --project unit

.PHONY: test-contract
test-contract: node_modules/.package-lock.json ## what Kubernetes clients expect of an API server; KUBECONFIG=… for one of your own
	@$(if $(filter command line,$(origin KUBECONFIG)),KUBECONFIG_UNDER_TEST="$(KUBECONFIG)") $(vitest) --project contract

.PHONY: test-integration
test-integration: build ## parts of nap on real etcd, Docker and kernel (root)
	@$(vitest) --project integration

.PHONY: test-e2e
test-e2e: build ## the whole of nap on a cluster in a box (root); KUBECONFIG=… for an API server other than nap's
	@$(if $(filter command line,$(origin KUBECONFIG)),NAP_E2E_KUBECONFIG="$(KUBECONFIG)") $(vitest) --project e2e

.PHONY: bench
bench: build ## measure against the raw limit and against Swarm mode; writes .nap/bench.json (root)
	@hack/setup bench
	@$(bin)/tsx hack/bench/main.ts

.PHONY: setup
setup: ## install with apt what the demo and the tests need
	@hack/setup test

.PHONY: clean
clean: ## remove what was built
	@rm -rf dist coverage
