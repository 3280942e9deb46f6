// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! TCP: connections made, failed and ended, how long that took, resets and retransmissions.
//!
//! Nothing here runs for a packet: a socket is looked at when it changes its state, when a reset goes or
//! comes, and when something is sent again.
//!
//! The tracepoints fire in system calls and in the soft interrupts that come in between, so two programs may
//! be at one CPU's bank: adds are atomic. The kernel does not run a program inside of itself; what it skips
//! for that is in `pitot_agent_ebpf_missed_runs_total`. A socket whose end was skipped leaves its entry in
//! the table until another socket gets its address and replaces it: a start is never taken for another's.
#![no_std]
#![no_main]

use aya_ebpf::{
    helpers::{bpf_get_smp_processor_id, bpf_ktime_get_ns, generated::bpf_skc_to_tcp_sock},
    macros::{btf_tracepoint, fentry, map},
    maps::{Array, HashMap},
    programs::{BtfTracePointContext, FEntryContext},
};
use pitot_common::{
    histogram::{Scale, TIME_SLOTS},
    tcp::{
        ACCEPT, BANK_WORDS, CONNECT, CONNECTION, CONNECTIONS, Direction, FAILED, RESETS, RETRANSMITS, RTT,
        Reset, STATE_WORDS, STATES, Segment, Step, TIMED, header, state,
    },
};
use pitot_ebpf::{
    bank::{MMAPABLE, Shared},
    get,
    kernel::field,
    object, setting,
};

/// Banks by CPU.
#[map]
static TCP: Array<[u64; BANK_WORDS]> = Array::with_max_entries(1, MMAPABLE);
#[map]
static TCP_HEADER: Array<[u64; header::WORDS]> = Array::with_max_entries(1, MMAPABLE);
/// By the address of a socket: when its connect began or, from then on, when it was established.
#[map]
static TCP_START: HashMap<u64, u64> = HashMap::with_max_entries(TIMED, 0);

setting! {
    /// 1 when the field below is known.
    RTT_ON: u32;
    /// `tcp_sock.srtt_us`
    TCP_SRTT: u32;
    /// `sock.__sk_common.skc_state`
    SK_STATE: u32;
    /// `sk_buff.cb`, and `tcp_skb_cb.tcp_gso_segs` in it.
    SKB_CB: u32;
    CB_SEGMENTS: u32;
    /// 1 when the tracepoint also fires for what could not be sent, with the error as a third argument.
    ERROR_ARG: u32;
}

#[inline(always)]
fn bank() -> Option<Shared<'static, BANK_WORDS>> {
    // SAFETY: a helper without preconditions.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let bank = TCP.get_ptr_mut(cpu)?;
    // SAFETY: the kernel returned a pointer to a whole map value; `Shared` adds atomically.
    Some(Shared(unsafe { &mut *bank }))
}

#[inline(always)]
fn header() -> Option<Shared<'static, { header::WORDS }>> {
    let bank = TCP_HEADER.get_ptr_mut(0)?;
    // SAFETY: as above.
    Some(Shared(unsafe { &mut *bank }))
}

#[inline(always)]
fn now() -> u64 {
    // SAFETY: a helper without preconditions.
    unsafe { bpf_ktime_get_ns() }
}

#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn tcp_state(ctx: BtfTracePointContext) -> i32 {
    let (old, new) = (ctx.arg::<u64>(1) as u32, ctx.arg::<u64>(2) as u32);
    let socket: *const u8 = ctx.arg(0);
    // The states of SCTP and MPTCP come by here, too. For a socket that is not TCP's the answer is null.
    // SAFETY: the socket that changes its state is alive as long as the tracepoint runs.
    let tcp: *const u8 = unsafe { bpf_skc_to_tcp_sock(socket.cast_mut().cast()) }.cast();
    if tcp.is_null() {
        return 0;
    }
    let Some(mut bank) = bank() else { return 0 };
    bank.add(STATES + (new as usize & (STATE_WORDS - 1)), 1);
    let Some(step) = Step::of(old, new) else { return 0 };
    let key = socket as u64;
    let now = now();
    match step {
        Step::Connecting => begin(key, now),
        Step::Connected => {
            bank.add(CONNECTIONS + Direction::Active.index(), 1);
            if let Some(began) = end(key) {
                bank.observe(CONNECT, Scale::Nanoseconds, TIME_SLOTS, now.saturating_sub(began));
            }
            begin(key, now);
        }
        Step::Failed => {
            bank.add(FAILED, 1);
            let _ = end(key);
        }
        // If both sides ask at the same moment, each counts it as the other's.
        Step::Accepted => {
            bank.add(CONNECTIONS + Direction::Passive.index(), 1);
            begin(key, now);
        }
        // There is an entry only if both sides had asked.
        Step::Dropped => {
            let _ = TCP_START.remove(&key);
        }
        Step::Closed => {
            if let Some(began) = end(key) {
                bank.observe(CONNECTION, Scale::Nanoseconds, TIME_SLOTS, now.saturating_sub(began));
            }
            if get!(RTT_ON) == 1 {
                // SAFETY: the kernel's helper returned this TCP socket; the offset comes from the kernel's BTF.
                let eighths: u32 = unsafe { field(tcp, get!(TCP_SRTT)) };
                // Zero: nothing that was sent has ever been acknowledged.
                if eighths != 0 {
                    bank.observe(RTT, Scale::Nanoseconds, TIME_SLOTS, u64::from(eighths) * 125);
                }
            }
        }
    }
    0
}

/// A socket that waited for `accept` gets the file that a program will use it by. Sockets of other protocols
/// come by as well and have no entry; no tracepoint tells of this moment.
#[fentry(function = "security_sock_graft")]
pub fn tcp_accept(ctx: FEntryContext) -> i32 {
    let socket: *const u8 = ctx.arg(0);
    // SAFETY: the value is copied at once; the entry stays until the connection is closed.
    let Some(&established) = (unsafe { TCP_START.get(&(socket as u64)) }) else { return 0 };
    if let Some(mut bank) = bank() {
        bank.observe(ACCEPT, Scale::Nanoseconds, TIME_SLOTS, now().saturating_sub(established));
    }
    0
}

/// Notes the start of a connect or a connection; replaces what the address stood for before.
#[inline(always)]
fn begin(key: u64, now: u64) {
    if TCP_START.insert(&key, &now, 0).is_err()
        && let Some(mut header) = header()
    {
        header.add(header::LOST, 1);
    }
}

/// The start of what ends now; its entry is gone.
#[inline(always)]
fn end(key: u64) -> Option<u64> {
    // SAFETY: the value is copied before the entry is removed; a socket changes its state in one place at a
    // time.
    if let Some(&began) = unsafe { TCP_START.get(&key) } {
        // A failure means that it has gone already.
        let _ = TCP_START.remove(&key);
        return Some(began);
    }
    let mut header = header()?;
    // What found the table full was counted at its start. Which end is whose is not known, only how many.
    if header.0[header::LOST_ENDED] < header.0[header::LOST] {
        header.add(header::LOST_ENDED, 1);
    } else {
        header.add(header::UNSEEN, 1);
    }
    None
}

#[btf_tracepoint(function = "tcp_retransmit_skb")]
pub fn tcp_retransmit(ctx: BtfTracePointContext) -> i32 {
    if get!(ERROR_ARG) == 1 && ctx.arg::<u64>(2) as u32 != 0 {
        return 0;
    }
    let (socket, packet): (*const u8, *const u8) = (ctx.arg(0), ctx.arg(1));
    // SAFETY: a trusted socket pointer; the offset comes from the kernel's BTF.
    let in_state: u8 = unsafe { field(socket, get!(SK_STATE)) };
    // SAFETY: the same for the packet; its control block is TCP's while TCP has it.
    let segments: u16 = unsafe { field(packet, get!(SKB_CB) + get!(CB_SEGMENTS)) };
    let segment = if u32::from(in_state) == state::SYN_SENT { Segment::Syn } else { Segment::Data };
    count(RETRANSMITS + segment.index(), u64::from(segments))
}

#[btf_tracepoint(function = "tcp_retransmit_synack")]
pub fn tcp_synack(_ctx: BtfTracePointContext) -> i32 {
    count(RETRANSMITS + Segment::SynAck.index(), 1)
}

#[btf_tracepoint(function = "tcp_send_reset")]
pub fn tcp_send_reset(_ctx: BtfTracePointContext) -> i32 {
    count(RESETS + Reset::Sent.index(), 1)
}

#[btf_tracepoint(function = "tcp_receive_reset")]
pub fn tcp_recv_reset(_ctx: BtfTracePointContext) -> i32 {
    count(RESETS + Reset::Received.index(), 1)
}

#[inline(always)]
fn count(word: usize, n: u64) -> i32 {
    if let Some(mut bank) = bank() {
        bank.add(word, n);
    }
    0
}

object!();
