//! `aqueduct secrets rotate`: cut off half way, gone on with, and under the eyes of a running server and its clients.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::origin::{Origin, answer};
use crate::support::server::{REPOSITORY_ID, Server, Setup, UPSTREAM_SECRET};
use crate::support::sign::Request;

const KEYS: usize = 8;

/// Makes keys, and gives a request signed by each.
async fn make_keys(server: &Server) -> Vec<Request> {
    let mut requests = Vec::new();
    for number in 0..KEYS {
        let body = json!({"name": format!("k{number}"), "accessType": "READ"}).to_string();
        let path = format!("/repo/{REPOSITORY_ID}/apikey");
        let made = server.admin("POST", &path, &body).await;
        let made: Value = serde_json::from_slice(&made.body).unwrap();
        let mut request = server.request("GET", "k");
        made["key"].as_str().unwrap().clone_into(&mut request.key);
        made["secret"]
            .as_str()
            .unwrap()
            .clone_into(&mut request.secret);
        requests.push(request);
    }
    requests
}

/// Every file of the config with its text.
fn files(server: &Server) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for folder in ["", "conf.d", "keys.d"] {
        for entry in fs::read_dir(server.config(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path
                .extension()
                .is_some_and(|extension| extension == "toml")
            {
                let name = path.strip_prefix(server.config("")).unwrap();
                let name = name.to_str().unwrap().to_owned();
                all.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    all
}

fn count(files: &BTreeMap<String, String>, what: &str) -> usize {
    files.values().map(|text| text.matches(what).count()).sum()
}

/// A text without its sealed texts and its checksum line: what a rotation must leave alone.
fn without_secrets(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.starts_with("# sha256:"));
    let lines = lines.map(|line| match line.split_once("\"sealed:v1:") {
        Some((before, rest)) => format!("{before}\"..\"{}", rest.split_once('"').unwrap().1),
        None => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Puts a new master before the old one, and a sealed credential with a comment into the resource.
async fn prepare(server: &Server) {
    use std::io::Write;
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_aqueduct"))
        .args([
            "seal",
            "--for",
            "resource/origin/secret_access_key",
            "--config",
        ])
        .arg(server.config(""))
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(UPSTREAM_SECRET.as_bytes()).unwrap();
    drop(stdin);
    let sealed = child.wait_with_output().unwrap().stdout;
    let sealed = String::from_utf8(sealed).unwrap();
    let main = server.config("conf.d/main.toml");
    let text = fs::read_to_string(&main).unwrap();
    let plain = format!("\"plain:{UPSTREAM_SECRET}\"");
    let text = text.replace(&plain, &format!("\"{}\"   # theirs", sealed.trim()));
    fs::write(&main, text).unwrap();

    fs::write(
        server.dir.path().join("secrets/next"),
        [7; 32].map(|byte: u8| byte ^ 0x80),
    )
    .unwrap();
    let root = server.config("aqueduct.toml");
    let text = fs::read_to_string(&root).unwrap();
    let source = server.dir.path().join("secrets/next");
    let next = format!(
        "[[secrets.master]]\nid = \"next\"\nsource = \"file:{}\"\n\n",
        source.display()
    );
    fs::write(
        &root,
        text.replacen(
            "[[secrets.master]]",
            &format!("{next}[[secrets.master]]"),
            1,
        ),
    )
    .unwrap();
    let reload = server.admin("POST", "/-/reload", "").await;
    assert_eq!(reload.status, 200, "{}", reload.text());
}

/// Asks with every key in turn until told to stop; gives what was refused.
async fn traffic(
    address: std::net::SocketAddr,
    requests: Vec<Request>,
    stop: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    for request in requests.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let mut client = crate::support::raw::Raw::connect(address).await;
        client.send(request.head()).await;
        let answer = client.response().await;
        served.fetch_add(1, Ordering::Relaxed);
        if answer.status != 200 {
            wrong.push(format!("{} {}", answer.status, answer.code()));
        }
    }
    wrong
}

fn said(output: &std::process::Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Rotates in pieces that are cut off, and then to the end; gives what was said.
fn rotate_in_pieces(server: &Server, before: &BTreeMap<String, String>) -> String {
    let rotate = ["secrets", "rotate", "--to", "next"];
    let trial = server.run(&[&rotate[..], &["--dry-run"]].concat());
    assert!(trial.status.success(), "{}", said(&trial));
    assert!(
        said(&trial).contains("conf.d/main.toml: 1 value"),
        "{}",
        said(&trial)
    );
    assert_eq!(files(server), *before, "a trial changes nothing");
    // Each writes some files and is killed: with its new text beside the file, with it in place.
    for crash_at in ["renamed:3", "synced:2", "created:1"] {
        let killed = server.run_until(&rotate, crash_at);
        assert!(!killed.status.success(), "{crash_at}: {}", said(&killed));
    }
    let half = files(server);
    let done = count(&half, "sealed:v1:next:");
    assert!(done > 0 && count(&half, "sealed:v1:test:") > 0);
    let rest = server.run(&rotate);
    assert!(rest.status.success(), "{}", said(&rest));
    assert!(
        said(&rest).contains(&format!("; {done} already.")),
        "{}",
        said(&rest)
    );
    let again = server.run(&rotate);
    assert!(again.status.success(), "{}", said(&again));
    assert!(said(&again).contains("Nothing to do"), "{}", said(&again));
    [&trial, &rest, &again].map(said).concat()
}

/// Takes the old master out of the config.
async fn forget_old_master(server: &Server) {
    let root = server.config("aqueduct.toml");
    let text = fs::read_to_string(&root).unwrap();
    let old = text.rfind("[[secrets.master]]").unwrap();
    let end = old + text[old..].find("[limits]").unwrap();
    fs::write(&root, format!("{}{}", &text[..old], &text[end..])).unwrap();
    let reload = server.admin("POST", "/-/reload", "").await;
    assert_eq!(reload.status, 200, "{}", reload.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_that_is_cut_off_goes_on_and_no_request_notices() {
    let origin = Origin::always(answer::ok(b"body")).await;
    let setup = Setup {
        storage: Some(origin.address),
        ..Setup::default()
    };
    let server = Server::start(&setup).await;
    let requests = make_keys(&server).await;
    prepare(&server).await;
    let before = files(&server);
    let counts = |files| {
        (
            count(files, "sealed:v1:test:"),
            count(files, "sealed:v1:next:"),
        )
    };
    assert_eq!(counts(&before), (KEYS + 1, 0));
    let (stop, served) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let mut clients = JoinSet::new();
    clients.spawn(traffic(
        server.s3,
        requests,
        Arc::clone(&stop),
        Arc::clone(&served),
    ));

    let all_said = rotate_in_pieces(&server, &before);
    assert!(!all_said.contains("sealed:"), "{all_said}");
    let after = files(&server);
    assert_eq!(counts(&after), (0, KEYS + 1));
    for (name, text) in &before {
        assert_eq!(
            without_secrets(text),
            without_secrets(&after[name]),
            "{name}"
        );
    }
    forget_old_master(&server).await;
    let until = served.load(Ordering::Relaxed) + 2 * KEYS;
    let started = Instant::now();
    while served.load(Ordering::Relaxed) < until {
        assert!(started.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stop.store(true, Ordering::Relaxed);
    assert_eq!(clients.join_all().await.concat(), Vec::<String>::new());
    for command in [&["check"][..], &["audit", "verify"]] {
        let output = server.run(command);
        assert!(output.status.success(), "{}", said(&output));
    }
}

#[tokio::test]
async fn what_cannot_be_sealed_again_is_named_by_its_place() {
    let origin = Origin::always(answer::ok(b"body")).await;
    let setup = Setup {
        storage: Some(origin.address),
        ..Setup::default()
    };
    let server = Server::start(&setup).await;
    make_keys(&server).await;
    prepare(&server).await;
    // From elsewhere by a link: to be changed where it is kept.
    let elsewhere = server.dir.path().join("elsewhere.toml");
    fs::rename(server.config("conf.d/main.toml"), &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, server.config("conf.d/main.toml")).unwrap();
    let kept = fs::read_to_string(&elsewhere).unwrap();
    let line = kept
        .lines()
        .position(|line| line.contains("sealed:"))
        .unwrap()
        + 1;
    let rotated = server.run(&["secrets", "rotate", "--to", "next"]);
    assert_eq!(rotated.status.code(), Some(1), "{}", said(&rotated));
    let place = format!("conf.d/main.toml:{line}: cannot be written");
    assert!(said(&rotated).contains(&place), "{}", said(&rotated));
    assert_eq!(fs::read_to_string(&elsewhere).unwrap(), kept);
    assert_eq!(count(&files(&server), "sealed:v1:test:"), 1);
    let unknown = server.run(&["secrets", "rotate", "--to", "nobody"]);
    assert_eq!(unknown.status.code(), Some(1), "{}", said(&unknown));
    assert!(
        said(&unknown).contains("no master key `nobody`"),
        "{}",
        said(&unknown)
    );
}
