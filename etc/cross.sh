#!/bin/sh
# Builds the program for a machine of another kind, as one static file; `make cross` and `make static` call it.
#
#   etc/cross.sh TARGET [WORD FOR CARGO...]        e.g. etc/cross.sh aarch64
#
# TARGET      made as                               needs
# x86_64      x86_64-unknown-linux-musl             a C compiler; musl-tools where there is one of their own
# aarch64     aarch64-unknown-linux-musl            gcc-aarch64-linux-gnu, and its headers: libc6-dev-arm64-cross
# armv7       armv7-unknown-linux-musleabihf, or    gcc-arm-linux-gnueabihf; of Debian libc6-dev-armhf-cross for the
#             armv7-unknown-linux-gnueabihf         second, which is taken where Rust's library for the first is not
# riscv64     riscv64gc-unknown-linux-musl          gcc-riscv64-linux-gnu; not run by anybody yet
# mips, mipsel   (not made)                         Rust ships no library for them any more. With a nightly toolchain and
#                                                   its rust-src: cargo +nightly build --release -Zbuild-std=std,panic_abort
#                                                   --target mipsel-unknown-linux-musl, where CC_mipsel_unknown_linux_musl and
#                                                   the linker are a C compiler of that machine with musl (OpenWrt's SDK has
#                                                   one). etc/openwrt is the easier way.
# TRIPLE      itself                                CC_TRIPLE, if its C compiler has no usual name
#
# Rust's library for a target is fetched by rustup, where there is one. The C compiler makes the few files of assembly and C
# of the TLS library and links; the C library of a musl target comes with Rust. A static program knows the users of
# /etc/passwd, not those of LDAP and the like.
set -eu

say() { printf '%s\n' "$*" >&2; }
missing() {
    say "cross: $*"
    exit 69
}

# The first of some programs that is installed.
first_of() {
    for program in "$@"; do
        if command -v "$program" >/dev/null; then
            printf '%s\n' "$program"
            return
        fi
    done
}

[ $# -ge 1 ] || { say "usage: etc/cross.sh TARGET [WORD FOR CARGO...]"; exit 64; }
target=$1
shift
case $target in
x86_64 | amd64) triples=x86_64-unknown-linux-musl names='x86_64-linux-musl-gcc x86_64-linux-gnu-gcc' ;;
aarch64 | arm64) triples=aarch64-unknown-linux-musl names='aarch64-linux-musl-gcc aarch64-linux-gnu-gcc' ;;
armv7 | armv7l | armhf)
    triples='armv7-unknown-linux-musleabihf armv7-unknown-linux-gnueabihf'
    names='arm-linux-musleabihf-gcc arm-linux-gnueabihf-gcc'
    ;;
riscv64) triples=riscv64gc-unknown-linux-musl names='riscv64-linux-musl-gcc riscv64-linux-gnu-gcc' ;;
mips | mipsel) missing "Rust ships no library for $target; etc/cross.sh says what is needed instead" ;;
*-*-*) triples=$target names= ;;
*) missing "$target is none of x86_64, aarch64, armv7, riscv64, and no target of Rust's" ;;
esac
# On a machine of its own kind the usual compiler does.
case $(uname -m)/$target in
x86_64/x86_64* | x86_64/amd64 | aarch64/aarch64* | aarch64/arm64 | armv7l/armv7* | riscv64/riscv64*) names="$names musl-gcc cc" ;;
esac

has_library() { [ -d "$(rustc --print sysroot)/lib/rustlib/$1/lib" ]; }
triple=
for one in $triples; do
    if has_library "$one" || { command -v rustup >/dev/null && rustup target add "$one" >/dev/null 2>&1 && has_library "$one"; }; then
        triple=$one
        break
    fi
    say "cross: Rust's library for $one is not to be had here (rustup target add $one)"
done
[ -n "$triple" ] || missing "nothing to build $target with"

small=$(printf %s "$triple" | tr - _)
capital=$(printf %s "$small" | tr '[:lower:]' '[:upper:]')
eval "compiler=\${CC_$small:-}"
# The names are words.
# shellcheck disable=SC2086,SC2154
[ -n "$compiler" ] || compiler=$(first_of $names)
[ -n "$compiler" ] || missing "no C compiler for $triple is installed; of Debian: gcc-aarch64-linux-gnu, gcc-arm-linux-gnueabihf, gcc-riscv64-linux-gnu; or name it in CC_$small"
eval "flags=\${CARGO_TARGET_${capital}_RUSTFLAGS:-}"
# Headers of glibc, hardened, would ask for functions that musl has not.
export "CC_$small=$compiler" "CFLAGS_$small=-U_FORTIFY_SOURCE" "CARGO_TARGET_${capital}_LINKER=$compiler"
# shellcheck disable=SC2154
export "CARGO_TARGET_${capital}_RUSTFLAGS=$flags -C target-feature=+crt-static"
[ $# -gt 0 ] || set -- --release
${CARGO:-cargo} build --locked --bin minimta --target "$triple" "$@"

folder=release
case " $* " in *" --release "*) ;; *) folder=debug ;; esac
printf '%s\n' "${CARGO_TARGET_DIR:-target}/$triple/$folder/minimta"
