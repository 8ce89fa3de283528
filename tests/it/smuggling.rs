//! Request smuggling: some three hundred heads and bodies that two servers may take for different messages, made
//! from tables, each with another request hidden where only one of the readings ends. Test S4 of the security bar.
//!
//! What holds for all: the hidden request never reaches the origin, what is ambiguous is refused with the
//! connection, and the next client gets its own answer.

mod tables;

use std::fmt::Write;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::support::origin::{Origin, answer};
use crate::support::raw::{Raw, Response};
use crate::support::server::{AI_TOKEN, BUCKET, Server, Setup};

use self::tables::{
    BROKEN_LINES, CHUNKS, ENCODING_LINES, ENCODINGS, FIRST_LINES, HOSTS, LENGTHS, TRAILERS,
};

/// What has to become of a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Answered by an error, the connection closed, nothing sent on.
    Refused,
    /// Its body breaks off: refused like a head, or the connection closed in the middle.
    Broken,
    /// One request, with the body that the vector's only reading has.
    One,
    /// An operation that is refused for what it is; how its message ends is clear.
    Declined,
}
use Fate::{Broken, Declined, One, Refused};

impl Fate {
    fn allows(self, status: u16) -> bool {
        match self {
            Self::One => status == 200,
            Self::Refused => matches!(status, 400 | 405 | 414 | 431 | 501 | 505),
            Self::Broken => matches!(status, 0 | 400 | 411 | 431),
            Self::Declined => (400..=501).contains(&status),
        }
    }
}

struct Vector {
    /// Everything that is sent.
    bytes: Vec<u8>,
    shown: String,
    fate: Fate,
}

struct Attack {
    origin: Origin,
    server: Server,
    asked: AtomicU32,
}

impl Attack {
    async fn start() -> Self {
        // Says what was asked for, so that a client sees whether an answer is its own.
        let origin = Origin::start(|request, _| {
            let body = format!("{{\"seen\":\"{}\"}}", request.target);
            answer::ok(body.as_bytes())
        })
        .await;
        let server = Server::start(&Setup {
            storage: Some(origin.address),
            ai: Some(origin.address),
            ..Setup::default()
        })
        .await;
        Self {
            origin,
            server,
            asked: AtomicU32::new(0),
        }
    }

    /// Sends one vector and says what went wrong.
    async fn run(&self, mut client: Raw, vector: &Vector) -> Result<(), String> {
        let before = self.origin.requests().len();
        client.send(&vector.bytes).await;
        if vector.fate != One {
            // Half closed, so that a parser which waits for more gives up as well.
            let _closed = tokio::io::AsyncWriteExt::shutdown(&mut client.stream).await;
        }
        let answer = client.try_response().await;
        let second = match vector.fate {
            One => None,
            Refused | Broken | Declined => client.try_response().await,
        };
        let seen = self.origin.requests().split_off(before);
        let status = answer.as_ref().map_or(0, |answer| answer.status);
        let why = if seen.len() > 1
            || seen
                .iter()
                .any(|request| request.target.contains("smuggled"))
        {
            "another request reached the origin"
        } else if second.as_ref().is_some_and(|second| second.status == 200) {
            "the hidden request was answered"
        } else if !vector.fate.allows(status) {
            "its answer is another"
        } else if vector.fate != Declined && second.is_some() {
            "the connection was kept"
        } else if seen
            .iter()
            .any(|request| request.complete != (vector.fate == One))
        {
            "it reached the origin"
        } else if self.is_clean().await.is_err() {
            "the next client got another's answer"
        } else {
            return Ok(());
        };
        let second = second.map(|second| second.status);
        let (shown, fate, seen) = (&vector.shown, vector.fate, seen.len());
        Err(format!(
            "{fate:?} {shown}: {why}: {status}, {second:?}, {seen} at the origin"
        ))
    }

    /// A clean request from another client gets its own answer.
    async fn is_clean(&self) -> Result<(), ()> {
        let key = format!("clean{}", self.asked.fetch_add(1, Ordering::Relaxed));
        let answer = self.server.get(&key).await;
        let own = answer.status == 200 && answer.text().ends_with(&format!("/{key}\"}}"));
        if own { Ok(()) } else { Err(()) }
    }

    async fn all_storage(&self, vectors: Vec<Vector>, at_least: usize) {
        assert!(vectors.len() >= at_least, "{} vectors", vectors.len());
        let mut wrong = Vec::new();
        for vector in vectors {
            wrong.extend(self.run(self.server.client().await, &vector).await.err());
        }
        assert!(wrong.is_empty(), "{} fail: {wrong:#?}", wrong.len());
    }

    async fn all_ai(&self, vectors: Vec<Vector>, at_least: usize) {
        assert!(vectors.len() >= at_least, "{} vectors", vectors.len());
        let mut wrong = Vec::new();
        for vector in vectors {
            let client = Raw::connect(self.server.ai).await;
            wrong.extend(self.run(client, &vector).await.err());
        }
        assert!(wrong.is_empty(), "{} fail: {wrong:#?}", wrong.len());
    }

    /// A whole request for what must never be asked for.
    fn smuggled(&self) -> String {
        self.server.request("GET", "smuggled").head()
    }

    /// A signed head with other lines behind its own.
    fn with_lines(&self, method: &'static str, lines: &[u8], body: &[u8], fate: Fate) -> Vector {
        let head = self.server.request(method, "k").head();
        let head = head.strip_suffix("\r\n").unwrap();
        let bytes = [head.as_bytes(), lines, b"\r\n\r\n", body].concat();
        let body: String = String::from_utf8_lossy(body).chars().take(24).collect();
        let shown = format!("{method} {:?} {body:?}", String::from_utf8_lossy(lines));
        Vector { bytes, shown, fate }
    }

    fn chat(&self, lines: &str, body: &str, fate: Fate) -> Vector {
        let host = self.server.ai;
        let bytes = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {AI_TOKEN}\r\n\
             Content-Type: application/json\r\n{lines}\r\n\r\n{body}"
        );
        let shown = format!("{lines:?} {:?}", body.chars().take(80).collect::<String>());
        Vector {
            bytes: bytes.into_bytes(),
            shown,
            fate,
        }
    }
}

#[tokio::test]
async fn encodings_are_chunked_or_refused() {
    let attack = Attack::start().await;
    let hidden = attack.smuggled();
    let mut vectors = Vec::new();
    for value in ENCODINGS {
        let line = [b"Transfer-Encoding: ", *value].concat();
        vectors.push(attack.with_lines(
            "PUT",
            &line,
            format!("0\r\n\r\n{hidden}").as_bytes(),
            Refused,
        ));
    }
    let all = ENCODINGS
        .iter()
        .map(|value| [b"Transfer-Encoding: ", *value].concat());
    let lines = ENCODING_LINES.iter().map(|line| line.to_vec());
    let plain = [
        "Transfer-Encoding: chunked",
        "transfer-encoding:CHUNKED",
        "Transfer-Encoding:\t chunked \t",
    ];
    let plain = plain.iter().map(|line| line.as_bytes().to_vec());
    for line in all.chain(lines).chain(plain) {
        // By length all of it is one body; by chunks its end is another request. And the other way round.
        let body = format!("0\r\n\r\n{hidden}");
        let chunked = format!("5\r\nhello\r\n0\r\n\r\n{hidden}");
        let length = format!("Content-Length: {}\r\n", body.len());
        let behind = [length.as_bytes(), &line].concat();
        vectors.push(attack.with_lines("PUT", &behind, body.as_bytes(), Refused));
        let before = [&line[..], b"\r\nContent-Length: 5"].concat();
        vectors.push(attack.with_lines("PUT", &before, chunked.as_bytes(), Refused));
    }
    attack.all_storage(vectors, 170).await;
}

#[tokio::test]
async fn lengths_are_numbers_or_refused() {
    let attack = Attack::start().await;
    let body = format!("hello{}", attack.smuggled());
    let mut vectors: Vec<Vector> = LENGTHS
        .iter()
        .map(|value| {
            let line = [b"Content-Length: ", *value].concat();
            attack.with_lines("PUT", &line, body.as_bytes(), Refused)
        })
        .collect();
    for line in BROKEN_LINES {
        let line = [b"Content-Length: 5\r\n", *line].concat();
        vectors.push(attack.with_lines("PUT", &line, body.as_bytes(), Refused));
    }
    // One reading only, however odd.
    for line in [
        "Content-Length: 5",
        "content-length:5",
        "Content-Length:\t 5 \t",
        "Content-Length: 05",
    ] {
        vectors.push(attack.with_lines("PUT", line.as_bytes(), b"hello", One));
    }
    attack.all_storage(vectors, 60).await;
}

/// A body where there is none by custom: it belongs to its request, and is not the next one.
#[tokio::test]
async fn bodies_of_requests_without_one_are_not_requests() {
    let attack = Attack::start().await;
    let hidden = attack.smuggled();
    let length = format!("Content-Length: {}", hidden.len());
    let chunks = format!("{:x}\r\n{hidden}\r\n0\r\n\r\n", hidden.len());
    let mut vectors = Vec::new();
    for method in ["GET", "DELETE"] {
        vectors.push(attack.with_lines(method, length.as_bytes(), hidden.as_bytes(), Declined));
        vectors.push(attack.with_lines(
            method,
            b"Transfer-Encoding: chunked",
            chunks.as_bytes(),
            One,
        ));
        let both = format!("{length}\r\nTransfer-Encoding: chunked");
        vectors.push(attack.with_lines(method, both.as_bytes(), chunks.as_bytes(), Refused));
        // Said to be hop by hop, the length is still the length.
        for named in [
            "content-length",
            "transfer-encoding",
            "host",
            "authorization, close",
        ] {
            let lines = format!("{length}\r\nConnection: {named}");
            vectors.push(attack.with_lines(method, lines.as_bytes(), hidden.as_bytes(), Declined));
        }
        for upgrade in ["websocket", "h2c", "TLS/1.2"] {
            let lines = format!(
                "{length}\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: {upgrade}\r\nHTTP2-Settings: AAMAAABkAAQAAP__"
            );
            vectors.push(attack.with_lines(method, lines.as_bytes(), hidden.as_bytes(), Declined));
        }
        for expect in ["100-continue", "100-Continue", "100-continue, 100-continue"] {
            let lines = format!("{length}\r\nExpect: {expect}");
            vectors.push(attack.with_lines(method, lines.as_bytes(), hidden.as_bytes(), Declined));
        }
    }
    attack.all_storage(vectors, 25).await;
}

#[tokio::test]
async fn first_lines_and_hosts_have_one_reading() {
    let attack = Attack::start().await;
    let (host, hidden) = (attack.server.s3, attack.smuggled());
    let target = format!("/{BUCKET}/k");
    let filled = |text: &str| {
        text.replace("{target}", &target)
            .replace("{host}", &host.to_string())
    };
    let lines = FIRST_LINES
        .iter()
        .map(|line| format!("{}\r\nHost: {host}", filled(line)));
    let hosts = HOSTS.iter().map(|named| {
        let head = format!("GET {target} HTTP/1.1\r\n{}", filled(named));
        head.trim_end_matches("\r\n").to_owned()
    });
    // HTTP/1.0 knows no chunks.
    let old = [
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 0",
    ];
    let old = old
        .iter()
        .map(|lines| format!("PUT {target} HTTP/1.0\r\nHost: {host}\r\n{lines}"));
    let vectors = lines.chain(hosts).chain(old).map(|head| Vector {
        bytes: format!("{head}\r\n\r\n{hidden}").into_bytes(),
        shown: head,
        fate: Refused,
    });
    attack.all_storage(vectors.collect(), 65).await;
}

/// `http://host/path` is what a server has to take where it names the same host twice.
#[tokio::test]
async fn a_target_with_its_host_is_taken_as_a_path() {
    let attack = Attack::start().await;
    let (host, server) = (attack.server.s3, &attack.server);
    for (scheme, path) in [
        ("http", "k"),
        ("HTTP", "a%20b"),
        ("https", "k//x/../y"),
        ("http", "k%3F"),
    ] {
        let head = server.request("GET", path).head();
        let line = format!("GET /{BUCKET}/{path} HTTP");
        assert!(head.starts_with(&line));
        let head = head.replacen(
            &line,
            &format!("GET {scheme}://{host}/{BUCKET}/{path} HTTP"),
            1,
        );
        let mut client = server.client().await;
        client.send(head).await;
        let answer = client.response().await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert!(
            answer.text().ends_with(&format!("/{path}\"}}")),
            "{path}: {}",
            answer.text()
        );
    }
}

/// The model's JSON in the place of `hello`: the same number of bytes apart from the size.
fn json_chunks(chunks: &str, json: &str) -> String {
    let text = chunks.replace("hello", json);
    let (size, off) = (json.len(), |by: usize| format!("{by:x}\r\n{json}"));
    let text = text.replace(&format!("4\r\n{json}"), &off(size - 1));
    let text = text.replace(&format!("6\r\n{json}"), &off(size + 1));
    // The size is the first thing with a five in it.
    match text
        .find('5')
        .filter(|at| *at < 20 && !text.starts_with("10"))
    {
        Some(at) => format!("{}{size:x}{}", &text[..at], &text[at + 1..]),
        None => text,
    }
}

#[tokio::test]
async fn chunks_have_one_reading() {
    let attack = Attack::start().await;
    let json = r#"{"model":"tiny","messages":[]}"#;
    let host = attack.server.ai;
    let inner = json.replace("[]", "[\"smuggled\"]");
    let length = inner.len();
    let hidden = format!(
        "POST /v1/chat/completions?smuggled HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {AI_TOKEN}\r\nContent-Length: {length}\r\n\r\n{inner}"
    );
    let mut vectors = Vec::new();
    for (chunks, fate) in CHUNKS {
        let body = json_chunks(chunks, json);
        let tail = if *fate == One { "" } else { &hidden };
        vectors.push(attack.chat("Transfer-Encoding: chunked", &(body + tail), *fate));
    }
    for trailer in TRAILERS {
        let body = format!("{:x}\r\n{json}\r\n0\r\n{trailer}\r\n\r\n", json.len());
        vectors.push(attack.chat("Transfer-Encoding: chunked", &body, One));
    }
    let long = format!(
        "{:x}\r\n{json}\r\n0\r\nX: {}\r\n\r\n{hidden}",
        json.len(),
        "y".repeat(1 << 20)
    );
    vectors.push(attack.chat("Transfer-Encoding: chunked", &long, Broken));
    let extended = format!(
        "{:x};{}\r\n{json}\r\n0\r\n\r\n{hidden}",
        json.len(),
        "e".repeat(1 << 20)
    );
    vectors.push(attack.chat("Transfer-Encoding: chunked", &extended, Broken));
    attack.all_ai(vectors, 65).await;
    for request in attack.origin.requests() {
        let framing = (
            request.header("transfer-encoding"),
            request.header("x"),
            request.header("x-amz-meta-evil"),
        );
        assert_eq!(framing, (None, None, None), "{request:?}");
        let length = request.header("content-length").map(str::to_owned);
        assert_eq!(
            length.unwrap_or_default(),
            if request.body.is_empty() {
                String::new()
            } else {
                request.body.len().to_string()
            },
            "{request:?}"
        );
    }
}

/// What is refused before its body is read: the rest of it is no request.
#[tokio::test]
async fn what_follows_a_refused_upload_is_not_served_as_a_request() {
    let attack = Attack::start().await;
    let hidden = attack.smuggled();
    let mut vectors = Vec::new();
    for (chunks, fate) in CHUNKS {
        // No length: S3 does not take chunks alone. How the message ends must be clear all the same.
        let clean = *fate == One;
        let body = if clean {
            (*chunks).to_owned()
        } else {
            format!("{chunks}{hidden}")
        };
        vectors.push(attack.with_lines(
            "PUT",
            b"Transfer-Encoding: chunked",
            body.as_bytes(),
            Declined,
        ));
    }
    let mut wrong = String::new();
    for vector in &vectors {
        let client = attack.server.client().await;
        if let Err(why) = attack.run(client, vector).await {
            let _written = writeln!(wrong, "{why}");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// After a refusal nothing that was sent behind it is answered, though it be a whole request.
#[tokio::test]
async fn a_refused_head_ends_its_connection() {
    let attack = Attack::start().await;
    let server = &attack.server;
    for bad in [
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET /a b HTTP/1.1\r\n\r\n",
        "\x16\x03\x01\r\n\r\n",
    ] {
        let mut client = server.client().await;
        client.send(format!("{bad}{}", attack.smuggled())).await;
        let answer: Response = client.response().await;
        assert_eq!(
            (answer.status, answer.header("connection")),
            (400, Some("close")),
            "{bad:?}"
        );
        assert!(client.try_response().await.is_none(), "{bad:?}");
    }
    assert_eq!(attack.origin.requests().len(), 0);
}
