# What a person runs here. `make` alone lists it.
#
# Needed beforehand: Go 1.26, npm and git. The targets install the rest when they first need it: the
# embedded engine into deploy/engine/node_modules, developer tools at the versions below into .bin.

SHELL         := bash
.SHELLFLAGS   := -eu -o pipefail -c
.DEFAULT_GOAL := help
.ONESHELL:

BIN := $(CURDIR)/.bin
export PATH        := $(BIN):$(PATH)
export GOTOOLCHAIN := local
# With one set of flags everywhere, what is compiled for one target need not be compiled again for the next.
export GOFLAGS     := $(strip $(filter-out -trimpath,$(GOFLAGS)) -trimpath)

# The folder of real traces. Without it the tests that need it say so and are counted as skipped.
CUSTODY_DATA ?= $(wildcard ../shared/data)
override CUSTODY_DATA := $(abspath $(CUSTODY_DATA))
export CUSTODY_DATA

# The packages in which goroutines share memory. internal/torture is left to `make test`: it starts and kills processes.
RACE_PKGS ?= ./store/engine ./stream ./ingest ./ledger ./contain/... ./edge/... ./access ./query ./signer/... ./internal/node ./internal/testenv ./object

# How long the tests of one package may take: five times what the longest take on two processors that have nothing else to do.
TEST_TIMEOUT ?= 20m

# Fuzz targets run FUZZ_JOBS at a time, each with one worker.
FUZZTIME  ?= 20s
FUZZ_JOBS ?= 3
# Each input that reaches something new is made shorter first, by so many tries: Go's default of a minute would be all of FUZZTIME.
FUZZ_SHRINK ?= 100x

# benchstat gives no confidence interval for fewer than six runs.
BENCH       ?= .
BENCH_COUNT ?= 6

GO_NEEDED := go1.26

# What is downloaded, once each, in MB.
MODULES_MB := 125
ENGINE_MB  := 165
TOOLS_MB   := 120
COSIGN_MB  := 260

ENGINE_DIR := deploy/engine
ENGINE     := $(ENGINE_DIR)/node_modules/.package-lock.json
RELEASED   := proto/released.binpb
REPORT     := go run ./internal/ci/testreport

in_tests = grep -rE --include='*_test.go' --exclude-dir=node_modules --exclude-dir='.?*'
# $(call existing,PACKAGES) leaves those with Go files in or under their folder.
existing = $(foreach p,$(1),$(if $(shell find $(p:/...=) -name '*.go' -print -quit 2>/dev/null),$(p)))
# $(call tagged,TAG) is the packages that have a test file with that build tag.
tagged = $(sort $(dir $(shell $(in_tests) -l '^//go:build .*\b$(1)\b' .)))
# $(call named,TAG) matches the tests in those files: the others of their packages are run by `make test`, and no other file has a tag.
named = ^($(shell grep -hoE '^func Test\w+' $$($(in_tests) -l '^//go:build .*\b$(1)\b' .) | cut -c6- | sort -u | paste -sd'|'))$$
# folder/FuzzName of every fuzz target.
fuzzes = $(shell $(in_tests) -o '^func Fuzz\w+' . | sed -E 's|^\./||; s|[^/]+:func ||' | sort)

## demo: run the whole system with live agents, say what happened and where to look
.PHONY: demo
demo: build
	@./bin/custody demo --data .demo/live $(if $(wildcard $(CUSTODY_DATA)/.),--traces '$(CUSTODY_DATA)')

## test-data: the same on the real traces in CUSTODY_DATA
.PHONY: test-data
test-data: build
	@if [ ! -d "$$CUSTODY_DATA" ]; then
	  echo 'test-data: name the folder of traces: make test-data CUSTODY_DATA=FOLDER' >&2
	  exit 1
	fi
	./bin/custody demo --live=false --data .demo/traces --traces "$$CUSTODY_DATA"

## build: bin/custody and bin/custody-verify
.PHONY: build
build: $(ENGINE)
	@mkdir -p bin
	go build -o bin/ ./cmd/custody
	go build -ldflags='-s -w' -o bin/ ./cmd/custody-verify

## engine: install the embedded ClickHouse engine (again when its lock file changes)
.PHONY: engine
engine: $(ENGINE)

$(ENGINE): $(ENGINE_DIR)/package-lock.json | machine
	@npm ci --prefix $(ENGINE_DIR)
	if ! ls $(ENGINE_DIR)/node_modules/@chdb/*/libchdb.so >/dev/null; then
	  echo "engine: npm has no libchdb for $$(uname -sm)" >&2
	  exit 1
	fi
	touch $@

## test: every test that needs no browser and no foreign tool
.PHONY: test
test: $(ENGINE)
	@go test -json -timeout=$(TEST_TIMEOUT) ./... | $(REPORT)

## race: the concurrent packages under the race detector (needs gcc)
.PHONY: race
race: $(ENGINE)
	@go test -json -race -timeout=$(TEST_TIMEOUT) $(call existing,$(RACE_PKGS)) | $(REPORT)

## fuzz: every fuzz target, FUZZTIME each
.PHONY: fuzz
fuzz: $(ENGINE)
	@targets='$(addprefix fuzz/,$(fuzzes))'
	if [ -z "$$targets" ]; then echo 'fuzz: no fuzz target'; exit; fi
	echo "fuzz: $$(wc -w <<<"$$targets") targets, $(FUZZTIME) each"
	$(MAKE) --no-print-directory $(FUZZ_FIRST)
	$(MAKE) --no-print-directory --keep-going --output-sync=target -j$(FUZZ_JOBS) $$targets
	echo "fuzz: $$(wc -w <<<"$$targets") targets passed"

# A test binary with coverage counters for each package: `go test -fuzz` would link one for each target. The first is built alone,
# since go commands side by side each compile what they share, and it imports nearly everything.
FUZZ_BIN   := .bin/fuzz
FUZZ_FIRST := $(FUZZ_BIN)/cmd/custody/fuzz.test

.PHONY: always
.PRECIOUS: $(FUZZ_BIN)/%/fuzz.test
$(FUZZ_BIN)/%/fuzz.test: always
	@mkdir -p $(@D)
	go test -c -vet=off -fuzz=. -o $@ ./$*

# The time ends by an interrupt, which Go 1.26 takes well: its own -fuzztime can end in a false failure (golang.org/issue/75804).
.SECONDEXPANSION:
fuzz/%: $(FUZZ_BIN)/$$(dir $$*)fuzz.test
	@cache=$$(go env GOCACHE)/fuzz/$$(go list -m)/$(dir $*)
	cd $(dir $*)
	echo "fuzz: $(dir $*) $(notdir $*)"
	out=$$(timeout --preserve-status --signal=INT --kill-after=1m $(FUZZTIME) $(CURDIR)/$< -test.run='^$$' -test.fuzz='^$(notdir $*)$$' \
	  -test.fuzzminimizetime=$(FUZZ_SHRINK) -test.parallel=1 -test.fuzzcachedir="$$cache" 2>&1) || { echo "$$out"; exit 1; }
	tail -n 2 <<<"$$out"
	if ! grep -q 'new interesting' <<<"$$out"; then echo 'fuzz: the binary counts no coverage'; exit 1; fi

## bench: hold the whole system to its bounds, medians of five (BENCH_FLAGS='-short' takes two minutes)
.PHONY: bench
bench: build
	@mkdir -p bin
	go run ./internal/bench $(BENCH_FLAGS)

## microbench: Go benchmarks matching BENCH, summed up by benchstat in bin/bench.txt
.PHONY: microbench
microbench: $(ENGINE) benchstat
	@mkdir -p bin
	go test -run='^$$' -bench='$(BENCH)' -benchmem -count=$(BENCH_COUNT) ./... | tee bin/bench.txt
	benchstat bin/bench.txt

## e2e: the tests with build tag e2e, which drive a browser (needs Debian's chromium)
.PHONY: e2e
e2e: $(ENGINE)
	@packages='$(call tagged,e2e)'
	if [ -z "$$packages" ]; then echo 'e2e: no test file has the build tag e2e'; exit; fi
	for lock in $$(git ls-files '*e2e/package-lock.json'); do npm ci --prefix "$$(dirname "$$lock")"; done
	go test -json -tags=e2e -run='$(call named,e2e)' $$packages | $(REPORT)

# The packages whose survivors are all listed in mutants.allow; MUTATE_FLAGS='-sample 100 -seed 7' takes some of them.
MUTATE_PKGS ?= ./chain ./signer ./evidence
# Tests of evidence that take too long for each mutant: what they alone notice has a quicker test of its own, or is listed.
MUTATE_SKIP := ^(FuzzBundle|FuzzPart|TestEveryBitCounts|TestMemoryIsFlat|TestStepsByHand|TestHostileReport|TestHostileIncidents|TestReportIsBounded|TestObjectsAreNotHeldInMemory|TestVectorsVerify)$$

## mutate: change the code of MUTATE_PKGS in one place at a time, and hold what no test notices to mutants.allow
.PHONY: mutate
mutate:
	@go run ./internal/ci/mutate -skip '$(MUTATE_SKIP)' $(MUTATE_FLAGS) $(MUTATE_PKGS)

# Modules of their own: what Tessera, the witness of transparency-dev and sigstore-go require is not required of Custody.
INTEROP_LOGS     := interop/logs
INTEROP_SIGSTORE := interop/sigstore

## interop: the tests with build tag interop: our verifier in Python, and other people's implementations
.PHONY: interop
interop: $(ENGINE) $(if $(call tagged,interop),cosign)
	@if ! python3 -c 'import cryptography' 2>/dev/null && ! /usr/bin/python3 -c 'import cryptography' 2>/dev/null; then
	  echo 'interop: the tests of interop/verify.py will be skipped: please install python3-cryptography (apt-get install python3-cryptography)'
	fi
	packages='$(filter-out ./$(INTEROP_LOGS)/ ./$(INTEROP_SIGSTORE)/,$(call tagged,interop))'
	if [ -z "$$packages" ]; then echo 'interop: no test file has the build tag interop'; exit; fi
	for lock in $$(git ls-files '*interop/package-lock.json'); do npm ci --prefix "$$(dirname "$$lock")"; done
	(cd $(INTEROP_LOGS) && go run prepare.go && go vet -tags=interop .)
	(cd $(INTEROP_SIGSTORE) && go vet -tags=interop .)
	{
	  go test -json -tags=interop -run='$(call named,interop)' $$packages
	  for module in $(INTEROP_LOGS) $(INTEROP_SIGSTORE); do (cd $$module && go test -json -tags=interop .); done
	} | $(REPORT)

## vet: go vet on everything
.PHONY: vet
vet:
	go vet -tags=e2e,interop ./...

## lint: style and import rules of the Go files, style and compatibility of the .proto files
.PHONY: lint
lint: buf golangci-lint
	@golangci-lint run ./...
	buf lint
	if [ -f $(RELEASED) ]; then
	  buf breaking --against $(RELEASED)
	else
	  echo 'lint: no $(RELEASED): messages are not held to a release yet'
	fi

## fmt: format the Go and .proto files
.PHONY: fmt
fmt: buf gofumpt
	git ls-files -z '*.go' ':!*.pb.go' | xargs -0 gofumpt -w
	buf format -w

## proto: check the .proto files and generate the Go beside them
.PHONY: proto
proto: buf protoc-gen-go protoc-gen-go-grpc
	buf lint
	buf generate

## proto-release: hold later messages compatible with the ones of now
.PHONY: proto-release
proto-release: buf
	buf build --exclude-source-info -o $(RELEASED)

## check-generated: generate again elsewhere and compare
.PHONY: check-generated
check-generated: buf protoc-gen-go protoc-gen-go-grpc
	@rm -rf .bin/generated
	buf generate -o .bin/generated
	diff -r -x '*.proto' -x '*.binpb' proto .bin/generated/proto
	echo 'check-generated: the generated files are those that the .proto files give'

## ci: what CI runs
.PHONY: ci
ci:
	./.ci/run

## clean: remove what was built and what the demo left
.PHONY: clean
clean:
	rm -rf bin .demo

# machine says what is here and what is still to be fetched, and stops where a prerequisite is missing.
.PHONY: machine
machine:
	@for tool in go npm git; do
	  if ! command -v $$tool >/dev/null; then echo "please install $$tool first" >&2; exit 1; fi
	done
	have=$$(go env GOVERSION)
	if [ "$$(printf '%s\n' $(GO_NEEDED) "$$have" | sort -V | head -n 1)" != $(GO_NEEDED) ]; then
	  echo "please install $(GO_NEEDED) or later first: this is $$have" >&2
	  exit 1
	fi
	echo "machine: $$have, npm $$(npm --version), $$(git --version)"
	if [ ! -d "$$(go env GOMODCACHE)/google.golang.org/grpc@$$(awk '$$1 == "google.golang.org/grpc" {print $$2}' go.mod)" ]; then
	  echo 'machine: to fetch once: Go modules, about $(MODULES_MB) MB'
	fi
	if [ ! $(ENGINE) -nt $(ENGINE_DIR)/package-lock.json ]; then
	  echo 'machine: to fetch once: the embedded ClickHouse engine (libchdb, from npm), about $(ENGINE_MB) MB'
	fi

# Developer tools. A stamp names the version, so that another version here installs it anew.
## tools: install every developer tool that CI uses
.PHONY: tools
tools: buf protoc-gen-go protoc-gen-go-grpc golangci-lint gofumpt benchstat

define tool # name, package, version, MB if it is not one of `make tools`
.PHONY: $(1)
$(1): .bin/.$(1)-$(3)
.bin/.$(1)-$(3): | machine
	@echo 'tools: building $(1) $(3) from source ($(if $(4),it fetches about $(4) MB and takes minutes,all tools together fetch about $(TOOLS_MB) MB), once)'
	mkdir -p $(BIN)
	GOBIN=$(BIN) GOFLAGS='-buildvcs=false -trimpath' go install $(2)@$(3)
	rm -f .bin/.$(1)-v*
	touch $$@
endef
$(eval $(call tool,buf,github.com/bufbuild/buf/cmd/buf,v1.75.0))
$(eval $(call tool,protoc-gen-go,google.golang.org/protobuf/cmd/protoc-gen-go,v1.36.12))
$(eval $(call tool,protoc-gen-go-grpc,google.golang.org/grpc/cmd/protoc-gen-go-grpc,v1.6.0))
$(eval $(call tool,golangci-lint,github.com/golangci/golangci-lint/v2/cmd/golangci-lint,v2.15.0))
$(eval $(call tool,gofumpt,mvdan.cc/gofumpt,v0.12.0))
$(eval $(call tool,benchstat,golang.org/x/perf/cmd/benchstat,v0.0.0-20260908200009-22c9c6c9d4da))
$(eval $(call tool,cosign,github.com/sigstore/cosign/v3/cmd/cosign,v3.1.3,$(COSIGN_MB)))

.PHONY: help
help:
	@sed -n 's/^## /  make /p' $(MAKEFILE_LIST)
