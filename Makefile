# The one door: whatever is built, tested, measured or installed here is a target of this file. `make help` lists them.

CARGO = cargo
# Where the demonstration and the program are built; cargo reads the same variable.
CARGO_TARGET_DIR ?= target
export CARGO_TARGET_DIR

PREFIX     = /usr/local
SBINDIR    = $(PREFIX)/sbin
BINDIR     = $(PREFIX)/bin
LIBDIR     = $(PREFIX)/lib
MANDIR     = $(PREFIX)/share/man
SYSCONFDIR = /etc
DESTDIR    =

# The program looks for its configuration where it will be installed.
ifneq ($(SYSCONFDIR),/etc)
export MINIMTA_CONFIG_FILE = $(SYSCONFDIR)/minimta/minimta.toml
endif

RELEASE = $(CARGO_TARGET_DIR)/release/minimta
DEBUG   = $(CARGO_TARGET_DIR)/debug/minimta
# What mandoc says of manuals that are not installed on this machine.
UNLINTED = referenced manual not found\|outdated mandoc.db
MANUALS = etc/man/minimta.8 etc/man/minimta.toml.5 etc/man/minimta-queue.5 etc/man/minimta-aliases.5

# For what is installed and measured, not for tests: what makes the program smaller.
# 1. The places that a panic names begin with the crate, and not with the folders of whoever builds: 12 KiB. The longer
#    name is the folder that cargo has for crates.io since 1.85.
# 2. Passwords hashed on a processor without instructions for it (SHA, AVX2) go round in a loop that is not written out
#    round by round: 24 KiB for a third more of instructions, there only.
CRATES = $(or $(CARGO_HOME),$(HOME)/.cargo)/registry/src
LEAN = --remap-path-prefix=$(CRATES)/= --remap-path-prefix=$(CRATES)/index.crates.io-1949cf8c6b5b557f/= \
  --cfg sha2_backend_soft="compact"
all small static cross bench order: export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS ?= $(LEAN)
all small static cross bench order: export CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_RUSTFLAGS ?= $(LEAN)

.PHONY: test-small static cross cross-test container-test all help demo test soak powercut faults flood small lint bench fuzz miri order interop size install uninstall deb packages-test units-test clean

all: ## the program as it is installed: target/release/minimta
	$(CARGO) build --release --locked

SMALL = $(CARGO_TARGET_DIR)/small/release/minimta
small: ## the program for a router with little flash: smarthosts only, no MX, no daemon: target/small/release/minimta
	$(CARGO) build --release --locked --no-default-features --bin minimta --target-dir $(CARGO_TARGET_DIR)/small

static: ## the program as one static file for machines of this kind: target/x86_64-unknown-linux-musl/release/minimta
	etc/cross.sh "$$(uname -m)"

TARGET = aarch64
cross: ## the same for another kind: TARGET=x86_64, aarch64, armv7, riscv64; what each needs stands in etc/cross.sh
	etc/cross.sh $(TARGET)

cross-test: ## the core of the tests with such a program, by qemu-user; as root; TARGET="aarch64 armv7"
	tests/cross $(TARGET)

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1:/p' Makefile | awk '{ i = index($$0, ":"); printf "%-22s%s\n", substr($$0, 1, i - 1), substr($$0, i + 1) }'

demo: ## send a message through a private system under target/demo, step by step
	$(CARGO) build --locked
	tests/demo.sh $(DEBUG) $(CARGO_TARGET_DIR)/demo

test-small: ## what the small build does, and what it says it does not
	$(CARGO) clippy --all-targets --locked --no-default-features -- -D warnings
	$(CARGO) test --locked --no-default-features --test it -- small::

test: ## all tests; nothing but cargo and a C compiler is needed
	$(CARGO) test --locked

# Tests that take their time, or want root. ROUNDS=N makes it more or less.
SOAK = $(CARGO) test --locked --test it -- --ignored --nocapture --test-threads 1

soak: ## kill -9 of everything in the middle of a load, 200 times; ROUNDS=N for another number
	ROUNDS=$${ROUNDS:-200} $(SOAK) soak::

powercut: ## real power cuts on file systems in images, 20 of each kind; as root; ROUNDS=N
	ROUNDS=$${ROUNDS:-20} $(SOAK) powercut::

faults: ## a fault at each system call (strace), and disks that are full (root); EVERY=4 for some
	$(SOAK) faults:: hundred_thousand

flood: ## bad clients of every kind by the thousand, and a good one that must be served
	$(SOAK) flood::

lint: ## format, clippy without a warning, manuals, units and scripts
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets --locked -- -D warnings
	if command -v mandoc >/dev/null; then ! mandoc -T lint $(MANUALS) 2>&1 | grep -v "$(UNLINTED)"; fi
	$(CARGO) build --locked
	tests/packages/lint $(DEBUG)

bench: ## figures beside those of eight other mailers, root; ONLY="flush relay" for some, PEERS="postfix dma" beside some
	[ "$$ONLY" = home ] || tests/bench/run
	case " $${ONLY:-home} " in *" home "*) tests/bench/home ;; esac

fuzz: ## look for input that breaks a promise, ten minutes for each target; SECONDS_EACH=600
	tests/fuzz/run

miri: ## the tests of src/proto in Miri, which sees wrong uses of memory; takes long; nightly; JOBS=2
	tests/miri

order: ## src/hot.ld anew, before a release; needs valgrind
	tests/bench/order

interop: ## the mail programs that are installed here, against minimta
	tests/interop/run

size: all small ## what the program weighs: octets, those of the small build, shared libraries, crates
	@printf 'octets            %s\n' "$$(wc -c < $(RELEASE))"
	@printf 'the small build   %s\n' "$$(wc -c < $(SMALL))"
	@printf 'shared libraries  %s\n' "$$(ldd $(RELEASE) 2>/dev/null | sed -n 's/^[[:space:]]*\([^ ]*\.so[^ ]*\).*/\1/p' | sed 's|.*/||; /^linux-vdso/d; /^ld-/d' | tr '\n' ' ')"
	@printf 'crates            %s\n' "$$($(CARGO) tree --locked --edges normal --prefix none | sed 's/ (\*)$$//' | sort -u | grep -vc '^minimta ')"

# What it does on a system, and what it leaves alone, is written in etc/install.sh.
export PREFIX SYSCONFDIR DESTDIR SBINDIR BINDIR LIBDIR MANDIR
install: ## program, links, manuals, units, sample configuration; after make; PREFIX=/usr/local SYSCONFDIR=/etc DESTDIR=
	etc/install.sh install $(RELEASE)

uninstall: ## take all of that out again; configuration, queue and user stay
	etc/install.sh uninstall

deb: all ## the Debian package: target/deb/minimta_VERSION_ARCH.deb
	etc/debian/build.sh $(RELEASE) $(CARGO_TARGET_DIR)/deb

packages-test: all ## the package in a fresh Debian (debootstrap, root): from dpkg -i to purge
	tests/packages/run $(RELEASE) $(CARGO_TARGET_DIR)/packages

units-test: all ## the units under a systemd that runs in a private copy of this machine (root)
	tests/packages/units $(RELEASE)

container-test: ## what the container recipe makes, put together by hand and run (root)
	tests/packages/container $(CARGO_TARGET_DIR)/container

clean: ## remove what was built
	$(CARGO) clean
