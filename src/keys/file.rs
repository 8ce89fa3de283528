//! The checksum that ends a file in `keys.d`: `# sha256:<64 hex>`, over every byte before it.
//!
//! Without it, a file cut short after `access = "ADMIN"` could parse as a key whose `allow_*` lists were never
//! there. To TOML the line is a comment. A person who edits such a file takes the line out or makes a new one
//! by letting Aqueduct write the file; it protects against accidents, not against people.

use super::hash;

const LINE_START: &str = "# sha256:";

/// The whole last line, with its newline.
const LINE_CHARS: usize = LINE_START.len() + 64 + 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChecksumError {
    #[error(
        "the checksum line at the end is missing: the file was cut short, or not written by Aqueduct"
    )]
    Missing,
    #[error("the checksum does not match: the file was damaged, or edited by hand")]
    Mismatch,
}

/// The body with its checksum line.
pub fn with_checksum(body: &str) -> String {
    let mut text = String::with_capacity(body.len() + 1 + LINE_CHARS);
    text.push_str(body);
    if !body.is_empty() && !body.ends_with('\n') {
        text.push('\n');
    }
    let digest = hash::sha256(text.as_bytes());
    text.push_str(LINE_START);
    text.push_str(&hash::hex(&digest));
    text.push('\n');
    text
}

/// The body of a file, if its last line is the checksum of it.
pub fn verify(text: &str) -> Result<&str, ChecksumError> {
    let line_at = text
        .len()
        .checked_sub(LINE_CHARS)
        .ok_or(ChecksumError::Missing)?;
    let (body, line) = text
        .split_at_checked(line_at)
        .ok_or(ChecksumError::Missing)?;
    if !body.is_empty() && !body.ends_with('\n') {
        return Err(ChecksumError::Missing);
    }
    let declared = line
        .strip_prefix(LINE_START)
        .and_then(|rest| rest.strip_suffix('\n'))
        .and_then(hash::unhex)
        .ok_or(ChecksumError::Missing)?;
    if declared != hash::sha256(body.as_bytes()) {
        return Err(ChecksumError::Mismatch);
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = "[[key]]\nname = \"CI\"\naccess = \"ADMIN\"\nallow_buckets = [\"a\"]\n";

    #[test]
    fn a_file_with_its_checksum_verifies_to_its_body() {
        for body in [BODY, "", "\n", "x = \"\u{e9}\"\n"] {
            assert_eq!(verify(&with_checksum(body)), Ok(body));
        }
        assert_eq!(verify(&with_checksum("a = 1")), Ok("a = 1\n"));
    }

    #[test]
    fn every_cut_and_every_changed_byte_is_found() {
        let text = with_checksum(BODY);
        for end in 0..text.len() {
            assert!(verify(&text[..end]).is_err(), "cut at {end}");
        }
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let changed = String::from_utf8(bytes).unwrap();
            assert!(verify(&changed).is_err(), "changed at {at}");
        }
    }

    #[test]
    fn what_follows_the_checksum_is_not_covered_and_so_refused() {
        let text = with_checksum(BODY);
        assert_eq!(
            verify(&format!("{text}disabled = false\n")),
            Err(ChecksumError::Missing)
        );
        assert_eq!(verify(BODY), Err(ChecksumError::Missing));
        assert_eq!(
            verify(&text.replace("ADMIN", "WRITE")),
            Err(ChecksumError::Mismatch)
        );
    }

    #[test]
    fn the_last_line_is_a_comment_to_toml() {
        assert!(
            with_checksum(BODY)
                .parse::<toml_edit::DocumentMut>()
                .is_ok()
        );
    }
}
