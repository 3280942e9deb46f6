//! A machine as samples.

use super::{
    DEF,
    machine::{Machine, Space},
    metrics::{self, REASONS},
};
use crate::{catalogue::Metric, input::check::wire};

/// A longer name is cut.
const LONGEST_NAME: usize = 64;
const LONGEST_PART: usize = 40;
/// Spaces of one heap that are reported, so that the longest response fits.
const SPACES: usize = 10;

/// The response in the making.
#[derive(Debug)]
pub(super) struct Report<'r> {
    response: &'r mut wire::Response,
    pids: Vec<String>,
    left_out: [u32; REASONS.len()],
    parts_left_out: u32,
    pub(super) machines: u32,
}

impl<'r> Report<'r> {
    pub(super) fn new(response: &'r mut wire::Response) -> Self {
        let left_out = [0; REASONS.len()];
        Self { response, pids: Vec::new(), left_out, parts_left_out: 0, machines: 0 }
    }

    /// Whether a machine with that number was reported: another folder may have a file of the same name.
    pub(super) fn has(&self, pid: &str) -> bool {
        self.pids.iter().any(|known| known == pid)
    }

    pub(super) fn leave_out(&mut self, reason: &str, count: u32) {
        let at = REASONS.iter().position(|known| *known == reason).unwrap_or(REASONS.len() - 1);
        self.left_out[at] += count;
    }

    /// Reports a machine.
    pub(super) fn add(&mut self, pid: &str, machine: &Machine<'_>) -> Result<(), wire::WireError> {
        let main = label(machine.main(), LONGEST_NAME);
        let of = [pid, main.as_str()];
        let (version, policy) = (label(machine.version, LONGEST_PART), label(machine.policy, LONGEST_PART));
        self.put(&metrics::INFO, &of, &[&version, &policy], 1.0)?;
        for group in metrics::PLAIN.chunk_by(|a, b| std::ptr::eq(a.metric, b.metric)) {
            let at =
                metrics::PLAIN.iter().position(|plain| std::ptr::eq(plain, &raw const group[0])).unwrap_or(0);
            let values = machine.plain[at..].iter().zip(group);
            let amounts = values.filter_map(|(value, plain)| machine.amount((*value)?, plain.amount));
            if let Some(sum) = amounts.reduce(|sum, more| sum + more) {
                self.put(group[0].metric, &of, &[], sum)?;
            }
        }
        self.memory(&of, machine)?;
        self.collectors(&of, machine)?;
        self.parts_left_out += machine.past_bound;
        self.pids.push(pid.to_owned());
        self.machines += 1;
        Ok(())
    }

    fn memory(&mut self, of: &[&str; 2], machine: &Machine<'_>) -> Result<(), wire::WireError> {
        let mut known: Vec<(String, String)> = Vec::new();
        for generation in &machine.generations {
            let name = label(generation.name, LONGEST_PART);
            // Where classes were, before there was a metaspace.
            let area = if name == "perm" { "nonheap" } else { "heap" };
            for space in generation.spaces.iter().filter(|space| space.used.is_some()) {
                let names = (name.clone(), label(space.name, LONGEST_PART));
                if known.len() == SPACES || known.contains(&names) {
                    self.parts_left_out += 1;
                    continue;
                }
                self.space(of, &[area, &names.0, &names.1], space)?;
                known.push(names);
            }
        }
        for (name, space) in metrics::NOT_HEAP.iter().zip(&machine.not_heap) {
            self.space(of, &["nonheap", name, name], space)?;
        }
        Ok(())
    }

    fn space(
        &mut self,
        of: &[&str; 2],
        labels: &[&str; 3],
        space: &Space<'_>,
    ) -> Result<(), wire::WireError> {
        let values = [
            (&metrics::USED, space.used),
            (&metrics::COMMITTED, space.committed),
            (&metrics::MAXIMUM, space.most),
        ];
        for (metric, value) in values {
            // Below zero is "no limit", or nonsense.
            if let Some(value) = value.filter(|&value| value >= 0) {
                self.put(metric, of, labels, value as f64)?;
            }
        }
        Ok(())
    }

    fn collectors(&mut self, of: &[&str; 2], machine: &Machine<'_>) -> Result<(), wire::WireError> {
        let mut known: Vec<String> = Vec::new();
        for collector in machine.collectors.iter().filter(|collector| collector.collections.is_some()) {
            let name = label(collector.name, LONGEST_PART);
            if known.contains(&name) {
                self.parts_left_out += 1;
                continue;
            }
            if let Some(collections) = collector.collections.filter(|&times| times >= 0) {
                self.put(&metrics::COLLECTIONS, of, &[&name], collections as f64)?;
            }
            let seconds = collector.ticks.and_then(|ticks| machine.amount(ticks, metrics::Amount::Ticks));
            if let Some(seconds) = seconds {
                self.put(&metrics::COLLECTION_TIME, of, &[&name], seconds)?;
            }
            known.push(name);
        }
        Ok(())
    }

    fn put(
        &mut self,
        metric: &'static Metric,
        of: &[&str; 2],
        more: &[&str],
        value: f64,
    ) -> Result<(), wire::WireError> {
        let labels: Vec<&[u8]> = of.iter().chain(more).map(|label| label.as_bytes()).collect();
        self.response.put(&DEF, metric, &labels, value)
    }

    /// Adds what is about all of them.
    pub(super) fn finish(self) -> Result<(), wire::WireError> {
        self.response.put(&DEF, &metrics::MACHINES, &[], f64::from(self.machines))?;
        self.response.put(&DEF, &metrics::PARTS_LEFT_OUT, &[], f64::from(self.parts_left_out))?;
        for (reason, count) in REASONS.iter().zip(self.left_out) {
            self.response.put(&DEF, &metrics::LEFT_OUT, &[reason.as_bytes()], f64::from(count))?;
        }
        Ok(())
    }
}

/// A text of the file as a label: short, and nothing but characters that can be seen.
fn label(text: &[u8], longest: usize) -> String {
    let text = String::from_utf8_lossy(text);
    let mut label = String::new();
    for c in text.chars().map(|c| if c.is_control() { '?' } else { c }) {
        if label.len() + c.len_utf8() > longest {
            break;
        }
        label.push(c);
    }
    label
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_short_and_seen() {
        assert_eq!(label(b"a\nb\xff", 9), "a?b\u{fffd}");
        assert_eq!(label("aäöü".as_bytes(), 4), "aä");
    }
}
