//! A load generator that costs little: it signs one request head when it starts and sends the same bytes
//! again and again, over keep-alive connections, one thread each. Prints one line of JSON.
//!
//! It measures a closed loop: a slow answer delays the next request of its connection. That compares
//! proxies; it does not find the rate at which a service breaks.

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use aqueduct::keys::signing::{Scope, SigningKey};
use aqueduct::secret::Secret;
use clap::{Parser, ValueEnum};
use sha2::{Digest, Sha256};

/// What a response head must fit in, and what one read of a body takes.
const BUFFER_BYTES: usize = 256 * 1024;

/// How long one answer may take before it counts as an error.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Stops after so many errors on one connection: the figures are worthless by then.
const ERRORS_MAX: u64 = 100;

type Failure = Box<dyn Error + Send + Sync>;

#[derive(Parser)]
struct Options {
    /// Whom to ask, `HOST:PORT`.
    #[arg(long)]
    target: String,
    #[arg(long, default_value = "GET")]
    method: String,
    /// With a query, if there is one, that is in its canonical form.
    #[arg(long)]
    path: String,
    /// Length of the body to send.
    #[arg(long, default_value_t = 0)]
    body_bytes: usize,
    /// Send this JSON instead.
    #[arg(long)]
    json: Option<String>,
    /// Send the JSON in this file.
    #[arg(long, conflicts_with = "json")]
    json_file: Option<PathBuf>,
    /// Send this header, `NAME: VALUE`, too.
    #[arg(long = "header")]
    headers: Vec<String>,
    #[arg(long, value_enum, default_value_t = Payload::Unsigned)]
    payload: Payload,
    /// Sign with SigV4.
    #[arg(long, requires = "secret_key")]
    access_key: Option<String>,
    #[arg(long)]
    secret_key: Option<String>,
    #[arg(long, default_value = "us-east-1")]
    region: String,
    /// Authorize with a bearer token.
    #[arg(long, conflicts_with = "access_key")]
    bearer: Option<String>,
    #[arg(long, default_value_t = 16)]
    connections: usize,
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// The answer's status must be this.
    #[arg(long, default_value_t = 200)]
    expect: u16,
    /// The answer's body must have this length.
    #[arg(long)]
    expect_bytes: Option<u64>,
    /// The answer must be an SSE stream of at least so many events that ends with `[DONE]`.
    #[arg(long)]
    expect_events: Option<u64>,
}

/// What `x-amz-content-sha256` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Payload {
    Unsigned,
    Signed,
}

/// What one connection saw.
#[derive(Default)]
struct Tally {
    micros: Vec<u32>,
    /// Until the first byte of the body.
    first_micros: Vec<u32>,
    errors: u64,
    bytes: u64,
    first_error: Option<String>,
    /// How many answers each connection had: whether all get their turn.
    by_connection: Vec<usize>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut options = Options::parse();
    if let Some(file) = &options.json_file {
        options.json = Some(std::fs::read_to_string(file)?);
    }
    let body = options
        .json
        .clone()
        .map_or_else(|| vec![b'x'; options.body_bytes], String::into_bytes);
    let head = request_head(&options, &body)?;
    let job = Arc::new(Job {
        target: options.target,
        head,
        body,
        expected: Expected {
            status: options.expect,
            bytes: options.expect_bytes,
            events: options.expect_events,
        },
        run: Duration::from_secs_f64(options.seconds),
    });
    let started = Instant::now();
    let threads: Vec<_> = (0..options.connections)
        .map(|_| {
            let job = Arc::clone(&job);
            thread::spawn(move || job.connection(started))
        })
        .collect();
    let mut all = Tally::default();
    for thread in threads {
        let one = thread
            .join()
            .map_err(|_| "a connection's thread panicked")?;
        all.by_connection.push(one.micros.len());
        all.micros.extend(one.micros);
        all.first_micros.extend(one.first_micros);
        all.errors += one.errors;
        all.bytes += one.bytes;
        all.first_error = all.first_error.or(one.first_error);
    }
    report(all, started.elapsed(), job.body.len())?;
    Ok(())
}

fn report(mut all: Tally, took: Duration, body_bytes: usize) -> io::Result<()> {
    all.micros.sort_unstable();
    all.first_micros.sort_unstable();
    let seconds = took.as_secs_f64();
    let count = all.micros.len();
    let sent = u64::try_from(count * body_bytes).unwrap_or(u64::MAX);
    let line = serde_json::json!({
        "requests": count,
        "seconds": seconds,
        "p50_us": quantile(&all.micros, 500),
        "p99_us": quantile(&all.micros, 990),
        "max_us": quantile(&all.micros, 1000),
        "first_p50_us": quantile(&all.first_micros, 500),
        "first_p99_us": quantile(&all.first_micros, 990),
        "errors": all.errors,
        "bytes": all.bytes + sent,
        "first_error": all.first_error,
        "fewest_by_connection": all.by_connection.iter().min(),
        "most_by_connection": all.by_connection.iter().max(),
    });
    writeln!(io::stdout(), "{line}")
}

fn quantile(sorted: &[u32], per_mille: usize) -> u32 {
    let at = (sorted.len() * per_mille / 1000).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or(0)
}

/// The head, signed for now; a signature is good for a quarter of an hour.
fn request_head(options: &Options, body: &[u8]) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    write!(
        head,
        "{} {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: loadgen\r\nAccept-Encoding: identity\r\n",
        options.method, options.path, options.target
    )?;
    if !body.is_empty() {
        write!(head, "Content-Length: {}\r\n", body.len())?;
    }
    if options.json.is_some() {
        write!(head, "Content-Type: application/json\r\n")?;
    }
    for header in &options.headers {
        write!(head, "{header}\r\n")?;
    }
    if let Some(token) = &options.bearer {
        write!(head, "Authorization: Bearer {token}\r\n")?;
    }
    if let (Some(id), Some(secret)) = (&options.access_key, &options.secret_key) {
        head.extend_from_slice(signature(options, body, id, secret).as_bytes());
    }
    head.extend_from_slice(b"\r\n");
    Ok(head)
}

fn signature(options: &Options, body: &[u8], id: &str, secret: &str) -> String {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the clock to sign"
    )]
    let date = jiff::Timestamp::now()
        .strftime("%Y%m%dT%H%M%SZ")
        .to_string();
    let payload = match options.payload {
        Payload::Unsigned => "UNSIGNED-PAYLOAD".to_owned(),
        Payload::Signed => hex(&Sha256::digest(body)),
    };
    let signed = "host;x-amz-content-sha256;x-amz-date";
    let (path, query) = options.path.split_once('?').unwrap_or((&options.path, ""));
    let request = format!(
        "{}\n{path}\n{query}\nhost:{}\nx-amz-content-sha256:{payload}\nx-amz-date:{date}\n\n{signed}\n{payload}",
        options.method, options.target
    );
    let scope = Scope {
        date: &date[..8],
        region: &options.region,
        service: "s3",
    };
    let key = SigningKey::derive(&Secret::new(secret.as_bytes()), scope);
    let digest = hex(&Sha256::digest(request.as_bytes()));
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{}\n{digest}", key.scope());
    format!(
        "x-amz-date: {date}\r\nx-amz-content-sha256: {payload}\r\nAuthorization: AWS4-HMAC-SHA256 \
         Credential={id}/{}, SignedHeaders={signed}, Signature={}\r\n",
        key.scope(),
        hex(&key.sign(text.as_bytes()))
    )
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;

    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

struct Job {
    target: String,
    head: Vec<u8>,
    body: Vec<u8>,
    expected: Expected,
    run: Duration,
}

/// What an answer must be to count: a proxy that refuses quickly is not fast.
struct Expected {
    status: u16,
    bytes: Option<u64>,
    events: Option<u64>,
}

impl Expected {
    fn check(&self, answer: &Answer) -> Result<(), Failure> {
        let (status, bytes, events) = (answer.status, answer.bytes, answer.events);
        if status != self.status {
            return Err(format!("status {status}").into());
        }
        if self.bytes.is_some_and(|wanted| wanted != bytes) {
            return Err(format!("{bytes} bytes").into());
        }
        if let Some(wanted) = self.events {
            if !answer.done {
                return Err("the stream has no [DONE]".into());
            }
            if events < wanted {
                return Err(format!("{events} events").into());
            }
        }
        Ok(())
    }
}

impl Job {
    /// Sends requests over one connection after another until the time is up.
    fn connection(&self, started: Instant) -> Tally {
        let mut tally = Tally::default();
        let mut buffer = vec![0; BUFFER_BYTES];
        while started.elapsed() < self.run && tally.errors < ERRORS_MAX {
            if let Err(error) = self.requests(started, &mut tally, &mut buffer) {
                tally.errors += 1;
                tally.first_error.get_or_insert_with(|| error.to_string());
            }
        }
        tally
    }

    /// Returns when the time is up or the server closes as it may.
    fn requests(
        &self,
        started: Instant,
        tally: &mut Tally,
        buffer: &mut [u8],
    ) -> Result<(), Failure> {
        let mut socket = TcpStream::connect(&self.target)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(ANSWER_MAX))?;
        socket.set_write_timeout(Some(ANSWER_MAX))?;
        while started.elapsed() < self.run {
            let sent = Instant::now();
            socket.write_all(&self.head)?;
            socket.write_all(&self.body)?;
            let answer = read_answer(&mut socket, buffer)?;
            self.expected.check(&answer)?;
            let micros = |time: Duration| u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
            tally.micros.push(micros(sent.elapsed()));
            if let Some(first) = answer.first_byte {
                tally.first_micros.push(micros(first - sent));
            }
            tally.bytes += answer.bytes;
            if answer.closes {
                break;
            }
        }
        Ok(())
    }
}

#[derive(Default)]
struct Answer {
    status: u16,
    bytes: u64,
    closes: bool,
    /// When the first byte of a body in chunks came.
    first_byte: Option<Instant>,
    events: u64,
    /// The last event was `[DONE]`.
    done: bool,
}

/// Reads one response, with `Content-Length` or in chunks.
fn read_answer(socket: &mut TcpStream, buffer: &mut [u8]) -> Result<Answer, Failure> {
    let mut held = 0;
    let body_at = loop {
        let read = socket.read(&mut buffer[held..])?;
        if read == 0 {
            return Err("closed before an answer".into());
        }
        held += read;
        if let Some(at) = memchr::memmem::find(&buffer[..held], b"\r\n\r\n") {
            break at + 4;
        }
    };
    let head = std::str::from_utf8(&buffer[..body_at])?;
    let of = |wanted: &str| {
        let lines = head.lines().filter_map(|line| line.split_once(':'));
        let mut named = lines.filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
        named.next().map(|(_, value)| value.trim())
    };
    let mut answer = Answer {
        status: head.get(9..12).ok_or("no status")?.parse()?,
        closes: of("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")),
        ..Answer::default()
    };
    let length: Option<usize> = of("content-length").map(str::parse).transpose()?;
    if let Some(length) = length {
        let bytes = read_sized(socket, buffer, held - body_at, length)?;
        answer.bytes = u64::try_from(bytes)?;
    } else {
        buffer.copy_within(body_at..held, 0);
        read_chunks(socket, buffer, held - body_at, &mut answer)?;
    }
    Ok(answer)
}

fn read_sized(
    socket: &mut TcpStream,
    buffer: &mut [u8],
    mut bytes: usize,
    length: usize,
) -> Result<usize, Failure> {
    while bytes < length {
        let read = socket.read(buffer)?;
        if read == 0 {
            return Err("the answer was cut short".into());
        }
        bytes += read;
    }
    Ok(bytes)
}

fn read_chunks(
    socket: &mut TcpStream,
    buffer: &mut [u8],
    held: usize,
    answer: &mut Answer,
) -> Result<(), Failure> {
    let (mut chunks, mut events, mut held) = (Chunks::Size(0), Events::default(), held);
    loop {
        if held > 0 {
            answer.first_byte.get_or_insert_with(Instant::now);
        }
        answer.bytes += u64::try_from(chunks.decode(&buffer[..held], &mut events)?)?;
        if matches!(chunks, Chunks::Ended) {
            (answer.events, answer.done) = (events.count, events.last == DONE);
            return Ok(());
        }
        held = socket.read(buffer)?;
        if held == 0 {
            return Err("the answer was cut short".into());
        }
    }
}

/// Where the decoder of chunks stands.
#[derive(Clone, Copy)]
enum Chunks {
    /// In a line with a size, of which this much was read.
    Size(usize),
    /// So many bytes of a chunk are to come.
    Data(usize),
    /// At the end of a chunk, whose line end is to come.
    DataEnd,
    /// After the last chunk; its empty line is to come. There are no trailers here.
    LastEnd,
    Ended,
}

impl Chunks {
    /// Gives how many bytes of the body were in it.
    fn decode(&mut self, mut bytes: &[u8], events: &mut Events) -> Result<usize, Failure> {
        let mut body = 0;
        while let Some((first, rest)) = bytes.split_first() {
            match (*self, *first) {
                (Self::Data(left), _) => {
                    let (data, after) = bytes.split_at(left.min(bytes.len()));
                    events.see(data);
                    body += data.len();
                    bytes = after;
                    *self = match left - data.len() {
                        0 => Self::DataEnd,
                        more => Self::Data(more),
                    };
                    continue;
                }
                (_, b'\r') => {}
                (Self::Size(0), b'\n') => *self = Self::LastEnd,
                (Self::Size(size), b'\n') => *self = Self::Data(size),
                (Self::Size(size), digit) => {
                    let digit = char::from(digit).to_digit(16).ok_or("a bad chunk")?;
                    *self = Self::Size(size * 16 + usize::try_from(digit)?);
                }
                (Self::DataEnd, b'\n') => *self = Self::Size(0),
                (Self::LastEnd, b'\n') => *self = Self::Ended,
                (Self::DataEnd | Self::LastEnd | Self::Ended, _) => {
                    return Err("a bad chunk".into());
                }
            }
            bytes = rest;
        }
        Ok(body)
    }
}

const DONE: [u8; 14] = *b"data: [DONE]\n\n";

/// Counts SSE events and knows how the stream ended.
#[derive(Default)]
struct Events {
    count: u64,
    last: [u8; DONE.len()],
}

impl Events {
    fn see(&mut self, data: &[u8]) {
        let split = self.last.ends_with(b"\n") && data.starts_with(b"\n");
        let whole = memchr::memmem::find_iter(data, b"\n\n").count();
        self.count += u64::from(split) + u64::try_from(whole).unwrap_or(0);
        let kept = data.len().min(self.last.len());
        self.last.rotate_left(kept);
        let room = self.last.len() - kept;
        self.last[room..].copy_from_slice(&data[data.len() - kept..]);
    }
}
