//! The standard output as an output.

use std::io::{self, Write};

use super::sink::Target;

/// Writes to the standard output of the process.
#[derive(Debug, Default)]
pub struct Console;

impl Target for Console {
    fn write(&mut self, page: &[u8]) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(page)?;
        stdout.flush()
    }
}
