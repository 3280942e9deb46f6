// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Block I/O: queue time, device time and size of every request, by device and operation; how many are in
//! flight; and what was done for each cgroup.
//!
//! A request is looked at when it is handed to the driver and when the driver is done with it. The entry of
//! [`BLOCK_START`] that it has in between says for whom it is counted: the device's slot is taken when it
//! begins, because it is in flight from then on, and the cgroup's when it ends. Who has had the slot in the
//! meantime does not matter: the entry keeps both identities.
#![no_std]
#![no_main]

use aya_ebpf::{
    helpers::{bpf_get_current_cgroup_id, bpf_ktime_get_ns},
    macros::{btf_tracepoint, map},
    maps::{Array, HashMap},
    programs::BtfTracePointContext,
};
use pitot_common::{
    block::{
        BANK_WORDS, BYTES, DONE, IN_FLIGHT, IO, ISSUED, Operation, QUEUE, REQUESTS, device, header, owner,
    },
    histogram::{SIZE_SLOTS, Scale, TIME_SLOTS},
};
use pitot_ebpf::{
    bank::{MMAPABLE, Shared, opaque},
    get,
    kernel::field,
    object,
    owner::slot_of,
    owners, setting, table,
};

/// A request in flight.
#[repr(C)]
#[derive(Clone, Copy)]
struct Start {
    issued: u64,
    /// 0 when the kernel did not stamp the request.
    allocated: u64,
    /// The slot of the device, or [`device::NONE`], and its identity.
    slot: u64,
    device: u64,
    /// The identity of the cgroup.
    cgroup: u64,
    bytes: u32,
    flags: u32,
}

/// Banks by device slot and operation.
#[map]
static BLOCK: Array<[u64; BANK_WORDS]> = Array::with_max_entries(1, MMAPABLE);
/// Banks by owner.
#[map]
static BLOCK_OWNER: Array<[u64; owner::WORDS]> = Array::with_max_entries(1, MMAPABLE);
#[map]
static BLOCK_HEADER: Array<[u64; header::WORDS]> = Array::with_max_entries(1, MMAPABLE);
/// Which device has which slot.
#[map]
static BLOCK_DEVICE: Array<[u64; device::TABLE_WORDS]> = Array::with_max_entries(1, MMAPABLE);
#[map]
static BLOCK_START: HashMap<u64, Start> = HashMap::with_max_entries(IN_FLIGHT, 0);
owners!();

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
    /// `gendisk.major`, `gendisk.first_minor`, `gendisk.diskseq`: what identifies the disk.
    DISK_MAJOR: u32;
    DISK_MINOR: u32;
    DISK_SEQUENCE: u32;
    /// 1 when the fields of the bio's cgroup are known.
    BIO_OWNER: u32;
    /// `request.bio`, `bio.bi_blkg`, `blkcg_gq.blkcg`, `blkcg.css.cgroup`: the way to the cgroup.
    RQ_BIO: u32;
    BIO_GROUP: u32;
    GROUP_BLKCG: u32;
    BLKCG_CGROUP: u32;
    /// `cgroup.root`, `cgroup_root.hierarchy_id`, `cgroup.level`: whether it says whose the bio is.
    CGROUP_ROOT: u32;
    ROOT_HIERARCHY: u32;
    CGROUP_LEVEL: u32;
    /// `cgroup.kn`, `kernfs_node.id`
    CGROUP_NODE: u32;
    NODE_ID: u32;
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

/// The bank of a device's slot and an operation.
#[inline(always)]
fn bank(slot: u64, flags: u32) -> Option<Shared<'static, BANK_WORDS>> {
    if slot > u64::from(device::OTHER) {
        return None;
    }
    let bank = BLOCK.get_ptr_mut(slot as u32 * Operation::COUNT as u32 + Operation::of(flags) as u32)?;
    // SAFETY: the kernel returned a pointer to a whole map value; `Shared` adds atomically.
    Some(Shared(unsafe { &mut *bank }))
}

/// The identity of a request's device.
#[inline(always)]
fn device_of(request: *const u8) -> Option<u64> {
    // SAFETY: a trusted request pointer, and each step from it to its disk; the offsets come from the kernel's
    // BTF.
    let queue: *const u8 = unsafe { field(request, get!(RQ_QUEUE)) };
    // SAFETY: as above; a queue without a disk reads as zeros.
    let disk: *const u8 = unsafe { field(queue, get!(QUEUE_DISK)) };
    if disk.is_null() {
        return None;
    }
    // SAFETY: as above.
    let major: u32 = unsafe { field(disk, get!(DISK_MAJOR)) };
    // SAFETY: as above.
    let minor: u32 = unsafe { field(disk, get!(DISK_MINOR)) };
    // SAFETY: as above.
    let sequence: u64 = unsafe { field(disk, get!(DISK_SEQUENCE)) };
    Some(device::identity(major, minor, sequence))
}

/// The slot of a device, [`device::OTHER`] when there is none.
#[inline(always)]
fn device_slot(identity: u64) -> u64 {
    const _: () = assert!(device::OTHER == device::SLOTS);
    let Some(devices) = BLOCK_DEVICE.get_ptr_mut(0) else { return device::NONE };
    // SAFETY: the kernel returned a pointer to a whole map value.
    let devices = unsafe { &mut *devices };
    // Where it was found last it mostly still is, which saves the search.
    let hint = &raw mut devices[device::hint(identity)];
    // SAFETY: a word of the map value; volatile, because other CPUs write it.
    let hinted = unsafe { core::ptr::read_volatile(hint) };
    if hinted < u64::from(device::SLOTS) && is_still(hinted, identity) {
        return hinted;
    }
    let slot = table::slot_of::<{ device::TABLE_WORDS }, { device::SLOTS }, { device::WAYS }, true>(
        devices, identity,
    );
    if slot < device::SLOTS {
        // SAFETY: as above.
        unsafe { core::ptr::write_volatile(hint, u64::from(slot)) };
    }
    u64::from(slot)
}

/// Whether a slot is still that of the device for which a request began.
#[inline(always)]
fn is_still(slot: u64, identity: u64) -> bool {
    if slot >= u64::from(device::SLOTS) {
        return true;
    }
    let Some(devices) = BLOCK_DEVICE.get_ptr_mut(0) else { return false };
    // SAFETY: the kernel returned a pointer to a whole map value.
    let devices = unsafe { &*devices };
    let Some(here) = devices.get(opaque(slot as usize)) else { return false };
    // SAFETY: a reference to a word of the table; volatile, because others write it.
    unsafe { core::ptr::read_volatile(here) == identity }
}

/// The identity of the cgroup for which a request is made: its bio's, which is that of whoever dirtied the page
/// even if a worker writes it. Where that does not tell, the running task's: there is no bio (a flush), it
/// belongs to a tree of version 1, or it is the root of the unified tree, which is what all bios have where the
/// io controller is off.
#[inline(always)]
fn cgroup_of(request: *const u8) -> u64 {
    if get!(BIO_OWNER) == 1 {
        // SAFETY: a trusted request pointer, and each step from it; the offsets come from the kernel's BTF, and
        // what a null pointer leads to reads as zeros.
        let bio: *const u8 = unsafe { field(request, get!(RQ_BIO)) };
        // SAFETY: as above.
        let group: *const u8 = unsafe { field(bio, get!(BIO_GROUP)) };
        // SAFETY: as above.
        let blkcg: *const u8 = unsafe { field(group, get!(GROUP_BLKCG)) };
        // SAFETY: as above.
        let cgroup: *const u8 = unsafe { field(blkcg, get!(BLKCG_CGROUP)) };
        // SAFETY: as above.
        let level: u32 = unsafe { field(cgroup, get!(CGROUP_LEVEL)) };
        if level != 0 {
            // SAFETY: as above.
            let root: *const u8 = unsafe { field(cgroup, get!(CGROUP_ROOT)) };
            // SAFETY: as above.
            let hierarchy: u32 = unsafe { field(root, get!(ROOT_HIERARCHY)) };
            // SAFETY: as above.
            let node: *const u8 = unsafe { field(cgroup, get!(CGROUP_NODE)) };
            // SAFETY: as above.
            let id: u64 = unsafe { field(node, get!(NODE_ID)) };
            if hierarchy == 0 && id != 0 {
                return id;
            }
        }
    }
    // SAFETY: a helper without preconditions.
    unsafe { bpf_get_current_cgroup_id() }
}

/// Ends what is in flight for a device, if it still has its slot.
#[inline(always)]
fn end(start: &Start) -> Option<Shared<'static, BANK_WORDS>> {
    if !is_still(start.slot, start.device) {
        return None;
    }
    let mut bank = bank(start.slot, start.flags)?;
    bank.add(DONE, 1);
    Some(bank)
}

#[btf_tracepoint(function = "block_rq_issue")]
pub fn block_issue(ctx: BtfTracePointContext) -> i32 {
    let request: *const u8 = ctx.arg(0);
    let key = request as u64;
    // A request that is issued again after a requeue has an entry. So has one of which the kernel did not show
    // the end. It is replaced, and the device time is the last try's.
    // SAFETY: nobody else has this request.
    if let Some(start) = unsafe { BLOCK_START.get(&key) } {
        end(start);
    }
    // SAFETY: a trusted request pointer; the offsets come from the kernel's BTF.
    let allocated: u64 = unsafe { field(request, get!(RQ_START)) };
    // SAFETY: as above.
    let bytes: u32 = unsafe { field(request, get!(RQ_LENGTH)) };
    // SAFETY: as above.
    let flags: u32 = unsafe { field(request, get!(RQ_FLAGS)) };
    let (slot, device) = match device_of(request) {
        Some(identity) => (device_slot(identity), identity),
        None => (device::NONE, 0),
    };
    let start = Start { issued: now(), allocated, slot, device, cgroup: cgroup_of(request), bytes, flags };
    let stored = BLOCK_START.insert(&key, &start, 0).is_ok();
    if !stored && let Some(mut header) = header() {
        header.add(header::LOST, 1);
    }
    if stored && let Some(mut bank) = bank(slot, flags) {
        bank.add(ISSUED, 1);
    }
    if slot == u64::from(device::OTHER)
        && let Some(mut header) = header()
    {
        header.add(header::FOLDED, 1);
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
    let key = request as u64;
    // SAFETY: the value is copied before the entry is removed; the request is this completion's alone.
    let Some(&start) = (unsafe { BLOCK_START.get(&key) }) else {
        // The kernel ends a write that waited for a flush twice: the second time nothing is left of it. One
        // that is nothing but a flush was never issued; the flush that was made for it is counted.
        if left != 0
            && let Some(mut header) = header()
        {
            header.add(header::UNSEEN, 1);
        }
        return 0;
    };
    // A failure means that it has gone already.
    let _ = BLOCK_START.remove(&key);
    let Some(mut bank) = end(&start) else { return 0 };
    count_owner(&start);
    bank.add(REQUESTS, 1);
    bank.observe(IO, Scale::Nanoseconds, TIME_SLOTS, now().saturating_sub(start.issued));
    if start.allocated != 0 {
        bank.observe(QUEUE, Scale::Nanoseconds, TIME_SLOTS, start.issued.saturating_sub(start.allocated));
    }
    bank.observe(BYTES, Scale::Bytes, SIZE_SLOTS, u64::from(start.bytes));
    0
}

/// Counts a request for its cgroup.
#[inline(always)]
fn count_owner(start: &Start) {
    let Some(bank) = BLOCK_OWNER.get_ptr_mut(slot_of(&OWNER_TABLE, start.cgroup)) else { return };
    // SAFETY: the kernel returned a pointer to a whole map value; `Shared` adds atomically.
    let mut bank = Shared(unsafe { &mut *bank });
    let operation = Operation::of(start.flags).index();
    bank.add(opaque(owner::REQUESTS + operation), 1);
    bank.add(opaque(owner::BYTES + operation), u64::from(start.bytes));
}

object!();
