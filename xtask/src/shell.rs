//! Running other programs, in the open.

use std::{ffi::OsStr, fmt::Write, process::Command};

use anyhow::{Context, Result, ensure};

/// Runs a command, after printing it with the variables that matter; its output goes where ours goes.
pub(crate) fn run(command: &mut Command, variables: &[(&str, &str)]) -> Result<()> {
    println!("$ {}", line(command, variables));
    let status =
        command.status().with_context(|| format!("cannot run {}", command.get_program().display()))?;
    ensure!(status.success(), "{} failed ({status})", command.get_program().display());
    Ok(())
}

/// What a command prints, without its last line break; nothing if it fails or does not exist.
pub(crate) fn output(program: impl AsRef<OsStr>, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim_end().to_owned())
}

/// A command as one would type it: folder, variables, program and arguments.
pub(crate) fn line(command: &Command, variables: &[(&str, &str)]) -> String {
    let mut line = String::new();
    if let Some(folder) = command.get_current_dir() {
        let _ = write!(line, "cd {} && ", quoted(&folder.to_string_lossy()));
    }
    for (name, value) in variables {
        let _ = write!(line, "{name}={} ", quoted(value));
    }
    line.push_str(&quoted(&command.get_program().to_string_lossy()));
    for argument in command.get_args() {
        let _ = write!(line, " {}", quoted(&argument.to_string_lossy()));
    }
    line
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:+".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { format!("'{word}'") }
}
