//! Which samples a query takes: decided on the labels once for a series, so that only the tests of its value
//! are left to be made for each sample.

use regex_lite::Regex;
use serde::{Deserialize, Serialize};

use crate::config::glob;

/// A condition on a series' labels and on the value that is folded.
///
/// A label that a series does not have is an empty text, as in Prometheus.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Condition {
    /// All of them hold.
    And(Vec<Condition>),
    /// One of them holds.
    Or(Vec<Condition>),
    /// It does not hold.
    Not(Box<Condition>),
    /// The label is this text.
    Equals(LabelTest),
    /// The label is one of these texts.
    In(LabelList),
    /// The whole label matches a pattern of SQL: `%` is any run of characters, `_` exactly one.
    Like(LabelTest),
    /// The whole label matches a glob: `*` is any run of characters, `?` exactly one.
    Glob(LabelTest),
    /// A regular expression matches anywhere in the label.
    Regex(LabelTest),
    /// A comparison with the value that is folded: the rate, if it is a rate.
    Value(ValueTest),
}

/// A label and a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelTest {
    /// Name of the label.
    pub label: String,
    /// Text or pattern.
    pub to: String,
}

/// A label and texts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelList {
    /// Name of the label.
    pub label: String,
    /// Texts.
    pub to: Vec<String>,
}

/// A comparison with a number.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValueTest {
    /// How the value must stand to the number.
    pub is: Comparison,
    /// The number; it is finite.
    pub than: f64,
}

/// How two numbers stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Comparison {
    /// `<`
    Lt,
    /// `<=`
    Lte,
    /// `>`
    Gt,
    /// `>=`
    Gte,
}

impl Comparison {
    /// Whether `a` stands so to `b`.
    pub fn holds(self, a: f64, b: f64) -> bool {
        match self {
            Self::Lt => a < b,
            Self::Lte => a <= b,
            Self::Gt => a > b,
            Self::Gte => a >= b,
        }
    }
}

impl Condition {
    /// Calls for every label that it asks for.
    pub(super) fn labels<'c>(&'c self, each: &mut dyn FnMut(&'c str)) {
        match self {
            Self::And(all) | Self::Or(all) => all.iter().for_each(|one| one.labels(each)),
            Self::Not(one) => one.labels(each),
            Self::Equals(test) | Self::Like(test) | Self::Glob(test) | Self::Regex(test) => each(&test.label),
            Self::In(list) => each(&list.label),
            Self::Value(_) => {}
        }
    }

    /// Calls with what is wrong in itself: patterns that are none, numbers that are none, lists without members.
    pub(super) fn problems(&self, each: &mut dyn FnMut(String)) {
        match self {
            Self::And(all) | Self::Or(all) => {
                if all.is_empty() {
                    each("an `and` or `or` of nothing says nothing: name at least one condition".to_owned());
                }
                for one in all {
                    one.problems(each);
                }
            }
            Self::Not(one) => one.problems(each),
            Self::Regex(test) => {
                if let Err(error) = Regex::new(&test.to) {
                    each(format!("`{}` is not a regular expression: {error}", test.to));
                }
            }
            Self::In(list) if list.to.is_empty() => {
                each(format!("`in` with no texts never holds: name values of `{}`", list.label));
            }
            Self::Value(test) if !test.than.is_finite() => {
                each(format!("no value can be compared with {}: it takes a finite number", test.than));
            }
            Self::Equals(_) | Self::Like(_) | Self::Glob(_) | Self::In(_) | Self::Value(_) => {}
        }
    }

    /// Whether it tests values.
    pub(super) fn tests_values(&self) -> bool {
        match self {
            Self::And(all) | Self::Or(all) => all.iter().any(Self::tests_values),
            Self::Not(one) => one.tests_values(),
            Self::Value(_) => true,
            _ => false,
        }
    }
}

/// A condition that is ready to be asked. One that had problems never holds.
#[derive(Debug)]
pub(super) enum Compiled {
    All(Vec<Compiled>),
    Any(Vec<Compiled>),
    Not(Box<Compiled>),
    Label(String, Text),
    Value(ValueTest),
}

/// What a label must be.
#[derive(Debug)]
pub(super) enum Text {
    OneOf(Vec<String>),
    Like(Vec<char>),
    Glob(String),
    Regex(Option<Regex>),
}

impl Text {
    fn holds(&self, value: &str) -> bool {
        match self {
            Self::OneOf(texts) => texts.iter().any(|text| text == value),
            Self::Like(pattern) => like(pattern, value),
            Self::Glob(pattern) => glob::matches(pattern, value),
            Self::Regex(regex) => regex.as_ref().is_some_and(|regex| regex.is_match(value)),
        }
    }
}

/// What the labels of a series leave to be tested of its values.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    /// Nothing: every value is taken, or none.
    Is(bool),
    /// All of these.
    All(Vec<Verdict>),
    /// One of these.
    Any(Vec<Verdict>),
    /// The contrary.
    Not(Box<Verdict>),
    /// A comparison.
    Value(ValueTest),
}

impl Verdict {
    /// Whether a value is taken.
    pub(super) fn holds(&self, value: f64) -> bool {
        match self {
            Self::Is(holds) => *holds,
            Self::All(all) => all.iter().all(|one| one.holds(value)),
            Self::Any(all) => all.iter().any(|one| one.holds(value)),
            Self::Not(one) => !one.holds(value),
            Self::Value(test) => test.is.holds(value, test.than),
        }
    }
}

impl Compiled {
    pub(super) fn new(condition: &Condition) -> Self {
        let texts = |test: &LabelTest, text| Self::Label(test.label.clone(), text);
        match condition {
            Condition::And(all) => Self::All(all.iter().map(Self::new).collect()),
            Condition::Or(all) => Self::Any(all.iter().map(Self::new).collect()),
            Condition::Not(one) => Self::Not(Box::new(Self::new(one))),
            Condition::Equals(test) => texts(test, Text::OneOf(vec![test.to.clone()])),
            Condition::In(list) => Self::Label(list.label.clone(), Text::OneOf(list.to.clone())),
            Condition::Like(test) => texts(test, Text::Like(test.to.chars().collect())),
            Condition::Glob(test) => texts(test, Text::Glob(test.to.clone())),
            Condition::Regex(test) => texts(test, Text::Regex(Regex::new(&test.to).ok())),
            Condition::Value(test) => Self::Value(*test),
        }
    }

    /// Decides what the labels decide. What is left has no label in it, and no part that is decided.
    pub(super) fn decide<'l>(&self, label: &dyn Fn(&str) -> std::borrow::Cow<'l, str>) -> Verdict {
        match self {
            Self::Label(name, text) => Verdict::Is(text.holds(&label(name))),
            Self::Value(test) => Verdict::Value(*test),
            Self::Not(one) => match one.decide(label) {
                Verdict::Is(holds) => Verdict::Is(!holds),
                open => Verdict::Not(Box::new(open)),
            },
            Self::All(all) => decided(all, label, false).map_or_else(|is| is, Verdict::All),
            Self::Any(all) => decided(all, label, true).map_or_else(|is| is, Verdict::Any),
        }
    }
}

/// The open ones among several, unless one of them is `enough` to decide them all, or none is open.
fn decided<'l>(
    all: &[Compiled],
    label: &dyn Fn(&str) -> std::borrow::Cow<'l, str>,
    enough: bool,
) -> Result<Vec<Verdict>, Verdict> {
    let mut open = Vec::new();
    for one in all {
        match one.decide(label) {
            Verdict::Is(holds) if holds == enough => return Err(Verdict::Is(enough)),
            Verdict::Is(_) => {}
            other => open.push(other),
        }
    }
    if open.is_empty() { Err(Verdict::Is(!enough)) } else { Ok(open) }
}

/// SQL's LIKE, by characters. Only the last `%` is ever tried again, so the work is at most the product of both
/// lengths. A backslash takes the next character as it is.
fn like(pattern: &[char], text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    let mut retry = None;
    loop {
        let fits = match pattern.get(p) {
            Some('%') => {
                p += 1;
                retry = Some((p, t));
                continue;
            }
            None => t == text.len(),
            Some('_') => t < text.len(),
            Some('\\') => {
                let literal = pattern.get(p + 1).unwrap_or(&'\\');
                let fits = text.get(t) == Some(literal);
                p += usize::from(fits && p + 1 < pattern.len());
                fits
            }
            Some(literal) => text.get(t) == Some(literal),
        };
        if fits {
            if p >= pattern.len() {
                return true;
            }
            (p, t) = (p + 1, t + 1);
            continue;
        }
        let Some((star, from)) = retry else { return false };
        if from >= text.len() {
            return false;
        }
        retry = Some((star, from + 1));
        (p, t) = (star, from + 1);
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use proptest::prelude::*;

    use super::*;

    fn test(label: &str, to: &str) -> LabelTest {
        LabelTest { label: label.to_owned(), to: to.to_owned() }
    }

    fn decide(condition: &Condition) -> Verdict {
        Compiled::new(condition).decide(&|name| match name {
            "mode" => Cow::Borrowed("idle"),
            _ => Cow::Borrowed(""),
        })
    }

    #[test]
    fn labels_are_decided_and_values_left() {
        let idle = || Condition::Equals(test("mode", "idle"));
        let big = ValueTest { is: Comparison::Gt, than: 5.0 };
        let value = || Condition::Value(big);
        assert_eq!(decide(&idle()), Verdict::Is(true));
        assert_eq!(decide(&Condition::Equals(test("none", ""))), Verdict::Is(true));
        assert_eq!(decide(&Condition::And(vec![idle(), value()])), Verdict::All(vec![Verdict::Value(big)]));
        assert_eq!(decide(&Condition::Or(vec![idle(), value()])), Verdict::Is(true));
        let not = Condition::Not(Box::new(Condition::And(vec![idle(), value()])));
        assert!(decide(&not).holds(5.0) && !decide(&not).holds(5.1));
        assert_eq!(
            decide(&Condition::And(vec![Condition::Not(Box::new(idle())), value()])),
            Verdict::Is(false)
        );
    }

    #[test]
    fn texts_are_matched_as_said() {
        let holds = |condition| decide(&condition) == Verdict::Is(true);
        assert!(holds(Condition::Like(test("mode", "i%_e"))));
        assert!(holds(Condition::Glob(test("mode", "?dl*"))));
        assert!(!holds(Condition::Glob(test("mode", "dl"))));
        assert!(holds(Condition::Regex(test("mode", "dl"))));
        let list = |to: &[&str]| LabelList {
            label: "mode".to_owned(),
            to: to.iter().map(|text| (*text).to_owned()).collect(),
        };
        assert!(holds(Condition::In(list(&["user", "idle"]))));
        assert!(!holds(Condition::In(list(&["user"]))));
    }

    fn by_definition(pattern: &[char], text: &[char]) -> bool {
        match (pattern, text) {
            ([], _) => text.is_empty(),
            (['%', rest @ ..], _) => {
                by_definition(rest, text) || (!text.is_empty() && by_definition(pattern, &text[1..]))
            }
            (['_', rest @ ..], [_, tail @ ..]) => by_definition(rest, tail),
            (['\\', literal, rest @ ..] | [literal, rest @ ..], [first, tail @ ..]) => {
                literal == first && by_definition(rest, tail)
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn like_is_as_defined(pattern in r"[ab%_\\]{0,8}", text in r"[ab%_\\]{0,10}") {
            let (p, t): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
            prop_assert_eq!(like(&p, &text), by_definition(&p, &t));
        }
    }
}
