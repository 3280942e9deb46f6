//! The documents that the binary prints about itself.
