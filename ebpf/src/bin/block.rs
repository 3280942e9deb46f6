// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Block I/O: queue time, device time and size of every request, by device and operation.
//!
//! A request is looked at when it is handed to the driver and when the driver is done with it. Devices get
//! a slot in the order in which they first complete something.
#![no_std]
#![no_main]

use aya_ebpf::{
    helpers::bpf_ktime_get_ns,
    macros::{btf_tracepoint, map},
    maps::{Array, HashMap},
    programs::BtfTracePointContext,
};
use pitot_common::{
    block::{BANK_WORDS, BYTES, DEVICES, IN_FLIGHT, IO, OTHER_DEVICE, Operation, QUEUE, REQUESTS, header},
    histogram::{SIZE_SLOTS, Scale, TIME_SLOTS},
};
use pitot_ebpf::{
    bank::{MMAPABLE, Shared},
    get,
    kernel::field,
    object, setting,
};

/// A request in flight.
#[repr(C)]
#[derive(Clone, Copy)]
struct Start {
    issued: u64,
    /// 0 when the kernel did not stamp the request.
    allocated: u64,
    bytes: u32,
    flags: u32,
}

/// Banks by device slot and operation.
#[map]
static BLOCK: Array<[u64; BANK_WORDS]> = Array::with_max_entries(1, MMAPABLE);
#[map]
static BLOCK_HEADER: Array<[u64; header::WORDS]> = Array::with_max_entries(1, MMAPABLE);
/// Slot by device number (`major << 20 | minor`, as the kernel keeps it).
#[map]
static BLOCK_DEVICE: HashMap<u32, u32> = HashMap::with_max_entries(DEVICES, 0);
#[map]
static BLOCK_START: HashMap<u64, Start> = HashMap::with_max_entries(IN_FLIGHT, 0);

setting! {
    /// `request.start_time_ns`
    RQ_START: u32;
    /// `request.cmd_flags`
    RQ_FLAGS: u32;
    /// `request.__data_len`
    RQ_LENGTH: u32;
    /// `request.q`, and `request_queue.disk`: the way to the disk since 5.15.
    RQ_QUEUE: u32;
    QUEUE_DISK: u32;
    /// `gendisk.major`, `gendisk.first_minor`
    DISK_MAJOR: u32;
    DISK_MINOR: u32;
}

#[inline(always)]
fn header() -> Option<Shared<'static, { header::WORDS }>> {
    let bank = BLOCK_HEADER.get_ptr_mut(0)?;
    // SAFETY: the kernel returned a pointer to a whole map value; `Shared` adds atomically.
    Some(Shared(unsafe { &mut *bank }))
}

#[inline(always)]
fn now() -> u64 {
    // SAFETY: a helper without preconditions.
    unsafe { bpf_ktime_get_ns() }
}

#[btf_tracepoint(function = "block_rq_issue")]
pub fn block_issue(ctx: BtfTracePointContext) -> i32 {
    let request: *const u8 = ctx.arg(0);
    // SAFETY: a trusted request pointer; the offsets come from the kernel's BTF.
    let allocated: u64 = unsafe { field(request, get!(RQ_START)) };
    // SAFETY: as above.
    let bytes: u32 = unsafe { field(request, get!(RQ_LENGTH)) };
    // SAFETY: as above.
    let flags: u32 = unsafe { field(request, get!(RQ_FLAGS)) };
    let start = Start { issued: now(), allocated, bytes, flags };
    // A request that is issued again after a requeue replaces its entry: the device time is the last try's.
    if BLOCK_START.insert(&(request as u64), &start, 0).is_err()
        && let Some(mut header) = header()
    {
        header.add(header::LOST, 1);
    }
    0
}

#[btf_tracepoint(function = "block_rq_complete")]
pub fn block_complete(ctx: BtfTracePointContext) -> i32 {
    let request: *const u8 = ctx.arg(0);
    let done = ctx.arg::<u64>(2) as u32;
    // SAFETY: a trusted request pointer; the offset comes from the kernel's BTF.
    let left: u32 = unsafe { field(request, get!(RQ_LENGTH)) };
    // A driver may complete a request in pieces; it counts when the last one is done.
    if done < left {
        return 0;
    }
    let Some(mut header) = header() else { return 0 };
    let key = request as u64;
    // SAFETY: the value is copied before the entry is removed; the request is this completion's alone.
    let Some(&start) = (unsafe { BLOCK_START.get(&key) }) else {
        // The kernel ends a write that waited for a flush twice: the second time nothing is left of it. One
        // that is nothing but a flush was never issued; the flush that was made for it is counted.
        if left != 0 {
            header.add(header::UNSEEN, 1);
        }
        return 0;
    };
    // A failure means that it has gone already.
    let _ = BLOCK_START.remove(&key);

    // SAFETY: as above, for each step from the request to its disk.
    let queue: *const u8 = unsafe { field(request, get!(RQ_QUEUE)) };
    // SAFETY: as above; a queue without a disk reads as zeros.
    let disk: *const u8 = unsafe { field(queue, get!(QUEUE_DISK)) };
    if disk.is_null() {
        return 0;
    }
    // SAFETY: as above.
    let major: u32 = unsafe { field(disk, get!(DISK_MAJOR)) };
    // SAFETY: as above.
    let minor: u32 = unsafe { field(disk, get!(DISK_MINOR)) };

    let slot = slot(&mut header, major << 20 | minor & 0xf_ffff);
    let operation = Operation::of(start.flags);
    let bank = slot as usize * Operation::COUNT + operation.index();
    let Some(bank) = BLOCK.get_ptr_mut(bank as u32) else { return 0 };
    // SAFETY: the kernel returned a pointer to a whole map value; `Shared` adds atomically.
    let mut bank = Shared(unsafe { &mut *bank });
    bank.add(REQUESTS, 1);
    bank.observe(IO, Scale::Nanoseconds, TIME_SLOTS, now().saturating_sub(start.issued));
    if start.allocated != 0 {
        bank.observe(QUEUE, Scale::Nanoseconds, TIME_SLOTS, start.issued.saturating_sub(start.allocated));
    }
    bank.observe(BYTES, Scale::Bytes, SIZE_SLOTS, u64::from(start.bytes));
    0
}

/// The slot of a device; a new device takes the next one, and the last slot is everybody else's.
#[inline(always)]
fn slot(header: &mut Shared<'_, { header::WORDS }>, device: u32) -> u32 {
    // SAFETY: a slot never changes once it is there.
    if let Some(&slot) = unsafe { BLOCK_DEVICE.get(&device) } {
        return slot;
    }
    let next = header.fetch_add(header::NEXT_DEVICE, 1);
    if next < u64::from(OTHER_DEVICE) {
        /// `BPF_NOEXIST`: of two CPUs that see a device first, one wins; the other's slot stays empty.
        const NO_EXIST: u64 = 1;
        let _ = BLOCK_DEVICE.insert(&device, &(next as u32), NO_EXIST);
        // SAFETY: as above.
        if let Some(&slot) = unsafe { BLOCK_DEVICE.get(&device) } {
            return slot;
        }
    }
    header.add(header::FOLDED, 1);
    OTHER_DEVICE
}

object!();
