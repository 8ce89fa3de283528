//! Hides secrets in source lines that are about to be shown.
//!
//! Works on text alone, because it must also work on files that do not parse. The rule is an allow-list: the value
//! after `name =` is shown only if every table that has a field `name` holds no secret in it.

use std::ops::Range;

use super::model::{self, Field, Section};

/// A source line that may be shown, with the columns of what it is about.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Masked {
    pub line: String,
    pub carets: Range<usize>,
}

/// Characters shown of a line: stops a minified file from filling the terminal.
const LINE_MAX: usize = 200;

const HIDDEN: &str = "\"***\"";

/// Masks the line at `line` of `text`; `span` is what to underline (bytes of `text`, within the line).
pub(super) fn line(text: &str, line: Range<usize>, span: Range<usize>) -> Masked {
    let mut out = String::new();
    let mut carets = 0..0;
    let mut shown = value_before_is_shown(text, line.start);
    let mut rest = line.clone();
    while !rest.is_empty() {
        let piece = next_piece(text, rest.clone(), &mut shown);
        let from = out.chars().count();
        if piece.show {
            out.push_str(&text[piece.range.clone()]);
        } else {
            out.push_str(HIDDEN);
        }
        let width = out.chars().count() - from;
        let column = |at: usize| {
            if piece.show {
                from + text[piece.range.start..at].chars().count()
            } else if at == piece.range.start {
                from
            } else {
                from + width
            }
        };
        if piece.range.contains(&span.start) {
            carets.start = if piece.show { column(span.start) } else { from };
            carets.end = from + width;
        }
        if piece.range.contains(&span.end) || piece.range.end == span.end {
            carets.end = column(span.end).max(carets.start);
        }
        rest.start = piece.range.end;
    }
    if span.start >= line.end {
        carets = out.chars().count()..out.chars().count() + 1;
    }
    cut(Masked { line: out, carets })
}

/// Keeps the start of an overlong line.
fn cut(masked: Masked) -> Masked {
    if masked.line.chars().count() <= LINE_MAX {
        return masked;
    }
    let line = masked.line.chars().take(LINE_MAX).collect::<String>() + "...";
    let end = masked.carets.end.min(LINE_MAX);
    Masked {
        line,
        carets: masked.carets.start.min(end)..end,
    }
}

struct Piece {
    range: Range<usize>,
    show: bool,
}

/// The next stretch of a line that is shown or hidden as one. `shown` is whether values are, at this point.
fn next_piece(text: &str, rest: Range<usize>, shown: &mut bool) -> Piece {
    let piece = &text[rest.clone()];
    if let Some(name) = assigned_name(piece) {
        // A password in a URL is a secret whatever the field.
        *shown = is_public(name.trimmed) && !(piece.contains("://") && piece.contains('@'));
        return Piece {
            range: rest.start..rest.start + name.len,
            show: true,
        };
    }
    if *shown || piece.starts_with(['[', '#', ' ', '\t', ',', ']', '{', '}', '=', '\r']) {
        let first = piece.chars().next().map_or(0, char::len_utf8);
        let comment = piece.starts_with('#') && *shown;
        let len = if comment { piece.len() } else { first };
        return Piece {
            range: rest.start..rest.start + len,
            show: !piece.starts_with('#') || comment,
        };
    }
    Piece {
        range: rest.start..rest.start + hidden_len(piece),
        show: false,
    }
}

/// Up to where a hidden value reaches: its closing quote if that is followed by the next entry, else the line.
fn hidden_len(piece: &str) -> usize {
    let Some(quote) = piece.chars().next().filter(|c| matches!(c, '"' | '\'')) else {
        return piece.len();
    };
    let body = &piece[1..];
    match body.find(quote) {
        Some(at)
            if body[at + 1..]
                .trim_start()
                .chars()
                .next()
                .is_none_or(|c| matches!(c, ',' | '}' | ']')) =>
        {
            at + 2
        }
        Some(_) | None => piece.len(),
    }
}

struct Assigned<'a> {
    trimmed: &'a str,
    /// Up to and with the `=`.
    len: usize,
}

/// A bare or quoted `name =` at the start of `piece`.
fn assigned_name(piece: &str) -> Option<Assigned<'_>> {
    let end = piece.find(|c: char| !(c.is_ascii_alphanumeric() || "_-.\"".contains(c)))?;
    let after = &piece[end..];
    let trimmed = after.trim_start_matches([' ', '\t']);
    if end == 0 || !trimmed.starts_with('=') {
        return None;
    }
    let name = &piece[..end];
    let last = name.rsplit('.').next().unwrap_or(name);
    Some(Assigned {
        trimmed: last.trim_matches('"'),
        len: end + after.len() - trimmed.len() + 1,
    })
}

/// Whether a line without a name of its own continues a value that may be shown.
fn value_before_is_shown(text: &str, line_start: usize) -> bool {
    let current = &text[line_start..];
    if current.trim_start().starts_with('[') && !current.trim_start().starts_with("[ ") {
        return true;
    }
    for line in text[..line_start].lines().rev() {
        if line.starts_with('[') {
            return true;
        }
        // The last name of the line is the one whose value goes on.
        let names = line
            .char_indices()
            .filter(|(at, _)| *at == 0 || !is_name_char(line.as_bytes()[at - 1]))
            .filter_map(|(at, _)| assigned_name(&line[at..]));
        if let Some(name) = names.reduce(|_, last| last) {
            return is_public(name.trimmed);
        }
    }
    true
}

fn is_name_char(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-.\"".contains(&byte)
}

/// Whether a field of this name is known and holds no secret in any table.
pub(super) fn is_public(name: &str) -> bool {
    let mut known = false;
    for field in all_fields().filter(|field| field.name.trim_start_matches("r#") == name) {
        if field.secret || SECRET_REFERENCES.contains(&field.name) {
            return false;
        }
        known = true;
    }
    known || SECTION_NAMES.contains(&name)
}

/// Required fields that hold a secret, and fields that invite one by mistake.
const SECRET_REFERENCES: &[&str] = &[
    "source",
    "token",
    "token_sha256",
    "secret_sha256",
    "public_key",
];

/// Names that are assigned to but are no field of a [`Section`].
const SECTION_NAMES: &[&str] = &["version", "folder"];

fn all_fields() -> impl Iterator<Item = &'static Field> {
    [
        model::Process::FIELDS,
        model::Listen::FIELDS,
        model::BaseDomains::FIELDS,
        model::Tls::FIELDS,
        model::Cert::FIELDS,
        model::Cors::FIELDS,
        model::Admin::FIELDS,
        model::AdminToken::FIELDS,
        model::Secrets::FIELDS,
        model::Master::FIELDS,
        model::Limits::FIELDS,
        model::Metrics::FIELDS,
        model::Log::FIELDS,
        model::S3::FIELDS,
        model::Timeouts::FIELDS,
        model::Gcs::FIELDS,
        model::Azure::FIELDS,
        model::Ai::FIELDS,
        model::ModelAlias::FIELDS,
        model::Repository::FIELDS,
        model::BucketEntry::FIELDS,
        model::RepositoryLimits::FIELDS,
        model::Key::FIELDS,
    ]
    .into_iter()
    .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Masks the line that contains `<<`, which also marks what to underline, up to `>>`.
    fn check(marked: &str, expected: &str) {
        let start = marked.find("<<").unwrap();
        let end = marked.find(">>").unwrap() - 2;
        let text = marked.replace("<<", "").replace(">>", "");
        let from = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let to = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let masked = line(&text, from..to, start..end);
        let carets = format!(
            "{}{}",
            " ".repeat(masked.carets.start),
            "^".repeat(masked.carets.len())
        );
        assert_eq!(format!("{}\n{carets}", masked.line), expected, "{marked}");
    }

    #[test]
    fn known_fields_are_shown_and_everything_else_is_hidden() {
        let cases = [
            (
                "name = <<\"assets\">>",
                "name = \"assets\"\n       ^^^^^^^^",
            ),
            (
                "secret_access_key = <<\"CANARY\">>",
                "secret_access_key = \"***\"\n                    ^^^^^",
            ),
            (
                "<<secret_acess_key>> = \"CANARY\"",
                "secret_acess_key = \"***\"\n^^^^^^^^^^^^^^^^",
            ),
            (
                "certs = [{ cert = \"a\", key = <<\"CANARY\">> }]",
                "certs = [{ cert = \"a\", key = \"***\" }]\n                             ^^^^^",
            ),
            (
                "secret = \"CANARY<<\">> CANARY\"",
                "secret = \"***\"\n         ^^^^^",
            ),
            (
                "secret = \"\"\"\nCANARY <<is>> long\n\"\"\"",
                "\"***\"\n^^^^^",
            ),
            ("models = [\n  <<5>>,\n]", "  5,\n  ^"),
            ("[[s3]]\n<<name>> \"x\"", "name \"x\"\n^^^^"),
        ];
        for (marked, expected) in cases {
            check(marked, expected);
        }
    }

    #[test]
    fn a_canary_in_any_secret_place_never_shows() {
        let texts = [
            "api_key = 'CANARY' # CANARY",
            "api_key = \"CANARY\" CANARY",
            "api_key=CANARY",
            "\"api_key\" = \"CANARY\"",
            "x.api_key = \"CANARY\"",
            "token = \"CANARY\", name = \"CANARY\"",
            "secret = \"\"\"CANARY\nCANARY\nCANARY\"\"\"",
        ];
        for text in texts {
            for at in 0..text.len() {
                let from = text[..at].rfind('\n').map_or(0, |at| at + 1);
                let to = text[at..].find('\n').map_or(text.len(), |end| at + end);
                let masked = line(text, from..to, at..to.min(at + 3).max(at));
                let shown = masked.line.replace("name = \"CANARY\"", "");
                assert!(!shown.contains("CANARY"), "{text} at {at}: {shown}");
            }
        }
    }
}
