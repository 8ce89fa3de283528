//! The wall clock is put forward and back while the server runs: M4 of the reliability bar. Whatever says a date goes
//! by the clock as it is at that moment; whatever takes time goes by time that passes.
//!
//! The clock is put by `aqueduct::sabotage`, so the time of files, which the kernel writes, stays what it is: to the
//! server they change in the past, or in the future.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::support::origin::{Origin, Step, answer};
use crate::support::raw::{Raw, Response};
use crate::support::server::{Server, Setup, UPSTREAM_SECRET};
use crate::support::sign::{clock, is_signed};
use crate::support::within;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
/// What a download brings before it stalls, in bytes.
const HALF: usize = 1 << 17;

async fn server(origin: &Origin, setup: Setup) -> Server {
    Server::start(&Setup {
        storage: Some(origin.address),
        ..setup
    })
    .await
}

/// A GET by a client whose clock is so many seconds fast.
async fn get_at(server: &Server, fast: i64) -> Response {
    let mut client = server.client().await;
    client
        .send(server.request("GET", "k").head_at(&clock(fast)))
        .await;
    client.response().await
}

async fn assert_no_panic(server: &Server) {
    assert_eq!(server.metric("aqueduct_panics_total ").await, 0);
}

#[tokio::test]
async fn signatures_are_judged_and_made_by_the_clock_as_it_is() {
    let origin = Origin::always(answer::ok(b"body")).await;
    let server = server(&origin, Setup::default()).await;
    // More days than signing keys are kept for, and back to the first.
    let days = [1, 2, 3, 4, 5, 6, -1, 0].map(|day| day * DAY);
    for fast in [0, HOUR, -HOUR, 0].into_iter().chain(days) {
        server.set_clock(fast);
        let before = clock(fast);
        let answer = get_at(&server, fast).await;
        assert_eq!(answer.status, 200, "{fast}: {}", answer.text());
        let sent = origin.requests().pop().unwrap();
        let date = sent.header("x-amz-date").unwrap();
        assert!(*before <= *date && *date <= *clock(fast), "{fast}: {date}");
        assert!(is_signed(&sent, UPSTREAM_SECRET), "{fast}: {sent:?}");
        for other in [fast + HOUR, fast - HOUR] {
            let refused = get_at(&server, other).await;
            let found = (refused.status, refused.code());
            assert_eq!(found, (403, "RequestTimeTooSkewed".to_owned()), "{fast}");
        }
    }
    assert_no_panic(&server).await;
}

#[tokio::test]
async fn a_leap_second_is_a_date_that_is_refused() {
    let origin = Origin::always(answer::ok(b"body")).await;
    let server = server(&origin, Setup::default()).await;
    for date in ["20161231T235960Z", "20161231T235961Z"] {
        let mut client = server.client().await;
        client.send(server.request("GET", "k").head_at(date)).await;
        let refused = client.response().await;
        assert_eq!(refused.status, 403, "{}", refused.text());
    }
    assert_eq!(server.get("k").await.status, 200);
    assert_no_panic(&server).await;
}

/// One of each wait that has a limit.
struct Waits {
    download: Raw,
    unanswered: Raw,
    upload: Raw,
    half_a_head: Raw,
    idle: Raw,
}

impl Waits {
    async fn begin(server: &Server, origin: &Origin) -> Self {
        let ask = async |head: String| {
            let mut client = server.client().await;
            client.send(head).await;
            client
        };
        let mut idle = ask(server.request("GET", "k").head()).await;
        assert_eq!(idle.response().await.text(), "body");
        let before = origin.requests().len();
        let mut download = ask(server.request("GET", "half").head()).await;
        assert_eq!(download.head().await.status, 200);
        let unanswered = ask(server.request("GET", "late").head()).await;
        let mut upload = ask(server.put("up", 1 << 17).head()).await;
        upload.send(vec![b'x'; 1 << 16]).await;
        origin
            .until("the requests", |seen| seen.requests.len() == before + 3)
            .await;
        let half_a_head = ask("GET /media/k HTTP/1.1\r\n".to_owned()).await;
        Self {
            download,
            unanswered,
            upload,
            half_a_head,
            idle,
        }
    }

    async fn end(mut self, server: &Server, word: &Notify) {
        word.notify_waiters();
        let head = server.request("GET", "k").head();
        let rest = head.split_once("\r\n").unwrap().1;
        self.half_a_head.send(rest).await;
        self.idle.send(&head).await;
        self.upload.send(vec![b'x'; 1 << 16]).await;
        // The head of the download was read already.
        let mut text = String::new();
        self.download.read_until(&mut text, "the rest").await;
        assert_eq!(text.len(), HALF + "the rest".len());
        for (what, mut client) in [
            ("a late answer", self.unanswered),
            ("half a head", self.half_a_head),
            ("an idle connection", self.idle),
            ("an upload", self.upload),
        ] {
            let answer = client.response().await;
            assert_eq!(answer.status, 200, "{what}: {}", answer.text());
        }
    }
}

#[tokio::test]
async fn jumps_end_nothing_that_runs() {
    let word = Arc::new(Notify::new());
    let told = Arc::clone(&word);
    let origin = Origin::start(move |request, _| {
        let wait = Step::Wait(Arc::clone(&told));
        if request.target.ends_with("/half") {
            let length = HALF + "the rest".len();
            let head =
                format!("HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: {length}\r\n\r\n");
            let half = [head.into_bytes(), vec![b'x'; HALF]].concat();
            vec![Step::Write(half), wait, Step::Write(b"the rest".to_vec())]
        } else if request.target.ends_with("/late") {
            [vec![wait], answer::ok(b"body")].concat()
        } else {
            answer::ok(b"body")
        }
    })
    .await;
    let server = server(
        &origin,
        Setup {
            timeouts: r#"first_byte = "19s", idle = "19s""#,
            limits: "header_deadline = \"19s\"\nkeep_alive = \"19s\"",
            ..Setup::default()
        },
    )
    .await;
    let waits = Waits::begin(&server, &origin).await;
    let opened = origin.opened();
    for fast in [HOUR, -HOUR, 400 * DAY, -400 * DAY, 0] {
        server.set_clock(fast);
        assert_eq!(get_at(&server, fast).await.status, 200, "{fast}");
        assert_eq!(server.admin("POST", "/-/reload", "").await.status, 200);
    }
    // What was idle at the origin stayed, too; a client may be quicker than the pool, but not each time.
    let more = origin.opened() - opened;
    assert!(more <= 2, "{more} new connections for five requests");
    waits.end(&server, &word).await;
    assert_no_panic(&server).await;
}

#[tokio::test]
async fn rates_go_by_time_that_passes() {
    const RATE: u64 = 2;
    let origin = Origin::always(answer::ok(b"body")).await;
    let setup = Setup {
        repository: "limits = { rps = 2 }",
        ..Setup::default()
    };
    let server = server(&origin, setup).await;
    let began = Instant::now();
    let mut admitted = 0;
    for round in 0..30 {
        let fast = if round % 2 == 0 { HOUR } else { -HOUR };
        server.set_clock(fast);
        let answer = get_at(&server, fast).await;
        assert!(matches!(answer.status, 200 | 503), "{}", answer.text());
        admitted += u64::from(answer.status == 200);
    }
    let most = RATE * (began.elapsed().as_secs() + 2);
    assert!(
        (RATE..=most).contains(&admitted),
        "{admitted}, {most} may be"
    );
    server.set_clock(-DAY);
    let again = Instant::now();
    within("room for one more", async {
        while get_at(&server, -DAY).await.status != 200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    assert!(again.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_breaker_stays_open_for_time_that_passes() {
    let origin = Origin::always(answer::error(500, "InternalError")).await;
    let setup = Setup {
        breaker: r#"open = "60s", open_max = "60s""#,
        ..Setup::default()
    };
    let server = server(&origin, setup).await;
    within("the breaker to open", async {
        while get_at(&server, 0).await.status != 503 {}
    })
    .await;
    let asked = origin.requests().len();
    for fast in [HOUR, DAY, -HOUR, 0] {
        server.set_clock(fast);
        let refused = get_at(&server, fast).await;
        assert_eq!(refused.status, 503, "{}", refused.text());
        let after = refused.header("retry-after").unwrap();
        let after: u64 = after.parse().unwrap();
        assert!((1..=60).contains(&after), "{after}");
    }
    assert_eq!(origin.requests().len(), asked);
}

#[tokio::test]
async fn keys_begin_and_end_by_the_clock_as_it_is() {
    let origin = Origin::always(answer::ok(b"body")).await;
    let server = server(&origin, Setup::default()).await;
    let rfc3339 = |fast: i64| {
        let basic = clock(fast);
        let (date, time) = basic.split_once('T').unwrap();
        format!(
            "{}-{}-{}T{}:{}:{}Z",
            &date[..4],
            &date[4..6],
            &date[6..],
            &time[..2],
            &time[2..4],
            &time[4..6]
        )
    };
    let path = server.config("conf.d/keys.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    let times = format!(
        "access = \"ADMIN\"\nnot_before = \"{}\"\nexpires_at = \"{}\"",
        rfc3339(-HOUR / 2),
        rfc3339(HOUR / 2)
    );
    std::fs::write(&path, config.replace("access = \"ADMIN\"", &times)).unwrap();
    let reloaded = server.admin("POST", "/-/reload", "").await;
    assert_eq!(reloaded.status, 200, "{}", reloaded.text());
    for (fast, status) in [(0, 200), (HOUR, 403), (0, 200), (-HOUR, 403), (0, 200)] {
        server.set_clock(fast);
        // A config loaded at a time when the key was no good keeps it all the same.
        assert_eq!(server.admin("POST", "/-/reload", "").await.status, 200);
        let answer = get_at(&server, fast).await;
        assert_eq!(answer.status, status, "{fast}: {}", answer.text());
    }
    assert_no_panic(&server).await;
}

/// Waits until the metric says so.
async fn until_metric(server: &Server, name: &str, expected: u64) {
    within(name, async {
        while server.metric(name).await != expected {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn the_config_is_watched_and_written_at_any_time() {
    const GOOD: &str = "aqueduct_config_last_reload_successful ";
    let origin = Origin::always(answer::ok(b"body")).await;
    let server = server(&origin, Setup::default()).await;
    let path = server.config("conf.d/keys.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    for fast in [HOUR, -HOUR, DAY, -DAY] {
        server.set_clock(fast);
        // To the server these files are old, or not yet written.
        std::fs::write(&path, format!("{config}\n[nonsense")).unwrap();
        until_metric(&server, GOOD, 0).await;
        assert_eq!(get_at(&server, fast).await.status, 200, "{fast}");
        std::fs::write(&path, format!("{config}\n# {fast}\n")).unwrap();
        until_metric(&server, GOOD, 1).await;
        let made = server
            .admin(
                "POST",
                &format!("/repo/{}/apikey", crate::support::server::REPOSITORY_ID),
                r#"{"name":"made","access":"READ"}"#,
            )
            .await;
        assert_eq!(made.status, 201, "{fast}: {}", made.text());
        // What was just done is found in the log of it, by the same clock.
        let events = server.admin("POST", "/systemevent", "{}").await;
        assert_eq!(events.status, 200, "{}", events.text());
        assert!(events.text().contains("made"), "{fast}: {}", events.text());
    }
    let verified = server.run(&["audit", "verify"]);
    assert!(verified.status.success(), "{verified:?}");
    assert_no_panic(&server).await;
}
