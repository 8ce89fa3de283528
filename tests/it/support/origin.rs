//! An upstream server that does wrong on purpose, and remembers what reached it.
//!
//! A script answers each request head with [`Step`]s, which are bytes and socket calls rather than HTTP: what a
//! broken server sends need not be HTTP. Knows nothing of S3 beyond what a test writes into a script.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;

/// Stops a test whose peer sends a head without end.
const HEAD_BYTES_MAX: usize = 1 << 20;
/// Stops [`Step::Flood`] where nobody hangs up.
const FLOOD_MAX: usize = 1_000_000;

/// What one request brought.
#[derive(Clone, Debug, Default)]
pub(crate) struct Received {
    /// Counts connections from 0.
    pub(crate) connection: usize,
    pub(crate) method: String,
    /// Byte for byte as it stood in the request line.
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    /// The body without chunk framing, as far as it was read.
    pub(crate) body: Vec<u8>,
    /// The body was read to its end.
    pub(crate) complete: bool,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// What an origin does next with a connection.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Reads the request's body to its end.
    ReadBody,
    /// Reads so many bytes of the body, at least.
    ReadBytes(usize),
    Write(Vec<u8>),
    /// Writes the same bytes until the other side hangs up.
    Flood(Vec<u8>),
    /// Writes byte by byte, with a pause after each.
    Drip(Vec<u8>, Duration),
    Pause(Duration),
    /// Waits for a word from the test.
    Wait(Arc<Notify>),
    /// Waits until the test lets one more connection go on.
    Permit(Arc<Semaphore>),
    /// Does nothing until the other side hangs up.
    Stall,
    /// Closes in order, both ways.
    Close,
    /// Closes with RST.
    Reset,
}

/// What the origin has seen so far.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) requests: Vec<Received>,
    pub(crate) opened: usize,
    /// Connections that have ended, by either side.
    pub(crate) ended: usize,
    /// Those of them that the other side reset.
    pub(crate) resets: usize,
    /// How often [`Step::Flood`] wrote its bytes.
    pub(crate) floods: usize,
    /// Connections that have come to a [`Step::Permit`].
    pub(crate) waiting: usize,
}

type Script = dyn Fn(&Received, usize) -> Vec<Step> + Send + Sync;

/// A listening origin; dropping it ends its connections.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    seen: watch::Receiver<Seen>,
    _tasks: JoinSet<()>,
}

impl Origin {
    /// Listens on a free port. The script gets each request's head and its number, from 0; after its last step
    /// the connection is kept for the next request.
    pub(crate) async fn start(
        script: impl Fn(&Received, usize) -> Vec<Step> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (record, seen) = watch::channel(Seen::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::new(script), Arc::new(record)));
        Self {
            address,
            seen,
            _tasks: tasks,
        }
    }

    /// Answers every request alike.
    pub(crate) async fn always(steps: Vec<Step>) -> Self {
        Self::start(move |_, _| steps.clone()).await
    }

    pub(crate) fn requests(&self) -> Vec<Received> {
        self.seen.borrow().requests.clone()
    }

    pub(crate) fn opened(&self) -> usize {
        self.seen.borrow().opened
    }

    pub(crate) fn resets(&self) -> usize {
        self.seen.borrow().resets
    }

    /// Waits until nothing more happens: every flood is held back.
    pub(crate) async fn until_held_back(&self) {
        const QUIET: Duration = Duration::from_millis(500);
        let mut seen = self.seen.clone();
        super::within("every flood to be held back", async {
            while tokio::time::timeout(QUIET, seen.changed()).await.is_ok() {}
        })
        .await;
    }

    /// Waits until the condition holds for what was seen.
    pub(crate) async fn until(&self, what: &str, holds: impl FnMut(&Seen) -> bool) {
        let mut seen = self.seen.clone();
        super::within(what, async {
            seen.wait_for(holds).await.map(drop).unwrap();
        })
        .await;
    }
}

/// Steps that are used in several tests.
pub(crate) mod answer {
    use super::Step;

    /// A whole response with a body and an `ETag`.
    pub(crate) fn ok(body: &[u8]) -> Vec<Step> {
        let head = format!(
            "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        vec![
            Step::ReadBody,
            Step::Write([head.as_bytes(), body].concat()),
        ]
    }

    /// An S3 error with its document.
    pub(crate) fn error(status: u16, code: &str) -> Vec<Step> {
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>m</Message></Error>"
        );
        let head = format!(
            "HTTP/1.1 {status} No\r\nContent-Type: application/xml\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        vec![Step::ReadBody, Step::Write(head.into_bytes())]
    }

    /// Bytes as they are, after the request's body was read.
    pub(crate) fn raw(text: &str) -> Vec<Step> {
        vec![Step::ReadBody, Step::Write(text.as_bytes().to_vec())]
    }
}

async fn accept(listener: TcpListener, script: Arc<Script>, record: Arc<watch::Sender<Seen>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let mut number = 0;
        record.send_modify(|seen| {
            number = seen.opened;
            seen.opened += 1;
        });
        let connection = Connection {
            stream,
            number,
            buffer: Vec::new(),
            record: Arc::clone(&record),
        };
        connections.spawn(connection.serve(Arc::clone(&script)));
    }
}

struct Connection {
    stream: TcpStream,
    number: usize,
    /// Received and not yet used.
    buffer: Vec<u8>,
    record: Arc<watch::Sender<Seen>>,
}

impl Connection {
    async fn serve(mut self, script: Arc<Script>) {
        while let Some(request) = self.head().await {
            let mut index = 0;
            self.record.send_modify(|seen| {
                index = seen.requests.len();
                seen.requests.push(request.clone());
            });
            let mut body = Framing::of(&request);
            let mut open = true;
            for step in script(&request, index) {
                open = self.step(step, index, &mut body).await;
                if !open {
                    break;
                }
            }
            if !open {
                break;
            }
        }
        drop(self.stream);
        self.record.send_modify(|seen| seen.ended += 1);
    }

    /// The next request's head; `None` where the other side hung up.
    async fn head(&mut self) -> Option<Received> {
        loop {
            if let Some(end) = self
                .buffer
                .windows(4)
                .position(|window| window == b"\r\n\r\n")
            {
                let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
                return Some(parse(self.number, &String::from_utf8_lossy(&head)));
            }
            assert!(self.buffer.len() < HEAD_BYTES_MAX, "a head without end");
            if !self.fill().await {
                return None;
            }
        }
    }

    async fn fill(&mut self) -> bool {
        let read = self.stream.read_buf(&mut self.buffer).await;
        if read
            .as_ref()
            .is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
        {
            self.record.send_modify(|seen| seen.resets += 1);
        }
        matches!(read, Ok(read) if read > 0)
    }

    /// Takes one step; false where the connection is over.
    async fn step(&mut self, step: Step, index: usize, body: &mut Framing) -> bool {
        match step {
            Step::ReadBody => self.read_body(index, body, usize::MAX).await,
            Step::ReadBytes(count) => self.read_body(index, body, count).await,
            Step::Write(bytes) => self.stream.write_all(&bytes).await.is_ok(),
            Step::Flood(bytes) => {
                for _ in 0..FLOOD_MAX {
                    if self.stream.write_all(&bytes).await.is_err() {
                        break;
                    }
                    self.record.send_modify(|seen| seen.floods += 1);
                }
                false
            }
            Step::Drip(bytes, pause) => {
                for byte in bytes {
                    if self.stream.write_all(&[byte]).await.is_err() {
                        return false;
                    }
                    tokio::time::sleep(pause).await;
                }
                true
            }
            Step::Pause(time) => {
                tokio::time::sleep(time).await;
                true
            }
            Step::Wait(word) => {
                word.notified().await;
                true
            }
            Step::Permit(permits) => {
                self.record.send_modify(|seen| seen.waiting += 1);
                permits.acquire().await.unwrap().forget();
                true
            }
            Step::Stall => {
                while self.fill().await {
                    self.buffer.clear();
                }
                false
            }
            Step::Close => {
                let _closed = self.stream.shutdown().await;
                false
            }
            Step::Reset => {
                self.stream.set_zero_linger().unwrap();
                false
            }
        }
    }

    async fn read_body(&mut self, index: usize, body: &mut Framing, count: usize) -> bool {
        let mut read = 0;
        loop {
            let data = body.take(&mut self.buffer);
            read += data.len();
            let complete = body.is_done();
            self.record.send_modify(|seen| {
                let request = &mut seen.requests[index];
                request.body.extend_from_slice(&data);
                request.complete = complete;
            });
            if complete || read >= count {
                return true;
            }
            if !self.fill().await {
                return false;
            }
        }
    }
}

fn parse(connection: usize, head: &str) -> Received {
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap_or_default().splitn(3, ' ');
    let mut next = || first.next().unwrap_or_default().to_owned();
    let (method, target) = (next(), next());
    let fields = lines.filter_map(|line| line.split_once(':'));
    let headers = fields
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    Received {
        connection,
        method,
        target,
        headers,
        ..Received::default()
    }
}

/// How much of a request's body is still to come.
enum Framing {
    Left(usize),
    /// Between chunks, or within one with so many bytes left, its line end included.
    Chunked {
        left: usize,
    },
    Done,
}

impl Framing {
    fn of(request: &Received) -> Self {
        if request.header("transfer-encoding").is_some() {
            return Self::Chunked { left: 0 };
        }
        match request
            .header("content-length")
            .and_then(|length| length.parse().ok())
        {
            Some(0) | None => Self::Done,
            Some(length) => Self::Left(length),
        }
    }

    fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// Takes what there is of the body out of the buffer.
    fn take(&mut self, buffer: &mut Vec<u8>) -> Vec<u8> {
        match self {
            Self::Done => Vec::new(),
            Self::Left(left) => {
                let count = buffer.len().min(*left);
                *left -= count;
                if *left == 0 {
                    *self = Self::Done;
                }
                buffer.drain(..count).collect()
            }
            Self::Chunked { .. } => self.take_chunks(buffer),
        }
    }

    fn take_chunks(&mut self, buffer: &mut Vec<u8>) -> Vec<u8> {
        let mut data = Vec::new();
        while let Self::Chunked { left } = self {
            if *left > 0 {
                let count = buffer.len().min(*left);
                let within_data = count.min(left.saturating_sub(2));
                data.extend(buffer.drain(..within_data));
                buffer.drain(..count - within_data);
                *left -= count;
                if *left > 0 {
                    break;
                }
            }
            let Some(end) = buffer.windows(2).position(|window| window == b"\r\n") else {
                break;
            };
            let line = String::from_utf8_lossy(&buffer[..end]).into_owned();
            let size =
                usize::from_str_radix(line.split(';').next().unwrap_or_default(), 16).unwrap_or(0);
            if size == 0 {
                let Some(last) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else {
                    break;
                };
                buffer.drain(..last + 4);
                *self = Self::Done;
            } else {
                buffer.drain(..end + 2);
                *left = size + 2;
            }
        }
        data
    }
}

#[cfg(test)]
mod tests {
    use super::super::raw::Raw;
    use super::*;

    const GET: &str = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";

    #[tokio::test]
    async fn requests_are_recorded_whatever_their_framing() {
        let origin = Origin::always(answer::ok(b"body")).await;
        let mut client = Raw::connect(origin.address).await;
        for request in [
            "PUT /n HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc",
            "PUT /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2;x=y\r\nbc\r\n0\r\n\r\n",
        ] {
            client.send(request).await;
            assert_eq!(client.response().await.text(), "body");
        }
        let requests = origin.requests();
        assert_eq!(requests.len(), 2);
        assert!(
            requests
                .iter()
                .all(|request| request.body == b"abc" && request.complete)
        );
        assert_eq!((origin.opened(), requests[1].target.as_str()), (1, "/c"));
    }

    #[tokio::test]
    async fn a_body_cut_off_is_recorded_as_incomplete() {
        let origin = Origin::always(answer::ok(b"")).await;
        let mut client = Raw::connect(origin.address).await;
        client
            .send("PUT /n HTTP/1.1\r\nHost: h\r\nContent-Length: 30\r\n\r\nabc")
            .await;
        drop(client);
        origin
            .until("the connection's end", |seen| seen.ended == 1)
            .await;
        assert_eq!(
            (
                origin.requests()[0].complete,
                origin.requests()[0].body.len()
            ),
            (false, 3)
        );
    }

    #[tokio::test]
    async fn faults_show_as_what_they_are() {
        for (steps, complete) in [
            (answer::ok(b"whole"), true),
            (
                vec![
                    Step::Write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort".to_vec()),
                    Step::Close,
                ],
                false,
            ),
            (
                vec![
                    Step::Write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nreset".to_vec()),
                    Step::Reset,
                ],
                false,
            ),
            (
                answer::raw(
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
                ),
                true,
            ),
            (
                [
                    answer::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"),
                    vec![Step::Close],
                ]
                .concat(),
                false,
            ),
            (
                [
                    answer::raw(
                        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n",
                    ),
                    vec![Step::Close],
                ]
                .concat(),
                false,
            ),
        ] {
            let origin = Origin::always(steps.clone()).await;
            let mut client = Raw::connect(origin.address).await;
            client.send(GET).await;
            assert_eq!(client.response().await.complete, complete, "{steps:?}");
        }
    }

    #[tokio::test]
    async fn a_flood_ends_when_the_client_hangs_up() {
        let origin =
            Origin::always(vec![Step::Flood(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec())]).await;
        let mut client = Raw::connect(origin.address).await;
        client.send(GET).await;
        assert_eq!(client.head().await.status, 100);
        drop(client);
        origin
            .until("the connection's end", |seen| seen.ended == 1)
            .await;
    }
}
