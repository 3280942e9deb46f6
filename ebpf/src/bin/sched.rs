// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Scheduler: switches by reason, migrations, the wait of the incoming task, and the time that each cgroup
//! had the CPU.
//!
//! The wait is what the kernel itself is about to add to the task's `run_delay`: the run queue's clock
//! minus `sched_info.last_queued`, both already in the cache here. So no wakeup hook, no clock read and no
//! table of tasks is needed, and the sum agrees with /proc/schedstat. The time on the CPU is the same clock
//! from switch to switch, so that it adds up to all the time there is, as long as no switch is missed.
//!
//! Both tracepoints fire with interrupts off, and no NMI schedules: only this CPU writes its bank.
#![no_std]
#![no_main]

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, bpf_get_smp_processor_id},
    macros::{btf_tracepoint, map, raw_tracepoint},
    maps::Array,
    programs::{BtfTracePointContext, RawTracePointContext},
};
use pitot_common::{
    histogram::{OCTAVE_SLOTS, Scale, TIME_SLOTS, octave},
    owner::{self as owners, OTHER, cpu},
    sched::{BANK_WORDS, FIRST, IDLE, LAST, MIGRATIONS, SCRATCH, SWITCHES, Switch, UNSEEN, WAIT, owner},
};
use pitot_ebpf::{
    bank::{MMAPABLE, Own, opaque},
    get,
    kernel::field,
    object,
    owner::slot_of,
    owners, setting,
};

#[map]
static SCHED: Array<[u64; BANK_WORDS]> = Array::with_max_entries(1, MMAPABLE);
/// Banks by CPU, then by owner.
#[map]
static SCHED_OWNER: Array<[u64; owner::WORDS]> = Array::with_max_entries(1, MMAPABLE);
owners!();

setting! {
    /// 1 when the tracepoint passes the outgoing task's state as a fourth argument.
    STATE_ARG: u32;
    /// `task_struct.__state`, for kernels without that argument.
    TASK_STATE: u32;
    /// 1 when the three fields of the wait are known.
    WAIT_ON: u32;
    /// `task_struct.sched_info.last_queued` and `.last_arrival`
    TASK_QUEUED: u32;
    TASK_ARRIVED: u32;
    /// `task_struct.se.cfs_rq`
    TASK_CFS_RQ: u32;
    /// `cfs_rq.rq`
    CFS_RQ_RQ: u32;
    /// `rq.clock`
    RQ_CLOCK: u32;
    /// 1 when the fields of the owner are known as well.
    OWNERS_ON: u32;
    /// `task_struct.pid`
    TASK_PID: u32;
    /// `task_struct.cgroups`, `css_set.dfl_cgrp`, `cgroup.kn`, `kernfs_node.id`: what identifies the cgroup.
    TASK_CGROUPS: u32;
    SET_CGROUP: u32;
    CGROUP_NODE: u32;
    NODE_ID: u32;
}

#[inline(always)]
fn this_cpu() -> u32 {
    // SAFETY: a helper without preconditions.
    unsafe { bpf_get_smp_processor_id() }
}

#[inline(always)]
fn bank(cpu: u32) -> Option<Own<'static, BANK_WORDS>> {
    let bank = SCHED.get_ptr_mut(cpu)?;
    // SAFETY: the kernel returned a pointer to a whole map value; only this CPU writes it (see above).
    Some(Own(unsafe { &mut *bank }))
}

/// The bank of an owner on a CPU.
#[inline(always)]
fn owner_bank(cpu: u32, slot: u32) -> Option<Own<'static, { owner::WORDS }>> {
    if slot > OTHER {
        return None;
    }
    let bank = SCHED_OWNER.get_ptr_mut(cpu * owners::BANKS + slot)?;
    // SAFETY: as above.
    Some(Own(unsafe { &mut *bank }))
}

#[inline(always)]
fn reason(preempt: bool, state: u64) -> Switch {
    // The tracepoint fires before the switch: "current" is the outgoing task, and the idle tasks are the
    // ones with pid 0.
    if bpf_get_current_pid_tgid() as u32 == 0 {
        Switch::Idle
    } else if preempt || state == 0 {
        Switch::Preempted
    } else {
        Switch::Blocked
    }
}

/// The clock of the run queue on which a task is.
#[inline(always)]
fn clock(task: *const u8) -> u64 {
    // SAFETY: a trusted task pointer, and each step from it to its run queue; the offsets come from the
    // kernel's BTF.
    let cfs_rq: *const u8 = unsafe { field(task, get!(TASK_CFS_RQ)) };
    // SAFETY: as above.
    let rq: *const u8 = unsafe { field(cfs_rq, get!(CFS_RQ_RQ)) };
    // SAFETY: as above.
    unsafe { field(rq, get!(RQ_CLOCK)) }
}

/// The identity of a task's cgroup in the unified tree.
#[inline(always)]
fn cgroup(task: *const u8) -> u64 {
    // SAFETY: a trusted task pointer, and each step from it to its cgroup's node; the offsets come from the
    // kernel's BTF.
    let set: *const u8 = unsafe { field(task, get!(TASK_CGROUPS)) };
    // SAFETY: as above.
    let cgroup: *const u8 = unsafe { field(set, get!(SET_CGROUP)) };
    // SAFETY: as above.
    let node: *const u8 = unsafe { field(cgroup, get!(CGROUP_NODE)) };
    // SAFETY: as above.
    unsafe { field(node, get!(NODE_ID)) }
}

#[btf_tracepoint(function = "sched_switch")]
pub fn sched_switch(ctx: BtfTracePointContext) -> i32 {
    let cpu = this_cpu();
    let Some(mut bank) = bank(cpu) else { return 0 };
    let preempt: u64 = ctx.arg(0);
    let prev: *const u8 = ctx.arg(1);
    let state = if get!(STATE_ARG) == 1 {
        ctx.arg::<u64>(3) & 0xffff_ffff
    } else {
        // SAFETY: a trusted task pointer; the offset comes from the kernel's BTF.
        u64::from(unsafe { field::<u32>(prev, get!(TASK_STATE)) })
    };
    let reason = bank.forget(SCRATCH, reason(preempt & 1 == 1, state).index() as u64) as usize;
    bank.add(opaque(SWITCHES + reason), 1);
    if get!(WAIT_ON) == 0 {
        return 0;
    }
    let next: *const u8 = ctx.arg(2);
    let clock = clock(next);
    let slot =
        if get!(OWNERS_ON) == 1 { change_owner(cpu, &mut bank, reason, prev, next, clock) } else { u32::MAX };
    // SAFETY: as above.
    let queued: u64 = unsafe { field(next, get!(TASK_QUEUED)) };
    // Zero: not queued by the scheduler's accounting, as the idle task.
    if queued == 0 {
        return 0;
    }
    let owner = owner_bank(cpu, slot);
    // Last, because the verifier follows each bucket's way to the end.
    let wait = clock.wrapping_sub(queued);
    let wait_slot = if wait == 0 { 0 } else { Scale::Nanoseconds.slot(wait) };
    bank.observe_slot(WAIT, TIME_SLOTS, wait_slot, wait);
    if let Some(mut owner) = owner {
        owner.observe_slot(owner::WAIT, OCTAVE_SLOTS, octave(wait_slot), wait);
    }
    0
}

/// Charges the time since the last switch to who had the CPU, and notes who has it now: its slot, or one that
/// no map has.
#[inline(always)]
fn change_owner(
    cpu: u32,
    bank: &mut Own<'_, BANK_WORDS>,
    reason: usize,
    prev: *const u8,
    next: *const u8,
    clock: u64,
) -> u32 {
    let Some(current) = OWNER_CPU.get_ptr_mut(cpu) else { return u32::MAX };
    // SAFETY: the kernel returned a pointer to a whole map value; only this program writes it, on this CPU.
    let mut current = Own(unsafe { &mut *current });
    let last = bank.get(LAST);
    // Readers leave alone what is being written.
    bank.set(LAST, 0);
    let holder = current.get(cpu::CURRENT);
    // When the kernel itself says that the outgoing task got the CPU.
    // SAFETY: a trusted task pointer; the offset comes from the kernel's BTF.
    let arrived: u64 = unsafe { field(prev, get!(TASK_ARRIVED)) };
    if last == 0 {
        // The first switch of all, or the first that these programs see.
        if bank.get(FIRST) == 0 {
            bank.set(FIRST, clock);
        }
    } else if reason == Switch::Idle.index() {
        if holder == cpu::IDLE {
            bank.add(IDLE, clock.wrapping_sub(last));
        } else {
            // When it became idle, nothing says.
            bank.add(UNSEEN, 1);
        }
    } else if arrived >= last {
        if arrived != last {
            // A switch was not seen. Until then it was idle, or else it stays nobody's time: who was between
            // the one that was seen last and this one is not known.
            bank.add(UNSEEN, 1);
            if holder == cpu::IDLE {
                bank.add(IDLE, arrived.wrapping_sub(last));
            }
        }
        // It may have been moved meanwhile, as those are that a launcher puts into a cgroup of their own.
        let id = cgroup(prev);
        let slot = if arrived == last && id == current.get(cpu::LAST_ID) {
            holder.wrapping_sub(1) as u32
        } else {
            slot_of(&OWNER_TABLE, id)
        };
        if let Some(mut owner) = owner_bank(cpu, current.forget(cpu::SCRATCH, u64::from(slot)) as u32) {
            owner.add(owner::RUN, clock.wrapping_sub(arrived));
            owner.add(opaque(owner::SWITCHES + reason), 1);
        }
    }
    // SAFETY: as above.
    let holder = if unsafe { field::<u32>(next, get!(TASK_PID)) } == 0 {
        cpu::IDLE
    } else {
        let id = cgroup(next);
        if id != current.get(cpu::LAST_ID) {
            let slot = slot_of(&OWNER_TABLE, id);
            // Who found no room tries again: there may be some by then.
            current.set(cpu::LAST_ID, if slot == OTHER { 0 } else { id });
            current.set(cpu::LAST_SLOT, u64::from(slot));
        }
        current.get(cpu::LAST_SLOT) + 1
    };
    let holder = current.forget(cpu::CURRENT, holder);
    bank.set(LAST, clock);
    holder.wrapping_sub(1) as u32
}

#[btf_tracepoint(function = "sched_migrate_task")]
pub fn sched_migrate(_ctx: BtfTracePointContext) -> i32 {
    if let Some(mut bank) = bank(this_cpu()) {
        bank.add(MIGRATIONS, 1);
    }
    0
}

/// Without BTF: the arguments alone, so neither wait nor owners.
#[raw_tracepoint(tracepoint = "sched_switch")]
pub fn sched_switch_r(ctx: RawTracePointContext) -> i32 {
    let Some(mut bank) = bank(this_cpu()) else { return 0 };
    let preempt: u64 = ctx.arg(0);
    let state = ctx.arg::<u64>(3) & 0xffff_ffff;
    bank.add(SWITCHES + reason(preempt & 1 == 1, state).index(), 1);
    0
}

#[raw_tracepoint(tracepoint = "sched_migrate_task")]
pub fn sched_migrate_r(_ctx: RawTracePointContext) -> i32 {
    if let Some(mut bank) = bank(this_cpu()) {
        bank.add(MIGRATIONS, 1);
    }
    0
}

object!();
