//! Leaves libc as the only shared library of the program.
//!
//! The standard library unwinds through libgcc, by default the shared one, which a router would have to
//! install for us and every start of `sendmail` would have to load (ten system calls). GCC ships the same
//! code as an archive; taken whole, and ahead of the standard library's wish, it makes the linker drop the
//! shared one. Where there is no such archive, nothing changes.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=src/build.rs");
    let target = std::env::var("TARGET").unwrap_or_default();
    if !target.contains("linux-gnu")
        || std::env::var_os("CARGO_CFG_TARGET_FEATURE")
            .is_some_and(|f| f.to_string_lossy().contains("crt-static"))
    {
        return;
    }
    let linker = std::env::var("RUSTC_LINKER").unwrap_or_else(|_| "cc".to_owned());
    let Ok(answer) = Command::new(linker)
        .arg("-print-file-name=libgcc_eh.a")
        .output()
    else {
        return;
    };
    let path = String::from_utf8_lossy(&answer.stdout);
    // Without the archive the compiler answers with the bare name.
    if let Some(folder) = Path::new(path.trim())
        .parent()
        .filter(|f| f.is_dir() && f.is_absolute())
    {
        println!("cargo:rustc-link-search=native={}", folder.display());
        println!("cargo:rustc-link-lib=static:+whole-archive=gcc_eh");
    }
}
