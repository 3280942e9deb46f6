//! The command line of the lab.
#![expect(clippy::print_stdout, reason = "this is a command line tool")]

use std::{
    process::Command,
    sync::mpsc::{Receiver, channel},
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use super::{ContainerSpec, Lab, PodSpec};

/// Which runtimes, and what for.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// Only these runtimes.
    #[arg(long, value_name = "RUNTIME", num_args = 1.., value_enum)]
    only: Vec<Kind>,
    /// Start two pods, `default/web-a` and `default/web-b`, with a server each on port 8080 of their own 127.0.0.1.
    #[arg(long)]
    web: bool,
    /// What to run meanwhile; it finds the sockets in PITOT_CRI, PITOT_DOCKER and PITOT_PODMAN. Without, the lab stays
    /// up until it is interrupted.
    #[arg(last = true)]
    command: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    Containerd,
    Docker,
    Podman,
}

/// Brings the lab up, runs a command, and takes the lab down.
pub fn run(options: &Options) -> Result<()> {
    let interrupts = interrupts()?;
    let began = Instant::now();
    let lab = Lab::up()?;
    let done = serve(&lab, options, &interrupts, began);
    lab.down().and(done)
}

fn serve(lab: &Lab, options: &Options, interrupts: &Receiver<()>, began: Instant) -> Result<()> {
    let wanted = |kind| options.only.is_empty() || options.only.contains(&kind);
    let mut sockets = Vec::new();
    if wanted(Kind::Containerd) {
        sockets.push(("PITOT_CRI", lab.cri_socket()));
    }
    if wanted(Kind::Docker) {
        sockets.push(("PITOT_DOCKER", lab.docker()?.socket().to_owned()));
    }
    if wanted(Kind::Podman) {
        sockets.push(("PITOT_PODMAN", lab.podman()?.socket().to_owned()));
    }
    if options.web {
        for name in ["web-a", "web-b"] {
            let pod =
                lab.pod(&PodSpec::new("default", name).with(ContainerSpec::web("server", 8080, name)))?;
            println!(
                "pod default/{name}: {}",
                pod.containers.iter().map(|c| c.cgroup.as_str()).collect::<String>()
            );
        }
    }
    for (variable, socket) in &sockets {
        println!("{variable}={}", socket.display());
    }
    println!("up after {:.1} s", began.elapsed().as_secs_f64());
    let Some((program, arguments)) = options.command.split_first() else {
        println!("interrupt to take it down");
        interrupts.recv()?;
        return Ok(());
    };
    // An interrupt at the terminal reaches the command as well: it is waited for in any case.
    let mut command = Command::new(program);
    let status =
        command.args(arguments).envs(sockets).status().with_context(|| format!("cannot run {program}"))?;
    ensure!(status.success(), "{program} failed ({status})");
    Ok(())
}

/// What comes when somebody wants this to end.
fn interrupts() -> Result<Receiver<()>> {
    let (sender, receiver) = channel();
    ctrlc::set_handler(move || {
        // Nobody may be waiting any more.
        let _late = sender.send(());
    })?;
    Ok(receiver)
}
