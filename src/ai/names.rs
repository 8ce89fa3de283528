//! Ids and names that a provider would refuse, in a form that it takes.
//!
//! The form is made of the name alone: whoever sees the same name makes the same of it, so a result finds its
//! call without any memory. Names of tools come back in answers, and [`Names`] knows whose they are.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use crate::ai::chat::ChatRequest;

/// What a provider takes.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    pub bytes_max: usize,
    /// Besides letters, digits, `_` and `-`.
    pub also: &'static [u8],
    /// The first must be a letter or `_`.
    pub starts_as_word: bool,
}

/// Digits that tell two names apart whose good letters are the same.
const DIGEST_BYTES: usize = 6;

/// `name` as it is, or what stands for it.
pub fn fit(name: &str, rule: Rule) -> Cow<'_, str> {
    let is_good = |byte: u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-') || rule.also.contains(&byte)
    };
    let starts = |byte: u8| !rule.starts_as_word || byte.is_ascii_alphabetic() || byte == b'_';
    let first = name.bytes().next();
    if name.len() <= rule.bytes_max && first.is_some_and(starts) && name.bytes().all(is_good) {
        return Cow::Borrowed(name);
    }
    let digest = digest(name, DIGEST_BYTES);
    let room = rule.bytes_max.saturating_sub(digest.len() + 2);
    let good = name.bytes().filter(|byte| is_good(*byte)).map(char::from);
    let good: String = good.take(room).collect();
    Cow::Owned(format!("_{good}_{digest}"))
}

/// The first bytes of a text's SHA-256, in hexadecimal.
pub fn digest(text: &str, bytes: usize) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest
        .iter()
        .take(bytes)
        .fold(String::new(), |mut hex, byte| {
            for nibble in [byte >> 4, byte & 15] {
                hex.extend(char::from_digit(nibble.into(), 16));
            }
            hex
        })
}

/// The tools whose names were changed: as sent, and as the client knows them.
#[derive(Clone, Debug, Default)]
pub struct Names(Vec<(String, String)>);

impl Names {
    pub fn new(chat: &ChatRequest<'_>, rule: Rule) -> Self {
        let changed = chat
            .tools
            .iter()
            .filter_map(|tool| match fit(&tool.name, rule) {
                Cow::Owned(sent) => Some((sent, tool.name.to_string())),
                Cow::Borrowed(_) => None,
            });
        Self(changed.collect())
    }

    /// The client's name of a tool.
    pub fn original(&self, sent: String) -> String {
        let known = self.0.iter().find(|(name, _)| *name == sent);
        known.map_or(sent, |(_, original)| original.clone())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULE: Rule = Rule {
        bytes_max: 64,
        also: b".",
        starts_as_word: true,
    };

    #[test]
    fn good_names_stay() {
        for name in ["get_weather", "_a-b.c", &"x".repeat(64)] {
            assert_eq!(fit(name, RULE), name);
        }
    }

    #[test]
    fn names_that_differ_in_bad_letters_still_differ() {
        assert_ne!(fit("a b", RULE), fit("ab ", RULE));
        assert_ne!(fit("1", RULE), "1");
        assert_ne!(fit("", RULE), "");
    }

    proptest! {
        #[test]
        fn what_is_made_is_taken(name in "\\PC{0,200}") {
            let made = fit(&name, RULE).into_owned();
            prop_assert!(matches!(fit(&made, RULE), Cow::Borrowed(_)), "{made}");
        }
    }
}
