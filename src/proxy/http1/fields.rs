//! Header lines, and what those of a message say of its end and of its connection.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use httparse::Header;

use super::Broken;

/// Longest value of a `Content-Length` that is looked at: every `u64` fits.
const LENGTH_DIGITS_MAX: usize = 20;

/// The header lines of a head that was parsed from `raw`; their values share its memory.
pub fn headers(raw: &Bytes, parsed: &[Header<'_>]) -> Result<HeaderMap, Broken> {
    let mut headers = HeaderMap::with_capacity(parsed.len());
    for header in parsed {
        let name = HeaderName::from_bytes(header.name.as_bytes())
            .map_err(|_| Broken::Invalid("a header's name is not valid"))?;
        headers.append(name, value(raw.slice_ref(header.value))?);
    }
    Ok(headers)
}

/// A value as it came, or unfolded: line breaks become spaces (RFC 9112, section 5.2).
fn value(raw: Bytes) -> Result<HeaderValue, Broken> {
    let is_folded = memchr::memchr2(b'\r', b'\n', &raw).is_some();
    let raw = if is_folded {
        let spaced = raw.iter().map(|byte| match byte {
            b'\r' | b'\n' => b' ',
            byte => *byte,
        });
        spaced.collect()
    } else {
        raw
    };
    HeaderValue::from_maybe_shared(raw)
        .map_err(|_| Broken::Invalid("a header's value is not valid"))
}

/// The one length that all `Content-Length` say.
pub fn content_length(headers: &HeaderMap) -> Result<Option<u64>, Broken> {
    const INVALID: Broken = Broken::Invalid("the content length is not valid");
    let mut found = None;
    let values = headers.get_all(header::CONTENT_LENGTH);
    for value in values
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
    {
        let digits = value.trim_ascii();
        let is_number = !digits.is_empty()
            && digits.len() <= LENGTH_DIGITS_MAX
            && digits.iter().all(u8::is_ascii_digit);
        let number = std::str::from_utf8(digits)
            .ok()
            .filter(|_| is_number)
            .and_then(|digits| digits.parse::<u64>().ok())
            .ok_or(INVALID)?;
        if found.replace(number).is_some_and(|before| before != number) {
            return Err(INVALID);
        }
    }
    Ok(found)
}

/// Whether `Transfer-Encoding` is there, and says `chunked` and nothing else.
pub fn is_chunked(headers: &HeaderMap) -> Result<bool, Broken> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(false),
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(true),
        _ => Err(Broken::Invalid("a transfer encoding that is not served")),
    }
}

/// Whether whoever sent this keeps the connection: 1.1 does unless it says otherwise, 1.0 does if it says so.
pub fn keeps(is_http11: bool, headers: &HeaderMap) -> bool {
    let says = |wanted: &[u8]| {
        let values = headers.get_all(header::CONNECTION);
        values
            .iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .any(|option| option.trim_ascii().eq_ignore_ascii_case(wanted))
    };
    if is_http11 {
        return !says(b"close");
    }
    says(b"keep-alive") && !says(b"close")
}
