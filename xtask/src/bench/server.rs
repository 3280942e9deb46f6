//! The servers that are measured. What they start, attach or pin goes when they go.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use xtask::sources;

use super::{http::Scraper, interrupted};
use crate::shell::line;

const STARTED: Duration = Duration::from_secs(20);

/// A process that serves metrics.
pub(super) struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts a program that takes its address as the last argument, after this option.
    pub(super) fn start(program: &Path, arguments: &[String], listen: &str) -> Result<Self> {
        let address = free_address()?;
        let mut command = Command::new(program);
        command.args(arguments).arg(format!("{listen}{address}"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        println!("$ {}", line(&command, &[]));
        let child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Self { child, address })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn scraper(&self, headers: &str) -> Result<Scraper> {
        Scraper::new(self.address, headers)
    }

    /// Waits until it delivers, and returns its first page.
    pub(super) fn first_page(&mut self) -> Result<Vec<u8>> {
        let begun = Instant::now();
        loop {
            let page = self.scraper("").and_then(|mut scraper| {
                scraper.scrape()?;
                Ok(scraper.body)
            });
            match page {
                Ok(page) => return Ok(page),
                Err(error) if begun.elapsed() > STARTED => return Err(error.context("it never answers")),
                Err(_) => {}
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended at once ({status})");
            }
            interrupted()?;
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// An address that was free a moment ago.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// An agent with pins of its own.
pub(super) struct Agent {
    // Dropped first: pins are only removed when nobody holds them.
    pub(super) server: Server,
    pub(super) pins: Pins,
}

impl Agent {
    /// Starts the agent with kernel programs; fails unless these objects are attached.
    pub(super) fn start(
        pitot: &Path,
        arguments: &[&str],
        input_tables: &str,
        objects: &[&str],
    ) -> Result<Self> {
        let pins = Pins::new(pitot, input_tables)?;
        let mut agent = Self { server: pins.serve(arguments)?, pins };
        agent.server.first_page()?;
        // The kernel times all programs for the first second, which is not what is to be measured.
        std::thread::sleep(Duration::from_millis(1_500));
        let folders = agent.pins.objects()?;
        for object in objects {
            let attached = folders.iter().any(|folder| is_of(folder, object));
            ensure!(attached, "{object} does not run here: `pitot inputs` says why");
        }
        Ok(agent)
    }

    /// Starts the agent with all that is on by default; fails unless kernel programs are attached.
    pub(super) fn by_default(pitot: &Path) -> Result<Self> {
        let agent = Self::start(pitot, &[], "", &[])?;
        ensure!(!agent.pins.objects()?.is_empty(), "no kernel program runs: `pitot inputs` says why");
        Ok(agent)
    }

    /// In words, which kernel objects run.
    pub(super) fn attached(&self) -> Result<String> {
        let folders = self.pins.objects()?;
        let mut all = sources::objects(&sources::root())?;
        all.retain(|name| name != sources::REFERENCE);
        let (on, off): (Vec<String>, Vec<String>) =
            all.into_iter().partition(|name| folders.iter().any(|folder| is_of(folder, name)));
        let on = format!("kernel objects of the agent: {}", on.join(", "));
        Ok(if off.is_empty() { on } else { format!("{on}; not attached by default: {}", off.join(", ")) })
    }
}

/// Whether a folder of pins is that of an object: behind the name comes a hash.
fn is_of(folder: &str, object: &str) -> bool {
    folder.rsplit_once('-').is_some_and(|(name, _)| name == object)
}

/// A folder for pins, the configuration that names it, and its end.
pub(super) struct Pins {
    pitot: PathBuf,
    pub(super) folder: PathBuf,
    config: tempfile::NamedTempFile,
}

impl Pins {
    pub(super) fn new(pitot: &Path, input_tables: &str) -> Result<Self> {
        let folder = PathBuf::from(format!("/sys/fs/bpf/pitot-bench-{}", std::process::id()));
        let config = tempfile::Builder::new().prefix("pitot-bench-").suffix(".toml").tempfile()?;
        // Scraped without pause it would hold itself to its budget.
        let unlimited = "[budget]\ncpu_percent = 0\nmemory_mib = 0\n";
        fs::write(&config, format!("{unlimited}[ebpf]\npin = \"{}\"\n{input_tables}", folder.display()))?;
        Ok(Self { pitot: pitot.to_owned(), folder, config })
    }

    /// The names of the folders, one for each object that runs: `sched-1f..`.
    fn objects(&self) -> Result<Vec<String>> {
        let folders = fs::read_dir(&self.folder).context("nothing is pinned")?;
        Ok(folders.flatten().map(|folder| folder.file_name().to_string_lossy().into_owned()).collect())
    }

    /// Starts an agent that uses them.
    pub(super) fn serve(&self, arguments: &[&str]) -> Result<Server> {
        let mut all = vec!["--config".to_owned(), self.config.path().display().to_string()];
        all.extend(arguments.iter().map(|&argument| argument.to_owned()));
        Server::start(&self.pitot, &all, "--listen=")
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        let mut clean = Command::new(&self.pitot);
        clean.arg("clean").arg("--config").arg(self.config.path()).stdout(Stdio::null());
        if !clean.status().is_ok_and(|status| status.success()) {
            eprintln!("remove {} by hand", self.folder.display());
        }
    }
}
