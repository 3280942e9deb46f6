//! The pitot agent.

fn main() {}
