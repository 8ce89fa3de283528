//! The parameters of a chat, and what becomes of each on a lane.
//!
//! Every parameter has a fate on every lane: this table is what the codecs obey, what the README shows, and what
//! `x-aqueduct-dropped-params` tells. What is not in it at all is refused wherever requests are translated.

use smallvec::SmallVec;

use crate::error::{Error, Kind, Result};
use crate::policy::route::UnsupportedParams;

/// What becomes of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The provider has the same.
    Passed,
    /// The provider has it in another form, or for some of its models.
    Mapped,
    /// Advice that the provider cannot take: left out and named in the answer, or refused where the repository is
    /// strict.
    Dropped,
    /// Without it the answer would not be what was asked for.
    Refused,
}

macro_rules! params {
    ($($variant:ident: $name:literal,)+) => {
        /// A parameter of a chat, besides `model`, `messages`, `stream` and `stream_options`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Param {
            $($variant,)+
        }

        impl Param {
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            pub fn parse(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

params! {
    Audio: "audio",
    FrequencyPenalty: "frequency_penalty",
    FunctionCall: "function_call",
    Functions: "functions",
    LogitBias: "logit_bias",
    Logprobs: "logprobs",
    MaxCompletionTokens: "max_completion_tokens",
    MaxTokens: "max_tokens",
    Metadata: "metadata",
    Modalities: "modalities",
    Moderation: "moderation",
    N: "n",
    ParallelToolCalls: "parallel_tool_calls",
    Prediction: "prediction",
    PresencePenalty: "presence_penalty",
    PromptCacheKey: "prompt_cache_key",
    PromptCacheOptions: "prompt_cache_options",
    PromptCacheRetention: "prompt_cache_retention",
    ReasoningEffort: "reasoning_effort",
    ResponseFormat: "response_format",
    SafetyIdentifier: "safety_identifier",
    Seed: "seed",
    ServiceTier: "service_tier",
    Stop: "stop",
    Store: "store",
    Temperature: "temperature",
    ToolChoice: "tool_choice",
    Tools: "tools",
    TopK: "top_k",
    TopLogprobs: "top_logprobs",
    TopP: "top_p",
    User: "user",
    Verbosity: "verbosity",
    WebSearchOptions: "web_search_options",
}

/// The parameters that were left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dropped(SmallVec<[&'static str; 8]>);

impl Dropped {
    pub fn note(&mut self, name: &'static str) {
        if !self.0.contains(&name) {
            self.0.push(name);
        }
    }

    /// The value of `x-aqueduct-dropped-params`.
    pub fn header(&self) -> Option<String> {
        (!self.0.is_empty()).then(|| self.0.join(", "))
    }

    /// Refuses what was left out, where nothing may be.
    pub fn check(&self, rule: UnsupportedParams) -> Result<()> {
        match (rule, self.0.first()) {
            (UnsupportedParams::Strict, Some(name)) => Err(unsupported(*name)),
            (UnsupportedParams::Strict | UnsupportedParams::Warn, _) => Ok(()),
        }
    }
}

/// The error for a parameter that a lane does not take.
pub fn unsupported(name: impl Into<String>) -> Error {
    let name = name.into();
    Error::new(
        Kind::InvalidArgument,
        format!("The parameter '{name}' is not supported by this model here."),
    )
    .with_param(name)
}

/// Applies the fates of a lane to the parameters that were given.
pub fn judge(given: &[Param], fate: impl Fn(Param) -> Fate, dropped: &mut Dropped) -> Result<()> {
    for param in given {
        match fate(*param) {
            Fate::Passed | Fate::Mapped => {}
            Fate::Dropped => dropped.note(param.name()),
            Fate::Refused => return Err(unsupported(param.name())),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for param in Param::ALL {
            assert_eq!(Param::parse(param.name()), Some(*param));
        }
        assert_eq!(Param::parse("api_base"), None);
    }

    #[test]
    fn what_is_left_out_is_named_once_or_refused() {
        let fate = |param| {
            if param == Param::Seed {
                Fate::Dropped
            } else if param == Param::Audio {
                Fate::Refused
            } else {
                Fate::Passed
            }
        };
        let mut dropped = Dropped::default();
        judge(&[Param::Seed, Param::TopP, Param::Seed], fate, &mut dropped).unwrap();
        dropped.note("temperature");
        assert_eq!(dropped.header().as_deref(), Some("seed, temperature"));
        assert!(dropped.check(UnsupportedParams::Warn).is_ok());
        let error = dropped.check(UnsupportedParams::Strict).unwrap_err();
        assert_eq!(error.param(), Some("seed"));
        let error = judge(&[Param::Audio], fate, &mut dropped).unwrap_err();
        assert_eq!(
            (error.kind(), error.param()),
            (Kind::InvalidArgument, Some("audio"))
        );
        assert_eq!(Dropped::default().header(), None);
    }
}
