//! [`EchoModel`]: a model server on loopback that says back what it was told, word by word. It speaks
//! enough of the `OpenAI` API for real SDKs: models, chat, completions, embeddings and responses, with and
//! without streaming, with usage. It is the demo's upstream; nothing of Aqueduct is in it.

mod answer;
mod stream;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use serde_json::{Value, json};
use tokio::time::{Instant, Sleep, sleep_until};

use super::listen::{Server, serve};
use super::random;
use crate::error::Result;

/// The one model.
pub(super) const MODEL: &str = "echo";

/// A request body larger than this is refused: nobody should fill the demo's memory.
const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Between two words of a stream: slow enough to be seen streaming.
const WORD: Duration = Duration::from_millis(30);

/// A running echo model; dropping its runtime ends it.
#[derive(Debug)]
pub struct EchoModel {
    server: Server,
    api_key: String,
}

/// What the requests of one server share.
struct Shared {
    authorization: String,
    served: AtomicU64,
}

impl EchoModel {
    /// Starts on a free port of loopback. The connections run on the current runtime.
    pub async fn start() -> Result<Self> {
        let api_key = format!("sk-echo-{}", random());
        let shared = Arc::new(Shared {
            authorization: format!("Bearer {api_key}"),
            served: AtomicU64::new(0),
        });
        let service = service_fn(move |request| {
            let shared = Arc::clone(&shared);
            async move { Ok::<_, Infallible>(respond(&shared, request).await) }
        });
        let server = serve(service).await?;
        Ok(Self { server, api_key })
    }

    /// What `base_url` of a resource says.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.server.address())
    }

    pub fn api_key(&self) -> &str {
        &self.api_key
    }
}

/// What a handler makes of a request.
enum Answer {
    Json(Value),
    /// Server-sent events, sent one by one.
    Events(VecDeque<Bytes>),
    Refused(StatusCode, &'static str),
}

async fn respond(shared: &Shared, request: Request<Incoming>) -> Response<EchoBody> {
    let (head, body) = request.into_parts();
    let known = head
        .headers
        .get(header::AUTHORIZATION)
        .is_some_and(|value| value == shared.authorization.as_str());
    let number = shared.served.fetch_add(1, Ordering::Relaxed);
    let answer = if known {
        route(&head.method, head.uri.path(), body, number).await
    } else {
        Answer::Refused(StatusCode::UNAUTHORIZED, "Incorrect API key provided.")
    };
    let mut response = match answer {
        Answer::Json(value) => full(StatusCode::OK, &value),
        Answer::Refused(status, message) => {
            let kind = "invalid_request_error";
            let error = json!({"message": message, "type": kind, "param": null, "code": null});
            full(status, &json!({ "error": error }))
        }
        Answer::Events(events) => Response::new(EchoBody::Events {
            waiting: events,
            next: Box::pin(sleep_until(Instant::now())),
        }),
    };
    let kind = match response.body() {
        EchoBody::Full(_) => "application/json",
        EchoBody::Events { .. } => "text/event-stream; charset=utf-8",
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    if let Ok(id) = header::HeaderValue::try_from(format!("req_echo_{number}")) {
        headers.insert("x-request-id", id);
    }
    response
}

fn full(status: StatusCode, value: &Value) -> Response<EchoBody> {
    let mut response = Response::new(EchoBody::Full(Some(value.to_string().into())));
    *response.status_mut() = status;
    response
}

async fn route(method: &Method, path: &str, body: Incoming, number: u64) -> Answer {
    if method == Method::GET {
        return match path.strip_prefix("/v1/models") {
            Some("") => Answer::Json(answer::models()),
            Some("/echo") => Answer::Json(answer::model()),
            Some(_) | None => Answer::Refused(StatusCode::NOT_FOUND, "No such model or path."),
        };
    }
    let Some(bytes) = read(body).await else {
        return Answer::Refused(
            StatusCode::PAYLOAD_TOO_LARGE,
            "The body is too large or broken.",
        );
    };
    let Ok(Value::Object(request)) = serde_json::from_slice::<Value>(&bytes) else {
        return Answer::Refused(StatusCode::BAD_REQUEST, "The body is not a JSON object.");
    };
    let request = Value::Object(request);
    if request["model"] != MODEL {
        return Answer::Refused(
            StatusCode::NOT_FOUND,
            "The model does not exist; there is `echo`.",
        );
    }
    let streamed = request["stream"] == true;
    match (path, streamed) {
        ("/v1/chat/completions", false) => Answer::Json(answer::chat(&request, number)),
        ("/v1/chat/completions", true) => Answer::Events(stream::chat(&request, number)),
        ("/v1/completions", false) => Answer::Json(answer::completion(&request, number)),
        ("/v1/completions", true) => Answer::Events(stream::completion(&request, number)),
        ("/v1/responses", false) => Answer::Json(answer::response(&request, number)),
        ("/v1/responses", true) => Answer::Events(stream::response(&request, number)),
        ("/v1/embeddings", _) => match answer::embeddings(&request) {
            Some(value) => Answer::Json(value),
            None => Answer::Refused(StatusCode::BAD_REQUEST, "`input` must be text or texts."),
        },
        _ => Answer::Refused(StatusCode::NOT_FOUND, "No such path."),
    }
}

/// The whole body, or `None` if it is too large or breaks off.
async fn read(mut body: Incoming) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        if let Ok(data) = frame.ok()?.into_data() {
            if whole.len() + data.len() > BODY_BYTES_MAX {
                return None;
            }
            whole.extend_from_slice(&data);
        }
    }
    Some(whole)
}

/// One JSON document, or events with a pause between them.
enum EchoBody {
    Full(Option<Bytes>),
    Events {
        waiting: VecDeque<Bytes>,
        next: Pin<Box<Sleep>>,
    },
}

impl Body for EchoBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = |bytes| Ok(Frame::data(bytes));
        match &mut *self {
            Self::Full(bytes) => Poll::Ready(bytes.take().map(frame)),
            Self::Events { waiting, next } => {
                if waiting.is_empty() {
                    return Poll::Ready(None);
                }
                if next.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                next.as_mut().reset(Instant::now() + WORD);
                Poll::Ready(waiting.pop_front().map(frame))
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) => {
                let length = bytes.as_ref().map_or(0, Bytes::len);
                SizeHint::with_exact(u64::try_from(length).unwrap_or(u64::MAX))
            }
            Self::Events { .. } => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests;
