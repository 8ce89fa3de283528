//! AI: one folder a dialect.
