//! `linkerd-proxy cni install`: what the DaemonSet runs on each node.
//!
//! It puts the plugin's binary and kubeconfig onto the node, then keeps the plugin in every network
//! configuration it finds, also in those that others write later, and takes all of it off at its end.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{api, conflist, NAME};
use crate::log::Log;
use crate::Error;

/// How often the node is looked at; a network configuration is ours this much after it was written.
pub const INTERVAL: std::time::Duration = std::time::Duration::from_secs(2);

const KUBECONFIG: &str = "ZZZ-linkerd-cni-kubeconfig";
const CA: &str = "ZZZ-linkerd-cni-ca.crt";
const KUBECONFIG_PLACE: &str = "__KUBECONFIG_FILEPATH__";
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// A node's folders, as the container sees them, and what goes there.
pub struct Installer {
    net: PathBuf,
    bin: PathBuf,
    account: PathBuf,
    /// The folder of the configurations, as the node's own programs see it.
    net_on_node: String,
    server: String,
    plugin: Value,
    /// What the last round could not understand.
    failed: RefCell<BTreeMap<PathBuf, Error>>,
    log: Log,
}

impl Installer {
    /// Reads the container's environment.
    ///
    /// `DEST_CNI_NET_DIR` and `DEST_CNI_BIN_DIR` are the node's folders, `CONTAINER_MOUNT_PREFIX` is
    /// where they are mounted (default `/host`), `CNI_NETWORK_CONFIG` is the plugin's configuration,
    /// `KUBERNETES_SERVICE_HOST` and `_PORT` name the API server.
    ///
    /// # Errors
    /// A variable is missing or the configuration is unusable; the message names it.
    pub fn from_environment(env: &dyn Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let need = |name: &str| {
            let value = env(name).filter(|value| !value.is_empty());
            value.ok_or_else(|| Error(format!("environment variable {name} is not set")))
        };
        let prefix = env("CONTAINER_MOUNT_PREFIX").unwrap_or_else(|| "/host".to_owned());
        let net_on_node = need("DEST_CNI_NET_DIR")?;
        let text = need("CNI_NETWORK_CONFIG")?.replace(
            KUBECONFIG_PLACE,
            &format!("{}/{KUBECONFIG}", net_on_node.trim_end_matches('/')),
        );
        super::config::NetConf::parse(&text)?;
        let plugin: Value = serde_json::from_str(&text)
            .map_err(|error| Error(format!("CNI_NETWORK_CONFIG is no JSON: {error}")))?;
        if plugin["type"] != NAME {
            return Err(Error(format!(
                "CNI_NETWORK_CONFIG has type {}: expected {NAME:?}",
                plugin["type"]
            )));
        }
        let host = need("KUBERNETES_SERVICE_HOST")?;
        let host = if host.contains(':') {
            format!("[{host}]")
        } else {
            host
        };
        Ok(Self {
            net: PathBuf::from(format!("{prefix}{net_on_node}")),
            bin: PathBuf::from(format!("{prefix}{}", need("DEST_CNI_BIN_DIR")?)),
            account: env("SERVICE_ACCOUNT_PATH").map_or_else(|| ACCOUNT.into(), PathBuf::from),
            net_on_node,
            server: format!("https://{host}:{}", need("KUBERNETES_SERVICE_PORT")?),
            plugin,
            failed: RefCell::default(),
            log: Log::default(),
        })
    }

    /// Copies `program` to the node as the plugin, atomically.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn copy_binary(&self, program: &Path) -> Result<(), Error> {
        let target = self.bin.join(NAME);
        let fresh = self.bin.join(format!(".{NAME}"));
        fs::create_dir_all(&self.bin)
            .and_then(|()| fs::copy(program, &fresh))
            .and_then(|_| fs::set_permissions(&fresh, Permissions::from_mode(0o755)))
            .and_then(|()| fs::rename(&fresh, &target))
            .map_err(|error| at(&target, &error))?;
        let path = target.display().to_string();
        self.log.info("plugin installed", &[("path", &path)]);
        Ok(())
    }

    /// Brings the node up to date: the kubeconfig with the current token, then every configuration.
    ///
    /// A configuration that cannot be understood is left alone and logged; the others are done.
    ///
    /// # Errors
    /// The folder or the service account cannot be read or written.
    pub fn step(&self) -> Result<(), Error> {
        let read = |name: &str| {
            let path = self.account.join(name);
            fs::read_to_string(&path).map_err(|error| at(&path, &error))
        };
        let (token, ca) = (read("token")?, read("ca.crt")?);
        let ca_on_node = format!("{}/{CA}", self.net_on_node.trim_end_matches('/'));
        self.write(CA, &ca, 0o644)?;
        let kubeconfig = api::kubeconfig(&self.server, &token, &ca_on_node);
        self.write(KUBECONFIG, &kubeconfig, 0o600)?;
        let failed: BTreeMap<PathBuf, Error> = self
            .configurations()?
            .into_iter()
            .filter_map(|path| self.put_into(&path).err().map(|error| (path, error)))
            .collect();
        let before = self.failed.replace(failed.clone());
        for (path, error) in &failed {
            // Every round would say the same.
            if before.get(path) != Some(error) {
                let file = path.display().to_string();
                let fields = [("file", file.as_str()), ("error", error.0.as_str())];
                self.log.warn("network configuration left alone", &fields);
            }
        }
        Ok(())
    }

    /// Takes the plugin out of all configurations, then removes kubeconfig and binary.
    ///
    /// # Errors
    /// The folder cannot be read or written; what could be removed is.
    pub fn remove(&self) -> Result<(), Error> {
        let mut result = Ok(());
        for path in self.configurations()? {
            let text = fs::read_to_string(&path).map_err(|error| at(&path, &error))?;
            if let Ok(Some(without)) = conflist::without_plugin(&text) {
                result = result.and(self.write_path(&path, &format!("{without:#}\n"), 0o600));
            }
        }
        for path in [
            self.net.join(KUBECONFIG),
            self.net.join(CA),
            self.bin.join(NAME),
        ] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    result = result.and(Err(at(&path, &error)));
                }
                _ => {}
            }
        }
        self.log.info("plugin removed", &[]);
        result
    }

    /// The node's network configurations, in the order in which a runtime reads them.
    fn configurations(&self) -> Result<Vec<PathBuf>, Error> {
        let entries = fs::read_dir(&self.net).map_err(|error| at(&self.net, &error))?;
        let mut paths: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| {
                let kind = path.extension().and_then(|kind| kind.to_str());
                // A name that begins with a dot is a file that somebody is still writing.
                let hidden = path
                    .file_name()
                    .is_some_and(|name| name.as_encoded_bytes()[0] == b'.');
                matches!(kind, Some("conf" | "conflist" | "json")) && !hidden
            })
            .collect();
        paths.sort_unstable();
        Ok(paths)
    }

    fn put_into(&self, path: &Path) -> Result<(), Error> {
        let text = fs::read_to_string(path).map_err(|error| at(path, &error))?;
        let list = conflist::with_plugin(&text, &self.plugin)?;
        if serde_json::from_str::<Value>(&text).is_ok_and(|now| now == list) {
            return Ok(());
        }
        let target = path.with_extension("conflist");
        self.write_path(&target, &format!("{list:#}\n"), 0o600)?;
        if target != path {
            // Both would name the same network, and the runtime would take the one without us.
            fs::remove_file(path).map_err(|error| at(path, &error))?;
        }
        let file = target.display().to_string();
        self.log
            .info("network configuration extended", &[("file", &file)]);
        Ok(())
    }

    fn write(&self, name: &str, text: &str, mode: u32) -> Result<(), Error> {
        let path = self.net.join(name);
        if fs::read_to_string(&path).is_ok_and(|now| now == text) {
            return Ok(());
        }
        self.write_path(&path, text, mode)
    }

    /// Replaces a file in one step: a runtime reads the old text or the new one.
    fn write_path(&self, path: &Path, text: &str, mode: u32) -> Result<(), Error> {
        let fresh = self.net.join(".linkerd-cni-new");
        fs::write(&fresh, text)
            .and_then(|()| fs::set_permissions(&fresh, Permissions::from_mode(mode)))
            .and_then(|()| fs::rename(&fresh, path))
            .map_err(|error| at(path, &error))
    }
}

fn at(path: &Path, error: &io::Error) -> Error {
    Error(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Node(PathBuf);

    impl Node {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("linkerd-cni-{}-{name}", std::process::id()));
            for folder in ["host/net", "host/bin", "account"] {
                fs::create_dir_all(path.join(folder)).expect("temporary folder");
            }
            let node = Self(path);
            node.put("account/token", "first\n");
            node.put("account/ca.crt", "CA");
            node
        }

        fn put(&self, name: &str, text: &str) {
            fs::write(self.0.join(name), text).expect("temporary file");
        }

        fn get(&self, name: &str) -> Value {
            let text = fs::read_to_string(self.0.join(name)).expect("file is there");
            serde_json::from_str(&text).expect("JSON")
        }

        fn installer(&self) -> Installer {
            let root = self.0.display().to_string();
            Installer::from_environment(&|name| {
                Some(match name {
                    "CONTAINER_MOUNT_PREFIX" => format!("{root}/host"),
                    "DEST_CNI_NET_DIR" => "/net".to_owned(),
                    "DEST_CNI_BIN_DIR" => "/bin".to_owned(),
                    "SERVICE_ACCOUNT_PATH" => format!("{root}/account"),
                    "KUBERNETES_SERVICE_HOST" => "fd00::1".to_owned(),
                    "KUBERNETES_SERVICE_PORT" => "443".to_owned(),
                    "CNI_NETWORK_CONFIG" => r#"{"name": "linkerd-cni", "type": "linkerd-cni",
                        "kubernetes": {"kubeconfig": "__KUBECONFIG_FILEPATH__"}, "linkerd": {}}"#
                        .to_owned(),
                    _ => return None,
                })
            })
            .expect("a whole environment")
        }
    }

    impl Drop for Node {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_plugin_joins_every_configuration_and_leaves_without_a_trace() {
        let node = Node::new("life");
        node.put(
            "host/net/10-a.conflist",
            r#"{"name":"a","plugins":[{"type":"bridge"}]}"#,
        );
        node.put("host/net/20-b.conf", r#"{"name":"b","type":"ptp"}"#);
        node.put("host/net/30-c.conf", "not JSON");
        let installer = node.installer();
        installer
            .copy_binary(Path::new("/bin/true"))
            .expect("folder is there");
        installer.step().expect("folder is there");

        assert_eq!(
            "linkerd-cni",
            node.get("host/net/10-a.conflist")["plugins"][1]["type"]
        );
        let second = node.get("host/net/20-b.conflist");
        assert_eq!(
            "/net/ZZZ-linkerd-cni-kubeconfig",
            second["plugins"][1]["kubernetes"]["kubeconfig"]
        );
        assert!(!node.0.join("host/net/20-b.conf").exists());
        let config = node.get("host/net/ZZZ-linkerd-cni-kubeconfig");
        assert_eq!(
            "https://[fd00::1]:443",
            config["clusters"][0]["cluster"]["server"]
        );
        assert_eq!("first", config["users"][0]["user"]["token"]);

        node.put("account/token", "second");
        node.put(
            "host/net/10-a.conflist",
            r#"{"name":"a","plugins":[{"type":"new"}]}"#,
        );
        installer.step().expect("folder is there");
        assert_eq!(
            "second",
            node.get("host/net/ZZZ-linkerd-cni-kubeconfig")["users"][0]["user"]["token"]
        );
        assert_eq!(
            "linkerd-cni",
            node.get("host/net/10-a.conflist")["plugins"][1]["type"]
        );

        installer.remove().expect("folder is there");
        assert_eq!(
            1,
            node.get("host/net/10-a.conflist")["plugins"]
                .as_array()
                .map_or(0, Vec::len)
        );
        let mut left: Vec<String> = fs::read_dir(node.0.join("host/net"))
            .expect("folder is there")
            .map(|entry| {
                entry
                    .expect("readable")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        left.sort();
        assert_eq!(vec!["10-a.conflist", "20-b.conflist", "30-c.conf"], left);
        assert!(!node.0.join("host/bin/linkerd-cni").exists());
    }

    #[test]
    fn an_incomplete_environment_is_named() {
        let error = Installer::from_environment(&|_| None)
            .err()
            .expect("nothing is set");
        assert_eq!("environment variable DEST_CNI_NET_DIR is not set", error.0);
    }
}
