//! Settings as text, in one form for each meaning: what is compared, hashed and shown.

use std::fmt;

use sha2::{Digest, Sha256};

use super::{
    Config, OutputConfig, PipelineConfig,
    schema::{CHECK_KEYS, INPUT_KEYS, Key, OUTPUT_KEYS, SOURCE_KEYS, Slot, TABLES},
};
use crate::{catalogue::OptionValue, input::OptionSetting};

/// Tables that a running agent takes over; what the others say needs a restart.
const LIVE_TABLES: [&str; 2] = ["tasks", "reload"];

/// What a pipeline is configured to be, in 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hash(u64);

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A setting that differs between two versions of something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Name of the key.
    pub key: String,
    /// Whether the input itself depends on it, and not only what is made of its samples.
    pub is_of_input: bool,
}

/// A key and its value as it would stand in the file; nothing when it is not set.
type Setting = (&'static str, Option<String>);

fn settings<T>(keys: &'static [Key<T>], of: &mut T) -> Vec<Setting> {
    keys.iter().map(|key| (key.name, key.slot.text(of))).collect()
}

impl PipelineConfig {
    /// What it takes its samples from, with the options of its input in full.
    fn of_input(&self) -> Vec<Setting> {
        let mut all = settings(SOURCE_KEYS, &mut self.clone());
        let own = if self.input.is_some() { self.def.options } else { &[] };
        all.extend(own.iter().map(|option| {
            let given = self.options.iter().find(|(key, _)| key == option.key).map(|(_, setting)| setting);
            (option.key, Some(given.map_or_else(|| option.default.text(), OptionSetting::text)))
        }));
        all
    }

    /// What is made of its samples, and when. What a task adds about its target has no key in the file.
    fn of_pipeline(&self) -> Vec<Setting> {
        let mut own = self.clone();
        let mut all = settings(INPUT_KEYS, &mut own);
        if self.checks().is_some() {
            all.extend(settings(CHECK_KEYS, &mut own));
        }
        let slot: Slot<Self> = Slot::Tags(|pipeline| &mut pipeline.transform.target_tags);
        all.push(("target_tags", slot.text(&mut own).filter(|_| !self.transform.target_tags.is_empty())));
        all
    }

    /// Every setting of it that has a value, in the order of the reference.
    pub fn settings(&self) -> impl Iterator<Item = (&'static str, String)> {
        let all = self.of_input().into_iter().chain(self.of_pipeline());
        all.filter_map(|(key, text)| Some((key, text?)))
    }

    /// Those of its keys that are not at their defaults, without what it takes its samples from: schedule, transform,
    /// queries as SQL.
    pub fn given(&self) -> Vec<(&'static str, String)> {
        let default = Self::new(self.def).of_pipeline();
        let own = self.of_pipeline().into_iter().filter(|setting| !default.contains(setting));
        own.map(|(key, text)| (key, text.unwrap_or_default())).collect()
    }

    /// Equal for equal settings, whatever file they come from and in whatever form they were written there.
    pub fn hash(&self) -> Hash {
        let mut hasher = Sha256::new();
        for (key, text) in self.settings() {
            for part in [key, &text] {
                hasher.update(part.len().to_le_bytes());
                hasher.update(part);
            }
        }
        let digest = hasher.finalize();
        Hash(digest.iter().take(8).fold(0, |hash, byte| hash << 8 | u64::from(*byte)))
    }

    /// What is different in another version of it.
    pub fn changes(&self, new: &Self) -> Vec<Change> {
        let of_input = differing(&self.of_input(), &new.of_input(), true);
        let mut others = differing(&self.of_pipeline(), &new.of_pipeline(), false);
        // One that is switched off has no input.
        others
            .iter_mut()
            .filter(|change| change.key == "enabled")
            .for_each(|change| change.is_of_input = true);
        of_input.into_iter().chain(others).collect()
    }
}

impl OutputConfig {
    /// Whether another version of it is the same output.
    pub fn is_same(&self, other: &Self) -> bool {
        settings(OUTPUT_KEYS, &mut self.clone()) == settings(OUTPUT_KEYS, &mut other.clone())
    }
}

impl Config {
    /// The keys whose value in another version takes a restart.
    pub fn restart_needed(&self, new: &Self) -> Vec<String> {
        let (mut old, mut new) = (self.clone(), new.clone());
        let fixed = TABLES.iter().filter(|table| !LIVE_TABLES.contains(&table.name));
        let changed = fixed.flat_map(|table| {
            let texts = |config: &mut Config| settings(table.keys, config);
            let changes = differing(&texts(&mut old), &texts(&mut new), false);
            changes.into_iter().map(move |change| match table.name {
                "" => change.key,
                name => format!("{name}.{}", change.key),
            })
        });
        changed.collect()
    }
}

/// The keys of which the values differ. Both have the keys of the same tables, in the same order, but for the options
/// of another input.
fn differing(old: &[Setting], new: &[Setting], is_of_input: bool) -> Vec<Change> {
    let value = |of: &[Setting], key: &str| of.iter().find(|(name, _)| *name == key).cloned();
    let gone = old.iter().filter(|(key, _)| !new.iter().any(|(other, _)| other == key));
    let keys = new.iter().chain(gone).map(|(key, _)| *key);
    let differs = |key: &&str| value(old, key) != value(new, key);
    keys.filter(differs).map(|key| Change { key: key.to_owned(), is_of_input }).collect()
}

impl OptionSetting {
    /// As it would stand in the file.
    pub fn text(&self) -> String {
        match self {
            Self::Bool(value) => OptionValue::Bool(*value).text(),
            Self::Regex(text) | Self::Text(text) => super::schema::quoted(text),
            Self::Texts(texts) => super::schema::array(texts.iter()),
            Self::Duration(length) => OptionValue::Duration(*length).text(),
            Self::Integer(value) => value.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::find;

    fn cpu() -> PipelineConfig {
        PipelineConfig::new(find("cpu").unwrap())
    }

    #[test]
    fn what_means_the_same_has_the_same_hash() {
        let mut explicit = cpu();
        explicit.options.push(("info".to_owned(), OptionSetting::Bool(false)));
        assert_eq!(cpu().hash(), explicit.hash());
        assert_eq!(cpu().changes(&explicit), []);
        let renamed = PipelineConfig { key: "other".to_owned(), ..cpu() };
        assert_eq!(cpu().hash(), renamed.hash());
    }

    #[test]
    fn a_change_is_named_and_says_whether_the_input_depends_on_it() {
        let mut changed = cpu();
        changed.options.push(("info".to_owned(), OptionSetting::Bool(true)));
        changed.transform.max_series = 7;
        let change = |key: &str, is_of_input| Change { key: key.to_owned(), is_of_input };
        assert_eq!(cpu().changes(&changed), [change("info", true), change("max_series", false)]);
        assert_ne!(cpu().hash(), changed.hash());
    }

    #[test]
    fn only_what_is_fixed_at_start_needs_a_restart() {
        let old = Config::default();
        let mut new = old.clone();
        new.ebpf = false;
        new.listen.clear();
        new.tasks = Some("/t".into());
        new.reload.endpoint = true;
        assert_eq!(old.restart_needed(&new), ["listen", "ebpf.enabled"]);
    }
}
