//! What a pipeline does to samples: allow, deny, tags, prefix. Decided once, when a series is born.

use crate::{accumulator::Naming, config::glob};

/// What a configuration asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct TransformConfig {
    /// Prefix of names, instead of the input's.
    pub prefix: Option<String>,
    /// Globs on raw names; empty means all.
    pub allow: Vec<String>,
    /// Globs on raw names that are left out.
    pub deny: Vec<String>,
    /// Labels added to every series.
    pub tags: Vec<(String, String)>,
    /// Series that one metric may have.
    pub max_series: u32,
}

impl Default for TransformConfig {
    fn default() -> Self {
        Self { prefix: None, allow: Vec::new(), deny: Vec::new(), tags: Vec::new(), max_series: 10_000 }
    }
}

/// The rules of one pipeline. Lists are keyed by raw names; the prefix comes last.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    prefix: String,
    allow: Vec<String>,
    deny: Vec<String>,
    tags: Vec<(String, String)>,
}

impl Rules {
    /// The rules that a configuration asks for, for an input with this prefix.
    pub fn of(config: &TransformConfig, prefix: &str) -> Self {
        Self {
            prefix: config.prefix.clone().unwrap_or_else(|| prefix.to_owned()),
            allow: config.allow.clone(),
            deny: config.deny.clone(),
            tags: config.tags.clone(),
        }
    }
}

impl Naming for Rules {
    fn export(&self, raw: &str) -> Option<String> {
        let any = |list: &[String]| list.iter().any(|pattern| glob::matches(pattern, raw));
        if (!self.allow.is_empty() && !any(&self.allow)) || any(&self.deny) {
            return None;
        }
        let mut name = String::with_capacity(self.prefix.len() + raw.len());
        name.push_str(&self.prefix);
        // A part that the source names may hold anything; a metric name may not.
        name.extend(
            raw.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == ':' { c } else { '_' }),
        );
        Some(name)
    }

    fn tags(&self) -> &[(String, String)] {
        &self.tags
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(allow: &[&str], deny: &[&str]) -> Rules {
        let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
        Rules { prefix: "node_".into(), allow: own(allow), deny: own(deny), tags: Vec::new() }
    }

    #[test]
    fn lists_are_keyed_by_raw_names_and_the_prefix_comes_last() {
        let rules = rules(&["load*"], &["load15"]);
        assert_eq!(rules.export("load1").as_deref(), Some("node_load1"));
        assert_eq!(rules.export("load15"), None);
        assert_eq!(rules.export("node_load1"), None);
    }

    #[test]
    fn names_are_made_valid() {
        assert_eq!(rules(&[], &[]).export("a.b-c").as_deref(), Some("node_a_b_c"));
    }
}
