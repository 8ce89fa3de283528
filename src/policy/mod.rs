//! Who may do what, and where it goes. Knows [`Access`](crate::keys::Access), never an operation.

pub mod authorize;
pub mod credential;
pub mod health;
pub mod limit;
pub mod route;
