//! `aqueduct seal`: needs the master keys, and nothing else of the config to be right yet.

use std::path::Path;

use jiff::Timestamp;

use super::{Failed, Streams, entropy, say_secret, stdin_secret};
use crate::config::live;
use crate::keys::seal::Aad;

/// Characters of a resource's or field's name.
const NAME_CHARS_MAX: usize = 63;

pub(super) fn run(
    dir: &Path,
    owner: &str,
    now: fn() -> Timestamp,
    streams: &mut Streams<'_>,
) -> Result<(), Failed> {
    let aad = parse_owner(owner)?;
    let ring = live::masters(dir, now()).map_err(Failed::Config)?;
    let secret = stdin_secret(streams)?;
    let sealed = ring
        .seal(aad, &secret, entropy()?)
        .map_err(|error| Failed::because(error.to_string()))?;
    say_secret(streams, sealed.as_bytes())?;
    Ok(())
}

fn parse_owner(owner: &str) -> Result<Aad<'_>, Failed> {
    let wrong = "`--for` takes resource/NAME/FIELD, such as resource/assets/secret_access_key";
    let mut parts = owner.split('/');
    let (Some("resource"), Some(name), Some(field), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Failed::because(wrong));
    };
    let is_name = |text: &str| {
        (1..=NAME_CHARS_MAX).contains(&text.len())
            && text.bytes().all(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_')
            })
    };
    if !is_name(name) || !is_name(field) {
        return Err(Failed::because(wrong));
    }
    Ok(Aad::Resource { name, field })
}
