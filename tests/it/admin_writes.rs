//! Writes of the admin API that are cut off (R4) or contend with one another and with git (R5).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::origin::{Origin, answer};
use crate::support::server::{REPOSITORY_ID, Server, Setup};

/// The signal that ends a process without asking it.
const SIGKILL: i32 = 9;

/// A write cut off at each of these leaves what was, or what was to be. As `config::store::step` names them, in order.
const STEPS: &[&str] = &[
    "locked",
    "loaded",
    "matched",
    "edited",
    "checked",
    "intended",
    "created",
    "synced",
    "renamed",
    "dir-synced",
    "installed",
    "recorded",
];

/// From this step on, the new state is what a restart finds.
const POINT_OF_NO_RETURN: &str = "renamed";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Write {
    Create,
    Update,
    Delete,
}

const WRITES: [Write; 3] = [Write::Create, Write::Update, Write::Delete];

fn keys_path() -> String {
    format!("/repo/{REPOSITORY_ID}/apikey")
}

async fn server(crash_at: &'static str) -> (Origin, Server) {
    let origin = Origin::always(answer::ok(b"body")).await;
    let server = Server::start(&Setup {
        storage: Some(origin.address),
        crash_at,
        ..Setup::default()
    })
    .await;
    (origin, server)
}

/// Names of the keys that are served, by id; the one that every test's config has is left out.
async fn keys(server: &Server) -> BTreeMap<String, String> {
    let listed = server.admin("GET", &keys_path(), "").await;
    let listed: Value = serde_json::from_slice(&listed.body).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let keys = listed["keys"].as_array().unwrap().iter();
    keys.map(|key| (text(&key["id"]), text(&key["name"])))
        .filter(|(_, name)| name != "test")
        .collect()
}

async fn create(server: &Server, name: &str) -> String {
    let body = json!({"name": name, "accessType": "READ"}).to_string();
    let created = server.admin("POST", &keys_path(), &body).await;
    assert_eq!(created.status, 201, "{}", created.text());
    let created: Value = serde_json::from_slice(&created.body).unwrap();
    created["id"].as_str().unwrap().to_owned()
}

/// What a writer that was cut off leaves beside its files.
fn leftovers(server: &Server) -> Vec<String> {
    let mut found = Vec::new();
    for folder in ["", "conf.d", "keys.d"] {
        for entry in fs::read_dir(server.config(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.contains(".tmp-") {
                found.push(name);
            }
        }
    }
    found
}

/// After a restart: the config is whole, and nothing lies about.
async fn check_whole(server: &Server, what: &str) {
    let status = server.admin("GET", "/-/status", "").await;
    let status: Value = serde_json::from_slice(&status.body).unwrap();
    assert_eq!(status["config"]["applied"], true, "{what}: {status}");
    assert_eq!(status["config"]["problems"], json!([]), "{what}");
    assert_eq!(leftovers(server), Vec::<String>::new(), "{what}");
}

async fn cut_off_at(server: &mut Server, write: Write, step: &str, what: &str) {
    server.restart("").await;
    let standing = create(server, "standing").await;
    let before = keys(server).await;
    rustix::process::kill_process(server.pid(), rustix::process::Signal::KILL).unwrap();
    server.ended().await;
    // The lock is taken once before, at start, to sweep.
    let crash_at = if step == "locked" { "locked:2" } else { step };
    server.restart(crash_at).await;
    let one = format!("{}/{standing}", keys_path());
    let name = |name: &str| json!({"name": name, "accessType": "READ"}).to_string();
    let (method, path, body) = match write {
        Write::Create => ("POST", keys_path(), name("made")),
        Write::Update => ("PUT", one, name("renamed")),
        Write::Delete => ("DELETE", one, String::new()),
    };
    let answered = server.ask_admin_with(method, &path, &body, "").await;
    assert!(answered.is_none(), "{what}: got an answer");
    assert_eq!(server.ended().await, Some(SIGKILL), "{what}");
    server.restart("").await;
    check_whole(server, what).await;

    let after = keys(server).await;
    let is_new = STEPS.iter().position(|known| *known == step)
        >= STEPS.iter().position(|known| *known == POINT_OF_NO_RETURN);
    match write {
        Write::Create => {
            let made: Vec<_> = after
                .iter()
                .filter(|(id, _)| !before.contains_key(*id))
                .collect();
            assert_eq!(made.len(), usize::from(is_new), "{what}: {made:?}");
            assert!(made.iter().all(|(_, name)| *name == "made"), "{what}");
        }
        Write::Update => {
            let expected = if is_new { "renamed" } else { "standing" };
            assert_eq!(after[&standing], expected, "{what}");
        }
        Write::Delete => {
            // Refused from the moment that the revocation is on disk, whatever became of the file.
            let since = ["revoked", "edited", "checked", "created", "synced"];
            let is_refused = is_new || since.contains(&step);
            assert_eq!(!after.contains_key(&standing), is_refused, "{what}");
            let file = server.config(&format!("keys.d/main--{standing}.toml"));
            let has_secret = fs::read_to_string(&file).unwrap().contains("sealed:");
            assert_eq!(has_secret, !is_new, "{what}");
            let again = server.admin("DELETE", &path, "").await.status;
            assert_eq!(again, if is_new { 404 } else { 200 }, "{what}");
            assert!(
                !fs::read_to_string(&file).unwrap().contains("sealed:"),
                "{what}"
            );
        }
    }
}

/// How many runs: a few, or `AQUEDUCT_CRASH_RUNS` of them.
fn runs(few: usize) -> usize {
    let asked = std::env::var("AQUEDUCT_CRASH_RUNS").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(few)
}

#[tokio::test]
async fn a_write_that_is_cut_off_at_any_step_leaves_the_old_or_the_new() {
    let (_origin, mut server) = server("").await;
    rustix::process::kill_process(server.pid(), rustix::process::Signal::KILL).unwrap();
    server.ended().await;
    // All pairs, in an order in which a few runs meet every step and every kind of write.
    let mut cases: Vec<(Write, &str)> = Vec::new();
    for turn in 0..WRITES.len() {
        for (number, step) in STEPS.iter().enumerate() {
            let write = WRITES[(number + turn) % WRITES.len()];
            // A deletion is refused at once and needs no valid set: it has steps of its own.
            let step = if write == Write::Delete && *step == "locked" {
                "revoked"
            } else {
                step
            };
            cases.push((write, step));
        }
    }
    for (run, (write, step)) in cases.iter().cycle().take(runs(STEPS.len())).enumerate() {
        let what = format!("run {run}: {write:?} cut off at {step}");
        cut_off_at(&mut server, *write, step, &what).await;
        rustix::process::kill_process(server.pid(), rustix::process::Signal::KILL).unwrap();
        server.ended().await;
    }
}

/// Writes without pause until the server is gone; gives what was acknowledged.
async fn storm(address: std::net::SocketAddr, number: usize) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for round in 0..usize::MAX {
        let Ok(stream) = tokio::net::TcpStream::connect(address).await else {
            break;
        };
        drop(stream);
        let name = format!("storm-{number}-{round}");
        match ask(
            address,
            "POST",
            &keys_path(),
            &json!({"name": name, "accessType": "READ"}),
            "",
        )
        .await
        {
            Some((201, body)) => acknowledged.push(body["id"].as_str().unwrap().to_owned()),
            Some((status, body)) => panic!("{status} {body}"),
            None => break,
        }
    }
    acknowledged
}

/// One request on a connection of its own. `None`: the connection ended, or none was had.
async fn ask(
    address: std::net::SocketAddr,
    method: &str,
    path: &str,
    body: &Value,
    line: &str,
) -> Option<(u16, Value)> {
    use crate::support::server::ADMIN_TOKEN;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let length = body.len();
    let mut stream = tokio::net::TcpStream::connect(address).await.ok()?;
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\n{line}\
         Content-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    let text = String::from_utf8(answer).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, serde_json::from_str(body).ok()?))
}

#[tokio::test]
async fn what_was_acknowledged_outlives_a_kill_at_any_moment() {
    let (_origin, mut server) = server("").await;
    let mut acknowledged = BTreeSet::new();
    for run in 0..runs(30).div_ceil(10) {
        let mut writers = JoinSet::new();
        for number in 0..4 {
            writers.spawn(storm(server.admin, number));
        }
        let moment = Duration::from_millis(40 + (run as u64 * 37) % 200);
        tokio::time::sleep(moment).await;
        rustix::process::kill_process(server.pid(), rustix::process::Signal::KILL).unwrap();
        server.ended().await;
        acknowledged.extend(writers.join_all().await.into_iter().flatten());
        server.restart("").await;
        check_whole(&server, &format!("killed after {moment:?}")).await;
        let served = keys(&server).await;
        let lost: Vec<_> = acknowledged
            .iter()
            .filter(|id| !served.contains_key(*id))
            .collect();
        assert!(lost.is_empty(), "killed after {moment:?}: {lost:?}");
    }
    assert!(!acknowledged.is_empty());
}

fn git(dir: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args([
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@localhost",
            "-c",
            "core.hooksPath=/dev/null",
        ])
        .args(arguments)
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "git {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Makes the config directory a work tree with two branches that differ in two files, one of which holds the
/// repository and its resource.
fn make_branches(server: &Server) {
    let dir = server.config("");
    fs::write(
        dir.join(".gitignore"),
        "keys.d/\n.aqueduct.lock\nconf.d/keys.toml\n",
    )
    .unwrap();
    git(&dir, &["init", "-q", "-b", "one"]);
    git(&dir, &["add", "-A"]);
    git(&dir, &["commit", "-q", "-m", "one"]);
    git(&dir, &["checkout", "-q", "-b", "two"]);
    let main = server.config("conf.d/main.toml");
    let text = fs::read_to_string(&main).unwrap();
    fs::write(&main, format!("# Another branch.\n{text}")).unwrap();
    fs::write(server.config("conf.d/zz.toml"), "# Only here.\n").unwrap();
    git(&dir, &["add", "-A"]);
    git(&dir, &["commit", "-q", "-m", "two"]);
}

/// What one writer did and was told.
#[derive(Default)]
struct Told {
    statuses: BTreeMap<u16, usize>,
    /// Its keys by id, with the names they have now; `None` for deleted.
    keys: BTreeMap<String, Option<String>>,
    /// How often it moved the shared counter on.
    counted: usize,
}

impl Told {
    async fn ask(
        &mut self,
        server: &Server,
        method: &str,
        path: &str,
        body: Value,
        line: &str,
    ) -> (u16, Value) {
        loop {
            let answer = ask(server.admin, method, path, &body, line).await;
            let (status, body) = answer.expect("an answer");
            *self.statuses.entry(status).or_default() += 1;
            if status != 409 {
                return (status, body);
            }
        }
    }

    /// Moves the number in the shared key's name on by one, unless somebody else does at the same time.
    async fn count(&mut self, server: &Server, shared: &str) {
        let (_, listed) = self.ask(server, "GET", &keys_path(), Value::Null, "").await;
        let keys = listed["keys"].as_array().unwrap();
        let key = keys.iter().find(|key| key["id"] == shared).unwrap();
        let number: usize = key["name"].as_str().unwrap().parse().unwrap();
        let line = format!("If-Match: {}\r\n", key["etag"].as_str().unwrap());
        let body = json!({"name": (number + 1).to_string()});
        let path = format!("{}/{shared}", keys_path());
        match self.ask(server, "PUT", &path, body, &line).await {
            (200, _) => self.counted += 1,
            (412, _) => {}
            (status, body) => panic!("{status} {body}"),
        }
    }

    async fn write(&mut self, server: &Server, number: usize, round: usize) {
        let name = format!("w{number}-{round}");
        let body = json!({"name": name, "accessType": "READ"});
        let (status, made) = self.ask(server, "POST", &keys_path(), body, "").await;
        assert_eq!(status, 201, "{made}");
        let id = made["id"].as_str().unwrap().to_owned();
        let path = format!("{}/{id}", keys_path());
        let renamed = format!("{name}-renamed");
        let (status, body) = self
            .ask(
                server,
                "PUT",
                &path,
                json!({"name": renamed, "accessType": "WRITE"}),
                "",
            )
            .await;
        assert_eq!(status, 200, "{body}");
        let is_kept = round.is_multiple_of(2);
        if !is_kept {
            let (status, body) = self.ask(server, "DELETE", &path, Value::Null, "").await;
            assert_eq!(status, 200, "{body}");
        }
        self.keys.insert(id, is_kept.then_some(renamed));
    }
}

/// Turns from branch to branch until it is told to stop.
fn turn_branches(dir: std::path::PathBuf, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<usize> {
    std::thread::spawn(move || {
        let mut turns = 0;
        while !stop.load(Ordering::Relaxed) {
            git(&dir, &["checkout", "-q", ["one", "two"][turns % 2]]);
            turns += 1;
            // Now at once, now after a while in which the new branch is served.
            let pause = [0, 250, 30][turns % 3];
            std::thread::sleep(Duration::from_millis(pause));
        }
        git(&dir, &["checkout", "-q", "two"]);
        turns
    })
}

/// Asks for objects until told to stop; gives what was not served.
async fn use_keys(
    server: Arc<Server>,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let answer = server.get("k").await;
        done.fetch_add(1, Ordering::Relaxed);
        if answer.status != 200 {
            wrong.push(format!("{} {}", answer.status, answer.code()));
        }
    }
    wrong
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_writers_and_git_lose_no_update() {
    let (_origin, server) = server("").await;
    make_branches(&server);
    let shared = create(&server, "0").await;
    let server = Arc::new(server);
    let (stop, served) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let branches = turn_branches(server.config(""), Arc::clone(&stop));
    let mut clients = JoinSet::new();
    clients.spawn(use_keys(
        Arc::clone(&server),
        Arc::clone(&stop),
        Arc::clone(&served),
    ));
    let mut writers = JoinSet::new();
    for number in 0..20 {
        let (server, shared) = (Arc::clone(&server), shared.clone());
        writers.spawn(async move {
            let mut told = Told::default();
            for round in 0..2 {
                told.write(&server, number, round).await;
                told.count(&server, &shared).await;
            }
            told
        });
    }
    let all = writers.join_all().await;
    stop.store(true, Ordering::Relaxed);
    let turns = branches.join().unwrap();
    assert_eq!(
        clients.join_all().await.concat(),
        Vec::<String>::new(),
        "the config was served half"
    );
    assert!(turns > 2 && served.load(Ordering::Relaxed) > 0);

    let statuses: BTreeSet<u16> = all
        .iter()
        .flat_map(|told| told.statuses.keys().copied())
        .collect();
    assert!(
        statuses.is_subset(&BTreeSet::from([200, 201, 409, 412])),
        "{statuses:?}"
    );
    let dir = server.config("");
    assert_eq!(
        git(&dir, &["status", "--porcelain"]),
        "",
        "what git wrote was overwritten"
    );
    assert_eq!(leftovers(&server), Vec::<String>::new());
    let checked = server.run(&["check"]);
    assert!(
        checked.status.success(),
        "{}",
        String::from_utf8_lossy(&checked.stdout)
    );

    // As served, and as a process that was just started reads it.
    let mut expected: BTreeMap<String, String> = BTreeMap::new();
    for (id, name) in all.iter().flat_map(|told| &told.keys) {
        expected.extend(name.clone().map(|name| (id.clone(), name)));
    }
    let counted: usize = all.iter().map(|told| told.counted).sum();
    expected.insert(shared, counted.to_string());
    settled(&server).await;
    assert_eq!(keys(&server).await, expected);
    let listed = server.run(&["key", "list", "--repository", "main", "--json"]);
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), expected.len() + 2);
}

/// Waits until what is on disk is what is served.
async fn settled(server: &Server) {
    let started = Instant::now();
    loop {
        let reload = server.admin("POST", "/-/reload", "").await;
        if reload.text().contains("unchanged") {
            return;
        }
        assert!(
            started.elapsed() < Duration::from_secs(10),
            "{}",
            reload.text()
        );
    }
}
