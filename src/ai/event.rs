//! What a model answers, piece by piece: the same for a stream and for an answer that came whole.

use crate::ai::chat::Seal;
use crate::ai::usage::Usage;
use crate::error::Error;

/// One piece of an answer, in the order in which it was made.
#[derive(Debug)]
pub enum Event {
    /// The answer began. Whatever is not told here stays as it is.
    Start {
        id: Option<String>,
        model: Option<String>,
    },
    Text {
        choice: u32,
        text: String,
    },
    Thought {
        choice: u32,
        text: String,
    },
    /// Seals the thought before it; may be sealed without any.
    ThoughtSealed {
        choice: u32,
        seal: Seal,
    },
    Refusal {
        choice: u32,
        text: String,
    },
    /// A call of a tool begins: the next of its choice.
    Call {
        choice: u32,
        /// The provider's, where it has one.
        id: Option<String>,
        name: String,
        seal: Option<Seal>,
    },
    /// More of the arguments of the choice's call `call`, counted from 0.
    Arguments {
        choice: u32,
        call: u32,
        json: String,
    },
    /// The call's arguments are whole; if there were none, they are empty.
    CallEnded {
        choice: u32,
        call: u32,
    },
    /// A source of what was said, as a client's annotation.
    Citation {
        choice: u32,
        url: String,
        title: String,
    },
    Finish {
        choice: u32,
        stop: Stop,
        /// The provider's own word.
        native: String,
    },
    /// All tokens so far: replaces what was told before.
    Usage(Usage),
    /// The provider says that it is alive.
    Ping,
    /// The answer broke.
    Failed(Error),
    /// The answer is whole.
    End,
}

/// Why a model stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    End,
    Length,
    Tools,
    Filter,
    /// The model failed to say anything of use: clients have no word for it.
    Malformed,
}

/// Most choices of one answer: stops a provider from filling memory with states.
pub const CHOICES_MAX: u32 = 128;

/// Most calls of tools in one choice.
pub const CALLS_MAX: u32 = 1024;
