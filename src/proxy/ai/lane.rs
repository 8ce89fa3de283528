//! Chats with resources of another dialect: asked in theirs, answered in the client's.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::ai::embed::Embedded;
use crate::ai::lane::head::{self as lane_head, Content};
use crate::ai::lane::{self, Encoded, Lane, Reading, Stream};
use crate::ai::openai::answer::Told;
use crate::ai::openai::{embed, request, upstream};
use crate::ai::param::Dropped;
use crate::ai::plan::Candidate;
use crate::ai::route::Inference;
use crate::ai::usage::{Notes, Usage};
use crate::error::{Error, Kind, Result};
use crate::policy::route::{AiEndpoint, Resource};
use crate::proxy::ai::sign::Signer;
use crate::proxy::ai::{Asked, Heard, REFUSAL_BYTES_MAX, first_byte};
use crate::proxy::client::Client;
use crate::proxy::engine::{Arrived, Engine};
use crate::proxy::exchange::{Answer, Body, Outgoing, exchange};
use crate::proxy::record::Record;
use crate::proxy::{clock, head, ids, relay};

/// Largest answer that is translated as a whole.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Most calls for one request: where a provider takes one text at a time, a long list is better sent in parts.
const EMBED_CALLS_MAX: usize = 100;

/// What is needed to answer the client.
pub(super) struct Translated {
    pub(super) lane: &'static dyn Lane,
    model: Box<str>,
    reading: Reading,
    told: Told,
    pub(super) stream: bool,
    /// The value of the header that names what was left out.
    pub(super) dropped: Option<String>,
    /// The answer was read already, and this is the client's.
    ready: Option<(Bytes, Notes)>,
}

/// The lane to a resource, where its dialect is not the client's.
pub(super) fn of(resource: &Resource) -> Option<&'static dyn Lane> {
    resource
        .ai()
        .and_then(|account| lane::lane(account.dialect))
}

/// Asks one resource in its own dialect. An answer that is no success is an error with the provider's words.
pub(super) async fn ask(
    engine: &Engine,
    client: &mut Client,
    arrived: &Arrived,
    record: &mut Record,
    to: (&AiEndpoint, &Candidate, &'static dyn Lane),
    asked: &Asked<'_>,
) -> Result<Heard> {
    match asked.inference {
        Inference::ChatCompletions => chat(engine, client, arrived, record, to, asked).await,
        Inference::Embeddings => embed(engine, client, arrived, record, to, asked).await,
        Inference::Completions | Inference::Responses => Err(Error::unsupported(
            "This model is not served at this path here; use /v1/chat/completions.",
        )),
    }
}

async fn chat(
    engine: &Engine,
    client: &mut Client,
    arrived: &Arrived,
    record: &mut Record,
    (endpoint, candidate, lane): (&AiEndpoint, &Candidate, &'static dyn Lane),
    asked: &Asked<'_>,
) -> Result<Heard> {
    let (encoded, translated) = prepare((endpoint, candidate, lane), asked, arrived)?;
    let to = (&candidate.resource, lane);
    let answer = call(engine, client, arrived, record, to, encoded).await?;
    Ok(Heard {
        answer,
        hide_usage: false,
        body: None,
        translated: Some(translated),
    })
}

/// Translates a request; the client's own is not needed beyond this.
fn prepare(
    (endpoint, candidate, lane): (&AiEndpoint, &Candidate, &'static dyn Lane),
    asked: &Asked<'_>,
    arrived: &Arrived,
) -> Result<(Encoded, Translated)> {
    let name = &asked.scan.model.name;
    let model = candidate.rename.as_deref().unwrap_or(name);
    let whole = asked.whole();
    let decoded = request::decode(&whole)?;
    let (encoded, dropped) = lane::encode(lane, &decoded, model, endpoint.unsupported_params)?;
    let translated = Translated {
        lane,
        model: model.into(),
        reading: encoded.reading.clone(),
        told: Told {
            id: format!("chatcmpl-{}", arrived.id),
            model: model.to_owned(),
            created: arrived.now.as_second(),
            tells_usage: decoded.request.tells_usage,
        },
        stream: decoded.request.stream,
        dropped: dropped.header(),
        ready: None,
    };
    Ok((encoded, translated))
}

/// Asks for embeddings, in as many calls as the provider wants for the texts.
async fn embed(
    engine: &Engine,
    client: &mut Client,
    arrived: &Arrived,
    record: &mut Record,
    (endpoint, candidate, lane): (&AiEndpoint, &Candidate, &'static dyn Lane),
    asked: &Asked<'_>,
) -> Result<Heard> {
    let model = candidate
        .rename
        .as_deref()
        .unwrap_or(&asked.scan.model.name);
    let Some(batch) = lane.embed_max(model) else {
        let message = "This model makes no embeddings here.";
        return Err(Error::new(Kind::ModelNotFound, message).with_param("model"));
    };
    let whole = asked.whole();
    let mut dropped = Dropped::default();
    let request = embed::decode(&whole, &mut dropped)?;
    dropped.check(endpoint.unsupported_params)?;
    if request.texts.len() > batch.saturating_mul(EMBED_CALLS_MAX) {
        let message = "There are more inputs than this model takes at once.";
        return Err(Error::new(Kind::InvalidRequest, message).with_param("input"));
    }
    let resource = &candidate.resource;
    let mut all = Embedded::default();
    let mut last: Option<Answer> = None;
    for texts in request.texts.chunks(batch.max(1)) {
        if let Some(answer) = last.take() {
            engine.dialer.release(answer.link).await;
        }
        let encoded = lane.embed(&request, texts, model)?;
        let mut answer = call(engine, client, arrived, record, (resource, lane), encoded).await?;
        let body = read(engine, client, &mut answer).await?;
        let some = lane.embedded(model, answer.headers()?, &body)?;
        if some.vectors.len() != texts.len() {
            return Err(lane::broken("not as many vectors as texts"));
        }
        all.vectors.extend(some.vectors);
        all.tokens = some
            .tokens
            .map(|tokens| all.tokens.unwrap_or_default() + tokens);
        if let (Some(tokens), Some(ai)) = (all.tokens, &mut record.ai) {
            ai.calls.sees(Usage::of_input(tokens));
        }
        last = Some(answer);
    }
    let body = embed::encode(&all, request.encoding, model)?;
    Ok(Heard {
        answer: last.ok_or_else(|| Error::internal("no text was sent"))?,
        hide_usage: false,
        body: None,
        translated: Some(Translated::ready(lane, model, (body, all.tokens), &dropped)),
    })
}

/// One request to a resource, and the head of its success.
async fn call(
    engine: &Engine,
    client: &mut Client,
    arrived: &Arrived,
    record: &mut Record,
    (resource, lane): (&Arc<Resource>, &dyn Lane),
    encoded: Encoded,
) -> Result<Answer> {
    let body = Bytes::from(encoded.body);
    // Beside the client's own, which is kept for the next resource.
    let _share = super::body::take(engine, body.len())?;
    let content = Content::Json(body.len() as u64);
    let asked = &client.head().headers;
    let mut head =
        lane_head::request_head(resource, &encoded.path, encoded.headers, asked, content)?;
    if let Some(trace) = arrived.trace.and_then(ids::trace_header) {
        head.headers.insert("traceparent", trace);
    }
    let mut answer = send(engine, client, record, resource, &head, &[body]).await?;
    let status = answer.head()?.status;
    if !status.is_success() {
        return Err(refusal(engine, resource, lane, answer).await);
    }
    answer
        .link
        .session
        .set_read_timeout(Some(resource.timeouts.idle));
    Ok(answer)
}

/// Reads an answer to its end.
async fn read(engine: &Engine, client: &mut Client, answer: &mut Answer) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    let mut shares = Vec::new();
    while let Some(chunk) = relay::next(&mut answer.link.session, client).await? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(lane::broken("the answer is too large"));
        }
        shares.push(super::body::take(engine, chunk.len())?);
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

async fn send(
    engine: &Engine,
    client: &mut Client,
    record: &mut Record,
    resource: &Arc<Resource>,
    head: &lane_head::Head,
    frames: &[Bytes],
) -> Result<Answer> {
    let signing = resource.ai().and_then(|account| account.signing.as_ref());
    let signer = match signing {
        Some(signing) => {
            let ready = engine.credentials.ready(&engine.dialer, resource).await?;
            Some(Signer::new(&signing.region, ready, frames)?)
        }
        None => None,
    };
    record.sending(resource);
    let first_byte = first_byte(&client.head().headers, resource);
    let make_head = || match &signer {
        Some(signer) => signer.sign(head, clock::now()),
        None => head::request(&head.method, &head.target, &head.headers),
    };
    let outgoing = Outgoing {
        resource,
        head: &make_head,
        body: Body::Memory(frames),
        idempotent: false,
        first_byte,
    };
    let answer = exchange(&engine.dialer, Some(client), outgoing)
        .await
        .map_err(|failed| record.gave_up(failed))?;
    record.answered(&answer);
    Ok(answer)
}

/// What an answer that is no success says.
async fn refusal(
    engine: &Engine,
    resource: &Resource,
    lane: &dyn Lane,
    mut answer: Answer,
) -> Error {
    let Ok(head) = answer.head() else {
        return Error::internal("an answer without a head");
    };
    let (status, headers) = (head.status, head.headers.clone());
    let read = relay::collect(&mut answer, resource.timeouts.idle, REFUSAL_BYTES_MAX).await;
    if matches!(status.as_u16(), 401 | 403) {
        // A token that has ended is replaced for the next request.
        engine.credentials.refused(resource);
    }
    let body = match read {
        Ok(body) => {
            engine.dialer.release(answer.link).await;
            body
        }
        // The status says enough.
        Err(_) => Vec::new(),
    };
    let error = lane.refusal(status, &headers, &body);
    let error = error.with_detail(format_args!("upstream status {status}"));
    match upstream::retry_after(&headers, clock::now()) {
        Some(after) if error.retry_after().is_none() => error.with_retry_after(after),
        Some(_) | None => error,
    }
}

/// Whether the resource had a say in it: what it cannot take is known before.
pub(super) fn was_asked(error: &Error) -> bool {
    error.kind() != Kind::InvalidArgument
}

/// Whether no other resource could do better: what is wrong with the request is wrong everywhere.
pub(super) fn is_final(error: &Error) -> bool {
    matches!(
        error.kind(),
        Kind::InvalidRequest | Kind::MalformedBody | Kind::BodyTooLarge
    )
}

impl Translated {
    /// An answer that was read already: its body, and the tokens where the provider told them.
    fn ready(
        lane: &'static dyn Lane,
        model: &str,
        (body, tokens): (Bytes, Option<u64>),
        dropped: &Dropped,
    ) -> Self {
        let notes = Notes {
            reported: tokens.map(Usage::of_input),
            events: 1,
            finished: true,
            ended: true,
            ..Notes::default()
        };
        Self {
            lane,
            model: model.into(),
            reading: Reading::default(),
            told: Told::default(),
            stream: false,
            dropped: dropped.header(),
            ready: Some((body, notes)),
        }
    }

    pub(super) fn reader(&self) -> Stream {
        Stream::new(
            self.lane,
            &self.model,
            self.reading.clone(),
            self.told.clone(),
        )
    }

    /// What the answer's head says to the client.
    pub(super) fn head(&self, answer: &Answer) -> Result<(StatusCode, HeaderMap)> {
        let headers = self.lane.answer_head(answer.headers()?, clock::now());
        Ok((StatusCode::OK, headers))
    }

    /// Reads an answer to its end, and makes the client's of it.
    pub(super) async fn whole(
        &self,
        engine: &Engine,
        client: &mut Client,
        answer: &mut Answer,
    ) -> Result<(Bytes, Notes)> {
        if let Some(ready) = &self.ready {
            return Ok(ready.clone());
        }
        let body = read(engine, client, answer).await?;
        let told = self.told.clone();
        lane::whole(self.lane, &self.model, &body, &self.reading, told)
    }
}
