//! Counters of the IP protocols: the kernel's own SNMP tables.

use super::{CollectContext, Input, InputDef, InputError, Pattern};
use crate::{
    accumulator::Accumulator,
    catalogue::{Metric, OptionDef, OptionValue, Source},
    source::{Content, File, OptionalFile, Roots, SourceError, parse},
};

/// Definition.
pub static DEF: InputDef = InputDef {
    name: "netstat",
    about: "Counters of IP, ICMP, TCP and UDP: segments, retransmissions, errors and drops.",
    prefix: "node_",
    source: Source::Files(&["proc:net/netstat", "proc:net/snmp", "proc:net/snmp6"]),
    cost: "three files; the kernel sums some four hundred counters over all CPUs for them",
    metrics: &[&NETSTAT],
    options: &[OptionDef {
        key: "fields",
        default: OptionValue::Regex(FIELDS),
        help: "Which counters to report, by their name of protocol, underscore and field.",
    }],
    open: |cx| Ok(Box::new(Netstat::new(cx.roots).with_fields(cx.options.pattern("fields")))),
};

/// The selection that existing dashboards rely on.
const FIELDS: &str = "^(.*_(InErrors|InErrs)\
    |Ip_Forwarding\
    |Ip(6|Ext)_(InOctets|OutOctets)\
    |Icmp6?_(InMsgs|OutMsgs)\
    |TcpExt_(Listen.*|Syncookies.*|TCPSynRetrans|TCPTimeouts|TCPOFOQueue|TCPRcvQDrop)\
    |Tcp_(ActiveOpens|InSegs|OutSegs|OutRsts|PassiveOpens|RetransSegs|CurrEstab)\
    |Udp6?_(InDatagrams|OutDatagrams|NoPorts|RcvbufErrors|SndbufErrors))$";

static NETSTAT: Metric =
    Metric::untyped("netstat_*", "A number of the kernel's SNMP tables, by protocol and field.", &[]);

/// Reads `/proc/net/netstat`, `/proc/net/snmp` and, with IPv6, `/proc/net/snmp6`.
#[derive(Debug)]
pub struct Netstat {
    fields: Pattern,
    /// The extended counters and the standard ones: tables of the same form.
    v4: [(File, Vec<Table>); 2],
    /// IPv6 is written in another form.
    v6: (OptionalFile, Vec<Row>),
}

/// What was decided about a table, for as long as its heading stays as it is.
#[derive(Debug)]
struct Table {
    heading: Box<[u8]>,
    /// How many values belong to it.
    width: usize,
    wanted: Vec<Column>,
}

/// A wanted column.
#[derive(Debug)]
struct Column {
    position: usize,
    name: Box<[u8]>,
}

/// What was decided about a line of a key and a value.
#[derive(Debug)]
struct Row {
    key: Box<[u8]>,
    /// Nothing when it is not wanted.
    name: Option<Box<[u8]>>,
}

impl Netstat {
    /// Of the host whose trees these are.
    pub fn new(roots: &Roots) -> Self {
        Self {
            fields: Pattern::new(FIELDS),
            v4: [(roots.net("netstat"), Vec::new()), (roots.net("snmp"), Vec::new())],
            v6: (OptionalFile::new(roots.net("snmp6")), Vec::new()),
        }
    }

    /// With another selection of counters.
    pub fn with_fields(self, fields: Pattern) -> Self {
        Self { fields, ..self }
    }
}

impl Default for Netstat {
    fn default() -> Self {
        Self::new(&Roots::default())
    }
}

impl Input for Netstat {
    fn definition(&self) -> &'static InputDef {
        &DEF
    }

    fn collect(&mut self, _cx: &CollectContext, acc: &mut dyn Accumulator) -> Result<(), InputError> {
        for (file, tables) in &mut self.v4 {
            let content = file.read().map_err(InputError::missing_is_unsupported)?;
            deliver_tables(content, tables, &self.fields, acc)?;
        }
        let (file, rows) = &mut self.v6;
        if let Some(content) = file.read()? {
            deliver_rows(content, rows, &self.fields, acc)?;
        }
        Ok(())
    }
}

/// Pairs of lines: the names of the columns, then their values.
fn deliver_tables(
    content: Content<'_>,
    tables: &mut Vec<Table>,
    fields: &Pattern,
    acc: &mut dyn Accumulator,
) -> Result<(), SourceError> {
    let mut lines = content.lines();
    let mut count = 0;
    while let Some(heading) = lines.next() {
        if tables.get(count).is_none_or(|table| *table.heading != *heading) {
            let table =
                Table::new(heading, fields).ok_or_else(|| content.malformed("a protocol", heading))?;
            tables.truncate(count);
            tables.push(table);
        }
        let line = lines.next().unwrap_or_default();
        tables[count]
            .deliver(line, acc)
            .ok_or_else(|| content.malformed("a number for each name of the line before", line))?;
        count += 1;
    }
    Ok(())
}

impl Table {
    fn new(heading: &[u8], fields: &Pattern) -> Option<Self> {
        let (protocol, names) = parse::split_once(heading, b':')?;
        let mut wanted = Vec::new();
        let mut width = 0;
        for (position, field) in parse::fields(names).enumerate() {
            let name = [protocol, b"_", field].concat();
            if fields.matches(&name) {
                wanted.push(Column { position, name: name.into() });
            }
            width = position + 1;
        }
        Some(Self { heading: heading.into(), width, wanted })
    }

    fn deliver(&self, line: &[u8], acc: &mut dyn Accumulator) -> Option<()> {
        let (protocol, values) = parse::split_once(line, b':')?;
        if !(self.heading.starts_with(protocol) && self.heading.get(protocol.len()) == Some(&b':')) {
            return None;
        }
        let mut wanted = self.wanted.iter().peekable();
        let mut width = 0;
        for (position, field) in parse::fields(values).enumerate() {
            if let Some(column) = wanted.next_if(|column| column.position == position) {
                acc.put_part(&NETSTAT, &column.name, &[], number(field)?);
            }
            width = position + 1;
        }
        (width == self.width).then_some(())
    }
}

/// Lines of a key and a value. The key is the protocol, which ends at the 6, and the field.
fn deliver_rows(
    content: Content<'_>,
    rows: &mut Vec<Row>,
    fields: &Pattern,
    acc: &mut dyn Accumulator,
) -> Result<(), SourceError> {
    for (count, line) in content.lines().enumerate() {
        let mut parts = parse::fields(line);
        let (Some(key), Some(value)) = (parts.next(), parts.next()) else {
            return Err(content.malformed("a name and a number", line));
        };
        if rows.get(count).is_none_or(|row| *row.key != *key) {
            rows.truncate(count);
            rows.push(Row::new(key, fields));
        }
        if let Some(name) = &rows[count].name {
            let value = number(value).ok_or_else(|| content.malformed("a number", line))?;
            acc.put_part(&NETSTAT, name, &[], value);
        }
    }
    Ok(())
}

impl Row {
    fn new(key: &[u8], fields: &Pattern) -> Self {
        let name = key.iter().position(|&b| b == b'6').map(|six| {
            let (protocol, field) = key.split_at(six + 1);
            [protocol, b"_", field].concat().into_boxed_slice()
        });
        Self { key: key.into(), name: name.filter(|name| fields.matches(name)) }
    }
}

/// Counters take all 64 bits; a limit such as MaxConn may be negative.
fn number(text: &[u8]) -> Option<f64> {
    parse::number(text).map(|n| n as f64).or_else(|| parse::signed(text).map(|n| n as f64))
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path, time::Duration};

    use proptest::prelude::*;

    use super::*;
    use crate::accumulator::MemoryAccumulator;

    const NETSTAT_FILE: &str = "TcpExt: ListenDrops TW TCPTimeouts\nTcpExt: 1 2 3\n";
    const SNMP_FILE: &str = "Tcp: MaxConn CurrEstab InErrs\nTcp: -1 7 5\nUdp: InErrors\nUdp: 9\n";

    fn write(dir: &Path, files: &[(&str, &str)]) {
        fs::create_dir_all(dir.join("net")).unwrap();
        for (name, content) in files {
            fs::write(dir.join("net").join(name), content).unwrap();
        }
    }

    fn open(dir: &Path) -> Netstat {
        Netstat::new(&Roots { procfs: dir.to_owned(), ..Roots::default() })
    }

    fn collect(input: &mut Netstat) -> Result<MemoryAccumulator, InputError> {
        let mut acc = MemoryAccumulator::new();
        input.collect(&CollectContext::new(Duration::from_secs(1)), &mut acc)?;
        Ok(acc)
    }

    #[test]
    fn the_default_selection_is_delivered_by_protocol_and_field() {
        let dir = tempfile::tempdir().unwrap();
        let snmp6 = "Ip6InOctets   \t460\nIp6OutRequests\t8\nUdpLite6InErrors\t3\nother 1\n";
        write(dir.path(), &[("netstat", NETSTAT_FILE), ("snmp", SNMP_FILE), ("snmp6", snmp6)]);
        let acc = collect(&mut open(dir.path())).unwrap();
        let names: Vec<&str> = acc.samples().iter().map(|sample| sample.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "netstat_TcpExt_ListenDrops",
                "netstat_TcpExt_TCPTimeouts",
                "netstat_Tcp_CurrEstab",
                "netstat_Tcp_InErrs",
                "netstat_Udp_InErrors",
                "netstat_Ip6_InOctets",
                "netstat_UdpLite6_InErrors",
            ]
        );
        assert_eq!(acc.number("netstat_Ip6_InOctets", &[]), Some(460.0));
    }

    #[test]
    fn without_ipv6_the_rest_is_there() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &[("netstat", NETSTAT_FILE), ("snmp", SNMP_FILE)]);
        assert_eq!(collect(&mut open(dir.path())).unwrap().samples().len(), 5);
        let mut all = open(dir.path()).with_fields(Pattern::new("."));
        assert_eq!(collect(&mut all).unwrap().number("netstat_Tcp_MaxConn", &[]), Some(-1.0));
    }

    #[test]
    fn a_changed_heading_is_decided_anew() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &[("netstat", NETSTAT_FILE), ("snmp", SNMP_FILE)]);
        let mut input = open(dir.path());
        collect(&mut input).unwrap();
        let moved = "IpExt: InOctets\nIpExt: 4\nTcpExt: TW ListenDrops\nTcpExt: 2 6\n";
        write(dir.path(), &[("netstat", moved)]);
        let acc = collect(&mut input).unwrap();
        assert_eq!(acc.number("netstat_TcpExt_ListenDrops", &[]), Some(6.0));
        assert_eq!(acc.number("netstat_IpExt_InOctets", &[]), Some(4.0));
    }

    #[test]
    fn lines_that_do_not_match_are_errors() {
        for bad in
            ["Tcp: InErrs\n", "Tcp: InErrs\nTcp: 1 2\n", "Tcp: InErrs\nUdp: 1\n", "Tcp: InErrs\nTcp: x\n"]
        {
            let dir = tempfile::tempdir().unwrap();
            write(dir.path(), &[("netstat", NETSTAT_FILE), ("snmp", bad)]);
            assert!(matches!(collect(&mut open(dir.path())), Err(InputError::Source(_))), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_fine(heading: Vec<u8>, line: Vec<u8>) {
            let pattern = Pattern::new(".");
            if let Some(table) = Table::new(&heading, &pattern) {
                let _ = table.deliver(&line, &mut MemoryAccumulator::new());
            }
            let _ = Row::new(&line, &pattern);
        }
    }
}
