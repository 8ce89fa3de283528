//! What the models of the family differ in, by their names.

use crate::ai::chat::Effort;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Model {
    version: Option<(u32, u32)>,
    is_pro: bool,
}

/// How much a model is to think, in its own terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Thinking {
    Level(&'static str),
    /// Tokens.
    Budget(u32),
    /// It takes no such wish.
    Never,
}

impl Model {
    /// `gemini-2.5-flash`, `gemini-3-pro-preview`.
    pub(super) fn parse(name: &str) -> Self {
        let after = name.rsplit_once("gemini-").map_or("", |(_, after)| after);
        let version = after.split('-').next().unwrap_or_default();
        let (major, minor) = version.split_once('.').unwrap_or((version, "0"));
        Self {
            version: major.parse().ok().zip(minor.parse().ok()),
            is_pro: after.contains("pro"),
        }
    }

    /// Refuses a call of its own that comes back without its signature.
    pub(super) fn wants_signatures(self) -> bool {
        self.version.is_some_and(|version| version >= (3, 0))
    }

    pub(super) fn thinking(self, effort: Effort) -> Thinking {
        match self.version {
            Some((3.., _)) => Thinking::Level(match effort {
                // It cannot be told not to.
                Effort::None | Effort::Minimal if self.is_pro => "LOW",
                Effort::None | Effort::Minimal => "MINIMAL",
                Effort::Low => "LOW",
                Effort::Medium if self.is_pro => "HIGH",
                Effort::Medium => "MEDIUM",
                Effort::High | Effort::XHigh | Effort::Max => "HIGH",
            }),
            Some((2, 5..)) => Thinking::Budget(match effort {
                Effort::None if self.is_pro => 128,
                Effort::None => 0,
                Effort::Minimal => 1024,
                Effort::Low => 2048,
                Effort::Medium => 4096,
                Effort::High => 8192,
                Effort::XHigh => 16_384,
                Effort::Max => 24_576,
            }),
            Some(_) | None => Thinking::Never,
        }
    }
}
