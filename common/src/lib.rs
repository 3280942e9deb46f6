//! What pitot's eBPF programs and its agent agree on.
//!
//! One module per hook family, named like its program (`ebpf/src/bin/<name>.rs`) and its input
//! (`agent/src/input/<name>.rs`). A list of label values is an enum made by [`slots!`]: its order is the
//! index into the kernel map, so the two sides cannot disagree.
//!
//! Nothing here needs a kernel or an allocator: all of it is tested on the host.
#![no_std]

#[cfg(test)]
extern crate std;

#[macro_use]
mod slots;
pub mod bank;
pub mod block;
pub mod cgroup;
pub mod histogram;
pub mod irq;
pub mod owner;
pub mod process;
pub mod net;
pub mod memory;
pub mod sched;
pub mod syscall;
pub mod table;
pub mod tcp;
