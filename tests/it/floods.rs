//! HTTP/2 clients that cost more than they bring: each flood ends its own connection or is slowed down by it, and
//! others are served meanwhile. Test S5 of the security bar; frames are written by hand, as no library sends them.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::limits::rss_kib;
use crate::support::origin::{Origin, Step, answer};
use crate::support::server::{Server, Setup};
use crate::support::sign::Request;

pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
/// HPACK's index of `:status: 200`.
const STATUS_200: u8 = 0x88;
const ENHANCE_YOUR_CALM: u32 = 11;

/// Time that a flood may take, and that a peer which reads nothing has to take a write.
const FLOOD_MAX: Duration = Duration::from_secs(3);
const BLOCKED: Duration = Duration::from_millis(500);
/// What a flood may leave behind in memory, in KiB.
const GROWTH_KIB_MAX: usize = 64 * 1024;
/// How long another client's small request may take meanwhile, on a busy machine.
const OTHERS_MAX: Duration = Duration::from_secs(3);

/// How a flood ended.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    /// The code of the GOAWAY, if there was one.
    pub(crate) goaway: Option<u32>,
    pub(crate) closed: bool,
    /// The server took no more.
    blocked: bool,
    /// Heads of answers that arrived.
    pub(crate) answers: usize,
    /// Those of them that say 200.
    pub(crate) served: usize,
    /// Streams that the server reset.
    pub(crate) resets: usize,
}

pub(crate) struct H2 {
    stream: StreamOwned<ClientConnection, TcpStream>,
    buffer: Vec<u8>,
    pub(crate) ended: Ended,
}

impl H2 {
    pub(crate) fn connect(address: std::net::SocketAddr, certificate: &[u8]) -> Self {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(certificate).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let name = "localhost".try_into().unwrap();
        let session = ClientConnection::new(Arc::new(config), name).unwrap();
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(FLOOD_MAX)).unwrap();
        socket.set_write_timeout(Some(BLOCKED)).unwrap();
        let mut stream = StreamOwned::new(session, socket);
        stream
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .unwrap();
        stream
            .sock
            .set_read_timeout(Some(Duration::from_millis(1)))
            .unwrap();
        Self {
            stream,
            buffer: Vec::new(),
            ended: Ended::default(),
        }
    }

    /// Writes, then takes what has come; false where the connection is over.
    pub(crate) fn send(&mut self, frames: &[u8]) -> bool {
        match self
            .stream
            .write_all(frames)
            .and_then(|()| self.stream.flush())
        {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                self.ended.blocked = true;
            }
            Err(_) => self.ended.closed = true,
        }
        self.receive();
        !(self.ended.closed || self.ended.blocked || self.ended.goaway.is_some())
    }

    pub(crate) fn receive(&mut self) {
        let mut bytes = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => self.ended.closed = true,
                Ok(read) => {
                    self.buffer.extend_from_slice(&bytes[..read]);
                    self.parse();
                    continue;
                }
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => self.ended.closed = true,
            }
            return;
        }
    }

    fn parse(&mut self) {
        while let Some(head) = self.buffer.first_chunk::<9>() {
            let length =
                usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            let kind = head[3];
            if self.buffer.len() < 9 + length {
                return;
            }
            let frame: Vec<u8> = self.buffer.drain(..9 + length).collect();
            if kind == GOAWAY {
                let code = frame.get(13..17).and_then(|code| code.try_into().ok());
                self.ended.goaway = code.map(u32::from_be_bytes);
            }
            self.ended.answers += usize::from(kind == HEADERS);
            self.ended.served += usize::from(kind == HEADERS && frame.get(9) == Some(&STATUS_200));
            self.ended.resets += usize::from(kind == RST_STREAM);
        }
    }

    /// Goes on until the server ends it, takes no more, or `count` were sent.
    fn flood(mut self, count: u32, frames: impl Fn(u32) -> Vec<u8>) -> Ended {
        let started = Instant::now();
        let mut sent = 0;
        while sent < count && started.elapsed() < FLOOD_MAX {
            let batch: Vec<u8> = (sent..(sent + 50).min(count)).flat_map(&frames).collect();
            sent += 50;
            if !self.send(&batch) {
                break;
            }
        }
        // What the server says last may still be on its way.
        for _ in 0..500 {
            if self.ended.closed || self.ended.goaway.is_some() {
                break;
            }
            self.receive();
        }
        self.ended
    }
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header as HPACK's literal that is not indexed.
pub(crate) fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        integer(&mut bytes, text.len());
        bytes.extend(text.as_bytes());
    }
    bytes
}

/// HPACK's integer in seven bits.
fn integer(bytes: &mut Vec<u8>, value: usize) {
    let Some(mut left) = value.checked_sub(127) else {
        bytes.push(u8::try_from(value).unwrap());
        return;
    };
    bytes.push(127);
    while left >= 128 {
        bytes.push(u8::try_from(left % 128).unwrap() | 128);
        left /= 128;
    }
    bytes.push(u8::try_from(left).unwrap());
}

fn head(path: &str) -> Vec<u8> {
    let pairs = [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "localhost"),
        (":path", path),
    ];
    pairs
        .iter()
        .flat_map(|(name, value)| literal(name, value))
        .collect()
}

fn signed(mut request: Request) -> Vec<u8> {
    "localhost".clone_into(&mut request.host);
    let mut block = head(&request.target());
    for (name, value) in request.signed_headers() {
        if name != "host" {
            block.extend(literal(&name, &value));
        }
    }
    block
}

/// Streams of clients have odd numbers.
fn stream(number: u32) -> u32 {
    2 * number + 1
}

/// Runs an attack beside a client whose requests must be answered all the while.
async fn beside_others(
    attack: impl FnOnce(H2) -> Ended + Send + 'static,
    server: &Server,
) -> Ended {
    assert_eq!(server.get("k").await.status, 200);
    let before = rss_kib(server);
    let certificate = std::fs::read(server.dir.path().join("tls/cert.pem")).unwrap();
    let address = server.tls;
    let attack = tokio::task::spawn_blocking(move || attack(H2::connect(address, &certificate)));
    loop {
        let started = Instant::now();
        assert_eq!(server.get("k").await.status, 200);
        assert!(
            started.elapsed() < OTHERS_MAX,
            "others waited {:?}",
            started.elapsed()
        );
        if attack.is_finished() {
            break;
        }
    }
    let ended = attack.await.unwrap();
    assert_eq!(server.get("k").await.status, 200);
    let grown = rss_kib(server).saturating_sub(before);
    assert!(grown < GROWTH_KIB_MAX, "{grown} KiB left by {ended:?}");
    ended
}

async fn start() -> (Origin, Server) {
    let origin = Origin::start(|request, _| {
        if request.target.ends_with("/large") {
            let head = b"HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: 1000000000\r\n\r\n";
            vec![
                Step::ReadBody,
                Step::Write(head.to_vec()),
                Step::Flood(vec![0; 1 << 16]),
            ]
        } else {
            answer::ok(b"body")
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

/// CVE-2023-44487: streams opened and reset at once, each of which costs a request.
#[tokio::test]
async fn cve_2023_44487_rapid_reset() {
    let (_origin, server) = start().await;
    let ended = beside_others(
        |h2| {
            h2.flood(20_000, |number| {
                let open = frame(
                    HEADERS,
                    END_HEADERS | END_STREAM,
                    stream(number),
                    &head("/media/k"),
                );
                [
                    open,
                    frame(RST_STREAM, 0, stream(number), &8_u32.to_be_bytes()),
                ]
                .concat()
            })
        },
        &server,
    )
    .await;
    assert_eq!(ended.goaway, Some(ENHANCE_YOUR_CALM), "{ended:?}");
}

/// CVE-2025-8671, "`MadeYouReset`": frames that make the server reset the stream itself.
#[tokio::test]
async fn cve_2025_8671_made_you_reset() {
    let (_origin, server) = start().await;
    let ended = beside_others(
        |h2| {
            h2.flood(20_000, |number| {
                let open = frame(
                    HEADERS,
                    END_HEADERS | END_STREAM,
                    stream(number),
                    &head("/media/k"),
                );
                let overflow = frame(
                    WINDOW_UPDATE,
                    0,
                    stream(number),
                    &0x7fff_ffff_u32.to_be_bytes(),
                );
                [open, overflow].concat()
            })
        },
        &server,
    )
    .await;
    assert_eq!(ended.goaway, Some(ENHANCE_YOUR_CALM), "{ended:?}");
}

/// CVE-2024-27316 and its kin: a head that never ends.
#[tokio::test]
async fn cve_2024_27316_continuation_flood() {
    let (_origin, server) = start().await;
    let ended = beside_others(
        |h2| {
            h2.flood(100_000, |number| {
                let block = literal("x-a", &"v".repeat(1000));
                if number == 0 {
                    frame(HEADERS, END_STREAM, 1, &[head("/media/k"), block].concat())
                } else {
                    frame(CONTINUATION, 0, 1, &block)
                }
            })
        },
        &server,
    )
    .await;
    assert_eq!(ended.goaway, Some(ENHANCE_YOUR_CALM), "{ended:?}");
}

/// Small frames that each want an answer, from a client that reads none of them.
#[tokio::test]
async fn floods_of_control_frames_are_slowed_down() {
    let (_origin, server) = start().await;
    for kind in [PING, SETTINGS] {
        let payload: &[u8] = if kind == PING { b"12345678" } else { b"" };
        let ended = beside_others(
            move |h2| h2.flood(200_000, move |_| frame(kind, 0, 0, payload)),
            &server,
        )
        .await;
        // Answered as fast as they are read, or ended: both are within bounds.
        assert_eq!(ended.answers, 0, "{ended:?}");
    }
}

/// One header in the table of the connection, named over and over: little to send, much to hold.
#[tokio::test]
async fn a_header_bomb_stays_within_the_limit() {
    let (origin, server) = start().await;
    let before = origin.requests().len();
    let ended = beside_others(
        |h2| {
            h2.flood(1000, |number| {
                let mut block = head("/media/bomb");
                if number == 0 {
                    // Literal with incremental indexing: it becomes entry 62.
                    let mut entry = literal("x-bomb", &"b".repeat(3900));
                    entry[0] = 0x40;
                    block.extend(entry);
                }
                block.extend(vec![0x80 | 0x3e; 8000]);
                frame(HEADERS, END_HEADERS | END_STREAM, stream(number), &block)
            })
        },
        &server,
    )
    .await;
    let bombs = origin.requests().split_off(before);
    assert!(
        bombs.iter().all(|seen| !seen.target.contains("bomb")),
        "{ended:?}"
    );
}

/// Answers that the client takes no byte of: what is held for them is bounded.
#[tokio::test]
async fn a_window_of_nothing_holds_little() {
    let (_origin, server) = start().await;
    let block = signed(server.request("GET", "large"));
    let ended = beside_others(
        move |mut h2| {
            // SETTINGS_INITIAL_WINDOW_SIZE = 0
            assert!(h2.send(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0])));
            h2.flood(100, move |number| {
                frame(HEADERS, END_HEADERS | END_STREAM, stream(number), &block)
            })
        },
        &server,
    )
    .await;
    assert!(ended.answers > 0, "{ended:?}");
}
