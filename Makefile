# `make run` starts everything, `make test` checks everything. Both work on a fresh machine that has Rust: what else is missing they
# install (Debian and Ubuntu), or they say what to install. Downloads and builds that are made once live in ~/.cache/microblog.

CARGO ?= cargo
ARGS ?=
# Where cargo puts what it builds; .ci/run chooses another place.
TARGET_DIR = $(or $(CARGO_TARGET_DIR),target)
MICROBLOG = $(TARGET_DIR)/quick/microblog

# `make images IMAGE_PREFIX=registry.example.org/microblog IMAGE_TAG=1.2.3 IMAGE_FLAGS=--push` with docker, podman or buildah.
# The first that works: a docker without its daemon does not.
IMAGE_TOOL ?= $(shell for tool in docker podman buildah; do $$tool info >/dev/null 2>&1 && echo $$tool && break; done)
IMAGE_PREFIX ?= localhost/microblog
IMAGE_TAG ?= dev
IMAGE_FLAGS ?=
PROGRAMS ?= command-svc query-svc projector operator microblog
# Always together: another choice of packages is another choice of their dependencies' features, and compiles them anew.
OPTIMISED = -p command-svc -p query-svc -p projector -p operator -p microblog -p bench
# What `cargo clippy` sets: Clippy compiles our crates. Where tests are built, a lint is an error and costs no second compilation.
LINTING = RUSTC_WORKSPACE_WRAPPER=clippy-driver CLIPPY_ARGS=-Dwarnings__CLIPPY_HACKERY__

.DEFAULT_GOAL := help
.PHONY: help run demo build images publish test test-cluster chaos soak fuzz bench bench-quick check fmt lint deny chart-readme manifests build-tools setup files tests run-tests programs stand-in

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## Start the database and all services; Ctrl-C stops them (ARGS="--data-dir DIR" to keep data elsewhere)
	@$(MICROBLOG) up $(ARGS)

demo: build ## Load a small made-up community into the services that `make run` started
	@$(MICROBLOG) demo $(ARGS)

build: build-tools ## Build the microblog program (optimised a little; `cargo build --release -p microblog` takes twice as long)
	@test -x $(MICROBLOG) || echo "Building microblog: about 10 minutes on two cores the first time, seconds later."
	@$(CARGO) build --profile quick --locked -p microblog

# Five targets of one file: without it buildah, unlike the others, compiles everything for each of them.
images: export BUILDAH_LAYERS ?= true
images: ## Build the container images, one per program (PROGRAMS="query-svc" for some of them)
	@set -eu; tool="$(IMAGE_TOOL)"; \
	test -n "$$tool" || { echo "Missing: docker, podman or buildah, and running. Please install one of them." >&2; exit 1; }; \
	for program in $(PROGRAMS); do \
		echo "== $(IMAGE_PREFIX)/$$program:$(IMAGE_TAG)"; \
		$$tool build --target $$program --tag $(IMAGE_PREFIX)/$$program:$(IMAGE_TAG) \
			--build-arg VERSION=$(IMAGE_TAG) --build-arg REVISION=$$(git rev-parse --short HEAD 2>/dev/null || echo unknown) \
			$(IMAGE_FLAGS) .; \
	done

publish: images ## Push images, chart and lists of what is in them (IMAGE_PREFIX=registry.example.org/microblog IMAGE_TAG=1.2.3)
	@IMAGE_TOOL="$(IMAGE_TOOL)" IMAGE_PREFIX="$(IMAGE_PREFIX)" IMAGE_TAG="$(IMAGE_TAG)" PROGRAMS="$(PROGRAMS)" .ci/publish

test: setup files run-tests ## Check format, lints, licences and run every test

test-cluster: setup tests programs ## Test on the Kubernetes that KUBECONFIG points at (ARGS="--list" names the scenarios, ARGS="--help" what can be set)
	@. .ci/versions; CRDS="$$CRDS" HELMS="$$HELM,$$HELM4" BINARIES="$${BINARIES:-$(TARGET_DIR)/release}" $(TARGET_DIR)/debug/test-cluster $(ARGS)

chaos: tests ## Kill everything at random three hundred times, and compare what is left (CHAOS_FAULTS=1000, CHAOS_SEED=...)
	@CHAOS_FAULTS=$${CHAOS_FAULTS:-300} $(LINTING) $(CARGO) test --workspace --locked --test chaos -- --nocapture

soak: setup tests ## All tests with many more random cases, wider models, `make fuzz`, from a seed that is printed (SEED=..., CASES=20000, CHAOS_FAULTS=100)
	@echo "== Building the models, optimised (about 10 minutes on two cores the first time)"
	@$(CARGO) test --release --locked -p projector --test model --no-run
	@seed=$${SEED:-$$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}; echo "== SEED=$$seed makes the same choices again"; \
	PROPTEST_RNG_SEED=$$seed PROPTEST_CASES=$${CASES:-20000} CHAOS_SEED=$$seed CHAOS_FAULTS=$${CHAOS_FAULTS:-100} \
	SCHEMATHESIS_SEED=$$seed SCHEMATHESIS_EXAMPLES=$${EXAMPLES:-200} \
	$(LINTING) $(TARGET_DIR)/debug/with-mongodb -- $(CARGO) test --workspace --locked --no-fail-fast && \
	$(CARGO) test --release --locked -p projector --test model -- --ignored && \
	SEED=$$seed .ci/fuzz

fuzz: setup ## Fuzz what reads strangers' input (FUZZ_SECONDS=60 for each target, SEED=...)
	@.ci/fuzz

bench: build-tools ## Measure against what the database can do (ARGS="--only post" for some of it)
	@$(CARGO) build --release --locked $(OPTIMISED)
	@$(TARGET_DIR)/release/bench $(ARGS)

bench-quick: ## The same in about two minutes, with fewer rounds and fewer documents
	@$(MAKE) --no-print-directory bench ARGS="--quick $(ARGS)"

check: files lint ## All of `make test` but the tests

# What is checked without compiling.
files: setup
	@echo "== Format"
	@$(CARGO) fmt --all --check
	@echo "== Dependencies: licences, sources, bans, advisories"
	@.ci/deny
	@echo "== Shell scripts"
	@.ci/shellcheck
	@echo "== EC2 by Terraform"
	@terraform-ec2/check

fmt: ## Format the code
	@$(CARGO) fmt --all

lint: build-tools ## Lint the code as `make test` does
	@$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

deny: setup ## Check licences, sources and advisories of the dependencies
	@.ci/deny

chart-readme: setup ## Generate the chart's README from its values, and copy the resource definition into it
	@. .ci/versions; "$$HELM_DOCS" --chart-search-root=helm/microblog --sort-values-order=file --log-level=warning
	@cp k8s/crd/projections.yaml helm/microblog/crds/projections.yaml

manifests: setup ## Generate the base of the kustomizations from the chart
	@k8s/make-base

tests: build-tools
	@echo "== Building the tests, with lints (about 7 minutes on two cores the first time)"
	@$(LINTING) $(CARGO) build --workspace --all-targets --locked

# Installs the database that tests run against, where it is missing.
stand-in: tests
	@$(TARGET_DIR)/debug/with-mongodb -- true

run-tests: tests
	@echo "== Running the tests against one database"
	@$(LINTING) $(TARGET_DIR)/debug/with-mongodb -- $(CARGO) test --workspace --locked --no-fail-fast $(ARGS)

programs: build-tools
	@echo "== Building the programs of the images, optimised (about 15 minutes on two cores the first time)"
	@$(CARGO) build --release --locked $(OPTIMISED)

build-tools:
	@shared/local-mongodb/src/build-tools.sh

setup:
	@.ci/setup
