//! Google Cloud Storage. Of its APIs: what [auth] says.
//!
//! [auth]: self::auth

pub mod auth;
