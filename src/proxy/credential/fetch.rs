//! Asking a token server, over the one way out.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST};
use http::{HeaderName, HeaderValue, Method};
use jiff::Timestamp;
use smallvec::smallvec;

use super::{aws, azure, google};
use crate::error::{Error, Kind, Result};
use crate::policy::credential::{
    AwsMachine, AwsRole, ReadyCredential, RoleBase, Source, TokenServer,
};
use crate::proxy::dial::Dialer;
use crate::proxy::exchange::{Body, Outgoing, exchange};
use crate::proxy::{clock, head, relay};
use crate::storage::head::UpstreamHead;

/// Longest wait for a token, over all that it takes.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for the head of one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Stops a token server from filling memory. The largest tokens, of many claims, are some 10 KiB.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// A credential and its end.
#[derive(Debug)]
pub(super) struct Token {
    pub(super) ready: ReadyCredential,
    pub(super) expires_at: Timestamp,
}

/// What a service account's claim is used for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Claims {
    /// As the token itself.
    SelfSigned,
    Exchanged,
}

/// A request for a token server, but for its `host`.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) target: String,
    pub(super) headers: Vec<(&'static str, HeaderValue)>,
    pub(super) body: Bytes,
}

impl Ask {
    pub(super) fn get(target: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            target: target.into(),
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    /// A form, as every OAuth server and STS take it.
    pub(super) fn form(target: impl Into<String>, fields: &[(&str, &str)]) -> Self {
        Self {
            method: Method::POST,
            target: target.into(),
            headers: vec![(
                "content-type",
                HeaderValue::from_static("application/x-www-form-urlencoded"),
            )],
            body: form(fields).into(),
        }
    }

    #[must_use]
    pub(super) fn with(mut self, name: &'static str, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    fn head(&self, server: &TokenServer) -> UpstreamHead {
        let mut head = UpstreamHead {
            method: self.method.clone(),
            target: self.target.clone(),
            headers: smallvec![(HOST, server.0.origin.authority.clone())],
        };
        let own = self.headers.iter().map(|(name, value)| {
            let mut value = value.clone();
            value.set_sensitive(true);
            (HeaderName::from_static(name), value)
        });
        head.headers.extend(own);
        if self.method != Method::GET {
            let length = HeaderValue::from(self.body.len());
            head.headers.push((CONTENT_LENGTH, length));
        }
        head
    }
}

fn form(fields: &[(&str, &str)]) -> String {
    use crate::message::escape::{Slash, encode};
    let mut out = Vec::with_capacity(512);
    for (at, (name, value)) in fields.iter().enumerate() {
        if at > 0 {
            out.push(b'&');
        }
        encode(&mut out, name.as_bytes(), Slash::Encode);
        out.push(b'=');
        encode(&mut out, value.as_bytes(), Slash::Encode);
    }
    // Nothing but ASCII was put in.
    String::from_utf8(out).unwrap_or_default()
}

/// A token server's answer.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
    retry_after: Option<Duration>,
}

impl Said {
    /// The body of a success; else an error with the word that the server had for it. `code` finds that word.
    fn good(self, server: &TokenServer, code: fn(&[u8]) -> Option<String>) -> Result<Vec<u8>> {
        if (200..300).contains(&self.status) {
            return Ok(self.body);
        }
        let host = &server.0.origin.host;
        let status = self.status;
        let code = code(&self.body).filter(|code| is_word(code));
        let code = code.as_deref().unwrap_or("no reason given");
        let kind = match status {
            429 | 500.. => Kind::UpstreamUnavailable,
            _ => Kind::UpstreamAuth,
        };
        let error = Error::new(kind, "The token server refused.")
            .with_detail(format_args!("{host} answered {status}: {code}"));
        Err(match self.retry_after {
            Some(after) => error.with_retry_after(after),
            None => error,
        })
    }
}

/// Codes are words; what is none may be anything, a secret included.
fn is_word(code: &str) -> bool {
    (1..=64).contains(&code.len())
        && code
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// A new token, whatever it takes to get one.
pub(super) async fn fetch(dialer: &Dialer, source: &Source, claims: Claims) -> Result<Token> {
    let fetching = one(dialer, source, claims);
    let fetched = pingora::time::timeout(FETCH_TIMEOUT, fetching).await;
    fetched.map_err(|_| {
        Error::new(
            Kind::UpstreamTimeout,
            "The token server did not answer in time.",
        )
        .with_detail("the token server did not answer in time")
    })?
}

async fn one(dialer: &Dialer, source: &Source, claims: Claims) -> Result<Token> {
    match source {
        Source::AwsMachine(machine) => aws_machine(dialer, machine).await,
        Source::AwsRole(role) => aws_role(dialer, role).await,
        Source::AwsWebIdentity(identity) => {
            let ask = aws::assume_with_web_identity(identity)?;
            let said = send(dialer, &identity.sts, &ask).await?;
            aws::assumed(&said.good(&identity.sts, aws::error_code)?)
        }
        Source::GoogleMachine(server) => {
            let said = send(dialer, server, &google::machine()).await?;
            let body = said.good(server, oauth_error)?;
            google::granted(&body, clock::now())
        }
        Source::GoogleServiceAccount(account) => match claims {
            Claims::SelfSigned => google::self_signed(account, clock::now()),
            Claims::Exchanged => {
                let ask = google::exchange(account, clock::now())?;
                let said = send(dialer, &account.server, &ask).await?;
                let body = said.good(&account.server, oauth_error)?;
                google::granted(&body, clock::now())
            }
        },
        Source::AzureMachine(machine) => {
            let said = send(dialer, &machine.server, &azure::machine(machine)?).await?;
            let body = said.good(&machine.server, oauth_error)?;
            azure::granted(&body, clock::now())
        }
        Source::Entra(client) => {
            let said = send(dialer, &client.authority, &azure::entra(client)?).await?;
            let body = said.good(&client.authority, oauth_error)?;
            azure::granted(&body, clock::now())
        }
    }
}

async fn aws_machine(dialer: &Dialer, machine: &AwsMachine) -> Result<Token> {
    match machine {
        AwsMachine::Instance(server) => {
            let none = |_: &[u8]| None;
            let session = send(dialer, server, &aws::session()).await?;
            let session = aws::session_header(&session.good(server, none)?)?;
            let ask = aws::role_name().with(aws::SESSION, session.clone());
            let name = send(dialer, server, &ask).await?.good(server, none)?;
            let ask = aws::role_keys(&name)?.with(aws::SESSION, session);
            let said = send(dialer, server, &ask).await?;
            aws::machine_keys(&said.good(server, none)?)
        }
        AwsMachine::Container {
            server,
            target,
            authorization,
        } => {
            let ask = aws::container(target, authorization.as_ref())?;
            let said = send(dialer, server, &ask).await?;
            aws::machine_keys(&said.good(server, |_| None)?)
        }
    }
}

async fn aws_role(dialer: &Dialer, role: &AwsRole) -> Result<Token> {
    let base = match &role.base {
        RoleBase::Keys(keys) => ReadyCredential::S3(std::sync::Arc::clone(keys)),
        RoleBase::Machine(machine) => aws_machine(dialer, machine).await?.ready,
    };
    let ask = aws::assume(role);
    let sign = |mut head| {
        aws::sign(&mut head, &ask.body, role, &base, clock::now())?;
        Ok(head)
    };
    let said = send_as(dialer, &role.sts, &ask, &sign).await?;
    aws::assumed(&said.good(&role.sts, aws::error_code)?)
}

async fn send(dialer: &Dialer, server: &TokenServer, ask: &Ask) -> Result<Said> {
    send_as(dialer, server, ask, &Ok).await
}

async fn send_as(
    dialer: &Dialer,
    server: &TokenServer,
    ask: &Ask,
    sign: &(dyn Fn(UpstreamHead) -> Result<UpstreamHead> + Sync),
) -> Result<Said> {
    let make_head = || {
        let head = sign(ask.head(server))?;
        let headers = head.headers.iter().map(|(name, value)| (name, value));
        head::request_of(&head.method, &head.target, headers)
    };
    let body = [ask.body.clone()];
    let sending = Outgoing {
        resource: &server.0,
        head: &make_head,
        body: if ask.body.is_empty() {
            Body::None
        } else {
            Body::Memory(&body)
        },
        idempotent: true,
        first_byte: ANSWER_TIMEOUT,
    };
    let mut answer = exchange(dialer, None, sending).await.map_err(Error::from)?;
    let retry_after = answer.headers()?.get(http::header::RETRY_AFTER);
    let retry_after = retry_after.and_then(|value| value.to_str().ok()?.parse().ok());
    let body = relay::collect(&mut answer, ANSWER_TIMEOUT, ANSWER_BYTES_MAX).await?;
    let status = answer.status();
    answer.release(dialer).await;
    Ok(Said {
        status,
        body,
        retry_after: retry_after.map(Duration::from_secs),
    })
}

/// `error` of an OAuth server's answer.
fn oauth_error(body: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Answer {
        error: String,
    }
    let answer: Answer = serde_json::from_slice(body).ok()?;
    Some(answer.error)
}

/// An answer that is not what it should be, of which nothing is shown.
pub(super) fn unusable(what: &'static str) -> Error {
    Error::new(
        Kind::UpstreamBroken,
        "The token server's answer is not valid.",
    )
    .with_detail(format_args!(
        "the token server's answer has no valid {what}"
    ))
}
