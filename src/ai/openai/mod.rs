//! The `OpenAI` dialect: towards clients always, towards resources of type `OPENAI` and `OTHER`.

pub mod downstream;
pub mod error;
pub mod upstream;
