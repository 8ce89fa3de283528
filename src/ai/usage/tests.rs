//! Streams, whole and cut at every byte.
