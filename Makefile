# Two commands do all: `make demo` shows the pool at work, `make test` runs every test.
# The first thing each does is to look for what a build needs and to say what it installs.

.PHONY: demo test lint bench fuzz prereqs peers interop help

help:
	@sed -n 's/^## //p' Makefile

## make demo    simulated orchestrators and workers on loopback, 30 s, a live table
demo: prereqs
	cargo run --quiet --bin openpool-proxy -- demo $(DEMO)

## make test    every test: Rust, house rules, and the Python peers
test: prereqs lint
	cargo test --quiet
	cargo test --quiet --lib media -- --ignored
	tests/peers/run.sh
	tests/ai_contract/run.sh
	tests/peers/run.sh kill9 --kills 100
	tests/interop/run.sh

## make lint    formatting and clippy, warnings are errors
lint: prereqs
	@tests/prereqs.sh lint
	cargo fmt --check
	cargo clippy --quiet --all-targets -- -D warnings

## make peers   only the Python peers
peers: prereqs
	cargo build --quiet
	tests/peers/run.sh
	tests/ai_contract/run.sh

## make interop real livepeer programs around the built proxy: LIVEPEER_BIN=/path/a[:/path/b] make interop
interop: prereqs
	cargo build --quiet
	tests/interop/run.sh

## make bench   every benchmark; prints what it measured
bench: prereqs
	cargo bench

## make fuzz    every fuzz target for 20 s (needs a nightly toolchain and cargo-fuzz)
fuzz:
	fuzz/run.sh 20

prereqs:
	@tests/prereqs.sh
