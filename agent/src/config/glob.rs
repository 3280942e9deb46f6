//! Globs on metric names: `*` is any run of characters, also none, `?` is exactly one.

/// Whether the whole text matches the pattern.
///
/// Only the last `*` is ever tried again: giving an earlier one more text never helps. The work is at most
/// the product of both lengths, whatever the pattern.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where to go on when a character does not match: behind the last star, one byte further in the text.
    let mut retry = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                p += 1;
                retry = Some((p, t));
            }
            Some(b'?') => {
                p += 1;
                t = after_char(text, t);
            }
            Some(&byte) if byte == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((star, from)) = retry else { return false };
                // By whole characters, so that `?` never starts inside one.
                let next = after_char(text, from);
                retry = Some((star, next));
                (p, t) = (star, next);
            }
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

/// Start of the character after the one at `at`.
fn after_char(text: &[u8], at: usize) -> usize {
    let rest = text[at + 1..].iter().take_while(|&&byte| byte & 0xc0 == 0x80).count();
    at + 1 + rest
}

/// Whether some text matches both patterns: how a pattern is held against a name that the source completes.
pub fn overlap(a: &str, b: &str) -> bool {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    // reach[j]: the first i characters of `a` and the first j of `b` can match the same text.
    let mut reach = vec![false; b.len() + 1];
    for i in 0..=a.len() {
        let mut diagonal = false;
        for j in 0..=b.len() {
            let above = reach[j];
            let star_a = i > 0 && a[i - 1] == '*';
            let star_b = j > 0 && b[j - 1] == '*';
            let left = j > 0 && reach[j - 1];
            reach[j] = if i == 0 && j == 0 {
                true
            } else {
                let same = i > 0
                    && j > 0
                    && !star_a
                    && !star_b
                    && (a[i - 1] == b[j - 1] || a[i - 1] == '?' || b[j - 1] == '?');
                // A star takes nothing, or one more character of the other side.
                (same && diagonal) || (star_a && (above || left)) || (star_b && (left || (i > 0 && above)))
            };
            diagonal = above;
        }
    }
    reach[b.len()]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, without thought for cost.
    fn by_definition(pattern: &[char], text: &[char]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some(('*', rest)), None) => by_definition(rest, text),
            (Some(('*', rest)), Some((_, tail))) => by_definition(rest, text) || by_definition(pattern, tail),
            (Some((p, rest)), Some((t, tail))) => (*p == '?' || p == t) && by_definition(rest, tail),
            _ => false,
        }
    }

    #[test]
    fn stars_and_question_marks() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("*", "", true),
            ("", "a", false),
            ("load?", "load1", true),
            ("load?", "load15", false),
            ("load*", "load15", true),
            ("*_total", "cpu_seconds_total", true),
            ("*_total", "cpu_seconds", false),
            ("a*b*c", "a-b-b-c", true),
            ("?", "ü", true),
            ("*?x", "üx", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn many_stars_do_not_blow_up() {
        assert!(!matches(&format!("{}c", "a*".repeat(200)), &"a".repeat(20_000)));
    }

    #[test]
    fn patterns_overlap_when_a_text_fits_both() {
        for (a, b, expected) in [
            ("memory_*_bytes", "*", true),
            ("memory_*_bytes", "memory_MemFree_bytes", true),
            ("memory_*_bytes", "*MemFree*", true),
            ("memory_*_bytes", "memory_*_pages", false),
            ("memory_*_bytes", "mem", false),
            ("*a", "b*", true),
            ("?", "*", true),
            ("?", "", false),
            ("", "", true),
        ] {
            assert_eq!(overlap(a, b), expected, "{a} and {b}");
            assert_eq!(overlap(b, a), expected, "{b} and {a}");
        }
    }

    proptest! {
        #[test]
        fn matching_is_as_defined(pattern in "[ab*?ü]{0,8}", text in "[abü]{0,10}") {
            let (p, t): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
            prop_assert_eq!(matches(&pattern, &text), by_definition(&p, &t));
        }

        #[test]
        fn overlapping_a_text_is_matching_it(pattern in "[ab*?]{0,8}", text in "[ab]{0,10}") {
            prop_assert_eq!(overlap(&pattern, &text), matches(&pattern, &text));
        }

        #[test]
        fn a_common_text_means_overlap(a in "[ab*?]{0,6}", b in "[ab*?]{0,6}", text in "[ab]{0,6}") {
            if matches(&a, &text) && matches(&b, &text) {
                prop_assert!(overlap(&a, &b));
            }
        }
    }
}
