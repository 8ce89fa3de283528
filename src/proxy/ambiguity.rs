//! Heads that parse, and yet mean different things to different readers: refused, whatever the front.

use http::{HeaderMap, Method, Version, header};

use crate::error::{Error, Kind, Result};
use crate::proxy::client::{Client, Head};
use crate::proxy::intake::{self, HEADERS_MAX, TARGET_BYTES_MAX};

/// Refuses heads that are too large or ambiguous, whatever the front; makes the target a path.
pub(super) fn check_head(client: &mut Client, header_bytes_max: usize) -> Result<()> {
    let is_http2 = client.is_http2();
    let head = client.head_mut();
    if head.method == Method::CONNECT {
        return Err(Error::new(Kind::MethodNotAllowed, "CONNECT is not served."));
    }
    if is_http2 {
        // Of HTTP/1.1, `intake` has looked at that.
        return check_size(head, header_bytes_max);
    }
    to_origin_form(head)?;
    check_host(&head.headers, head.version)
}

/// Reads `http://host/path` as `/path`: a server has to take it (RFC 9112, section 3.2.2). Where it names another
/// host than `Host` does, nobody can say which one was meant.
fn to_origin_form(head: &mut Head) -> Result<()> {
    let target = &head.target;
    if matches!(target.first(), None | Some(b'/' | b'*')) {
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
    head.target = if path.starts_with(b"/") {
        target.slice_ref(path)
    } else {
        [b"/", path].concat().into()
    };
    Ok(())
}

fn check_size(head: &Head, header_bytes_max: usize) -> Result<()> {
    if head.target.len() > TARGET_BYTES_MAX {
        return Err(intake::too_long());
    }
    let size: usize = head
        .headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    if head.headers.len() > HEADERS_MAX {
        return Err(intake::too_many());
    }
    if size > header_bytes_max {
        return Err(intake::too_large());
    }
    Ok(())
}

fn without_scheme(target: &[u8]) -> Option<&[u8]> {
    [&b"http://"[..], b"https://"]
        .into_iter()
        .find_map(|scheme| {
            let (start, rest) = target.split_at_checked(scheme.len())?;
            start.eq_ignore_ascii_case(scheme).then_some(rest)
        })
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
