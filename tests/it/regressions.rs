//! Flaws that others had: one test each, named after its number or commit, saying in a line what it was.
//! The security bar's table, as far as it touches what exists here.

mod http;
mod model_and_admin;
mod storage;

use crate::support::origin::{Origin, answer};
use crate::support::raw::{Raw, Response};
use crate::support::server::{BUCKET, SECRET, Server, Setup};
use crate::support::sign::Request;

/// A key that may write below `public/` of the bucket, and nothing else.
const NARROW: &str = "AQDTNARROWNARROWNARR";

struct Lab {
    origin: Origin,
    server: Server,
}

async fn lab() -> Lab {
    let origin = Origin::start(|request, _| match request.method.as_str() {
        "PUT" if request.header("x-amz-copy-source").is_some() => answer::ok(
            b"<CopyObjectResult><ETag>\"e\"</ETag><LastModified>2026-01-01T00:00:00Z</LastModified></CopyObjectResult>",
        ),
        _ => answer::ok(b"{}"),
    })
    .await;
    let server = Server::start(&Setup {
        storage: Some(origin.address),
        ai: Some(origin.address),
        ..Setup::default()
    })
    .await;
    let path = server.config("conf.d/keys.toml");
    let mut text = std::fs::read_to_string(&path).unwrap();
    let narrow = format!(
        "\n[[key]]\nid = \"00000000-0000-4000-8000-000000000003\"\nrepository = \"main\"\nfamily = \"storage\"\n\
         name = \"narrow\"\naccess = \"WRITE\"\nkey = \"{NARROW}\"\nsecret = \"plain:{SECRET}\"\n\
         allow_prefixes = [\"{BUCKET}/public/\"]\n"
    );
    text.push_str(&narrow);
    std::fs::write(&path, text).unwrap();
    let reloaded = server.admin("POST", "/-/reload", "").await;
    assert_eq!(reloaded.status, 200, "{}", reloaded.text());
    Lab { origin, server }
}

impl Lab {
    fn request(&self, method: &'static str, key: &str) -> Request {
        self.server.request(method, key)
    }

    fn narrow(&self, method: &'static str, key: &str) -> Request {
        let mut request = self.request(method, key);
        NARROW.clone_into(&mut request.key);
        request
    }

    async fn raw(&self, text: impl AsRef<[u8]>) -> Response {
        let mut client = self.server.client().await;
        client.send(text).await;
        client.response().await
    }

    /// Sends each; all must be refused, and none may reach the resource.
    async fn refused(&self, requests: impl IntoIterator<Item = String>) {
        for text in requests {
            let answer = self.raw(&text).await;
            let line = text.lines().next().unwrap_or_default();
            assert!(matches!(answer.status, 400..=501), "{line}: {answer:?}");
            assert_ne!(answer.code(), "", "{line}");
            assert_eq!(
                self.origin.requests().len(),
                0,
                "{line} reached the resource"
            );
        }
    }

    async fn ask_ai(&self, lines: &str, path: &str, body: &str) -> Response {
        let mut client = Raw::connect(self.server.ai).await;
        let length = body.len();
        client
            .send(format!(
                "POST {path} HTTP/1.1\r\n{lines}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
            ))
            .await;
        client.response().await
    }
}

fn with(mut request: Request, name: &str, value: &str) -> Request {
    request.headers.push((name.to_owned(), value.to_owned()));
    request
}

/// A head with a line that was not signed.
fn unsigned(request: &Request, line: &str) -> String {
    request
        .head()
        .replacen("\r\n\r\n", &format!("\r\n{line}\r\n\r\n"), 1)
}

fn query(mut request: Request, pairs: &[(&str, &str)]) -> Request {
    let pairs = pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    request.query.extend(pairs);
    request
}
