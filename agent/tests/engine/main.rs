//! The engine with inputs that block, panic or are slow: what they cost, and what they do not.
#![expect(clippy::unwrap_used, reason = "a test")]
#![expect(clippy::disallowed_methods, reason = "an input that is slow sleeps")]

mod apply;
mod bench;
mod blocking;
mod budget;
mod lanes;
mod late;
mod pace;
mod sources;
