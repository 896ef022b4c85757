//! One target of `targets/` under libFuzzer; MINIMTA_FUZZ names it. `tests/fuzz/run` starts it for each.
#![no_main]
#![allow(dead_code, unused_imports)] // of the program's rooms only some are entered

/// The program's own rooms, at the paths they have there.
#[path = "../../src"]
mod src {
    pub mod config;
    pub mod error;
    pub mod json;
    pub mod parts;
    pub mod proto;
    pub mod flow {
        pub mod receive;
    }
}
mod targets;

use std::sync::LazyLock;

use src::{config, error, flow, json, parts, proto};

static TARGET: LazyLock<targets::Target> = LazyLock::new(|| {
    let name = std::env::var("MINIMTA_FUZZ").unwrap_or_default();
    targets::find(&name).unwrap_or_else(|| panic!("MINIMTA_FUZZ={name}: there is no such target"))
});

libfuzzer_sys::fuzz_target!(|octets: &[u8]| TARGET(octets));
