//! The upstream of everything under `load/`: `origin LISTEN`. Answers what an S3 store and an `OpenAI` server
//! would, as cheaply as it can, and checks no credential. What is asked in the words of Google Cloud Storage or Azure
//! Blob Storage is answered in them (`clouds.rs`).
//!
//! - `GET /bucket/.../64KiB` gives as many bytes as the last path segment says; `HEAD` says how many.
//!   `GET /` lists the buckets, `GET /bucket?list-type=2` the sizes that the comparison asks for, or 1,000 keys where
//!   as many are asked for without a delimiter.
//! - `PUT` reads the whole body before it answers, with the `ETag` that as many bytes of filler have.
//! - Any other `POST` gives the answer of a model, whole or as a stream (`models.rs`).
//! - Faults are asked for by path: `.../503/1KiB` answers with that status, `.../cut/1MiB` breaks off halfway.

mod clouds;
mod models;

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use md5::{Digest, Md5};
use parking_lot::Mutex;

/// What one read takes; a request head must fit.
const BUFFER_BYTES: usize = 256 * 1024;

/// What is held of the body of a POST, to look for words in it.
const KEPT_MAX: usize = 4 * 1024 * 1024;

/// What bodies are made of.
static FILLER: [u8; BUFFER_BYTES] = [b'x'; BUFFER_BYTES];

const HEADERS: &str = "Date: Thu, 01 Jan 2026 00:00:00 GMT\r\n\
     Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\nx-amz-request-id: 0123456789ABCDEF\r\nServer: origin\r\n";

/// Of every object.
const ETAG: &str = "ETag: \"0123456789abcdef0123456789abcdef\"\r\nAccept-Ranges: bytes\r\n";

const BUCKETS: &str = concat!(
    r#"<?xml version="1.0" encoding="UTF-8"?>"#,
    r#"<ListAllMyBucketsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Owner><ID>1</ID></Owner>"#,
    "<Buckets><Bucket><Name>bench</Name><CreationDate>2026-01-01T00:00:00.000Z</CreationDate></Bucket>",
    "<Bucket><Name>bench-gcs</Name><CreationDate>2026-01-01T00:00:00.000Z</CreationDate></Bucket></Buckets>",
    "</ListAllMyBucketsResult>"
);

/// Serves as the answer to the beginning of a multipart upload and to its end.
const MULTIPART: &str = concat!(
    r#"<?xml version="1.0" encoding="UTF-8"?><InitiateMultipartUploadResult>"#,
    "<Bucket>bench</Bucket><Key>put</Key><UploadId>1</UploadId></InitiateMultipartUploadResult>"
);

const LISTING: &str = concat!(
    r#"<?xml version="1.0" encoding="UTF-8"?>"#,
    r#"<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bench</Name><Prefix></Prefix>"#,
    "<MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>"
);

fn main() -> Result<(), Box<dyn Error>> {
    let listen = std::env::args().nth(1).ok_or("usage: origin LISTEN")?;
    for socket in TcpListener::bind(listen)?.incoming() {
        let socket = socket?;
        thread::spawn(move || {
            if let Err(error) = serve(socket) {
                report(&error);
            }
        });
    }
    Ok(())
}

fn report(error: &io::Error) {
    // The client's way to end a connection, or of a proxy that is stopped.
    let usual = [
        ErrorKind::ConnectionReset,
        ErrorKind::BrokenPipe,
        ErrorKind::UnexpectedEof,
    ];
    if !usual.contains(&error.kind()) {
        // Nobody reads the answer of a write to a closed terminal.
        let _ = writeln!(io::stderr(), "origin: {error}");
    }
}

fn serve(mut socket: TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut held = 0;
    loop {
        let head_end = loop {
            if let Some(at) = find(&buffer[..held], b"\r\n\r\n") {
                break at + 4;
            }
            let read = socket.read(&mut buffer[held..])?;
            if read == 0 {
                return Ok(());
            }
            held += read;
        };
        let head = String::from_utf8_lossy(&buffer[..head_end]).into_owned();
        let mut left = content_length(&head)?;
        let here = left.min(held - head_end);
        let mut kept = Vec::new();
        if head.starts_with("POST ") {
            kept.extend_from_slice(&buffer[head_end..head_end + here]);
        }
        left -= here;
        buffer.copy_within(head_end + here..held, 0);
        held -= head_end + here;
        while left > 0 {
            let wanted = left.min(BUFFER_BYTES);
            let read = socket.read(&mut buffer[..wanted])?;
            if read == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            if head.starts_with("POST ") && kept.len() + read <= KEPT_MAX {
                kept.extend_from_slice(&buffer[..read]);
            }
            left -= read;
        }
        answer(&mut socket, &head, &kept)?;
    }
}

fn answer(socket: &mut TcpStream, head: &str, body: &[u8]) -> io::Result<()> {
    let mut words = head.split(' ');
    let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    // Google's models are asked with the headers of its storage.
    if models::is_googles(target) {
        return models::answer(socket, target, body);
    }
    if let Some(cloud) = clouds::Cloud::of(head) {
        let answer = cloud.answer(method, target);
        if method == "PUT" && matches!(cloud, clouds::Cloud::Gcs) {
            return socket.write_all(stored(head)?.as_bytes());
        }
        let length = answer.object_bytes.unwrap_or(answer.document.len());
        let head = format!(
            "HTTP/1.1 {}\r\nContent-Length: {length}\r\n{HEADERS}{}\r\n",
            answer.status, answer.headers
        );
        return match answer.object_bytes {
            Some(_) if method == "HEAD" => socket.write_all(head.as_bytes()),
            Some(length) => bytes(socket, head.into_bytes(), length),
            None => socket.write_all(
                [head.as_bytes(), answer.document.as_bytes()]
                    .concat()
                    .as_slice(),
            ),
        };
    }
    match method {
        "GET" if target == "/" || target.starts_with("/?") => {
            head_of(socket, "200 OK", "application/xml", BUCKETS.len(), BUCKETS)
        }
        "GET" if target.contains("list-type=") || target.contains("delimiter=") => {
            let listing = if clouds::wants_thousand(target) {
                clouds::THOUSAND_OF_S3.as_str()
            } else {
                &listing()
            };
            head_of(socket, "200 OK", "application/xml", listing.len(), listing)
        }
        "GET" | "HEAD" if target.contains("/503/") => {
            let error = "<Error><Code>SlowDown</Code><Message>asked for</Message></Error>";
            let status = "503 Service Unavailable";
            head_of(socket, status, "application/xml", error.len(), error)
        }
        "GET" => object(socket, target),
        "HEAD" => head_of(socket, "200 OK", "binary/octet-stream", size(target), ""),
        "POST" if target.contains("?upload") => head_of(
            socket,
            "200 OK",
            "application/xml",
            MULTIPART.len(),
            MULTIPART,
        ),
        "POST" => models::answer(socket, target, body),
        "PUT" => socket.write_all(stored(head)?.as_bytes()),
        _ => head_of(socket, "200 OK", "application/xml", 0, ""),
    }
}

/// The answer to an upload. What was sent is not hashed again each time: it is taken for filler.
fn stored(head: &str) -> io::Result<String> {
    static KNOWN: Mutex<BTreeMap<usize, String>> = Mutex::new(BTreeMap::new());
    let length = content_length(head)?;
    let mut known = KNOWN.lock();
    let etag = known.entry(length).or_insert_with(|| {
        let mut digest = Md5::new();
        let mut left = length;
        while left > 0 {
            let piece = left.min(BUFFER_BYTES);
            digest.update(&FILLER[..piece]);
            left -= piece;
        }
        aqueduct::storage::object::ETag::of_md5(digest.finalize().into())
            .as_str()
            .to_owned()
    });
    Ok(format!(
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{HEADERS}ETag: \"{etag}\"\r\n\r\n"
    ))
}

/// A head with the text that follows it, in one write.
fn head_of(
    socket: &mut TcpStream,
    status: &str,
    kind: &str,
    length: usize,
    text: &str,
) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{HEADERS}{ETAG}\r\n{text}"
    );
    socket.write_all(head.as_bytes())
}

fn object(socket: &mut TcpStream, target: &str) -> io::Result<()> {
    let length = size(target);
    let message = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: binary/octet-stream\r\nContent-Length: {length}\r\n{HEADERS}{ETAG}\r\n"
    )
    .into_bytes();
    if target.contains("/cut/") {
        bytes(socket, message, length / 2)?;
        return Err(ErrorKind::BrokenPipe.into());
    }
    bytes(socket, message, length)
}

/// A head, and so many bytes behind it.
fn bytes(socket: &mut TcpStream, mut message: Vec<u8>, length: usize) -> io::Result<()> {
    let mut left = length;
    let first = left.min(BUFFER_BYTES);
    message.extend_from_slice(&FILLER[..first]);
    socket.write_all(&message)?;
    left -= first;
    while left > 0 {
        let piece = left.min(BUFFER_BYTES);
        socket.write_all(&FILLER[..piece])?;
        left -= piece;
    }
    Ok(())
}

fn listing() -> String {
    let objects = ["1KiB", "64KiB", "1MiB", "64MiB"].map(|name| {
        format!(
            "<Contents><Key>{name}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>\
             <ETag>&quot;0123456789abcdef0123456789abcdef&quot;</ETag><Size>{}</Size>\
             <StorageClass>STANDARD</StorageClass></Contents>",
            size(name)
        )
    });
    format!("{LISTING}{}</ListBucketResult>", objects.concat())
}

/// `64KiB` is 65536; what has no unit is 1 KiB.
fn size(target: &str) -> usize {
    let path = target.split('?').next().unwrap_or("");
    let name = path.rsplit('/').next().unwrap_or("");
    let unit = |suffix: &str, bytes: usize| {
        let count: usize = name.strip_suffix(suffix)?.parse().ok()?;
        count.checked_mul(bytes)
    };
    unit("KiB", 1 << 10)
        .or_else(|| unit("MiB", 1 << 20))
        .or_else(|| unit("GiB", 1 << 30))
        .unwrap_or(1024)
}

fn content_length(head: &str) -> io::Result<usize> {
    let mut length = 0;
    for line in head.lines().skip(1) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().map_err(io::Error::other)?;
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(io::Error::other("the origin reads no chunked bodies"));
        }
    }
    Ok(length)
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, wanted)
}
