//! Docker and podman, which speak the same language over a socket.

use std::{
    fs,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{
    daemon::Daemon, folder::Shared, image, network::Network, packages::Packages, spec::Running, sweep,
};

const PATIENCE: Duration = Duration::from_secs(30);

/// A running docker or podman. Its containers have a network with nothing but a loopback device.
#[derive(Debug)]
pub struct Engine {
    socket: PathBuf,
    /// Where the group of a container is, and what its name begins with.
    group: &'static str,
    folder: Shared,
    _daemon: Daemon,
}

impl Engine {
    /// dockerd, beside the pods in the same containerd.
    pub(super) fn docker(
        folder: &Shared,
        packages: &Packages,
        network: &Network,
        containerd: &Path,
    ) -> Result<Self> {
        let place = folder.join("docker");
        fs::create_dir(&place)?;
        let at = |name: &str| place.join(name).display().to_string();
        fs::write(at("daemon.json"), json!({"deprecated-key-path": at("key.json")}).to_string())?;
        let socket = place.join("docker.sock");
        let mut command = packages.program("usr/sbin/dockerd");
        command.args(["--config-file", &at("daemon.json"), "--pidfile", &at("pid")]);
        command.args(["--data-root", &at("data"), "--exec-root", &at("exec")]);
        command.args(["--host", &format!("unix://{}", socket.display()), "--group", "root"]);
        command.arg("--containerd").arg(containerd);
        command.args(["--exec-opt", "native.cgroupdriver=cgroupfs", "--storage-driver", "overlay2"]);
        // Scores below its own may not be allowed; without bridges it needs no packet filter.
        command.args([
            "--oom-score-adjust",
            "0",
            "--bridge",
            "none",
            "--iptables=false",
            "--ip6tables=false",
        ]);
        let log = place.join("log");
        let daemon =
            Daemon::start(Some(network), command, &log, || call(&socket, "GET", "/_ping", None).map(drop))?;
        Ok(Self::with(socket, "docker/", folder, daemon))
    }

    /// podman's service.
    pub(super) fn podman(folder: &Shared, packages: &Packages, network: &Network) -> Result<Self> {
        let place = folder.join("podman");
        let home = place.join("home/.config/containers");
        fs::create_dir_all(&home)?;
        fs::create_dir(place.join("cni"))?;
        fs::write(home.join("policy.json"), r#"{"default":[{"type":"insecureAcceptAnything"}]}"#)?;
        fs::write(place.join("registries.conf"), "unqualified-search-registries = []\n")?;
        let at = place.display();
        let storage = format!(
            "[storage]\ndriver = \"overlay\"\ngraphroot = \"{at}/storage\"\nrunroot = \"{at}/run\"\n"
        );
        fs::write(place.join("storage.conf"), storage)?;
        fs::write(place.join("containers.conf"), config(&place, packages))?;
        let socket = place.join("podman.sock");
        let mut command = packages.program("usr/bin/podman");
        for (variable, file) in [
            ("CONTAINERS_CONF", "containers.conf"),
            ("CONTAINERS_STORAGE_CONF", "storage.conf"),
            ("CONTAINERS_REGISTRIES_CONF", "registries.conf"),
            ("HOME", "home"),
        ] {
            command.env(variable, place.join(file));
        }
        command.args(["system", "service", "--time", "0", &format!("unix://{}", socket.display())]);
        let log = place.join("log");
        let daemon =
            Daemon::start(Some(network), command, &log, || call(&socket, "GET", "/_ping", None).map(drop))?;
        folder.will_share_cgroup("libpod_parent/conmon")?;
        Ok(Self::with(socket, "libpod_parent/libpod-", folder, daemon))
    }

    fn with(socket: PathBuf, group: &'static str, folder: &Shared, daemon: Daemon) -> Self {
        Self { socket, group, folder: folder.clone(), _daemon: daemon }
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    pub(super) fn load(&self, image: &[u8]) -> Result<()> {
        self.post("/v1.41/images/load", Body("application/x-tar", image)).map(drop)
    }

    /// Runs a line of shell in a container.
    pub fn run(&self, name: &str, line: &str, labels: &[(&str, &str)]) -> Result<Running> {
        let labels: serde_json::Map<_, _> =
            labels.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect();
        let wanted = json!({
            "Image": image::BUSYBOX,
            "Cmd": ["/bin/sh", "-c", line],
            "Labels": labels,
            "HostConfig": {"NetworkMode": "none"},
        });
        let body = wanted.to_string();
        let path = format!("/v1.41/containers/create?name={name}");
        let created = self.post(&path, Body("application/json", body.as_bytes()))?;
        let id = created["Id"].as_str().context("a container without identity")?;
        self.folder.will_make_cgroup(&format!("{}{id}", self.group))?;
        self.post(&format!("/v1.41/containers/{id}/start"), Body("application/json", b""))?;
        let inspected = call(&self.socket, "GET", &format!("/v1.41/containers/{id}/json"), None)?;
        Running::new(id, name, &inspected["State"]["Pid"])
    }

    /// Ends a container at once, and removes it.
    pub fn remove(&self, container: &Running) -> Result<()> {
        self.forget(&container.id)
    }

    /// Removes all containers, whoever started them.
    pub(super) fn clear(&self) -> Result<()> {
        let listed = call(&self.socket, "GET", "/v1.41/containers/json?all=true", None)?;
        let ids = listed.as_array().into_iter().flatten().filter_map(|container| container["Id"].as_str());
        ids.into_iter().try_for_each(|id| self.forget(id))
    }

    fn forget(&self, id: &str) -> Result<()> {
        call(&self.socket, "DELETE", &format!("/v1.41/containers/{id}?force=true"), None)?;
        sweep::remove_cgroups(&format!("{}{id}", self.group));
        Ok(())
    }

    fn post(&self, path: &str, body: Body<'_>) -> Result<Value> {
        call(&self.socket, "POST", path, Some(body))
    }
}

/// Its kind, and its bytes.
struct Body<'b>(&'static str, &'b [u8]);

/// Asks, and waits for the answer. The oldest version of HTTP has no chunks.
fn call(socket: &Path, method: &str, path: &str, body: Option<Body<'_>>) -> Result<Value> {
    let mut stream =
        UnixStream::connect(socket).with_context(|| format!("nobody on {}", socket.display()))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let Body(kind, bytes) = body.unwrap_or(Body("text/plain", b""));
    let length = bytes.len();
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: lab\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
    )?;
    stream.write_all(bytes)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, content) = answer.split_once("\r\n\r\n").context("no answer")?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    if !status.starts_with('2') {
        bail!("{method} {path}: {status} {}", content.trim());
    }
    // Some answers are no documents, or several.
    Ok(serde_json::from_str(content).unwrap_or_default())
}

/// Limits are what any process may have; cgroups are made without systemd.
fn config(place: &Path, packages: &Packages) -> String {
    let file = |path: &str| packages.file(path).display().to_string();
    format!(
        r#"[engine]
cgroup_manager = "cgroupfs"
runtime = "runc"
conmon_path = ["{conmon}"]
events_logger = "file"
infra_image = "{pause}"
infra_command = "/pause"
tmp_dir = "{place}/run/libpod"
static_dir = "{place}/storage/libpod"
[engine.runtimes]
runc = ["{runc}"]
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[network]
network_backend = "cni"
cni_plugin_dirs = ["{cni}"]
network_config_dir = "{place}/cni"
"#,
        conmon = file("usr/bin/conmon"),
        pause = image::PAUSE,
        place = place.display(),
        runc = file("usr/sbin/runc"),
        cni = file("usr/lib/cni"),
    )
}
