# Everything sets itself up: a machine with Go, a C compiler and access to the package registries is enough.

GO       ?= go
FUZZTIME ?= 5s
BENCH    ?= .
SOAK     ?= 10s
SEEDS    ?= 20000
# Traces that may not be shipped: run where they are, never needed.
TRACES   ?= $(wildcard ../shared/data/traces/twitter-*.csv)

# Go writes the commit into the program. Where git will not say it (no repository, or one of another owner) it does without.
ifeq ($(shell git rev-parse --verify --quiet HEAD 2>/dev/null),)
export GOFLAGS += -buildvcs=false
endif

.PHONY: help build install demo experiments test conformance clients soak simulate-soak lint vulncheck fuzz bench bench-serve generate setup clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## /make \1	/p' $(MAKEFILE_LIST)

build: ## build bin/mosel
	$(GO) build -o bin/mosel ./cmd/mosel

install: ## install mosel for this user, in $(go env GOBIN) or $(go env GOPATH)/bin
	$(GO) install ./cmd/mosel

demo: setup ## the main job: one request, then the capacity of "all" and of "mosel" on the shipped model
	bin/mosel demo

experiments: build ## the paper's experiments, simulated, into docs/experiments.md (some minutes)
	@for file in scenarios/*.yaml; do \
		bin/mosel simulate $$file --plot docs/images/experiments --markdown docs/experiments.md >/dev/null || exit 1; \
	done
	@for trace in $(TRACES); do \
		echo "also on $$trace, which is not part of the project"; \
		bin/mosel simulate scenarios/trace.yaml --trace $$trace --markdown docs/experiments.md >/dev/null || exit 1; \
	done

test: setup ## all tests, with the race detector; budgets of allocations hold only without it
	$(GO) test ./internal/api -run Allocations
	$(GO) test -race ./...

soak: ## random sound, unsound and cut-off requests over REST and gRPC to a real server for SOAK (10s); by hand SOAK=10m
	$(GO) test ./internal/server -run 'TestSoak$$' -v -count 1 -soak $(SOAK) -timeout 0

conformance: setup ## the protocol's conformance suite against bin/mosel, from outside
	GO=$(GO) conformance/run

clients: setup ## clients of others (tritonclient, KServe, grpcurl, ...) against our server; REQUIRE_CLIENTS=1 allows no skips
	@if command -v python3 >/dev/null; then conformance/clients/run; \
	else echo "clients: skipped, python3 is not there"; test -z "$(REQUIRE_CLIENTS)"; fi

simulate-soak: ## the simulator's invariants over SEEDS random scenarios (20,000)
	$(GO) test ./internal/sim -run TestInvariantsHold -seeds $(SEEDS) -timeout 2h

lint: bin/golangci-lint ## formatting, vet, linters, tidy module files
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "run gofmt -w on:" $$unformatted; exit 1; fi
	$(GO) vet ./...
	bin/golangci-lint run ./...
	$(GO) mod tidy -diff

vulncheck: bin/govulncheck ## known vulnerabilities in what the code calls; needs vuln.go.dev, so .ci/run leaves it out
	bin/govulncheck ./...

fuzz: ## every fuzz target for FUZZTIME each (5s)
	@grep -rEo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' . | sort | while IFS=: read -r file function; do \
		target=$${function#func }; \
		echo "== $$(dirname $$file) $$target"; \
		$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$(dirname $$file)" </dev/null || exit 1; \
	done

bench: setup ## all benchmarks; BENCH=regexp selects
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem ./...

bench-serve: ## mosel against bare servers of the same transport and payload, in under a minute
	$(GO) run ./internal/servebench

setup: build # the ONNX Runtime library, once, into the user's cache
	bin/mosel runtime install

bin/golangci-lint: tools/go.mod tools/go.sum
	cd tools && $(GO) build -o ../bin/golangci-lint tool

bin/govulncheck: tools/vulncheck/go.mod tools/vulncheck/go.sum
	cd tools/vulncheck && $(GO) build -o ../../bin/govulncheck tool

generate: ## the Go code of oip/inference/inference.proto, anew
	cd tools/protobuf && $(GO) build -o ../../bin/ tool
	cd oip/inference && ../../bin/buf generate

clean: ## remove what was built
	rm -rf bin out
