//! Storage protocols. One folder each, and no folder knows another; what they share stands beside them.
//!
//! Where client and resource speak the same protocol, requests are forwarded within its folder. Where they do not, one
//! folder's downstream half reads an [`op::Operation`], another's upstream half writes it ([`codec::Upstream`]), and
//! the [`reply::Reply`] goes the same way back.

pub mod azure;
mod canonical;
pub mod capability;
pub mod codec;
pub mod condition;
pub mod gcs;
pub mod head;
pub mod object;
pub mod op;
pub mod probe;
pub mod reply;
pub mod s3;
pub mod sigv4;
