//! Reading one value of the file into the field of its key.

use std::{net::SocketAddr, ops::RangeInclusive, path::PathBuf, time::Duration};

use toml::{Spanned, de::DeValue};

use super::{
    load::Report,
    schema::Slot,
    suggest::{hint, listed},
};
use crate::{
    catalogue::OptionValue,
    input::OptionSetting,
    pipeline::{Manipulation, ValueRule},
};

/// A value and where it stands.
pub(super) type Value<'i> = Spanned<DeValue<'i>>;

/// Units of durations and their milliseconds, smallest first.
pub(super) const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
/// Units of sizes and their bytes, smallest first.
pub(super) const SIZES: [(&str, u64); 4] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
/// What may be done to values.
pub(super) const MANIPULATIONS: [(&str, Manipulation); 3] =
    [("gauge", Manipulation::Gauge), ("delta", Manipulation::Delta), ("rate", Manipulation::Rate)];
/// Longer times are mistakes, and would overflow clocks.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// Larger sizes are mistakes.
const LARGEST: u64 = 1 << 40;
/// A higher limit is a mistake.
const MOST: f64 = 1_000_000.0;

impl<T> Slot<T> {
    /// Sets the field, or reports why it cannot be set.
    pub(super) fn read(&self, target: &mut T, key: &str, value: &Value<'_>, report: &mut Report) {
        let mut cx = Reading { key, report };
        match self {
            Self::Bool(field) => assign(field(target), cx.boolean(value)),
            Self::Path(field) => assign(field(target), cx.path(value)),
            Self::OptionalPath(field) => assign(field(target), cx.path(value).map(Some)),
            Self::Duration(field) => assign(field(target), cx.positive(value)),
            Self::Offset(field) => assign(field(target), cx.duration(value)),
            Self::Interval(field) => assign(field(target), cx.positive(value).map(Some)),
            Self::Span(field) => assign(field(target), cx.duration(value).map(Some)),
            Self::Text(field) => {
                assign(field(target), cx.string(value, "a string").map(|text| Some(text.to_owned())));
            }
            Self::Lines(field) => assign(field(target), cx.strings(value, "an array of strings")),
            Self::Queries(_) | Self::Part(_) => {}
            Self::LabelPatterns(field) => assign(field(target), cx.label_patterns(value)),
            Self::Values(field) => assign(field(target), cx.value_rules(value)),
            Self::Addresses(field) => assign(field(target), cx.addresses(value)),
            Self::Globs(field) => assign(field(target), cx.strings(value, "an array of globs")),
            Self::Names(field) => assign(field(target), cx.names(value)),
            Self::Name(field) => assign(field(target), cx.name(value).map(Some)),
            Self::Choice(choice) => {
                if let Some(which) = cx.choice(value, choice.words) {
                    (choice.set)(target, which);
                }
            }
            Self::Bytes(field) => assign(field(target), cx.bytes(value)),
            Self::Tags(field) => assign(field(target), cx.tags(value)),
            Self::Count(field) => assign(field(target), cx.whole(value, 1..=u32::MAX)),
            Self::Limit(field) => assign(field(target), cx.limit(value)),
            Self::Target(field) => {
                assign(field(target), super::target::selector(key, value, cx.report).map(Some));
            }
        }
    }
}

/// Reads an option of an input.
pub(super) fn option(
    kind: OptionValue,
    key: &str,
    value: &Value<'_>,
    report: &mut Report,
) -> Option<OptionSetting> {
    let mut cx = Reading { key, report };
    match kind {
        OptionValue::Bool(_) => cx.boolean(value).map(OptionSetting::Bool),
        OptionValue::Regex(_) => {
            let text = cx.string(value, "a regular expression in quotes")?;
            match regex_lite::Regex::new(text) {
                Ok(_) => Some(OptionSetting::Regex(text.into())),
                Err(error) => cx.refuse(value, format!("is not a regular expression: {error}")),
            }
        }
        OptionValue::Text(_) => cx.string(value, "a string").map(|text| OptionSetting::Text(text.into())),
        OptionValue::Texts(_) => cx.strings(value, "an array of strings").map(OptionSetting::Texts),
        OptionValue::Duration(_) => cx.positive(value).map(OptionSetting::Duration),
        OptionValue::Integer { min, max, .. } => cx.whole(value, min..=max).map(OptionSetting::Integer),
    }
}

fn assign<V>(field: &mut V, value: Option<V>) {
    if let Some(value) = value {
        *field = value;
    }
}

/// A key whose value is being read.
struct Reading<'a> {
    key: &'a str,
    report: &'a mut Report,
}

impl Reading<'_> {
    fn refuse<V>(&mut self, value: &Value<'_>, what: impl AsRef<str>) -> Option<V> {
        self.report.problem(value, format!("`{}` {}", self.key, what.as_ref()));
        None
    }

    fn wrong_type<V>(&mut self, value: &Value<'_>, wanted: &str) -> Option<V> {
        self.refuse(value, format!("must be {wanted}, not {}", described(value.get_ref())))
    }

    fn boolean(&mut self, value: &Value<'_>) -> Option<bool> {
        value.get_ref().as_bool().or_else(|| self.wrong_type(value, "true or false"))
    }

    fn string<'v>(&mut self, value: &'v Value<'_>, wanted: &str) -> Option<&'v str> {
        value.get_ref().as_str().or_else(|| self.wrong_type(value, wanted))
    }

    fn path(&mut self, value: &Value<'_>) -> Option<PathBuf> {
        match self.string(value, "a path in quotes")? {
            "" => self.refuse(value, "must not be empty"),
            path => Some(path.into()),
        }
    }

    fn name(&mut self, value: &Value<'_>) -> Option<String> {
        match self.string(value, "a name in quotes")? {
            "" => self.refuse(value, "must not be empty"),
            name => Some(name.into()),
        }
    }

    fn names(&mut self, value: &Value<'_>) -> Option<Vec<String>> {
        let elements = self.elements(value, "an array of names")?;
        let mut names: Vec<String> = Vec::new();
        for (text, element) in elements {
            if names.iter().any(|name| name == text) {
                self.refuse::<()>(element, format!("has `{text}` twice"));
            } else {
                names.push(text.to_owned());
            }
        }
        Some(names)
    }

    fn choice(&mut self, value: &Value<'_>, words: &[&'static str]) -> Option<usize> {
        let text = self.string(value, "a word in quotes")?;
        let found = words.iter().position(|word| *word == text);
        found.or_else(|| {
            let way =
                hint(text, words.iter().copied(), || format!("it takes {}", listed(words.iter().copied())));
            self.refuse(value, format!("cannot be \"{text}\": {way}"))
        })
    }

    fn bytes(&mut self, value: &Value<'_>) -> Option<u64> {
        if let Some(number) = value.get_ref().as_integer() {
            return self.refuse(value, format!("needs a unit: \"{number}B\" or \"{number}MiB\""));
        }
        let text = self.string(value, "a size such as \"64MiB\"")?;
        match parse_unit(text, &SIZES) {
            Some(bytes @ 1..=LARGEST) => Some(bytes),
            Some(_) => self.refuse(value, "must lie between 1B and 1024GiB"),
            None => self.refuse(
                value,
                format!(
                    "cannot be \"{text}\": a size is a whole number and B, KiB, MiB or GiB, as in \"64MiB\""
                ),
            ),
        }
    }

    fn duration(&mut self, value: &Value<'_>) -> Option<Duration> {
        if let Some(number) = value.get_ref().as_integer() {
            return self.refuse(value, format!("needs a unit: \"{number}s\" or \"{number}ms\""));
        }
        let text = self.string(value, "a duration such as \"10s\"")?;
        match parse_duration(text) {
            Some(duration) if duration <= LONGEST => Some(duration),
            Some(_) => self.refuse(value, "must not be longer than 24h"),
            None => self.refuse(
                value,
                format!(
                    "cannot be \"{text}\": a duration is a whole number and ms, s, m or h, as in \"10s\""
                ),
            ),
        }
    }

    fn positive(&mut self, value: &Value<'_>) -> Option<Duration> {
        let duration = self.duration(value)?;
        if duration < Duration::from_millis(1) {
            return self.refuse(value, "must be at least 1ms");
        }
        Some(duration)
    }

    fn whole(&mut self, value: &Value<'_>, bounds: RangeInclusive<u32>) -> Option<u32> {
        let Some(number) = value.get_ref().as_integer() else {
            return self.wrong_type(value, "a whole number");
        };
        match u32::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) if bounds.contains(&number) => Some(number),
            _ => self.refuse(value, format!("must lie between {} and {}", bounds.start(), bounds.end())),
        }
    }

    fn limit(&mut self, value: &Value<'_>) -> Option<f64> {
        let number = match value.get_ref() {
            DeValue::Integer(number) if number.radix() == 10 => number.as_str().parse().ok(),
            DeValue::Float(number) => number.as_str().parse().ok(),
            _ => return self.wrong_type(value, "a number"),
        };
        match number {
            Some(number @ 0.0..=MOST) => Some(number),
            _ => self.refuse(value, format!("must lie between 0, which is no limit, and {MOST}")),
        }
    }

    /// The strings of an array. Elements of another type are reported and left out.
    fn elements<'v>(&mut self, value: &'v Value<'_>, wanted: &str) -> Option<Vec<(&'v str, &'v Value<'v>)>> {
        let Some(array) = value.get_ref().as_array() else { return self.wrong_type(value, wanted) };
        let element = |element| self.string(element, wanted).map(|text| (text, element));
        Some(array.iter().filter_map(element).collect())
    }

    fn strings(&mut self, value: &Value<'_>, wanted: &str) -> Option<Vec<String>> {
        let elements = self.elements(value, wanted)?;
        Some(elements.into_iter().map(|(text, _)| text.to_owned()).collect())
    }

    fn addresses(&mut self, value: &Value<'_>) -> Option<Vec<SocketAddr>> {
        let elements = self.elements(value, "an array of \"ADDR:PORT\"")?;
        if elements.is_empty() {
            return self.refuse(value, "needs at least one address, or no `listen` at all");
        }
        let mut addresses = Vec::new();
        for (text, element) in elements {
            match text.parse() {
                Ok(address) if addresses.contains(&address) => {
                    self.refuse::<()>(element, format!("has `{text}` twice"));
                }
                Ok(address) => addresses.push(address),
                Err(_) => {
                    let hint = "an IP address and a port, as in \"0.0.0.0:9100\" or \"[::]:9100\"";
                    self.refuse::<()>(element, format!("cannot be \"{text}\": it takes {hint}"));
                }
            }
        }
        Some(addresses)
    }

    /// The entries of a table; anything else is reported.
    fn entries<'v>(&mut self, value: &'v Value<'_>, wanted: &str) -> Option<Vec<(&'v str, &'v Value<'v>)>> {
        let Some(table) = value.get_ref().as_table() else { return self.wrong_type(value, wanted) };
        Some(table.iter().map(|(name, value)| (name.get_ref().as_ref(), value)).collect())
    }

    fn label_patterns(&mut self, value: &Value<'_>) -> Option<Vec<(String, Vec<String>)>> {
        let entries = self.entries(value, "a table of labels and patterns")?;
        let patterns = entries.into_iter().filter_map(|(label, value)| {
            Some((label.to_owned(), self.strings(value, "a table of labels and arrays of patterns")?))
        });
        Some(patterns.collect())
    }

    fn value_rules(&mut self, value: &Value<'_>) -> Option<Vec<ValueRule>> {
        const WANTED: &str = "a table of patterns and { manipulate, keep_negative }";
        let entries = self.entries(value, WANTED)?;
        let mut rules = Vec::new();
        for (pattern, value) in entries {
            let Some(fields) = self.entries(value, WANTED) else { continue };
            let mut rule = ValueRule {
                pattern: pattern.to_owned(),
                manipulation: Manipulation::Gauge,
                keep_negative: false,
            };
            for (name, value) in fields {
                match name {
                    "manipulate" => {
                        let which = self.choice(value, &MANIPULATIONS.map(|(word, _)| word));
                        assign(&mut rule.manipulation, which.map(|which| MANIPULATIONS[which].1));
                    }
                    "keep_negative" => assign(&mut rule.keep_negative, self.boolean(value)),
                    other => {
                        let way = hint(other, ["manipulate", "keep_negative"], || {
                            "known are `manipulate`, `keep_negative`".to_owned()
                        });
                        self.refuse::<()>(value, format!("has an unknown key `{other}`: {way}"));
                    }
                }
            }
            rules.push(rule);
        }
        Some(rules)
    }

    fn tags(&mut self, value: &Value<'_>) -> Option<Vec<(String, String)>> {
        let Some(table) = value.get_ref().as_table() else {
            return self.wrong_type(value, "a table of strings");
        };
        let mut tags = Vec::new();
        for (name, value) in table {
            if let Some(text) = value.get_ref().as_str() {
                tags.push((name.get_ref().to_string(), text.to_owned()));
            } else {
                let other = described(value.get_ref());
                self.report.problem(value, format!("tag `{}` must be a string, not {other}", name.get_ref()));
            }
        }
        Some(tags)
    }
}

/// A whole number directly followed by its unit.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    parse_unit(text, &UNITS).map(Duration::from_millis)
}

fn parse_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// The type of a value, with its article.
pub(super) fn described(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_a_number_and_a_unit() {
        for (text, millis) in [("10ms", 10), ("1s", 1_000), ("5m", 300_000), ("1h", 3_600_000), ("0s", 0)] {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in
            ["", "10", "s", "1.5s", "-1s", "+1s", " 1s", "1 s", "1us", "1d", "1m30s", "99999999999999999999h"]
        {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
