//! Patterns of names and of label values: a glob, or a regular expression between slashes.

use regex_lite::Regex;

use crate::config::glob;

/// A compiled pattern.
#[derive(Clone, Debug)]
pub struct Pattern(Matcher);

#[derive(Clone, Debug)]
enum Matcher {
    /// Matches the whole text.
    Glob(String),
    /// Is searched for.
    Regex(Regex),
}

impl Pattern {
    /// Compiles a pattern. The error says what is wrong with its regular expression.
    pub fn new(text: &str) -> Result<Self, String> {
        match expression(text) {
            Some(expression) => {
                Regex::new(expression).map(|it| Self(Matcher::Regex(it))).map_err(|error| error.to_string())
            }
            None => Ok(Self(Matcher::Glob(text.to_owned()))),
        }
    }

    /// Compiles those of a list. What does not compile matches nothing; `TransformConfig::check` refuses it.
    pub(super) fn all(texts: &[String]) -> Vec<Self> {
        texts.iter().filter_map(|text| Self::new(text).ok()).collect()
    }

    /// Whether a text matches.
    pub fn matches(&self, text: &str) -> bool {
        match &self.0 {
            Matcher::Glob(pattern) => glob::matches(pattern, text),
            Matcher::Regex(regex) => regex.is_match(text),
        }
    }

    /// Whether a name that the source completes (with one `*`) may match. A regular expression may always.
    pub(super) fn may_match(&self, name: &str) -> bool {
        match &self.0 {
            Matcher::Glob(pattern) => glob::overlap(pattern, name),
            Matcher::Regex(regex) => name.contains('*') || regex.is_match(name),
        }
    }
}

/// The regular expression of a pattern that is one.
pub(super) fn expression(text: &str) -> Option<&str> {
    text.strip_prefix('/')?.strip_suffix('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_make_a_regular_expression() {
        let matches = |pattern: &str, text: &str| Pattern::new(pattern).unwrap().matches(text);
        assert!(matches("load?", "load1") && !matches("load?", "load15"));
        assert!(matches("/^load[0-9]$/", "load1") && !matches("/^load[0-9]$/", "load15"));
        assert!(matches("/oad/", "load15") && matches("//", "anything"));
        // A path is no expression unless it ends in a slash, and one slash alone is none.
        assert!(matches("/dev/*", "/dev/sda") && matches("/", "/") && !matches("/", "x"));
        assert!(Pattern::new("/(/").is_err());
    }
}
