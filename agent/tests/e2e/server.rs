//! The agent that serves: together and alone, well and badly behaved clients, and signals.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::TcpStream,
    sync::{Arc, Barrier},
    thread,
    time::Duration,
};

use nix::sys::signal::Signal;
use pitot::input::INPUTS;
use serde_json::Value;

use crate::{
    agent::{Agent, LONG},
    client::{get, request},
    exposition::Exposition,
};

fn collections(agent: &Agent) -> f64 {
    Exposition::read(&agent.page()).value("pitot_agent_collections_total", &[]).unwrap()
}

#[test]
fn scrapers_that_come_together_share_a_collection() {
    const SCRAPERS: usize = 24;
    let agent = Agent::start("", &[]);
    let address = agent.address;
    // A machine that is busy may serve one after the other now and then, but not every time.
    let shared = (0..10).any(|_| {
        let before = collections(&agent);
        let start = Arc::new(Barrier::new(SCRAPERS));
        let scrapers: Vec<_> = (0..SCRAPERS)
            .map(|_| {
                let start = Arc::clone(&start);
                thread::spawn(move || {
                    start.wait();
                    get(address, "/metrics", &[]).unwrap()
                })
            })
            .collect();
        let pages: Vec<_> = scrapers.into_iter().map(|scraper| scraper.join().unwrap()).collect();
        assert!(pages.iter().all(|page| page.status == 200));
        let different: BTreeSet<_> = pages.iter().map(|page| &page.body).collect();
        // The second look is a collection as well.
        let taken = collections(&agent) - before - 1.0;
        assert!(different.len() as f64 <= taken, "{} pages of {taken} collections", different.len());
        taken < SCRAPERS as f64 / 2.0
    });
    assert!(shared);
}

#[test]
fn status_names_every_input_with_its_state() {
    let agent = Agent::start("", &["--input", "loadavg,agent"]);
    agent.page();
    let answer = agent.get("/status");
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    let status: Value = serde_json::from_slice(&answer.body).unwrap();
    let inputs = status["inputs"].as_array().unwrap();
    assert_eq!(inputs.len(), INPUTS.len());
    for (report, def) in inputs.iter().zip(INPUTS) {
        assert_eq!(report["input"], def.name);
        let wanted = if ["loadavg", "agent"].contains(&def.name) { "running" } else { "off" };
        assert_eq!(report["state"], wanted, "{report}");
    }
    assert_eq!(inputs.iter().find(|report| report["input"] == "loadavg").unwrap()["series"], 3);
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["ebpf"], false);
    // Where it listens, not what was asked for.
    assert_eq!(status["listen"], serde_json::json!([agent.address]));
}

#[test]
fn every_path_has_its_answer() {
    let agent = Agent::start("", &["--input", "loadavg,agent"]);
    assert_eq!(agent.get("/healthz").text(), "ok\n");
    let landing = agent.get("/");
    assert!(landing.header("content-type").starts_with("text/html"));
    for link in ["/metrics", "/status", "/healthz", "loadavg"] {
        assert!(landing.text().contains(link), "{link}");
    }
    assert_eq!(agent.get("/nothing").status, 404);
    assert_eq!(request(agent.address, "POST", "/metrics", &[]).unwrap().status, 405);
    let head = request(agent.address, "HEAD", "/metrics", &[]).unwrap();
    assert!(head.status == 200 && head.body.is_empty() && head.header("content-length") != "0");
    // As node_exporter takes them.
    let one = agent.get("/metrics?collect[]=loadavg").text();
    assert!(one.contains("node_load1") && !one.contains("pitot_agent"), "{one}");
    let unknown = agent.get("/metrics?collect[]=loadavgg");
    assert_eq!(unknown.status, 400, "{}", unknown.text());
}

#[test]
fn clients_that_misbehave_hold_up_nobody() {
    let agent = Agent::start("", &["--input", "loadavg,agent"]);
    // One says nothing, one stops within its request, one sends garbage, one goes before it has its answer.
    let _silent = TcpStream::connect(agent.address).unwrap();
    let mut half = TcpStream::connect(agent.address).unwrap();
    half.write_all(b"GET /metr").unwrap();
    let mut garbage = TcpStream::connect(agent.address).unwrap();
    garbage.write_all(b"\x16\x03\x01\xff\xff\r\n\r\n").unwrap();
    for _ in 0..20 {
        let mut hasty = TcpStream::connect(agent.address).unwrap();
        hasty.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    }
    let mut large = TcpStream::connect(agent.address).unwrap();
    // It may hang up before all of it was sent.
    let _cut = large.write_all(format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(100_000)).as_bytes());
    for _ in 0..5 {
        assert!(agent.page().contains("node_load1"));
    }
}

#[test]
fn sigterm_ends_it_at_once_while_a_scraper_keeps_its_connection() {
    let mut agent = Agent::start("", &[]);
    let mut kept = TcpStream::connect(agent.address).unwrap();
    kept.set_read_timeout(Some(LONG)).unwrap();
    kept.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = [0; 512];
    assert!(kept.read(&mut answer).unwrap() > 0);
    let _silent = TcpStream::connect(agent.address).unwrap();
    let (status, took) = agent.terminate();
    assert!(status.success(), "{status}");
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[test]
fn sighup_does_not_kill_and_sigint_ends() {
    let mut agent = Agent::start("", &["--input", "loadavg,agent"]);
    for _ in 0..3 {
        agent.signal(Signal::SIGHUP);
    }
    assert!(agent.page().contains("node_load1"));
    agent.signal(Signal::SIGINT);
    // A second signal while it ends changes nothing.
    let (status, took) = agent.terminate();
    assert!(status.success() || took < Duration::from_secs(1), "{status} {took:?}");
}
