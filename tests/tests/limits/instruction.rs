//! Instructions as the kernel numbers them (`Documentation/bpf/standardization/instruction-set.rst`).

use aya_obj::generated::bpf_insn;

/// An instruction, taken apart.
pub(crate) struct Instruction {
    code: u8,
    to: u8,
    from: u8,
    offset: i16,
    number: i32,
}

// The low three bits of a code: its class.
const LD: u8 = 0;
const LDX: u8 = 1;
const ST: u8 = 2;
const STX: u8 = 3;
const ALU: u8 = 4;
const JMP: u8 = 5;
const JMP32: u8 = 6;
const ALU64: u8 = 7;

/// Loads a 64-bit number.
const WIDE: u8 = 0x18;
// The high three bits of loads and stores.
const MEM: u8 = 0x60;
const ATOMIC: u8 = 0xc0;
/// What atomics do, with and without the result: add, or, and, xor, exchange, compare and exchange.
const ATOMICS: [i32; 10] = [0x00, 0x01, 0x40, 0x41, 0x50, 0x51, 0xa0, 0xa1, 0xe1, 0xf1];
// The high four bits of arithmetic and jumps.
const ADD: u8 = 0x00;
const MOV: u8 = 0xb0;
const END: u8 = 0xd0;
const JA: u8 = 0x00;
const CALL: u8 = 0x80;
const EXIT: u8 = 0x90;
const LAST_JUMP: u8 = 0xd0;
/// The second operand is a register.
const REGISTER: u8 = 0x08;

const FRAME: u8 = 10;

impl Instruction {
    pub(crate) fn of(raw: bpf_insn) -> Self {
        Self { code: raw.code, to: raw.dst_reg(), from: raw.src_reg(), offset: raw.off, number: raw.imm }
    }

    const fn class(&self) -> u8 {
        self.code & 7
    }

    const fn mode(&self) -> u8 {
        self.code & 0xe0
    }

    const fn operation(&self) -> u8 {
        self.code & 0xf0
    }

    /// Whether it takes the place behind it, too.
    pub(crate) const fn is_wide(&self) -> bool {
        self.code == WIDE
    }

    /// Whether it is of the third version of the instruction set, with the atomics of Linux 5.12 and these
    /// helpers; otherwise what it is.
    pub(crate) fn check(&self, last_helper: i32) -> Result<(), String> {
        let known = match self.class() {
            LD => self.is_wide(),
            LDX | ST => self.mode() == MEM,
            STX => self.mode() == MEM || self.mode() == ATOMIC && ATOMICS.contains(&self.number),
            // An offset is a sign that the fourth version gave to moves and divisions, and so is the swap
            // of bytes in the class of 64 bits.
            ALU => self.operation() <= END && self.offset == 0,
            ALU64 => self.operation() < END && self.offset == 0,
            // A call of a helper: neither of a function of the kernel nor of one of the object's own.
            JMP if self.operation() == CALL => {
                if self.from != 0 {
                    return Err(format!("a call of kind {}", self.from));
                }
                if !(1..=last_helper).contains(&self.number) {
                    return Err(format!("helper {}", self.number));
                }
                true
            }
            JMP => self.operation() <= LAST_JUMP,
            JMP32 => self.operation() <= LAST_JUMP && ![JA, CALL, EXIT].contains(&self.operation()),
            _ => false,
        };
        if known { Ok(()) } else { Err(format!("code {:#04x} with {:#x}", self.code, self.number)) }
    }

    /// Where a program goes on from here: the next instruction, the target of a jump, or both.
    fn ways(&self, at: usize) -> [Option<usize>; 2] {
        let jumps = [JMP, JMP32].contains(&self.class()) && ![CALL, EXIT].contains(&self.operation());
        let target = jumps.then(|| at.checked_add_signed(isize::from(self.offset) + 1)).flatten();
        let ends = self.class() == JMP && self.operation() == EXIT;
        let always = jumps && self.operation() == JA;
        let next = (!ends && !always).then_some(at + if self.is_wide() { 2 } else { 1 });
        [next, target]
    }

    /// Where on the stack it reads or writes by the frame pointer itself.
    fn touches(&self) -> Option<i32> {
        let base = match self.class() {
            LDX => self.from,
            ST | STX => self.to,
            _ => return None,
        };
        (base == FRAME).then_some(i32::from(self.offset))
    }

    const fn copies_frame(&self) -> bool {
        self.code == ALU64 | MOV | REGISTER && self.from == FRAME
    }
}

/// Instructions on all ways through a program together, which is what a verifier would walk through that
/// recognises nothing and takes no branch for impossible; nothing for a program with a loop.
pub(crate) fn walked(instructions: &[Instruction]) -> Option<u64> {
    #[derive(Clone, Copy)]
    enum Seen {
        Not,
        Under,
        Done(u64),
    }
    fn from(at: usize, instructions: &[Instruction], seen: &mut [Seen]) -> Option<u64> {
        match seen.get(at)? {
            Seen::Under => return None,
            Seen::Done(walked) => return Some(*walked),
            Seen::Not => seen[at] = Seen::Under,
        }
        let mut walked = 1u64;
        for way in instructions[at].ways(at).into_iter().flatten() {
            walked = walked.saturating_add(from(way, instructions, seen)?);
        }
        seen[at] = Seen::Done(walked);
        Some(walked)
    }
    from(0, instructions, &mut vec![Seen::Not; instructions.len()])
}

/// The lowest place of the stack that a program uses, counted from its upper end; or the place of a copied
/// address that is not moved down at once, as compilers do it.
pub(crate) fn deepest(instructions: &[Instruction]) -> Result<i32, usize> {
    let mut deepest = 0;
    for (at, instruction) in instructions.iter().enumerate() {
        deepest = deepest.min(instruction.touches().unwrap_or(0));
        if instruction.copies_frame() {
            let moved = instructions
                .get(at + 1)
                .filter(|next| next.code == ALU64 | ADD && next.to == instruction.to && next.number < 0);
            deepest = deepest.min(moved.ok_or(at)?.number);
        }
    }
    Ok(deepest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAST: i32 = 175;

    fn refused(code: u8, from: u8, offset: i16, number: i32) -> bool {
        Instruction { code, to: 1, from, offset, number }.check(LAST).is_err()
    }

    #[test]
    fn what_later_kernels_added_is_refused() {
        // Sign-extending load and move, signed division, unconditional swap of bytes.
        assert!(refused(0x81 | 0x18, 2, 0, 0) && refused(0xbf, 2, 8, 0) && refused(0x9f, 2, 1, 0));
        assert!(refused(0xd7, 0, 0, 16));
        // A long jump, a jump that may not be taken, an atomic load.
        assert!(refused(0x06, 0, 0, 4) && refused(0xe5, 0, 4, 0) && refused(0xdb, 2, 0, 0x100));
        // A helper of Linux 5.16, a function of the kernel, a function of the object.
        assert!(refused(0x85, 0, 0, 176) && refused(0x85, 2, 0, 7) && refused(0x85, 1, 0, 7));
    }

    #[test]
    fn what_the_third_version_has_is_known() {
        // Load, store, atomic add with its result, swap of bytes, 32-bit jump, helper, exit.
        for (code, offset, number) in [(0x61, 8, 0), (0x7b, -8, 0), (0xdb, 0, 1), (0xdc, 0, 16), (0x1e, 3, 0)]
        {
            assert!(!refused(code, 0, offset, number), "{code:#x}");
        }
        assert!(!refused(0x85, 0, 0, 175) && !refused(0x95, 0, 0, 0) && !refused(0x18, 1, 0, 0));
    }

    #[test]
    fn ways_that_meet_again_are_walked_twice_and_a_loop_never_ends() {
        let plain = || Instruction { code: 0xb7, to: 1, from: 0, offset: 0, number: 0 };
        let branch = |offset| Instruction { code: 0x15, to: 1, from: 0, offset, number: 0 };
        let exit = || Instruction { code: 0x95, to: 0, from: 0, offset: 0, number: 0 };
        assert_eq!(walked(&[plain(), exit()]), Some(2));
        assert_eq!(walked(&[branch(1), plain(), exit()]), Some(4));
        assert_eq!(walked(&[branch(0), branch(0), exit()]), Some(7));
        assert_eq!(walked(&[plain(), branch(-2), exit()]), None);
        assert_eq!(walked(&[plain()]), None, "it has no end");
    }

    #[test]
    fn the_stack_is_as_deep_as_its_lowest_address() {
        let store = |offset| Instruction { code: 0x7b, to: FRAME, from: 1, offset, number: 0 };
        let copy = || Instruction { code: 0xbf, to: 2, from: FRAME, offset: 0, number: 0 };
        let lower = |number| Instruction { code: 0x07, to: 2, from: 0, offset: 0, number };
        assert_eq!(deepest(&[store(-8), copy(), lower(-600), store(-16)]), Ok(-600));
        assert_eq!(deepest(&[store(-8), copy(), store(-8)]), Err(1));
    }
}
