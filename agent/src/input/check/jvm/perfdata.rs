//! The file that a Java virtual machine keeps its counters in, parsed in place.
//!
//! ```text
//! magic ca fe c0 c0, byte order u8, major u8, minor u8, accessible u8, used u32, overflow u32, changed u64,
//! first entry u32, entries u32                                                            32 bytes
//! entry: length u32, name at u32, elements u32, type u8, flags u8, unit u8, changes u8, data at u32; name, data
//! ```
//!
//! Whoever owns the file may write anything into it: no length and no place is believed, and every step forward takes
//! at least the head of an entry.

const MAGIC: [u8; 4] = [0xca, 0xfe, 0xc0, 0xc0];
const MAJOR: u8 = 2;
const HEADER: usize = 32;
const ENTRY: usize = 20;

/// Why a file has no counters to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// It is none of these files, or of another version, or broken.
    Format,
    /// The machine is about to start and says that it is not ready.
    Starting,
}

/// The counters of a file, in its order. After a flaw there are no more.
#[derive(Debug)]
pub(super) struct Counters<'a> {
    /// What is in use of the file, from its start.
    used: &'a [u8],
    little: bool,
    at: usize,
    left: u32,
}

/// A value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Number(i64),
    Text(&'a [u8]),
    /// Of a kind that no machine writes.
    Other,
}

impl<'a> Counters<'a> {
    /// Looks at the head of a file.
    pub(super) fn of(file: &'a [u8]) -> Result<Self, Flaw> {
        let (head, _) = file.split_first_chunk::<HEADER>().ok_or(Flaw::Format)?;
        let [m0, m1, m2, m3, order, major, _minor, accessible, ..] = *head;
        if [m0, m1, m2, m3] != MAGIC || order > 1 || major != MAJOR {
            return Err(Flaw::Format);
        }
        if accessible == 0 {
            return Err(Flaw::Starting);
        }
        let little = order == 1;
        let number = |at| word(head, at, little).ok_or(Flaw::Format);
        let (used, at, left) = (number(8)? as usize, number(24)? as usize, number(28)?);
        let used = file.get(..used).ok_or(Flaw::Format)?;
        if at < HEADER {
            return Err(Flaw::Format);
        }
        Ok(Self { used, little, at, left })
    }

    fn step(&mut self) -> Option<(&'a [u8], Value<'a>)> {
        let little = self.little;
        let from = self.used.get(self.at..)?;
        let length = word(from, 0, little)? as usize;
        let entry = from.get(..length).filter(|entry| entry.len() >= ENTRY)?;
        let (name, elements, data) =
            (word(entry, 4, little)? as usize, word(entry, 8, little)?, word(entry, 16, little)? as usize);
        if name < ENTRY || data < ENTRY {
            return None;
        }
        let name = until_zero(entry.get(name..)?)?;
        let data = entry.get(data..)?;
        let value = match (entry.get(12)?, elements) {
            (b'J', 0) => {
                let bytes = *data.first_chunk()?;
                Value::Number(if little { i64::from_le_bytes(bytes) } else { i64::from_be_bytes(bytes) })
            }
            (b'B', 1..) => Value::Text(until_zero(data.get(..elements as usize)?)?),
            _ => Value::Other,
        };
        self.at += length;
        Some((name, value))
    }
}

impl<'a> Iterator for Counters<'a> {
    type Item = Result<(&'a [u8], Value<'a>), Flaw>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let step = self.step().ok_or(Flaw::Format);
        if step.is_err() {
            self.left = 0;
        }
        Some(step)
    }
}

fn word(bytes: &[u8], at: usize, little: bool) -> Option<u32> {
    let bytes = *bytes.get(at..)?.first_chunk()?;
    Some(if little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
}

fn until_zero(bytes: &[u8]) -> Option<&[u8]> {
    bytes.get(..bytes.iter().position(|&b| b == 0)?)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A file with these counters.
    pub(in super::super) fn file(little: bool, counters: &[(&str, Value<'_>)]) -> Vec<u8> {
        let word = |value: usize| {
            let value = u32::try_from(value).unwrap();
            if little { value.to_le_bytes() } else { value.to_be_bytes() }
        };
        let mut body = Vec::new();
        for (name, value) in counters {
            let start = (ENTRY + name.len() + 1).next_multiple_of(8);
            let (kind, elements, data) = match value {
                Value::Number(n) => {
                    (b'J', 0, if little { n.to_le_bytes() } else { n.to_be_bytes() }.to_vec())
                }
                Value::Text(text) => (b'B', text.len() + 1, [text, &b"\0"[..]].concat()),
                Value::Other => (b'Z', 0, vec![1]),
            };
            let length = (start + data.len()).next_multiple_of(8);
            let mut entry =
                [word(length), word(ENTRY), word(elements), [kind, 0, 1, 3], word(start)].concat();
            entry.extend(name.bytes());
            entry.resize(start, 0);
            entry.extend(data);
            entry.resize(length, 0);
            body.extend(entry);
        }
        let mut file = MAGIC.to_vec();
        file.extend([u8::from(little), MAJOR, 0, 1]);
        file.extend(
            [word(HEADER + body.len()), word(0), [0; 4], [0; 4], word(HEADER), word(counters.len())].concat(),
        );
        file.extend(body);
        // What is not yet in use.
        file.resize(file.len() + 64, 0);
        file
    }

    fn all(file: &[u8]) -> Result<Vec<(Vec<u8>, Value<'_>)>, Flaw> {
        Counters::of(file)?.map(|counter| counter.map(|(name, value)| (name.to_vec(), value))).collect()
    }

    const SOME: &[(&str, Value<'_>)] = &[
        ("a", Value::Number(-7)),
        ("a.text", Value::Text(b"x y")),
        ("b", Value::Other),
        ("c", Value::Number(i64::MAX)),
    ];

    #[test]
    fn counters_are_read_in_both_byte_orders() {
        for little in [true, false] {
            let file = file(little, SOME);
            let expected: Vec<_> =
                SOME.iter().map(|(name, value)| (name.as_bytes().to_vec(), *value)).collect();
            assert_eq!(all(&file).unwrap(), expected);
        }
    }

    #[test]
    fn every_lie_is_a_flaw() {
        let good = file(true, SOME);
        let with = |at: usize, bytes: &[u8]| {
            let mut bad = good.clone();
            bad[at..at + bytes.len()].copy_from_slice(bytes);
            all(&bad).unwrap_err()
        };
        assert_eq!(all(&[]).unwrap_err(), Flaw::Format);
        assert_eq!(all(&good[..40]).unwrap_err(), Flaw::Format);
        assert_eq!(with(0, b"x"), Flaw::Format);
        assert_eq!(with(4, &[2]), Flaw::Format);
        assert_eq!(with(5, &[3]), Flaw::Format);
        assert_eq!(with(7, &[0]), Flaw::Starting);
        let number = |value: u32| value.to_le_bytes();
        for (at, lie, what) in [
            (8, u32::MAX, "more used than there is"),
            (8, 16, "less used than the head"),
            (24, 0, "the first entry is the head"),
            (24, u32::MAX, "the first entry is far away"),
            (28, 1000, "more entries than there are"),
            (HEADER, 0, "an entry that never ends"),
            (HEADER, 19, "an entry shorter than its head"),
            (HEADER, u32::MAX, "an entry longer than the file"),
            (HEADER + 4, 0, "a name in the head"),
            (HEADER + 4, 5000, "a name outside"),
            (HEADER + 16, 4, "data in the head"),
            (HEADER + 16, 28, "data that end after the entry"),
            (HEADER + 16, u32::MAX, "data outside"),
        ] {
            assert_eq!(with(at, &number(lie)), Flaw::Format, "{what}");
        }
        let text = HEADER + 32;
        assert_eq!(with(text + 8, &number(5000)), Flaw::Format, "a text longer than its entry");
        assert_eq!(with(text + 8, &number(2)), Flaw::Format, "a text without end");
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_bounded_time(mut bytes in prop::collection::vec(any::<u8>(), 0..400), little: bool) {
            let steps = |file: &[u8]| Counters::of(file).map_or(0, Iterator::count);
            let most = bytes.len() / ENTRY + 1;
            prop_assert!(steps(&bytes) <= most);
            // With a head that lets the rest through.
            if let Some(head) = bytes.get_mut(..HEADER) {
                head.copy_from_slice(&file(little, &[])[..HEADER]);
                let used = u32::try_from(bytes.len()).unwrap();
                bytes[8..12].copy_from_slice(&if little { used.to_le_bytes() } else { used.to_be_bytes() });
                bytes[28..32].fill(0xff);
                prop_assert!(steps(&bytes) <= most);
            }
        }

        #[test]
        fn a_file_with_wrong_bytes_is_read_or_refused(changes in prop::collection::vec((0_usize..300, any::<u8>()), 1..8)) {
            let mut bytes = file(true, SOME);
            for (at, byte) in changes {
                let at = at % bytes.len();
                bytes[at] = byte;
            }
            let _ = all(&bytes);
        }
    }
}
