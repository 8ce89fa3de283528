//! One line: its fields, and how they are written. Fields without a value are left out.

use std::io::Write;
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use uuid::Uuid;

use crate::telemetry::labels::{Op, Proto};

/// What a line usually takes: one allocation.
pub(super) const LINE_USUAL: usize = 768;

/// Bytes of a decoded path that are kept: a log is not a listing.
const PATH_MAX: usize = 256;
const USER_AGENT_MAX: usize = 128;
/// Of any other text that a client or an upstream chose.
const TEXT_MAX: usize = 128;

/// What happened to one request.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    pub at: Timestamp,
    pub request_id: Uuid,
    /// Hex.
    pub trace_id: Option<&'a [u8]>,
    pub proto: Proto,
    pub op: Op,
    pub method: &'a str,
    pub host: Option<&'a [u8]>,
    /// Decoded, without its query.
    pub path: &'a [u8],
    pub repository: Option<&'a str>,
    pub resource: Option<&'a str>,
    pub key_id: Option<Uuid>,
    pub bucket: Option<&'a str>,
    pub status: u16,
    /// The code in the error that the client was sent.
    pub error_code: Option<&'a str>,
    /// What only the operator may see of an error: no secret, by [`crate::error`]'s rules.
    pub detail: Option<&'a str>,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub duration: Duration,
    pub ttfb: Option<Duration>,
    pub upstream: Option<UpstreamEntry<'a>>,
    pub flags: Flags,
    pub client_ip: Option<IpAddr>,
    pub tls: bool,
    pub user_agent: Option<&'a [u8]>,
    pub generation: u64,
    pub ai: Option<AiEntry<'a>>,
    pub copy: Option<CopyEntry<'a>>,
}

/// What only a copy between two resources has; `resource` and `bucket` of its line are those that it writes to.
#[derive(Clone, Copy, Debug)]
pub struct CopyEntry<'a> {
    /// Read from.
    pub resource: &'a str,
    pub bucket: &'a str,
    /// Bytes that were read, and passed on or not.
    pub bytes: u64,
}

/// Its last exchange with an upstream.
#[derive(Clone, Copy, Debug)]
pub struct UpstreamEntry<'a> {
    pub duration: Duration,
    pub status: Option<u16>,
    pub request_id: Option<&'a [u8]>,
    pub attempts: u32,
    /// Whether its connection came from the pool.
    pub reused: bool,
}

/// What only an AI request has.
#[derive(Clone, Copy, Debug)]
pub struct AiEntry<'a> {
    pub model_requested: &'a str,
    pub model_used: &'a str,
    pub stream: bool,
    pub tokens_in: Option<u64>,
    pub tokens_out: Option<u64>,
    pub first_chunk: Option<Duration>,
    pub per_chunk: Option<Duration>,
    pub finish_reason: Option<&'a str>,
}

/// Why a request did not go as it should, in two letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    /// Could not connect to the upstream.
    UpstreamConnect,
    UpstreamTimeout,
    UpstreamReset,
    /// The client left.
    DownstreamClosed,
    RateLimited,
    BreakerOpen,
    /// The config does not allow it.
    Config,
    Auth,
}

const FLAGS: [(Flag, &str); 8] = [
    (Flag::UpstreamConnect, "UC"),
    (Flag::UpstreamTimeout, "UT"),
    (Flag::UpstreamReset, "UR"),
    (Flag::DownstreamClosed, "DC"),
    (Flag::RateLimited, "RL"),
    (Flag::BreakerOpen, "BO"),
    (Flag::Config, "CF"),
    (Flag::Auth, "AU"),
];

/// The start of a field whose value needs no quotes: comma, name and colon, so that they are written at once.
#[derive(Clone, Copy)]
struct Field(&'static str);

/// The start of a field whose value is in quotes, the first of them included.
#[derive(Clone, Copy)]
struct Quoted(&'static str);

/// A [`Field`] by its name.
macro_rules! field {
    ($name:literal) => {
        Field(concat!(",\"", $name, "\":"))
    };
}

/// A [`Quoted`] field by its name.
macro_rules! quoted {
    ($name:literal) => {
        Quoted(concat!(",\"", $name, "\":\""))
    };
}

/// A set of [`Flag`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u8);

impl Flags {
    pub const NONE: Self = Self(0);

    #[must_use]
    pub fn with(self, flag: Flag) -> Self {
        Self(self.0 | 1 << flag as u8)
    }

    pub fn insert(&mut self, flag: Flag) {
        *self = self.with(flag);
    }

    pub fn contains(self, flag: Flag) -> bool {
        self.0 & 1 << flag as u8 != 0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl Entry<'_> {
    /// Appends the line, with its line feed.
    pub fn render(&self, out: &mut Vec<u8>) {
        let mut line = Line::begin(out);
        line.time(quoted!("ts"), self.at);
        line.word(quoted!("level"), self.level());
        line.id(quoted!("req_id"), self.request_id);
        line.optional(quoted!("trace_id"), self.trace_id);
        line.word(quoted!("proto"), self.proto.label());
        line.word(quoted!("op"), self.op.label());
        line.text(quoted!("method"), self.method.as_bytes(), TEXT_MAX);
        line.optional(quoted!("host"), self.host);
        line.text(quoted!("path"), self.path, PATH_MAX);
        line.optional(quoted!("repo"), self.repository.map(str::as_bytes));
        line.optional(quoted!("resource"), self.resource.map(str::as_bytes));
        if let Some(id) = self.key_id {
            line.id(quoted!("key_id"), id);
        }
        line.optional(quoted!("bucket"), self.bucket.map(str::as_bytes));
        line.number(field!("status"), self.status.into());
        line.optional(quoted!("error_code"), self.error_code.map(str::as_bytes));
        if let Some(detail) = self.detail {
            line.text(quoted!("detail"), detail.as_bytes(), PATH_MAX);
        }
        line.number(field!("bytes_in"), self.bytes_in);
        line.number(field!("bytes_out"), self.bytes_out);
        line.milliseconds(field!("dur_ms"), Some(self.duration));
        line.milliseconds(field!("ttfb_ms"), self.ttfb);
        if let Some(upstream) = &self.upstream {
            upstream.render(&mut line);
        }
        if !self.flags.is_empty() {
            line.flags(quoted!("flags"), self.flags);
        }
        if let Some(address) = self.client_ip {
            line.address(quoted!("client_ip"), address);
        }
        line.truth(field!("tls"), self.tls);
        if let Some(agent) = self.user_agent {
            line.text(quoted!("ua"), agent, USER_AGENT_MAX);
        }
        line.number(field!("gen"), self.generation);
        if let Some(ai) = &self.ai {
            ai.render(&mut line);
        }
        if let Some(copy) = &self.copy {
            line.optional(quoted!("source_resource"), Some(copy.resource.as_bytes()));
            line.optional(quoted!("source_bucket"), Some(copy.bucket.as_bytes()));
            line.number(field!("copied_bytes"), copy.bytes);
        }
        line.end();
    }

    fn level(&self) -> &'static str {
        if self.status >= 500 { "warn" } else { "info" }
    }
}

impl UpstreamEntry<'_> {
    fn render(&self, line: &mut Line<'_>) {
        line.milliseconds(field!("upstream_ms"), Some(self.duration));
        if let Some(status) = self.status {
            line.number(field!("upstream_status"), status.into());
        }
        line.optional(quoted!("upstream_req_id"), self.request_id);
        line.number(field!("attempts"), self.attempts.into());
        line.truth(field!("reused"), self.reused);
    }
}

impl AiEntry<'_> {
    fn render(&self, line: &mut Line<'_>) {
        line.text(
            quoted!("model_req"),
            self.model_requested.as_bytes(),
            TEXT_MAX,
        );
        line.text(quoted!("model_used"), self.model_used.as_bytes(), TEXT_MAX);
        line.truth(field!("stream"), self.stream);
        for (name, count) in [
            (field!("tok_in"), self.tokens_in),
            (field!("tok_out"), self.tokens_out),
        ] {
            if let Some(count) = count {
                line.number(name, count);
            }
        }
        line.milliseconds(field!("ttfc_ms"), self.first_chunk);
        line.milliseconds(field!("tpoc_ms"), self.per_chunk);
        line.optional(
            quoted!("finish_reason"),
            self.finish_reason.map(str::as_bytes),
        );
    }
}

/// A JSON object being written. Field names are ours and need no escape.
struct Line<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> Line<'a> {
    fn begin(out: &'a mut Vec<u8>) -> Self {
        let start = out.len();
        Self { out, start }
    }

    fn end(self) {
        // Each field starts with a comma, the first with the object.
        if let Some(comma) = self.out.get_mut(self.start) {
            *comma = b'{';
        }
        self.out.extend_from_slice(b"}\n");
    }

    fn start(&mut self, name: &str) {
        self.out.extend_from_slice(name.as_bytes());
    }

    fn number(&mut self, name: Field, value: u64) {
        self.start(name.0);
        decimal(self.out, value, 1);
    }

    fn truth(&mut self, name: Field, value: bool) {
        self.start(name.0);
        self.out
            .extend_from_slice(if value { b"true" } else { b"false" });
    }

    fn milliseconds(&mut self, name: Field, value: Option<Duration>) {
        if let Some(value) = value {
            self.start(name.0);
            let micros = value.subsec_micros();
            let whole = value
                .as_secs()
                .saturating_mul(1000)
                .saturating_add(u64::from(micros / 1000));
            decimal(self.out, whole, 1);
            self.out.push(b'.');
            decimal(self.out, u64::from(micros % 1000), 3);
        }
    }

    /// One of our own words, which need no escape.
    fn word(&mut self, name: Quoted, value: &str) {
        self.start(name.0);
        self.out.extend_from_slice(value.as_bytes());
        self.out.push(b'"');
    }

    fn id(&mut self, name: Quoted, value: Uuid) {
        self.word(
            name,
            value.hyphenated().encode_lower(&mut Uuid::encode_buffer()),
        );
    }

    /// `YYYY-MM-DDTHH:MM:SS.mmmZ`
    fn time(&mut self, name: Quoted, value: Timestamp) {
        self.start(name.0);
        let at = TimeZone::UTC.to_datetime(value);
        decimal(self.out, at.year().unsigned_abs().into(), 4);
        let parts = [
            (b'-', at.month().into(), 2),
            (b'-', at.day().into(), 2),
            (b'T', at.hour().into(), 2),
            (b':', at.minute().into(), 2),
            (b':', at.second().into(), 2),
            (b'.', at.millisecond(), 3),
        ];
        for (before, number, width) in parts {
            self.out.push(before);
            decimal(self.out, number.unsigned_abs().into(), width);
        }
        self.out.extend_from_slice(b"Z\"");
    }

    fn address(&mut self, name: Quoted, value: IpAddr) {
        self.start(name.0);
        match value {
            IpAddr::V4(v4) => {
                for (at, octet) in v4.octets().into_iter().enumerate() {
                    if at > 0 {
                        self.out.push(b'.');
                    }
                    decimal(self.out, octet.into(), 1);
                }
            }
            IpAddr::V6(v6) => {
                // Writing to a Vec cannot fail.
                let _ = write!(self.out, "{v6}");
            }
        }
        self.out.push(b'"');
    }

    fn optional(&mut self, name: Quoted, value: Option<&[u8]>) {
        if let Some(value) = value {
            self.text(name, value, TEXT_MAX);
        }
    }

    /// Text of anyone's: cut to `max` bytes and escaped.
    fn text(&mut self, name: Quoted, value: &[u8], max: usize) {
        self.start(name.0);
        escape(cut(value, max), self.out);
        self.out.push(b'"');
    }

    fn flags(&mut self, name: Quoted, flags: Flags) {
        self.start(name.0);
        let start = self.out.len();
        for (flag, code) in FLAGS {
            if flags.contains(flag) {
                if self.out.len() > start {
                    self.out.push(b',');
                }
                self.out.extend_from_slice(code.as_bytes());
            }
        }
        self.out.push(b'"');
    }
}

/// A number in at least `width` digits. Not by `std::fmt`, which a line would call a dozen times.
fn decimal(out: &mut Vec<u8>, number: u64, width: usize) {
    /// Digits of the largest number.
    const DIGITS_MAX: usize = 20;
    let mut digits = [b'0'; DIGITS_MAX];
    let (mut rest, mut from) = (number, DIGITS_MAX);
    while rest > 0 && from > 0 {
        from -= 1;
        digits[from] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
    }
    let from = from.min(DIGITS_MAX.saturating_sub(width));
    out.extend_from_slice(&digits[from..]);
}

/// At most `max` bytes, and not half a character.
fn cut(value: &[u8], max: usize) -> &[u8] {
    if value.len() <= max {
        return value;
    }
    let mut end = max;
    while end > 0 && max - end < 4 && value[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    &value[..end]
}

/// JSON's escapes; bytes that are no UTF-8 become U+FFFD.
fn escape(value: &[u8], out: &mut Vec<u8>) {
    // Nearly always nothing is to be done. Looks at every byte, so that it is done many at a time.
    let plain = |byte: &u8| (0x20..0x7f).contains(byte) && *byte != b'"' && *byte != b'\\';
    if value.iter().fold(true, |all, byte| all & plain(byte)) {
        out.extend_from_slice(value);
        return;
    }
    for chunk in value.utf8_chunks() {
        let valid = chunk.valid().as_bytes();
        let mut from = 0;
        for (at, byte) in valid.iter().enumerate() {
            if !matches!(byte, b'"' | b'\\' | 0..=0x1f | 0x7f) {
                continue;
            }
            out.extend_from_slice(&valid[from..at]);
            from = at + 1;
            match byte {
                b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
                control => {
                    // Writing to a Vec cannot fail.
                    let _ = write!(out, "\\u{control:04x}");
                }
            }
        }
        out.extend_from_slice(&valid[from..]);
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}
