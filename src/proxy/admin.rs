//! The admin front: reads a request whole, and lets [`crate::admin`] answer it off the data path.

use std::sync::Arc;

use http::StatusCode;

use crate::admin::{self, AdminRequest, AdminResponse};
use crate::error::{Error, Kind, Result};
use crate::message::reply::Reply;
use crate::proxy::client::Client;
use crate::proxy::engine::{Arrived, Engine};
use crate::proxy::{respond, storage, upload};
use crate::telemetry::labels::AdminRoute;

/// Answers one request; `false`: the connection cannot be used again.
pub async fn serve(
    engine: &Engine,
    client: &mut Client,
    arrived: &Arrived,
    checked: Result<()>,
) -> bool {
    let answer = match checked {
        Ok(()) => answer(engine, client, arrived).await,
        Err(error) => Err(error),
    };
    if client.answered().is_some() {
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
    let route = client.head().target().map(admin::route);
    let route = route.unwrap_or(AdminRoute::Other);
    engine.metrics.admin_request(route, reply.status.as_u16());
    if respond::respond(client, reply).await.is_err() {
        return false;
    }
    storage::drain(client).await
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

async fn answer(engine: &Engine, client: &mut Client, arrived: &Arrived) -> Result<Reply> {
    let body = upload::read_whole(client, admin::BODY_BYTES_MAX).await?;
    let head = client.head();
    let request = AdminRequest {
        method: head.method.clone(),
        target: head.target()?.to_owned(),
        headers: head.headers.clone(),
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
