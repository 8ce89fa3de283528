//! Request smuggling from HTTP/2 to the HTTP/1.1 of a resource: what HTTP/2 can carry and HTTP/1.1 would read as
//! something else. Test S4 of the security bar. Whatever is sent, the origin sees one well-formed request or none.

use std::collections::BTreeMap;

use crate::floods::{END_HEADERS, END_STREAM, H2, HEADERS, frame, literal};
use crate::support::origin::{Origin, Received, answer};
use crate::support::server::{Server, Setup};
use crate::support::sign::Request;

const DATA: u8 = 0;
const HIDDEN: &str = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";

/// What has to become of a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Served as the one request that it is.
    One,
    /// Never a whole request at the origin, nor an answer of 200.
    Refused,
    /// Whether it is refused depends on when its end arrives; it is never more than the one request.
    Either,
}
use Fate::{Either, One, Refused};

/// A signed request as pairs, and how it goes on.
struct Vector {
    shown: String,
    fate: Fate,
    pairs: Vec<(String, String)>,
    data: String,
    trailers: Vec<(String, String)>,
}

fn pairs(mut request: Request) -> Vec<(String, String)> {
    "localhost".clone_into(&mut request.host);
    let own = [
        (":method", request.method),
        (":scheme", "https"),
        (":authority", "localhost"),
        (":path", &request.target()),
    ];
    let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let signed = request.signed_headers().into_iter();
    own.into_iter()
        .chain(signed.filter(|(name, _)| name != "host"))
        .collect()
}

impl Vector {
    fn put(server: &Server, fate: Fate, length: &str, data: &str) -> Self {
        let mut pairs = pairs(server.request("PUT", "k"));
        pairs.push(("content-length".to_owned(), length.to_owned()));
        Self {
            shown: format!("length {length:?}, {} bytes", data.len()),
            fate,
            pairs,
            data: data.to_owned(),
            trailers: Vec::new(),
        }
    }

    fn get(server: &Server, fate: Fate) -> Self {
        Self {
            shown: String::new(),
            fate,
            pairs: pairs(server.request("GET", "k")),
            data: String::new(),
            trailers: Vec::new(),
        }
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.shown = format!("{}{name:?}: {value:?}", self.shown);
        self.pairs.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A pseudo header in the place of the other one of its name.
    fn instead(mut self, name: &str, value: &str) -> Self {
        self.shown = format!("{}{name:?}: {value:?}", self.shown);
        self.pairs.retain(|(known, _)| known != name);
        self.pairs.insert(0, (name.to_owned(), value.to_owned()));
        self
    }

    fn first(mut self, name: &str, value: &str) -> Self {
        self.shown = format!("{}first {name:?}: {value:?}", self.shown);
        self.pairs.insert(0, (name.to_owned(), value.to_owned()));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.shown = format!("{}no {name:?}", self.shown);
        self.pairs.retain(|(known, _)| known != name);
        self
    }

    fn trailer(mut self, name: &str, value: &str) -> Self {
        self.shown = format!("{}, trailer {name:?}: {value:?}", self.shown);
        self.trailers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn frames(&self) -> Vec<u8> {
        let block = |pairs: &[(String, String)]| -> Vec<u8> {
            let literals = pairs.iter().map(|(name, value)| literal(name, value));
            literals.flatten().collect()
        };
        let ends = |last: bool| if last { END_STREAM } else { 0 };
        let (data, trailers) = (self.data.as_bytes(), &self.trailers);
        let last = data.is_empty() && trailers.is_empty();
        let mut bytes = frame(HEADERS, END_HEADERS | ends(last), 1, &block(&self.pairs));
        if !data.is_empty() {
            bytes.extend(frame(DATA, ends(trailers.is_empty()), 1, data));
        }
        if !trailers.is_empty() {
            bytes.extend(frame(
                HEADERS,
                END_HEADERS | END_STREAM,
                1,
                &block(trailers),
            ));
        }
        bytes
    }
}

fn lengths(server: &Server) -> Vec<Vector> {
    let put = |fate, length: &str, data: &str| Vector::put(server, fate, length, data);
    let mut vectors = vec![
        put(One, "5", "hello"),
        put(Refused, "0", HIDDEN),
        put(Refused, "3", "hello"),
        put(Refused, "10", "hello"),
        put(Refused, "5", &format!("hello{HIDDEN}")),
        put(Refused, "5", "hello").with("content-length", "6"),
        put(Refused, "5", "hello").with("content-length", "0"),
    ];
    for length in [
        "",
        " ",
        "+5",
        "-5",
        "0x5",
        "5,6",
        "5 6",
        "5.0",
        "five",
        "5;",
        "18446744073709551621",
    ] {
        vectors.push(put(Refused, length, "hello"));
    }
    for value in [
        "chunked",
        "identity",
        "gzip, chunked",
        "Chunked",
        "xchunked",
        "",
    ] {
        let body = format!("0\r\n\r\n{HIDDEN}");
        let length = body.len().to_string();
        vectors.push(put(Refused, &length, &body).with("transfer-encoding", value));
        vectors.push(
            put(Refused, &length, &body)
                .without("content-length")
                .with("transfer-encoding", value),
        );
    }
    vectors
}

fn headers(server: &Server) -> Vec<Vector> {
    let get = |fate| Vector::get(server, fate);
    let mut vectors = vec![
        get(One),
        get(One).with("te", "trailers"),
        get(One).with("x-plain", "v"),
    ];
    for (name, value) in [
        ("connection", "close"),
        ("connection", "transfer-encoding"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("upgrade", "h2c"),
        ("te", "gzip"),
        ("te", "chunked"),
        ("X-Upper", "v"),
        ("Transfer-Encoding", "chunked"),
        ("transfer-encoding ", "chunked"),
        (" transfer-encoding", "chunked"),
        ("transfer-encoding:", "chunked"),
        ("transfer-encoding\0", "chunked"),
        ("x\r\nx-smuggled", "v"),
        ("x: v\r\nx-smuggled", "v"),
        ("x\nx-smuggled", "v"),
        ("x a", "v"),
        ("x:smuggled", "v"),
        ("x\t", "v"),
        ("", "v"),
        (":", "v"),
        (":unknown", "v"),
        (":status", "200"),
        (":path", "/smuggled"),
        (":method", "DELETE"),
        (":authority", "smuggled"),
        (":scheme", "http"),
        (":protocol", "websocket"),
        ("host", "smuggled"),
        ("host", "localhost, smuggled"),
        ("host", ""),
    ] {
        vectors.push(get(Refused).with(name, value));
    }
    for value in [
        "v\r\nx-smuggled: 1",
        "v\nx-smuggled: 1",
        "v\rx-smuggled: 1",
        "v\0x-smuggled: 1",
        "v\r\n",
        "\r\nx-smuggled: 1",
        "v\r\n x-smuggled: 1",
        "v\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
        "v\u{7f}",
        "v\u{1}",
    ] {
        for name in ["x-a", "cookie", "x-amz-meta-a", "range", "if-match"] {
            vectors.push(get(Refused).with(name, value));
        }
    }
    vectors
}

const PSEUDO: [(&str, &[&str]); 4] = [
    (
        ":path",
        &[
            "",
            "*",
            "media/k",
            "/media/k HTTP/1.1\r\nHost: x\r\n\r\nGET /smuggled",
            "/media/k\r\nx-smuggled: 1",
            "/media/k\nx-smuggled: 1",
            "/media/k\r",
            "/media/k\0",
            "/media/k x",
            "/media/ k",
            "/media/k\t",
            "/media/k\u{7f}",
            " /media/k",
            "https://other/media/k",
            "http://smuggled/media/k",
            "//smuggled/media/k",
        ],
    ),
    (
        ":method",
        &[
            "",
            "get",
            "G ET",
            "GET ",
            "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\nGET",
            "GET\r\n",
            "GET\0",
            "CONNECT",
            "TRACE",
            "PRI",
        ],
    ),
    (
        ":scheme",
        &["https\r\n", "https://smuggled/x?", "h ttps", "https\0"],
    ),
    (
        ":authority",
        &[
            "",
            "smuggled",
            "localhost\r\nx-smuggled: 1",
            "localhost smuggled",
            "localhost/smuggled",
            "localhost?smuggled",
            "localhost#smuggled",
            "smuggled@localhost",
            "localhost, smuggled",
            "localhost:x",
            "localhost:99999",
            "localhost\0",
        ],
    ),
];

fn pseudo(server: &Server) -> Vec<Vector> {
    let get = |fate| Vector::get(server, fate);
    let mut vectors = Vec::new();
    for (name, values) in PSEUDO {
        for &value in values {
            // Signed for what it asks, so that the signature is not what refuses it.
            let vector = if name == ":path" {
                let mut request = server.request("GET", "k");
                value.clone_into(&mut request.path);
                let pairs = pairs(request);
                let shown = format!("{name}: {value:?}");
                Vector {
                    shown,
                    pairs,
                    ..get(Refused)
                }
            } else {
                get(Refused).instead(name, value)
            };
            vectors.push(vector);
        }
        vectors.push(get(Refused).without(name));
        vectors.push(get(Refused).first(name, "smuggled"));
    }
    vectors.push(get(Refused).first("x-before", "v"));
    vectors
}

/// Trailers are dropped or refused: none becomes a header, nor a request.
fn trailers(server: &Server) -> Vec<Vector> {
    [
        ("x-smuggled", "1", One),
        ("content-length", "100", One),
        ("host", "smuggled", One),
        ("authorization", "smuggled", One),
        ("transfer-encoding", "chunked", Either),
        ("connection", "close", Either),
        (":path", "/smuggled", Either),
        (":method", "DELETE", Either),
        ("x\r\nx-smuggled", "1", Either),
        ("x-a", "v\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n", Either),
        ("X-Upper", "1", Either),
    ]
    .into_iter()
    .map(|(name, value, fate)| Vector::put(server, fate, "5", "hello").trailer(name, value))
    .collect()
}

/// What is wrong with what the origin saw.
fn flaw(seen: &[Received], vector: &Vector) -> Option<&'static str> {
    if seen.len() > 1 {
        return Some("several requests");
    }
    let request = seen.first()?;
    let mut counts = BTreeMap::new();
    for (name, _) in &request.headers {
        *counts.entry(name.to_ascii_lowercase()).or_insert(0) += 1;
    }
    let text = format!(
        "{} {} {:?}",
        request.method, request.target, request.headers
    );
    if text.contains("smuggled") {
        Some("something smuggled")
    } else if counts.get("host") != Some(&1) || counts.contains_key("transfer-encoding") {
        Some("an ambiguous head")
    } else if vector.fate == Refused && request.complete && vector.data.is_empty() {
        Some("it reached the origin")
    } else if vector.fate == Refused && request.complete {
        Some("it was stored")
    } else if request.complete && request.body != vector.data.as_bytes() {
        Some("another body")
    } else {
        None
    }
}

#[tokio::test]
async fn nothing_is_smuggled_from_http_2() {
    let origin = Origin::always(answer::ok(b"body")).await;
    let server = Server::start(&Setup {
        storage: Some(origin.address),
        ..Setup::default()
    })
    .await;
    let certificate = std::fs::read(server.dir.path().join("tls/cert.pem")).unwrap();
    let vectors: Vec<Vector> = [lengths, headers, pseudo, trailers]
        .iter()
        .flat_map(|make| make(&server))
        .collect();
    assert!(vectors.len() >= 150, "{} vectors", vectors.len());
    let mut wrong = Vec::new();
    for vector in vectors {
        let before = origin.requests().len();
        let (address, certificate, frames) = (server.tls, certificate.clone(), vector.frames());
        let ended = tokio::task::spawn_blocking(move || {
            let mut client = H2::connect(address, &certificate);
            client.send(&frames);
            for _ in 0..1000 {
                let ended = &client.ended;
                if ended.closed || ended.goaway.is_some() || ended.answers + ended.resets > 0 {
                    break;
                }
                client.receive();
            }
            client.ended
        })
        .await
        .unwrap();
        // Goes the same way, and the next client gets its own answer.
        let clean = server.get("clean").await.text() == "body";
        let mut seen = origin.requests().split_off(before);
        seen.retain(|request| !request.target.ends_with("/clean"));
        let why = match flaw(&seen, &vector) {
            Some(why) => why,
            None if !clean => "the next client got no answer",
            None if vector.fate != Either && (ended.served > 0) != (vector.fate == One) => {
                "its answer is another"
            }
            None => continue,
        };
        wrong.push(format!(
            "{:?} {}: {why}: {ended:?}, {seen:?}",
            vector.fate, vector.shown
        ));
    }
    assert!(wrong.is_empty(), "{} fail: {wrong:#?}", wrong.len());
}
