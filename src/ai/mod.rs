//! AI: what clients of the `OpenAI` endpoint ask, and what is told to and heard from the resources behind it.
//!
//! Pure code: no I/O, no clock, no HTTP library of its own. [`route`] decodes a head, [`scan`] reads the few members of a body that
//! decide anything, [`plan`] says which resources may serve it, [`splice`] changes the few bytes that must differ,
//! [`tap`] and [`usage`] read token counts beside the answer's bytes. [`openai`] is the dialect: heads and errors on both sides.
//!
//! Bodies for resources of that dialect are never parsed into trees and written again: everything that is not spliced is
//! byte-exact.
//!
//! For other dialects a chat is translated, and the model of it stands in the middle: [`chat`] what is asked, [`event`]
//! what is answered, [`embed`] beside them. [`lane`] is what a dialect must do; [`anthropic`], [`google`] and [`bedrock`] do
//! it, and know nothing of each other nor of what clients speak. [`param`] says what becomes of each parameter, [`claude`]
//! and [`names`] hold what two of them share, and [`matrix`] shows it all.

pub mod anthropic;
pub mod bedrock;
pub mod chat;
pub mod claude;
pub mod embed;
pub mod event;
pub mod google;
pub mod json;
pub mod lane;
pub mod matrix;
pub mod models;
pub mod names;
pub mod openai;
pub mod param;
pub mod plan;
pub mod route;
pub mod scan;
pub mod splice;
pub mod sse;
pub mod surrogate;
pub mod tap;
pub mod usage;

/// The `OpenAI` endpoint, for the tests of the lanes behind it: no dialect's folder knows another.
#[cfg(test)]
mod front {
    pub(super) use super::openai::answer::Told;
    pub(super) use super::openai::request;
}
