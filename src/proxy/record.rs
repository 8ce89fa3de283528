//! What is known of a request when it ends: its metrics and its line in the access log.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderValue, StatusCode, header};
use pingora::protocols::http::ServerSession;

use crate::error::{Error, Kind};
use crate::keys::Key;
use crate::policy::route::{Repository, Resource};
use crate::proxy::engine::{Arrived, Engine};
use crate::proxy::exchange::Answer;
use crate::telemetry::access_log::{AiEntry, Entry, Flag, Flags, UpstreamEntry};
use crate::telemetry::labels::{AuthFailure, LimitScope, Op, Proto, UpstreamError};
use crate::telemetry::meters::{RequestSample, UpstreamSample};
use crate::telemetry::metrics::Inflight;
use crate::telemetry::trace::TraceParent;

/// Status in metrics and logs for a client that left before it was answered.
const CLIENT_CLOSED: u16 = 499;

/// Filled while a request runs; see [`Record::finish`].
pub struct Record {
    pub proto: Proto,
    pub op: Op,
    pub key: Option<Arc<Key>>,
    pub repository: Option<Arc<Repository>>,
    pub resource: Option<Arc<Resource>>,
    pub status: u16,
    /// The protocol's error code, empty for none.
    pub code: String,
    pub kind: Option<Kind>,
    /// What the log alone may see of a failure.
    pub detail: String,
    pub limited: bool,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub attempts: u32,
    pub reused: bool,
    pub upstream_status: u16,
    pub ai: Option<AiRecord>,
    upstream_sent: Option<Instant>,
    upstream_head: Option<Duration>,
    head_sent: Option<Duration>,
    started: Instant,
    _inflight: Inflight,
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
}

impl Record {
    pub fn new(proto: Proto, engine: &Engine, arrived: &Arrived) -> Self {
        Self {
            proto,
            op: Op::Other,
            key: None,
            repository: None,
            resource: None,
            status: 0,
            code: String::new(),
            kind: None,
            detail: String::new(),
            limited: false,
            bytes_in: 0,
            bytes_out: 0,
            attempts: 0,
            reused: false,
            upstream_status: 0,
            ai: None,
            upstream_sent: None,
            upstream_head: None,
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
        self.resource = Some(Arc::clone(resource));
        self.upstream_sent = Some(Instant::now());
    }

    pub fn answered(&mut self, answer: &Answer) {
        self.attempts = answer.attempts;
        self.reused = answer.link.reused;
        self.upstream_status = answer.status();
        self.upstream_head = self.upstream_sent.map(|sent| sent.elapsed());
    }

    pub fn upstream_failed(&mut self, error: &Error) {
        let kind = error.kind();
        let reason = if kind == Kind::UpstreamTimeout {
            UpstreamError::TimeoutFirstByte
        } else if kind == Kind::UpstreamBroken {
            UpstreamError::BadResponse
        } else if kind == Kind::UpstreamUnavailable {
            UpstreamError::Reset
        } else {
            return;
        };
        if let Some(resource) = &self.resource {
            resource.meters.error(reason);
        }
    }

    pub fn head_sent(&mut self, status: StatusCode) {
        self.status = status.as_u16();
        self.head_sent = Some(self.started.elapsed());
    }

    /// The answer is a failure that the upstream reported.
    pub fn failed(&mut self, kind: Kind, code: &str) {
        self.kind = Some(kind);
        code.clone_into(&mut self.code);
        if kind == Kind::UpstreamAuth
            && let Some(resource) = &self.resource
        {
            resource.meters.error(UpstreamError::Auth);
        }
    }

    /// The request failed here.
    pub fn error(&mut self, error: &Error, code: &str) {
        self.kind = Some(error.kind());
        code.clone_into(&mut self.code);
        error
            .detail()
            .unwrap_or_default()
            .clone_into(&mut self.detail);
    }

    /// Counts and logs the request.
    pub fn finish(&mut self, engine: &Engine, arrived: &Arrived, session: &ServerSession) {
        // Read once: reading the clock costs as much as counting.
        let ended = Instant::now();
        let duration = ended.duration_since(self.started);
        let upstream = self.upstream_sent.map(|sent| ended.duration_since(sent));
        if self.status == 0 || (self.head_sent.is_none() && self.kind == Some(Kind::ClientGone)) {
            self.status = CLIENT_CLOSED;
        }
        let sample = RequestSample {
            proto: self.proto,
            op: self.op,
            status: self.status,
            duration,
            ttfb: self.head_sent,
            overhead: duration.saturating_sub(upstream.unwrap_or_default()),
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
        if let Some(resource) = resource
            && self.upstream_status != 0
        {
            resource.upstream(&UpstreamSample {
                class: self.op.class(),
                status: self.upstream_status,
                duration: upstream.unwrap_or_default(),
                ttfb: self.upstream_head,
            });
        }
        if self.limited {
            meters.limited(LimitScope::Rps);
        }
        if let Some(reason) = self.kind.and_then(|kind| auth_failure(kind, &self.detail)) {
            meters.auth_failure(self.proto, reason);
        }
        self.log(engine, arrived, session, duration, upstream);
    }

    fn log(
        &self,
        engine: &Engine,
        arrived: &Arrived,
        session: &ServerSession,
        duration: Duration,
        upstream: Option<Duration>,
    ) {
        let settings = &arrived.snapshot.log;
        let notable = self.status >= 400 || duration >= settings.slow;
        if !settings.access || !(notable || sampled(arrived, settings.success_sample)) {
            return;
        }
        let head = session.req_header();
        let target = head.raw_path();
        let path = target
            .split(|byte| *byte == b'?')
            .next()
            .unwrap_or_default();
        let text = |name| head.headers.get(name).map(HeaderValue::as_bytes);
        let trace_id = arrived.trace.map(TraceParent::trace_id);
        let upstream = upstream.map(|duration| UpstreamEntry {
            duration,
            status: (self.upstream_status != 0).then_some(self.upstream_status),
            request_id: None,
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
            path,
            repository: self
                .repository
                .as_deref()
                .map(|repository| &*repository.name),
            resource: self.resource.as_deref().map(|resource| &*resource.name),
            key_id: self.key.as_deref().map(|key| key.id),
            bucket: None,
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
        });
    }

    fn flags(&self) -> Flags {
        let mut flags = Flags::NONE;
        if self.limited {
            flags.insert(Flag::RateLimited);
        }
        let Some(kind) = self.kind else { return flags };
        const FLAGS: [(Kind, Flag); 4] = [
            (Kind::UpstreamUnavailable, Flag::UpstreamConnect),
            (Kind::UpstreamTimeout, Flag::UpstreamTimeout),
            (Kind::UpstreamBroken, Flag::UpstreamReset),
            (Kind::ClientGone, Flag::DownstreamClosed),
        ];
        if let Some((_, flag)) = FLAGS.iter().find(|(of, _)| *of == kind) {
            flags.insert(*flag);
        } else if auth_failure(kind, &self.detail).is_some() {
            flags.insert(Flag::Auth);
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
