//! Network: buffers and bytes by device, and buffers that were dropped, by reason.

use crate::bank::{LINE_WORDS, padded};

slots! {
    /// Which way a buffer goes through the device.
    pub enum Direction {
        /// From the device into the network stack.
        Receive = "receive",
        /// From the network stack to the device.
        Transmit = "transmit",
    }
}

/// Slots of devices: a few that many share, and one for every other device of the host.
pub mod slot {
    /// Devices of network namespaces other than the host's.
    pub const OTHER_NAMESPACES: u32 = 0;
    /// The host's ends of pairs whose other end is a container's: `veth`, `netkit`.
    pub const VETH: u32 = 1;
    /// The first that is a device's own.
    pub const FIRST: u32 = 2;
    /// Devices that came when all slots were taken.
    pub const OTHER: u32 = COUNT - 1;
    /// How many there are.
    pub const COUNT: u32 = 64;
}

/// Word that counts the buffers of a slot and direction; the next one counts their bytes.
#[inline(always)]
pub const fn word(slot: u32, direction: Direction) -> usize {
    (slot as usize * Direction::COUNT + direction.index()) * 2
}

/// Words of one CPU's bank of traffic.
pub const BANK_WORDS: usize = padded(slot::COUNT as usize * Direction::COUNT * 2);

/// Reasons that are told apart, and some that share a word.
pub const REASONS: u32 = 256;
/// Words of one CPU's bank of drops: by the kernel's number of the reason.
pub const REASON_WORDS: usize = REASONS as usize;
/// Reasons that a subsystem numbers for itself, such as Open vSwitch.
pub const SUBSYSTEM_REASON: usize = REASON_WORDS - 2;
/// Numbers too high for a word of their own; Linux 6.18 has some 130.
pub const OTHER_REASON: usize = REASON_WORDS - 1;

/// The word of a reason (`enum skb_drop_reason`). Its upper half is the subsystem that numbers it; 0 is the
/// network stack itself.
#[inline(always)]
pub const fn reason_word(reason: u32) -> usize {
    if reason >> 16 != 0 {
        SUBSYSTEM_REASON
    } else if (reason as usize) < SUBSYSTEM_REASON {
        reason as usize
    } else {
        OTHER_REASON
    }
}

/// A device's name as two words: `char name[16]`, filled up with zeros.
pub type Name = [u64; 2];

/// A name without what may stand behind its closing zero, left there by a longer name before it.
#[inline(always)]
pub const fn cleaned(name: Name) -> Name {
    let [first, last] = name;
    let kept = up_to_zero(first);
    if kept == u64::MAX { [first, last & up_to_zero(last)] } else { [first & kept, 0] }
}

/// A mask of the bytes before the first zero, from the lowest on.
#[inline(always)]
const fn up_to_zero(bytes: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // The lowest bit that is set here is the upper one of the first byte that is zero.
    let zeros = bytes.wrapping_sub(ONES) & !bytes & (ONES << 7);
    if zeros == 0 {
        return u64::MAX;
    }
    // Everything below that bit, and of the byte itself nothing that counts: it is zero.
    (zeros & zeros.wrapping_neg()) - 1
}

/// Devices whose slot is found without a look at their names, by the lower bits of the device's number.
pub const RECENT: u32 = 4_096;

/// What is remembered of a device: its number and its slot.
#[inline(always)]
pub const fn recent(number: u32, slot: u32) -> u64 {
    (number as u64) << 32 | slot as u64
}

/// The slot that is remembered, if it is this device's. Devices count from 1, so zeros are nobody's.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
pub const fn slot_of(recent: u64, number: u32) -> Option<u32> {
    if (recent >> 32) as u32 == number { Some(recent as u32) } else { None }
}

/// Words of the header bank.
pub mod header {
    use super::{LINE_WORDS, padded, slot};

    /// Slots handed out so far, beyond [`slot::FIRST`] (may pass [`slot::OTHER`]).
    pub const NEXT_DEVICE: usize = 0;
    /// First word of the names by slot, two words each; 0: nobody's.
    pub const NAMES: usize = LINE_WORDS;
    /// Words in all.
    pub const WORDS: usize = padded(NAMES + 2 * slot::COUNT as usize);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(bytes: [u8; 16]) -> Name {
        let mut halves = bytes.chunks_exact(8).map(|half| u64::from_le_bytes(half.try_into().unwrap()));
        [halves.next().unwrap(), halves.next().unwrap()]
    }

    #[test]
    fn a_name_ends_at_its_first_zero() {
        let clean = |bytes| cleaned(name(bytes));
        assert_eq!(clean(*b"eth0\0ab12\0\0\0\0\0\0\0"), name(*b"eth0\0\0\0\0\0\0\0\0\0\0\0\0"));
        assert_eq!(clean(*b"\x01\x80\0x\0yyyyyyyyyy\0"), name(*b"\x01\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\0"));
        assert_eq!(clean(*b"12345678\0bcdefg\0"), name(*b"12345678\0\0\0\0\0\0\0\0"));
        assert_eq!(clean(*b"123456789\0xyz\0a\0"), name(*b"123456789\0\0\0\0\0\0\0"));
        let longest = name(*b"a\x80\xff\x01efghijklmno\0");
        assert_eq!(cleaned(longest), longest);
        assert_eq!(clean(*b"\0veth1234567890\0"), [0, 0]);
    }

    #[test]
    fn a_slot_is_remembered_for_its_device_alone() {
        let seen = recent(7, slot::OTHER);
        assert_eq!((slot_of(seen, 7), slot_of(seen, 7 + RECENT)), (Some(slot::OTHER), None));
        assert_eq!(slot_of(0, 1), None);
    }

    #[test]
    fn every_reason_has_a_word() {
        assert_eq!((reason_word(0), reason_word(6), reason_word(253)), (0, 6, 253));
        assert_eq!((reason_word(254), reason_word(0xffff)), (OTHER_REASON, OTHER_REASON));
        assert_eq!((reason_word(0x1_0003), reason_word(u32::MAX)), (SUBSYSTEM_REASON, SUBSYSTEM_REASON));
    }

    #[test]
    fn the_last_word_of_traffic_is_in_the_bank() {
        assert_eq!(word(slot::OTHER, Direction::Transmit) + 2, BANK_WORDS);
    }
}
