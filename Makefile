# make test runs every test there is; make help lists the rest.

GO      ?= go
FUZZTIME ?= 1000x
# A fixed version: a newer one finds something new, which should not fail a build.
GOLANGCI ?= v2.15.0
export CGO_ENABLED ?= 1
# Where tests note that they were skipped for want of recordings: a name that is
# new each time, or go test would take a kept result and note nothing.
ifndef SLUICE_SKIPPED
SLUICE_SKIPPED := $(or $(TMPDIR),/tmp)/sluice-skipped-$(shell echo $$PPID-$$(date +%s))
endif
export SLUICE_SKIPPED

.PHONY: help build test check unit fuzz e2e bench-build deps lint bench

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

build: ## build ./sluice, static
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o sluice ./cmd/sluice

test: deps check unit fuzz bench-build e2e ## run every test, installing what they need
	@./scripts/skipped
	@echo "make test: all passed"

deps: ## install what the tests need, or say what could not be installed
	@./scripts/deps

check: lint ## formatting, vet and lint
	@out=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$out" ]; then echo "gofmt these files:"; echo "$$out"; exit 1; fi
	$(GO) vet ./...

unit: ## Go tests: allocation ceilings without the race detector, everything with it
	$(GO) test -run 'Alloc' $$(grep -rl --include='*_test.go' '^func Test.*Alloc' internal | xargs -n1 dirname | sort -u | sed 's|^|./|')
	$(GO) test -race ./internal/... ./cmd/...

fuzz: ## every fuzz test for FUZZTIME runs each, from the committed corpus
	@FUZZTIME=$(FUZZTIME) ./scripts/fuzz

bench-build: ## the measuring tools are built and tested with everything else
	cd bench && $(GO) vet ./... && $(GO) test ./...

e2e: ## real clients against a real binary with the race detector: OpenAI's SDKs, a browser (its pictures: e2e/artifacts), recordings, h2spec
	@mkdir -p e2e/artifacts
	$(GO) test -parallel 4 -artifacts -outputdir $(CURDIR)/e2e/artifacts ./e2e/...

lint: ## golangci-lint with the reasons in .golangci.yml
	$(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI) run

bench: ## CPU per request and memory per stream beside nginx (Debian packages nginx-light, wrk)
	cd bench && $(GO) run .
