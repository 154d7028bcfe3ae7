# Postern. `make help` lists what there is.
GO ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
export CGO_ENABLED ?= 0

.DEFAULT_GOAL := help
.PHONY: help demo test check check-catalogue bench fuzz build clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

demo: ## Watch the main job: Microsoft and Postern in one process, mail sent and fetched
	$(GO) run ./cmd/postern demo --once

test: ## Run every test against real servers (installs what is missing with apt)
	scripts/test

check: ## Format, vet, lint, import rules, race detector, known vulnerabilities
	@test -z "$$(gofmt -l cmd internal test bench *.go | tee /dev/stderr)" || { echo "run: gofmt -w ."; exit 1; }
	$(GO) vet ./...
	scripts/lint
	$(GO) vet -tags cloudkeys ./internal/kms ./internal/handover ./internal/app ./cmd/postern
	$(GO) test -tags cloudkeys ./internal/kms ./internal/handover ./internal/app
	CGO_ENABLED=1 scripts/test -race -short ./...

check-catalogue: ## Provoke every known fault of Microsoft's and see that the check names it with its fix
	$(GO) run ./test/catalogue

bench: ## Measure side by side with a real peer: make bench NAME=start
	$(GO) run ./bench $(NAME)

fuzz: ## Run every fuzz target for FUZZTIME (10s) each
	scripts/fuzz $(or $(FUZZTIME),10s)

build: ## Build bin/postern, one static file
	$(GO) build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o bin/postern ./cmd/postern

clean: ## Remove what was built
	rm -rf bin bench/results
