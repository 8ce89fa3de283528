//! One binary for all checks; `FUZZ_CHECK` names the one that libFuzzer feeds.

#![no_main]

use std::sync::LazyLock;

#[path = "../checks/mod.rs"]
mod checks;

static CHECK: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_CHECK").expect("FUZZ_CHECK names a check");
    let found = checks::CHECKS.iter().find(|(known, _)| *known == name);
    found.expect("a check of that name").1
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| CHECK(data));
