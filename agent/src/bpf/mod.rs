//! The door to the kernel: objects are loaded, attached, pinned and adopted here, and their maps mapped.

/// Loads kernel objects for inputs.
#[derive(Debug, Default)]
pub struct Loader;
