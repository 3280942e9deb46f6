//! `/proc/cpuinfo`: a paragraph per CPU.

use super::{BUG_INFO, FLAG_INFO, FREQUENCY, INFO};
use crate::{
    accumulator::Accumulator,
    input::Pattern,
    source::{Content, SourceError, parse},
};

/// The keys of the file that become labels, in the order of the labels.
const KEYS: [&[u8]; 10] = [
    b"physical id",
    b"core id",
    b"processor",
    b"vendor_id",
    b"cpu family",
    b"model",
    b"model name",
    b"microcode",
    b"stepping",
    b"cache size",
];
const PROCESSOR: usize = 2;

/// A paragraph.
#[derive(Default)]
struct Processor<'a> {
    labels: [&'a [u8]; KEYS.len()],
    megahertz: Option<f64>,
}

impl Processor<'_> {
    fn put(&self, acc: &mut dyn Accumulator) {
        acc.put(&INFO, &self.labels, 1.0);
        if let Some(megahertz) = self.megahertz {
            acc.put(&FREQUENCY, &self.labels[..=PROCESSOR], megahertz * 1e6);
        }
    }
}

/// Delivers every CPU, and the chosen flags and bugs of the first.
pub(super) fn collect(
    content: Content<'_>,
    flags: &Pattern,
    bugs: &Pattern,
    acc: &mut dyn Accumulator,
) -> Result<(), SourceError> {
    let mut processor: Option<Processor<'_>> = None;
    let mut first = true;
    for line in content.lines() {
        let Some((key, value)) = parse::split_once(line, b':') else { continue };
        let (key, value) = (key.trim_ascii(), value.trim_ascii());
        if key == KEYS[PROCESSOR] {
            parse::number(value).ok_or_else(|| content.malformed("the number of a CPU", line))?;
            if let Some(complete) = processor.replace(Processor::default()) {
                complete.put(acc);
                first = false;
            }
        }
        // Some architectures begin with lines about all CPUs.
        let Some(processor) = &mut processor else { continue };
        if let Some(index) = KEYS.iter().position(|known| *known == key) {
            processor.labels[index] = value;
        } else if key == b"cpu MHz" {
            let megahertz = parse::float(value).ok_or_else(|| content.malformed("a frequency", line))?;
            processor.megahertz = Some(megahertz);
        } else if first {
            let (metric, wanted) = match key {
                b"flags" | b"Features" => (&FLAG_INFO, flags),
                b"bugs" => (&BUG_INFO, bugs),
                _ => continue,
            };
            for word in parse::fields(value).filter(|word| wanted.matches(word)) {
                acc.put(metric, &[word], 1.0);
            }
        }
    }
    let last = processor.ok_or_else(|| content.malformed("a processor", content.bytes()))?;
    last.put(acc);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        accumulator::MemoryAccumulator,
        input::testing::{Tree, few, soup},
    };

    fn read(cpuinfo: &[u8]) -> Result<MemoryAccumulator, SourceError> {
        let tree = Tree::new(&[]);
        tree.write("proc/cpuinfo", cpuinfo);
        let mut acc = MemoryAccumulator::new();
        let mut file = tree.roots().proc("cpuinfo");
        let (flags, bugs) = (Pattern::new("^(aes|avx.?)$"), Pattern::new("^spectre_"));
        collect(file.read_to_end()?, &flags, &bugs, &mut acc)?;
        Ok(acc)
    }

    #[test]
    fn paragraphs_become_cpus() {
        let paragraph = |cpu: u32| {
            format!(
                "processor\t: {cpu}\nmodel name\t: A: B\ncpu MHz\t\t: 800.5\nphysical id\t: 0\ncore id\t\t: 4\n\
                 flags\t\t: fpu aes avx2 xavx\nbugs\t\t: spectre_v1 mds\npower management:\n\n"
            )
        };
        let acc = read(format!("{}{}", paragraph(0), paragraph(7)).as_bytes()).unwrap();
        assert_eq!(acc.number("cpu_info", &["0", "4", "7", "", "", "", "A: B", "", "", ""]), Some(1.0));
        assert_eq!(acc.number("cpu_frequency_hertz", &["0", "4", "0"]), Some(800.5e6));
        assert_eq!(acc.number("cpu_flag_info", &["avx2"]), Some(1.0));
        assert_eq!(acc.number("cpu_bug_info", &["spectre_v1"]), Some(1.0));
        assert_eq!(acc.samples().len(), 7);
    }

    proptest! {
        #![proptest_config(few())]
        #[test]
        fn any_content_is_fine(content in soup(&["processor: 0\n", "flags: ", "cpu MHz: ", "model", "bugs"])) {
            let _ = read(&content);
        }
    }
}
