// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Interrupts: run time of hard interrupt handlers, and when asked for of soft ones and how long those waited to run.
//!
//! Who can come between whom on one CPU, and why plain stores are enough there:
//!
//! * `softirq_raise` fires with interrupts off, also when a task raises: two of them never meet, and none is
//!   skipped because another runs.
//! * `softirq_entry` and `softirq_exit` fire with interrupts on, but soft interrupts do not nest: two of them
//!   never meet either. A hard interrupt can come in between, and raise. Every word is written by one program
//!   alone, except the time of a raise: `softirq_entry` reads and clears it. A raise that falls between the
//!   two is forgotten, as is one between the kernel's look at what is pending and the run: the next run then
//!   waits from a later raise, or has no wait.
//! * `irq_handler_entry` and `irq_handler_exit` fire with interrupts off, and hard interrupts do not nest.
//!   Only where NMIs are served as ordinary lines (arm64) one may come in between: the outer run then finds
//!   that the mark is not its own, and counts as untimed.
//!
//! The same vector or line on another CPU is another CPU's affair, except that all write a line's histogram.
#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![expect(internal_features, reason = "the bpf target has no AtomicU64::compare_exchange")]

use core::intrinsics::{AtomicOrdering, atomic_cxchg};

use aya_ebpf::{
    helpers::{bpf_get_smp_processor_id, bpf_ktime_get_ns},
    macros::{btf_tracepoint, map, raw_tracepoint},
    maps::Array,
    programs::{BtfTracePointContext, RawTracePointContext},
};
use pitot_common::{
    histogram::{Scale, TIME_SLOTS, words},
    irq::{
        LINE_WORDS, NUMBERS, OTHER_LINE, Vector,
        cpu::{self, LINE, LINE_STARTED, UNTIMED_HARDIRQS, UNTIMED_SOFTIRQS},
        header,
        vector::{self, RAISED, RUN, SLOTS, STARTED, WAIT},
    },
};
use pitot_ebpf::{
    bank::{MMAPABLE, Own, Shared},
    get, object, setting,
};

/// Marks by CPU.
#[map]
static IRQ_CPU: Array<[u64; cpu::WORDS]> = Array::with_max_entries(1, MMAPABLE);
/// Banks of soft interrupts by CPU, then by vector.
#[map]
static IRQ_SOFT: Array<[u64; vector::WORDS]> = Array::with_max_entries(1, MMAPABLE);
/// Histograms of hard interrupts by slot.
#[map]
static IRQ_LINE: Array<[u64; LINE_WORDS]> = Array::with_max_entries(1, MMAPABLE);
#[map]
static IRQ_HEADER: Array<[u64; header::WORDS]> = Array::with_max_entries(1, MMAPABLE);
/// Slot of a line, plus 1, by its number; 0: none yet.
#[map]
static IRQ_SLOT: Array<u64> = Array::with_max_entries(NUMBERS, 0);

setting! {
    /// 1 when soft interrupts are wanted: otherwise their programs are not attached.
    SOFTIRQS_ON: u32;
}

/// A bank of which another program may change words in between: each access is one load or one store, and no
/// reference is held.
struct Marks<const WORDS: usize>(*mut [u64; WORDS]);

impl<const WORDS: usize> Marks<WORDS> {
    #[inline(always)]
    fn get(&self, word: usize) -> u64 {
        if word >= WORDS {
            return 0;
        }
        // SAFETY: the kernel returned a pointer to a whole map value, and the word is inside.
        unsafe { self.0.cast::<u64>().add(word).read_volatile() }
    }

    #[inline(always)]
    fn set(&self, word: usize, value: u64) {
        if word < WORDS {
            // SAFETY: as above; only this CPU writes it.
            unsafe { self.0.cast::<u64>().add(word).write_volatile(value) };
        }
    }

    /// Counts in a word that only the calling program writes.
    #[inline(always)]
    fn add(&self, word: usize, n: u64) {
        self.set(word, self.get(word).wrapping_add(n));
    }
}

impl Marks<{ vector::WORDS }> {
    /// Counts a time in a histogram of the vector.
    #[inline(always)]
    fn observe(&self, at: usize, time: u64) {
        // SAFETY: the histogram is inside the map value. Only this CPU writes it, and it is one program's, of which
        // no second run can come in between (see above); the marks are outside.
        let histogram = unsafe { &mut *self.0.cast::<u64>().add(at).cast::<[u64; words(SLOTS)]>() };
        Own(histogram).observe(0, Scale::NanosecondOctaves, SLOTS, time);
    }
}

/// The marks of the running CPU.
#[inline(always)]
fn of_this_cpu() -> Option<Marks<{ cpu::WORDS }>> {
    IRQ_CPU.get_ptr_mut(this_cpu()).map(Marks)
}

/// The bank of a vector on the running CPU.
#[inline(always)]
fn of_vector(vector: u32) -> Option<Marks<{ vector::WORDS }>> {
    if vector >= Vector::COUNT as u32 {
        return None;
    }
    IRQ_SOFT.get_ptr_mut(this_cpu() * Vector::COUNT as u32 + vector).map(Marks)
}

#[inline(always)]
fn now() -> u64 {
    // SAFETY: a helper without preconditions.
    unsafe { bpf_ktime_get_ns() }
}

#[inline(always)]
fn this_cpu() -> u32 {
    // SAFETY: a helper without preconditions.
    unsafe { bpf_get_smp_processor_id() }
}

#[inline(always)]
fn raised(vector: u32) -> i32 {
    if let Some(bank) = of_vector(vector)
        // Raised again before it ran: it waits since the first time.
        && bank.get(RAISED) == 0
    {
        bank.set(RAISED, now());
    }
    0
}

#[inline(always)]
fn softirq_begins(vector: u32) -> i32 {
    let Some(bank) = of_vector(vector) else { return 0 };
    let raised = bank.get(RAISED);
    bank.set(RAISED, 0);
    let now = now();
    bank.set(STARTED, now);
    if raised != 0 {
        bank.observe(WAIT, now.saturating_sub(raised));
    }
    0
}

#[inline(always)]
fn softirq_ends(vector: u32) -> i32 {
    let now = now();
    let Some(bank) = of_vector(vector) else { return 0 };
    let started = bank.get(STARTED);
    if started == 0 {
        // Here, where it costs no run anything, for the agent to find the setting in the object.
        if get!(SOFTIRQS_ON) == 1
            && let Some(marks) = of_this_cpu()
        {
            marks.add(UNTIMED_SOFTIRQS, 1);
        }
        return 0;
    }
    bank.set(STARTED, 0);
    bank.observe(RUN, now.saturating_sub(started));
    0
}

#[inline(always)]
fn handler_begins(line: u32) -> i32 {
    if let Some(marks) = of_this_cpu() {
        marks.set(LINE_STARTED, now());
        marks.set(LINE, u64::from(line) + 1);
    }
    0
}

#[inline(always)]
fn handler_ends(line: u32) -> i32 {
    let now = now();
    let Some(marks) = of_this_cpu() else { return 0 };
    if marks.get(LINE) != u64::from(line) + 1 {
        marks.add(UNTIMED_HARDIRQS, 1);
        return 0;
    }
    let time = now.saturating_sub(marks.get(LINE_STARTED));
    marks.set(LINE, 0);
    let Some(bank) = IRQ_LINE.get_ptr_mut(slot(line)) else { return 0 };
    // SAFETY: the kernel returned a pointer to a whole map value; `Shared` adds atomically.
    let mut bank = Shared(unsafe { &mut *bank });
    bank.observe(0, Scale::Nanoseconds, TIME_SLOTS, time);
    0
}

/// The slot of a line; a new line takes the next one, and the last slot is everybody else's.
#[inline(always)]
fn slot(line: u32) -> u32 {
    let Some(header) = IRQ_HEADER.get_ptr_mut(0) else { return OTHER_LINE };
    // SAFETY: the kernel returned a pointer to a whole map value; `Shared` adds atomically.
    let mut header = Shared(unsafe { &mut *header });
    let slot = match IRQ_SLOT.get_ptr_mut(line) {
        // SAFETY: as above; the word changes once, from 0, and by a compare and exchange.
        Some(word) => match unsafe { word.read_volatile() } {
            0 => take_slot(&mut header, line, word),
            slot => slot as u32 - 1,
        },
        None => OTHER_LINE,
    };
    if slot >= OTHER_LINE {
        header.add(header::FOLDED, 1);
        return OTHER_LINE;
    }
    slot
}

#[inline(always)]
fn take_slot(header: &mut Shared<'_, { header::WORDS }>, line: u32, word: *mut u64) -> u32 {
    let next = header.fetch_add(header::NEXT_LINE, 1).min(u64::from(OTHER_LINE));
    // A line of which every CPU has its own part may come up on several at once: one wins, and the others'
    // slots stay empty.
    // SAFETY: the kernel returned a pointer to a map value.
    let (held, won) = unsafe {
        atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(word, 0, next + 1)
    };
    if !won {
        return held as u32 - 1;
    }
    // For the agent, which has no other way from a slot to its line. Nobody else adds to this word.
    if next < u64::from(OTHER_LINE) {
        header.add(header::LINES + next as usize, u64::from(line) + 1);
    }
    next as u32
}

#[btf_tracepoint(function = "softirq_entry")]
pub fn softirq_entry(ctx: BtfTracePointContext) -> i32 {
    softirq_begins(ctx.arg::<u64>(0) as u32)
}

#[btf_tracepoint(function = "softirq_exit")]
pub fn softirq_exit(ctx: BtfTracePointContext) -> i32 {
    softirq_ends(ctx.arg::<u64>(0) as u32)
}

#[btf_tracepoint(function = "softirq_raise")]
pub fn softirq_raise(ctx: BtfTracePointContext) -> i32 {
    raised(ctx.arg::<u64>(0) as u32)
}

#[btf_tracepoint(function = "irq_handler_entry")]
pub fn irq_entry(ctx: BtfTracePointContext) -> i32 {
    handler_begins(ctx.arg::<u64>(0) as u32)
}

#[btf_tracepoint(function = "irq_handler_exit")]
pub fn irq_exit(ctx: BtfTracePointContext) -> i32 {
    handler_ends(ctx.arg::<u64>(0) as u32)
}

// Without BTF: the same, as all arguments are numbers.

#[raw_tracepoint(tracepoint = "softirq_entry")]
pub fn softirq_entry_r(ctx: RawTracePointContext) -> i32 {
    softirq_begins(ctx.arg::<u64>(0) as u32)
}

#[raw_tracepoint(tracepoint = "softirq_exit")]
pub fn softirq_exit_r(ctx: RawTracePointContext) -> i32 {
    softirq_ends(ctx.arg::<u64>(0) as u32)
}

#[raw_tracepoint(tracepoint = "softirq_raise")]
pub fn softirq_raise_r(ctx: RawTracePointContext) -> i32 {
    raised(ctx.arg::<u64>(0) as u32)
}

#[raw_tracepoint(tracepoint = "irq_handler_entry")]
pub fn irq_entry_r(ctx: RawTracePointContext) -> i32 {
    handler_begins(ctx.arg::<u64>(0) as u32)
}

#[raw_tracepoint(tracepoint = "irq_handler_exit")]
pub fn irq_exit_r(ctx: RawTracePointContext) -> i32 {
    handler_ends(ctx.arg::<u64>(0) as u32)
}

object!();
