// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Processes: starts, execs and exits as they happen, and a pass over all tasks when the agent reads.
//!
//! A pass misses what has been used by tasks that are gone. They add what they used themselves, once the
//! kernel frees them: only then does it not change any more.
//!
//! That happens in soft interrupts, the rest in processes: adds are atomic.
#![no_std]
#![no_main]

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::{bpf_get_smp_processor_id, bpf_probe_read_kernel},
    macros::{btf_tracepoint, map, raw_tracepoint},
    maps::{Array, LruHashMap},
    programs::{BtfTracePointContext, RawTracePointContext},
};
use pitot_common::process::{
    BANK_WORDS, ENDING, EXECS, EXITS, Exit, GONE_BYTES, GONE_CPU, STARTS, THREAD_STARTS, Task, Usage,
};
use pitot_ebpf::{
    bank::{MMAPABLE, Shared},
    get,
    iter::IterContext,
    kernel::field,
    object, setting,
};

/// Banks by CPU.
#[map]
static PROCESS: Array<[u64; BANK_WORDS]> = Array::with_max_entries(1, MMAPABLE);
/// Processes whose end is counted, by number and start; for kernels that do not tell which thread was last.
#[map]
static PROCESS_ENDED: LruHashMap<[u64; 2], u32> = LruHashMap::with_max_entries(ENDING, 0);

setting! {
    /// 1 when `sched_process_exit` tells whether the whole process ended.
    GROUP_DEAD_ARG: u32;
    /// 1 when the numbers of used bytes are known.
    BYTES_ON: u32;
    /// 1 to count exits.
    EXITS_ON: u32;
    /// 1 to tell of tasks.
    TASKS_ON: u32;
    /// `mm_struct.rss_stat.count`, where the counters of pages are plain numbers.
    MM_RSS_PLAIN: u32;
    /// `mm_struct.rss_stat`, where they are `percpu_counter`s; their number and their last field.
    MM_RSS: u32;
    PERCPU_COUNT: u32;
    PERCPU_LAST: u32;
    /// `task_struct`
    TASK_PID: u32;
    TASK_TGID: u32;
    TASK_STATE: u32;
    TASK_EXIT_STATE: u32;
    TASK_EXIT_CODE: u32;
    TASK_LEADER: u32;
    TASK_START: u32;
    TASK_COMM: u32;
    TASK_RUNTIME: u32;
    TASK_SIGNAL: u32;
    TASK_MM: u32;
    TASK_READ: u32;
    TASK_WRITTEN: u32;
    /// `signal_struct`, which all threads of a process share.
    SIG_LIVE: u32;
    SIG_FLAGS: u32;
    SIG_EXIT_CODE: u32;
    SIG_RUNTIME: u32;
    SIG_READ: u32;
    SIG_WRITTEN: u32;
}

/// The new task is a thread of its maker's process.
const CLONE_THREAD: u64 = 0x0001_0000;
/// The process ends as a whole, and the code in `signal_struct` is the one that `wait` tells.
const SIGNAL_GROUP_EXIT: u32 = 4;
/// Bytes of a pointer, and of a `long`.
const POINTER: u32 = 8;

#[inline(always)]
fn count(word: usize) -> i32 {
    add(word, 1)
}

#[inline(always)]
fn add(word: usize, n: u64) -> i32 {
    // SAFETY: a helper without preconditions.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    if let Some(bank) = PROCESS.get_ptr_mut(cpu) {
        // SAFETY: the kernel returned a pointer to a whole map value; `Shared` adds atomically.
        Shared(unsafe { &mut *bank }).add(word, n);
    }
    0
}

#[inline(always)]
fn started(flags: u64) -> i32 {
    count(if flags & CLONE_THREAD == 0 { STARTS } else { THREAD_STARTS })
}

#[btf_tracepoint(function = "task_newtask")]
pub fn process_start(ctx: BtfTracePointContext) -> i32 {
    started(ctx.arg(1))
}

#[raw_tracepoint(tracepoint = "task_newtask")]
pub fn process_start_r(ctx: RawTracePointContext) -> i32 {
    started(ctx.arg(1))
}

#[btf_tracepoint(function = "sched_process_exec")]
pub fn process_exec(_ctx: BtfTracePointContext) -> i32 {
    count(EXECS)
}

#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub fn process_exec_r(_ctx: RawTracePointContext) -> i32 {
    count(EXECS)
}

#[btf_tracepoint(function = "sched_process_exit")]
pub fn process_exit(ctx: BtfTracePointContext) -> i32 {
    if get!(EXITS_ON) == 0 {
        return 0;
    }
    let task: *const u8 = ctx.arg(0);
    // SAFETY: a trusted task pointer; the offsets come from the kernel's BTF.
    let signal: *const u8 = unsafe { field(task, get!(TASK_SIGNAL)) };
    // SAFETY: as above, one step further.
    let leader: *const u8 = unsafe { field(task, get!(TASK_LEADER)) };
    let whole = if get!(GROUP_DEAD_ARG) == 1 {
        ctx.arg::<u64>(1) & 1 == 1
    } else {
        // SAFETY: as above.
        let live: u32 = unsafe { field(signal, get!(SIG_LIVE)) };
        live == 0 && is_first(task, leader)
    };
    if !whole {
        return 0;
    }
    // SAFETY: as above.
    let flags: u32 = unsafe { field(signal, get!(SIG_FLAGS)) };
    // Both are read in any case: one read behind a choice of struct and offset would be one of any of the
    // structs at any of the offsets to older verifiers.
    // SAFETY: as above.
    let of_process: u32 = unsafe { field(signal, get!(SIG_EXIT_CODE)) };
    // SAFETY: as above.
    let of_leader: u32 = unsafe { field(leader, get!(TASK_EXIT_CODE)) };
    let code = if flags & SIGNAL_GROUP_EXIT != 0 { of_process } else { of_leader };
    match Exit::of(code) {
        Exit::Ok => count(EXITS + Exit::Ok.index()),
        Exit::Error => count(EXITS + Exit::Error.index()),
        Exit::Signal => count(EXITS + Exit::Signal.index()),
    }
}

/// Whether nobody has counted this end yet: two threads that end at the same moment may both come here when
/// none is left alive.
#[inline(always)]
fn is_first(task: *const u8, leader: *const u8) -> bool {
    // SAFETY: task pointers of the kernel, as above.
    let process: u32 = unsafe { field(task, get!(TASK_TGID)) };
    // SAFETY: as above.
    let start: u64 = unsafe { field(leader, get!(TASK_START)) };
    PROCESS_ENDED.insert(&[u64::from(process), start], &0, u64::from(BPF_NOEXIST)).is_ok()
}

/// A task is gone for good.
#[btf_tracepoint(function = "sched_process_free")]
pub fn process_free(ctx: BtfTracePointContext) -> i32 {
    let task: *const u8 = ctx.arg(0);
    // SAFETY: a trusted task pointer; the offset comes from the kernel's BTF.
    add(GONE_CPU, unsafe { field(task, get!(TASK_RUNTIME)) });
    // SAFETY: as above.
    add(GONE_BYTES, unsafe { bytes(task, get!(TASK_READ), get!(TASK_WRITTEN)) })
}

/// One record for each task.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
pub fn process_task(ctx: *mut core::ffi::c_void) -> i32 {
    let ctx = IterContext::new(ctx);
    let task = ctx.object();
    if task.is_null() || get!(TASKS_ON) == 0 {
        return 0;
    }
    // SAFETY: the verifier knows the task's type and follows each pointer; the offsets come from the kernel's
    // BTF; a pointer to nothing reads as zero.
    let record = unsafe {
        let leader: *const u8 = field(task, get!(TASK_LEADER));
        let signal: *const u8 = field(task, get!(TASK_SIGNAL));
        Task {
            process: field(task, get!(TASK_TGID)),
            thread: field(task, get!(TASK_PID)),
            state: field(task, get!(TASK_STATE)),
            exit_state: field(task, get!(TASK_EXIT_STATE)),
            start: field(leader, get!(TASK_START)),
            own: Usage {
                cpu: field(task, get!(TASK_RUNTIME)),
                bytes: bytes(task, get!(TASK_READ), get!(TASK_WRITTEN)),
            },
            gone: Usage {
                cpu: field(signal, get!(SIG_RUNTIME)),
                bytes: bytes(signal, get!(SIG_READ), get!(SIG_WRITTEN)),
            },
            pages: pages(field(task, get!(TASK_MM))),
            name: [field(leader, get!(TASK_COMM)), field(leader, get!(TASK_COMM) + 8)],
        }
    };
    ctx.write(&record);
    0
}

/// # Safety
/// As [`field`].
#[inline(always)]
unsafe fn bytes(of: *const u8, read: u32, written: u32) -> u64 {
    if get!(BYTES_ON) == 0 {
        return 0;
    }
    // SAFETY: the caller's word.
    let read: u64 = unsafe { field(of, read) };
    // SAFETY: the same.
    let written: u64 = unsafe { field(of, written) };
    read.wrapping_add(written)
}

/// Resident pages: of files, of no file, and of shared memory. Third in the kernel's list is swap, which is
/// not resident. The counters may be a little below zero while CPUs hold back what they have to add.
#[inline(always)]
fn pages(mm: *const u8) -> u64 {
    if mm.is_null() {
        return 0;
    }
    let (first, distance) = match get!(MM_RSS_PLAIN) {
        0 => (get!(MM_RSS) + get!(PERCPU_COUNT), get!(PERCPU_LAST) + POINTER),
        plain => (plain, POINTER),
    };
    let counter = |n: u32| -> i64 {
        let offset = first + n * distance;
        if get!(MM_RSS_PLAIN) == 0 {
            // SAFETY: a pointer that the verifier follows; the offsets come from the kernel's BTF.
            return unsafe { field(mm, offset) };
        }
        // The verifiers of those kernels follow no pointer into an array whose elements go by another name.
        // SAFETY: the helper checks the address.
        unsafe { bpf_probe_read_kernel(mm.wrapping_add(offset as usize).cast::<i64>()) }.unwrap_or_default()
    };
    (counter(0) + counter(1) + counter(3)).max(0) as u64
}

object!();
