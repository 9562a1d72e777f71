# The front door. Each target says what it is for after two number signs.
MODULE  := github.com/kube-verdict/kube-verdict
MAIN    ?= .
OUT     ?= bin/kube-verdict
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X $(MODULE)/cli.version=$(VERSION)
# The image that the chart and config/default install without more.
IMAGE   ?= kube-verdict:$(shell sed -n 's/^appVersion: *//p' charts/kube-verdict/Chart.yaml)
# Flags for hack/image, for example IMAGEFLAGS='-platforms linux/amd64'
IMAGEFLAGS ?=

# Another place for the Kubernetes programs than the user's cache directory.
export KUBE_VERDICT_TOOLS ?=

# Another Kubernetes for the control planes that tests start, for example 1.31.13.
export KUBE_VERDICT_KUBERNETES ?=

# Flags for go test, for example TESTFLAGS='-run TestRender ./nft/...'
TESTFLAGS ?=

# Which kernels make kernels boots, and on which processor.
KERNELS ?= all
ARCH    ?= amd64

# What make microbench measures, and how often.
HOT   ?= ./proxy ./nft/maps ./nft/ledger ./nft/kernel ./dataplane ./controllers
COUNT ?= 6

.DEFAULT_GOAL := help
.PHONY: help build test unit lint tools demo bench microbench differential e2e conformance kernels image clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build bin/kube-verdict, a static program
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o $(OUT) $(MAIN)

test: ## check and test everything, on a real kernel and API server (root; the first time adds about 8 min)
	@hack/deps.sh test
	hack/lint.sh
	@hack/tools.sh
	hack/test.sh $(TESTFLAGS)

unit: ## run the tests that need neither root nor the tools
	go test -race -short $(TESTFLAGS) ./...

lint: ## check formatting, go vet, staticcheck, known vulnerabilities
	hack/lint.sh

tools: ## build etcd and the Kubernetes programs the tests run, once
	@hack/tools.sh

demo: build ## show it working, in network namespaces (root)
	@hack/deps.sh demo
	go run ./hack/demo

bench: build ## measure it next to kube-proxy, 45 minutes; ARGS=-quick: 5 minutes, ARGS=-h: flags (root)
	@hack/deps.sh test
	@hack/tools.sh etcd kube-apiserver kube-proxy
	go run ./hack/bench -program $(OUT) $(ARGS)

microbench: ## Go benchmarks of the hot paths, for benchstat: COUNT=n of each (root)
	go test -run '^$$' -bench . -benchmem -count $(COUNT) -timeout 2h $(HOT)

differential: ## compare with kube-proxy on random clusters: RUNS=n of them, from SEED=n on (root)
	@hack/deps.sh test
	@hack/tools.sh
	DIFFERENTIAL_RUNS=$(RUNS) DIFFERENTIAL_SEED=$(SEED) go test -count=1 -timeout 24h -v ./e2e/differential

e2e: ## test the image and the chart on a cluster in kind, E2E=core for CI's choice (root; the first time adds about 15 min)
	@hack/e2e.sh $(TESTFLAGS)

conformance: ## run Kubernetes' own sig-network specs in kind; PROXY=kube-proxy to compare (root)
	@hack/conformance/run.sh $(TESTFLAGS)

kernels: ## run it on Debian's kernels, in QEMU: KERNELS=ci: the oldest and the newest; ARCH=arm64, s390x; ARGS=-h: flags
	@hack/deps.sh kernels $(ARCH)
	@go run ./hack/kernels -kernels '$(KERNELS)' -arch '$(ARCH)' $(ARGS)

image: ## build the container image, IMAGE=name:tag, for all platforms into bin/image; needs no registry and no docker
	go run ./hack/image -tag $(IMAGE) $(IMAGEFLAGS)

clean: ## remove what make build made; the tools stay
	rm -rf bin coverage
