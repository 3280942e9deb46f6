//! Events of the memory management, under the names that `/proc/vmstat` gives.

use super::{CollectContext, Input, InputDef, InputError, Options, Pattern};
use crate::{
    accumulator::Accumulator,
    catalogue::{Metric, OptionDef, OptionValue, Source},
    source::{File, Roots, parse},
};

/// Definition.
pub static DEF: InputDef = InputDef {
    name: "vmstat",
    about: "Page faults, paging, swapping and kills for lack of memory.",
    prefix: "node_",
    source: Source::Files(&["proc:vmstat"]),
    cost: "one file of about two hundred lines, for which the kernel adds up counters of every CPU",
    metrics: &[&FIELD],
    options: &[OptionDef {
        key: "fields",
        default: OptionValue::Regex("^(oom_kill|pgpg|pswp|pg.*fault).*"),
        help: "The fields that are published.",
    }],
    open: |cx| Ok(Box::new(Vmstat::new(cx.roots, cx.options))),
};

static FIELD: Metric = Metric::untyped("vmstat_*", "The field of /proc/vmstat with this name.", &[]);

/// Reads `/proc/vmstat`.
#[derive(Debug)]
pub struct Vmstat {
    file: File,
    wanted: Pattern,
    /// The fields in the order of the file, and whether they are published: a pattern costs far more than a
    /// comparison with what stood in the same line before.
    fields: Vec<(Box<[u8]>, bool)>,
}

impl Vmstat {
    /// Of the host whose trees these are.
    pub fn new(roots: &Roots, options: Options<'_>) -> Self {
        Self { file: roots.proc("vmstat"), wanted: options.pattern("fields"), fields: Vec::new() }
    }
}

impl Default for Vmstat {
    fn default() -> Self {
        Self::new(&Roots::default(), Options::new(DEF.options, &[]))
    }
}

impl Input for Vmstat {
    fn definition(&self) -> &'static InputDef {
        &DEF
    }

    fn collect(&mut self, _cx: &CollectContext, acc: &mut dyn Accumulator) -> Result<(), InputError> {
        let content = self.file.read()?;
        if content.bytes().is_empty() {
            return Err(content.malformed("fields and numbers", b"").into());
        }
        for (index, line) in content.lines().enumerate() {
            let malformed = || content.malformed("a field and a number", line);
            let (name, value) = parse::split_once(line, b' ').ok_or_else(malformed)?;
            let wanted = match self.fields.get_mut(index) {
                Some((known, wanted)) if **known == *name => *wanted,
                slot => {
                    let wanted = is_name(name) && self.wanted.matches(name);
                    match slot {
                        Some(slot) => *slot = (name.into(), wanted),
                        None => self.fields.push((name.into(), wanted)),
                    }
                    wanted
                }
            };
            if wanted {
                acc.put_part(&FIELD, name, &[], parse::number(value).ok_or_else(malformed)?);
            }
        }
        Ok(())
    }
}

/// Whether it can be part of a metric name.
fn is_name(name: &[u8]) -> bool {
    name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::input::{
        OptionSetting,
        testing::{Tree, collect, few, soup, survives},
    };

    #[test]
    fn the_choice_follows_the_field_and_not_the_line() {
        let tree = Tree::new(&[("proc/vmstat", "nr_free_pages 5\npgfault 6\n")]);
        let mut input = Vmstat::new(&tree.roots(), Options::new(DEF.options, &[]));
        assert_eq!(collect(&mut input).unwrap().samples().len(), 1);
        tree.write("proc/vmstat", b"pgfault 7\nnr_free_pages 5\noom_kill 1\n");
        let acc = collect(&mut input).unwrap();
        assert_eq!(acc.number("vmstat_pgfault", &[]), Some(7.0));
        assert_eq!(acc.number("vmstat_oom_kill", &[]), Some(1.0));
        assert_eq!(acc.samples().len(), 2);
    }

    #[test]
    fn the_pattern_can_be_chosen() {
        let tree = Tree::new(&[("proc/vmstat", "nr_free_pages 5\npgfault x\n")]);
        let given = [("fields".to_owned(), OptionSetting::Regex("^nr_".to_owned()))];
        let acc = collect(&mut Vmstat::new(&tree.roots(), Options::new(DEF.options, &given))).unwrap();
        assert_eq!(acc.number("vmstat_nr_free_pages", &[]), Some(5.0));
        assert!(collect(&mut Vmstat::new(&tree.roots(), Options::new(DEF.options, &[]))).is_err());
    }

    proptest! {
        #![proptest_config(few())]
        #[test]
        fn any_content_is_fine(content in soup(&["pgfault ", "oom_kill", "nr_dirty 1\n"])) {
            let tree = Tree::new(&[]);
            tree.write("proc/vmstat", &content);
            survives(&mut Vmstat::new(&tree.roots(), Options::new(DEF.options, &[])));
        }
    }
}
