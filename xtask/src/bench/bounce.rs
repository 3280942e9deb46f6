//! Events that two threads make, each on a CPU of its own: who asks and who answers never meet.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    thread,
    time::Instant,
};

use anyhow::{Context, Result, anyhow};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

use super::interrupted;

/// Microseconds per round trip of a byte through two pipes: two wakeups and four system calls.
pub(super) fn pipes(rounds: u32) -> Result<f64> {
    let (ask_reader, ask) = io::pipe()?;
    let (answer_reader, answer) = io::pipe()?;
    bounce((answer_reader, ask), (ask_reader, answer), rounds)
}

/// Microseconds per round trip of a byte through a TCP connection on the loopback.
pub(super) fn tcp(rounds: u32) -> Result<f64> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let asks = TcpStream::connect(listener.local_addr()?)?;
    let (answers, _) = listener.accept()?;
    for stream in [&asks, &answers] {
        stream.set_nodelay(true)?;
    }
    bounce((asks.try_clone()?, asks), (answers.try_clone()?, answers), rounds)
}

/// Connections that are made, used for a byte and closed, and as many that are refused.
pub(super) fn connections(count: u32) -> Result<()> {
    interrupted()?;
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    for _ in 0..count {
        let mut client = TcpStream::connect(address)?;
        let (mut server, _) = listener.accept()?;
        client.write_all(b"x")?;
        server.read_exact(&mut [0])?;
        // Refused.
        drop(TcpStream::connect(closed));
    }
    Ok(())
}

/// One thread writes a byte and waits for it, the other sends it back. When one fails, its ends are closed and
/// the other one ends, too.
fn bounce<R: Read + Send, W: Write + Send>(asks: (R, W), answers: (R, W), rounds: u32) -> Result<f64> {
    interrupted()?;
    let asking = move || -> Result<f64> {
        let (mut reader, mut writer) = asks;
        pin(0)?;
        let mut byte = [0];
        let begun = Instant::now();
        for _ in 0..rounds {
            writer.write_all(&byte)?;
            reader.read_exact(&mut byte)?;
        }
        Ok(begun.elapsed().as_secs_f64() * 1e6 / f64::from(rounds))
    };
    let answering = move || -> Result<()> {
        let (mut reader, mut writer) = answers;
        pin(1)?;
        let mut byte = [0];
        for _ in 0..rounds {
            reader.read_exact(&mut byte)?;
            writer.write_all(&byte)?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let (answering, asking) = (scope.spawn(answering), scope.spawn(asking));
        answering.join().map_err(|_| anyhow!("the answering thread panicked"))??;
        asking.join().map_err(|_| anyhow!("the asking thread panicked"))?
    })
}

/// Binds the calling thread to a CPU.
fn pin(cpu: usize) -> Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &cpus).with_context(|| format!("cannot run on CPU {cpu}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_end_stops_both_threads() {
        let (reader, ask) = io::pipe().unwrap();
        let (answer_reader, answer) = io::pipe().unwrap();
        drop(reader);
        let (gone, _) = io::pipe().unwrap();
        assert!(bounce((answer_reader, ask), (gone, answer), 10).is_err());
    }
}
