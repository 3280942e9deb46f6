//! Kernels to boot: Debian's own packages, downloaded and unpacked, never installed.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context, Result, bail, ensure};

use crate::shell;

/// A name to ask for, and the package that depends on the newest kernel of that kind.
pub(super) const KINDS: [(&str, &str); 4] = [
    ("6.1-cloud", "linux-image-cloud-amd64"),
    ("6.12-cloud", "linux-image-6.12-cloud-amd64"),
    ("6.1", "linux-image-amd64"),
    ("6.12", "linux-image-6.12-amd64"),
];

/// What the tests need that may be a module, in the order of loading; what a kernel has no file for is
/// built in, or belongs to another version.
const MODULES: [&str; 12] = [
    "virtio_ring",
    "virtio",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "virtio_blk",
    "loop",
    "libcrc32c",
    "nf_defrag_ipv4",
    "nf_defrag_ipv6",
    "nf_conntrack",
    "tun",
];

/// Beginning of a compressed kernel, what unpacks it, and the bytes behind it that are not its own: most
/// are followed by their unpacked size.
const PACKERS: [(&[u8], &str, usize); 4] = [
    (b"\x1f\x8b", "gzip", 0),
    (b"\xfd7zXZ", "xz", 4),
    (b"\x02\x21\x4c\x18", "lz4", 4),
    (b"\x28\xb5\x2f\xfd", "zstd", 4),
];

/// A kernel, unpacked.
#[derive(Clone, Debug)]
pub(super) struct Kernel {
    pub(super) release: String,
    folder: PathBuf,
}

impl Kernel {
    /// The newest kernel of a kind that apt knows; downloads it if it is not in the cache.
    pub(super) fn get(cache: &Path, name: &str) -> Result<Self> {
        let known = || KINDS.map(|(name, _)| name).join(", ");
        let Some((_, meta)) = KINDS.iter().find(|(known, _)| *known == name) else {
            bail!("no kernel `{name}`; there are: {}", known());
        };
        let package = newest(meta)
            .with_context(|| format!("apt knows no package {meta}; on Debian 12, `apt-get update` helps"))?;
        let release = package.trim_start_matches("linux-image-").to_owned();
        let kernel = Self { folder: cache.join(&release), release };
        if !kernel.is_cached() {
            kernel.download(&package).with_context(|| format!("cannot get {package}"))?;
        }
        Ok(kernel)
    }

    /// The uncompressed kernel, which QEMU boots as it is.
    pub(super) fn image(&self) -> PathBuf {
        self.folder.join("vmlinux")
    }

    /// Whether it is there, with all modules that were to be had.
    fn is_cached(&self) -> bool {
        fs::read_to_string(self.complete()).is_ok_and(|modules| modules == MODULES.join(" "))
    }

    /// Written last: the names of the modules that were looked for.
    fn complete(&self) -> PathBuf {
        self.folder.join("complete")
    }

    /// Modules in the order of loading.
    pub(super) fn modules(&self) -> Vec<PathBuf> {
        let paths = MODULES.iter().map(|name| self.folder.join(name).with_extension("ko"));
        paths.filter(|path| path.exists()).collect()
    }

    fn download(&self, package: &str) -> Result<()> {
        let temp = tempfile::tempdir()?;
        let mut apt = Command::new("apt-get");
        // As the user who runs this: apt's own may not write here.
        let arguments = ["-qq", "-o", "APT::Sandbox::User=root", "download", package];
        shell::run(apt.current_dir(temp.path()).args(arguments), &[])?;
        let archive = fs::read_dir(temp.path())?.next().context("apt has downloaded nothing")??.path();
        unpack(&archive, temp.path())?;

        fs::create_dir_all(&self.folder)?;
        let found = shell::output("find", &[&temp.path().display().to_string(), "-type", "f"]);
        for path in found.context("find fails")?.lines().map(Path::new) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if let Some(module) = name.strip_suffix(".ko") {
                fs::copy(path, self.folder.join(module).with_extension("ko"))?;
            } else if let Some(module) = name.strip_suffix(".ko.xz") {
                let bytes = filter("xz", fs::read(path)?)?;
                fs::write(self.folder.join(module).with_extension("ko"), bytes)?;
            }
        }
        let image = fs::read(temp.path().join("boot").join(format!("vmlinuz-{}", self.release)))?;
        fs::write(self.image(), uncompressed(&image)?)?;
        fs::write(self.complete(), MODULES.join(" "))?;
        Ok(())
    }
}

/// The package that a package depends on.
pub(super) fn newest(meta: &str) -> Option<String> {
    let listed = shell::output("apt-cache", &["depends", "--no-recommends", "--no-suggests", meta])?;
    let mut depends = listed.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    depends.next().map(str::to_owned)
}

/// Takes the kernel and some modules out of a package.
fn unpack(archive: &Path, into: &Path) -> Result<()> {
    let mut opened =
        Command::new("dpkg-deb").arg("--fsys-tarfile").arg(archive).stdout(Stdio::piped()).spawn()?;
    let content = opened.stdout.take().context("no pipe")?;
    let mut tar = Command::new("tar");
    tar.arg("-x").arg("-C").arg(into).args(["--wildcards", "./boot/vmlinuz-*"]);
    tar.args(MODULES.map(|name| format!("*/{name}.ko*")));
    // A pattern that fits nothing makes its status useless: what is missing is missed later.
    let _patterns = tar.stdin(content).stderr(Stdio::null()).status()?;
    ensure!(opened.wait()?.success(), "{} is no package", archive.display());
    Ok(())
}

/// The ELF file within a bootable image, by the header of the boot protocol.
fn uncompressed(image: &[u8]) -> Result<Vec<u8>> {
    let word = |at: usize| -> Option<usize> {
        let bytes = image.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    };
    let payload = (|| {
        (image.get(0x202..0x206)? == b"HdrS").then_some(())?;
        let setup_sectors = match image[0x1f1] {
            0 => 4,
            sectors => usize::from(sectors),
        };
        image.get((setup_sectors + 1) * 512 + word(0x248)?..)?.get(..word(0x24c)?)
    })();
    let payload = payload.context("this is no bootable image of a kernel")?;
    let packer = PACKERS.iter().find(|(magic, ..)| payload.starts_with(magic));
    let (_, program, behind) = packer.context("the kernel is compressed in an unknown way")?;
    let kernel = filter(program, payload[..payload.len() - behind].to_vec())?;
    ensure!(kernel.starts_with(b"\x7fELF"), "{program} makes something else than a kernel of the image");
    Ok(kernel)
}

/// Unpacks bytes with a program.
fn filter(program: &str, input: Vec<u8>) -> Result<Vec<u8>> {
    let mut command = Command::new(program);
    let command = command.arg("-dc").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot run {program}: install {program}"))?;
    let mut stdin = child.stdin.take().context("no pipe")?;
    let feeder = thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output()?;
    let fed = feeder.join().is_ok_and(|written| written.is_ok());
    ensure!(output.status.success() && fed, "{program} fails ({})", output.status);
    Ok(output.stdout)
}

/// An empty file system of 64 MiB in a file.
pub(super) fn disk(path: &Path) -> Result<()> {
    File::create(path)?.set_len(64 << 20)?;
    shell::output("mkfs.ext4", &["-q", "-F", &path.display().to_string()])
        .context("mkfs.ext4 fails: install e2fsprogs")?;
    Ok(())
}
