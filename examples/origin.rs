//! The upstream of load/compare: `origin LISTEN`. Answers what an S3 store and an `OpenAI` server would, as
//! cheaply as it can: GET gives as many bytes as its last path segment says (`1KiB`, `1MiB`), PUT reads the
//! whole body before it answers, POST gives one chat completion. It checks no credential.

use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

/// What one read takes; a request head must fit.
const BUFFER_BYTES: usize = 256 * 1024;

const ANSWER: &str = concat!(
    r#"{"id":"chatcmpl-origin","object":"chat.completion","created":1767225600,"model":"bench","#,
    r#""choices":[{"index":0,"message":{"role":"assistant","content":"Water flows where the channel "#,
    r#"leads, and stays clean where the channel is kept."},"logprobs":null,"finish_reason":"stop"}],"#,
    r#""usage":{"prompt_tokens":180,"completion_tokens":16,"total_tokens":196}}"#,
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
        left -= here;
        buffer.copy_within(head_end + here..held, 0);
        held -= head_end + here;
        while left > 0 {
            let wanted = left.min(BUFFER_BYTES);
            let read = socket.read(&mut buffer[..wanted])?;
            if read == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            left -= read;
        }
        answer(&mut socket, &head)?;
    }
}

fn answer(socket: &mut TcpStream, head: &str) -> io::Result<()> {
    let mut words = head.split(' ');
    let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let (kind, body): (&str, Vec<u8>) = match method {
        "GET" => ("application/octet-stream", vec![b'x'; size(target)]),
        "POST" => ("application/json", ANSWER.into()),
        _ => ("application/xml", Vec::new()),
    };
    let mut message = format!(
        "HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Type: {kind}\r\n\
         Content-Length: {}\r\nETag: \"0123456789abcdef0123456789abcdef\"\r\n\
         Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\nAccept-Ranges: bytes\r\n\
         x-amz-request-id: 0123456789ABCDEF\r\nServer: origin\r\n\r\n",
        body.len()
    )
    .into_bytes();
    message.extend_from_slice(&body);
    socket.write_all(&message)
}

fn size(target: &str) -> usize {
    match target.rsplit('/').next() {
        Some("1MiB") => 1024 * 1024,
        Some("64KiB") => 64 * 1024,
        _ => 1024,
    }
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
