# make shows what there is. Recipes are thin: what takes more than a line is in scripts/.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

tool := go tool -modfile=tools/go.mod
version = $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: deps
deps: ## install the Debian packages that are missing (asks first)
	@scripts/deps.sh

.PHONY: build
build: ## bin/bosman
	@mkdir -p bin
	go build -trimpath -ldflags '-X main.version=$(version)' -o bin/bosman ./cmd/bosman

.PHONY: demo
demo: deps build ## Bosman with an application, from nothing to a revert (ONCE=1: play the story and exit)
	bin/bosman demo $(if $(ONCE),--once)

.PHONY: demo-clean
demo-clean: build ## stop the demo and remove all it made
	bin/bosman demo --clean

.PHONY: test
test: ## every test, as root, with real services and a browser
	@scripts/deps.sh --with-chromium
	@scripts/postgres.sh
	@scripts/test.sh

.PHONY: test-short
test-short: ## the tests that need neither root nor services
	@scripts/test.sh -short

.PHONY: lint
lint: ## rules of the code (the first run compiles the linter: minutes)
	$(tool) golangci-lint run ./...
	@go vet ./web/... # of generated pages the linter says nothing

.PHONY: fmt
fmt: ## bring the code into its form
	$(tool) gofumpt -w $$(git ls-files --cached --others --exclude-standard '*.go' | grep -v _templ.go)
	@if [ -n "$$(git ls-files '*.templ')" ]; then $(tool) templ fmt $$(git ls-files '*.templ'); fi

.PHONY: generate
generate: ## renew generated files: pages, the API's description
	$(tool) templ generate -path web
	@if [ -e api/openapi.json ]; then go test -short ./api -run OpenAPI -update; fi

.PHONY: check-generated
check-generated: ## fail when a generated file is not what its source gives
	@scripts/check-generated.sh

.PHONY: bench
bench: ## measure (see docs/BENCHMARKS.md)
	@scripts/postgres.sh
	@scripts/bench.sh

.PHONY: screenshots
screenshots: build ## pictures of the pages into docs/screenshots
	@scripts/deps.sh --with-chromium
	@scripts/screenshots.sh
