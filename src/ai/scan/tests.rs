//! Bodies, whole and cut at every byte.
