// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Scheduler: switches by reason, migrations, and the wait of the incoming task.
//!
//! The wait is what the kernel itself is about to add to the task's `run_delay`: the run queue's clock
//! minus `sched_info.last_queued`, both already in the cache here. So no wakeup hook, no clock read and no
//! table of tasks is needed, and the sum agrees with /proc/schedstat.
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
    histogram::{Scale, TIME_SLOTS},
    sched::{BANK_WORDS, MIGRATIONS, SWITCHES, Switch, WAIT},
};
use pitot_ebpf::{
    bank::{MMAPABLE, Own},
    get,
    kernel::field,
    object, setting,
};

#[map]
static SCHED: Array<[u64; BANK_WORDS]> = Array::with_max_entries(1, MMAPABLE);

setting! {
    /// 1 when the tracepoint passes the outgoing task's state as a fourth argument.
    STATE_ARG: u32;
    /// `task_struct.__state`, for kernels without that argument.
    TASK_STATE: u32;
    /// 1 when the three fields below are known.
    WAIT_ON: u32;
    /// `task_struct.sched_info.last_queued`
    TASK_QUEUED: u32;
    /// `task_struct.se.cfs_rq`
    TASK_CFS_RQ: u32;
    /// `cfs_rq.rq`
    CFS_RQ_RQ: u32;
    /// `rq.clock`
    RQ_CLOCK: u32;
}

#[inline(always)]
fn bank() -> Option<Own<'static, BANK_WORDS>> {
    // SAFETY: a helper without preconditions.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let bank = SCHED.get_ptr_mut(cpu)?;
    // SAFETY: the kernel returned a pointer to a whole map value; only this CPU writes it (see above).
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

#[btf_tracepoint(function = "sched_switch")]
pub fn sched_switch(ctx: BtfTracePointContext) -> i32 {
    let Some(mut bank) = bank() else { return 0 };
    let preempt: u64 = ctx.arg(0);
    let state = if get!(STATE_ARG) == 1 {
        ctx.arg::<u64>(3) & 0xffff_ffff
    } else {
        let prev: *const u8 = ctx.arg(1);
        // SAFETY: a trusted task pointer; the offset comes from the kernel's BTF.
        u64::from(unsafe { field::<u32>(prev, get!(TASK_STATE)) })
    };
    bank.add(SWITCHES + reason(preempt & 1 == 1, state).index(), 1);
    if get!(WAIT_ON) == 1 {
        let next: *const u8 = ctx.arg(2);
        // SAFETY: as above.
        let queued: u64 = unsafe { field(next, get!(TASK_QUEUED)) };
        // Zero: not queued by the scheduler's accounting, as the idle task.
        if queued != 0 {
            // SAFETY: as above, for each step from the task to its CPU's run queue.
            let cfs_rq: *const u8 = unsafe { field(next, get!(TASK_CFS_RQ)) };
            // SAFETY: as above.
            let rq: *const u8 = unsafe { field(cfs_rq, get!(CFS_RQ_RQ)) };
            // SAFETY: as above.
            let clock: u64 = unsafe { field(rq, get!(RQ_CLOCK)) };
            bank.observe(WAIT, Scale::Nanoseconds, TIME_SLOTS, clock.wrapping_sub(queued));
        }
    }
    0
}

#[btf_tracepoint(function = "sched_migrate_task")]
pub fn sched_migrate(_ctx: BtfTracePointContext) -> i32 {
    if let Some(mut bank) = bank() {
        bank.add(MIGRATIONS, 1);
    }
    0
}

/// Without BTF: the arguments alone, so no wait.
#[raw_tracepoint(tracepoint = "sched_switch")]
pub fn sched_switch_r(ctx: RawTracePointContext) -> i32 {
    let Some(mut bank) = bank() else { return 0 };
    let preempt: u64 = ctx.arg(0);
    let state = ctx.arg::<u64>(3) & 0xffff_ffff;
    bank.add(SWITCHES + reason(preempt & 1 == 1, state).index(), 1);
    0
}

#[raw_tracepoint(tracepoint = "sched_migrate_task")]
pub fn sched_migrate_r(_ctx: RawTracePointContext) -> i32 {
    if let Some(mut bank) = bank() {
        bank.add(MIGRATIONS, 1);
    }
    0
}

object!();
