# Thin over CMake's presets and scripts/. Every target makes the machine ready by itself (scripts/setup); docs/setup.md tells
# what that means and how to use a server or packages that are there already.
.DEFAULT_GOAL := build
.PHONY: build demo test asan tsan bench format-check reference clean

# What `make asan` and `make tsan` run: all specs, or files; QUICK=1 leaves out those tagged slow.
SPECS ?= spec
QUICK ?=

build:
	@scripts/setup build
	@scripts/build release smartmigration-lua smartmigration_module smartmigration

demo: build
	@scripts/setup demo
	@scripts/with-servers migrations-example/demo

test:
	@scripts/setup test data
	@scripts/test suite

asan tsan:
	@scripts/setup test data
	@QUICK=$(QUICK) scripts/test $@ $(SPECS)

bench: build
	@scripts/setup test data bench
	@spec/bench/run

format-check:
	@scripts/setup format
	@git ls-files '*.c' '*.h' | xargs clang-format --dry-run -Werror

# lua/library and docs/reference.md out of lua/api.
reference:
	@scripts/setup build
	@lua5.4 scripts/reference.lua

clean:
	rm -rf build
