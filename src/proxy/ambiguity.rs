//! Heads that parse, and yet mean different things to different readers: refused, whatever the front.

use http::{HeaderMap, Method, Version, header};
use pingora::protocols::http::ServerSession;

use crate::config::snapshot::GlobalLimits;
use crate::error::{Error, Kind, Result};
use crate::proxy::intake::{self, HEADERS_MAX, TARGET_BYTES_MAX};

/// Reads `http://host/path` as `/path`: a server has to take it (RFC 9112, section 3.2.2). Where it names another
/// host than `Host` does, nobody can say which one was meant.
pub(super) fn to_origin_form(session: &mut ServerSession) -> Result<()> {
    let head = session.req_header_mut();
    let target = head.raw_path();
    if target
        .first()
        .is_none_or(|first| matches!(first, b'/' | b'*'))
        || head.method == Method::CONNECT
    {
        return Ok(());
    }
    let other = || {
        let message = "The request's target is not on the host that it names.";
        Error::new(Kind::InvalidRequest, message)
    };
    let rest = without_scheme(target).ok_or_else(other)?;
    let path = rest.iter().position(|byte| matches!(byte, b'/' | b'?'));
    let (authority, path) = rest.split_at(path.unwrap_or(rest.len()));
    let host = head.headers.get(header::HOST);
    if !host.is_some_and(|host| host.as_bytes().eq_ignore_ascii_case(authority)) {
        return Err(other());
    }
    let slash: &[u8] = if path.starts_with(b"/") { b"" } else { b"/" };
    let path = [slash, path].concat();
    head.set_raw_path(&path)
        .map_err(|error| other().with_detail(error))
}

fn without_scheme(target: &[u8]) -> Option<&[u8]> {
    [&b"http://"[..], b"https://"]
        .into_iter()
        .find_map(|scheme| {
            let (start, rest) = target.split_at_checked(scheme.len())?;
            start.eq_ignore_ascii_case(scheme).then_some(rest)
        })
}

/// Refuses heads that are too large or ambiguous, whatever the front.
pub(super) fn check_head(session: &ServerSession, limits: &GlobalLimits) -> Result<()> {
    let head = session.req_header();
    if head.raw_path().len() > TARGET_BYTES_MAX {
        return Err(Error::new(
            Kind::UriTooLong,
            "The request's target is too long.",
        ));
    }
    let size: usize = head
        .headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    if head.headers.len() > HEADERS_MAX {
        return Err(intake::too_many());
    }
    if size > limits.header_bytes {
        return Err(Error::new(
            Kind::HeadersTooLarge,
            "The request's headers are too large.",
        ));
    }
    if head.method == Method::CONNECT {
        return Err(Error::new(Kind::MethodNotAllowed, "CONNECT is not served."));
    }
    if !session.is_http2() {
        check_host(&head.headers, head.version)?;
        check_framing(session, &head.headers)?;
    }
    Ok(())
}

fn check_host(headers: &HeaderMap, version: Version) -> Result<()> {
    let bad = || {
        Error::new(
            Kind::InvalidRequest,
            "The Host header is missing or not valid.",
        )
    };
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => {
            if is_host(host.as_bytes()) {
                Ok(())
            } else {
                Err(bad())
            }
        }
        (None, _) if version == Version::HTTP_10 => Ok(()),
        _ => Err(bad()),
    }
}

/// A name or an address, an IPv6 one in brackets, with or without a port.
fn is_host(host: &[u8]) -> bool {
    let (name, port) = match host.strip_prefix(b"[") {
        Some(rest) => {
            let Some(end) = rest.iter().position(|byte| *byte == b']') else {
                return false;
            };
            let (address, port) = rest.split_at(end);
            if !address
                .iter()
                .all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'))
            {
                return false;
            }
            (address, port.get(1..).unwrap_or_default())
        }
        None => host.split_at(
            host.iter()
                .position(|byte| *byte == b':')
                .unwrap_or(host.len()),
        ),
    };
    let named = host.first() == Some(&b'[')
        || name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
    let port = match port.split_first() {
        None => true,
        Some((b':', digits)) => std::str::from_utf8(digits).is_ok_and(|digits| {
            // RFC 3986, section 3.2.3: a port may be empty.
            digits.bytes().all(|byte| byte.is_ascii_digit())
                && (digits.is_empty() || digits.parse::<u16>().is_ok())
        }),
        Some(_) => false,
    };
    !name.is_empty() && named && port
}

/// Content-Length and Transfer-Encoding together are a smuggler's tool: Pingora lets the second win and closes
/// the connection; we refuse (RFC 9112, section 6.3).
fn check_framing(session: &ServerSession, headers: &HeaderMap) -> Result<()> {
    let mut encodings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let Some(encoding) = encodings.next() else {
        return Ok(());
    };
    if encodings.next().is_some() || !encoding.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return Err(Error::new(
            Kind::InvalidRequest,
            "Of transfer encodings, chunked alone is served.",
        ));
    }
    if has_length(&session.to_h1_raw()) {
        return Err(Error::new(
            Kind::InvalidRequest,
            "Content-Length and Transfer-Encoding cannot be used together.",
        ));
    }
    Ok(())
}

/// Whether a head, as it came, has a Content-Length: Pingora drops it where there is a Transfer-Encoding.
fn has_length(raw: &[u8]) -> bool {
    raw.split(|byte| *byte == b'\n')
        .any(|line| line.len() > 14 && line[..14].eq_ignore_ascii_case(b"content-length"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_well_formed_host_is_required() {
        let check = |values: &[&'static str], version| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::HOST, http::HeaderValue::from_static(value));
            }
            check_host(&headers, version).is_ok()
        };
        let v11 = Version::HTTP_11;
        assert!(check(&["a.b:80"], v11));
        assert!(check(&["[::1]:80"], v11));
        assert!(check(&["[::ffff:1.2.3.4]"], v11));
        assert!(check(&["my_host-1.a:"], v11));
        assert!(check(&[], Version::HTTP_10));
        for bad in [
            &[][..],
            &["a", "b"],
            &["a,b"],
            &["a/b"],
            &["a@b"],
            &["a?b"],
            &[""],
            &["a b"],
            &["a:b"],
            &["a:80:80"],
            &["a:65536"],
            &["a:+1"],
            &[":80"],
            &["::1"],
            &["[::1"],
            &["[::1]x"],
            &["[]"],
            &["[a/b]"],
        ] {
            assert!(!check(bad, v11), "{bad:?}");
        }
    }
}
