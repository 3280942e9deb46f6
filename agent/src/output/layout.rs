//! Which series are written and in which order, decided when a series is born and kept until the next one.

use std::{
    collections::{HashMap, HashSet},
    fmt::Write as _,
    time::SystemTime,
};

use bytes::{Bytes, BytesMut};
use prost::encoding;

use crate::{
    accumulator::{Frame, Series, Value},
    catalogue::{Kind, Metric, Unit},
};

/// The order in which the families of several frames are written. A family that several frames have is one
/// group, because the formats demand one block per name.
#[derive(Debug, Default)]
pub struct Layout {
    /// Of the frames that it was made for.
    epochs: Vec<u64>,
    groups: Vec<Group>,
    /// Families, or series of a family, that are left out: their name belongs to a family of another type.
    pub clashes: u64,
    /// Series that are left out: an earlier frame has one of the same name and labels.
    pub duplicates: u64,
}

/// A family as it is written.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) kind: Kind,
    /// HELP and TYPE lines of the text format.
    pub(super) text: Bytes,
    /// HELP, TYPE and UNIT lines of OpenMetrics.
    pub(super) openmetrics: Bytes,
    /// Fields of a protobuf `MetricFamily` before its metrics.
    pub(super) protobuf: Bytes,
    pub(super) members: Vec<Member>,
}

/// A series of a family: frame and series within it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    frame: u32,
    series: u32,
}

impl Member {
    /// When its counter began at zero, where that is known.
    pub(super) fn beginning(self, frames: &[&Frame]) -> Option<SystemTime> {
        let frame = *frames.get(self.frame as usize)?;
        frame.beginning(frame.series(self.series).metric())
    }

    /// Its frame and its value, if the frame's published cycle brought one.
    #[inline]
    pub(super) fn live<'f>(self, frames: &[&'f Frame]) -> Option<(&'f Frame, Value<'f>)> {
        let frame = *frames.get(self.frame as usize)?;
        Some((frame, frame.value(self.series)?))
    }

    /// What was rendered of it.
    #[inline]
    pub(super) fn series(self, frame: &Frame) -> &Series {
        frame.series(self.series)
    }

    /// What stands before its value.
    #[inline]
    pub(super) fn line(self, frame: &Frame) -> &[u8] {
        frame.line(self.series)
    }
}

impl Layout {
    /// Makes it fit these frames. Cheap, and free of allocations, unless a series was born or forgotten, or
    /// other frames are given than the last time; true when it was made anew.
    pub fn refresh(&mut self, frames: &[&Frame]) -> bool {
        if self.epochs.len() == frames.len()
            && self.epochs.iter().zip(frames).all(|(epoch, frame)| *epoch == frame.epoch())
        {
            return false;
        }
        *self = Builder::default().build(frames);
        true
    }

    pub(super) fn groups(&self) -> &[Group] {
        &self.groups
    }
}

/// What is known while a layout is made.
#[derive(Default)]
struct Builder<'f> {
    layout: Layout,
    /// Names that lines of the groups begin with, and their group.
    taken: HashMap<Bytes, usize>,
    /// Group and labels of every series.
    seen: HashSet<(usize, &'f [u8])>,
    named: Vec<(&'f Bytes, &'static Metric)>,
}

impl<'f> Builder<'f> {
    fn build(mut self, frames: &[&'f Frame]) -> Layout {
        for (at, frame) in (0u32..).zip(frames) {
            self.layout.epochs.push(frame.epoch());
            for family in frame.families() {
                // One whose series are all forgotten does not keep its name from others. The first that is
                // left says what the family is.
                let Some(&first) = family.series.first() else { continue };
                let Some(group) = self.group(&family.name, frame.series(first).metric()) else {
                    self.layout.clashes += 1;
                    continue;
                };
                for &index in &family.series {
                    self.member(group, Member { frame: at, series: index }, frame.series(index));
                }
            }
        }
        let Self { mut layout, taken, named, .. } = self;
        for (group, (name, metric)) in layout.groups.iter_mut().zip(named) {
            (group.text, group.protobuf) = (text_head(name, metric), protobuf_head(name, metric));
            group.openmetrics = openmetrics_head(name, metric, |base| taken.contains_key(base));
        }
        layout
    }

    /// The group of a name, unless the name means something else already.
    fn group(&mut self, name: &'f Bytes, metric: &'static Metric) -> Option<usize> {
        if let Some(&at) = self.taken.get(name) {
            let same = self.named[at].0 == name && self.layout.groups[at].kind.text() == metric.kind.text();
            return same.then_some(at);
        }
        let at = self.layout.groups.len();
        let mut names = vec![name.clone()];
        if let Kind::Histogram(_) = metric.kind {
            // A plain family called `x_count` could not be told from the count of histogram `x`.
            names.extend([&b"_bucket"[..], b"_sum", b"_count"].map(|s| Bytes::from([name, s].concat())));
        }
        if names.iter().any(|name| self.taken.contains_key(name)) {
            return None;
        }
        self.taken.extend(names.into_iter().map(|name| (name, at)));
        self.named.push((name, metric));
        self.layout.groups.push(Group {
            kind: metric.kind,
            text: Bytes::new(),
            openmetrics: Bytes::new(),
            protobuf: Bytes::new(),
            members: Vec::new(),
        });
        Some(at)
    }

    fn member(&mut self, at: usize, member: Member, series: &'f Series) {
        let group = &mut self.layout.groups[at];
        if series.metric().kind.text() != group.kind.text() {
            self.layout.clashes += 1;
        } else if self.seen.insert((at, series.rendered().identity())) {
            group.members.push(member);
        } else {
            self.layout.duplicates += 1;
        }
    }
}

fn text_head(name: &[u8], metric: &Metric) -> Bytes {
    let name = String::from_utf8_lossy(name);
    let help = metric.help.replace('\\', r"\\").replace('\n', r"\n");
    Bytes::from(format!("# HELP {name} {help}\n# TYPE {name} {}\n", metric.kind.text()))
}

/// OpenMetrics names a counter's family without `_total`. Where that is the name of another family, or the
/// counter has no such suffix, only the type `unknown` keeps the sample's name.
fn openmetrics_head(name: &[u8], metric: &Metric, taken: impl Fn(&[u8]) -> bool) -> Bytes {
    let base = name.strip_suffix(b"_total").filter(|base| !taken(base));
    let (name, kind) = match (metric.kind, base) {
        (Kind::Counter, Some(base)) => (base, "counter"),
        (Kind::Counter | Kind::Untyped, _) => (name, "unknown"),
        (kind, _) => (name, kind.text()),
    };
    let unit = unit_of(name, metric.unit);
    let name = String::from_utf8_lossy(name);
    let help = metric.help.replace('\\', r"\\").replace('\n', r"\n").replace('"', r#"\""#);
    let mut head = format!("# HELP {name} {help}\n# TYPE {name} {kind}\n");
    if let Some(unit) = unit {
        // Writing to a string does not fail.
        let _ = writeln!(head, "# UNIT {name} {unit}");
    }
    Bytes::from(head)
}

/// The unit, where the name ends in it as the formats demand.
fn unit_of(name: &[u8], unit: Unit) -> Option<&'static str> {
    let suffix = unit.suffix();
    let stem = name.strip_suffix(suffix.as_bytes())?;
    (!suffix.is_empty() && stem.ends_with(b"_")).then_some(suffix)
}

fn protobuf_head(name: &Bytes, metric: &Metric) -> Bytes {
    let kind = match metric.kind {
        Kind::Counter => 0,
        Kind::Gauge | Kind::Info => 1,
        Kind::Untyped => 3,
        Kind::Histogram(_) => 4,
    };
    let mut head = BytesMut::new();
    encoding::bytes::encode(1, name, &mut head);
    encoding::string::encode(2, &metric.help.to_owned(), &mut head);
    encoding::int32::encode(3, &kind, &mut head);
    if let Some(unit) = unit_of(name.strip_suffix(b"_total").unwrap_or(name), metric.unit) {
        encoding::string::encode(5, &unit.to_owned(), &mut head);
    }
    head.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        accumulator::SeriesStore,
        catalogue::Label,
        output::{
            fixture::{cycle, every_kind, store},
            text,
        },
    };

    static BYTES: Metric = Metric::counter("x_bytes_total", "X.", &[Label::bounded("device", 9)]);
    static GAUGE: Metric = Metric::gauge("x_bytes_total", "Not X.", &[]);
    static LEVEL: Metric = Metric::gauge("x_bytes", "Level.", &[]);

    fn page(layout: &mut Layout, stores: &[&SeriesStore]) -> String {
        let frames: Vec<&Frame> = stores.iter().map(|s| s.frame()).collect();
        layout.refresh(&frames);
        let mut out = BytesMut::new();
        text::encode(layout, &frames, &mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn a_family_of_two_frames_is_one_block_and_the_first_frame_wins() {
        let one = store(|acc| {
            acc.put(&BYTES, &[b"a"], 1.0);
            acc.put(&LEVEL, &[], 5.0);
        });
        let two = store(|acc| {
            acc.put(&BYTES, &[b"a"], 2.0);
            acc.put(&BYTES, &[b"b"], 3.0);
        });
        let mut layout = Layout::default();
        assert_eq!(
            page(&mut layout, &[&one, &two]),
            "# HELP x_bytes_total X.\n# TYPE x_bytes_total counter\n\
             x_bytes_total{device=\"a\"} 1\nx_bytes_total{device=\"b\"} 3\n\
             # HELP x_bytes Level.\n# TYPE x_bytes gauge\nx_bytes 5\n"
        );
        assert_eq!((layout.clashes, layout.duplicates), (0, 1));
    }

    #[test]
    fn a_family_of_another_type_is_left_out_and_counted() {
        let one = store(|acc| acc.put(&BYTES, &[b"a"], 1.0));
        let two = store(|acc| acc.put(&GAUGE, &[], 2.0));
        let mut layout = Layout::default();
        assert!(!page(&mut layout, &[&one, &two]).contains("gauge"));
        assert_eq!(layout.clashes, 1);
        // Within one frame too.
        let both = store(|acc| {
            acc.put(&BYTES, &[b"a"], 1.0);
            acc.put(&GAUGE, &[], 2.0);
        });
        assert!(page(&mut layout, &[&both]).ends_with("x_bytes_total{device=\"a\"} 1\n"));
        assert_eq!(layout.clashes, 1);
    }

    #[test]
    fn it_is_made_anew_only_when_it_must() {
        let mut one = store(|acc| acc.put(&BYTES, &[b"a"], 1.0));
        let two = store(|acc| acc.put(&LEVEL, &[], 2.0));
        let mut layout = Layout::default();
        assert!(layout.refresh(&[one.frame()]));
        assert!(!layout.refresh(&[one.frame()]));
        // The same number of other frames.
        assert!(layout.refresh(&[two.frame()]));
        assert!(layout.refresh(&[one.frame(), two.frame()]));
        cycle(&mut one, |acc| acc.put(&BYTES, &[b"a"], 2.0));
        assert!(!layout.refresh(&[one.frame(), two.frame()]));
        cycle(&mut one, |acc| acc.put(&BYTES, &[b"b"], 2.0));
        assert!(layout.refresh(&[one.frame(), two.frame()]));
    }

    #[test]
    fn a_counter_that_cannot_lose_its_suffix_is_unknown_to_openmetrics() {
        let without = openmetrics_head(b"x_bytes", &BYTES, |_| false);
        assert_eq!(without, "# HELP x_bytes X.\n# TYPE x_bytes unknown\n");
        let free = openmetrics_head(b"x_bytes_total", &BYTES, |_| false);
        assert_eq!(free, "# HELP x_bytes X.\n# TYPE x_bytes counter\n");
        let taken = openmetrics_head(b"x_bytes_total", &BYTES, |base| base == b"x_bytes");
        assert_eq!(taken, "# HELP x_bytes_total X.\n# TYPE x_bytes_total unknown\n");
    }

    #[test]
    fn the_parts_of_a_histogram_are_taken_names() {
        static COUNT: Metric = Metric::gauge("node_wait_seconds_count", "Not the histogram's.", &[]);
        let plain = store(|acc| acc.put(&COUNT, &[], 1.0));
        let every = every_kind();
        let mut layout = Layout::default();
        assert!(!page(&mut layout, &[&every, &plain]).contains("Not the histogram's."));
        assert_eq!(layout.clashes, 1);
        assert!(!page(&mut layout, &[&plain, &every]).contains("node_wait_seconds_bucket"));
        assert_eq!(layout.clashes, 1);
    }

    #[test]
    fn a_unit_is_named_where_the_name_ends_in_it() {
        static RIGHT: Metric = Metric::gauge("load_ratio", "L.", &[]).unit(Unit::Ratio);
        assert!(openmetrics_head(b"load_ratio", &RIGHT, |_| false).ends_with(b"# UNIT load_ratio ratio\n"));
        assert_eq!(unit_of(b"load", Unit::Ratio), None);
        assert_eq!(unit_of(b"ratio", Unit::Ratio), None);
        assert_eq!(unit_of(b"load", Unit::None), None);
    }
}
