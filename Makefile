# The one door: whatever is built, tested, measured or installed here is a target of this file. `make help` lists them.

CARGO = cargo
# Where the demonstration and the program are built; cargo reads the same variable.
CARGO_TARGET_DIR ?= target
export CARGO_TARGET_DIR

PREFIX  = /usr/local
SBINDIR = $(PREFIX)/sbin
BINDIR  = $(PREFIX)/bin
MANDIR  = $(PREFIX)/share/man
CONFDIR = /etc/minimta
DESTDIR =

RELEASE = $(CARGO_TARGET_DIR)/release/minimta
DEBUG   = $(CARGO_TARGET_DIR)/debug/minimta
# What mandoc says of manuals that are not installed on this machine.
UNLINTED = referenced manual not found\|outdated mandoc.db
MANUALS = etc/man/minimta.8 etc/man/minimta.toml.5 etc/man/minimta-queue.5

.PHONY: all help demo test lint bench interop size install clean

all: ## the program as it is installed: target/release/minimta
	$(CARGO) build --release --locked

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1:/p' Makefile | awk '{ i = index($$0, ":"); printf "%-16s%s\n", substr($$0, 1, i - 1), substr($$0, i + 1) }'

demo: ## send a message through a private system under target/demo, step by step
	$(CARGO) build --locked
	tests/demo.sh $(DEBUG) $(CARGO_TARGET_DIR)/demo

test: ## all tests; nothing but cargo and a C compiler is needed
	$(CARGO) test --locked

lint: ## format, clippy without a warning, manuals
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets --locked -- -D warnings
	if command -v mandoc >/dev/null; then ! mandoc -T lint $(MANUALS) 2>&1 | grep -v "$(UNLINTED)"; fi

bench: ## figures of one message: time, memory, system calls, syncs; beside dma's where it is installed
	tests/bench/run

interop: ## the mail programs that are installed here, against minimta
	tests/interop/run

size: all ## what the program weighs: octets, shared libraries, crates
	@printf 'octets            %s\n' "$$(wc -c < $(RELEASE))"
	@printf 'shared libraries  %s\n' "$$(ldd $(RELEASE) 2>/dev/null | sed -n 's/^[[:space:]]*\([^ ]*\.so[^ ]*\).*/\1/p' | sed 's|.*/||; /^linux-vdso/d; /^ld-/d' | tr '\n' ' ')"
	@printf 'crates            %s\n' "$$($(CARGO) tree --locked --edges normal --prefix none | sed 's/ (\*)$$//' | sort -u | grep -vc '^minimta ')"

# No file of another program is replaced, and no configuration. The program gets no special rights: it works for
# whoever runs it, in the spool that his configuration names.
install: ## program, links, manuals, sample configuration; after make; PREFIX=/usr/local DESTDIR=
	@test -x $(RELEASE) || { echo "$(RELEASE) is not there; run make first, as the user who has cargo"; exit 1; }
	install -d $(DESTDIR)$(SBINDIR) $(DESTDIR)$(BINDIR) $(DESTDIR)$(MANDIR)/man8 $(DESTDIR)$(MANDIR)/man5 $(DESTDIR)$(CONFDIR)
	install -m 0755 $(RELEASE) $(DESTDIR)$(SBINDIR)/minimta
	install -m 0644 etc/man/minimta.8 $(DESTDIR)$(MANDIR)/man8/
	install -m 0644 etc/man/minimta.toml.5 etc/man/minimta-queue.5 $(DESTDIR)$(MANDIR)/man5/
	@for link in $(SBINDIR)/sendmail $(BINDIR)/mailq $(BINDIR)/newaliases; do \
		place=$(DESTDIR)$$link; \
		case $$(readlink $$place) in \
			$(SBINDIR)/minimta) ;; \
			'') if test -e $$place; \
				then echo "$$place belongs to another program and stays; remove that one first"; \
				else ln -s $(SBINDIR)/minimta $$place; fi ;; \
			*) echo "$$place leads elsewhere and stays; remove it first" ;; \
		esac; \
	done
	@if test -e $(DESTDIR)$(CONFDIR)/minimta.toml; \
		then echo "$(DESTDIR)$(CONFDIR)/minimta.toml is there already and stays"; \
		else install -m 0644 etc/minimta.toml $(DESTDIR)$(CONFDIR)/minimta.toml; fi

clean: ## remove what was built
	$(CARGO) clean
