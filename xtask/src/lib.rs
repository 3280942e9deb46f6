//! What the development tasks and the tests both know: the sources of a kernel object and what is in it, and real
//! containers to test on.

pub mod elf;
pub mod layout;
#[expect(clippy::disallowed_methods, reason = "starting runtimes and waiting for them is what it is for")]
pub mod pods;
pub mod sources;
