//! Integration tests of pitot: they are in `tests/`.

pub mod counting;
