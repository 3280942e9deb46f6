//! Values as they stand in the file.

use std::time::Duration;

use crate::pipeline::checks::{Selector, TABLE_PARTS, TEXT_PARTS};

/// A TOML string. Backslashes, which regular expressions are full of, stay readable in single quotes.
pub(in crate::config) fn quoted(text: &str) -> String {
    let literal = text.contains(['\\', '"']) && !text.contains('\'') && !text.contains(char::is_control);
    if literal {
        return format!("'{text}'");
    }
    let mut out = String::from("\"");
    for char in text.chars() {
        match char {
            '"' | '\\' => out.extend(['\\', char]),
            control if control.is_control() => out.extend(format!("\\u{:04X}", u32::from(control)).chars()),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

pub(in crate::config) fn array(items: impl Iterator<Item = impl AsRef<str>>) -> String {
    format!("[{}]", items.map(|item| quoted(item.as_ref())).collect::<Vec<_>>().join(", "))
}

/// An inline table of keys and values that are as they stand in the file.
pub(super) fn inline<'a>(entries: impl Iterator<Item = (&'a String, String)>) -> String {
    let entries: Vec<_> = entries.map(|(key, value)| format!("{} = {value}", quoted(key))).collect();
    if entries.is_empty() { "{}".into() } else { format!("{{ {} }}", entries.join(", ")) }
}

/// What containers must be like.
pub(super) fn selector(selector: &Selector) -> String {
    let mut selector = selector.clone();
    let mut parts = Vec::new();
    for part in TEXT_PARTS {
        let text = (part.field)(&mut selector).as_deref().map(quoted);
        parts.extend(text.map(|text| format!("{} = {text}", part.name)));
    }
    for part in TABLE_PARTS {
        let table = (part.field)(&mut selector);
        if !table.is_empty() {
            let entries = inline(table.iter().map(|(name, value)| (name, quoted(value))));
            parts.push(format!("{} = {entries}", part.name));
        }
    }
    format!("{{ {} }}", parts.join(", "))
}

/// A duration in the largest unit that keeps it whole.
pub(crate) fn duration(value: Duration) -> String {
    let millis = value.as_millis();
    let unit = crate::config::value::UNITS
        .iter()
        .rev()
        .find(|(_, factor)| millis.is_multiple_of(u128::from(*factor)));
    match unit {
        Some(&(unit, factor)) if millis > 0 => format!("{}{unit}", millis / u128::from(factor)),
        _ => format!("{millis}s"),
    }
}

/// A size in the largest unit that keeps it whole.
pub(super) fn bytes(value: u64) -> String {
    let units = crate::config::value::SIZES.iter().rev();
    match units.clone().find(|(_, factor)| value.is_multiple_of(*factor)) {
        Some((unit, factor)) => format!("{}{unit}", value / factor),
        None => format!("{value}B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_take_their_largest_whole_unit() {
        for (millis, text) in [(0, "0s"), (1, "1ms"), (1_500, "1500ms"), (60_000, "1m"), (7_200_000, "2h")] {
            assert_eq!(duration(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn sizes_take_their_largest_whole_unit() {
        for (value, text) in [(1, "1B"), (1_536, "1536B"), (64 << 20, "64MiB"), (2 << 30, "2GiB")] {
            assert_eq!(bytes(value), text);
        }
    }

    #[test]
    fn quoted_text_is_read_back() {
        for text in ["plain", r"^(ram|loop)\d+$", "it's", r#"both ' and " and \"#, "tab\there", ""] {
            let line = format!("key = {}", quoted(text));
            let table: toml::Table = line.parse().unwrap();
            assert_eq!(table["key"].as_str(), Some(text), "{line}");
        }
    }
}
