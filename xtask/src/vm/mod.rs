//! `cargo xtask vm`: the kernel tests on other kernels than the one at hand, in virtual machines.

mod build;
mod initramfs;
mod kernel;
mod machine;
mod report;
mod table;

use std::{
    fs::{self, File},
    path::Path,
    process::Command,
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use xtask::sources;

use self::{build::Programs, initramfs::Initramfs, kernel::Kernel, report::Report};
use crate::shell;

/// The kernel of this machine, without a virtual one.
const RUNNING: &str = "running";
/// What is run unless something else is asked for.
const USUAL: [&str; 3] = ["6.1-cloud", "6.12-cloud", RUNNING];
const LOCKDOWN: &str = "lockdown=confidentiality";
/// One at a time: a test that has the machine for itself says what it has to say next to its name.
const ONE_BY_ONE: &str = "--test-threads=1";

/// Which kernels, and what for.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The kernels; `running` is that of this machine.
    #[arg(long, value_name = "NAME", num_args = 1.., default_values_t = USUAL.map(str::to_owned))]
    kernel: Vec<String>,
    /// Run each virtual machine once more, with a kernel that is locked down.
    #[arg(long)]
    lockdown: bool,
    /// Only list the kernels that there are.
    #[arg(long)]
    list: bool,
    /// Write docs/tested-kernels.md. Takes all the usual kernels, and lockdown.
    #[arg(long, conflicts_with_all = ["kernel", "lockdown"])]
    write: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let folder = sources::root().join("target/vm");
    if options.list {
        list(&folder);
        return Ok(());
    }
    ensure!(cfg!(target_arch = "x86_64"), "only on x86_64: the kernels are for that");
    let kernels: Vec<&str> = options.kernel.iter().map(String::as_str).collect();
    let (virtual_ones, running): (Vec<&str>, Vec<&str>) = kernels.iter().partition(|name| **name != RUNNING);
    if !virtual_ones.is_empty() {
        machine::available()?;
    }
    let kernels = virtual_ones.iter().map(|name| Kernel::get(&folder.join("kernels"), name));
    let kernels = kernels.collect::<Result<Vec<Kernel>>>()?;
    let programs = Programs::build(&folder)?;
    let mut families = sources::objects(&sources::root())?;
    families.retain(|name| name != sources::REFERENCE);

    let mut reports = Vec::new();
    for kernel in &kernels {
        let strict = (options.lockdown || options.write).then_some(LOCKDOWN);
        for extra in [Some(""), strict].into_iter().flatten() {
            reports.push(boot(kernel, &programs, &folder, extra)?);
        }
    }
    if !running.is_empty() {
        reports.push(here(&programs, &folder)?);
    }
    println!("\n{}", table::text(&reports, &families));
    if options.write {
        let path = sources::root().join("docs/tested-kernels.md");
        fs::write(&path, table::markdown(&reports, &families))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    let failed: Vec<&str> =
        reports.iter().filter(|report| !report.passed()).map(|report| report.kernel.as_str()).collect();
    ensure!(failed.is_empty(), "not everything passed on: {}", failed.join("; "));
    Ok(())
}

fn list(folder: &Path) {
    for (name, meta) in kernel::KINDS {
        let package = kernel::newest(meta).unwrap_or_else(|| format!("{meta}, which apt does not know"));
        let release = package.trim_start_matches("linux-image-");
        let cached = folder.join("kernels").join(release).join("vmlinux").exists();
        println!("{name:11} {package}{}", if cached { " (downloaded)" } else { "" });
    }
    println!("{RUNNING:11} {}", release());
}

/// Runs everything in a virtual machine.
fn boot(kernel: &Kernel, programs: &Programs, folder: &Path, extra: &str) -> Result<Report> {
    let name = [kernel.release.as_str(), extra].join(" ").trim_end().to_owned();
    println!("# {name}");
    let folder = folder.join("runs").join(name.replace(' ', "-"));
    fs::create_dir_all(&folder)?;
    let mut files = Initramfs::new();
    files.add("init", &programs.init)?;
    files.add("bin/pitot", &programs.pitot)?;
    files.add("bin/kernel", &programs.tests)?;
    for (number, module) in kernel.modules().iter().enumerate() {
        let file = module.file_name().unwrap_or_default().to_string_lossy();
        files.add(&format!("modules/{number:02}-{file}"), module)?;
    }
    for empty in ["dev/.keep", "proc/.keep", "sys/.keep", "tmp/.keep"] {
        files.add(empty, Path::new("/dev/null"))?;
    }
    fs::write(folder.join("initrd.cpio"), files.finish())?;

    let started = Instant::now();
    let commands = ["/bin/pitot check".to_owned(), format!("/bin/kernel {ONE_BY_ONE}")];
    let run = machine::run(kernel, &folder, extra, &commands)?;
    let trouble =
        run.trouble.map(|trouble| format!("{trouble}; its messages are in {}", run.messages.display()));
    Ok(report(name, &run.text, started, trouble))
}

/// Runs everything on the kernel of this machine.
fn here(programs: &Programs, folder: &Path) -> Result<Report> {
    // What comes behind the version says more about the machine than about the kernel.
    let name = format!("{} (no VM)", release().split('-').next().unwrap_or_default());
    println!("# {name}");
    let folder = folder.join("runs");
    fs::create_dir_all(&folder)?;
    let path = folder.join("running.log");
    let started = Instant::now();
    let out = File::create(&path)?;
    for (program, argument) in [(&programs.pitot, "check"), (&programs.tests, ONE_BY_ONE)] {
        let mut command = Command::new(program);
        command.arg(argument).stdout(out.try_clone()?).stderr(out.try_clone()?).status()?;
    }
    Ok(report(name, &fs::read_to_string(path)?, started, None))
}

fn report(kernel: String, text: &str, started: Instant, trouble: Option<String>) -> Report {
    let (inputs, tests) = (report::inputs(text), report::tests(text));
    let report = Report { kernel, inputs, tests, seconds: started.elapsed().as_secs(), trouble };
    if !report.passed() {
        println!("{text}");
    }
    if let Some(trouble) = &report.trouble {
        println!("{trouble}");
    }
    report
}

fn release() -> String {
    shell::output("uname", &["-r"]).unwrap_or_default()
}
