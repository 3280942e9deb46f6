//! The command line.

use std::{
    fs::File,
    io::{self, Read},
    net::SocketAddr,
    path::{Path, PathBuf},
};

use clap::{Parser, Subcommand, ValueEnum};

use crate::{
    config::{Config, load, suggest},
    docs,
    source::Roots,
};

/// Exit code: it cannot run on this host, or not now.
pub const EXIT_FAILED: u8 = 1;
/// Exit code: the command line or the configuration is wrong.
pub const EXIT_CONFIG: u8 = 2;

/// Far more than every key of every input takes; a file that is longer is not meant.
const LONGEST_FILE: u64 = 1 << 20;

const AFTER_HELP: &str = "\
Examples:
  pitot                                     serve metrics on 0.0.0.0:9100
  pitot once --input loadavg                print one exposition and exit
  pitot --rootfs /host --config pitot.toml  run in a container, host mounted at /host
  pitot check --config pitot.toml           is the configuration right, and what works here?

Exit codes:
  0  ok
  1  cannot run
  2  bad command line or configuration";

/// A low-overhead host agent: kernel counters and host inputs as Prometheus metrics.
#[derive(Clone, Debug, Parser)]
#[command(name = "pitot", version, after_help = AFTER_HELP, propagate_version = true)]
pub struct Args {
    /// What to do; without a command, run.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// What holds for every command.
    #[command(flatten)]
    pub options: Options,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Serve metrics until told to stop (the default).
    Run,
    /// Collect every enabled input once, print the exposition and exit.
    Once {
        /// Format of the exposition.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Validate the configuration and the tasks, load and attach everything, collect once, say what would run and
    /// how, detach and exit.
    Check {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Say what is on, off or unsupported on this host, and why.
    Inputs {
        /// As JSON.
        #[arg(long)]
        json: bool,
        /// Say what each one costs here: CPU time per collection, and what its kernel programs take.
        #[arg(long)]
        cost: bool,
        /// With `--cost`, how long the kernel times its programs.
        #[arg(long, value_name = "N", default_value_t = 2, requires = "cost",
            value_parser = clap::value_parser!(u64).range(1..=3600))]
        seconds: u64,
    },
    /// Print a document that is derived from the definitions.
    Generate {
        /// Which.
        #[arg(value_enum)]
        document: Document,
    },
    /// Remove pinned maps and links: the kernel's counters start again from zero.
    Clean,
}

/// Format of an exposition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// The classic text format.
    #[default]
    Text,
    /// OpenMetrics text.
    Openmetrics,
    /// The protobuf format, with native histograms.
    Protobuf,
}

/// A document that the binary prints about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Document {
    /// Every metric.
    MetricsMd,
    /// Every configuration key.
    ConfigMd,
    /// What kernel programs attach to and need.
    KernelsMd,
    /// A configuration file with every key at its default.
    ExampleConfig,
}

/// Options of every command, before or after its name. They win over the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct Options {
    /// Configuration file (TOML); `pitot generate example-config` prints one.
    #[arg(long, short, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Address to serve on, instead of the file's; may be repeated.
    #[arg(long, global = true, value_name = "ADDR:PORT")]
    pub listen: Vec<SocketAddr>,
    /// The host's `/`; procfs and sysfs follow it unless they are given.
    #[arg(long, global = true, value_name = "DIR")]
    pub rootfs: Option<PathBuf>,
    /// The host's `/proc`.
    #[arg(long, global = true, value_name = "DIR")]
    pub procfs: Option<PathBuf>,
    /// The host's `/sys`.
    #[arg(long, global = true, value_name = "DIR")]
    pub sysfs: Option<PathBuf>,
    /// Run only these inputs and pipelines, and no tasks.
    #[arg(long = "input", global = true, value_name = "NAME,..", value_delimiter = ',')]
    pub inputs: Vec<String>,
    /// Load no kernel program.
    #[arg(long, global = true)]
    pub no_ebpf: bool,
    /// Log more, such as what the kernel's verifier says.
    #[arg(long, short, global = true)]
    pub verbose: bool,
}

impl Args {
    /// The command, with the default in place.
    pub fn command_or_run(&self) -> Command {
        self.command.unwrap_or(Command::Run)
    }
}

/// The text of a document.
pub fn generate(document: Document) -> String {
    match document {
        Document::MetricsMd => docs::metrics_md(),
        Document::ConfigMd => docs::config_md(),
        Document::KernelsMd => docs::kernels_md(),
        Document::ExampleConfig => docs::example_config(),
    }
}

/// The configuration: the command line over the file over the defaults. The error is everything that is
/// wrong, a line each.
pub fn config(args: &Args) -> Result<Config, String> {
    let options = &args.options;
    let mut config = file(options)?;
    config.ebpf &= !options.no_ebpf;
    if !options.listen.is_empty() {
        config.listen.clone_from(&options.listen);
    }
    let mut problems = Vec::new();
    for (index, address) in options.listen.iter().enumerate() {
        if options.listen[..index].contains(address) {
            problems.push(format!("--listen: `{address}` is given twice"));
        }
    }
    if !options.inputs.is_empty() {
        let known = || config.pipelines.iter().map(|pipeline| pipeline.key.as_str());
        for name in options.inputs.iter().filter(|name| known().all(|known| known != name.as_str())) {
            problems.push(format!("--input: {}", suggest::unknown_input(name, known())));
        }
        for pipeline in &mut config.pipelines {
            pipeline.enabled = options.inputs.contains(&pipeline.key);
        }
        // Tasks are none of these.
        config.tasks = None;
        for pipeline in config.pipelines.iter().filter(|pipeline| pipeline.enabled) {
            let idle = pipeline.from.as_ref().filter(|from| !options.inputs.contains(from));
            problems.extend(
                idle.map(|from| format!("--input: `{}` takes from `{from}`: name both", pipeline.key)),
            );
        }
    }
    if problems.is_empty() { Ok(config) } else { Err(problems.join("\n")) }
}

/// The same for a running agent. What is no file cannot be read again.
pub fn config_again(args: &Args) -> Result<Config, String> {
    if let Some(path) = args.options.config.as_deref().filter(|path| path.exists() && !path.is_file()) {
        return Err(format!("{}: not a file, so it cannot be read again", path.display()));
    }
    config(args)
}

/// The file over the defaults, with the trees where the command line puts them.
fn file(options: &Options) -> Result<Config, String> {
    let loaded = match &options.config {
        None => load::Loaded { config: Config::default(), given: Vec::new() },
        Some(path) => {
            let name = path.display();
            let text = read_file(path).map_err(|error| format!("{name}: {error}"))?;
            load::read(&text, Config::default()).map_err(|problems| {
                problems.iter().map(|problem| format!("{name}:{problem}")).collect::<Vec<_>>().join("\n")
            })?
        }
    };
    let load::Loaded { mut config, mut given } = loaded;
    let Roots { procfs, sysfs, rootfs } = &mut config.roots;
    // A tree that the file names stays there, even if the command line moves the root.
    for (key, option, root) in [
        ("rootfs", &options.rootfs, rootfs),
        ("procfs", &options.procfs, procfs),
        ("sysfs", &options.sysfs, sysfs),
    ] {
        if let Some(path) = option {
            root.clone_from(path);
            given.push(key);
        }
    }
    load::move_trees(&mut config.roots, &given);
    Ok(config)
}

/// Reads a file that may be a pipe, but not one without end.
fn read_file(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(LONGEST_FILE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LONGEST_FILE {
        return Err(io::Error::other(format!("longer than {} KiB", LONGEST_FILE >> 10)));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use clap::CommandFactory;

    use super::*;

    fn args(line: &str) -> Args {
        Args::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn no_command_means_run() {
        assert_eq!(args("pitot").command_or_run(), Command::Run);
        assert_eq!(args("pitot run").command_or_run(), Command::Run);
        assert_eq!(args("pitot once").command_or_run(), Command::Once { format: Format::Text });
        let protobuf = args("pitot once --format protobuf").command_or_run();
        assert_eq!(protobuf, Command::Once { format: Format::Protobuf });
        let document = args("pitot generate metrics-md").command_or_run();
        assert_eq!(document, Command::Generate { document: Document::MetricsMd });
    }

    #[test]
    fn options_stand_before_or_after_the_command() {
        let options =
            "--config f.toml --listen 127.0.0.1:1 --listen [::1]:2 --rootfs /r --input a,b --no-ebpf";
        let before = args(&format!("pitot {options} once")).options;
        let after = args(&format!("pitot once {options}")).options;
        assert_eq!(before, after);
        assert_eq!(before.listen.len(), 2);
        assert_eq!(before.inputs, ["a", "b"]);
        assert!(before.no_ebpf);
        assert_eq!(args(&format!("pitot {options}")).options, after);
    }

    fn with_file(text: &str, line: &str) -> Result<Config, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let mut args = args(line);
        args.options.config = Some(file.path().into());
        config(&args).map_err(|message| message.replace(&file.path().display().to_string(), "FILE"))
    }

    #[test]
    fn the_command_line_wins_over_the_file() {
        let text = "listen = [\"127.0.0.1:1\"]\nprocfs = \"/p\"\n[input.loadavg]\nenabled = false\n";
        let config = with_file(text, "pitot --listen 127.0.0.1:2 --input loadavg --no-ebpf").unwrap();
        assert_eq!(config.listen, ["127.0.0.1:2".parse().unwrap()]);
        assert_eq!(config.roots.procfs, Path::new("/p"));
        assert!(!config.ebpf);
        assert!(config.pipelines.iter().all(|input| input.enabled == (input.def.name == "loadavg")));
    }

    #[test]
    fn trees_follow_the_root_unless_they_are_given() {
        let trees = |text: &str, line: &str| {
            let roots = with_file(text, line).unwrap().roots;
            [roots.rootfs, roots.procfs, roots.sysfs].map(|path| path.display().to_string())
        };
        assert_eq!(trees("", "pitot"), ["/", "/proc", "/sys"]);
        assert_eq!(trees("", "pitot --rootfs /h"), ["/h", "/h/proc", "/h/sys"]);
        assert_eq!(trees("", "pitot --rootfs /h --sysfs /s"), ["/h", "/h/proc", "/s"]);
        assert_eq!(trees("procfs = \"/proc\"", "pitot --rootfs /h"), ["/h", "/proc", "/h/sys"]);
        assert_eq!(trees("rootfs = \"/f\"", "pitot --rootfs /h"), ["/h", "/h/proc", "/h/sys"]);
        assert_eq!(trees("rootfs = \"/f\"", "pitot --procfs /p"), ["/f", "/p", "/f/sys"]);
    }

    #[test]
    fn what_is_wrong_is_named_in_full() {
        let message = with_file("a = 1\n[scrape]\nbudget = \"1\"\n", "pitot").unwrap_err();
        let lines: Vec<_> = message.lines().collect();
        assert_eq!(lines.len(), 2, "{message}");
        assert!(lines[0].starts_with("FILE:1:1: unknown key `a`"), "{message}");
        assert!(lines[1].starts_with("FILE:3:10: `budget` cannot be \"1\""), "{message}");

        let message =
            config(&args("pitot --input loadvag,none --listen [::]:1 --listen [::]:1")).unwrap_err();
        assert_eq!(
            message,
            "--listen: `[::]:1` is given twice\n\
             --input: unknown input `loadvag`: did you mean `loadavg`?\n\
             --input: unknown input `none`: `pitot inputs` lists them"
        );
        let message = config(&args("pitot --config /nowhere/pitot.toml")).unwrap_err();
        assert!(message.starts_with("/nowhere/pitot.toml: "), "{message}");
        let message = config(&args("pitot --config /dev/zero")).unwrap_err();
        assert_eq!(message, "/dev/zero: longer than 1024 KiB");
    }
}
