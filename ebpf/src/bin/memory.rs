// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Memory: page faults, stalls of tasks that free memory themselves, and victims of the OOM killer.
//!
//! Every word of a bank is written by one program alone. What may come between the load and the store of a
//! plain add is therefore the same program on the same CPU, once more:
//!
//! * for a user page fault, the processor enters the kernel with interrupts off, and until they are on again no
//!   other program of user space runs there;
//! * the kernel may fault anywhere, also in an NMI, so that those adds are atomic;
//! * reclaim, compaction and the OOM killer need a task that may sleep, and a program keeps its CPU until it
//!   is done. Kernels that let another task in between skip the inner run and count it as missed.
//!
//! A task sleeps in between the ends of a stall and may move, so its start is in a table by task. Whatever the
//! task does in the meantime, it is in one stall of a kind: the kernel lets nobody reclaim memory that does so
//! already.
//!
//! A victim is counted for its cgroup, whose name is noted with that: it may be removed before the agent comes
//! by. Where the kernel calls a task a victim by its number alone, it has told that task to die just before,
//! in the same breath and on the same CPU, and then the task itself is known.
#![no_std]
#![no_main]

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, bpf_get_smp_processor_id, bpf_ktime_get_ns},
    macros::{btf_tracepoint, map, raw_tracepoint},
    maps::{Array, HashMap},
    programs::{BtfTracePointContext, RawTracePointContext},
};
use pitot_common::{
    histogram::{Scale, TIME_SLOTS},
    memory::{
        BANK_WORDS, Cause, FAULTS, LAST, Last, Mode, OWNER_WORDS, RECLAIMED, Scope, Stall, TIMED, VICTIMS,
        doomed, header,
    },
    owner::{OTHER, SLOTS, note},
};
use pitot_ebpf::{
    bank::{MMAPABLE, Own, Shared, opaque},
    get,
    kernel::field,
    object,
    owner::{Node, slot_of},
    owners, setting,
};

/// Banks by CPU.
#[map]
static MEMORY: Array<[u64; BANK_WORDS]> = Array::with_max_entries(1, MMAPABLE);
#[map]
static MEMORY_HEADER: Array<[u64; header::WORDS]> = Array::with_max_entries(1, MMAPABLE);
/// When a stall began, by [`Stall::key`].
#[map]
static MEMORY_START: HashMap<u64, u64> = HashMap::with_max_entries(TIMED, 0);
/// The scope that tasks last reclaimed for, by [`Last::word`].
#[map]
static MEMORY_LAST: Array<u64> = Array::with_max_entries(LAST, 0);
/// Victims by owner.
#[map]
static MEMORY_OWNER: Array<[u64; OWNER_WORDS]> = Array::with_max_entries(1, MMAPABLE);
/// The names of owners that had victims.
#[map]
static MEMORY_NAME: Array<[u64; note::WORDS]> = Array::with_max_entries(SLOTS, MMAPABLE);
/// Who was last told to die, by CPU.
#[map]
static MEMORY_DOOMED: Array<[u64; doomed::WORDS]> = Array::with_max_entries(1, 0);
owners!();

setting! {
    /// 1 when user page faults are counted, and when the kernel has their tracepoint.
    USER_FAULTS: u32;
    USER_FAULT_HOOK: u32;
    /// The same for those of the kernel.
    KERNEL_FAULTS: u32;
    KERNEL_FAULT_HOOK: u32;
    /// 1 when the kernel knows limits of cgroups.
    CGROUP_RECLAIM: u32;
    /// 1 when compaction is timed: the first of just four arguments is then a `compact_control`.
    COMPACTION: u32;
    COMPACTION_ARGS: u32;
    COMPACTION_NUMBERS: u32;
    /// `compact_control.direct_compaction`
    CC_DIRECT: u32;
    /// 1 when victims are counted by cgroup.
    OWNERS_ON: u32;
    /// 1 when the victim is an argument; otherwise that is its number.
    VICTIM_TASK: u32;
    /// 1 when that takes the signals, and when the task that is sent one is an argument.
    OWNERS_SIGNAL: u32;
    SIGNAL_HOOK: u32;
    /// `task_struct.pid`
    TASK_PID: u32;
    /// `task_struct.cgroups`, `css_set.dfl_cgrp`, `cgroup.kn`: the directory of the cgroup.
    TASK_CGROUPS: u32;
    SET_CGROUP: u32;
    CGROUP_NODE: u32;
    /// `kernfs_node.id`, `name`, `parent`
    NODE_ID: u32;
    NODE_NAME: u32;
    NODE_PARENT: u32;
}

#[inline(always)]
fn bank() -> Option<*mut [u64; BANK_WORDS]> {
    // SAFETY: a helper without preconditions.
    MEMORY.get_ptr_mut(unsafe { bpf_get_smp_processor_id() })
}

#[inline(always)]
fn own() -> Option<Own<'static, BANK_WORDS>> {
    // SAFETY: the kernel returned a pointer to a whole map value; nothing comes in between (see above).
    bank().map(|bank| Own(unsafe { &mut *bank }))
}

#[inline(always)]
fn header() -> Option<Shared<'static, { header::WORDS }>> {
    // SAFETY: the kernel returned a pointer to a whole map value; `Shared` adds atomically.
    MEMORY_HEADER.get_ptr_mut(0).map(|bank| Shared(unsafe { &mut *bank }))
}

#[inline(always)]
fn now() -> u64 {
    // SAFETY: a helper without preconditions.
    unsafe { bpf_ktime_get_ns() }
}

/// The running task.
#[inline(always)]
fn task() -> u32 {
    bpf_get_current_pid_tgid() as u32
}

#[inline(always)]
fn begins(stall: Stall) -> i32 {
    if MEMORY_START.insert(&stall.key(task()), &now(), 0).is_err()
        && let Some(mut header) = header()
    {
        header.add(header::LOST, 1);
    }
    0
}

#[inline(always)]
fn ends(stall: Stall) -> i32 {
    let now = now();
    let key = stall.key(task());
    // SAFETY: the value is copied before the entry is removed; the stall is this task's alone.
    if let Some(&began) = unsafe { MEMORY_START.get(&key) } {
        // A failure means that it has gone already.
        let _ = MEMORY_START.remove(&key);
        if let Some(mut bank) = own() {
            bank.observe(stall.at(), Scale::Nanoseconds, TIME_SLOTS, now.saturating_sub(began));
        }
    } else if let Some(mut header) = header() {
        // What found the table full was counted at its start. Which end is whose is not known, only how many.
        if header.0[header::LOST_ENDED] < header.0[header::LOST] {
            header.add(header::LOST_ENDED, 1);
        } else {
            header.add(header::UNSEEN, 1);
        }
    }
    0
}

#[inline(always)]
fn reclaim_ends(scope: Scope, pages: u64) -> i32 {
    let task = task();
    if let Some(word) = MEMORY_LAST.get_ptr_mut(Last::word(task)) {
        // SAFETY: the kernel returned a pointer to a map value. Tasks share the word; it is whole at any time.
        unsafe { word.write_volatile(Last::new(task, scope).0) };
    }
    if let Some(mut bank) = own() {
        bank.add(RECLAIMED + scope.index(), pages);
    }
    ends(Stall::Reclaim(scope))
}

/// Whoever runs out of memory has looked for it just before, and picks the victim itself.
#[inline(always)]
fn victim() -> i32 {
    let task = task();
    let cause = match MEMORY_LAST.get_ptr_mut(Last::word(task)) {
        // SAFETY: as above.
        Some(word) => Last(unsafe { word.read_volatile() }).cause(task),
        None => Cause::Unknown,
    };
    if let Some(mut bank) = own() {
        bank.add(VICTIMS + cause.index(), 1);
    }
    0
}

#[btf_tracepoint(function = "page_fault_user")]
pub fn fault_user(_ctx: BtfTracePointContext) -> i32 {
    if get!(USER_FAULTS) & get!(USER_FAULT_HOOK) == 1
        && let Some(mut bank) = own()
    {
        bank.add(FAULTS + Mode::User.index(), 1);
    }
    0
}

#[btf_tracepoint(function = "page_fault_kernel")]
pub fn fault_kernel(_ctx: BtfTracePointContext) -> i32 {
    if get!(KERNEL_FAULTS) & get!(KERNEL_FAULT_HOOK) == 1
        && let Some(bank) = bank()
    {
        // SAFETY: the kernel returned a pointer to a whole map value; `Shared` adds atomically.
        Shared(unsafe { &mut *bank }).add(FAULTS + Mode::Kernel.index(), 1);
    }
    0
}

#[btf_tracepoint(function = "mm_vmscan_direct_reclaim_begin")]
pub fn reclaim_begin(_ctx: BtfTracePointContext) -> i32 {
    begins(Stall::Reclaim(Scope::Global))
}

#[btf_tracepoint(function = "mm_vmscan_direct_reclaim_end")]
pub fn reclaim_end(ctx: BtfTracePointContext) -> i32 {
    reclaim_ends(Scope::Global, ctx.arg(0))
}

#[btf_tracepoint(function = "mm_vmscan_memcg_reclaim_begin")]
pub fn cgroup_begin(_ctx: BtfTracePointContext) -> i32 {
    if get!(CGROUP_RECLAIM) == 1 { begins(Stall::Reclaim(Scope::Cgroup)) } else { 0 }
}

#[btf_tracepoint(function = "mm_vmscan_memcg_reclaim_end")]
pub fn cgroup_end(ctx: BtfTracePointContext) -> i32 {
    if get!(CGROUP_RECLAIM) == 1 { reclaim_ends(Scope::Cgroup, ctx.arg(0)) } else { 0 }
}

/// Whether a task compacts because it needs memory now. The kernel's own threads and administrators, who
/// ask for it in advance, do not.
#[inline(always)]
fn is_direct(ctx: &BtfTracePointContext) -> bool {
    if get!(COMPACTION) & get!(COMPACTION_ARGS) == 0 || get!(COMPACTION_NUMBERS) == 1 {
        return false;
    }
    // SAFETY: with these arguments it is a trusted pointer; the offset comes from the kernel's BTF.
    unsafe { field::<u8>(ctx.arg(0), get!(CC_DIRECT)) != 0 }
}

#[btf_tracepoint(function = "mm_compaction_begin")]
pub fn compact_begin(ctx: BtfTracePointContext) -> i32 {
    if is_direct(&ctx) { begins(Stall::Compaction) } else { 0 }
}

#[btf_tracepoint(function = "mm_compaction_end")]
pub fn compact_end(ctx: BtfTracePointContext) -> i32 {
    if is_direct(&ctx) { ends(Stall::Compaction) } else { 0 }
}

/// The directory of a cgroup in the unified tree, and what identifies it; zeros if that is not known.
#[derive(Clone, Copy)]
struct Home {
    node: u64,
    id: u64,
}

/// That of a task.
#[inline(always)]
fn home_of(task: *const u8) -> Home {
    // SAFETY: a trusted task pointer, and each step from it to its cgroup's node; the offsets come from the
    // kernel's BTF.
    let set: *const u8 = unsafe { field(task, get!(TASK_CGROUPS)) };
    // SAFETY: as above.
    let cgroup: *const u8 = unsafe { field(set, get!(SET_CGROUP)) };
    // SAFETY: as above.
    let node: *const u8 = unsafe { field(cgroup, get!(CGROUP_NODE)) };
    // SAFETY: as above.
    Home { node: node as u64, id: unsafe { field(node, get!(NODE_ID)) } }
}

#[inline(always)]
fn doomed() -> Option<Own<'static, { doomed::WORDS }>> {
    // SAFETY: a helper without preconditions.
    let words = MEMORY_DOOMED.get_ptr_mut(unsafe { bpf_get_smp_processor_id() })?;
    // SAFETY: the kernel returned a pointer to a whole map value of this CPU. What comes in between are other
    // signals, and a number that is not the victim's is of no use.
    Some(Own(unsafe { &mut *words }))
}

/// That of the task with this number, if it is the one that was just told to die.
#[inline(always)]
fn home_of_doomed(task: u64) -> Home {
    match doomed() {
        Some(mut doomed) if doomed.get(doomed::TASK) == task => {
            doomed.set(doomed::TASK, 0);
            Home { node: doomed.get(doomed::NODE), id: doomed.get(doomed::ID) }
        }
        _ => Home { node: 0, id: 0 },
    }
}

/// Counts a victim for its cgroup; returns where its name is to be noted.
#[inline(always)]
fn victim_of(home: Home) -> u32 {
    let slot = if home.id == 0 { OTHER } else { slot_of(&OWNER_TABLE, home.id) };
    if let Some(victims) = MEMORY_OWNER.get_ptr_mut(0) {
        // SAFETY: the kernel returned a pointer to a whole map value; `Shared` adds atomically.
        Shared(unsafe { &mut *victims }).add(opaque(slot as usize), 1);
    }
    slot
}

/// The home of the victim of this event.
#[inline(always)]
fn victims_home(ctx: &BtfTracePointContext) -> Home {
    if get!(VICTIM_TASK) == 1 { home_of(ctx.arg(0)) } else { home_of_doomed(ctx.arg::<u64>(0) & 0xffff_ffff) }
}

#[btf_tracepoint(function = "mark_victim")]
pub fn oom_victim(ctx: BtfTracePointContext) -> i32 {
    if get!(OWNERS_ON) == 1 {
        let home = victims_home(&ctx);
        let slot = victim_of(home);
        // The table of names has none for the others.
        if let Some(note) = MEMORY_NAME.get_ptr_mut(slot) {
            let node =
                Node { address: home.node, id: home.id, name: get!(NODE_NAME), parent: get!(NODE_PARENT) };
            // SAFETY: the kernel returned a pointer to a whole map value. It kills one at a time.
            node.note(unsafe { &mut *note });
        }
    }
    victim()
}

/// The same where a locked down kernel lets nobody read its strings.
#[btf_tracepoint(function = "mark_victim")]
pub fn oom_victim_id(ctx: BtfTracePointContext) -> i32 {
    if get!(OWNERS_ON) == 1 {
        victim_of(victims_home(&ctx));
    }
    victim()
}

#[btf_tracepoint(function = "signal_generate")]
pub fn oom_signal(ctx: BtfTracePointContext) -> i32 {
    const SIGKILL: u32 = 9;
    if get!(OWNERS_SIGNAL) & get!(SIGNAL_HOOK) == 1
        && ctx.arg::<u64>(0) as u32 == SIGKILL
        && let Some(mut doomed) = doomed()
    {
        let task: *const u8 = ctx.arg(2);
        let home = home_of(task);
        doomed.set(doomed::NODE, home.node);
        doomed.set(doomed::ID, home.id);
        // SAFETY: a trusted task pointer; the offset comes from the kernel's BTF.
        doomed.set(doomed::TASK, u64::from(unsafe { field::<u32>(task, get!(TASK_PID)) }));
    }
    0
}

// Without BTF: what every kernel has, and whose arguments are numbers.

#[raw_tracepoint(tracepoint = "mm_vmscan_direct_reclaim_begin")]
pub fn reclaim_begin_r(_ctx: RawTracePointContext) -> i32 {
    begins(Stall::Reclaim(Scope::Global))
}

#[raw_tracepoint(tracepoint = "mm_vmscan_direct_reclaim_end")]
pub fn reclaim_end_r(ctx: RawTracePointContext) -> i32 {
    reclaim_ends(Scope::Global, ctx.arg(0))
}

#[raw_tracepoint(tracepoint = "mark_victim")]
pub fn oom_victim_r(_ctx: RawTracePointContext) -> i32 {
    victim()
}

object!();
