# podskew: which pods get their Service's traffic, and why. `make` lists the targets.

VERSION       ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
# The lab's Kubernetes: nodes and the API server report it. Keep it equal to k8s.io/kubernetes in lab/go.mod.
KUBERNETES    := $(shell sed -n 's/^\tk8s.io\/kubernetes //p' lab/go.mod)
GOLANGCI_LINT := v2.15.0

GO       ?= go
CLUSTER  ?= auto
# PROXY_MODE: nftables, iptables or, on kind, ipvs; empty: the cluster's own, nftables where one is made.
PROXY_MODE ?=
OUTPUT   ?= text
RUN_FLAGS = --cluster $(CLUSTER) $(if $(PROXY_MODE),--proxy-mode $(PROXY_MODE)) -o $(OUTPUT)
# Tests of the packages that link Kubernetes itself run without the race detector: it would rebuild all of it.
TEST     := $(GO) test -json -shuffle=on -timeout 20m
# One set of build flags for everything but the race detector, so that building, vetting and linting share one cache:
# another CGO_ENABLED or -trimpath would compile Kubernetes again.
export CGO_ENABLED := 0
BUILD    := $(GO) build
# gRPC's request tracing brings html/template into the pods' program, and nobody looks at it.
POD_TAGS := -tags grpcnotrace

# The image of the pods and its architectures. This machine's is bin/podskew-pod itself; the others are built beside it.
IMAGE    ?= podskew.dev/pod:dev
ARCHES   := amd64,arm64
CADDY    := v2.11.9
FOREIGN  := $(patsubst %,bin/podskew-pod-linux-%,$(filter-out $(shell $(GO) env GOARCH),amd64 arm64))

.DEFAULT_GOAL := help
.PHONY: help deps test-deps build bin/podskew bin/podskew-pod $(FOREIGN) bin/podskew-lab caddy image test test-short lint verify fmt bench calibrate fuzz update scenarios clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

deps: ## install the host tools that are missing (as root), or say what to install
	@hack/deps.sh

test-deps: ## install what some tests need besides and are skipped without: a browser, python3-scipy
	@hack/deps.sh test

build: bin/podskew bin/podskew-pod bin/podskew-lab ## build the three binaries into bin/
bin/podskew:
	@$(BUILD) -ldflags '-s -w -X main.version=$(VERSION)' -o $@ ./cmd/podskew
bin/podskew-pod:
	@$(BUILD) $(POD_TAGS) -ldflags '-s -w -X main.version=$(VERSION)' -o $@ ./cmd/podskew-pod
bin/podskew-lab: # everything of Kubernetes: about six minutes the first time on two cores
	@cd lab && $(BUILD) -ldflags '-s -w -X main.version=$(VERSION) -X k8s.io/component-base/version.gitVersion=$(KUBERNETES)' -o ../$@ .
$(FOREIGN): bin/podskew-pod-linux-%:
	@GOOS=linux GOARCH=$* $(BUILD) $(POD_TAGS) -ldflags '-s -w -X main.version=$(VERSION)' -o $@ ./cmd/podskew-pod

caddy: bin/caddy ## build Caddy, which some gateway scenarios need and are skipped without
bin/caddy:
	@CGO_ENABLED=0 GOFLAGS= GOBIN=$(CURDIR)/bin $(GO) install -ldflags '-s -w' github.com/caddyserver/caddy/v2/cmd/caddy@$(CADDY)

image: bin/podskew bin/podskew-pod $(FOREIGN) ## write the pods' image to bin/podskew-pod.tar; docker load it where an engine answers
	@bin/podskew image --arch $(ARCHES) --name $(IMAGE) -o bin/podskew-pod.tar
	@if docker info >/dev/null 2>&1; then docker load -i bin/podskew-pod.tar; else echo "image: no Docker engine answers: bin/podskew-pod.tar is written, not loaded"; fi

# Only where the lab may be needed is it built: the first time that takes minutes.
SCENARIO_NEEDS := $(if $(filter kind current,$(CLUSTER)),bin/podskew bin/podskew-pod,deps build)
scenario-%: $(SCENARIO_NEEDS) ## run a built-in scenario: make scenario-keepalive [CLUSTER=lab] [PROXY_MODE=iptables]
	@bin/podskew run $* $(RUN_FLAGS)

# Every mode a cluster of its own, one after the other. On a cluster that is up already: make scenarios CLUSTER=current.
SCENARIO_MODES := $(if $(filter current,$(CLUSTER))$(PROXY_MODE),,--matrix proxyMode=nftables,iptables)
scenarios: $(SCENARIO_NEEDS) ## run every built-in scenario in both proxy modes and sum up: some 20 minutes on two cores
	@bin/podskew run --all $(SCENARIO_MODES) $(RUN_FLAGS)

test: deps build ## run every test, the lab and the end-to-end scenarios included
	@PODSKEW_BIN=$(CURDIR)/bin hack/test.sh

test-short: ## run the tests that need no lab, quickly
	@$(TEST) -short ./... | $(GO) run ./hack/testcount

lint: .bin/golangci-lint-$(GOLANGCI_LINT) ## run golangci-lint on both modules
	@$< run ./... && cd lab && ../$< run -c ../.golangci.yml ./...
.bin/golangci-lint-$(GOLANGCI_LINT):
	@GOBIN=$(CURDIR)/.bin $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT) && mv .bin/golangci-lint $@

verify: lint ## everything a commit is checked for besides the tests
	@hack/verify.sh

fmt: ## format the code
	@gofmt -w $$(git ls-files '*.go')

bench: ## run the benchmarks
	@$(GO) test -run '^$$' -bench . -benchmem ./...

calibrate: ## simulate 10,000 runs of each null model, and power curves: two hours or more on two idle cores
	@$(GO) test ./analyze/skew ./analyze -run 'Calibrat|Coverage|Power|Completed|Hot|FalseAlarms|KeepAlive|ClosedLoop|Smallest' -full -v -timeout 8h

bench-peers: bin/podskew bin/podskew-pod ## compare `podskew load` with other load generators: make bench-peers [BENCH_FLAGS=-pin]
	@GO='$(GO)' hack/bench-peers.sh $(BENCH_FLAGS)

fuzz: ## fuzz every parser for FUZZTIME each
	@hack/fuzz.sh

update: ## rewrite golden files
	@$(GO) test ./report ./scenarios ./cmd/podskew -update -short

clean: ## remove what was built and any lab that was left running
	@if [ -x bin/podskew-lab ]; then bin/podskew-lab down || true; fi; rm -rf bin runs
