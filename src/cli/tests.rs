//! Whole commands, with streams of their own, on a temporary config directory.

use std::io::Cursor;

use serde_json::Value;

use super::*;
use crate::config::store::tests_support::{CANARIES, Fixture, now};
use crate::keys::hash::TokenForm;
use crate::keys::seal::{Aad, MasterRing};
use crate::secret::Secret;

struct Ran {
    code: ExitCode,
    out: String,
    err: String,
}

impl Ran {
    fn ok(&self) -> bool {
        format!("{:?}", self.code) == format!("{:?}", ExitCode::SUCCESS)
    }

    fn is(&self, code: u8) -> bool {
        format!("{:?}", self.code) == format!("{:?}", ExitCode::from(code))
    }
}

const COMMANDS: Commands = Commands {
    serve: |dir| {
        if dir == Path::new("/etc/aqueduct") {
            ExitCode::from(40)
        } else {
            ExitCode::from(41)
        }
    },
    demo: || ExitCode::from(42),
    check_online: |_, out| writeln!(out, "archive (gcs): cannot be used").map(|()| false),
    now,
};

fn run(line: &str, stdin: &[u8]) -> Ran {
    let args = ["aqueduct"].into_iter().chain(line.split_whitespace());
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = run_with(
        args.map(OsString::from),
        COMMANDS,
        &mut Streams {
            stdin: &mut Cursor::new(stdin),
            stdout: &mut out,
            stderr: &mut err,
        },
    );
    Ran {
        code,
        out: String::from_utf8(out).unwrap(),
        err: String::from_utf8(err).unwrap(),
    }
}

fn on(fixture: &Fixture, line: &str) -> Ran {
    run(&format!("{line} --config {}", fixture.dir().display()), b"")
}

#[test]
fn the_arguments_are_consistent() {
    use clap::CommandFactory;
    Cli::command().debug_assert();
}

#[test]
fn help_goes_to_stdout_and_mistakes_to_stderr() {
    for line in [
        "--help",
        "--version",
        "serve --help",
        "check --help",
        "demo --help",
        "keygen --help",
        "seal --help",
        "hash --help",
        "key --help",
        "key create --help",
        "key list --help",
        "key revoke --help",
        "admin-token create --help",
    ] {
        let ran = run(line, b"");
        assert!(ran.ok() && ran.err.is_empty(), "{line}: {}", ran.err);
        assert!(ran.out.contains("aqueduct"), "{line}");
    }
    for line in [
        "",
        "nothing",
        "key",
        "key create",
        "key create --repository r",
        "key create --repository r --name n --access OWNER",
        "key create --repository r --name n --type OPENAI --access READ",
        "key create --repository r --name n --expires tomorrow",
        "key revoke not-a-uuid",
        "admin-token create --name n --role root",
        "seal",
    ] {
        let ran = run(line, b"");
        assert!(ran.is(2) && ran.out.is_empty(), "{line}: {}", ran.out);
        assert!(!ran.err.is_empty(), "{line}");
    }
}

#[test]
fn serve_and_demo_are_the_callers() {
    assert!(run("serve", b"").is(40));
    assert!(run("serve --config /x", b"").is(41));
    assert!(run("demo", b"").is(42));
}

#[test]
fn check_reports_problems_with_the_exit_code_for_them() {
    let fixture = Fixture::new();
    let good = on(&fixture, "check");
    assert!(good.ok(), "{}{}", good.out, good.err);
    let text = fixture.read("conf.d/media.toml");
    fixture.write("conf.d/media.toml", &text.replace("bucket =", "buckt ="));
    let bad = on(&fixture, "check");
    assert!(bad.is(78) && bad.out.is_empty());
    assert!(bad.err.contains("media.toml:4:1") && bad.err.contains("did you mean `bucket`"));
    let bad = on(&fixture, "check --json --no-secrets");
    assert!(bad.is(78));
    let report: Value = serde_json::from_str(&bad.out).unwrap();
    assert_eq!(report["ok"], false);
    fixture.write(
        "conf.d/media.toml",
        &text.replace("file:../s3-secret", "env:AQUEDUCT_TEST_ABSENT"),
    );
    assert!(on(&fixture, "check").is(78));
    assert!(on(&fixture, "check --no-secrets").ok());
}

#[test]
fn keygen_makes_a_key_that_the_ring_takes() {
    let (one, two) = (run("keygen", b""), run("keygen", b""));
    assert_ne!(one.out, two.out);
    let secret = Secret::new(one.out);
    assert!(MasterRing::new(vec![("a".into(), secret)]).is_ok());
}

#[test]
fn hash_takes_one_line_and_refuses_what_can_be_guessed() {
    let token = b"a-token-of-more-than-thirty-two-characters";
    let expected = format!("{}\n", hash::format(&hash::sha256(token)));
    for end in ["", "\n", "\r\n"] {
        let given = [token, end.as_bytes()].concat();
        assert_eq!(run("hash", &given).out, expected);
    }
    let long = vec![b'x'; 40_000];
    for bad in [&b""[..], b"\n", b"short", &long] {
        let ran = run("hash", bad);
        assert!(ran.is(1) && ran.out.is_empty());
    }
}

#[test]
fn a_sealed_secret_opens_for_its_resource_even_before_the_config_is_whole() {
    let fixture = Fixture::new();
    fixture.write("conf.d/media.toml", "[[s3]]\nname = \"assets\"\n");
    let line = format!(
        "seal --for resource/assets/secret_access_key --config {}",
        fixture.dir().display()
    );
    let ran = run(&line, b"an upstream secret\n");
    assert!(ran.ok(), "{}", ran.err);
    let ring = live::masters(&fixture.dir(), now()).unwrap();
    let aad = Aad::Resource {
        name: "assets",
        field: "secret_access_key",
    };
    let opened = ring.open(aad, ran.out.trim()).unwrap();
    assert_eq!(opened.expose(), b"an upstream secret");
    for owner in [
        "assets",
        "key/a/b",
        "resource/a",
        "resource/A/b",
        "resource/a/b/c",
        "resource//b",
    ] {
        let line = format!("seal --for {owner} --config {}", fixture.dir().display());
        let ran = run(&line, b"s");
        assert!(ran.is(1) && ran.out.is_empty(), "{owner}");
    }
    fixture.write("../master", "not a master key");
    let ran = run(&line, b"CANARYsecretCANARY");
    assert!(
        ran.is(78) && ran.err.contains("32 random bytes"),
        "{}",
        ran.err
    );
    assert!(!ran.err.contains("CANARY") && !ran.err.contains("not a master key"));
}

#[test]
fn keys_are_made_listed_and_revoked_without_a_server() {
    let fixture = Fixture::new();
    let made = on(
        &fixture,
        "key create --repository prod --name ci --access write --write-only --expires 2027-01-31T00:00:00Z --json",
    );
    assert!(made.ok(), "{}", made.err);
    let made: Value = serde_json::from_str(&made.out).unwrap();
    let ai = on(
        &fixture,
        "key create --repository prod --name ai --type OPENAI",
    );
    assert!(ai.ok(), "{}", ai.err);
    let secret = ai
        .out
        .lines()
        .find_map(|line| line.strip_prefix("secret  "))
        .unwrap();
    assert_eq!(hash::token_form(secret), TokenForm::Ours);
    assert!(on(&fixture, "key create --repository prod --name plain").ok());

    let listed = on(&fixture, "key list --repository prod --json");
    let listed: Value = serde_json::from_str(&listed.out).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 3);
    let of = |name: &str| {
        let mut keys = listed.as_array().unwrap().iter();
        keys.find(|key| key["name"] == name).unwrap()
    };
    assert_eq!(of("ci")["access"], "WRITE");
    assert_eq!(of("ci")["write_only"], true);
    assert_eq!(of("plain")["access"], "READ");
    assert_eq!(of("ai")["type"], "openai");
    let text = on(&fixture, "key list --repository prod");
    assert_eq!(text.out.lines().count(), 3);
    assert!(text.out.contains("until 2027-01-31T00:00:00Z"));

    let id = made["id"].as_str().unwrap();
    assert!(on(&fixture, &format!("key revoke {id}")).ok());
    let again = on(&fixture, &format!("key revoke {id}"));
    assert!(again.is(1) && again.err.contains("no such key"));
    assert!(on(&fixture, "key list --repository absent").is(1));
    assert_eq!(
        on(&fixture, "key list --repository prod")
            .out
            .lines()
            .count(),
        2
    );
    assert!(
        fixture
            .audit_lines()
            .iter()
            .all(|line| line["actor"].as_str().unwrap().starts_with("cli:"))
    );
    let written = fixture.everything_written();
    for planted in CANARIES
        .iter()
        .copied()
        .chain([secret, made["secret"].as_str().unwrap()])
    {
        assert!(!written.contains(planted));
    }
}

#[test]
fn a_running_server_sees_what_the_command_line_did() {
    let fixture = Fixture::new();
    let live = fixture.live();
    let made = on(&fixture, "key create --repository prod --name ci --json");
    let made: Value = serde_json::from_str(&made.out).unwrap();
    live.reload(live::Trigger::Watch);
    assert!(
        live.current()
            .s3_keys
            .contains_key(made["key"].as_str().unwrap())
    );
    on(
        &fixture,
        &format!("key revoke {}", made["id"].as_str().unwrap()),
    );
    live.reload(live::Trigger::Watch);
    assert!(live.current().s3_keys.is_empty());
}

#[test]
fn a_revocation_does_not_wait_for_a_valid_config() {
    let fixture = Fixture::new();
    let live = fixture.live();
    let made = on(&fixture, "key create --repository prod --name ci --json");
    let made: Value = serde_json::from_str(&made.out).unwrap();
    live.reload(live::Trigger::Watch);
    assert_eq!(live.current().s3_keys.len(), 1);
    fixture.write("conf.d/broken.toml", "[[s3]\n");
    let id = made["id"].as_str().unwrap();
    let ran = on(&fixture, &format!("key revoke {id}"));
    assert!(
        ran.is(1) && ran.err.contains("the key is revoked"),
        "{}",
        ran.err
    );
    live.reload(live::Trigger::Poll);
    assert!(live.current().s3_keys.is_empty());
}

#[test]
fn an_admin_token_is_printed_once_and_its_hash_is_kept() {
    let fixture = Fixture::new();
    let before = fixture.read("aqueduct.toml");
    let ran = on(&fixture, "admin-token create --name ann --role viewer");
    assert!(ran.ok(), "{}", ran.err);
    let token = ran.out.trim();
    let after = fixture.read("aqueduct.toml");
    assert!(!after.contains(token));
    for line in before.lines() {
        assert!(after.contains(line), "{line}");
    }
    let live = fixture.live();
    let current = live.current();
    let mut tokens = current.admin.tokens.iter();
    let known = tokens.find(|known| &*known.name == "ann").unwrap();
    assert_eq!(known.sha256, hash::sha256(token.as_bytes()));
    let again = on(&fixture, "admin-token create --name ann --role viewer");
    assert!(again.is(1) && again.err.contains("name"));
    assert_eq!(again.out, "");
}

#[test]
fn where_the_root_file_is_read_only_the_lines_are_printed() {
    let fixture = Fixture::new();
    let text = fixture.read("aqueduct.toml");
    let elsewhere = fixture.state().join("aqueduct.toml");
    std::fs::write(&elsewhere, &text).unwrap();
    std::fs::remove_file(fixture.dir().join("aqueduct.toml")).unwrap();
    std::os::unix::fs::symlink(&elsewhere, fixture.dir().join("aqueduct.toml")).unwrap();
    let ran = on(&fixture, "admin-token create --name ann --role metrics");
    assert!(ran.ok(), "{}", ran.err);
    let digest = hash::format(&hash::sha256(ran.out.trim().as_bytes()));
    assert!(ran.err.contains("[[admin.token]]") && ran.err.contains(&digest));
    assert_eq!(std::fs::read_to_string(elsewhere).unwrap(), text);
}

#[test]
fn resources_are_tried_when_that_is_asked_for() {
    let fixture = Fixture::new();
    let ran = on(&fixture, "check");
    assert!(ran.ok() && !ran.out.contains("archive"), "{}", ran.out);
    let ran = on(&fixture, "check --online");
    assert!(ran.is(1), "{}", ran.err);
    assert!(
        ran.out.contains("archive (gcs): cannot be used"),
        "{}",
        ran.out
    );
    assert!(ran.err.contains("not every resource"), "{}", ran.err);
    let ran = on(&fixture, "check --online --no-secrets");
    assert!(ran.is(2), "{}", ran.err);
}
