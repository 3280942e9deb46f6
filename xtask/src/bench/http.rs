//! A scraper that keeps its connection, as Prometheus does.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

const PATIENCE: Duration = Duration::from_secs(10);

/// A connection to one server, and what is asked there.
pub(super) struct Scraper {
    stream: BufReader<TcpStream>,
    request: String,
    /// The last page, as it came: compressed if that was asked for.
    pub(super) body: Vec<u8>,
}

impl Scraper {
    pub(super) fn new(address: SocketAddr, headers: &str) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\n{headers}\r\n");
        Ok(Self { stream: BufReader::new(stream), request, body: Vec::new() })
    }

    /// Fetches a page.
    pub(super) fn scrape(&mut self) -> Result<()> {
        self.stream.get_mut().write_all(self.request.as_bytes())?;
        let status = self.line()?;
        ensure!(status.starts_with("HTTP/1.1 200"), "the server says {status}");
        let mut length = None;
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = Some(value.trim().parse()?),
                "transfer-encoding" => length = None,
                _ => {}
            }
        }
        self.body.clear();
        if let Some(length) = length {
            return self.take(length);
        }
        loop {
            let size = self.line()?;
            let size = u64::from_str_radix(size.trim(), 16).with_context(|| format!("chunk of {size}"))?;
            self.take(size)?;
            self.line()?;
            if size == 0 {
                return Ok(());
            }
        }
    }

    fn take(&mut self, bytes: u64) -> Result<()> {
        let read = self.stream.by_ref().take(bytes).read_to_end(&mut self.body)?;
        ensure!(read as u64 == bytes, "the page ends early");
        Ok(())
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            bail!("the server has closed the connection");
        }
        line.truncate(line.trim_end().len());
        Ok(line)
    }
}

/// Lines of a text page that are series.
pub(super) fn series(page: &[u8]) -> usize {
    page.split(|&byte| byte == b'\n').filter(|line| !line.is_empty() && line[0] != b'#').count()
}
