// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Control groups: an iterator that notes the figures of each in a table.
//!
//! It writes no text and no records into its file: the kernel makes a pass within one read, whose buffer would
//! be full after some hundred groups. The number of an object in the pass is its place in the table. Passes
//! wait for each other (the kernel's lock on the tree), so one at a time writes.
#![no_std]
#![no_main]

use core::ffi::c_void;

use aya_ebpf::{helpers::bpf_probe_read_kernel, macros::map, maps::Array};
use pitot_common::cgroup::{RECORDS, has, header, record};
use pitot_ebpf::{bank::MMAPABLE, get, iter::IterContext, kernel::field, object, setting};

#[map]
static CGROUP: Array<[u64; record::WORDS]> = Array::with_max_entries(RECORDS, MMAPABLE);
#[map]
static CGROUP_HEADER: Array<[u64; header::WORDS]> = Array::with_max_entries(1, MMAPABLE);

setting! {
    /// 1 for each hierarchy over which passes are made, known by a controller; the loader attaches by these.
    UNIFIED: u32;
    FIRST_MEMORY: u32;
    FIRST_CPU: u32;
    FIRST_PIDS: u32;
    /// `bpf_iter_meta.session_id`, `seq_num`
    META_SESSION: u32;
    META_NUMBER: u32;
    /// `cgroup.kn`, `kernfs_node.id`
    CG_KN: u32;
    KN_ID: u32;
    /// `cgroup.root`, `cgroup_root.hierarchy_id`
    CG_ROOT: u32;
    ROOT_HIERARCHY: u32;
    /// `cgroup.bstat.cputime.utime`, `stime`, `sum_exec_runtime`
    CG_USER: u32;
    CG_SYSTEM: u32;
    CG_RUNTIME: u32;
    /// `cgroup.subsys`, `cgroup_subsys_state.flags`
    CG_SUBSYS: u32;
    CSS_FLAGS: u32;
    /// 1 when the fields of pressure are known: `cgroup.psi`, `psi_group.total`
    PSI_ON: u32;
    CG_PSI: u32;
    PSI_TOTAL: u32;
    /// 1 when all that follows about memory is known.
    MEMORY_ON: u32;
    MEMORY_ID: u32;
    MEMORY_CSS: u32;
    MEMORY_USAGE: u32;
    MEMORY_MAX: u32;
    MEMORY_PEAK: u32;
    MEMORY_EVENTS: u32;
    /// 1 when all that follows about CPUs is known.
    CPU_ON: u32;
    CPU_ID: u32;
    CPU_CSS: u32;
    CFS_PERIODS: u32;
    CFS_THROTTLED: u32;
    CFS_TIME: u32;
    CFS_QUOTA: u32;
    CFS_PERIOD: u32;
    /// 1 when all that follows about tasks is known.
    PIDS_ON: u32;
    PIDS_ID: u32;
    PIDS_CSS: u32;
    PIDS_COUNT: u32;
    PIDS_LIMIT: u32;
}

/// The number of the unified hierarchy; the others, of version 1, have one controller or some.
const UNIFIED_NUMBER: u32 = 0;
/// `CSS_VISIBLE`: the controller is on, and not only there because another one needs it.
const VISIBLE: u32 = 1 << 3;

/// What a controller keeps of a group: the struct around its `cgroup_subsys_state`. In a hierarchy of version 1
/// all controllers are on, and the flags, in a cache line of their own, are not read.
#[inline(always)]
fn state(cgroup: *const u8, is_unified: bool, controller: u32, within: u32) -> Option<*const u8> {
    // SAFETY: the verifier knows the group and its array of pointers.
    let css: *const u8 = unsafe { field(cgroup, get!(CG_SUBSYS) + controller * 8) };
    if css.is_null() {
        return None;
    }
    // SAFETY: as above.
    if is_unified && unsafe { field::<u32>(css, get!(CSS_FLAGS)) } & VISIBLE == 0 {
        return None;
    }
    // A number from here on: what is around the state has no type for the verifier.
    Some((css as u64).wrapping_sub(u64::from(within)) as *const u8)
}

/// Reads what the verifier has no type for; what cannot be read is 0.
#[inline(always)]
fn peek<T: Copy + Default>(base: *const u8, offset: u32) -> T {
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_kernel(base.wrapping_add(offset as usize).cast::<T>()) }.unwrap_or_default()
}

#[unsafe(link_section = "iter/cgroup")]
#[unsafe(no_mangle)]
pub extern "C" fn cgroup(ctx: *mut c_void) -> i32 {
    let ctx = IterContext::new(ctx);
    let meta = ctx.meta();
    // SAFETY: the verifier knows the type.
    let (pass, number): (u64, u64) =
        unsafe { (field(meta, get!(META_SESSION)), field(meta, get!(META_NUMBER))) };
    let cgroup = ctx.object();
    if cgroup.is_null() {
        if let Some(header) = CGROUP_HEADER.get_ptr_mut(0) {
            // SAFETY: the kernel returned a pointer to a whole map value; passes wait for each other.
            let header = unsafe { &mut *header };
            // The number is that of the last one, and there is always a root.
            header[header::COUNT] = number + 1;
            header[header::PASS] = pass;
        }
        return 0;
    }
    let Some(record) = CGROUP.get_ptr_mut(number as u32) else { return 0 };
    // SAFETY: as above.
    note(unsafe { &mut *record }, cgroup, pass);
    0
}

#[inline(always)]
fn note(record: &mut [u64; record::WORDS], cgroup: *const u8, pass: u64) {
    // SAFETY: a word of the record; volatile, so that it is 0 before anything else changes.
    unsafe { (&raw mut record[record::PASS]).write_volatile(0) };
    // SAFETY: the verifier knows the group.
    let is_unified = unsafe {
        let (kn, root): (*const u8, *const u8) = (field(cgroup, get!(CG_KN)), field(cgroup, get!(CG_ROOT)));
        record[record::ID] = field(kn, get!(KN_ID));
        field::<u32>(root, get!(ROOT_HIERARCHY)) == UNIFIED_NUMBER
    };
    let mut parts = 0;
    if is_unified {
        parts |= has::UNIFIED;
        // SAFETY: the verifier knows the group.
        unsafe {
            record[record::USER] = field(cgroup, get!(CG_USER));
            record[record::SYSTEM] = field(cgroup, get!(CG_SYSTEM));
            record[record::RUNTIME] = field(cgroup, get!(CG_RUNTIME));
        }
    }
    // Nobody charges groups of version 1 for pressure.
    if is_unified && get!(PSI_ON) == 1 {
        // SAFETY: the verifier knows the group.
        let psi: *const u8 = unsafe { field(cgroup, get!(CG_PSI)) };
        if !psi.is_null() {
            parts |= has::PRESSURE;
            let totals: [u64; record::PRESSURES] = peek(psi, get!(PSI_TOTAL));
            record[record::PRESSURE..record::PRESSURE + record::PRESSURES].copy_from_slice(&totals);
        }
    }
    if get!(MEMORY_ON) == 1
        && let Some(memory) = state(cgroup, is_unified, get!(MEMORY_ID), get!(MEMORY_CSS))
    {
        parts |= has::MEMORY;
        record[record::MEMORY] = peek(memory, get!(MEMORY_USAGE));
        record[record::MEMORY_LIMIT] = peek(memory, get!(MEMORY_MAX));
        record[record::MEMORY_PEAK] = peek(memory, get!(MEMORY_PEAK));
        let events: [u64; record::EVENTS] = peek(memory, get!(MEMORY_EVENTS));
        record[record::MEMORY_EVENTS..record::MEMORY_EVENTS + record::EVENTS].copy_from_slice(&events);
    }
    if get!(CPU_ON) == 1
        && let Some(cpu) = state(cgroup, is_unified, get!(CPU_ID), get!(CPU_CSS))
    {
        parts |= has::CPU;
        record[record::PERIODS] = u64::from(peek::<u32>(cpu, get!(CFS_PERIODS)));
        record[record::THROTTLED] = u64::from(peek::<u32>(cpu, get!(CFS_THROTTLED)));
        record[record::THROTTLED_TIME] = peek(cpu, get!(CFS_TIME));
        record[record::QUOTA] = peek(cpu, get!(CFS_QUOTA));
        record[record::PERIOD] = peek(cpu, get!(CFS_PERIOD));
    }
    if get!(PIDS_ON) == 1
        && let Some(pids) = state(cgroup, is_unified, get!(PIDS_ID), get!(PIDS_CSS))
    {
        parts |= has::PIDS;
        record[record::PIDS] = peek(pids, get!(PIDS_COUNT));
        record[record::PIDS_LIMIT] = peek(pids, get!(PIDS_LIMIT));
    }
    record[record::HAS] = parts;
    // SAFETY: as above; the last of all.
    unsafe { (&raw mut record[record::PASS]).write_volatile(pass) };
}

object!();
