# `make run` starts everything, `make test` checks everything. Both work on a new machine that has Rust. They install everything else that
# is missing (on Debian and Ubuntu), or say what to install. Downloads and builds that are made only once are in ~/.cache/microblog.

CARGO ?= cargo
ARGS ?=
# The directory of cargo's build results. .ci/run chooses another directory.
TARGET_DIR = $(or $(CARGO_TARGET_DIR),target)
MICROBLOG = $(TARGET_DIR)/quick/microblog

# For `make images`, with docker, podman or buildah, for example
# `make images IMAGE_PREFIX=registry.example.org/microblog IMAGE_TAG=1.2.3 IMAGE_FLAGS=--push`.
# The default is the first tool that works. docker does not work without its daemon.
IMAGE_TOOL ?= $(shell for tool in docker podman buildah; do $$tool info >/dev/null 2>&1 && echo $$tool && break; done)
IMAGE_PREFIX ?= localhost/microblog
IMAGE_TAG ?= dev
IMAGE_FLAGS ?=
PROGRAMS ?= command-svc query-svc projector gateway operator microblog
# These packages are always built together. Another set of packages needs other features of the dependencies, so cargo would compile those
# again.
OPTIMISED = -p command-svc -p query-svc -p projector -p gateway -p operator -p microblog -p bench
# The variables that `cargo clippy` sets. Clippy then compiles our crates, so a lint is an error in the build of the tests, without a second
# compilation.
LINTING = RUSTC_WORKSPACE_WRAPPER=clippy-driver CLIPPY_ARGS=-Dwarnings__CLIPPY_HACKERY__

.DEFAULT_GOAL := help
.PHONY: help run demo build images publish test test-cluster chaos soak fuzz bench bench-quick check fmt lint deny chart-readme manifests build-tools setup files tests run-tests programs stand-in

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## Start the database and all services; Ctrl-C stops them (ARGS="--data-dir DIR" for another data directory)
	@$(MICROBLOG) up $(ARGS)

demo: build ## Load a small demo community into the services that `make run` started
	@$(MICROBLOG) demo $(ARGS)

build: build-tools ## Build the program microblog, with few optimisations (`cargo build --release -p microblog` takes twice as long)
	@test -x $(MICROBLOG) || echo "Building microblog: the first time takes about 10 minutes on two cores, later builds take seconds."
	@$(CARGO) build --profile quick --locked -p microblog

# The images are six targets of one Dockerfile. Without this variable, buildah (unlike docker and podman) compiles everything
# again for each target.
images: export BUILDAH_LAYERS ?= true
images: ## Build the container images, one per program (PROGRAMS="query-svc" for only some of them)
	@set -eu; tool="$(IMAGE_TOOL)"; \
	test -n "$$tool" || { echo "Missing: docker, podman or buildah. Please install one of them, or start docker's daemon." >&2; exit 1; }; \
	for program in $(PROGRAMS); do \
		echo "== $(IMAGE_PREFIX)/$$program:$(IMAGE_TAG)"; \
		$$tool build --target $$program --tag $(IMAGE_PREFIX)/$$program:$(IMAGE_TAG) \
			--build-arg VERSION=$(IMAGE_TAG) --build-arg REVISION=$$(git rev-parse --short HEAD 2>/dev/null || echo unknown) \
			$(IMAGE_FLAGS) .; \
	done

publish: images ## Push the images and the chart, write bills of materials (IMAGE_PREFIX=registry.example.org/microblog IMAGE_TAG=1.2.3)
	@IMAGE_TOOL="$(IMAGE_TOOL)" IMAGE_PREFIX="$(IMAGE_PREFIX)" IMAGE_TAG="$(IMAGE_TAG)" PROGRAMS="$(PROGRAMS)" .ci/publish

test: setup files run-tests ## Check format, lints and licences, and run all tests

test-cluster: setup tests programs ## Test on the cluster of KUBECONFIG (ARGS="--list" lists the scenarios, ARGS="--help" the settings)
	@. .ci/versions; CRDS="$$CRDS" HELMS="$$HELM,$$HELM4" BINARIES="$${BINARIES:-$(TARGET_DIR)/release}" $(TARGET_DIR)/debug/test-cluster $(ARGS)

chaos: tests ## Kill everything at random three hundred times, and compare the data afterwards (CHAOS_FAULTS=1000, CHAOS_SEED=...)
	@CHAOS_FAULTS=$${CHAOS_FAULTS:-300} $(LINTING) $(CARGO) test --workspace --locked --test chaos -- --nocapture

soak: setup tests ## Run all tests with many more random cases and wider models, and fuzz; prints its seed (SEED=..., CASES=20000, CHAOS_FAULTS=100)
	@echo "== Building the models with optimisations (about 10 minutes on two cores the first time)"
	@$(CARGO) test --release --locked -p projector --test model --no-run
	@seed=$${SEED:-$$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}; echo "== SEED=$$seed repeats the same random choices"; \
	PROPTEST_RNG_SEED=$$seed PROPTEST_CASES=$${CASES:-20000} CHAOS_SEED=$$seed CHAOS_FAULTS=$${CHAOS_FAULTS:-100} \
	SCHEMATHESIS_SEED=$$seed SCHEMATHESIS_EXAMPLES=$${EXAMPLES:-200} \
	$(LINTING) $(TARGET_DIR)/debug/with-mongodb -- $(CARGO) test --workspace --locked --no-fail-fast && \
	$(CARGO) test --release --locked -p projector --test model -- --ignored && \
	SEED=$$seed .ci/fuzz

fuzz: setup ## Fuzz the code that reads untrusted input (FUZZ_SECONDS=60 for each target, SEED=...)
	@.ci/fuzz

bench: build-tools ## Measure the services, and compare with what the database can do (ARGS="--only post" for only some measurements)
	@$(CARGO) build --release --locked $(OPTIMISED)
	@$(TARGET_DIR)/release/bench $(ARGS)

bench-quick: ## The same as `make bench`, in a few minutes, with fewer rounds and fewer documents
	@$(MAKE) --no-print-directory bench ARGS="--quick $(ARGS)"

check: files lint ## Run everything of `make test` except the tests

# The checks that need no compilation.
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

chart-readme: setup ## Generate the chart's README from its values, and copy the CustomResourceDefinition into the chart
	@. .ci/versions; "$$HELM_DOCS" --chart-search-root=helm/microblog --sort-values-order=file --log-level=warning
	@cp k8s/crd/projections.yaml helm/microblog/crds/projections.yaml

manifests: setup ## Generate the base and the MongoDB component of the kustomizations from the chart
	@k8s/make-base

tests: build-tools
	@echo "== Building the tests with lints (about 7 minutes on two cores the first time)"
	@$(LINTING) $(CARGO) build --workspace --all-targets --locked

# Installs the database for the tests, if it is missing.
stand-in: tests
	@$(TARGET_DIR)/debug/with-mongodb -- true

run-tests: tests
	@echo "== Running the tests against one database"
	@$(LINTING) $(TARGET_DIR)/debug/with-mongodb -- $(CARGO) test --workspace --locked --no-fail-fast $(ARGS)

programs: build-tools
	@echo "== Building the programs for the images with optimisations (about 15 minutes on two cores the first time)"
	@$(CARGO) build --release --locked $(OPTIMISED)

build-tools:
	@shared/local-mongodb/src/build-tools.sh

setup:
	@.ci/setup
