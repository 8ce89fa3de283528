//! SigV4 for S3 requests, written apart from the crate's own so that the two check each other.

use std::fmt::Write;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::origin::Received;

pub(crate) const REGION: &str = "us-east-1";
pub(crate) const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// A request to be signed; the fields are what a test bends.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    /// Path as sent: percent-encoded, with the bucket.
    pub(crate) path: String,
    /// Name and value, percent-encoded as sent.
    pub(crate) query: Vec<(String, String)>,
    pub(crate) host: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) payload: String,
    pub(crate) key: String,
    pub(crate) secret: String,
}

impl Request {
    /// The whole head as bytes on the wire, without the empty line's successor.
    pub(crate) fn head(&self) -> String {
        self.head_at(&jiff_now())
    }

    /// The head as a client sends it whose clock shows `time`.
    pub(crate) fn head_at(&self, time: &str) -> String {
        let mut text = format!("{} {} HTTP/1.1\r\n", self.method, self.target());
        for (name, value) in self.signed_headers_at(time) {
            let _written = write!(text, "{name}: {value}\r\n");
        }
        text + "\r\n"
    }

    pub(crate) fn target(&self) -> String {
        let pairs: Vec<String> = self
            .query
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        if pairs.is_empty() {
            self.path.clone()
        } else {
            format!("{}?{}", self.path, pairs.join("&"))
        }
    }

    pub(crate) fn signed_headers(&self) -> Vec<(String, String)> {
        self.signed_headers_at(&jiff_now())
    }

    fn signed_headers_at(&self, time: &str) -> Vec<(String, String)> {
        let mut headers = self.headers.clone();
        headers.push(("host".to_owned(), self.host.clone()));
        headers.push(("x-amz-date".to_owned(), time.to_owned()));
        headers.push(("x-amz-content-sha256".to_owned(), self.payload.clone()));
        let authorization = self.authorization(&headers, time);
        headers.push(("authorization".to_owned(), authorization));
        headers
    }

    fn authorization(&self, headers: &[(String, String)], time: &str) -> String {
        // Framing is left out of the signature, as SDKs do.
        let mut signed: Vec<(String, &str)> = headers
            .iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value.as_str()))
            .filter(|(name, _)| {
                !matches!(
                    name.as_str(),
                    "content-length" | "expect" | "transfer-encoding" | "connection"
                )
            })
            .collect();
        signed.sort();
        let names: Vec<&str> = signed.iter().map(|(name, _)| name.as_str()).collect();
        let names = names.join(";");
        let mut query = self.query.clone();
        query.sort();
        let query: Vec<String> = query
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let mut canonical = format!(
            "{}\n{}\n{}\n",
            self.method,
            encoded(&self.path),
            query.join("&")
        );
        for (name, value) in &signed {
            let _written = writeln!(canonical, "{name}:{}", value.trim());
        }
        let _written = write!(canonical, "\n{names}\n{}", self.payload);
        let date = &time[..8];
        let scope = format!("{date}/{REGION}/s3/aws4_request");
        let to_sign = format!(
            "AWS4-HMAC-SHA256\n{time}\n{scope}\n{}",
            hex(&Sha256::digest(&canonical))
        );
        let signature = signature(&self.secret, date, &to_sign);
        format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
            self.key
        )
    }
}

/// The signature over a text, on one day.
pub(crate) fn signature(secret: &str, date: &str, text: &str) -> String {
    let mut key = format!("AWS4{secret}").into_bytes();
    for part in [date, REGION, "s3", "aws4_request"] {
        key = mac(&key, part);
    }
    hex(&mac(&key, text))
}

/// The path as it is signed: every byte but the unreserved ones and `/` escaped, in capitals, once.
fn encoded(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let escape: String = rest.by_ref().take(2).map(char::from).collect();
            let _written = write!(text, "%{}", escape.to_ascii_uppercase());
        } else if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _written = write!(text, "%{byte:02X}");
        }
    }
    text
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _written = write!(text, "{byte:02x}");
        text
    })
}

/// The time that it is, as signatures write it.
pub(crate) fn jiff_now() -> String {
    clock(0)
}

/// The time by a clock that is so many seconds fast.
#[expect(
    clippy::disallowed_methods,
    reason = "a client signs with the time that it is"
)]
pub(crate) fn clock(fast: i64) -> String {
    let now = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(fast);
    now.strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// Whether a request as an origin received it is signed by `secret`, at the time that it says.
pub(crate) fn is_signed(received: &Received, secret: &str) -> bool {
    let header = |name: &str| received.header(name).unwrap_or_default().to_owned();
    let authorization = header("authorization");
    let part = |from: &str| {
        let rest = authorization.split_once(from).unwrap_or_default().1;
        rest.split(',').next().unwrap_or_default().to_owned()
    };
    let (names, stated) = (part("SignedHeaders="), part("Signature="));
    let headers: Vec<(String, String)> = names
        .split(';')
        .map(|name| (name.to_owned(), header(name)))
        .collect();
    let (path, query) = received
        .target
        .split_once('?')
        .unwrap_or((&received.target, ""));
    let mut canonical = format!("{}\n{path}\n{query}\n", received.method);
    for (name, value) in &headers {
        let _written = writeln!(canonical, "{name}:{value}");
    }
    let _written = write!(canonical, "\n{names}\n{}", header("x-amz-content-sha256"));
    let time = header("x-amz-date");
    let scope = part("Credential=");
    let scope = scope.split_once('/').unwrap_or_default().1;
    let date = scope.split('/').next().unwrap_or_default();
    let hash = hex(&Sha256::digest(&canonical));
    let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{hash}");
    time.starts_with(date) && !date.is_empty() && signature(secret, date, &to_sign) == stated
}
