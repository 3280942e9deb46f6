//! Lines of the facade, read back.

use super::*;
use crate::accumulator::MemoryAccumulator;

#[test]
fn rendered_lines_become_samples() {
    let mut memory = MemoryAccumulator::new();
    assert!(deliver(br#"pitot_agent_ebpf_map_bytes{map="a\"b\\c"} 1"#, &mut memory));
    assert!(deliver(b"pitot_agent_scrapes_total 7", &mut memory));
    assert_eq!(memory.number("agent_ebpf_map_bytes", &["a\"b\\c"]), Some(1.0));
    assert_eq!(memory.number("agent_scrapes_total", &[]), Some(7.0));
}

#[test]
fn what_has_no_definition_is_noticed() {
    let mut memory = MemoryAccumulator::new();
    assert!(!deliver(b"pitot_agent_surprise 1", &mut memory));
    assert!(!deliver(b"pitot_agent_ebpf_map_bytes 1", &mut memory));
    assert!(!deliver(b"garbage", &mut memory));
}
