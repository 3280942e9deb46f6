// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The least that a counting program can do, to measure against: `cargo xtask bench` loads it, the agent
//! never does.
#![no_std]
#![no_main]

use aya_ebpf::{
    macros::{btf_tracepoint, map},
    maps::PerCpuArray,
    programs::BtfTracePointContext,
};
use pitot_ebpf::object;

#[map]
static BARE: PerCpuArray<u64> = PerCpuArray::with_max_entries(2, 0);

#[inline(always)]
fn count(what: u32) -> i32 {
    if let Some(counter) = BARE.get_ptr_mut(what) {
        // SAFETY: the kernel returned a pointer to this CPU's value.
        unsafe { *counter += 1 };
    }
    0
}

#[btf_tracepoint(function = "sys_enter")]
pub fn bare_enter(_ctx: BtfTracePointContext) -> i32 {
    count(0)
}

#[btf_tracepoint(function = "sched_switch")]
pub fn bare_switch(_ctx: BtfTracePointContext) -> i32 {
    count(1)
}

object!();
