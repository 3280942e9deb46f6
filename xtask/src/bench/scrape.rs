//! What a scrape costs the process that answers it.

use std::{fs::File, hint::black_box, os::unix::fs::FileExt, path::Path};

use anyhow::{Context, Result};

use super::{
    Plan,
    http::{Scraper, series},
    interrupted,
    median::{median, times},
    process::{Cpu, mebibytes, open_files},
    server::{Agent, Pins, Server},
    table::Table,
};

/// What both agents know; the names are the same in both.
const INPUTS: [&str; 16] = [
    "cpu",
    "stat",
    "loadavg",
    "meminfo",
    "vmstat",
    "diskstats",
    "netdev",
    "netstat",
    "sockstat",
    "filefd",
    "pressure",
    "filesystem",
    "uname",
    "time",
    "conntrack",
    "entropy",
];
const NODE_EXPORTER: &str = "/usr/bin/prometheus-node-exporter";

const HALF_A_PAGE: usize = 2048;

const GZIP: &str = "Accept-Encoding: gzip\r\n";
const PROTOBUF: &str =
    "Accept: application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited\r\n";

/// One row: a server asked in one way.
struct Peer<'a> {
    name: &'static str,
    server: &'a Server,
    scraper: Scraper,
    rounds: Vec<Cpu>,
}

impl<'a> Peer<'a> {
    fn new(name: &'static str, server: &'a Server, headers: &str) -> Result<Self> {
        Ok(Self { name, server, scraper: server.scraper(headers)?, rounds: Vec::new() })
    }

    fn round(&mut self, scrapes: u32) -> Result<()> {
        let before = Cpu::of(self.server.pid())?;
        for _ in 0..scrapes {
            self.scraper.scrape().with_context(|| self.name)?;
            interrupted()?;
        }
        self.rounds.push(Cpu::of(self.server.pid())? - before);
        Ok(())
    }
}

/// The same files without an agent: kept open, read from the start into a kept buffer, and forgotten.
struct Reader {
    files: Vec<File>,
    buffer: Vec<u8>,
    bytes: usize,
    rounds: Vec<Cpu>,
}

impl Reader {
    fn new(paths: &[String]) -> Self {
        // What only its owner may read counts for nobody.
        let files = paths.iter().filter_map(|path| File::open(path).ok()).collect();
        Self { files, buffer: vec![0; 256 << 10], bytes: 0, rounds: Vec::new() }
    }

    fn round(&mut self, times: u32) -> Result<()> {
        let before = Cpu::of_this_thread()?;
        for _ in 0..times {
            self.bytes = 0;
            for file in &self.files {
                let mut at = 0;
                // A file that fails now and then is read by nobody.
                while let Ok(read @ 1..) = file.read_at(&mut self.buffer, at) {
                    at += read as u64;
                    self.bytes += read;
                    black_box(&self.buffer);
                    // The kernel hands out a page at a time: this was the last one.
                    if read < HALF_A_PAGE {
                        break;
                    }
                }
            }
        }
        self.rounds.push(Cpu::of_this_thread()? - before);
        Ok(())
    }
}

pub(super) fn measure(plan: &Plan) -> Result<Table> {
    let nothing_pinned = Pins::new(&plan.pitot, "")?;
    let mut host = nothing_pinned.serve(&["--no-ebpf", &format!("--input={}", INPUTS.join(","))])?;
    host.first_page()?;
    let full = if plan.root { Some(Agent::by_default(&plan.pitot)?) } else { None };
    let other = node_exporter()?;
    let mut reader = Reader::new(&open_files(host.pid())?);

    let mut peers = vec![
        Peer::new("pitot, host inputs", &host, "")?,
        Peer::new("  gzip", &host, GZIP)?,
        Peer::new("  protobuf", &host, PROTOBUF)?,
    ];
    if let Some(other) = &other {
        peers.push(Peer::new("node_exporter, the same", other, "")?);
        peers.push(Peer::new("  gzip", other, GZIP)?);
    }
    if let Some(full) = &full {
        peers.push(Peer::new("pitot, all inputs", &full.server, "")?);
        peers.push(Peer::new("  gzip", &full.server, GZIP)?);
        peers.push(Peer::new("  protobuf", &full.server, PROTOBUF)?);
    }
    // Series are born, buffers grow and Go's heap finds its size.
    for peer in &mut peers {
        peer.round(20)?;
        peer.rounds.clear();
    }
    for _ in 0..plan.rounds {
        for peer in &mut peers {
            peer.round(plan.scrapes)?;
        }
        reader.round(plan.scrapes)?;
    }
    table(plan, &peers, &reader, other.is_some(), full.as_ref())
}

fn node_exporter() -> Result<Option<Server>> {
    if !Path::new(NODE_EXPORTER).exists() {
        return Ok(None);
    }
    let mut arguments =
        vec!["--collector.disable-defaults".to_owned(), "--web.disable-exporter-metrics".into()];
    arguments.extend(INPUTS.iter().map(|input| format!("--collector.{input}")));
    let mut server = Server::start(Path::new(NODE_EXPORTER), &arguments, "--web.listen-address=")?;
    server.first_page().context("node_exporter")?;
    Ok(Some(server))
}

fn table(
    plan: &Plan,
    peers: &[Peer<'_>],
    reader: &Reader,
    complete: bool,
    full: Option<&Agent>,
) -> Result<Table> {
    let mut table = Table::new(
        "Cost of a scrape",
        &["", "CPU ms", "of which kernel", "x bare reading", "RSS MiB", "peak MiB", "bytes", "series"],
    );
    let per_scrape = |rounds: &[Cpu]| -> (Vec<f64>, f64) {
        let both: Vec<(f64, f64)> = rounds.iter().map(Cpu::milliseconds).collect();
        let n = f64::from(plan.scrapes);
        let kernel = median(both.iter().map(|(_, kernel)| kernel / n));
        (both.iter().map(|(total, _)| total / n).collect(), kernel)
    };
    let (bare, kernel) = per_scrape(&reader.rounds);
    table.row(vec![
        format!("bare reading of {} files", reader.files.len()),
        format!("{:.3}", median(bare.iter().copied())),
        format!("{kernel:.3}"),
        "1.00".into(),
        String::new(),
        String::new(),
        reader.bytes.to_string(),
        String::new(),
    ]);
    let mut texts = Vec::new();
    for peer in peers {
        let (total, kernel) = per_scrape(&peer.rounds);
        // The variants of a server are one process: its memory stands in its first row.
        let first = !peer.name.starts_with(' ');
        let memory = |line| -> Result<String> {
            Ok(if first { format!("{:.1}", mebibytes(peer.server.pid(), line)?) } else { String::new() })
        };
        table.row(vec![
            peer.name.to_owned(),
            format!("{:.3}", median(total.iter().copied())),
            format!("{kernel:.3}"),
            format!("{:.2}", times(&total, &bare)),
            memory("VmRSS")?,
            memory("VmHWM")?,
            peer.scraper.body.len().to_string(),
            if first { series(&peer.scraper.body).to_string() } else { String::new() },
        ]);
        if first {
            texts.push((peer.name, total));
        }
    }
    table.note(format!(
        "median of {} rounds of {} scrapes over one connection; every round asks all of them",
        plan.rounds, plan.scrapes
    ));
    if let [(_, pitot), (_, other), ..] = texts.as_slice()
        && complete
    {
        table.note(format!("node_exporter / pitot, host inputs, text: {:.1}", times(other, pitot)));
    }
    if !complete {
        table.note("no node_exporter to compare with: apt-get install prometheus-node-exporter");
    }
    if let Some(full) = full {
        table.note(full.attached()?);
    } else {
        table.note("without root, so without pitot's kernel programs");
    }
    Ok(table)
}
