//! The `OpenAI` dialect: towards clients always, towards resources of type `OPENAI` and `OTHER`.
//!
//! Those resources get the client's bytes. For all others [`request`] reads a chat into the model, and [`answer`] writes
//! what comes back.

pub mod answer;
pub mod downstream;
pub mod embed;
pub mod error;
pub mod request;
pub mod upstream;
