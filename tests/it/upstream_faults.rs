//! Every way in which an upstream breaks HTTP, on every path that reads one: what the client sees, that the
//! connection is not used again, what is counted, and that the place of the request is free afterwards. Tests
//! U1 to U4 of the reliability bar, as one table.

mod table;

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use self::table::{FAULTS, half, sized};
use crate::support::origin::{Origin, Step};
use crate::support::raw::{Raw, Response};
use crate::support::server::{AI_TOKEN, AZURE_BUCKET, BUCKET, GCS_BUCKET, Server, Setup};

/// Fewer than there are faults: were a place lost with each, the requests between them would be refused.
const REPOSITORY: &str = "limits = { concurrent = 3 }";
const TIMEOUTS: &str = r#"connect = "1s", first_byte = "1s", idle = "1s""#;
/// How long a request may take to be counted after its answer.
const SETTLED_MAX: Duration = Duration::from_secs(5);

/// A way to ask, with a whole answer to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lane {
    Get,
    /// The same from stores that speak another protocol.
    Gcs,
    Azure,
    Chat,
    Stream,
}

impl Lane {
    fn kind(self) -> &'static str {
        match self {
            Self::Get | Self::Gcs | Self::Azure => "application/octet-stream",
            Self::Chat => "application/json",
            Self::Stream => "text/event-stream",
        }
    }

    fn body(self) -> &'static str {
        match self {
            Self::Get | Self::Gcs | Self::Azure => "sixteen bytes of an object, and more",
            Self::Chat => {
                r#"{"id":"c","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2}}"#
            }
            Self::Stream => {
                "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"}}]}\n\ndata: [DONE]\n\n"
            }
        }
    }

    fn resource(self) -> &'static str {
        match self {
            Self::Get => "origin",
            Self::Gcs => "gcs",
            Self::Azure => "azure",
            Self::Chat | Self::Stream => "model",
        }
    }

    /// The bucket that is asked for an object.
    fn bucket(self) -> Option<&'static str> {
        match self {
            Self::Get => Some(BUCKET),
            Self::Gcs => Some(GCS_BUCKET),
            Self::Azure => Some(AZURE_BUCKET),
            Self::Chat | Self::Stream => None,
        }
    }

    /// What the store says of the object besides.
    fn fields(self) -> &'static str {
        match self {
            Self::Get | Self::Chat | Self::Stream => "ETag: \"e\"\r\n",
            Self::Gcs => {
                "ETag: \"d41d8cd98f00b204e9800998ecf8427e\"\r\nx-goog-generation: 7\r\n\
                 x-goog-stored-content-length: 36\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
            }
            Self::Azure => {
                "ETag: \"0x8D\"\r\nx-ms-blob-type: BlockBlob\r\n\
                 Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
            }
        }
    }

    async fn ask(self, server: &Server) -> Option<Response> {
        if let Some(bucket) = self.bucket() {
            let mut request = server.request("GET", "k");
            request.path = format!("/{bucket}/k");
            let mut client = server.client().await;
            client.send(request.head()).await;
            return client.try_response().await;
        }
        let mut client = Raw::connect(server.ai).await;
        let stream = self == Self::Stream;
        let body = format!(r#"{{"model":"tiny","stream":{stream},"messages":[]}}"#);
        let (host, length) = (server.ai, body.len());
        client
            .send(format!(
                "POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {AI_TOKEN}\r\n\
                 Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
            ))
            .await;
        client.try_response().await
    }

    /// An error in the words of the client's protocol.
    fn is_error(self, answer: &Response) -> bool {
        let told = match self {
            Self::Get | Self::Gcs | Self::Azure => !answer.code().is_empty(),
            Self::Chat | Self::Stream => answer.text().contains("\"error\""),
        };
        matches!(answer.status, 500 | 502..=504) && answer.complete && told
    }
}

/// What a client has to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sees {
    /// An error, whole.
    Error,
    /// The start of the answer, then a broken connection.
    Cut,
    /// The answer, whole.
    Whole,
    /// As much as the upstream said there would be: nobody can tell that it was wrong.
    AsDeclared,
}

/// May a later request go over the same upstream connection?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Afterwards {
    Closed,
    /// The message was whole: both are right.
    Either,
}

struct Fault {
    what: &'static str,
    steps: fn(Lane) -> Vec<Step>,
    sees: Sees,
    afterwards: Afterwards,
    /// `reason` of the error that is counted.
    reason: Option<&'static str>,
}

fn text(text: impl AsRef<str>) -> Step {
    Step::Write(text.as_ref().as_bytes().to_vec())
}

/// The whole answer.
fn clean(lane: Lane) -> Vec<Step> {
    let body = lane.body();
    vec![Step::ReadBody, text(sized(lane, body.len()) + body)]
}

/// An origin whose next answer the test chooses.
struct Scripted {
    origin: Origin,
    server: Server,
    next: Arc<Mutex<Vec<Step>>>,
    lane: Lane,
}

impl Scripted {
    async fn start(lane: Lane) -> Self {
        let next = Arc::new(Mutex::new(Vec::new()));
        let script = Arc::clone(&next);
        let origin = Origin::start(move |_, _| script.lock().clone()).await;
        let server = Server::start(&Setup {
            storage: Some(origin.address),
            gcs: Some(origin.address),
            azure: Some(origin.address),
            ai: Some(origin.address),
            timeouts: TIMEOUTS,
            repository: REPOSITORY,
            breaker: "enabled = false",
            ..Setup::default()
        })
        .await;
        Self {
            origin,
            server,
            next,
            lane,
        }
    }

    async fn ask(&self, steps: Vec<Step>) -> Option<Response> {
        *self.next.lock() = steps;
        self.lane.ask(&self.server).await
    }

    /// The connection that the last request came over.
    fn connection(&self) -> usize {
        self.origin
            .requests()
            .last()
            .map_or(0, |last| last.connection)
    }

    async fn count(&self, reason: &str) -> u64 {
        let resource = self.lane.resource();
        let series = format!(
            r#"aqueduct_upstream_errors_total{{reason="{reason}",resource="{resource}"}} "#
        );
        let text = self.server.admin("GET", "/metrics", "").await.text();
        let line = text.lines().find_map(|line| line.strip_prefix(&series));
        line.map_or(0, |line| line.parse().unwrap())
    }

    /// Waits until an error of this reason is counted, and all places are free again.
    async fn settled(&self, what: &str, reason: Option<(&str, u64)>) -> Result<(), String> {
        let started = Instant::now();
        let proto = match self.lane {
            Lane::Get | Lane::Gcs | Lane::Azure => "s3",
            Lane::Chat | Lane::Stream => "ai",
        };
        let free = format!("aqueduct_inflight_requests{{proto=\"{proto}\"}} 0");
        loop {
            let text = self.server.admin("GET", "/metrics", "").await.text();
            let counted = match reason {
                Some((reason, before)) => self.count(reason).await == before + 1,
                None => true,
            };
            if counted && text.contains(&free) {
                return Ok(());
            }
            if started.elapsed() < SETTLED_MAX {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
            let errors: Vec<&str> = text
                .lines()
                .filter(|line| line.contains("upstream_errors_total{") || line.contains("inflight"))
                .collect();
            let lane = self.lane;
            return Err(format!(
                "{lane:?}: an upstream that {what} is not counted as {reason:?}: {errors:#?}"
            ));
        }
    }

    fn check(&self, fault: &Fault, sees: Sees, answer: Option<&Response>) -> Result<(), String> {
        let lane = self.lane;
        let says = |wrong: &str| {
            format!(
                "{lane:?}: an upstream that {}: {wrong}: {answer:?}",
                fault.what
            )
        };
        let Some(answer) = answer else {
            return match sees {
                Sees::Cut => Ok(()),
                Sees::Error | Sees::Whole | Sees::AsDeclared => Err(says("no answer")),
            };
        };
        let whole = answer.status == 200 && answer.complete;
        let right = match sees {
            Sees::Error => lane.is_error(answer),
            // What was not begun can still be told as an error.
            Sees::Cut => lane.is_error(answer) || (!answer.complete && is_start(lane, answer)),
            Sees::Whole => whole && answer.text() == lane.body(),
            // Half a stream is known for it: it has no end.
            Sees::AsDeclared if lane == Lane::Stream => !answer.complete || lane.is_error(answer),
            Sees::AsDeclared => whole && answer.text() == half(lane),
        };
        if right {
            Ok(())
        } else {
            Err(says("seen wrongly"))
        }
    }
}

/// The start of the right answer; a stream may have an event behind it that tells of the error.
fn is_start(lane: Lane, answer: &Response) -> bool {
    let text = answer.text();
    let told = text.contains("\"error\"") && !text.contains("[DONE]");
    lane.body().starts_with(&text) || (lane == Lane::Stream && told)
}

async fn every_fault(lane: Lane) {
    let run = Scripted::start(lane).await;
    let mut wrong = Vec::new();
    for fault in FAULTS {
        wrong.extend(one_fault(&run, fault).await.err());
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What a fault is to a client, and as what it is counted. Stores of other protocols always tell an object's length: an
/// answer without it is taken for none.
fn expected(lane: Lane, fault: &Fault, steps: &[Step]) -> (Sees, Option<&'static str>) {
    let unsized_object = steps.iter().any(|step| {
        let Step::Write(bytes) = step else {
            return false;
        };
        let text = String::from_utf8_lossy(bytes);
        let head = text.split_once("\r\n\r\n").map(|(head, _)| head);
        head.is_some_and(|head| head.contains(" 200 OK") && !head.contains("Content-Length:"))
    });
    let translated = matches!(lane, Lane::Gcs | Lane::Azure);
    if translated && unsized_object {
        (Sees::Error, Some("bad_response"))
    } else {
        (fault.sees, fault.reason)
    }
}

async fn one_fault(run: &Scripted, fault: &Fault) -> Result<(), String> {
    let (lane, what) = (run.lane, fault.what);
    let steps = (fault.steps)(lane);
    let (sees, reason) = expected(lane, fault, &steps);
    let before = match reason {
        Some(reason) => Some((reason, run.count(reason).await)),
        None => None,
    };
    let answer = run.ask(steps).await;
    let at = run.connection();
    run.check(fault, sees, answer.as_ref())?;
    // A stream without its end is an error, whatever its framing says.
    let reason = match sees {
        Sees::AsDeclared if lane == Lane::Stream => None,
        Sees::Error | Sees::Cut | Sees::Whole | Sees::AsDeclared => before,
    };
    run.settled(what, reason).await?;
    let after = run.ask(clean(lane)).await;
    if after.as_ref().map(Response::text).as_deref() != Some(lane.body()) {
        return Err(format!(
            "{lane:?}: after an upstream that {what}: {after:?}"
        ));
    }
    if fault.afterwards == Afterwards::Closed && run.connection() == at {
        return Err(format!(
            "{lane:?}: the connection of an upstream that {what} was used again"
        ));
    }
    Ok(())
}

#[tokio::test]
async fn downloads_survive_every_fault() {
    every_fault(Lane::Get).await;
}

#[tokio::test]
async fn downloads_from_cloud_storage_survive_every_fault() {
    every_fault(Lane::Gcs).await;
}

#[tokio::test]
async fn downloads_from_blob_storage_survive_every_fault() {
    every_fault(Lane::Azure).await;
}

#[tokio::test]
async fn completions_survive_every_fault() {
    every_fault(Lane::Chat).await;
}

#[tokio::test]
async fn streams_survive_every_fault() {
    every_fault(Lane::Stream).await;
}
