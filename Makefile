# Everything a contributor runs. `make` or `make help` lists it.
#
# Every go command below runs with the same flags: the embedded Temporal server
# costs minutes of CPU to compile, and another set of flags would compile it again.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

export GOFLAGS := $(strip $(filter-out -trimpath,$(shell go env GOFLAGS 2>/dev/null)) -trimpath)

TOTALS   := .cache/test-totals.tsv
FUZZTIME ?= 10s
BENCHTIME ?= 1s
# The server inside makes these slow under the race detector, and it is not ours to debug.
COMMAND  := cmd/wflo
# Where code takes a workflow.Context; the house test keeps it there.
WORKFLOW_CODE := ./workflows/... ./internal/step/... ./internal/telemetry/... $(addsuffix /...,$(wildcard ./wflotest ./examples))

# step announces what follows: what it does, and how long it may take.
step = @if [ -t 1 ]; then printf '\033[1m▸ %s\033[0m  %s\n' '$(1)' '$(2)'; else printf '▸ %s  %s\n' '$(1)' '$(2)'; fi

# compile runs a build; on a terminal it counts the packages as they are done,
# because minutes of silence look like a hang. What is not a package is an error.
compile = if [ -t 1 ]; then $(1) -v $(2) 2>&1 | awk '/^[^ :\#]+$$/ {printf "\r  %d packages compiled", ++n; fflush(); next} {if (n) printf "\r\033[K"; print} END {if (n) printf "\r\033[K"}'; else $(1) $(2); fi

.PHONY: help
help: ## list what make can do
	@printf 'wflo: the secure runtime for AI agents, on Temporal\n\n'
	@awk -F ':.*## ' '/^[a-zA-Z][a-zA-Z\/_-]*:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Use

.PHONY: demo
demo: setup bin/wflo ## set up what is missing, then watch an agent work: sandbox, approval, budget
	@bin/wflo demo

.PHONY: dev
dev: setup bin/wflo ## run Temporal, its Web UI, the console and a worker on this machine
	@bin/wflo dev

.PHONY: setup
setup: check-go ## install and start Docker and the sandbox image where they are missing (Debian, root)
	$(call step,setup,container engine and sandbox image: seconds when they are there; else 1 to 3 minutes)
	@deploy/setup.sh

.PHONY: setup-tests
setup-tests: check-go ## setup, and what the tests need: PostgreSQL and a C compiler
	$(call step,setup-tests,container engine and PostgreSQL and sandbox image: seconds when they are there; else 2 to 5 minutes)
	@deploy/setup.sh tests

##@ Build

.PHONY: build
build: check-go bin/wflo ## build everything
	$(call step,build,the library and its programs; a minute when cold)
	@go build ./...

# Always asked for, because only the go command knows what changed; it is quick
# when nothing did.
.PHONY: bin/wflo
bin/wflo: check-go ## build the command, with Temporal inside
	$(call step,bin/wflo,Temporal is compiled in: about 4 minutes on 2 cores the first time; seconds later)
	@$(call compile,go build,-o $@ ./$(COMMAND))

# Where make install puts the program, its second name and its manual.
PREFIX ?= /usr/local

.PHONY: install
install: bin/wflo bin/man ## install wflo, temporal-wflo (so that `temporal wflo` works) and the manual into PREFIX
	@install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man1
	@install -m 755 bin/wflo $(DESTDIR)$(PREFIX)/bin/wflo
	@ln -sf wflo $(DESTDIR)$(PREFIX)/bin/temporal-wflo
	@install -m 644 bin/man/*.1 $(DESTDIR)$(PREFIX)/share/man/man1

.PHONY: bin/man
bin/man: bin/wflo ## the manual pages, one per command
	@rm -rf $@
	@bin/wflo man $@

# tool builds one program of a tool module, which has its own go.mod so that what
# the tool needs stays out of ours.
define tool
$(call step,$@,built once per version: $(3))
@cd tools/$(1) && export GOWORK=off && $(call compile,go build,-o ../../$@ $(2))
@touch $@
endef

bin/temporal: tools/temporal/go.mod tools/temporal/go.sum | check-go
	$(call tool,temporal,github.com/temporalio/cli/cmd/temporal,about 4 minutes)
bin/golangci-lint: tools/lint/go.mod tools/lint/go.sum | check-go
	$(call tool,lint,github.com/golangci/golangci-lint/v2/cmd/golangci-lint,about 3 minutes)
bin/workflowcheck: tools/lint/go.mod tools/lint/go.sum | check-go
	$(call tool,lint,go.temporal.io/sdk/contrib/tools/workflowcheck,seconds)
bin/minio: tools/minio/go.mod tools/minio/go.sum | check-go
	$(call tool,minio,github.com/minio/minio,about 5 minutes)
bin/otelcol: tools/otelcol/go.mod tools/otelcol/go.sum tools/otelcol/main.go | check-go
	$(call tool,otelcol,.,half a minute)
# What it writes names its own hash, so it has to be the same everywhere.
bin/cyclonedx-gomod: export CGO_ENABLED := 0
bin/cyclonedx-gomod: tools/sbom/go.mod tools/sbom/go.sum | check-go
	$(call tool,sbom,github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod,half a minute)
bin/etcd: tools/kubeapi/go.mod tools/kubeapi/go.sum | check-go
	$(call tool,kubeapi,go.etcd.io/etcd/server/v3,half a minute)
bin/kube-apiserver: tools/kubeapi/go.mod tools/kubeapi/go.sum | check-go
	$(call tool,kubeapi,k8s.io/kubernetes/cmd/kube-apiserver,about 6 minutes)
bin/docker-compose: tools/compose/go.mod tools/compose/go.sum | check-go
	$(call tool,compose,github.com/docker/compose/v2/cmd,about 2 minutes)
bin/temporal-server: tools/temporal-server/go.mod tools/temporal-server/go.sum | check-go
	$(call tool,temporal-server,-ldflags='-s -w' go.temporal.io/server/cmd/server,seconds after bin/wflo; else 4 minutes)
bin/temporal-sql-tool: tools/temporal-server/go.mod tools/temporal-server/go.sum | check-go
	$(call tool,temporal-server,-ldflags='-s -w' go.temporal.io/server/cmd/tools/sql,seconds after bin/temporal-server)
bin/temporal-ui: tools/temporal-server/go.mod tools/temporal-server/go.sum | check-go
	$(call tool,temporal-server,-ldflags='-s -w' github.com/temporalio/ui-server/v2/cmd/server,seconds after bin/wflo)
bin/govulncheck: tools/lint/go.mod tools/lint/go.sum | check-go
	$(call tool,lint,golang.org/x/vuln/cmd/govulncheck,seconds)

.PHONY: images
images: check-go ## the image of wflo, wflo/wflo:dev, from this checkout
	$(call step,images,compiled without cgo: about 5 minutes on 2 cores the first time; seconds later)
	@deploy/images/build.sh

# What the test of docker-compose.yml runs in place of images that no registry gives it.
.PHONY: stack-images
stack-images: setup-tests bin/docker-compose bin/temporal bin/temporal-server bin/temporal-sql-tool bin/temporal-ui bin/minio bin/otelcol ## stand-ins for the servers of docker-compose.yml
	$(call step,stack-images,unpacked from Debian packages and programs: 3 minutes the first time; seconds later)
	@tools/standins/build.sh
	@LINK=cgo deploy/images/build.sh --tag wflo/wflo:stack-test

.PHONY: bin/testreport
bin/testreport: check-go
	@go build -o $@ ./internal/house/testreport

.PHONY: check-go
check-go:
	@want=$$(awk '$$1 == "go" {print $$2; exit}' go.work); \
	if ! command -v go >/dev/null; then \
		echo "make: Go is missing; install Go $$want or newer from https://go.dev/dl/ and put it on PATH" >&2; exit 1; \
	fi; \
	if ! have=$$(go env GOVERSION 2>&1); then \
		echo "make: this Go is too old: $$have" >&2; \
		echo "make: install Go $$want or newer from https://go.dev/dl/, or allow the download of it: go env -u GOTOOLCHAIN" >&2; exit 1; \
	fi; \
	if [ "$$(printf '%s\n' "$$want" "$${have#go}" | sort -V | head -n 1)" != "$$want" ]; then \
		echo "make: Go $$want or newer is needed, this is $$have; see https://go.dev/dl/" >&2; exit 1; \
	fi

##@ Check

.PHONY: test
test: setup-tests build check ## everything: set up, build, check, and every test with its real components
	@rm -f $(TOTALS)
	@# The library's tests and the soak run beside the others, and what they print comes at the
	@# end. The sandboxes, which keep the kernel busy, have nothing of the library beside them.
	@# What more than one suite needs is built before.
	@$(MAKE) bin/testreport bin/minio bin/otelcol bin/temporal bin/wflo stack-images
	@mkdir -p $(dir $(TOTALS)); failed=; beside="test-library test-soak"; \
	for suite in $$beside; do ($(MAKE) $$suite; echo $$? > .cache/$$suite.rc) > .cache/$$suite.log 2>&1 & done; \
	for suite in test-command test-integration; do $(MAKE) $$suite || failed="$$failed $$suite"; done; \
	wait; \
	for suite in $$beside; do cat .cache/$$suite.log; [ "$$(cat .cache/$$suite.rc)" = 0 ] || failed="$$failed $$suite"; done; \
	printf '\n'; bin/testreport -print -totals $(TOTALS) || failed="$$failed totals"; \
	if [ -n "$$failed" ]; then echo "make test: failed:$$failed" >&2; exit 1; fi

comma := ,

# run_tests runs go test with the flags $(2) over $(3), and counts under the name $(1).
# The linters have vetted the same code, and no debugger reads these programs.
define run_tests
@mkdir -p $(dir $(TOTALS))
@$(counted)
endef
counted = go test -count=1 -json -vet=off -ldflags=-w $(2) $(3) | bin/testreport -suite '$(1)' -totals $(TOTALS)

# The longest of the rest come first, so that at the end nothing waits for one of them alone.
LONGEST = ./workflows ./internal/console ./internal/sqlite ./internal/postgres ./activities

.PHONY: test-library
test-library: bin/testreport bin/minio ## the tests of the library, with the race detector
	$(call step,test-library,race detector on; Docker and PostgreSQL are real; 15 minutes on 2 cores)
	@# The rest runs whatever becomes of the sandboxes, so that one run tells of everything.
	@mkdir -p $(dir $(TOTALS)); failed=0; \
	$(call counted,sandboxes (race detector),-race -timeout 30m,./sandbox/docker) || failed=1; \
	$(call counted,library (race detector),-race -p 2 -timeout 30m,$$(go list $(LONGEST)) $$(go list ./... | grep -vxF "$$(go list ./sandbox/docker $(LONGEST))")) || failed=1; \
	exit $$failed

.PHONY: test-command
test-command: bin/testreport bin/otelcol bin/temporal ## the tests of the command line, with Temporal inside
	$(call step,test-command,against an embedded Temporal; 1 to 4 minutes)
	$(call run_tests,command line,-timeout 15m,./$(COMMAND)/...)

# Packages with tests behind the tag integration: whole programs, started as users start them.
# The longest comes first here too.
INTEGRATION = $(shell grep -rlE '^//go:build .*\bintegration\b' --include='*_test.go' . 2>/dev/null | xargs -r -n 1 dirname | sort -u)
INTEGRATION_FIRST = $(filter %/survive,$(INTEGRATION)) $(filter-out %/survive,$(INTEGRATION))

.PHONY: test-integration
test-integration: bin/testreport bin/wflo bin/temporal bin/minio stack-images ## whole programs, started as users start them
ifneq ($(INTEGRATION),)
	$(call step,test-integration,real programs with Temporal and Docker and PostgreSQL; 1 to 5 minutes)
	$(call run_tests,integration,-tags integration -timeout 15m,$(INTEGRATION_FIRST))
endif

.PHONY: check
check: lint workflowcheck house standalone rules vuln ## linters, determinism, house rules, known vulnerabilities

.PHONY: rules
rules: check-go ## alert rules and dashboards as Prometheus reads them, the document of the API as a validator does
	$(call step,rules,Prometheus is compiled in: about 2 minutes the first time; seconds later)
	@cd tools/promrules && GOWORK=off go test ./...
	@cd tools/openapi && GOWORK=off go test -count=1 ./...
	@cd tools/chart && GOWORK=off go test -count=1 ./...
	@cd tools/sbom && GOWORK=off go test -count=1 ./...
	@cd tools/apiclient && GOWORK=off go test -count=1 ./...
	@cd tools/dashboards && GOWORK=off go run . ../../deploy/grafana && git diff --exit-code -- ../../deploy/grafana

.PHONY: sbom
sbom: bin/wflo bin/cyclonedx-gomod ## what is in each program, as CycloneDX, in bin/sbom
	@rm -rf bin/sbom && mkdir -p bin/sbom
	@go build -o bin/sbom/ ./worker ./cmd/wflo-runner && cp bin/wflo bin/sbom/wflo
	@for program in wflo worker wflo-runner; do \
		bin/cyclonedx-gomod bin -json -noserial -notimestamp -std -output-version 1.6 -output bin/sbom/$$program.cdx.json bin/sbom/$$program 2>/dev/null && \
		rm bin/sbom/$$program && (cd tools/sbom && GOWORK=off go run . bill ../../bin/sbom/$$program.cdx.json) || exit 1; done

.PHONY: reproducible
reproducible: check-go ## PID 1 of sandboxes is built twice, with nothing in common but the commit, and is the same
	$(call step,reproducible,two builds without a cache: half a minute; deploy/reproducible.sh wflo does the same for the command)
	@deploy/reproducible.sh

.PHONY: release-check
release-check: bin/cyclonedx-gomod ## the tools and files of a release: statements, bills of materials, workflows, pins
	@cd tools/sbom && GOWORK=off go test -count=1 ./...

.PHONY: chart
chart: check-go ## lint and render the Helm chart, and hold what it promises
	@cd tools/chart && GOWORK=off go test -count=1 ./...

.PHONY: chart-cluster
chart-cluster: bin/etcd bin/kube-apiserver bin/wflo ## the same, and have a real Kubernetes API server take every object, as an installation and as upgrades
	@cd tools/chart && GOWORK=off go test -count=1 -tags apiserver ./...

.PHONY: lint
lint: bin/golangci-lint ## golangci-lint over every module; see .golangci.yml
	$(call step,lint,2 to 5 minutes when cold; seconds later)
	@bin/golangci-lint run ./...
	@cd $(COMMAND) && ../../bin/golangci-lint run --config ../../.golangci.yml ./...

.PHONY: workflowcheck
workflowcheck: bin/workflowcheck ## nothing that differs on replay is reached from workflow code
	$(call step,workflowcheck,follows every call from workflow code; half a minute)
	@bin/workflowcheck -single-line -config workflowcheck.config.yaml $(WORKFLOW_CODE)

.PHONY: house
house: bin/golangci-lint bin/workflowcheck ## the rules of the house, and a planted violation for each net
	$(call step,house,walls and lengths and names and comments; seconds)
	@go test -count=1 -tags nets ./internal/house/...

.PHONY: standalone
standalone: check-go ## the library stands without the workspace, as its users get it
	$(call step,standalone,go.mod and go.sum are complete; seconds)
	@GOWORK=off go list -deps -test ./... >/dev/null

.PHONY: vuln
vuln: bin/govulncheck ## known vulnerabilities that our code reaches
	$(call step,vuln,asks vuln.go.dev; a minute)
	@.ci/vulncheck

.PHONY: soak
soak: setup-tests bin/wflo bin/temporal bin/minio ## every fault point in every way, random seeds, and 2,000 agents while processes are killed; hours
	$(call step,soak,a workspace of 100000 small files; a minute)
	@go test -count=1 -timeout 60m -run 'TestArchiver$$/Many' ./sandbox/docker -many 100000
	$(call step,soak,workers are killed at every point of a restore; about an hour)
	@WFLO_FAULTS_ALL=1 go test -tags integration -count=1 -timeout 120m -run TestFaultPoints ./$(COMMAND)/internal/e2e
	$(call step,soak,every point of everything in a world of its own and 50 worlds that a seed chooses; hours)
	@WFLO_FAULTS_ALL=1 WFLO_FAULTS_RUNS=50 go test -tags integration -count=1 -timeout 600m -run TestEveryPoint -v ./$(COMMAND)/internal/survive
	$(call step,soak,$(WFLO_SOAK_AGENTS) agents while processes are killed on a seeded schedule)
	@WFLO_SOAK_AGENTS=$(WFLO_SOAK_AGENTS) go test -tags integration,soak -count=1 -timeout 600m -run TestSoak -v ./$(COMMAND)/internal/survive

WFLO_SOAK_AGENTS  ?= 2000
WFLO_SOAK_MINUTES ?= 10

# It has servers and ports of its own and mostly waits, so that it may run beside other tests.
.PHONY: test-soak
test-soak: export WFLO_SOAK_MINUTES := $(WFLO_SOAK_MINUTES)
test-soak: bin/testreport bin/temporal bin/minio ## agents at work for WFLO_SOAK_MINUTES (10) while processes are killed, beside other tests
	$(call step,test-soak,$(WFLO_SOAK_MINUTES) minutes and a few more until everything is cleaned up)
	$(call run_tests,soak,-tags integration$(comma)soak -timeout 60m -run TestSoak,./$(COMMAND)/internal/survive)

# The benchmarks against a server run a fixed number of times: one takes a
# tenth of a second. The last command prints what counts and which target was missed;
# a missed target fails nothing, because the machine decides that too.
.PHONY: bench
bench: setup-tests bin/wflo ## benchmarks: overhead, latency, start of wflo dev, decisions, waiting runs, ledgers, sandbox, prices
	$(call step,bench,one after the other on this machine alone if you can; 10,000 runs wait in one of them, for minutes)
	@mkdir -p .cache
	@{ go test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) -p 1 \
		$$(grep -rlE '^func Benchmark' --include='*_test.go' . | grep -v '^./$(COMMAND)/' | xargs -r -n 1 dirname | sort -u) && \
	   go test -run '^$$' -bench . -benchtime 100x -timeout 60m ./$(COMMAND)/internal/govern; } > .cache/bench.txt \
		|| { cat .cache/bench.txt; exit 1; }
	@awk -f $(COMMAND)/internal/govern/bench.awk .cache/bench.txt

.PHONY: fuzz
fuzz: check-go ## every fuzz target for FUZZTIME (10s)
	@grep -rHoE '^func Fuzz[A-Za-z0-9_]+' --include='*_test.go' . | sort -u | while IFS=: read -r file fn; do \
		printf '▸ %s in %s\n' "$${fn#func }" "$$(dirname "$$file")"; \
		go test -run '^$$' -fuzz "^$${fn#func }\$$" -fuzztime $(FUZZTIME) "$$(dirname "$$file")" || exit 1; \
	done

##@ Care

.PHONY: tidy
tidy: check-go ## go.mod and go.sum of every module, then gofmt
	@GOWORK=off go mod tidy
	@# The command names the library in this tree, which no proxy has yet.
	@cd $(COMMAND) && go mod edit -replace github.com/wflo-ai/wflo-go=../.. \
		&& trap 'go mod edit -dropreplace github.com/wflo-ai/wflo-go' EXIT && GOWORK=off go mod tidy
	@for tool in tools/*/; do (cd $$tool && GOWORK=off go mod tidy); done
	@gofmt -l -w .

.PHONY: clean
clean: ## remove what make built, and stop what setup started
	@rm -rf bin .cache
	@deploy/setup.sh stop
