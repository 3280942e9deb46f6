//! An accumulator that passes samples on under a longer name.

use super::{Accumulator, Sample};

/// Adds a prefix to the names of all samples that pass through. The sample itself is not touched: wrapping
/// twice prefixes twice, delivering a sample twice does not.
pub struct Prefixed<'a> {
    inner: &'a mut dyn Accumulator,
    prefix: &'a str,
    joined: String,
}

impl<'a> Prefixed<'a> {
    /// Wraps an accumulator.
    pub fn new(inner: &'a mut dyn Accumulator, prefix: &'a str) -> Self {
        Self { inner, prefix, joined: String::new() }
    }
}

impl Accumulator for Prefixed<'_> {
    fn add(&mut self, sample: &Sample<'_>) {
        let prefix = if sample.prefix.is_empty() {
            self.prefix
        } else {
            self.joined.clear();
            self.joined.push_str(self.prefix);
            self.joined.push_str(sample.prefix);
            &self.joined
        };
        self.inner.add(&Sample { prefix, ..*sample });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{accumulator::MemoryAccumulator, catalogue::Metric};

    static LOAD: Metric = Metric::gauge("load1", "Load.", &[]);

    #[test]
    fn prefixes_nest_and_never_mutate() {
        let mut memory = MemoryAccumulator::new();
        {
            let mut outer = Prefixed::new(&mut memory, "a_");
            let mut inner = Prefixed::new(&mut outer, "b_");
            let acc: &mut dyn Accumulator = &mut inner;
            acc.put(&LOAD, &[], 1.0);
            acc.put(&LOAD, &[], 2.0);
        }
        let names: Vec<_> = memory.samples().iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["a_b_load1", "a_b_load1"]);
    }
}
