//! What operators see: metrics and the access log. A leaf; nothing here knows a request's type.

pub mod audit;
pub mod metrics;
