//! Leaves libc as the only shared library of the program, and little to be done at its start.
//!
//! 1. The standard library unwinds through libgcc, by default the shared one, which a router would have to install
//!    for us and every start of `sendmail` would have to load (ten system calls). GCC ships the same code as an
//!    archive; taken whole, and ahead of the standard library's wish, it makes the linker drop the shared one.
//! 2. Addresses that have to be corrected at every start are a tenth of a small program's file and memory. Packed
//!    they are nothing; but the C library must know the packed form, and an older one would not start the program.
//! 3. The kernel maps 64 KiB around each page of the program that is touched, so that a submission, which runs a
//!    seventh of the program, had nearly all of it in memory, and a daemon that waits had, too. src/hot.ld puts what
//!    each of them runs side by side.
//! 4. Tables say how to unwind each function, a tenth of the program, and nothing reads them where a fault ends the process
//!    (src/flow/fault.rs). src/tables.ld leaves them out.
//!
//! Where one of them is not to be had, nothing else changes.

use std::env;
use std::path::Path;
use std::process::{Command, Stdio};

fn main() {
    println!("cargo:rerun-if-changed=src/build.rs");
    let target = env::var("TARGET").unwrap_or_default();
    if target.contains("linux") && env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        link_by("hot.ld");
        // Cargo does not say here what the profile does at a panic: Cargo.toml has it abort. Unit tests made with --release
        // end at the first one, too.
        link_by("tables.ld");
    }
    let features = env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
    if !target.contains("linux-gnu") || features.contains("crt-static") {
        return;
    }
    if let Some(folder) = folder_of_unwinder() {
        println!("cargo:rustc-link-search=native={folder}");
        println!("cargo:rustc-link-lib=static:+whole-archive=gcc_eh");
    }
    if env::var("HOST").is_ok_and(|host| host == target) && libc_reads_packed_addresses() {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// Where the archive of the unwinder is; the compiler answers with the bare name when there is none.
fn folder_of_unwinder() -> Option<String> {
    let linker = env::var("RUSTC_LINKER").unwrap_or_else(|_| "cc".to_owned());
    let path = answer(&linker, "-print-file-name=libgcc_eh.a")?;
    let folder = Path::new(&path).parent()?;
    (folder.is_absolute() && folder.is_dir()).then(|| folder.display().to_string())
}

/// Has the linker add this script to its own.
fn link_by(script: &str) {
    println!("cargo:rerun-if-changed=src/{script}");
    let source = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    // Of all that linkers take, only GNU's and LLVM's know scripts that add to their own.
    link_with(&format!("-Wl,-T,{source}/src/{script}"));
}

/// Gives the linker an argument, if it takes it: which one it is depends on the compiler and on who builds, so the
/// compiler is asked to link a program that does nothing.
fn link_with(argument: &str) {
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let folder = env::var("OUT_DIR").unwrap_or_default();
    let trial = Path::new(&folder).join("trial.rs");
    if std::fs::write(&trial, "fn main() {}\n").is_err() {
        return;
    }
    let mut command = Command::new(env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned()));
    command.args(flags.split('\u{1f}').filter(|flag| !flag.is_empty()));
    command.args(["--target", &env::var("TARGET").unwrap_or_default()]);
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        command.arg(format!("-Clinker={linker}"));
    }
    command.arg(format!("-Clink-arg={argument}"));
    command
        .arg(&trial)
        .arg("-o")
        .arg(trial.with_extension("out"));
    let linked = command.stderr(Stdio::null()).status();
    if linked.is_ok_and(|status| status.success()) {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
}

/// glibc does since 2.36. The linker may know the form earlier and would not ask.
fn libc_reads_packed_addresses() -> bool {
    let version = answer("getconf", "GNU_LIBC_VERSION").unwrap_or_default();
    let numbers = version
        .strip_prefix("glibc ")
        .and_then(|v| v.split_once('.'));
    let (major, minor) = numbers.unwrap_or_default();
    (major.parse().unwrap_or(0), minor.parse().unwrap_or(0)) >= (2, 36)
}

fn answer(program: &str, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
