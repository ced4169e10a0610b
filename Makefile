# make test runs every test there is; make help lists the rest.

GO      ?= go
FUZZTIME ?= 1000x
# A fixed version: a newer one finds something new, which should not fail a build.
GOLANGCI ?= v2.15.0
export CGO_ENABLED ?= 0
# For tests what runs without the race detector is compiled in one way, that of releases, and
# so once. The compiler collects its garbage less often, which saves a tenth of its work, and
# leaves the generated code of SDKs as it is written, which halves what that takes.
vet compile race norace e2e-all e2e-nethttp bench-build release-test: export GOFLAGS := $(GOFLAGS) -trimpath '-toolexec=env GOGC=400' \
	'-gcflags=github.com/openai/openai-go/v3/...=-N -l' '-gcflags=github.com/anthropics/anthropic-sdk-go/...=-N -l'
# The race detector is written in C.
RACE = CGO_ENABLED=1 $(GO)
# With the race detector a process waits a second at its end for reports of other threads.
export GORACE ?= atexit_sleep_ms=50
# Where tests note that they were skipped for want of recordings: a name that is
# new each time, or go test would take a kept result and note nothing.
ifndef SLUICE_SKIPPED
SLUICE_SKIPPED := $(or $(TMPDIR),/tmp)/sluice-skipped-$(shell echo $$PPID-$$(date +%s))
endif
export SLUICE_SKIPPED

# Targets side by side, for much of what tests do is waiting: each one's output in
# one piece, and a failure of any is one of the whole.
TOGETHER = $(MAKE) --no-print-directory -j3 --output-sync=target

.PHONY: help build test check vet race norace e2e e2e-all e2e-nethttp bench-build deps npm compile lint bench release release-test vuln fuzz

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

build: ## build ./sluice, static
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o sluice ./cmd/sluice

# First what needs no other's work, then what would compile the same once more if
# it did not find it done: for that, too, bench-build begins when another has ended.
# Tests are vetted once, not for the race detector and each module again, nor is what
# the chart's tests import of Kubernetes. The linter is no test, and compiling it takes as long as half of all tests: make check.
test: ## run every test, installing what they need
	@./scripts/deps debian
	@$(TOGETHER) vet compile npm
	@echo "race, e2e, norace, bench-build and release-test, side by side: each says at its end what it did"
	@SLUICE_TEST_BINARY='$(BINARY)' $(TOGETHER) race e2e-all norace e2e-nethttp bench-build release-test
	@./scripts/skipped
	@echo "make test: all passed"

deps: ## install what the tests need, or say what could not be installed
	@./scripts/deps

npm:
	@./scripts/deps npm

# The binary is what e2e tests, which would build it twice.
BINARY := $(CURDIR)/e2e/artifacts/sluice
compile:
	@mkdir -p e2e/artifacts
	$(RACE) build -race -tags poison ./internal/...
	$(RACE) build -race -tags poison -ldflags='-s -w' -o '$(BINARY)' ./cmd/sluice

check: vet lint ## formatting, vet and lint: before a change is sent, and before a release

vet:
	@out=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$out" ]; then echo "gofmt these files:"; echo "$$out"; exit 1; fi
	$(GO) vet ./... && $(GO) vet -tags unmanaged ./internal/memory

race: ## Go tests with the race detector and with buffers poisoned that were given back, twice as many packages at a time as there are processors
	$(RACE) test -vet=off -race -tags poison -timeout 20m -p $$(($$(getconf _NPROCESSORS_ONLN) * 2)) ./internal/... ./cmd/...

norace: ## what the race detector has nothing to find in: tests that do one thing at a time, allocation ceilings, simulations, and every fuzz test for FUZZTIME runs from the committed corpus
	@FUZZTIME=$(FUZZTIME) ./scripts/norace

bench-build: ## the measuring tools are built and tested with everything else
	cd bench && $(GO) vet ./... && $(GO) test -vet=off ./...

release-test: ## a release is made twice in two folders, and must be the same; its image and the Helm chart are looked at
	cd release && $(GO) vet . && $(GO) test -vet=off -timeout 20m ./...

# What depends on the engine that speaks HTTP to clients, which is run with the one
# that is not the default too. SLUICE_TEST_ENGINE=nethttp make e2e runs all with it.
LISTENING := ClientLeaves|DeadClientIsGivenUp|Drain|DrainTimeout|ErrorEventShape|FirstEventLeavesAtOnce|GoSDK|H2Spec|Heartbeat|JavaScriptCuts|JavaScriptSDK|Reload|SlowReader|StreamCompleteAtDone|TLS

e2e: e2e-all e2e-nethttp ## real clients against a real binary with the race detector: SDKs, coding agents, a browser (its pictures: e2e/artifacts), recordings, h2spec, proxies

e2e-all:
	@mkdir -p e2e/artifacts
	$(GO) test -vet=off -timeout 20m -parallel 4 -artifacts -outputdir $(CURDIR)/e2e/artifacts ./e2e/...

e2e-nethttp:
ifndef SLUICE_TEST_ENGINE
	SLUICE_TEST_ENGINE=nethttp $(GO) test -vet=off -timeout 20m -parallel 4 -run '^Test($(LISTENING))$$' ./e2e
endif

lint: ## golangci-lint with the reasons in .golangci.yml
	$(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI) run

bench: ## CPU, memory and latency beside nginx (Debian packages nginx-light, wrk)
	cd bench && $(GO) run .

release: check ## archives, images, bills of materials and the chart of this commit in ./dist, with MODULE=address what go install finds there: docs/release.md
	cd release && $(GO) run . -out ../dist $(if $(MODULE),-module '$(MODULE)')

vuln: ## look for known vulnerabilities in what the binary calls
	@./scripts/vuln

fuzz: ## search with every fuzz test for FUZZTIME each (default 10m): hours
	@FUZZTIME=$(if $(filter file,$(origin FUZZTIME)),10m,$(FUZZTIME)) ./scripts/fuzz
