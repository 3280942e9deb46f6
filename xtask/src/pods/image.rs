//! Images of containers, made from a few files. No registry is asked for anything.

use std::{fmt::Write, fs, path::Path};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{packages::Packages, tar::Archive};

/// A shell and the usual tools.
pub const BUSYBOX: &str = "localhost/pitot-busybox:1";
/// A web server, `/httpd`, and nothing else: no shell, no library, no file of `/etc`.
pub const DISTROLESS: &str = "localhost/pitot-distroless:1";
/// What holds the namespaces of a pod.
pub(super) const PAUSE: &str = "localhost/pitot-pause:1";

/// Makes all images and returns their archives: each is an OCI layout and what `docker save` writes at once, so that
/// every runtime takes it.
pub(super) fn make(packages: &Packages) -> Result<Vec<Vec<u8>>> {
    let read = |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let busybox = read(&packages.busybox())?;
    let mut usual = Archive::default();
    for folder in ["bin", "dev", "etc", "proc", "root", "run", "sys", "tmp", "var"] {
        usual.folder(folder);
    }
    usual.file("bin/busybox", 0o755, &busybox);
    for tool in packages.applets()?.lines().filter(|tool| *tool != "busybox") {
        usual.link(&format!("bin/{tool}"), "/bin/busybox");
    }
    usual.file("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\n");
    usual.file("etc/group", 0o644, b"root:x:0:\n");

    // busybox is what it is called.
    let mut little = Archive::default();
    little.file("httpd", 0o755, &busybox);
    little.folder("www");

    let mut pause = Archive::default();
    pause.file("pause", 0o755, &read(&packages.file("usr/bin/catatonit"))?);
    Ok(vec![
        image(BUSYBOX, &usual.finish(), &json!({"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"]})),
        image(DISTROLESS, &little.finish(), &json!({"Entrypoint": ["/httpd"]})),
        image(PAUSE, &pause.finish(), &json!({"Entrypoint": ["/pause", "-P"]})),
    ])
}

/// An image of one layer.
fn image(name: &str, layer: &[u8], config: &Value) -> Vec<u8> {
    let config = json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [digest(layer)]},
    });
    let config = config.to_string().into_bytes();
    let part = |kind: &str, content: &[u8]| {
        json!({
            "mediaType": format!("application/vnd.oci.image.{kind}"),
            "digest": digest(content),
            "size": content.len(),
        })
    };
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": part("config.v1+json", &config),
        "layers": [part("layer.v1.tar", layer)],
    });
    let manifest = manifest.to_string().into_bytes();
    let mut named = part("manifest.v1+json", &manifest);
    named["annotations"] = json!({
        "io.containerd.image.name": name,
        "org.opencontainers.image.ref.name": name.rsplit(':').next(),
    });
    let index = json!({"schemaVersion": 2, "manifests": [named]});
    let saved = json!([{"Config": blob(&config), "RepoTags": [name], "Layers": [blob(layer)]}]);

    let mut archive = Archive::default();
    archive.file("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#);
    archive.file("index.json", 0o644, index.to_string().as_bytes());
    archive.file("manifest.json", 0o644, saved.to_string().as_bytes());
    for content in [&config, &manifest, layer] {
        archive.file(&blob(content), 0o644, content);
    }
    archive.finish()
}

fn digest(content: &[u8]) -> String {
    format!("sha256:{}", hex(content))
}

fn blob(content: &[u8]) -> String {
    format!("blobs/sha256/{}", hex(content))
}

/// The SHA-256 of a content.
pub(super) fn hex(content: &[u8]) -> String {
    Sha256::digest(content).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
