//! Integration tests: the layering of the source, and the built binary between raw clients and faulty origins.

mod layering;
mod support;
