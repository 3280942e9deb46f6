// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Network: buffers and bytes by device and direction, and dropped buffers by the kernel's reason.
//!
//! A buffer is what the stack handles at once: one packet, or many that are sent as one and cut later (GSO),
//! or that were put together when they came in (GRO). It is counted as received when the stack takes it from
//! the device, and as sent when the driver has taken it; what the driver refuses comes again.
//!
//! A device is known by its number, which only its own network namespace gives to no other device. So only
//! those of the host's namespace are told apart; of them, the ends of pairs that lead to containers share
//! one slot: there are as many as pods, they come and go, and each would take a slot for ever.
//!
//! Plain stores are enough for traffic: soft interrupts run one at a time on a CPU, and who sends or receives
//! outside of one has turned them off. Where they can be preempted all the same (PREEMPT_RT), the kernel does
//! not run a program inside of itself, and no word is written by both programs. Drops happen anywhere, also
//! in a system call that is interrupted: those are atomic adds.
#![no_std]
#![no_main]

use aya_ebpf::{
    helpers::bpf_get_smp_processor_id,
    macros::{btf_tracepoint, map, raw_tracepoint},
    maps::{Array, HashMap},
    programs::{BtfTracePointContext, RawTracePointContext},
};
use pitot_common::net::{
    BANK_WORDS, Direction, Name, REASON_WORDS, RECENT, cleaned, header, reason_word, recent, slot, slot_of,
    word,
};
use pitot_ebpf::{
    bank::{MMAPABLE, Own, Shared, opaque},
    get,
    kernel::field,
    object, setting,
};

/// Traffic by CPU, slot and direction.
#[map]
static NET: Array<[u64; BANK_WORDS]> = Array::with_max_entries(1, MMAPABLE);
/// Drops by CPU and reason.
#[map]
static NET_DROP: Array<[u64; REASON_WORDS]> = Array::with_max_entries(1, MMAPABLE);
#[map]
static NET_HEADER: Array<[u64; header::WORDS]> = Array::with_max_entries(1, MMAPABLE);
/// Slot by name: a device that is made again under its name goes on where it was.
#[map]
static NET_DEVICE: HashMap<Name, u32> = HashMap::with_max_entries(slot::COUNT, 0);
/// Number and slot of the devices that were looked up, by the lower bits of the number.
#[map]
static NET_RECENT: Array<u64> = Array::with_max_entries(RECENT, 0);

setting! {
    /// `sk_buff.dev`, `sk_buff.len`
    SKB_DEV: u32;
    SKB_LEN: u32;
    /// `net_device.nd_net.net`, and `net.ns.inum`: the namespace's number.
    DEV_NET: u32;
    NET_INUM: u32;
    /// The number of the host's namespace.
    HOST_NET: u32;
    /// `net_device.ifindex`, `net_device.name`
    DEV_INDEX: u32;
    DEV_NAME: u32;
    /// `net_device.netdev_ops`, and `net_device_ops.ndo_get_peer_dev`, which only drivers of pairs have.
    DEV_OPS: u32;
    OPS_PEER: u32;
    /// 1 when traffic is wanted and all of these are known.
    TRAFFIC_ON: u32;
    /// 1 when the tracepoint says why a buffer is dropped.
    REASON_ARG: u32;
}

#[btf_tracepoint(function = "netif_receive_skb")]
pub fn net_receive(ctx: BtfTracePointContext) -> i32 {
    let buffer: *const u8 = ctx.arg(0);
    // SAFETY: a trusted buffer pointer; the offsets come from the kernel's BTF.
    let device: *const u8 = unsafe { field(buffer, get!(SKB_DEV)) };
    // SAFETY: as above.
    let length: u32 = unsafe { field(buffer, get!(SKB_LEN)) };
    count(device, Direction::Receive, length)
}

#[btf_tracepoint(function = "net_dev_xmit")]
pub fn net_transmit(ctx: BtfTracePointContext) -> i32 {
    // `NETDEV_TX_OK`. The buffer itself may be gone by now: its length is an argument.
    if ctx.arg::<u64>(1) as u32 != 0 {
        return 0;
    }
    count(ctx.arg(2), Direction::Transmit, ctx.arg::<u64>(3) as u32)
}

#[inline(always)]
fn count(device: *const u8, direction: Direction, length: u32) -> i32 {
    if get!(TRAFFIC_ON) != 1 {
        return 0;
    }
    let at = word(slot(device), direction);
    // SAFETY: a helper without preconditions.
    let Some(bank) = NET.get_ptr_mut(unsafe { bpf_get_smp_processor_id() }) else { return 0 };
    // SAFETY: the kernel returned a pointer to a whole map value; only this CPU writes it (see above).
    let mut bank = Own(unsafe { &mut *bank });
    bank.add(opaque(at), 1);
    bank.add(opaque(at + 1), u64::from(length));
    0
}

/// The slot of a device.
#[inline(always)]
fn slot(device: *const u8) -> u32 {
    // SAFETY: a device that sends or receives is alive; the offsets come from the kernel's BTF.
    let namespace: *const u8 = unsafe { field(device, get!(DEV_NET)) };
    // SAFETY: as above.
    let namespace: u32 = unsafe { field(namespace, get!(NET_INUM)) };
    if namespace != get!(HOST_NET) {
        return slot::OTHER_NAMESPACES;
    }
    // SAFETY: as above.
    let number: u32 = unsafe { field(device, get!(DEV_INDEX)) };
    let Some(place) = NET_RECENT.get_ptr_mut(number % RECENT) else { return slot::OTHER };
    // SAFETY: the kernel returned a pointer to a map value; number and slot are read and written as one.
    if let Some(slot) = slot_of(unsafe { place.read_volatile() }, number) {
        return slot;
    }
    let Some(slot) = look_up(device) else { return slot::OTHER };
    // The kernel counts devices up and does not use a number again before it has used all; two that share
    // a place push each other out.
    // SAFETY: as above.
    unsafe { place.write_volatile(recent(number, slot)) };
    slot
}

/// The slot by what the device is; a new name takes the next one. `None`: not now, the table is in use.
#[inline(always)]
fn look_up(device: *const u8) -> Option<u32> {
    // SAFETY: as in `slot`.
    let operations: *const u8 = unsafe { field(device, get!(DEV_OPS)) };
    // SAFETY: as above; the address of a function, which is only compared.
    if unsafe { field::<u64>(operations, get!(OPS_PEER)) } != 0 {
        return Some(slot::VETH);
    }
    // SAFETY: as above, for both halves of the name.
    let halves = unsafe { [field(device, get!(DEV_NAME)), field(device, get!(DEV_NAME) + 8)] };
    let name = cleaned(halves);
    // SAFETY: a slot never changes once it is there.
    if let Some(&slot) = unsafe { NET_DEVICE.get(&name) } {
        return Some(slot);
    }
    let header = NET_HEADER.get_ptr_mut(0)?;
    // SAFETY: the kernel returned a pointer to a whole map value; `Shared` adds atomically.
    let mut header = Shared(unsafe { &mut *header });
    let next = header.fetch_add(header::NEXT_DEVICE, 1);
    if next >= u64::from(slot::OTHER - slot::FIRST) {
        return Some(slot::OTHER);
    }
    /// `BPF_NOEXIST`: of two CPUs that see a device first, one wins; the other's slot stays empty.
    const NO_EXIST: u64 = 1;
    let next = next as u32 + slot::FIRST;
    if NET_DEVICE.insert(&name, &next, NO_EXIST).is_ok() {
        // For the agent. Nobody else adds to these words, and they were zero.
        let at = header::NAMES + 2 * next as usize;
        header.add(opaque(at + 1), name[1]);
        header.add(opaque(at), name[0]);
        return Some(next);
    }
    // SAFETY: as above.
    unsafe { NET_DEVICE.get(&name) }.copied()
}

#[btf_tracepoint(function = "kfree_skb")]
pub fn net_drop(ctx: BtfTracePointContext) -> i32 {
    dropped(if get!(REASON_ARG) == 1 { ctx.arg::<u64>(2) as u32 } else { 0 })
}

/// Without BTF it is not known whether there is a reason.
#[raw_tracepoint(tracepoint = "kfree_skb")]
pub fn net_drop_r(ctx: RawTracePointContext) -> i32 {
    dropped(if get!(REASON_ARG) == 1 { ctx.arg::<u64>(2) as u32 } else { 0 })
}

#[inline(always)]
fn dropped(reason: u32) -> i32 {
    // SAFETY: a helper without preconditions.
    let Some(bank) = NET_DROP.get_ptr_mut(unsafe { bpf_get_smp_processor_id() }) else { return 0 };
    // SAFETY: the kernel returned a pointer to a whole map value; `Shared` adds atomically.
    let mut bank = Shared(unsafe { &mut *bank });
    bank.add(opaque(reason_word(reason)), 1);
    0
}

object!();
