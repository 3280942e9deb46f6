// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! System calls: counts by number and by cgroup, and their errors and latency when asked for.
//!
//! Both tracepoints fire in the caller's context with preemption off, and neither an interrupt nor an NMI makes
//! system calls: only this CPU writes its banks, and nothing comes in between.
#![no_std]
#![no_main]

use aya_ebpf::{
    EbpfContext,
    helpers::{
        bpf_get_smp_processor_id, bpf_ktime_get_ns,
        generated::{bpf_get_current_task, bpf_get_current_task_btf},
    },
    macros::{btf_tracepoint, map, raw_tracepoint},
    maps::{Array, HashMap},
    programs::{BtfTracePointContext, RawTracePointContext},
};
use pitot_common::{
    histogram::{Scale, TIME_SLOTS},
    owner,
    syscall::{
        BANK_WORDS, CHOICE_WORDS, CHOSEN, COMPAT, ERROR_WORDS, ERRORS_WORDS, IN_FLIGHT, LATENCY_WORDS, LOST,
        NUMBERS, OTHER, OWNERS,
    },
};
use pitot_ebpf::{
    bank::{MMAPABLE, Own, Shared, opaque},
    get,
    kernel::field,
    object, owners, setting,
};

#[map]
static SYSCALL: Array<[u64; BANK_WORDS]> = Array::with_max_entries(1, MMAPABLE);
#[map]
static SYSCALL_TIME: Array<[u64; LATENCY_WORDS]> = Array::with_max_entries(1, MMAPABLE);
/// The place of each call among those whose errors are counted, plus one.
#[map]
static SYSCALL_CHOICE: Array<[u64; CHOICE_WORDS]> = Array::with_max_entries(1, MMAPABLE);
#[map]
static SYSCALL_ERRORS: Array<[u64; ERRORS_WORDS]> = Array::with_max_entries(1, MMAPABLE);
/// When and with which number a task entered the kernel, by the address of the task.
#[map]
static SYSCALL_START: HashMap<u64, [u64; 2]> = HashMap::with_max_entries(IN_FLIGHT, 0);

owners!();

setting! {
    /// 1 when latencies are wanted.
    LATENCY: u32;
    /// 1 when errors are wanted.
    ERRORS: u32;
    /// 1 when one of them is.
    EXITS: u32;
    /// 1 when the scheduler's program says who runs.
    OWNERS_ON: u32;
    /// `pt_regs.orig_ax` and the like: the number of the call, when it ends.
    REGS_NUMBER: u32;
    /// The architecture's numbers of `exit` and `exit_group`, which never return.
    EXIT: u32;
    EXIT_GROUP: u32;
    /// Where the thread's flags say that the call came through the 32-bit table: offset from the task,
    /// and the mask; a mask of 0 means that it cannot be told.
    COMPAT_FLAGS: u32;
    COMPAT_MASK: u32;
}

#[inline(always)]
fn this_cpu() -> u32 {
    // SAFETY: a helper without preconditions.
    unsafe { bpf_get_smp_processor_id() }
}

#[inline(always)]
fn bank(cpu: u32) -> Option<Own<'static, BANK_WORDS>> {
    let bank = SYSCALL.get_ptr_mut(cpu)?;
    // SAFETY: the kernel returned a pointer to a whole map value; only this CPU writes it (see above).
    Some(Own(unsafe { &mut *bank }))
}

/// Counts a call for who runs on this CPU, once the scheduler's program has seen that.
#[inline(always)]
fn count_owner(cpu: u32, bank: &mut Own<'_, BANK_WORDS>) {
    let Some(current) = OWNER_CPU.get_ptr_mut(cpu) else { return };
    // SAFETY: the kernel returned a pointer to a whole map value; only this CPU's switches write it.
    let holder = unsafe { core::ptr::read_volatile(&raw const (*current)[owner::cpu::CURRENT]) };
    let slot = holder.wrapping_sub(1) as usize;
    if slot <= owner::OTHER as usize {
        bank.add(opaque(OWNERS + slot), 1);
    }
}

/// The word of a call's counter.
#[inline(always)]
fn word(number: u64) -> usize {
    if number < u64::from(NUMBERS) { number as usize } else { OTHER }
}

#[btf_tracepoint(function = "sys_enter")]
pub fn sys_enter(ctx: BtfTracePointContext) -> i32 {
    let cpu = this_cpu();
    let Some(mut bank) = bank(cpu) else { return 0 };
    if get!(OWNERS_ON) == 1 {
        count_owner(cpu, &mut bank);
    }
    let mask = get!(COMPAT_MASK);
    if mask != 0 {
        // SAFETY: a helper without preconditions; it returns the running task.
        let task = unsafe { bpf_get_current_task_btf() } as *const u8;
        // SAFETY: a trusted task pointer; the offset comes from the kernel's BTF.
        if unsafe { field::<u32>(task, get!(COMPAT_FLAGS)) } & mask != 0 {
            bank.add(COMPAT, 1);
            return 0;
        }
    }
    let number: u64 = ctx.arg(1);
    bank.add(word(number), 1);
    if get!(LATENCY) == 1 {
        start(&mut bank, number);
    }
    0
}

/// Without BTF: 32-bit calls cannot be told and are counted under the name of the same number.
#[raw_tracepoint(tracepoint = "sys_enter")]
pub fn sys_enter_raw(ctx: RawTracePointContext) -> i32 {
    let cpu = this_cpu();
    let Some(mut bank) = bank(cpu) else { return 0 };
    if get!(OWNERS_ON) == 1 {
        count_owner(cpu, &mut bank);
    }
    let number: u64 = ctx.arg(1);
    bank.add(word(number), 1);
    if get!(LATENCY) == 1 {
        start(&mut bank, number);
    }
    0
}

#[inline(always)]
fn task() -> u64 {
    // SAFETY: a helper without preconditions.
    unsafe { bpf_get_current_task() }
}

#[inline(always)]
fn start(bank: &mut Own<'_, BANK_WORDS>, number: u64) {
    if number == u64::from(get!(EXIT)) || number == u64::from(get!(EXIT_GROUP)) {
        return;
    }
    // SAFETY: a helper without preconditions.
    let now = unsafe { bpf_ktime_get_ns() };
    if SYSCALL_START.insert(&task(), &[now, number], 0).is_err() {
        bank.add(LOST, 1);
    }
}

#[inline(always)]
fn finish() {
    let key = task();
    // SAFETY: the value is copied before the entry is removed; only this task uses its key.
    let Some(&[started, number]) = (unsafe { SYSCALL_START.get(&key) }) else { return };
    // A failure means that it has gone already.
    let _ = SYSCALL_START.remove(&key);
    // SAFETY: a helper without preconditions.
    let now = unsafe { bpf_ktime_get_ns() };
    if number < u64::from(NUMBERS)
        && let Some(bank) = SYSCALL_TIME.get_ptr_mut(number as u32)
    {
        // SAFETY: the kernel returned a pointer to a whole map value; `Shared` adds atomically.
        let mut bank = Shared(unsafe { &mut *bank });
        bank.observe(0, Scale::Nanoseconds, TIME_SLOTS, now.saturating_sub(started));
    }
}

/// Counts the error of a call that failed, if it is a chosen one.
#[inline(always)]
fn count_error(number: u64, result: i64) {
    let Some(choice) = SYSCALL_CHOICE.get_ptr_mut(0) else { return };
    // SAFETY: the kernel returned a pointer to a whole map value; the agent writes it once.
    let choice = unsafe { &*choice };
    let Some(place) = choice.get(opaque(number as usize)) else { return };
    let place = *place as usize;
    let error = result.unsigned_abs() as usize;
    let error = if error < ERROR_WORDS as usize { error } else { 0 };
    if place != 0
        && place <= CHOSEN as usize
        && let Some(bank) = SYSCALL_ERRORS.get_ptr_mut(this_cpu())
    {
        // SAFETY: the kernel returned a pointer to a whole map value; only this CPU writes it (see above).
        Own(unsafe { &mut *bank }).add(opaque((place - 1) * ERROR_WORDS as usize + error), 1);
    }
}

#[btf_tracepoint(function = "sys_exit")]
pub fn sys_exit(ctx: BtfTracePointContext) -> i32 {
    /// The largest error number of the kernel: results from here on are addresses and sizes.
    const MAX_ERRNO: i64 = 4095;
    if get!(ERRORS) == 1 {
        let result = ctx.arg::<u64>(1) as i64;
        if (-MAX_ERRNO..0).contains(&result) {
            let registers: *const u8 = ctx.arg(0);
            // SAFETY: a trusted pointer to the registers; the offset comes from the kernel's BTF.
            let number: u64 = unsafe { field(registers, get!(REGS_NUMBER)) };
            count_error(number, result);
        }
    }
    if get!(LATENCY) == 1 {
        finish();
    }
    0
}

/// Without BTF there is no number to an error.
#[raw_tracepoint(tracepoint = "sys_exit")]
pub fn sys_exit_raw(ctx: RawTracePointContext) -> i32 {
    let _ = ctx.as_ptr();
    if get!(LATENCY) == 1 {
        finish();
    }
    0
}

object!();
