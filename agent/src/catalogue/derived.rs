//! Definitions of what is computed from the metrics of an input.

use std::sync::{Mutex, PoisonError};

use super::{Kind, Label, Metric, Since, Unit};

/// All of them, each once.
static ALL: Mutex<Vec<&'static Metric>> = Mutex::new(Vec::new());

impl Metric {
    /// A gauge with the labels of another definition, with their bounds. It stays for good, and equal ones are
    /// one: their number is that of the rules and formulas that configurations ever asked for.
    pub fn derived(name: &str, help: &str, unit: Unit, labels: &'static [Label]) -> &'static Self {
        // Nothing is left half done inside.
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |one: &&&'static Self| {
            one.name == name && one.help == help && one.unit == unit && one.labels == labels
        };
        if let Some(one) = all.iter().find(same) {
            return one;
        }
        let (name, help): (&str, &str) = (name.to_owned().leak(), help.to_owned().leak());
        let made: &'static Self =
            Box::leak(Box::new(Self { name, help, kind: Kind::Gauge, unit, labels, since: Since::Now }));
        all.push(made);
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_definitions_are_one() {
        let made = |name| Metric::derived(name, "X.", Unit::Ratio, &[]);
        assert!(std::ptr::eq(made("derived_x"), made("derived_x")));
        assert!(!std::ptr::eq(made("derived_x"), made("derived_y")));
    }
}
