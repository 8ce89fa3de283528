//! Disks that are full and directories that cannot be written (M3): requests are served, changes are refused with 503
//! and leave nothing behind, and all is well once there is room again.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::origin::{Origin, answer};
use crate::support::server::{Around, REPOSITORY_ID, Server, Setup};

async fn start(around: Around) -> Option<(Origin, Server)> {
    if !around.is_possible() {
        say_skipped(around);
        return None;
    }
    let origin = Origin::always(answer::ok(b"body")).await;
    let server = Server::start(&Setup {
        storage: Some(origin.address),
        around,
        ..Setup::default()
    })
    .await;
    Some((origin, server))
}

#[expect(
    clippy::print_stderr,
    reason = "a test that did not run must not look like one that did"
)]
fn say_skipped(around: Around) {
    eprintln!("SKIPPED: this machine does not allow {around:?} (unshare --mount)");
}

fn keys_path() -> String {
    format!("/repo/{REPOSITORY_ID}/apikey")
}

async fn create(server: &Server) -> (u16, Value) {
    let body = json!({"name": "k", "accessType": "READ"}).to_string();
    let answer = server.admin("POST", &keys_path(), &body).await;
    (answer.status, serde_json::from_slice(&answer.body).unwrap())
}

/// Every kind of change is refused for now, and what is there is served on.
async fn changes_are_refused(server: &Server, standing: &str, what: &str) {
    let one = format!("{}/{standing}", keys_path());
    let body = json!({"name": "other", "accessType": "READ"}).to_string();
    for (method, path, body) in [("POST", &keys_path(), &*body), ("PUT", &one, &*body)] {
        let answer = server.admin(method, path, body).await;
        assert_eq!(answer.status, 503, "{what}: {method} {}", answer.text());
        assert!(
            answer.text().contains("DEGRADED"),
            "{what}: {}",
            answer.text()
        );
        assert_eq!(server.metric("aqueduct_admin_writable").await, 0, "{what}");
        assert_eq!(server.get("k").await.status, 200, "{what}");
    }
    assert_eq!(
        server.admin("GET", "/readyz", "").await.status,
        200,
        "{what}"
    );
    let listed = server.admin("GET", &keys_path(), "").await.text();
    assert!(
        listed.contains(standing) && !listed.contains("other"),
        "{what}: {listed}"
    );
}

async fn changes_are_taken_again(server: &Server, what: &str) {
    let (status, made) = create(server).await;
    assert_eq!(status, 201, "{what}: {made}");
    assert_eq!(server.metric("aqueduct_admin_writable").await, 1, "{what}");
}

fn standing(made: &Value) -> String {
    made["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_change_that_cannot_be_put_on_record_is_refused() {
    let Some((_origin, server)) = start(Around::Usual).await else {
        return;
    };
    let standing = standing(&create(&server).await.1);
    let log = server.dir.path().join("state/audit.log");
    let kept = log.with_extension("kept");
    fs::rename(&log, &kept).unwrap();
    // Opens, and takes no byte, as a full disk.
    symlink("/dev/full", &log).unwrap();
    let failures = server.metric("aqueduct_audit_write_failures_total").await;
    changes_are_refused(&server, &standing, "full log").await;
    let one = format!("{}/{standing}", keys_path());
    assert_eq!(server.admin("DELETE", &one, "").await.status, 503);
    assert!(server.metric("aqueduct_audit_write_failures_total").await >= failures + 3);
    fs::rename(&kept, &log).unwrap();
    changes_are_taken_again(&server, "there is room").await;
    assert_eq!(server.admin("DELETE", &one, "").await.status, 200);
    let verified = server.run(&["audit", "verify"]);
    assert!(
        verified.status.success(),
        "{}",
        String::from_utf8_lossy(&verified.stderr)
    );
}

/// A file that takes what room there is.
fn fill(dir: &std::path::Path) -> PathBuf {
    use std::io::Write;
    let path = dir.join("filling");
    let mut file = fs::File::create(&path).unwrap();
    // By single bytes at the end, so that not one is left.
    for block in [65536, 4096, 1] {
        while file.write_all(&vec![b'x'; block]).is_ok() {}
    }
    path
}

fn remount(server: &Server, name: &str, how: &str) {
    let pid = server.pid().as_raw_nonzero().to_string();
    let path = server.dir.path().join(name);
    let mut command = Command::new("nsenter");
    command.args(["--target", &pid, "--mount"]);
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--preserve-credentials"]);
    }
    let output = command
        .args(["mount", "-o", &format!("remount,{how}")])
        .arg(path)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test]
async fn full_and_read_only_file_systems_cost_changes_alone() {
    let Some((_origin, server)) = start(Around::OwnMounts).await else {
        return;
    };
    let (_, made) = create(&server).await;
    let standing = standing(&made);
    // The file systems are seen through the process alone.
    let inside = PathBuf::from(format!("/proc/{}/root", server.pid().as_raw_nonzero()));
    let at = |name: &str| {
        let path = server.dir.path().join(name);
        inside.join(path.strip_prefix("/").unwrap())
    };
    for name in ["etc/config/keys.d", "state"] {
        let filling = fill(&at(name));
        // The last blocks of files that are there have room for some lines more.
        let mut fitted = 0;
        while name == "state" && create(&server).await.0 == 201 {
            fitted += 1;
            assert!(fitted < 100, "{name} does not fill");
        }
        changes_are_refused(&server, &standing, &format!("{name} is full")).await;
        fs::remove_file(filling).unwrap();
        changes_are_taken_again(&server, &format!("{name} has room")).await;
        remount(&server, name, "ro");
        changes_are_refused(&server, &standing, &format!("{name} is read-only")).await;
        remount(&server, name, "rw");
        changes_are_taken_again(&server, &format!("{name} can be written")).await;
    }
    let names = fs::read_dir(at("etc/config/keys.d")).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    assert!(
        names
            .iter()
            .all(|name| !name.to_str().unwrap().contains(".tmp-")),
        "{names:?}"
    );

    let log = at("state/audit.log");
    let verified = server.run(&["audit", "verify", "--file", log.to_str().unwrap()]);
    assert!(
        verified.status.success(),
        "{}",
        String::from_utf8_lossy(&verified.stderr)
    );

    // A revocation needs the state directory alone.
    remount(&server, "etc/config/keys.d", "ro");
    let one = format!("{}/{standing}", keys_path());
    let revoked = server.admin("DELETE", &one, "").await;
    assert_eq!(revoked.status, 200, "{}", revoked.text());
    assert!(
        revoked.text().contains("could not be changed"),
        "{}",
        revoked.text()
    );
    let listed = server.admin("GET", &keys_path(), "").await.text();
    assert!(!listed.contains(&standing));
}

#[tokio::test]
async fn log_lines_that_find_no_room_are_counted() {
    let Some((_origin, server)) = start(Around::FullStdout).await else {
        return;
    };
    let started = Instant::now();
    let mut sent = 0;
    while server.metric("aqueduct_log_dropped_total").await < 5 {
        assert_eq!(server.get("k").await.status, 200);
        sent += 1;
        assert!(
            started.elapsed() < Duration::from_secs(10),
            "none of {sent} lines is counted"
        );
    }
    assert!(server.log().contains("the access log cannot be written"));
}
