//! The admin front: reads a request whole, and lets [`crate::admin`] answer it off the data path.

use std::sync::Arc;

use http::{HeaderValue, Method, StatusCode, header};
use pingora::protocols::http::ServerSession;

use crate::admin::{self, AdminRequest, AdminResponse};
use crate::error::{Error, Kind, Result};
use crate::message::reply::Reply;
use crate::proxy::engine::{Arrived, Engine};
use crate::proxy::{respond, service, storage, upload};
use crate::telemetry::labels::AdminRoute;

/// Answers one request; `false`: the connection cannot be used again.
pub async fn serve(
    engine: &Engine,
    session: &mut ServerSession,
    arrived: &Arrived,
    checked: Result<()>,
) -> bool {
    let answer = match checked {
        Ok(()) => answer(engine, session, arrived).await,
        Err(error) => Err(error),
    };
    if storage::has_answered(session) {
        // A panic while the answer was written.
        return false;
    }
    let reply = match answer {
        Ok(reply) => reply,
        Err(error) if error.kind() == Kind::ClientGone => return false,
        Err(error) => {
            tracing::debug!(%error, "refused an admin request");
            refusal(&error, &arrived.id)
        }
    };
    let route = std::str::from_utf8(session.req_header().raw_path()).map(admin::route);
    let route = route.unwrap_or(AdminRoute::Other);
    engine.metrics.admin_request(route, reply.status.as_u16());
    let is_head = session.req_header().method == Method::HEAD;
    if respond::respond(session, reply, is_head).await.is_err() {
        return false;
    }
    storage::drain(session).await
}

/// The answer to a request that does not reach the API.
pub fn refusal(error: &Error, id: &str) -> Reply {
    let kind = error.kind();
    let status = if kind == Kind::BodyTooLarge {
        StatusCode::PAYLOAD_TOO_LARGE
    } else if kind == Kind::HeadersTooLarge {
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
    } else if kind == Kind::UriTooLong {
        StatusCode::URI_TOO_LONG
    } else if kind == Kind::RequestTimeout {
        StatusCode::REQUEST_TIMEOUT
    } else if kind == Kind::Internal {
        StatusCode::INTERNAL_SERVER_ERROR
    } else {
        StatusCode::BAD_REQUEST
    };
    into_reply(admin::refuse(status, error.message(), id))
}

fn into_reply(response: AdminResponse) -> Reply {
    let mut reply = Reply::new(response.status);
    reply.headers.extend(
        response
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), value.clone())),
    );
    reply.body = response.body;
    reply
}

async fn answer(engine: &Engine, session: &mut ServerSession, arrived: &Arrived) -> Result<Reply> {
    let body = upload::read_whole(session, admin::BODY_BYTES_MAX).await?;
    let head = session.req_header();
    let target = std::str::from_utf8(head.raw_path()).map_err(|_| {
        Error::new(
            Kind::InvalidRequest,
            "The request's target is not percent-encoded.",
        )
    })?;
    let mut headers = head.headers.clone();
    // HTTP/2 names the host in a place of its own.
    if let (false, Some(host)) = (headers.contains_key(header::HOST), service::host(session))
        && let Ok(host) = HeaderValue::from_str(host)
    {
        headers.insert(header::HOST, host);
    }
    let request = AdminRequest {
        method: head.method.clone(),
        target: target.to_owned(),
        headers,
        body,
        peer: arrived.peer,
        request_id: arrived.id.to_string(),
        now: arrived.now,
    };
    let state = engine.admin.get().map(Arc::clone);
    let state = state.ok_or_else(|| Error::internal("the admin API is not there yet"))?;
    // Files are written and synced: not on a thread that serves data.
    let response = tokio::task::spawn_blocking(move || admin::handle(&state, &request))
        .await
        .map_err(|error| Error::internal("the admin API failed").with_source(error))?;
    Ok(into_reply(response))
}
