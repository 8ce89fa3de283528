//! A client that sends bytes as they are and reads answers strictly.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::within;

/// One connection.
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
}

#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// The body ended as its framing says, not by the connection's end.
    pub(crate) complete: bool,
}

fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = headers
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.as_str())
}

impl Head {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The `<Code>` of an S3 error document; empty where there is none.
    pub(crate) fn code(&self) -> String {
        let text = self.text();
        let from = text
            .find("<Code>")
            .map_or(text.len(), |at| at + "<Code>".len());
        text[from..]
            .split('<')
            .next()
            .unwrap_or_default()
            .to_owned()
    }
}

impl Raw {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = within("a connection", TcpStream::connect(address))
            .await
            .unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    /// Sends all; a connection that the other side has closed is found out by reading.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _sent = self.try_send(bytes).await;
    }

    pub(crate) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        within(
            "the bytes to be taken",
            self.stream.write_all(bytes.as_ref()),
        )
        .await
    }

    async fn fill(&mut self) -> bool {
        let read = within("an answer", self.stream.read_buf(&mut self.buffer)).await;
        matches!(read, Ok(count) if count > 0)
    }

    /// The next head, interim ones included; `None` where the connection ended instead.
    pub(crate) async fn try_head(&mut self) -> Option<Head> {
        loop {
            if let Some(end) = self
                .buffer
                .windows(4)
                .position(|window| window == b"\r\n\r\n")
            {
                let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
                let head = String::from_utf8_lossy(&head).into_owned();
                let mut lines = head.split("\r\n");
                let status = lines
                    .next()
                    .and_then(|line| line.split(' ').nth(1)?.parse().ok());
                let fields = lines.filter_map(|line| line.split_once(':'));
                let headers =
                    fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
                return Some(Head {
                    status: status.unwrap(),
                    headers: headers.collect(),
                });
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    pub(crate) async fn head(&mut self) -> Head {
        self.try_head().await.expect("a response's head")
    }

    /// The next final response to a request that was no HEAD.
    pub(crate) async fn response(&mut self) -> Response {
        self.try_response().await.expect("a response")
    }

    pub(crate) async fn try_response(&mut self) -> Option<Response> {
        let head = loop {
            let head = self.try_head().await?;
            if head.status >= 200 {
                break head;
            }
        };
        let (body, complete) = self.body(&head).await;
        Some(Response {
            status: head.status,
            headers: head.headers,
            body,
            complete,
        })
    }

    /// A response's body and whether it ended as it should.
    pub(crate) async fn body(&mut self, head: &Head) -> (Vec<u8>, bool) {
        if matches!(head.status, 204 | 304) {
            return (Vec::new(), true);
        }
        if head.header("transfer-encoding").is_some() {
            return self.chunks().await;
        }
        let length: usize = head
            .header("content-length")
            .and_then(|text| text.parse().ok())
            .unwrap_or(usize::MAX);
        while self.buffer.len() < length && self.fill().await {}
        let length = length.min(self.buffer.len());
        let complete =
            header(&head.headers, "content-length").is_some_and(|text| text == length.to_string());
        (self.buffer.drain(..length).collect(), complete)
    }

    async fn chunks(&mut self) -> (Vec<u8>, bool) {
        let mut body = Vec::new();
        loop {
            let Some(line) = self.line().await else {
                return (body, false);
            };
            let Ok(size) = usize::from_str_radix(line.split(';').next().unwrap_or_default(), 16)
            else {
                return (body, false);
            };
            while self.buffer.len() < size + 2 {
                if !self.fill().await {
                    body.append(&mut self.buffer);
                    return (body, false);
                }
            }
            body.extend(self.buffer.drain(..size));
            self.buffer.drain(..2);
            if size == 0 {
                return (body, true);
            }
        }
    }

    /// Moves what arrives into `text` until the awaited words stand in it.
    pub(crate) async fn read_until(&mut self, text: &mut String, awaited: &str) {
        loop {
            *text += &String::from_utf8_lossy(&std::mem::take(&mut self.buffer));
            if text.contains(awaited) {
                return;
            }
            assert!(
                self.fill().await,
                "the end instead of {awaited:?} after {text:?}"
            );
        }
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|window| window == b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
                return Some(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    /// Whether the other side has closed, after whatever it may still send.
    pub(crate) async fn ends(&mut self) -> bool {
        while self.fill().await {
            self.buffer.clear();
        }
        true
    }
}
