# The targets install what they need. Required: Go, a C compiler and access to the package registries.

PYTHON   ?= python3
GO       ?= go
FUZZTIME ?= 5s
BENCH    ?= .
SOAK     ?= 10s
SEEDS    ?= 20000
# The model that make demo serves: the name of a package in models/, or a directory.
MODEL    ?= digits
# Flags of make drift, such as DRIFT='-only inverted'.
DRIFT    ?=
# The sections of docs/own-model.md whose heading has one of these words, as in EXAMPLES=xgboost. Empty: all.
EXAMPLES ?=
# The browser of make e2e.
CHROMIUM ?= $(shell command -v chromium || command -v chromium-browser || command -v google-chrome)
# Traces that may not be distributed. They are optional: experiments uses those that exist.
TRACES   ?= $(wildcard ../shared/data/traces/twitter-*.csv)

# Go writes the commit into the program. Turn that off if git cannot read the commit (no repository, or it has another owner).
ifeq ($(shell git rev-parse --verify --quiet HEAD 2>/dev/null),)
export GOFLAGS += -buildvcs=false
endif

.PHONY: release site exits jobs-crash jobs-overhead help pages pages-check e2e tokenizers openvino build install demo experiments test conformance clients servers examples examples-run soak simulate-soak lint vulncheck fuzz bench bench-files bench-stages bench-serve drift generate setup clean samples dominance bench-start

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## /make \1	/p' $(MAKEFILE_LIST)

build: ## build bin/mosel
	$(GO) build -o bin/mosel ./cmd/mosel

install: ## install mosel for this user, in $(go env GOBIN) or $(go env GOPATH)/bin
	$(GO) install ./cmd/mosel

demo: setup ## run mosel demo: compare the policies "all" and "mosel" on the model MODEL (digits)
	bin/mosel demo $(MODEL)

experiments: build ## simulate the paper's experiments and update docs/experiments.md (some minutes)
	@for file in scenarios/*.yaml; do \
		bin/mosel simulate $$file --plot docs/images/experiments --markdown docs/experiments.md >/dev/null || exit 1; \
	done
	@for trace in $(TRACES); do \
		echo "also on $$trace, which is not part of the project"; \
		bin/mosel simulate scenarios/trace.yaml --trace $$trace --markdown docs/experiments.md >/dev/null || exit 1; \
	done

dominance: ## print where another policy is better than mosel, on the seeds 1 to 3 of all scenarios (some minutes)
	$(GO) run ./internal/dominance

test: setup ## run all tests with the race detector, and the allocation tests without it
	$(GO) test ./internal/api -run Allocations
	$(GO) test -race ./...

soak: ## send valid, invalid and truncated random requests to a real server for SOAK (10s); try SOAK=10m
	$(GO) test ./internal/server -run 'TestSoak$$' -v -count 1 -soak $(SOAK) -timeout 0

jobs-crash: ## kill a real server KILLS (6) times at random instants while it runs durable jobs, from SEED (1); try KILLS=200
	KILLS=$(KILLS) SEED=$(SEED) $(GO) test ./cmd/mosel -run 'TestJobsCrash$$' -v -count 1 -timeout 0

jobs-overhead: ## measure durable jobs of OVERHEAD_ITEMS (10000) items beside requests; the machine should be idle
	OVERHEAD_ITEMS=$(or $(OVERHEAD_ITEMS),10000) $(GO) test ./cmd/mosel -run 'TestJobOverhead$$' -v -count 1 -timeout 0

conformance: setup ## run the protocol's conformance suite against bin/mosel
	GO=$(GO) conformance/run

clients: setup ## test third-party clients (tritonclient, KServe, grpcurl, ...); REQUIRE_CLIENTS=1 allows no skips
	@if command -v python3 >/dev/null; then conformance/clients/run; \
	else echo "clients: skipped, python3 is not installed"; test -z "$(REQUIRE_CLIENTS)"; fi

servers: setup ## run variants on a third-party server (MLServer); REQUIRE_CLIENTS=1 allows no skips
	@conformance/servers/run $(GO)

examples: setup ## run every command of docs/own-model.md (PyTorch and others: 9 GB in out/); REQUIRE_EXAMPLES=1 allows no skips
	@if command -v python3 >/dev/null; then examples/own-model/run $(EXAMPLES); \
	else echo "examples: skipped, python3 is not installed"; test -z "$(REQUIRE_EXAMPLES)"; fi

examples-run: setup ## run the programs in examples/ against a server; REQUIRE_CLIENTS=1 allows no skips
	@if command -v python3 >/dev/null; then examples/run; \
	else echo "examples: skipped, python3 is not installed"; test -z "$(REQUIRE_CLIENTS)"; fi

release: bin/cyclonedx-gomod ## build the archives of the tag at HEAD with checksums and lists of modules, in out/release; try VERSION=v0.0.0-test
	GO=$(GO) tools/release/release.sh

bin/cyclonedx-gomod: tools/release/go.mod tools/release/go.sum
	cd tools/release && $(GO) build -o ../../bin/cyclonedx-gomod tool

simulate-soak: ## check the invariants in SEEDS random simulated scenarios (20,000)
	$(GO) test ./internal/sim -run TestInvariantsHold -seeds $(SEEDS) -timeout 2h

lint: bin/golangci-lint ## check formatting, vet, linters and module files
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "run gofmt -w on:" $$unformatted; exit 1; fi
	$(GO) vet ./...
	bin/golangci-lint run ./...
	$(GO) mod tidy -diff

vulncheck: bin/govulncheck ## find known vulnerabilities in called code; needs vuln.go.dev, so .ci/run does not run it
	bin/govulncheck ./...

fuzz: ## run every fuzz target for FUZZTIME (5s)
	@grep -rEo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' . | sort | while IFS=: read -r file function; do \
		target=$${function#func }; \
		echo "== $$(dirname $$file) $$target"; \
		log=$$($(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$(dirname $$file)" 2>&1 </dev/null); status=$$?; \
		if [ $$status != 0 ] && case $$log in *"Failing input"*) false;; *"context deadline exceeded"*) ;; *) false;; esac; then \
			echo "Go's fuzzer reported the end of its time as a failure (go.dev/issue/75804, fixed in Go 1.27): once more"; \
			log=$$($(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$(dirname $$file)" 2>&1 </dev/null); status=$$?; \
		fi; \
		echo "$$log"; [ $$status = 0 ] || exit 1; \
	done

bench: setup ## run all benchmarks, or those that match BENCH=regexp
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem ./...

tokenizers: ## compare ids of 1,000 sentences with the Python package tokenizers, which PYTHON must have
	@directory=$$(mktemp -d) && trap 'rm -rf "$$directory"' EXIT && \
		$(PYTHON) internal/media/tokenizer/testdata/golden.py "$$directory" 1000 > "$$directory/log" && \
		MOSEL_TOKENIZERS="$$directory" $(GO) test -count 1 -run '^TestIDsAreThoseOfPython$$' -v ./internal/media/tokenizer

openvino: ## install ONNX Runtime with OpenVINO from PyPI, run the tests of providers on it, and compare it with the CPU
	@directory=$$(mktemp -d) && trap 'rm -rf "$$directory"' EXIT && \
		$(PYTHON) -m pip download --quiet --no-deps --only-binary :all: --dest "$$directory" onnxruntime-openvino==1.24.1 && \
		$(PYTHON) -m zipfile -e "$$directory"/*.whl "$$directory" && \
		export MOSEL_ONNXRUNTIME="$$directory/onnxruntime/capi/libonnxruntime.so.1.24.1" MOSEL_REQUIRE_PROVIDERS=openvino && \
		$(GO) test -count 1 -run Providers ./internal/runtime/ort && \
		$(GO) test -run '^$$' -bench '^BenchmarkProviders$$' -benchtime 9x -timeout 30m ./internal/runtime/ort

bench-files: ## measure what it saves to read only the files that are used, in under a minute
	$(GO) test -run '^$$' -bench '^BenchmarkFiles$$' -benchtime 60x ./internal/engine

bench-stages: setup ## compare a model served as stages with the same model as whole graphs, in under a minute
	$(GO) test -run '^$$' -bench '^BenchmarkStages$$' -benchtime 20x ./internal/engine

bench-serve: ## compare mosel with bare servers of the same transport and payload, in under a minute
	$(GO) run ./internal/servebench

bench-start: setup ## measure how long mosel takes to be ready, and where its memory is; PROGRAMS=bin/mosel,OTHER compares
	$(GO) run ./internal/startbench -mosel $(or $(PROGRAMS),bin/mosel)

drift: setup ## send data that change to a real server, and check that its floors still hold, in some minutes
	$(GO) run ./internal/driftbench $(DRIFT)

pages: web/node_modules ## build the pages in web/dist, which are committed; needs Node.js
	cd web && npm run build

pages-check: ## check that web/dist is what web/src gives; skipped without Node.js
	@if command -v npm >/dev/null; then \
		$(MAKE) --no-print-directory pages >/dev/null && changed=$$(git status --porcelain -- web/dist) && \
		if [ -n "$$changed" ]; then echo "web/dist is not what the source gives: run make pages and commit it:"; echo "$$changed"; exit 1; fi; \
	else echo "pages: skipped, npm is not installed"; fi

site: ## build the documentation as a site in out/docs/site, and check its links; skipped without Python
	@if command -v $(PYTHON) >/dev/null; then $(MAKE) --no-print-directory out/site-python && \
	$(PYTHON) tools/site/prepare.py out/docs && out/site-python/bin/zensical build --strict --config-file out/docs/mkdocs.yml && \
	$(PYTHON) tools/site/check.py out/docs/site; \
	else echo "site: skipped, $(PYTHON) is not installed"; fi

out/site-python: tools/site/requirements.txt
	rm -rf $@ && $(PYTHON) -m venv $@ && $@/bin/pip install --quiet --disable-pip-version-check --only-binary :all: -r $< || { rm -rf $@; exit 1; }
	@touch $@

e2e: setup ## test every page in Chromium (CHROMIUM names another browser); skipped where there is none
	@if ! command -v npm >/dev/null; then echo "e2e: skipped, npm is not installed"; \
	elif [ -z "$(CHROMIUM)" ]; then echo "e2e: skipped, no Chromium is installed (Debian: apt-get install chromium)"; \
	else $(MAKE) --no-print-directory web/node_modules && cd web && CHROMIUM="$(CHROMIUM)" npm run --silent e2e; fi

web/node_modules: web/package.json web/package-lock.json
	cd web && npm ci --no-audit --no-fund
	@touch $@
exits: setup ## measure early exits and partial loading on models/digits_exits and update docs/experiments.md
	$(GO) run ./internal/exitbench -write docs/experiments.md

samples: setup ## compare mixes, cascades, gates and exits at equal certified floors and update docs/experiments.md (half an hour)
	$(GO) run ./internal/samplebench -write docs/experiments.md

setup: build # install the ONNX Runtime library into the user's cache, once
	bin/mosel runtime install

bin/golangci-lint: tools/go.mod tools/go.sum
	cd tools && $(GO) build -o ../bin/golangci-lint tool

bin/govulncheck: tools/vulncheck/go.mod tools/vulncheck/go.sum
	cd tools/vulncheck && $(GO) build -o ../../bin/govulncheck tool

generate: ## generate the Go code of oip/inference/inference.proto
	cd tools/protobuf && $(GO) build -o ../../bin/ tool
	cd oip/inference && ../../bin/buf generate

clean: ## remove build outputs
	rm -rf bin out
