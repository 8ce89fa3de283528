//! Azure Blob Storage. Of its REST API: what [names] and [auth] say.
//!
//! [names]: self::names
//! [auth]: self::auth

pub mod auth;
pub mod names;
