//! HTTP message helpers that know no provider: a leaf. (Not named `http`: it would shadow the crate.)

pub mod body;
pub mod date;
pub mod escape;
pub mod reply;
pub mod text;
pub mod xml;
