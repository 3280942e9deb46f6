//! What the development tasks and the tests both know: the sources of a kernel object, and what is in it.

pub mod elf;
pub mod layout;
pub mod sources;
