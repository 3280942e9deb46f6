//! containerd, with pods by its CRI.

use std::{
    collections::HashMap,
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
};

use anyhow::{Context, Result, ensure};

use super::{
    cri::Cri,
    daemon::Daemon,
    folder::Shared,
    image,
    messages::{
        Container, ContainerLinux, ContainerMetadata, ContainerSecurity, Image, Mount, Namespaces, Number,
        Resources, Sandbox, SandboxLinux, SandboxMetadata, SandboxSecurity,
    },
    network::Network,
    packages::Packages,
    spec::{ContainerSpec, Pod, PodSpec, Running},
};

/// What stands between containerd and runc: where there is no systemd, a group that is to be called as systemd calls it
/// is a path like any other.
const RUNC: &str = r#"#!/bin/sh
create=; bundle=; before=
for argument; do
    [ "$argument" = create ] && create=yes
    [ "$before" = --bundle ] && bundle=$argument
    before=$argument
done
[ "$create" ] && sed -i -E \
    's|"cgroupsPath":"(kubepods)-(besteffort)-(pod[^":]*)\.slice:([^":]+):([^":]+)"|"cgroupsPath":"/\1.slice/\1-\2.slice/\1-\2-\3.slice/\4-\5.scope"|' \
    "$bundle/config.json"
exec RUNC "$@"
"#;

/// What stands before each plugin of the network: bridges are made in the lab's, while pods that have the host's
/// network have that indeed.
const PLUGIN: &str = r#"#!/bin/sh
exec BUSYBOX nsenter --net=NETWORK PLUGIN "$@"
"#;
const PLUGINS: [&str; 3] = ["bridge", "host-local", "loopback"];

/// A running containerd.
#[derive(Debug)]
pub(super) struct Containerd {
    folder: Shared,
    packages: Packages,
    cri: Arc<Cri>,
    daemon: Option<Daemon>,
}

impl Containerd {
    /// Starts one without images.
    pub(super) fn new(folder: &Shared, packages: &Packages, network: &Network) -> Result<Self> {
        fs::create_dir(folder.join("cni"))?;
        fs::write(folder.join("cni/10.conflist"), cni(folder.path()))?;
        fs::write(folder.join("containerd.toml"), config(folder.path()))?;
        script(&folder.join("runc"), &RUNC.replace("RUNC", &text(&packages.file("usr/sbin/runc"))))?;
        fs::create_dir(folder.join("plugins"))?;
        for plugin in PLUGINS {
            let real = packages.file("usr/lib/cni").join(plugin);
            let line = PLUGIN
                .replace("BUSYBOX", &text(&packages.busybox()))
                .replace("NETWORK", &text(&network.path()));
            script(&folder.join("plugins").join(plugin), &line.replace("PLUGIN", &text(&real)))?;
        }
        let cri = Arc::new(Cri::new(&folder.join("containerd.sock"))?);
        let mut made = Self { folder: Arc::clone(folder), packages: packages.clone(), cri, daemon: None };
        made.start()?;
        Ok(made)
    }

    /// Starts it again.
    pub(super) fn start(&mut self) -> Result<()> {
        let mut command = self.packages.program("usr/bin/containerd");
        command.arg("--config").arg(self.folder.join("containerd.toml"));
        let answers = || self.cri.version().map(drop);
        self.daemon = Some(Daemon::start(None, command, &self.folder.join("containerd.log"), answers)?);
        Ok(())
    }

    /// Ends it. What it started goes on.
    pub(super) fn stop(&mut self) {
        self.daemon = None;
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.daemon.as_ref().map(Daemon::pid)
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.folder.join("containerd.sock")
    }

    pub(super) fn import(&self, image: &[u8]) -> Result<()> {
        let mut command = self.packages.program("usr/bin/ctr");
        command.arg("--address").arg(self.socket()).args(["--namespace", "k8s.io", "images", "import", "-"]);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        // When it cannot be written, it says why.
        let _written = child.stdin.take().context("no pipe")?.write_all(image);
        let done = child.wait_with_output()?;
        ensure!(done.status.success(), "no image: {}", String::from_utf8_lossy(&done.stderr).trim());
        Ok(())
    }

    /// Starts a pod.
    pub(super) fn pod(&self, spec: &PodSpec, uid: String) -> Result<Pod> {
        let (parent, cgroup) = groups(spec, &uid);
        self.folder.will_make_cgroup(&cgroup)?;
        let logs = self.folder.join("logs").join(format!("{}_{}_{uid}", spec.namespace, spec.name));
        let sandbox = sandbox(spec, &uid, parent, &logs);
        let id = self.cri.run_sandbox(&sandbox)?;
        let mut containers = Vec::new();
        for container in &spec.containers {
            fs::create_dir_all(logs.join(&container.name))?;
            let wanted = self::container(spec, container, &sandbox);
            let id = self.cri.run_container(&id, wanted, &sandbox)?;
            containers.push(Running::new(&id, &container.name, &self.cri.container(&id)?["pid"])?);
        }
        let (info, address) = self.cri.sandbox(&id)?;
        Ok(Pod {
            name: spec.name.clone(),
            namespace: spec.namespace.clone(),
            uid,
            address,
            sandbox: Running::new(&id, "", &info["pid"])?,
            containers,
            cgroup,
            cri: Arc::clone(&self.cri),
        })
    }

    /// Removes all pods.
    pub(super) fn clear(&self) -> Result<()> {
        if self.daemon.is_some() {
            for id in self.cri.sandboxes()? {
                self.cri.stop_sandbox(&id)?;
                self.cri.remove_sandbox(&id)?;
            }
        }
        Ok(())
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn script(path: &Path, content: &str) -> Result<()> {
    fs::write(path, content)?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o755))?)
}

/// What a pod's group is called in a request, and on the host.
fn groups(spec: &PodSpec, uid: &str) -> (String, String) {
    if spec.systemd_cgroup {
        let slice = format!("kubepods-besteffort-pod{}.slice", uid.replace('-', "_"));
        let path = format!("kubepods.slice/kubepods-besteffort.slice/{slice}");
        (slice, path)
    } else {
        let path = format!("kubepods/besteffort/pod{uid}");
        (format!("/{path}"), path)
    }
}

fn namespaces(spec: &PodSpec) -> Namespaces {
    let network = if spec.host_network { 2 } else { 0 };
    Namespaces { network, pid: i32::from(!spec.share_pid), ipc: 0 }
}

/// As kubelet asks for it.
fn sandbox(spec: &PodSpec, uid: &str, cgroup_parent: String, logs: &Path) -> Sandbox {
    let mut labels: HashMap<_, _> = spec.labels.clone().into_iter().collect();
    labels.extend(well_known(spec, uid));
    Sandbox {
        metadata: Some(SandboxMetadata {
            name: spec.name.clone(),
            uid: uid.to_owned(),
            namespace: spec.namespace.clone(),
        }),
        // One without its own network has no host name of its own.
        hostname: if spec.host_network { String::new() } else { spec.name.clone() },
        log_directory: logs.display().to_string(),
        labels,
        annotations: spec.annotations.clone().into_iter().collect(),
        linux: Some(SandboxLinux {
            cgroup_parent,
            security: Some(SandboxSecurity { namespaces: Some(namespaces(spec)) }),
            sysctls: spec.sysctls.clone().into_iter().collect(),
        }),
    }
}

fn container(spec: &PodSpec, container: &ContainerSpec, sandbox: &Sandbox) -> Container {
    let uid = sandbox.metadata.as_ref().map_or("", |metadata| &metadata.uid);
    let mut labels: HashMap<_, _> = well_known(spec, uid).into_iter().collect();
    labels.insert("io.kubernetes.container.name".to_owned(), container.name.clone());
    let mounts = container.mounts.iter().map(|(outside, inside)| Mount {
        inside: inside.clone(),
        outside: outside.display().to_string(),
        read_only: true,
    });
    Container {
        metadata: Some(ContainerMetadata { name: container.name.clone() }),
        image: Some(Image { image: container.image.clone() }),
        command: container.command.clone(),
        mounts: mounts.collect(),
        labels,
        annotations: HashMap::from([("io.kubernetes.container.restartCount".to_owned(), "0".to_owned())]),
        log_path: format!("{}/0.log", container.name),
        linux: Some(ContainerLinux {
            // Lower than the lab's own, as no process here may raise it.
            resources: Some(Resources { cpu_shares: 102, oom_score_adj: 1000 }),
            security: Some(ContainerSecurity {
                namespaces: Some(namespaces(spec)),
                user: container.user.map(|user| Number { value: user.into() }),
                read_only: container.read_only,
            }),
        }),
    }
}

fn well_known(spec: &PodSpec, uid: &str) -> [(String, String); 3] {
    [("name", spec.name.as_str()), ("namespace", &spec.namespace), ("uid", uid)]
        .map(|(name, value)| (format!("io.kubernetes.pod.{name}"), value.to_owned()))
}

/// A bridge in the lab's network, which leads nowhere else.
fn cni(folder: &Path) -> String {
    let addresses = serde_json::json!({
        "type": "host-local",
        "dataDir": folder.join("addresses"),
        "ranges": [[{"subnet": "10.244.0.0/20"}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    });
    let bridge = serde_json::json!({"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "ipam": addresses});
    serde_json::json!({"cniVersion": "0.4.0", "name": "pitot-pods", "plugins": [bridge]}).to_string()
}

/// Everything in the lab's folder. Scores of the OOM killer are left as they are, where lowering them is not allowed.
fn config(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        r#"version = 2
root = "{folder}/root"
state = "{folder}/state"
[grpc]
address = "{folder}/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
path = "{folder}/opt"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
restrict_oom_score_adj = true
disable_apparmor = true
netns_mounts_under_state_dir = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{folder}/plugins"
conf_dir = "{folder}/cni"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
BinaryName = "{folder}/runc"
SystemdCgroup = false
"#,
        pause = image::PAUSE,
    )
}
