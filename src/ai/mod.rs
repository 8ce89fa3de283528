//! AI: what clients of the `OpenAI` endpoint ask, and what is told to and heard from the resources behind it.
//!
//! Pure code: no I/O, no clock, no HTTP library of its own. [`route`] decodes a head, [`scan`] reads the few members of a body that
//! decide anything, [`plan`] says which resources may serve it, [`splice`] changes the few bytes that must differ,
//! [`tap`] and [`usage`] read token counts beside the answer's bytes. [`openai`] is the dialect: heads and errors on both sides.
//!
//! Bodies are never parsed into trees and written again: everything that is not spliced is byte-exact.

pub mod models;
pub mod openai;
pub mod plan;
pub mod route;
pub mod scan;
pub mod splice;
pub mod sse;
pub mod tap;
pub mod usage;
