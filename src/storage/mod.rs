//! Storage protocols. One folder each, and no folder knows another; what they share stands beside them.

pub mod head;
pub mod s3;
