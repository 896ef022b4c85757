//! Leaves libc as the only shared library of the program, and little to be done at its start.
//!
//! 1. The standard library unwinds through libgcc, by default the shared one, which a router would have to install
//!    for us and every start of `sendmail` would have to load (ten system calls). GCC ships the same code as an
//!    archive; taken whole, and ahead of the standard library's wish, it makes the linker drop the shared one.
//! 2. Of the mathematics library two functions are wanted, by the DNS resolver's statistics. They are taken from its
//!    archive, for the same reasons.
//! 3. Addresses that have to be corrected at every start are a tenth of a small program's file and memory. Packed
//!    they are nothing; but the C library must know the packed form, and an older one would not start the program.
//!
//! Where either is not to be had, nothing changes.

use std::env;
use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=src/build.rs");
    let target = env::var("TARGET").unwrap_or_default();
    let features = env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
    if !target.contains("linux-gnu") || features.contains("crt-static") {
        return;
    }
    if let Some(folder) = folder_of_unwinder() {
        println!("cargo:rustc-link-search=native={folder}");
        println!("cargo:rustc-link-lib=static:+whole-archive=gcc_eh");
    }
    if let Some((folder, name)) = archive_of_mathematics() {
        println!("cargo:rustc-link-search=native={folder}");
        println!("cargo:rustc-link-lib=static={name}");
    }
    if env::var("HOST").is_ok_and(|host| host == target) && libc_reads_packed_addresses() {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// Where the archive of the unwinder is.
fn folder_of_unwinder() -> Option<String> {
    Some(archive("libgcc_eh.a")?.parent()?.display().to_string())
}

/// The folder and name of glibc's libm, which is `libm-2.36.a` and the like; libm.a only says so.
fn archive_of_mathematics() -> Option<(String, String)> {
    let folder = archive("libm.a")?.parent()?.to_owned();
    let names = folder
        .read_dir()
        .ok()?
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned());
    let name = |file: String| {
        file.strip_prefix("lib")?
            .strip_suffix(".a")
            .map(str::to_owned)
    };
    let found = names.filter_map(name).find(|name| name.starts_with("m-"))?;
    Some((folder.display().to_string(), found))
}

/// An archive that the compiler would find; it answers with the bare name when there is none.
fn archive(name: &str) -> Option<PathBuf> {
    let linker = env::var("RUSTC_LINKER").unwrap_or_else(|_| "cc".to_owned());
    let path = PathBuf::from(answer(&linker, &format!("-print-file-name={name}"))?);
    (path.is_absolute() && path.is_file()).then_some(path)
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
