//! HTTP/2 clients: every kind of answer ends its stream, and only a whole one does.

use bytes::Bytes;
use pingora::connectors::http::Connector;
use pingora::http::RequestHeader;
use pingora::protocols::http::client::HttpSession;
use pingora::upstreams::peer::HttpPeer;

use crate::support::origin::{Origin, Step, answer};
use crate::support::server::{Server, Setup};
use crate::support::sign::Request;
use crate::support::within;

async fn server(origin: &Origin) -> Server {
    Server::start(&Setup {
        storage: Some(origin.address),
        ..Setup::default()
    })
    .await
}

/// Sends a signed head over HTTP/2; with a body to come, the stream stays open.
pub(crate) async fn ask(server: &Server, mut request: Request, ends: bool) -> HttpSession {
    let mut peer = HttpPeer::new(server.tls, true, "localhost".to_owned());
    peer.options.set_http_version(2, 2);
    peer.options.verify_cert = false;
    peer.options.verify_hostname = false;
    let connector = Connector::new(None);
    let (mut session, _) = connector.get_http_session(&peer).await.unwrap();
    assert!(matches!(session, HttpSession::H2(_)));
    request.host = "localhost".to_owned();
    let target = request.target();
    let mut head = RequestHeader::build(request.method, target.as_bytes(), None).unwrap();
    for (name, value) in request.signed_headers() {
        head.append_header(name, value).unwrap();
    }
    session.write_request_header(Box::new(head)).await.unwrap();
    if ends {
        session.finish_request_body().await.unwrap();
    }
    session
}

/// Status and body; `None`: the stream was reset before its end.
pub(crate) async fn answer_of(session: &mut HttpSession) -> Option<(u16, Vec<u8>)> {
    session.read_response_header().await.ok()?;
    let status = session.response_header()?.status.as_u16();
    let mut body = Vec::new();
    while let Some(chunk) = session.read_response_body().await.ok()? {
        body.extend_from_slice(&chunk);
    }
    Some((status, body))
}

#[tokio::test]
async fn every_kind_of_answer_ends_its_stream() {
    let origin = Origin::start(|request, _| {
        let key = request.target.rsplit('/').next().unwrap_or_default();
        match (request.method.as_str(), key) {
            ("HEAD", _) => answer::raw("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
            ("DELETE", _) => answer::raw("HTTP/1.1 204 No Content\r\n\r\n"),
            (_, "same") => answer::raw("HTTP/1.1 304 Not Modified\r\nETag: \"e\"\r\n\r\n"),
            (_, "chunked") => answer::raw(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            ),
            (_, "none") => answer::ok(b""),
            (_, "missing") => answer::error(404, "NoSuchKey"),
            _ => answer::ok(b"hello"),
        }
    })
    .await;
    let server = server(&origin).await;
    for (method, key, status, body) in [
        ("GET", "k", 200, "hello"),
        ("GET", "chunked", 200, "hello"),
        ("GET", "none", 200, ""),
        ("GET", "same", 304, ""),
        ("HEAD", "k", 200, ""),
        ("DELETE", "k", 204, ""),
        ("GET", "missing", 404, "NoSuchKey"),
    ] {
        let mut session = ask(&server, server.request(method, key), true).await;
        let answer = within("an answer", answer_of(&mut session)).await;
        let (got, text) = answer.unwrap_or_else(|| panic!("{method} {key}: the stream was reset"));
        assert_eq!(got, status, "{method} {key}");
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(
            text.contains(body) && (body.is_empty() == text.is_empty()),
            "{method} {key}: {text}"
        );
    }
    // Refused by us, without an upstream.
    let mut request = server.request("HEAD", "k");
    request.secret = "wrong".to_owned();
    let mut session = ask(&server, request, true).await;
    let answer = within("a refusal", answer_of(&mut session)).await;
    assert_eq!(answer, Some((403, Vec::new())));
}

#[tokio::test]
async fn a_truncated_body_resets_the_stream() {
    let origin = Origin::always(vec![
        Step::Write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this".to_vec()),
        Step::Close,
    ])
    .await;
    let server = server(&origin).await;
    let mut session = ask(&server, server.request("GET", "k"), true).await;
    assert_eq!(within("a reset", answer_of(&mut session)).await, None);
}

/// The resource may answer as soon as it has every byte, which can be before the end of the client's message is
/// known: that is no early answer.
#[tokio::test]
async fn an_answer_to_the_last_byte_is_not_early() {
    let origin = Origin::always(answer::ok(b"")).await;
    let server = server(&origin).await;
    let mut session = ask(&server, server.put("k", 5), false).await;
    session
        .write_request_body(Bytes::from_static(b"hello"), false)
        .await
        .unwrap();
    // The stream's end is withheld until the answer is there.
    let answer = within("an answer", async {
        session.read_response_header().await.unwrap();
        session.response_header().unwrap().status.as_u16()
    })
    .await;
    assert_eq!(answer, 200);
    assert_eq!(origin.requests()[0].body, b"hello");
}
