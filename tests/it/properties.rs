//! The checks of `fuzz/` as property tests: over the seeds, over what is made of them, and over any bytes. They
//! run everywhere; the fuzzer, which is led by what it reaches, needs a C++ compiler and time.

use std::path::Path;

use proptest::prelude::*;

#[path = "../../fuzz/checks/mod.rs"]
mod checks;

use checks::CHECKS;

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(name);
    let mut seeds: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    seeds.sort();
    seeds
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect()
}

#[test]
fn every_check_has_seeds_and_holds_for_them() {
    for (name, check) in CHECKS {
        let seeds = seeds(name);
        assert!(!seeds.is_empty(), "no seeds for {name}");
        for seed in &seeds {
            check(seed);
        }
    }
}

/// A seed with a few bytes changed, put in or left out.
fn bent() -> impl Strategy<Value = (usize, Vec<u8>)> {
    let change = (
        any::<prop::sample::Index>(),
        0_u8..3,
        prop_oneof![
            any::<u8>(),
            prop::sample::select(b"%/.\r\n=&;:\"\\{}[]<>\0 +0".to_vec()),
        ],
    );
    let changes = prop::collection::vec(change, 0..6);
    (0..CHECKS.len(), any::<prop::sample::Index>(), changes).prop_map(|(check, seed, changes)| {
        let seeds = seeds(CHECKS[check].0);
        let mut bytes = seed.get(&seeds).clone();
        for (at, how, byte) in changes {
            let at = at.index(bytes.len() + 1);
            match how {
                0 if at < bytes.len() => bytes[at] = byte,
                1 if at < bytes.len() => drop(bytes.remove(at)),
                _ => bytes.insert(at, byte),
            }
        }
        (check, bytes)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(3000)))]

    #[test]
    fn checks_hold_for_bent_seeds((check, bytes) in bent()) {
        CHECKS[check].1(&bytes);
    }

    #[test]
    fn checks_hold_for_any_bytes(check in 0..CHECKS.len(), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        CHECKS[check].1(&bytes);
    }
}
