//! `aqueduct demo` from its banner to Ctrl-C, with what the banner says to paste.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use object_store::ObjectStoreExt;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path;

use crate::support::raw::Raw;

/// The demo while it runs; dropping it kills what is left.
struct Demo {
    child: Child,
    banner: String,
}

impl Drop for Demo {
    fn drop(&mut self) {
        // It may have ended by itself, as it should.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Demo {
    /// Returns when the banner's last line was read.
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_aqueduct"))
            .arg("demo")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary was built");
        let mut banner = String::new();
        let mut lines = BufReader::new(child.stdout.take().expect("stdout is piped"));
        while !banner.contains("The store is for trying things out") {
            assert_ne!(
                lines.read_line(&mut banner).expect("stdout is text"),
                0,
                "{banner}"
            );
        }
        // Access log lines follow; somebody must read them.
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        Self { child, banner }
    }

    /// What stands between two texts of the banner.
    fn between(&self, before: &str, after: &str) -> &str {
        let (_, rest) = self.banner.split_once(before).expect("the banner says so");
        rest.split_once(after).expect("the banner says so").0
    }

    fn folder(&self) -> PathBuf {
        self.between("removes ", ".\n").into()
    }

    /// Ctrl-C, and whether it ended well.
    fn interrupt(mut self) -> bool {
        let pid = i32::try_from(self.child.id()).expect("pids are small");
        let pid = rustix::process::Pid::from_raw(pid).expect("pids are not 0");
        rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
        self.child.wait().expect("it is our child").success()
    }
}

#[tokio::test]
async fn the_demo_serves_what_its_banner_says_and_cleans_up() {
    let demo = tokio::task::spawn_blocking(Demo::start).await.unwrap();
    let folder = demo.folder();
    assert!(folder.join("aqueduct.toml").exists());

    let store = AmazonS3Builder::new()
        .with_endpoint(demo.between("--endpoint-url ", " "))
        .with_allow_http(true)
        .with_region("us-east-1")
        .with_bucket_name("demo")
        .with_access_key_id(demo.between("AWS_ACCESS_KEY_ID=", " "))
        .with_secret_access_key(demo.between("AWS_SECRET_ACCESS_KEY=", " "))
        .build()
        .unwrap();
    let hello = store.get(&Path::from("hello.txt")).await.unwrap();
    assert_eq!(
        &hello.bytes().await.unwrap()[..],
        b"Hello from the store.\n"
    );
    store
        .put(&Path::from("new.txt"), "new".into())
        .await
        .unwrap();
    assert_eq!(store.head(&Path::from("new.txt")).await.unwrap().size, 3);

    let ai = demo.between("curl -N http://", "/").parse().unwrap();
    let bearer = demo.between("Authorization: Bearer ", "'");
    let body = demo.between("-d '", "'");
    let mut raw = Raw::connect(ai).await;
    raw.send(format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {ai}\r\nauthorization: Bearer {bearer}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ))
    .await;
    let answer = raw.response().await.text();
    assert!(answer.contains("channel"), "{answer}");
    assert!(answer.contains("[DONE]"), "{answer}");

    let ended = tokio::task::spawn_blocking(|| demo.interrupt());
    assert!(
        ended.await.unwrap(),
        "Ctrl-C ends the demo without an error"
    );
    assert!(!folder.exists(), "the demo removes its folder");
}
