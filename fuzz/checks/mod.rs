//! What holds for any bytes: the bodies of the fuzz targets and of the property tests in `tests/it/properties.rs`.
//!
//! Each check takes bytes, makes of them what its parser reads, and panics where a law is broken.

mod config;
mod model;
mod signature;
mod storage;

/// A check by its name, which is also its folder under `fuzz/corpus`.
pub(crate) type Check = (&'static str, fn(&[u8]));

pub(crate) const CHECKS: &[Check] = &[
    ("aws_chunked", storage::aws_chunked),
    ("config", config::config),
    ("copy_source", storage::copy_source),
    ("json", model::json),
    ("request_head", config::request_head),
    ("route", storage::route),
    ("sealed", config::sealed),
    ("sigv4_canonical", signature::canonical),
    ("sigv4_parse", signature::parse),
    ("sse", model::sse),
    ("xml", storage::xml),
];

/// Takes numbers and lines off the front of bytes.
struct Source<'a>(&'a [u8]);

impl<'a> Source<'a> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    /// Up to the next line feed.
    fn line(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|byte| *byte == b'\n');
        let (line, rest) = self.0.split_at(end.unwrap_or(self.0.len()));
        self.0 = rest.get(1..).unwrap_or_default();
        line
    }

    fn text(&mut self) -> String {
        String::from_utf8_lossy(self.line()).into_owned()
    }
}

/// The same bytes in pieces of at most `size`.
fn pieces(bytes: &[u8], size: u8) -> impl Iterator<Item = bytes::Bytes> {
    bytes
        .chunks(usize::from(size.max(1)))
        .map(bytes::Bytes::copy_from_slice)
}
