//! A machine made of software alone: slow, and the same everywhere. Nothing of it reaches the host but
//! what it writes to its serial ports and its disk.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::kernel::{self, Kernel};
use crate::shell;

const QEMU: &str = "qemu-system-x86_64";
/// Most of it is spent in waiting for a slow processor; the host may be busy as well.
const PATIENCE: Duration = Duration::from_secs(300);

/// What a machine did.
pub(super) struct Run {
    /// What its programs wrote.
    pub(super) text: String,
    /// Where the kernel's messages are.
    pub(super) messages: PathBuf,
    /// Why it did not come to its end.
    pub(super) trouble: Option<String>,
    /// What its kernel died of.
    pub(super) panic: Option<String>,
}

/// Says what is missing for this.
pub(super) fn available() -> Result<()> {
    shell::output(QEMU, &["--version"])
        .with_context(|| format!("{QEMU} is missing; on Debian:\n\n    apt-get install qemu-system-x86\n"))?;
    Ok(())
}

/// Boots a kernel, lets it run commands, and waits for its end.
pub(super) fn run(kernel: &Kernel, folder: &Path, extra: &str, commands: &[String]) -> Result<Run> {
    let file = |name: &str| folder.join(name);
    let (text, messages, disk) = (file("out.log"), file("kernel.log"), file("disk.img"));
    kernel::disk(&disk)?;
    fs::write(&text, "")?;
    let mut qemu = Command::new(QEMU);
    // The clock is the processor's, which is checked against nothing; tests of the kernel's ciphers and
    // guards against its processor's flaws only cost time.
    let parameters = format!(
        "console=ttyS0 loglevel=7 panic=-1 oops=panic mitigations=off tsc=reliable cryptomgr.notests {extra} -- {}",
        commands.join(" ; ")
    );
    qemu.args(["-machine", "q35", "-accel", "tcg,thread=single", "-cpu", "max", "-smp", "2", "-m", "512"])
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-nic", "none", "-no-reboot"])
        .args(["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny"])
        .args(["-serial", &format!("file:{}", messages.display())])
        .args(["-serial", &format!("file:{}", text.display())])
        .args(["-drive", &format!("file={},if=virtio,format=raw", disk.display())])
        .arg("-kernel")
        .arg(kernel.image())
        .arg("-initrd")
        .arg(file("initrd.cpio"))
        .args(["-append", parameters.trim()])
        .stdin(Stdio::null())
        .stderr(File::create(file("qemu.log"))?);
    let mut running = qemu.spawn()?;
    let started = Instant::now();
    let mut trouble = None;
    let status = loop {
        if let Some(status) = running.try_wait()? {
            break status;
        }
        if started.elapsed() > PATIENCE && trouble.is_none() {
            trouble = Some(format!("not done after {} s", PATIENCE.as_secs()));
            running.kill()?;
        }
        thread::sleep(Duration::from_millis(20));
    };
    let _not_needed = fs::remove_file(disk);
    let text = String::from_utf8_lossy(&fs::read(text)?).replace('\r', "");
    if trouble.is_none() && !text.lines().any(|line| line.starts_with("VMEXIT ")) {
        trouble = Some(format!("the machine stopped in the middle ({status})"));
    }
    let panic = trouble.as_ref().and_then(|_| panicked(&String::from_utf8_lossy(&fs::read(&messages).ok()?)));
    Ok(Run { text, messages, trouble, panic })
}

/// The first thing that a kernel says about its own end.
fn panicked(messages: &str) -> Option<String> {
    let begins = ["Oops: ", "BUG: ", "kernel BUG at ", "Kernel panic - not syncing: "];
    let mut said = messages.lines().filter_map(|line| Some(line.split_once("] ")?.1.trim()));
    messages
        .contains("Kernel panic")
        .then(|| said.find(|line| begins.iter().any(|begin| line.starts_with(begin))))?
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_known_by_its_first_words() {
        let died = "[    1.0] eth0: BUG\r\n[    1.5] Oops: int3: 0000 [#1] SMP\r\n\
                    [    1.6] Kernel panic - not syncing: Fatal exception in interrupt\r\n";
        assert_eq!(panicked(died).as_deref(), Some("Oops: int3: 0000 [#1] SMP"));
        assert_eq!(panicked("[    1.0] BUG: a bad page, which nobody dies of\r\n"), None);
    }
}
