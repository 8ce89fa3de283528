//! Batch deletes of which a part is refused: the store gets the rest, the client an answer for each entry.

use crate::support::origin::{Origin, answer};
use crate::support::server::{BUCKET, Server, Setup};
use crate::support::sign;

const RESERVED: &str = ".aqueduct/x";

async fn delete(server: &Server, keys: &[&str]) -> (u16, String) {
    let entries: Vec<String> = keys
        .iter()
        .map(|key| format!("<Object><Key>{key}</Key></Object>"))
        .collect();
    let document = format!("<Delete>{}</Delete>", entries.concat());
    let mut request = server.request("POST", "");
    request.path = format!("/{BUCKET}");
    request.query = vec![("delete".into(), String::new())];
    request.payload = sign::sha256(document.as_bytes());
    request
        .headers
        .push(("content-length".into(), document.len().to_string()));
    let mut client = server.client().await;
    client.send(request.head()).await;
    client.send(&document).await;
    let answer = client.response().await;
    (answer.status, answer.text())
}

#[tokio::test]
async fn the_store_is_asked_for_what_is_left() {
    let result = "<DeleteResult><Deleted><Key>p/a</Key></Deleted><Error><Key>p/b</Key><Code>InternalError</Code>\
                  </Error></DeleteResult>";
    let origin = Origin::always(answer::ok(result.as_bytes())).await;
    let server = Server::start(&Setup {
        storage: Some(origin.address),
        bucket: ", prefix = \"p/\"",
        ..Setup::default()
    })
    .await;

    let (status, text) = delete(&server, &["a", RESERVED, "b", "x/../c"]).await;
    assert_eq!(status, 200, "{text}");
    for part in [
        "<Deleted><Key>a</Key></Deleted>",
        "<Error><Key>b</Key><Code>InternalError</Code></Error>",
        "<Error><Key>.aqueduct/x</Key><Code>AccessDenied</Code>",
        "<Error><Key>x/../c</Key><Code>AccessDenied</Code>",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let seen = origin.requests().pop().unwrap();
    let sent = String::from_utf8(seen.body.clone()).unwrap();
    let left = "<Object><Key>p/a</Key></Object><Object><Key>p/b</Key></Object></Delete>";
    assert!(sent.ends_with(left) && !sent.contains("aqueduct"), "{sent}");
    assert_eq!(
        seen.header("x-amz-content-sha256"),
        Some(&*sign::sha256(&seen.body))
    );
    assert!(seen.header("content-md5").is_some());

    let before = origin.requests().len();
    let (status, text) = delete(&server, &[RESERVED]).await;
    assert_eq!(
        (status, text.contains("<Code>AccessDenied</Code>")),
        (200, true),
        "{text}"
    );
    assert_eq!(origin.requests().len(), before);
}
