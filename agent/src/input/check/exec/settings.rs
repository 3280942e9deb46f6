//! What is run, and whether it may be.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::PROGRAMS;
use crate::{catalogue::Unsupported, input::Options};

pub(super) const TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes that a program may print, unless another number is given.
pub(super) const OUTPUT: u32 = 64 << 10;
const ARGUMENTS: usize = 64;
const LONGEST_ARGUMENT: usize = 4096;

/// The settings of a check. The helper gets them without the list of programs: they have been compared with it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Settings {
    pub(super) command: Vec<String>,
    pub(super) format: Format,
    pub(super) timeout: Duration,
    pub(super) output_limit: u32,
}

/// What a program prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Format {
    Prometheus,
    Json,
}

impl Default for Settings {
    /// Runs nothing.
    fn default() -> Self {
        Self { command: Vec::new(), format: Format::Prometheus, timeout: TIMEOUT, output_limit: OUTPUT }
    }
}

impl Settings {
    /// Of a configuration.
    pub(super) fn from_options(options: &Options<'_>) -> Result<Self, Unsupported> {
        let format = match options.text("prints") {
            "prometheus" => Format::Prometheus,
            "json" => Format::Json,
            other => {
                return Err(Unsupported(format!("`prints` is \"prometheus\" or \"json\", not {other:?}")));
            }
        };
        let settings = Self {
            command: options.texts("command").into_iter().map(str::to_owned).collect(),
            format,
            timeout: options.duration("timeout"),
            output_limit: options.integer("output_limit"),
        };
        settings.check()?;
        settings.is_allowed(&options.texts(PROGRAMS))?;
        Ok(settings)
    }

    /// Whether it is a command at all.
    pub(super) fn check(&self) -> Result<(), Unsupported> {
        let Some(program) = self.command.first() else {
            return refuse(
                "there is no program to run: say it with `command = [\"/usr/bin/queue-length\", \"--all\"]`",
            );
        };
        if !is_exact(program) {
            return refuse(&format!(
                "the first text of `command` is the program's exact path, from `/` on and without `.`, `..` and `//`, \
                 not {program:?}"
            ));
        }
        if self.command.len() > ARGUMENTS {
            return refuse(&format!("`command` has more than {ARGUMENTS} texts"));
        }
        if self.command.iter().any(|text| text.len() > LONGEST_ARGUMENT || text.contains('\0')) {
            return refuse(&format!(
                "a text of `command` is longer than {LONGEST_ARGUMENT} bytes, or has a byte 0 in it"
            ));
        }
        Ok(())
    }

    fn is_allowed(&self, programs: &[&str]) -> Result<(), Unsupported> {
        if let Some(wrong) = programs.iter().find(|program| !is_exact(program)) {
            return refuse(&format!(
                "`{PROGRAMS}` lists exact paths, from `/` on and without patterns, `.`, `..` and `//`, not {wrong:?}"
            ));
        }
        let program = self.command.first().map_or("", String::as_str);
        if programs.contains(&program) {
            return Ok(());
        }
        refuse(&format!(
            "{program} is not started, because it is not listed: the agent's configuration allows it with \
             `{PROGRAMS} = [{program:?}]`"
        ))
    }
}

fn refuse(why: &str) -> Result<(), Unsupported> {
    Err(Unsupported(why.to_owned()))
}

/// Whether there is no other way to write this path.
fn is_exact(path: &str) -> bool {
    path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(|name| !matches!(name, "" | "." | "..")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::{OptionSetting, check::exec::DEF};

    fn open(command: &[&str], programs: &[&str], format: &str) -> Result<Settings, String> {
        let texts =
            |texts: &[&str]| OptionSetting::Texts(texts.iter().map(|&text| text.to_owned()).collect());
        let given = [
            ("command".to_owned(), texts(command)),
            (PROGRAMS.to_owned(), texts(programs)),
            ("prints".to_owned(), OptionSetting::Text(format.to_owned())),
        ];
        Settings::from_options(&Options::new(DEF.options, &given)).map_err(|Unsupported(why)| why)
    }

    #[test]
    fn only_what_is_listed_is_run() {
        let settings = open(&["/bin/ls", "-l"], &["/bin/cat", "/bin/ls"], "json").unwrap();
        assert_eq!((settings.command.len(), settings.format), (2, Format::Json));
        assert_eq!((settings.timeout, settings.output_limit), (TIMEOUT, OUTPUT));
        for programs in [&[][..], &["/bin/l"], &["/bin/lsx"], &["/usr/bin/ls"]] {
            let why = open(&["/bin/ls"], programs, "json").unwrap_err();
            assert!(why.contains("`programs = [\"/bin/ls\"]`"), "{why}");
        }
        assert!(
            Settings::from_options(&Options::new(DEF.options, &[])).is_err(),
            "nothing is run by default"
        );
    }

    #[test]
    fn refusals_say_what_to_write() {
        for (command, programs, format, word) in [
            (&[][..], &["/bin/ls"][..], "json", "`command = ["),
            (&["ls"], &["/bin/ls"], "json", "exact path"),
            (&["/bin/../bin/ls"], &["/bin/ls"], "json", "exact path"),
            (&["/bin//ls"], &["/bin//ls"], "json", "exact path"),
            (&["/bin/ls"], &["/bin/ls", "/usr/bin/../sh"], "json", "`programs` lists exact paths"),
            (&["/bin/ls"], &["ls"], "json", "`programs` lists exact paths"),
            (&["/bin/ls", "\0"], &["/bin/ls"], "json", "byte 0"),
            (&["/bin/ls"], &["/bin/ls"], "xml", "\"prometheus\" or \"json\""),
        ] {
            let why = open(command, programs, format).unwrap_err();
            assert!(why.contains(word), "{why}");
        }
        assert!(open(&["/bin/ls"; 65], &["/bin/ls"], "json").unwrap_err().contains("64"));
    }
}
