//! The example config, and one broken config for each mistake with the report that it must give.
//!
//! `AQUEDUCT_BLESS=1` writes the reports anew; read the difference before you commit it.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::fs;
use std::path::{Path, PathBuf};

use aqueduct::config::live::{SecretsMode, check_dir, check_dir_with};
use aqueduct::config::model::{self, Field, Section};
use aqueduct::config::parse::{self, Role};
use aqueduct::keys::file::with_checksum;
use jiff::Timestamp;

const EXAMPLES: &[&str] = &[
    "aqueduct.toml",
    "conf.d/media.toml",
    "conf.d/ai.toml",
    "keys.d/prod-eu-data--example.toml",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_example_config_checks_without_secrets() {
    let report = check_dir(
        &root().join("conf"),
        SecretsMode::Skip,
        Timestamp::UNIX_EPOCH,
    );
    let problems = report
        .problems()
        .iter()
        // How many files this machine may open is no matter of the example's.
        .filter(|problem| problem.code != "W002")
        .collect::<Vec<_>>();
    assert!(problems.is_empty(), "{report}");
}

#[test]
fn what_the_example_has_commented_out_parses_too() {
    for name in EXAMPLES {
        let path = root().join("conf").join(name);
        let text: String = fs::read_to_string(&path)
            .unwrap()
            .lines()
            .filter(|line| !line.starts_with("# sha256:"))
            .map(|line| match line.strip_prefix('#') {
                Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') => {
                    format!("{rest}\n")
                }
                Some(_) | None => format!("{line}\n"),
            })
            .collect();
        let role = match *name {
            "aqueduct.toml" => Role::Root,
            _ => Role::Part,
        };
        let (_, problems) = parse::document(&path, role, &text);
        assert!(problems.is_empty(), "{problems:?}");
    }
}

#[test]
fn every_field_of_the_model_is_in_the_example() {
    let text: String = EXAMPLES
        .iter()
        .map(|name| fs::read_to_string(root().join("conf").join(name)).unwrap())
        .collect();
    let sections: &[(&str, &[Field])] = &[
        (model::Process::HEADER, model::Process::FIELDS),
        (model::Listen::HEADER, model::Listen::FIELDS),
        (model::BaseDomains::HEADER, model::BaseDomains::FIELDS),
        (model::Tls::HEADER, model::Tls::FIELDS),
        (model::Cert::HEADER, model::Cert::FIELDS),
        (model::Cors::HEADER, model::Cors::FIELDS),
        (model::Admin::HEADER, model::Admin::FIELDS),
        (model::AdminToken::HEADER, model::AdminToken::FIELDS),
        (model::Secrets::HEADER, model::Secrets::FIELDS),
        (model::Master::HEADER, model::Master::FIELDS),
        (model::Limits::HEADER, model::Limits::FIELDS),
        (model::Metrics::HEADER, model::Metrics::FIELDS),
        (model::Log::HEADER, model::Log::FIELDS),
        (model::S3::HEADER, model::S3::FIELDS),
        (model::Timeouts::HEADER, model::Timeouts::FIELDS),
        (model::Gcs::HEADER, model::Gcs::FIELDS),
        (model::Azure::HEADER, model::Azure::FIELDS),
        (model::Ai::HEADER, model::Ai::FIELDS),
        (model::ModelAlias::HEADER, model::ModelAlias::FIELDS),
        (model::Repository::HEADER, model::Repository::FIELDS),
        (model::BucketEntry::HEADER, model::BucketEntry::FIELDS),
        (
            model::RepositoryLimits::HEADER,
            model::RepositoryLimits::FIELDS,
        ),
        (model::Key::HEADER, model::Key::FIELDS),
    ];
    for (header, fields) in sections {
        for field in *fields {
            let name = field.name.trim_start_matches("r#");
            let is_written = text.contains(&format!("{name} = "))
                || text.contains(&format!("{name}]"))
                || text.contains(&format!("{name}]]"));
            assert!(is_written, "`{name}` of {header} is in no example");
        }
    }
}

#[test]
fn each_mistake_gives_its_report() {
    let dir = root().join("tests/fixtures/config/bad");
    let mut cases: Vec<PathBuf> = fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    cases.sort();
    assert!(!cases.is_empty());
    for case in cases {
        check_case(&case);
    }
}

fn check_case(case: &Path) {
    let copy = tempfile::tempdir().unwrap();
    fill(case, case, copy.path());
    let report = check_dir_with(
        copy.path(),
        SecretsMode::Resolve,
        Timestamp::UNIX_EPOCH,
        |name| (name == "SET").then(|| aqueduct::secret::Secret::new(*b"CANARY-env")),
    );
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let limit = limit.current.map_or(0, std::convert::identity).to_string();
    let shown = report
        .to_string()
        .replace(&format!("the limit is {limit}"), "the limit is LIMIT")
        .replace(&format!("{}/", copy.path().display()), "");
    let json = report.to_json().to_string();
    assert!(!shown.contains("CANARY"), "{shown}");
    assert!(!json.contains("CANARY"), "{json}");
    let expected = case.join("report.txt");
    if std::env::var_os("AQUEDUCT_BLESS").is_some() {
        fs::write(&expected, &shown).unwrap();
    }
    let wanted = fs::read_to_string(&expected).unwrap_or_default();
    assert_eq!(shown, wanted, "{}", case.display());
}

/// Copies a case to where it may be written. A case without `aqueduct.toml` gets the least one; files of `keys.d`
/// get their checksum unless they have one.
fn fill(case: &Path, from: &Path, to: &Path) {
    if from == case && !case.join("aqueduct.toml").exists() && !case.ends_with("no-root-file") {
        let least = "version = 1\n[listen]\ns3 = [\"127.0.0.1:0\"]\n";
        fs::write(to.join("aqueduct.toml"), least).unwrap();
    }
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            fs::create_dir(&target).unwrap();
            fill(case, &path, &target);
        } else if path.extension().is_some_and(|ext| ext == "toml") {
            let text = fs::read_to_string(&path).unwrap();
            let bare = from.ends_with("keys.d") && !text.contains("# sha256:");
            let text = if bare { with_checksum(&text) } else { text };
            fs::write(target, text).unwrap();
        }
    }
}
