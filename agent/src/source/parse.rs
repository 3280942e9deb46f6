//! Splitting lines and numbers in place. Nothing here allocates, and no input makes it panic.

/// The lines of a file, without their ends.
pub fn lines(content: &[u8]) -> impl Iterator<Item = &[u8]> {
    content.split(|&b| b == b'\n').filter(|line| !line.is_empty())
}

/// The fields of a line, split at blanks and tabs.
pub fn fields(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|b| matches!(b, b' ' | b'\t')).filter(|field| !field.is_empty())
}

/// What stands before and after the first occurrence of a byte.
pub fn split_once(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let position = text.iter().position(|&b| b == at)?;
    Some((&text[..position], &text[position + 1..]))
}

/// A decimal number that fits 64 bits.
#[inline]
pub fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    let mut value = 0u64;
    for &byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(value)
}

/// A decimal number with an optional sign.
pub fn signed(text: &[u8]) -> Option<i64> {
    match text.strip_prefix(b"-") {
        Some(digits) => 0i64.checked_sub_unsigned(number(digits)?),
        None => i64::try_from(number(text)?).ok(),
    }
}

/// A decimal number with an optional fraction, as a double.
pub fn float(text: &[u8]) -> Option<f64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A hexadecimal number, with or without `0x`.
pub fn hex(text: &[u8]) -> Option<u64> {
    let digits = text.strip_prefix(b"0x").unwrap_or(text);
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_strict() {
        assert_eq!(number(b"18446744073709551615"), Some(u64::MAX));
        for bad in ["", "18446744073709551616", "1.5", "-1", "1x", " 1"] {
            assert_eq!(number(bad.as_bytes()), None, "{bad:?}");
        }
        assert_eq!(signed(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(signed(b"--1"), None);
    }

    #[test]
    fn fields_skip_runs_of_blanks() {
        assert_eq!(fields(b"  a \t b  ").collect::<Vec<_>>(), [b"a", b"b"]);
    }

    proptest! {
        #[test]
        fn numbers_agree_with_the_standard_library(n: u64, s: i64) {
            prop_assert_eq!(number(n.to_string().as_bytes()), Some(n));
            prop_assert_eq!(signed(s.to_string().as_bytes()), Some(s));
        }

        #[test]
        fn any_bytes_are_fine(bytes: Vec<u8>) {
            let _ = (number(&bytes), signed(&bytes), float(&bytes), hex(&bytes), split_once(&bytes, b' '));
            prop_assert!(lines(&bytes).all(|l| fields(l).all(|f| !f.is_empty())));
        }
    }
}
