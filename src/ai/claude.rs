//! What the models of the Claude family differ in, by their names: they are served in two dialects.

pub mod schema;

use crate::ai::chat::{ChatRequest, Effort, Family, Part, Role};
use crate::ai::param::Dropped;

/// The version in a model's name, wherever it is served: `claude-sonnet-4-5-20250929`, `claude-3-5-haiku-latest`,
/// `us.anthropic.claude-opus-4-1-20250805-v1:0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Model {
    /// `None` for a name that tells none.
    version: Option<(u32, u32)>,
    is_opus: bool,
}

/// How a model is told to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thinking {
    /// It takes no such wish.
    Never,
    /// As many tokens as it is given.
    Budget,
    /// As much as it finds right.
    Adaptive,
}

impl Model {
    pub fn parse(name: &str) -> Self {
        let after = name.rsplit_once("claude-").map_or("", |(_, after)| after);
        let number =
            |part: &&str| (1..=2).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        let mut numbers = after
            .split(['-', '.', '@', ':'])
            .skip_while(|part| !number(part))
            .take_while(number)
            .map(|part| part.parse().unwrap_or_default());
        let major = numbers.next();
        let minor = numbers.next().unwrap_or_default();
        Self {
            version: major.map(|major| (major, minor)),
            is_opus: after.contains("opus"),
        }
    }

    /// What a client that does not say may get: providers want a number, and refuse one that is too large.
    pub fn max_tokens(self) -> u64 {
        match self.version {
            Some(version) if version < (3, 5) => 4096,
            Some(version) if version < (3, 7) => 8192,
            Some(version) if version < (4, 5) && self.is_opus => 32_000,
            Some(_) => 64_000,
            None => 8192,
        }
    }

    /// Temperature and its kin are for models that let themselves be told.
    pub fn takes_sampling(self) -> bool {
        self.version.is_none_or(|version| version < (4, 7))
    }

    /// Answers to a schema, and tools that keep to theirs.
    pub fn has_schemas(self) -> bool {
        self.version.is_none_or(|version| version >= (4, 5))
    }

    pub fn thinking(self) -> Thinking {
        match self.version {
            Some((4, 6..) | (5.., _)) => Thinking::Adaptive,
            Some((3, 7..) | (4, _)) => Thinking::Budget,
            Some(_) | None => Thinking::Never,
        }
    }
}

/// The least budget of a model that thinks by budget.
const BUDGET_MIN: u64 = 1024;

/// How much a model is told to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thoughts {
    pub thinking: Option<Told>,
    pub effort: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Budget(u64),
    Adaptive,
}

/// Puts a client's wish in the model's terms. `forced`: it must call a tool.
pub fn thoughts(
    chat: &ChatRequest<'_>,
    model: Model,
    max_tokens: u64,
    forced: bool,
    dropped: &mut Dropped,
) -> Thoughts {
    let none = Thoughts {
        thinking: None,
        effort: None,
    };
    let Some(effort) = chat.effort.filter(|effort| *effort != Effort::None) else {
        return none;
    };
    match model.thinking() {
        Thinking::Adaptive => Thoughts {
            // Who must call a tool cannot think about it first.
            thinking: (!forced).then_some(Told::Adaptive),
            effort: Some(word(effort)),
        },
        Thinking::Budget => {
            let budget = match effort {
                Effort::None | Effort::Minimal | Effort::Low => BUDGET_MIN,
                Effort::Medium => 2048,
                Effort::High => 4096,
                Effort::XHigh => 8192,
                Effort::Max => 16_384,
            };
            if forced || budget >= max_tokens || answers_unthought_calls(chat) {
                dropped.note("reasoning_effort");
                return none;
            }
            Thoughts {
                thinking: Some(Told::Budget(budget)),
                effort: None,
            }
        }
        Thinking::Never => {
            dropped.note("reasoning_effort");
            none
        }
    }
}

/// Whether the last turn answers calls whose thoughts the client did not keep: with thinking on, the provider would
/// refuse the whole conversation.
fn answers_unthought_calls(chat: &ChatRequest<'_>) -> bool {
    let is_own = |part: &Part<'_>| match part {
        Part::Thought(thought) => thought
            .seal
            .as_ref()
            .is_some_and(|it| it.family == Family::Claude),
        Part::Text(_) | Part::Media(_) | Part::Call(_) | Part::Result(_) => false,
    };
    let waits = chat.messages.last().is_some_and(|it| it.role == Role::Tool);
    let last = chat
        .messages
        .iter()
        .rev()
        .find(|it| it.role == Role::Assistant);
    waits && last.is_some_and(|message| !message.parts.iter().any(is_own))
}

fn word(effort: Effort) -> &'static str {
    match effort {
        Effort::None | Effort::Minimal | Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High => "high",
        Effort::XHigh => "xhigh",
        Effort::Max => "max",
    }
}

/// What is left of a client's wishes about chance.
#[derive(Clone, Copy, Debug)]
pub struct Sampling {
    pub temperature: Option<f64>,
    pub top_p: Option<f64>,
    pub top_k: Option<u64>,
}

impl Sampling {
    pub fn new(chat: &ChatRequest<'_>, model: Model, thinks: bool, dropped: &mut Dropped) -> Self {
        let mut sampling = Self {
            temperature: chat.temperature,
            top_p: chat.top_p,
            top_k: chat.top_k,
        };
        if let Some(hot) = sampling
            .temperature
            .filter(|temperature| *temperature > 1.0)
        {
            dropped.note("temperature");
            sampling.temperature = Some(hot.min(1.0));
        }
        let free = model.takes_sampling();
        if !free || thinks {
            keep(
                &mut sampling.temperature,
                "temperature",
                |it| *it >= 1.0,
                dropped,
            );
            keep(&mut sampling.top_k, "top_k", |_| false, dropped);
            keep(
                &mut sampling.top_p,
                "top_p",
                |it| free && *it >= 0.95,
                dropped,
            );
        }
        sampling
    }
}

fn keep<T>(
    value: &mut Option<T>,
    name: &'static str,
    good: impl Fn(&T) -> bool,
    dropped: &mut Dropped,
) {
    if value.take_if(|value| !good(value)).is_some() {
        dropped.note(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, version: Option<(u32, u32)>, thinking: Thinking, max_tokens: u64) {
        let model = Model::parse(name);
        assert_eq!(model.version, version, "{name}");
        assert_eq!(model.thinking(), thinking, "{name}");
        assert_eq!(model.max_tokens(), max_tokens, "{name}");
    }

    #[test]
    fn versions_are_read_from_every_form_of_name() {
        use Thinking::{Adaptive, Budget, Never};
        check("claude-3-haiku-20240307", Some((3, 0)), Never, 4096);
        check("claude-3-5-sonnet-latest", Some((3, 5)), Never, 8192);
        check("claude-3-7-sonnet@20250219", Some((3, 7)), Budget, 64_000);
        check("claude-opus-4-20250514", Some((4, 0)), Budget, 32_000);
        check(
            "us.anthropic.claude-opus-4-1-20250805-v1:0",
            Some((4, 1)),
            Budget,
            32_000,
        );
        check("claude-sonnet-4-5-20250929", Some((4, 5)), Budget, 64_000);
        check("claude-opus-4-6", Some((4, 6)), Adaptive, 64_000);
        check("claude-sonnet-5", Some((5, 0)), Adaptive, 64_000);
        check("my-own-name", None, Never, 8192);
    }
}
