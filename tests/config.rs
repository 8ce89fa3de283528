//! The example config, and one broken config for each mistake with the report that it must give.
//!
//! `AQUEDUCT_BLESS=1` writes the reports anew; read the difference before you commit it.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aqueduct::config::live::{Live, Options, SecretsMode, Trigger, check_dir, check_dir_with};
use aqueduct::config::model::{self, Field, Section};
use aqueduct::config::parse::{self, Role};
use aqueduct::keys::file::with_checksum;
use aqueduct::policy::credential::{Credential, ReadyCredential};
use aqueduct::policy::route::{Reach, Resource};
use aqueduct::telemetry::metrics::Metrics;
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

/// A resource of each kind, with the credentials that config files can give it.
const RESOURCES: &str = r#"
[[s3]]
name = "role"
bucket = "b-1"
region = "cn-north-1"
role_arn = "arn:aws-cn:iam::1:role/r"
external_id = "x"
[[s3]]
name = "web"
bucket = "b-2"
region = "eu-central-1"
role_arn = "arn:aws:iam::1:role/r"
web_identity_token = "file:token"
[[gcs]]
name = "account"
bucket = "b-3"
credentials = "file:account.json"
[[gcs]]
name = "keys"
bucket = "b-4"
endpoint = "http://127.0.0.1:4443"
access_key_id = "GOOG"
secret_access_key = "file:token"
project = "p"
allow_http = true
allow_private = true
[[azure]]
name = "key"
account = "acct"
container = "c-1"
account_key = "file:key"
[[azure]]
name = "emulator"
account = "devstoreaccount1"
container = "c-2"
endpoint = "http://127.0.0.1:10000/devstoreaccount1"
client_secret = "file:token"
tenant_id = "t"
client_id = "c"
allow_http = true
allow_private = true
[[azure]]
name = "machine"
account = "acct"
container = "c-3"
machine_identity = true
client_id = "c"
"#;

#[test]
fn resources_of_every_kind_are_compiled_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    write_resources(dir.path());
    let now = || Timestamp::UNIX_EPOCH;
    let metrics = Arc::new(Metrics::new());
    let live = Live::start(dir.path(), Options::default(), metrics, now).unwrap();
    let before = live.current();
    let of = |name: &str| -> Arc<Resource> {
        let current = live.current();
        let mut all = current.resources.iter();
        Arc::clone(all.find(|resource| &*resource.name == name).unwrap())
    };
    let source = |name: &str| match of(name).credential() {
        Some(Credential::Fetched(fetched)) => format!("{:?}", fetched.source),
        other => panic!("{other:?}"),
    };
    assert!(source("role").starts_with("AwsRole") && source("role").contains("Instance"));
    assert!(source("role").contains("sts.cn-north-1.amazonaws.com.cn"));
    assert!(source("web").starts_with("AwsWebIdentity"));
    assert!(source("account").contains("oauth2.googleapis.com"));
    assert_eq!(
        of("account").gcs().unwrap().project.as_deref(),
        Some("of-account")
    );
    assert_eq!(&*of("account").origin.host, "storage.googleapis.com");
    assert_eq!(of("keys").gcs().unwrap().project.as_deref(), Some("p"));
    assert!(matches!(
        of("keys").credential(),
        Some(Credential::Ready(ReadyCredential::Hmac(_)))
    ));
    assert_eq!(&*of("key").origin.host, "acct.blob.core.windows.net");
    assert_eq!(of("key").origin.reach, Reach::Public);
    assert!(matches!(
        of("key").credential(),
        Some(Credential::Ready(ReadyCredential::SharedKey(_)))
    ));
    assert_eq!(&*of("emulator").origin.base_path, "/devstoreaccount1");
    assert_eq!(
        &*of("emulator").azure().unwrap().account,
        "devstoreaccount1"
    );
    assert!(source("emulator").contains("login.microsoftonline.com"));
    assert!(
        source("machine").contains("169.254.169.254") && source("machine").contains("Metadata")
    );

    // Only what its new content belongs to is made anew.
    fs::write(dir.path().join("token"), "two\n").unwrap();
    live.reload(Trigger::Poll);
    for resource in &before.resources {
        let changed = ["web", "keys", "emulator"].contains(&&*resource.name);
        let same = Arc::ptr_eq(resource, &of(&resource.name));
        assert_eq!(same, !changed, "{}", resource.name);
    }
}

fn write_resources(dir: &Path) {
    let write = |name: &str, text: &str| fs::write(dir.join(name), text).unwrap();
    let state = dir.join("state");
    write(
        "aqueduct.toml",
        &format!(
            "version = 1\n[process]\nstate_dir = {:?}\n[listen]\ns3 = [\"127.0.0.1:0\"]\n",
            state.display()
        ),
    );
    fs::create_dir(dir.join("conf.d")).unwrap();
    write("conf.d/a.toml", RESOURCES);
    write("token", "one\n");
    write("key", "a2V5\n");
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let account = serde_json::json!({
        "type": "service_account",
        "project_id": "of-account",
        "private_key": pair.serialize_pem(),
        "client_email": "a@p.iam.gserviceaccount.com",
    });
    write("account.json", &account.to_string());
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
