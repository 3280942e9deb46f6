//! Development tasks. Each command prints the shell lines that it runs.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is a command line tool")]
#![expect(clippy::disallowed_methods, reason = "starting compilers is what it is for")]

mod bench;
mod ebpf;
mod shell;
mod strip;
mod toolchain;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Development tasks of pitot.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure what pitot costs, beside what others cost, and print tables.
    Bench(bench::Options),
    /// Rebuild the kernel objects in ebpf/prebuilt.
    Ebpf {
        /// Build nothing: fail if an object is not made of the sources that are here.
        #[arg(long)]
        check: bool,
    },
    /// Start containerd, docker and podman from Debian's packages, run a command, and leave nothing behind.
    Pods(xtask::pods::Options),
    /// Run the kernel tests on other kernels, in virtual machines.
    Vm(vm::Options),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Bench(options) => bench::run(&options),
        Command::Pods(options) => xtask::pods::run(&options),
        Command::Vm(options) => vm::run(&options),
        Command::Ebpf { check: true } => ebpf::check(),
        Command::Ebpf { check: false } => ebpf::build(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
