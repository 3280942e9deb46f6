//! `cargo xtask vm`: the kernel tests on other kernels than the one at hand, in virtual machines.

mod build;
mod document;
mod initramfs;
mod kernel;
mod machine;
mod report;
mod table;

use std::{
    fs::{self, File},
    path::Path,
    process::Command,
    sync::Mutex,
    thread,
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
/// What the document tells of, and whether also locked down.
const WRITTEN: [(&str, bool); 3] = [("6.1-cloud", false), ("6.12-cloud", true), (RUNNING, false)];
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
    /// Only the tests whose name contains one of these.
    #[arg(long, value_name = "NAME", num_args = 1.., conflicts_with = "write")]
    test: Vec<String>,
    /// How many machines run at once; each takes a processor.
    #[arg(long, value_name = "NUMBER", default_value_t = 2)]
    jobs: usize,
    /// Only list the kernels that there are.
    #[arg(long)]
    list: bool,
    /// Write docs/tested-kernels.md. Takes all the usual kernels, and the newest locked down as well.
    #[arg(long, conflicts_with_all = ["kernel", "lockdown"])]
    write: bool,
}

/// A kernel, and how it is started.
struct Machine {
    name: String,
    kernel: Kernel,
    parameter: &'static str,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let folder = sources::root().join("target/vm");
    if options.list {
        list(&folder);
        return Ok(());
    }
    ensure!(cfg!(target_arch = "x86_64"), "only on x86_64: the kernels are for that");
    let wanted: Vec<(&str, bool)> = if options.write {
        WRITTEN.to_vec()
    } else {
        options.kernel.iter().map(|name| (name.as_str(), options.lockdown)).collect()
    };
    let (running, virtual_ones): (Vec<_>, Vec<_>) = wanted.iter().partition(|(name, _)| *name == RUNNING);
    if !virtual_ones.is_empty() {
        machine::available()?;
    }
    let mut machines = Vec::new();
    for (name, is_strict) in virtual_ones {
        let kernel = Kernel::get(&folder.join("kernels"), name)?;
        let strict = is_strict.then(|| Machine {
            name: format!("{name}, locked down"),
            kernel: kernel.clone(),
            parameter: LOCKDOWN,
        });
        machines.push(Machine { name: name.to_owned(), kernel, parameter: "" });
        machines.extend(strict);
    }
    let programs = Programs::build(&folder)?;
    let mut families = sources::objects(&sources::root())?;
    families.retain(|name| name != sources::REFERENCE);
    let mut reports =
        at_once(options.jobs, &machines, |machine| boot(machine, &programs, &folder, &options.test))?;
    if !running.is_empty() {
        reports.push(here(&programs, &folder, &options.test)?);
    }
    println!("\n{}", table::text(&reports, &families));
    if options.write {
        let path = sources::root().join("docs/tested-kernels.md");
        fs::write(&path, document::markdown(&reports, &families))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    let failed: Vec<&str> =
        reports.iter().filter(|report| !report.passed()).map(|report| report.name.as_str()).collect();
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

/// Works on several machines at a time, and answers in their order.
fn at_once(
    jobs: usize,
    machines: &[Machine],
    work: impl Fn(&Machine) -> Result<Report> + Sync,
) -> Result<Vec<Report>> {
    let waiting = Mutex::new(machines.iter().enumerate());
    let done = Mutex::new(Vec::new());
    let next = || waiting.lock().ok()?.next();
    let worker = || {
        while let Some((place, machine)) = next() {
            let report = work(machine);
            if let Ok(mut done) = done.lock() {
                done.push((place, report));
            }
        }
    };
    thread::scope(|scope| (0..jobs.max(1)).for_each(|_| drop(scope.spawn(worker))));
    let mut done = done.into_inner().unwrap_or_default();
    done.sort_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, report)| report).collect()
}

/// Runs everything in a virtual machine. One whose kernel dies is started once more: it is emulated, and
/// what of it is at fault cannot be told the first time.
fn boot(machine: &Machine, programs: &Programs, folder: &Path, tests: &[String]) -> Result<Report> {
    let Machine { name, kernel, parameter } = machine;
    let folder = folder.join("runs").join(name.replace(", ", "-").replace(' ', "-"));
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("initrd.cpio"), files(kernel, programs)?)?;
    let commands = ["/bin/pitot inputs".to_owned(), tests_of("/bin/kernel", tests)];
    let started = Instant::now();
    println!("# {name}: {}", kernel.release);
    let mut run = machine::run(kernel, &folder, parameter, &commands)?;
    let mut died = None;
    if let Some(panic) = run.panic.take() {
        println!("{name}: the kernel died ({panic}): once more");
        fs::rename(&run.messages, folder.join("kernel-died.log"))?;
        died = Some(panic);
        run = machine::run(kernel, &folder, parameter, &commands)?;
    }
    let trouble = run.trouble.map(|trouble| {
        let died = run.panic.map(|panic| format!(" ({panic})")).unwrap_or_default();
        format!("{trouble}{died}; its messages are in {}", run.messages.display())
    });
    let release = [kernel.release.as_str(), parameter].join(" ").trim_end().to_owned();
    Ok(report(
        Report { name: name.clone(), release, died, trouble, ..Report::read(&run.text, started) },
        &run.text,
    ))
}

/// What a machine finds when it starts.
fn files(kernel: &Kernel, programs: &Programs) -> Result<Vec<u8>> {
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
    Ok(files.finish())
}

fn tests_of(program: &str, tests: &[String]) -> String {
    format!("{program} {ONE_BY_ONE} {}", tests.join(" ")).trim_end().to_owned()
}

/// Runs everything on the kernel of this machine.
fn here(programs: &Programs, folder: &Path, tests: &[String]) -> Result<Report> {
    // What comes behind the version says more about the machine than about the kernel.
    let release = release().split('-').next().unwrap_or_default().to_owned();
    let name = format!("{release}, no VM");
    println!("# {name}");
    let folder = folder.join("runs");
    fs::create_dir_all(&folder)?;
    let path = folder.join("running.log");
    let started = Instant::now();
    let out = File::create(&path)?;
    let mut inputs = Command::new(&programs.pitot);
    let mut kernel = Command::new(&programs.tests);
    for command in [inputs.arg("inputs"), kernel.arg(ONE_BY_ONE).args(tests)] {
        command.stdout(out.try_clone()?).stderr(out.try_clone()?).status()?;
    }
    let text = fs::read_to_string(path)?;
    Ok(report(Report { name, release, ..Report::read(&text, started) }, &text))
}

/// Shows what went wrong.
fn report(report: Report, text: &str) -> Report {
    if !report.passed() {
        println!("{text}");
    }
    if let Some(trouble) = &report.trouble {
        println!("{}: {trouble}", report.name);
    }
    report
}

fn release() -> String {
    shell::output("uname", &["-r"]).unwrap_or_default()
}
