//! Config that changes under load: R1 to R3 and R6 of the reliability bar, shortened.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::support::origin::{Origin, answer};
use crate::support::server::{Server, Setup};

/// How soon a change must be served.
const SOON: Duration = Duration::from_secs(2);
/// Long enough for a second reload, had the change caused one.
const SETTLED: Duration = Duration::from_millis(1200);

async fn start() -> (Origin, Server) {
    let origin = Origin::start(|request, _| {
        if request.method == "PUT" {
            answer::ok(b"")
        } else {
            answer::ok(&[b'x'; 1000])
        }
    })
    .await;
    let server = Server::start(&Setup {
        storage: Some(origin.address),
        ..Setup::default()
    })
    .await;
    (origin, server)
}

/// Waits until another generation is served.
async fn changed(server: &Server, from: u64, what: &str) -> u64 {
    let started = Instant::now();
    loop {
        let generation = server.generation().await;
        if generation != from {
            return generation;
        }
        assert!(
            started.elapsed() < SOON,
            "{what}: not served within {SOON:?}\n{}",
            server.log()
        );
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// A file with a key of its own.
fn key(number: usize) -> String {
    let number = number + 100;
    format!(
        "[[key]]\nid = \"00000000-0000-4000-8000-0000000{number:05}\"\nrepository = \"main\"\nfamily = \"storage\"\n\
         name = \"k{number}\"\nkey = \"AQDTBBBBBBBBBBB{number:05}\"\nsecret = \"plain:0123456789012345678901234567890123456789\"\n"
    )
}

struct Load {
    done: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    tasks: JoinSet<Vec<String>>,
}

impl Load {
    /// Clients that ask without pause on kept connections and remember whatever went wrong.
    fn start(server: &Server) -> Self {
        let (done, stop) = (
            Arc::new(AtomicUsize::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let mut tasks = JoinSet::new();
        for number in 0..4 {
            let (done, stop) = (Arc::clone(&done), Arc::clone(&stop));
            let address = server.s3;
            let (get, put) = (server.request("GET", "k"), server.put("k", 1000));
            tasks.spawn(async move {
                let mut client = crate::support::raw::Raw::connect(address).await;
                let mut wrong = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let request = if number % 2 == 0 { &get } else { &put };
                    client.send(request.head()).await;
                    if request.method == "PUT" {
                        client.send([b'x'; 1000]).await;
                    }
                    match client.try_response().await {
                        Some(answer) if answer.status == 200 && answer.complete => {}
                        other => {
                            wrong.push(format!("{} {other:?}", request.method));
                            client = crate::support::raw::Raw::connect(address).await;
                        }
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                }
                wrong
            });
        }
        Self { done, stop, tasks }
    }

    async fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        let wrong: Vec<String> = self.tasks.join_all().await.into_iter().flatten().collect();
        let done = self.done.load(Ordering::Relaxed);
        assert!(
            wrong.is_empty(),
            "{} of {done} went wrong: {:?}",
            wrong.len(),
            wrong.first()
        );
        assert!(done > 100, "only {done} requests were made");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reloads_under_load_disturb_nobody() {
    let (_origin, server) = start().await;
    let load = Load::start(&server);
    let mut generation = server.generation().await;
    for round in 0..10 {
        fs::write(server.config("conf.d/more.toml"), key(round)).unwrap();
        generation = changed(&server, generation, "a new key").await;
    }
    load.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_configs_leave_the_last_good_one_serving() {
    let (_origin, server) = start().await;
    let load = Load::start(&server);
    let gauge = async || server.admin("GET", "/metrics", "").await.text();
    let is = async |value: &str| {
        let line = format!("aqueduct_config_last_reload_successful {value}");
        let started = Instant::now();
        while !gauge().await.contains(&line) {
            assert!(
                started.elapsed() < SOON * 2,
                "the gauge does not become {value}"
            );
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    };
    for round in 0..4 {
        let before = server.generation().await;
        fs::write(server.config("conf.d/more.toml"), "[[key]]\nnonsense = 1\n").unwrap();
        is("0").await;
        assert_eq!(
            server.generation().await,
            before,
            "a broken config was served"
        );
        let status = server.admin("GET", "/-/status", "").await.text();
        assert!(
            status.contains("more.toml") && status.contains("nonsense"),
            "{status}"
        );
        assert_eq!(server.admin("GET", "/readyz", "").await.status, 200);
        fs::write(server.config("conf.d/more.toml"), key(round)).unwrap();
        is("1").await;
        assert_eq!(
            changed(&server, before, "the repaired config").await,
            before + 1
        );
    }
    load.finish().await;
}

/// One way to change a file, given the file and the new text.
type Change = fn(&Path, &str);

#[tokio::test]
async fn every_kind_of_change_is_served_once() {
    let (_origin, server) = start().await;
    let file = server.config("conf.d/more.toml");
    let changes: &[(&str, Change)] = &[
        ("a new file", |file, text| fs::write(file, text).unwrap()),
        ("written in place", |file, text| {
            fs::write(file, text).unwrap();
        }),
        ("written beside and renamed over", |file, text| {
            let other = file.with_file_name(".more.toml.tmp-1");
            fs::write(&other, text).unwrap();
            fs::rename(other, file).unwrap();
        }),
        (
            "as vim does: the old one renamed away, a new one made",
            |file, text| {
                fs::rename(file, file.with_file_name("more.toml~")).unwrap();
                fs::write(file, text).unwrap();
            },
        ),
        ("as git does: removed, then made", |file, text| {
            fs::remove_file(file).unwrap();
            fs::write(file, text).unwrap();
        }),
        ("replaced by a link", |file, text| {
            let real = file.with_file_name("real-1");
            fs::write(&real, text).unwrap();
            fs::remove_file(file).unwrap();
            symlink(real, file).unwrap();
        }),
        ("the link's target written", |file, text| {
            fs::write(file.with_file_name("real-1"), text).unwrap();
        }),
        ("the link turned to another file", |file, text| {
            fs::write(file.with_file_name("real-2"), text).unwrap();
            let link = file.with_file_name(".link");
            symlink(file.with_file_name("real-2"), &link).unwrap();
            fs::rename(link, file).unwrap();
        }),
        ("removed", |file, _| fs::remove_file(file).unwrap()),
    ];
    let mut generation = server.generation().await;
    for (number, (what, change)) in changes.iter().enumerate() {
        change(&file, &key(number));
        let next = changed(&server, generation, what).await;
        tokio::time::sleep(SETTLED).await;
        assert_eq!(
            (next, server.generation().await),
            (generation + 1, generation + 1),
            "{what}"
        );
        generation = next;
    }
}

#[tokio::test]
async fn what_changes_nothing_is_not_a_change() {
    let (_origin, server) = start().await;
    let file = server.config("conf.d/more.toml");
    let generation = server.generation().await;
    fs::write(&file, key(1)).unwrap();
    let generation = changed(&server, generation, "a new file").await;
    fs::write(&file, key(1)).unwrap();
    fs::write(server.config("conf.d/.swap.toml.swp"), "nonsense").unwrap();
    fs::write(server.config("conf.d/notes.txt"), "nonsense").unwrap();
    fs::write(server.config("conf.d/more.toml~"), "nonsense").unwrap();
    tokio::time::sleep(SETTLED).await;
    assert_eq!(server.generation().await, generation);
}

#[tokio::test]
async fn an_unreadable_file_keeps_the_last_good_config() {
    let (_origin, server) = start().await;
    let file = server.config("conf.d/more.toml");
    fs::write(&file, key(1)).unwrap();
    let generation = changed(&server, server.generation().await - 1, "a new file").await;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
    tokio::time::sleep(SETTLED).await;
    // Root reads it all the same; nobody else may lose the config by it.
    assert!(server.generation().await >= generation);
    assert_eq!(server.get("k").await.status, 200);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
}

#[tokio::test]
async fn a_removed_folder_that_comes_back_is_watched_again() {
    let (_origin, server) = start().await;
    let folder = server.config("conf.d");
    let away = server.config("away");
    fs::rename(&folder, &away).unwrap();
    tokio::time::sleep(SETTLED).await;
    fs::rename(&away, &folder).unwrap();
    tokio::time::sleep(SETTLED).await;
    let generation = server.generation().await;
    fs::write(server.config("conf.d/more.toml"), key(3)).unwrap();
    changed(&server, generation, "a file in the folder that came back").await;
    assert_eq!(server.get("k").await.status, 200);
}

#[tokio::test]
async fn a_folder_behind_a_link_can_be_flipped() {
    let (_origin, server) = start().await;
    // As a release tool lays it out: conf.d -> releases/N.
    let releases = server.config("releases");
    fs::create_dir(&releases).unwrap();
    fs::rename(server.config("conf.d"), releases.join("1")).unwrap();
    symlink(releases.join("1"), server.config("conf.d")).unwrap();
    tokio::time::sleep(SETTLED).await;
    fs::create_dir(releases.join("2")).unwrap();
    for entry in fs::read_dir(releases.join("1")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, releases.join("2").join(path.file_name().unwrap())).unwrap();
    }
    fs::write(releases.join("2/more.toml"), key(4)).unwrap();
    let generation = server.generation().await;
    symlink(releases.join("2"), server.config(".conf.d-next")).unwrap();
    fs::rename(server.config(".conf.d-next"), server.config("conf.d")).unwrap();
    changed(&server, generation, "the flipped link").await;
}

#[tokio::test]
async fn signals_and_the_admin_api_reload_too() {
    let (_origin, server) = start().await;
    let generation = server.generation().await;
    fs::write(server.config("conf.d/more.toml"), key(5)).unwrap();
    assert_eq!(server.admin("POST", "/-/reload", "").await.status, 200);
    assert_eq!(server.generation().await, generation + 1);
    fs::write(server.config("conf.d/more.toml"), key(6)).unwrap();
    let pid = server.pid();
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    changed(&server, generation + 1, "SIGHUP").await;
    assert_eq!(server.get("k").await.status, 200);
}
