# make demo       try it: Aqueduct with an S3 server and a model of its own
# make test       what CI runs: format, lints, Rust tests, real SDKs against real servers
# make test-long  the same and what takes longer
# make bench      microbenchmarks, load/memory, load/compare against other proxies (about 45 minutes)
# make load       k6: rates, whole streams, reloads and keys under load (7 minutes), then 5 minutes of soak
# make results    load/memory, load/compare and k6, kept as load/results/DATE.md (45 minutes on a quiet machine)
# make bench-smoke  a moment of everything under load/ (about 3 minutes)
# make s3-tests   ceph/s3-tests through Aqueduct over SeaweedFS, Azurite and a strict GCS server; S3_TESTS=<checkout>
# make check      format and lints alone
#
# Needs a Rust toolchain, a C compiler, Python 3 and Node; scripts/setup-build and tests/sdk/run see to
# the rest.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo check test test-long bench bench-smoke load results s3-tests clean

SETUP := scripts/setup-build
# Shown by the metric aqueduct_build_info and by /-/status. Empty where there is no git or no compiler yet.
export AQUEDUCT_COMMIT := $(shell git rev-parse --short HEAD 2>/dev/null)
export AQUEDUCT_RUSTC := $(shell rustc --version 2>/dev/null | cut -d' ' -f2)
# One set of features for lints and tests: each set is a build of its own.
FLAGS := --locked --features demo
# What the tests have just built.
BUILT := $(abspath $(or $(CARGO_TARGET_DIR),target))/debug/aqueduct

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

demo:
	$(SETUP) cargo run $(FLAGS) -- demo

check:
	cargo fmt --check
	$(SETUP) cargo clippy $(FLAGS) --all-targets -- -D warnings

test: check
	$(SETUP) cargo test $(FLAGS)
	AQUEDUCT_BIN=$(BUILT) tests/sdk/run
	testbed/with azurite $(SETUP) cargo test $(FLAGS) --lib storage::azure -- --ignored

test-long: check
	PROPTEST_CASES=20000 AQUEDUCT_CRASH_RUNS=200 AQUEDUCT_STALLED_READERS=1000 AQUEDUCT_LANE_STREAMS=1000 $(SETUP) cargo test $(FLAGS)
	fuzz/run 60
	AQUEDUCT_BIN=$(BUILT) tests/attack/run
	AQUEDUCT_BIN=$(BUILT) tests/sdk/run --long
	testbed/with azurite $(SETUP) cargo test $(FLAGS) --lib storage::azure -- --ignored

bench:
	$(SETUP) cargo bench $(FLAGS)
	load/memory
	load/compare --no-build

bench-smoke:
	load/memory --quick
	load/compare --no-build --smoke
	load/k6 --no-build

results:
	load/memory
	load/compare --no-build --seconds 1.5
	load/k6 --no-build --profile load
	(echo "# Speed" && for part in compare memory k6; do echo && cat load/out/$$part.md; done) >load/results/$$(date +%F).md

load:
	load/k6 --profile load
	load/k6 --no-build --profile load --soak 5

s3-tests:
	@S3_TESTS=$(S3_TESTS) tests/s3-tests/run --checkout
	$(SETUP) cargo build $(FLAGS) --bin aqueduct
	S3_TESTS=$(S3_TESTS) AQUEDUCT_BIN=$(BUILT) tests/s3-tests/run
	S3_TESTS=$(S3_TESTS) AQUEDUCT_BIN=$(BUILT) tests/s3-tests/run --tls
	S3_TESTS=$(S3_TESTS) AQUEDUCT_BIN=$(BUILT) tests/s3-tests/run --over azurite
	S3_TESTS=$(S3_TESTS) AQUEDUCT_BIN=$(BUILT) tests/s3-tests/run --over gcs

clean:
	cargo clean
	rm -rf .tools .testbed .venv load/out
