//! The command line as a contract: help everywhere, errors on stderr with a non-zero exit, secrets by stdin.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use crate::support::server::{Server, Setup};

fn run(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_aqueduct"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn every_command_prints_its_help() {
    for command in [
        "",
        "serve",
        "check",
        "keygen",
        "seal",
        "hash",
        "key",
        "key create",
        "key list",
        "key revoke",
        "admin-token create",
        "secrets rotate",
        "audit verify",
    ] {
        let mut arguments: Vec<&str> = command.split(' ').filter(|word| !word.is_empty()).collect();
        arguments.push("--help");
        let output = run(&arguments, "");
        assert!(
            output.status.success() && text(&output.stdout).contains("Usage"),
            "{command}: {output:?}"
        );
    }
}

#[test]
fn errors_go_to_stderr_with_a_failing_exit() {
    for arguments in [
        &["serve", "--config", "/nonexistent"][..],
        &["check", "--config", "/nonexistent"],
        &[
            "key",
            "list",
            "--config",
            "/nonexistent",
            "--repository",
            "x",
        ],
        &["nonsense"],
        &["key", "create"],
    ] {
        let output = run(arguments, "");
        assert!(
            !output.status.success() && !output.stderr.is_empty(),
            "{arguments:?}: {output:?}"
        );
        assert!(
            output.stdout.is_empty(),
            "{arguments:?}: {}",
            text(&output.stdout)
        );
    }
}

#[test]
fn a_master_key_seals_and_every_one_is_new() {
    let (one, two) = (run(&["keygen"], ""), run(&["keygen"], ""));
    assert!(one.status.success() && one.stdout != two.stdout);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("master"), &one.stdout).unwrap();
    let config = format!(
        "version = 1\n[process]\nstate_dir = \"{0}\"\n[[secrets.master]]\nid = \"m\"\nsource = \"file:{0}/master\"\n",
        dir.path().display()
    );
    std::fs::write(dir.path().join("aqueduct.toml"), config).unwrap();
    let place = dir.path().to_str().unwrap();
    let sealed = run(
        &[
            "seal",
            "--config",
            place,
            "--for",
            "resource/one/secret_access_key",
        ],
        "hush",
    );
    assert!(sealed.status.success(), "{}", text(&sealed.stderr));
    let sealed = text(&sealed.stdout);
    assert!(
        sealed.starts_with("sealed:v1:m:") && !sealed.contains("hush"),
        "{sealed}"
    );
    let resource = |name: &str| {
        format!(
            "[[s3]]\nname = \"{name}\"\nbucket = \"b-{name}\"\nregion = \"us-east-1\"\naccess_key_id = \"a\"\n\
             secret_access_key = \"{}\"\n",
            sealed.trim()
        )
    };
    std::fs::create_dir(dir.path().join("conf.d")).unwrap();
    for (name, opens) in [("one", true), ("two", false)] {
        std::fs::write(dir.path().join("conf.d/s3.toml"), resource(name)).unwrap();
        let checked = run(&["check", "--config", place], "");
        assert_eq!(
            checked.status.success(),
            opens,
            "{name}: {}{}",
            text(&checked.stdout),
            text(&checked.stderr)
        );
    }
}

#[test]
fn hashing_is_sha256_of_the_bearer() {
    let token = "0123456789012345678901234567890123456789";
    let output = run(&["hash"], &format!("{token}\n"));
    assert_eq!(
        text(&output.stdout).trim(),
        format!("sha256:{}", crate::support::sign::sha256(token.as_bytes()))
    );
}

#[test]
fn all_problems_of_a_config_are_told_at_once_with_their_places() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("aqueduct.toml"),
        "version = 1\n[limits]\nheader_byte = 1\n",
    )
    .unwrap();
    std::fs::create_dir(dir.path().join("conf.d")).unwrap();
    std::fs::write(
        dir.path().join("conf.d/a.toml"),
        "[[s3]]\nname = \"x\"\nbuket = \"y\"\n",
    )
    .unwrap();
    let output = run(&["check", "--config", dir.path().to_str().unwrap()], "");
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(!output.status.success());
    for expected in [
        "aqueduct.toml:3:",
        "header_byte",
        "header_bytes",
        "a.toml:3:",
        "buket",
        "bucket",
        "^",
    ] {
        assert!(said.contains(expected), "no {expected:?} in:\n{said}");
    }
}

#[tokio::test]
async fn an_address_in_use_is_named_with_its_reason() {
    let server = Server::start(&Setup::default()).await;
    let output = server.run(&["serve"]);
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(
        told.contains("cannot listen on 127.0.0.1:") && told.contains("in use"),
        "{told}"
    );
}
