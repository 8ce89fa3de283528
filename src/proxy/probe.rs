//! Trying a resource: what its credential can do, by asking.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::ai::lane;
use crate::ai::lane::head::{self as lane_head, Content};
use crate::error::{Error, Kind, Result};
use crate::policy::route::{AiAccount, Resource, ResourceKind};
use crate::proxy::credential::Credentials;
use crate::proxy::dial::Dialer;
use crate::proxy::exchange::{Body, Outgoing, exchange};
use crate::proxy::head::{self, RequestHead};
use crate::proxy::{clock, relay};
use crate::storage::probe::{self, NO_KEY, Question};

/// Longest wait for the head of an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest answer that is read: a page of one name, a byte, an error, a list of models.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// What was found out about one resource.
#[derive(Debug)]
pub struct Finding {
    pub name: Arc<str>,
    pub kind: &'static str,
    pub result: Result<Can>,
}

/// What a credential can do.
#[derive(Debug)]
pub enum Can {
    Storage { list: Verdict, read: Verdict },
    Models(Verdict),
}

#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Yes,
    /// There was nothing to try it on, and no refusal.
    YesOnNothing,
    /// Refused, with the status and the provider's word for it.
    No(u16, Option<String>),
}

impl Finding {
    /// Whether the resource is of any use.
    pub fn is_good(&self) -> bool {
        let may = |verdict: &Verdict| !matches!(verdict, Verdict::No(..));
        match &self.result {
            Ok(Can::Storage { list, read }) => may(list) || may(read),
            Ok(Can::Models(list)) => may(list),
            Err(_) => false,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): ", self.name, self.kind)?;
        match &self.result {
            Ok(Can::Storage { list, read }) => write!(f, "list {list}, read {read}"),
            Ok(Can::Models(list)) => write!(f, "list models {list}"),
            Err(why) => write!(f, "cannot be used: {why}"),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Yes => f.write_str("yes"),
            Self::YesOnNothing => f.write_str("yes (there is nothing to read)"),
            Self::No(status, Some(code)) => write!(f, "no ({status} {code})"),
            Self::No(status, None) => write!(f, "no ({status})"),
        }
    }
}

/// Tries `resource`, without changing anything.
pub async fn probe(
    dialer: &Dialer,
    credentials: &Credentials,
    resource: &Arc<Resource>,
) -> Finding {
    let (kind, result) = match &resource.kind {
        ResourceKind::S3(_) => ("s3", storage(dialer, credentials, resource).await),
        ResourceKind::Gcs(_) => ("gcs", storage(dialer, credentials, resource).await),
        ResourceKind::Azure(_) => ("azure", storage(dialer, credentials, resource).await),
        ResourceKind::Ai(account) => ("ai", models(dialer, resource, account).await),
        ResourceKind::Tokens => ("tokens", Err(Error::internal("no resource of its own"))),
    };
    Finding {
        name: Arc::clone(&resource.name),
        kind,
        result,
    }
}

async fn storage(
    dialer: &Dialer,
    credentials: &Credentials,
    resource: &Arc<Resource>,
) -> Result<Can> {
    let mut listed = ask(dialer, credentials, resource, Question::List).await?;
    if listed.status == StatusCode::UNAUTHORIZED && credentials.invalidate(resource, &listed.ready)
    {
        listed = ask(dialer, credentials, resource, Question::List).await?;
    }
    let list = verdict(&listed.answer);
    let key = probe::first_key(&listed.answer.body).filter(|_| list == Verdict::Yes);
    let question = Question::Read(key.as_deref().unwrap_or(NO_KEY));
    let read = ask(dialer, credentials, resource, question).await?;
    let read = match verdict(&read.answer) {
        // A bucket that is not there has the same status.
        Verdict::No(404, code)
            if key.is_none() && (list == Verdict::Yes || is_of_object(code.as_deref())) =>
        {
            Verdict::YesOnNothing
        }
        read @ (Verdict::Yes | Verdict::YesOnNothing | Verdict::No(..)) => read,
    };
    Ok(Can::Storage { list, read })
}

/// Whether a word says that an object is not there, but its bucket.
fn is_of_object(code: Option<&str>) -> bool {
    matches!(code, Some("NoSuchKey" | "BlobNotFound"))
}

fn verdict(answer: &Answer) -> Verdict {
    let status = answer.status;
    // Of an empty object there is no first byte.
    if status.is_success() || status == StatusCode::RANGE_NOT_SATISFIABLE {
        return Verdict::Yes;
    }
    let code = probe::code(&answer.headers, &answer.body);
    Verdict::No(status.as_u16(), code)
}

async fn models(dialer: &Dialer, resource: &Arc<Resource>, account: &AiAccount) -> Result<Can> {
    if let Some(lane) = lane::lane(account.dialect) {
        let Some((path, given)) = lane.list(None) else {
            return Err(Error::unsupported(
                "This provider cannot be asked without a model.",
            ));
        };
        let none = HeaderMap::new();
        let head = lane_head::request_head(resource, &path, given, &none, Content::Nothing)?;
        let make_head = || head::request(&head.method, &head.target, &head.headers);
        let answer = send(dialer, resource, &make_head).await?;
        return Ok(Can::Models(verdict(&answer)));
    }
    let mut headers = HeaderMap::new();
    headers.insert(HOST, resource.origin.authority.clone());
    if let Some(key) = &account.api_key {
        let value = [b"Bearer ", key.expose()].concat();
        let mut value = HeaderValue::from_bytes(&value).map_err(Error::internal)?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    let target = format!("{}/models", resource.origin.base_path);
    let make_head = || head::request(&Method::GET, &target, &headers);
    let answer = send(dialer, resource, &make_head).await?;
    Ok(Can::Models(verdict(&answer)))
}

struct Asked {
    answer: Answer,
    status: StatusCode,
    ready: crate::policy::credential::ReadyCredential,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

async fn ask(
    dialer: &Dialer,
    credentials: &Credentials,
    resource: &Arc<Resource>,
    question: Question<'_>,
) -> Result<Asked> {
    let ready = credentials.ready(dialer, resource).await?;
    let make_head = || {
        let head = probe::ask(resource, question, &ready, clock::now())?;
        let head = head.ok_or_else(|| Error::internal("not a storage resource"))?;
        let headers = head.headers.iter().map(|(name, value)| (name, value));
        head::request_of(&head.method, &head.target, headers)
    };
    let answer = send(dialer, resource, &make_head).await?;
    Ok(Asked {
        status: answer.status,
        answer,
        ready,
    })
}

async fn send(
    dialer: &Dialer,
    resource: &Arc<Resource>,
    make_head: &(dyn Fn() -> Result<RequestHead> + Sync),
) -> Result<Answer> {
    let sending = Outgoing {
        resource,
        head: make_head,
        body: Body::None,
        idempotent: true,
        first_byte: ANSWER_TIMEOUT,
    };
    let mut answer = exchange(dialer, None, sending).await.map_err(Error::from)?;
    let body = relay::collect(&mut answer, ANSWER_TIMEOUT, ANSWER_BYTES_MAX).await;
    let head = answer.head()?;
    let (status, headers) = (head.status, head.headers.clone());
    let body = match body {
        Ok(body) => body,
        // What matters of a large answer is that there is one.
        Err(error) if error.kind() == Kind::UpstreamBroken => Vec::new(),
        Err(error) => return Err(error),
    };
    Ok(Answer {
        status,
        headers,
        body,
    })
}
