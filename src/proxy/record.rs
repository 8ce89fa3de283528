//! What is known of a request when it ends: its metrics and its line in the access log.

mod beside;
mod calls;

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderName, HeaderValue, StatusCode, header};

use crate::error::{Error, Fault, Kind};
use crate::keys::Key;
use crate::message::escape::{self, Plus};
use crate::policy::limit::Refused;
use crate::policy::route::{Bucket, Repository, Resource};
use crate::proxy::client::Client;
use crate::proxy::engine::{Arrived, Engine};
use crate::proxy::exchange::{Answer, Failed};
use crate::telemetry::access_log::{AiEntry, CopyEntry, Entry, Flag, Flags, UpstreamEntry};
use crate::telemetry::labels::{AuthFailure, Class, LimitScope, Op, Proto, UpstreamError};
use crate::telemetry::meters::{RequestSample, UpstreamSample};
use crate::telemetry::metrics::Inflight;
use crate::telemetry::trace::TraceParent;
pub use beside::{Beside, Exchanges};
pub use calls::{Calls, Counted};

/// Status in metrics and logs for a client that left before it was answered.
const CLIENT_CLOSED: u16 = 499;

/// Where an upstream puts its own id of a request, by how likely it is.
static UPSTREAM_IDS: [HeaderName; 2] = [
    HeaderName::from_static("x-amz-request-id"),
    HeaderName::from_static("x-request-id"),
];

/// Filled while a request runs; see [`Record::finish`].
pub struct Record {
    pub proto: Proto,
    pub op: Op,
    pub key: Option<Arc<Key>>,
    pub repository: Option<Arc<Repository>>,
    pub resource: Option<Arc<Resource>>,
    pub bucket: Option<Arc<Bucket>>,
    pub status: u16,
    /// The protocol's error code, empty for none.
    pub code: String,
    pub kind: Option<Kind>,
    /// What the log alone may see of a failure.
    pub detail: String,
    /// Nothing was asked: the resource's breaker is open.
    breaker_open: bool,
    /// The limit that refused the request.
    pub limit: Option<LimitScope>,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub attempts: u32,
    pub reused: bool,
    pub upstream_status: u16,
    pub ai: Option<AiRecord>,
    /// The bucket that a copy between two resources reads, and the bytes read so far.
    pub copy: Option<(Arc<Bucket>, u64)>,
    /// Why the caller was not let in.
    refused: Option<AuthFailure>,
    /// Why the exchange that runs now failed.
    upstream_error: Option<UpstreamError>,
    upstream_id: Option<HeaderValue>,
    /// The exchange that runs now was counted before.
    is_counted: bool,
    upstream_sent: Option<Instant>,
    upstream_head: Option<Duration>,
    /// What exchanges before the one that runs now took.
    upstream_before: Duration,
    /// Spent waiting for the client before anything was sent to an upstream.
    client_wait: Duration,
    ended: Option<Instant>,
    head_sent: Option<Duration>,
    started: Instant,
    _inflight: Inflight,
}

/// An answered read that goes on beside another exchange; counted when dropped.
pub struct Aside {
    resource: Arc<Resource>,
    status: u16,
    sent: Instant,
    ttfb: Option<Duration>,
}

impl Aside {
    /// Of an exchange that never was the request's own.
    pub fn new(resource: Arc<Resource>, answer: &Answer, sent: Instant) -> Self {
        Self {
            resource,
            status: answer.status(),
            sent,
            ttfb: Some(sent.elapsed()),
        }
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        self.resource.meters.upstream(&UpstreamSample {
            class: Class::Read,
            status: self.status,
            duration: self.sent.elapsed(),
            ttfb: self.ttfb,
        });
    }
}

/// What only an AI request has.
#[derive(Debug, Default)]
pub struct AiRecord {
    pub model_requested: Box<str>,
    pub model_used: Box<str>,
    pub stream: bool,
    pub tokens_in: Option<u64>,
    pub tokens_out: Option<u64>,
    pub first_chunk: Option<Duration>,
    pub per_chunk: Option<Duration>,
    pub finish_reason: Option<Box<str>>,
    pub calls: Calls,
}

impl Record {
    pub fn new(proto: Proto, engine: &Engine, arrived: &Arrived) -> Self {
        Self {
            proto,
            op: Op::Other,
            key: None,
            repository: None,
            resource: None,
            bucket: None,
            status: 0,
            code: String::new(),
            kind: None,
            detail: String::new(),
            breaker_open: false,
            limit: None,
            bytes_in: 0,
            bytes_out: 0,
            attempts: 0,
            reused: false,
            upstream_status: 0,
            ai: None,
            copy: None,
            refused: None,
            upstream_error: None,
            upstream_id: None,
            is_counted: false,
            upstream_sent: None,
            upstream_head: None,
            upstream_before: Duration::ZERO,
            client_wait: Duration::ZERO,
            ended: None,
            head_sent: None,
            started: arrived.started,
            _inflight: engine.metrics.inflight(proto),
        }
    }

    /// When the request's head had arrived.
    pub fn started(&self) -> Instant {
        self.started
    }

    pub fn identified(&mut self, key: &Arc<Key>, repository: &Arc<Repository>) {
        self.key = Some(Arc::clone(key));
        self.repository = Some(Arc::clone(repository));
    }

    /// The request is about to go to `resource`.
    pub fn sending(&mut self, resource: &Arc<Resource>) {
        let now = Instant::now();
        self.exchange_ended(now);
        let outcome = self.outcome();
        if let Some(ai) = &mut self.ai {
            ai.calls.asks(resource, now, outcome);
        }
        self.resource = Some(Arc::clone(resource));
        self.upstream_sent = Some(now);
        self.upstream_head = None;
        self.upstream_status = 0;
        self.upstream_error = None;
        self.upstream_id = None;
    }

    /// An answer that came before those of other resources is the one that counts after all.
    pub fn resumed(&mut self, resource: &Arc<Resource>, answer: &Answer) {
        let (attempts, outcome) = (self.attempts, self.outcome());
        // No call of its own: it was made before.
        let mut ai = self.ai.take();
        self.sending(resource);
        if let Some(ai) = &mut ai {
            ai.calls.resumes(resource, Instant::now(), outcome);
        }
        self.ai = ai;
        self.answered(answer);
        self.attempts = attempts;
        self.is_counted = true;
    }

    /// Counts the exchange that ran until `now`, and adds up its time.
    fn exchange_ended(&mut self, now: Instant) {
        let Some(sent) = self.upstream_sent else {
            return;
        };
        let took = now.saturating_duration_since(sent);
        self.upstream_before += took;
        if let Some(resource) = &self.resource
            && self.upstream_status != 0
            && !std::mem::take(&mut self.is_counted)
        {
            resource.meters.upstream(&UpstreamSample {
                class: self.op.class(),
                status: self.upstream_status,
                duration: took,
                ttfb: self.upstream_head,
            });
        }
    }

    /// Puts the exchange that runs now aside: it goes on while the next one runs, and is counted by what is returned.
    pub fn set_aside(&mut self) -> Option<Aside> {
        let (sent, resource) = (self.upstream_sent.take()?, self.resource.clone()?);
        self.upstream_before += sent.elapsed();
        Some(Aside {
            resource,
            status: self.upstream_status,
            sent,
            ttfb: self.upstream_head,
        })
    }

    /// An exchange that was set aside failed, and with it the request; it has been counted.
    pub fn aside_failed(&mut self, reason: UpstreamError) {
        self.upstream_error = Some(reason);
    }

    pub fn answered(&mut self, answer: &Answer) {
        self.attempts = answer.attempts;
        self.reused = answer.link.reused;
        self.upstream_status = answer.status();
        self.upstream_head = self.upstream_sent.map(|sent| sent.elapsed());
        self.upstream_id = answer.headers().ok().and_then(|headers| {
            let found = UPSTREAM_IDS.iter().find_map(|name| headers.get(name));
            found.cloned()
        });
    }

    /// The exchange that runs now got no answer.
    pub fn gave_up(&mut self, failed: Failed) -> Error {
        self.attempts = failed.attempts;
        if let (0, Some(ai)) = (failed.attempts, &mut self.ai) {
            ai.calls.was_not_asked();
        }
        self.upstream_failed(&failed.error);
        failed.error
    }

    /// Counts why the exchange that runs now failed: once, however often it is told.
    pub fn upstream_failed(&mut self, error: &Error) {
        let (None, Some(_), Some(resource)) =
            (self.upstream_error, self.upstream_sent, &self.resource)
        else {
            return;
        };
        self.upstream_error = count_upstream_error(resource, error, self.upstream_head.is_some());
    }

    /// A limit refused the request.
    pub fn limited(&mut self, refused: Refused) -> Error {
        self.limit = Some(refused.scope);
        refused.error
    }

    /// The client was waited for, and no upstream.
    pub fn waited(&mut self, time: Duration) {
        self.client_wait += time;
    }

    /// The answer's last byte was sent; what follows is not the request's time.
    pub fn ended(&mut self) {
        self.ended = Some(Instant::now());
    }

    pub fn head_sent(&mut self, status: StatusCode) {
        self.head_sent_at(status, Instant::now());
    }

    pub fn head_sent_at(&mut self, status: StatusCode, at: Instant) {
        self.status = status.as_u16();
        self.head_sent = Some(at.saturating_duration_since(self.started));
    }

    /// The answer is a failure that the upstream reported.
    pub fn failed(&mut self, kind: Kind, code: &str) {
        self.kind = Some(kind);
        code.clone_into(&mut self.code);
        if kind == Kind::UpstreamAuth
            && self.upstream_error.is_none()
            && let Some(resource) = &self.resource
        {
            resource.meters.error(UpstreamError::Auth);
            self.upstream_error = Some(UpstreamError::Auth);
        }
    }

    /// The request failed here.
    pub fn error(&mut self, error: &Error, code: &str) {
        self.upstream_failed(error);
        self.breaker_open = error.fault() == Some(Fault::BreakerOpen);
        self.kind = Some(error.kind());
        if error.kind() != Kind::ClientGone {
            code.clone_into(&mut self.code);
        }
        error
            .detail()
            .unwrap_or_default()
            .clone_into(&mut self.detail);
        // A browser that may not ask has not been asked who it is.
        if self.op != Op::Preflight {
            self.refused = auth_failure(error.kind(), &self.detail);
        }
    }

    /// The answer was cut short by a failure that came after its head.
    pub fn cut(&mut self, client: &Client) {
        if let (0, Some(status)) = (self.status, client.answered()) {
            self.status = status.as_u16();
        }
    }

    /// Counts and logs the request.
    pub fn finish(&mut self, engine: &Engine, arrived: &Arrived, client: &Client) {
        let end = self.ended.unwrap_or_else(Instant::now);
        let duration = end.saturating_duration_since(self.started);
        if self.status == 0 || (self.head_sent.is_none() && self.kind == Some(Kind::ClientGone)) {
            self.status = CLIENT_CLOSED;
        }
        self.exchange_ended(end);
        self.tell_calls(engine, arrived, end);
        let elsewhere = self.upstream_before + self.client_wait;
        let sample = RequestSample {
            proto: self.proto,
            op: self.op,
            status: self.status,
            duration,
            ttfb: self.head_sent,
            overhead: duration.saturating_sub(elsewhere),
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
        };
        let resource = self.resource.as_deref().map(|resource| &*resource.meters);
        let anonymous = engine.metrics.anonymous();
        let meters = self
            .repository
            .as_deref()
            .map_or(anonymous, |repository| &repository.meters);
        meters.request(&sample, resource);
        if let Some(scope) = self.limit {
            meters.limited(scope);
        }
        if let Some(reason) = self.refused {
            meters.auth_failure(self.proto, reason);
        }
        self.log(engine, arrived, client, end);
    }

    fn log(&self, engine: &Engine, arrived: &Arrived, client: &Client, end: Instant) {
        let settings = &arrived.snapshot.log;
        let duration = end.saturating_duration_since(self.started);
        let notable = self.status >= 400 || self.kind.is_some() || duration >= settings.slow;
        if !settings.access || !(notable || sampled(arrived, settings.success_sample)) {
            return;
        }
        let head = client.head();
        let target = &*head.target;
        let path = target
            .split(|byte| *byte == b'?')
            .next()
            .unwrap_or_default();
        // What does not decode was refused, and is shown as it came.
        let decoded = escape::decode(path, Plus::Literal);
        let text = |name| head.headers.get(name).map(HeaderValue::as_bytes);
        let trace_id = arrived.trace.map(TraceParent::trace_id);
        let upstream = self.upstream_sent.map(|sent| UpstreamEntry {
            duration: end.saturating_duration_since(sent),
            status: (self.upstream_status != 0).then_some(self.upstream_status),
            request_id: self.upstream_id.as_ref().map(HeaderValue::as_bytes),
            attempts: self.attempts,
            reused: self.reused,
        });
        engine.log.write(&Entry {
            at: arrived.now,
            request_id: arrived.request_id,
            trace_id: trace_id.as_ref().map(<[u8; 32]>::as_slice),
            proto: self.proto,
            op: self.op,
            method: head.method.as_str(),
            host: text(header::HOST),
            path: decoded.as_deref().unwrap_or(path),
            repository: self
                .repository
                .as_deref()
                .map(|repository| &*repository.name),
            resource: self.resource.as_deref().map(|resource| &*resource.name),
            key_id: self.key.as_deref().map(|key| key.id),
            bucket: self.bucket.as_deref().map(|bucket| &*bucket.exposed),
            status: self.status,
            error_code: (!self.code.is_empty()).then_some(&*self.code),
            detail: (!self.detail.is_empty()).then_some(&*self.detail),
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            duration,
            ttfb: self.head_sent,
            upstream,
            flags: self.flags(),
            client_ip: arrived.peer,
            tls: arrived.secure,
            user_agent: text(header::USER_AGENT),
            generation: arrived.snapshot.generation,
            ai: self.ai.as_ref().map(AiRecord::entry),
            copy: self.copy.as_ref().map(|(source, bytes)| CopyEntry {
                resource: &source.resource.name,
                bucket: &source.exposed,
                bytes: *bytes,
            }),
        });
    }

    fn flags(&self) -> Flags {
        let mut flags = Flags::NONE;
        if self.limit.is_some() {
            flags.insert(Flag::RateLimited);
        }
        if self.breaker_open {
            flags.insert(Flag::BreakerOpen);
        }
        if self.refused.is_some() {
            flags.insert(Flag::Auth);
        }
        if self.kind == Some(Kind::ClientGone) {
            flags.insert(Flag::DownstreamClosed);
        }
        if self.kind.is_some()
            && let Some(error) = self.upstream_error
        {
            match error {
                UpstreamError::Connect | UpstreamError::Tls | UpstreamError::Dns => {
                    flags.insert(Flag::UpstreamConnect);
                }
                UpstreamError::TimeoutFirstByte | UpstreamError::TimeoutIdle => {
                    flags.insert(Flag::UpstreamTimeout);
                }
                UpstreamError::Reset | UpstreamError::Truncated | UpstreamError::BadResponse => {
                    flags.insert(Flag::UpstreamReset);
                }
                // The error code says it.
                UpstreamError::Auth => {}
            }
        }
        flags
    }
}

impl AiRecord {
    fn entry(&self) -> AiEntry<'_> {
        AiEntry {
            model_requested: &self.model_requested,
            model_used: &self.model_used,
            stream: self.stream,
            tokens_in: self.tokens_in,
            tokens_out: self.tokens_out,
            first_chunk: self.first_chunk,
            per_chunk: self.per_chunk,
            finish_reason: self.finish_reason.as_deref(),
        }
    }
}

/// Counts why an exchange with `resource` failed, if that is what `error` says. `answered`: the head of the
/// answer had arrived.
pub fn count_upstream_error(
    resource: &Resource,
    error: &Error,
    answered: bool,
) -> Option<UpstreamError> {
    let reason = match (error.fault(), error.kind()) {
        (Some(Fault::Dns), _) => UpstreamError::Dns,
        (Some(Fault::Connect), _) => UpstreamError::Connect,
        (Some(Fault::Tls), _) => UpstreamError::Tls,
        (Some(Fault::Truncated), _) => UpstreamError::Truncated,
        (Some(Fault::BreakerOpen), _) => return None,
        (None, Kind::UpstreamTimeout) if answered => UpstreamError::TimeoutIdle,
        (None, Kind::UpstreamTimeout) => UpstreamError::TimeoutFirstByte,
        (None, Kind::UpstreamUnavailable) if answered => UpstreamError::Truncated,
        (None, Kind::UpstreamUnavailable) => UpstreamError::Reset,
        (None, Kind::UpstreamBroken) => UpstreamError::BadResponse,
        (None, Kind::UpstreamAuth) => UpstreamError::Auth,
        (None, _) => return None,
    };
    resource.meters.error(reason);
    Some(reason)
}

/// Whether a request that went well gets its line: decided by its id, so that it is the same everywhere.
fn sampled(arrived: &Arrived, share: f64) -> bool {
    if share >= 1.0 {
        return true;
    }
    let [.., low] = arrived.request_id.as_bytes();
    f64::from(*low) < share * 256.0
}

/// Why a caller was not let in, for the kinds that mean it.
fn auth_failure(kind: Kind, detail: &str) -> Option<AuthFailure> {
    const REASONS: [(Kind, AuthFailure); 9] = [
        (Kind::AuthMissing, AuthFailure::Missing),
        (Kind::AuthMalformed, AuthFailure::Malformed),
        (Kind::TokenUnsupported, AuthFailure::Malformed),
        (Kind::KeyUnknown, AuthFailure::UnknownKey),
        (Kind::SignatureMismatch, AuthFailure::BadSignature),
        (Kind::KeyInactive, AuthFailure::Expired),
        (Kind::RequestExpired, AuthFailure::Expired),
        (Kind::ClockSkew, AuthFailure::Skew),
        (Kind::ModelNotAllowed, AuthFailure::Scope),
    ];
    if kind == Kind::AccessDenied {
        let ip = detail.contains("allow_ips");
        return Some(if ip {
            AuthFailure::Ip
        } else {
            AuthFailure::Scope
        });
    }
    if kind == Kind::KeyInactive && detail == "disabled" {
        return Some(AuthFailure::Disabled);
    }
    REASONS
        .iter()
        .find(|(of, _)| *of == kind)
        .map(|(_, reason)| *reason)
}
