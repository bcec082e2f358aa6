# The tasks themselves are written in Rust (xtask/); this file sees to it that cargo can build them.

SHELL := /bin/sh
export PATH := $(PATH):$(HOME)/.cargo/bin
RUST := $(shell sed -n 's/^channel *= *"\(.*\)"/\1/p' rust-toolchain.toml)
XTASK := cargo run --quiet --package xtask --

.PHONY: help demo test test-more setup data openvino weights lint audit coverage bench bench-models bench-peers bench-promotions bench-shadow bench-gateway chaos fuzz compose-test clean bootstrap
.DEFAULT_GOAL := help

help:
	@echo 'make demo          set up, start two workers on an embedded broker, have images named, stop'
	@echo '                   UI=1 make demo  keeps them up, with a gateway and its web page in front, until Ctrl-C'
	@echo 'make test          set up, lint, and run all tests, those against a real Apache Kafka included'
	@echo '                   KAFKA_BOOTSTRAP_SERVERS=host:port make test  uses a broker of your own'
	@echo 'make test-more     the tests that take too long for that'
	@echo 'make setup         only install and fetch what is missing'
	@echo 'make data          fetch the images that the clothes model is trained and measured on'
	@echo 'make openvino      fetch OpenVINO, with which birds are named faster; the worker takes it from then on'
	@echo 'make weights       fetch the weights of a version of the bird model: BIRD=2 is slower and more often right'
	@echo 'make lint          formatting, dependency policy, length of files, clippy, documentation'
	@echo 'make audit         licences and known vulnerabilities of dependencies; needs the internet'
	@echo 'make coverage      which lines are tested without libtorch; rustup component add llvm-tools'
	@echo 'make bench         measure decoding and inference'
	@echo 'make bench-models  measure the engines against each other, and against Python'
	@echo 'make bench-peers   measure the worker against a Python consumer and MLServer, on Apache Kafka: ROUNDS=3'
	@echo 'make bench-promotions  promote one version after the other under load, and measure what it costs: PROMOTIONS=500'
	@echo 'make bench-shadow  measure what a version costs that computes all requests too and answers none: ROUNDS=3'
	@echo 'make bench-gateway  measure what HTTP costs beside the Kafka client alone, and beside MLServer: ROUNDS=3'
	@echo 'make chaos         kill workers under load and count what it costs: KILLS=20; not part of make test'
	@echo 'make fuzz          give bad bytes to all that reads files: SECONDS=60 for each reader; needs a nightly compiler and cargo-fuzz'
	@echo 'make compose-test  try docker-compose.yml: docker or podman, not part of make test'
	@echo 'make clean         remove what was built; what was fetched (.deps) stays'

demo: bootstrap
	@$(XTASK) demo $(if $(filter 1,$(UI)),--ui)

test test-more setup openvino lint audit coverage compose-test: bootstrap
	@$(XTASK) $@

data: bootstrap
	@$(XTASK) setup --for data

BIRD ?= 1
weights: bootstrap
	@$(XTASK) weights --bird $(BIRD)

bench: bootstrap
	@$(XTASK) setup --for demo
	cargo bench --package model-core
	cargo bench --package model

bench-models: bootstrap
	@$(XTASK) openvino
	@$(XTASK) setup --only python
	cargo bench --package broker-worker --bench engines
	cargo bench --package model --bench clothes

ROUNDS ?= 3
bench-peers: bootstrap
	@$(XTASK) openvino
	@$(XTASK) setup
	@$(XTASK) setup --only mlserver
	cargo build --locked --release --workspace --bins --example peers
	MLAAS_E2E_BUILT=1 "$${CARGO_TARGET_DIR:-target}/release/examples/peers" $(ROUNDS)

PROMOTIONS ?= 500
bench-promotions: bootstrap
	@$(XTASK) setup
	cargo build --locked --release --workspace --bins --example promotions
	MLAAS_E2E_BUILT=1 "$${CARGO_TARGET_DIR:-target}/release/examples/promotions" $(PROMOTIONS)

bench-gateway: bootstrap
	@$(XTASK) setup
	@$(XTASK) setup --for more --only system
	@$(XTASK) setup --only mlserver
	cargo build --locked --release --workspace --bins --example doors
	MLAAS_E2E_BUILT=1 "$${CARGO_TARGET_DIR:-target}/release/examples/doors" $(ROUNDS)

bench-shadow: bootstrap
	@$(XTASK) setup
	cargo build --locked --release --workspace --bins --example shadow
	MLAAS_E2E_BUILT=1 "$${CARGO_TARGET_DIR:-target}/release/examples/shadow" $(ROUNDS)

KILLS ?= 20
chaos: bootstrap
	@$(XTASK) setup
	cargo build --locked --workspace --bins --example chaos
	"$${CARGO_TARGET_DIR:-target}/debug/examples/chaos" $(KILLS)

SECONDS ?= 60
# And torchscript, which is libtorch's own reader and soon takes more memory than is allowed here.
READERS ?= manifest onnx preprocessor config preset safetensors
FUZZ := --sanitizer none --features libtorch
fuzz: bootstrap
	@command -v cargo-fuzz >/dev/null || { \
	  echo 'error: cargo-fuzz is missing: rustup toolchain install nightly && cargo install cargo-fuzz' >&2; exit 1; }
	@$(XTASK) setup --for demo
	cargo +nightly fuzz build $(FUZZ)
	@for reader in $(READERS); do mkdir -p fuzz/corpus/$$reader; \
	  cargo +nightly fuzz run $(FUZZ) $$reader fuzz/corpus/$$reader fuzz/seeds/$$reader -- \
	    -max_total_time=$(SECONDS) -rss_limit_mb=1500 -malloc_limit_mb=256 -timeout=10 -max_len=65536 || exit 1; done

clean: bootstrap
	cargo clean

# Rust, and a linker for it. The rest is found missing, and where possible installed, by xtask.
bootstrap:
	@command -v cargo >/dev/null || { \
	  echo 'error: Rust is missing: install it with rustup (https://rustup.rs) and try again' >&2; exit 1; }
	@rust=$$(cargo --version | cut -d' ' -f2); \
	  [ "$$(printf '%s\n' $(RUST) "$$rust" | sort -V | head -1)" = $(RUST) ] || { \
	  echo "error: Rust $(RUST) is needed and this is $$rust: install it with rustup (https://rustup.rs) and try again" >&2; exit 1; }
	@command -v cc >/dev/null || { \
	  if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
	    echo '==> C compiler'; \
	    apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends gcc libc6-dev; \
	  else \
	    echo 'error: a C compiler (cc) is missing: install gcc (on Debian and Ubuntu: sudo apt-get install gcc libc6-dev) and try again' >&2; exit 1; \
	  fi; }
	@test -x "$${CARGO_TARGET_DIR:-target}/debug/xtask" || echo '==> xtask, which does the rest'
