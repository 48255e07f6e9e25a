//! The CNI plugin `linkerd-cni`: redirects a pod's traffic when its network is made.
//!
//! The runtime starts the plugin for each pod, after the plugins that made the interfaces; what they
//! returned is passed on unchanged. `install` puts the plugin onto a node and takes it off again,
//! `repair` ends pods that were made before it was there.
//!
//! Source: CNI specification 1.1.0; linkerd/linkerd2-proxy-init cni-plugin/main.go (configuration).

mod api;
mod config;
mod conflist;
mod decide;
pub mod install;
pub mod repair;

use std::io::{Read as _, Write as _};
use std::process::ExitCode;

use serde_json::{json, Value};

use crate::log::Log;
use crate::plan::Family;
use crate::{kernel, Error};
use config::NetConf;

/// The plugin's name: its file, its `type` in a network configuration.
pub const NAME: &str = "linkerd-cni";

const VERSIONS: [&str; 7] = [
    "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0",
];
/// A network configuration with the results of all plugins before; more is a mistake.
const STDIN_MAX: u64 = 1 << 20;
/// CNI's code for "decoding failed" and for what a plugin defines itself.
const UNDECODABLE: u32 = 6;
const FAILED: u32 = 100;

/// Runs the plugin: the command in `CNI_COMMAND`, the network configuration on standard input.
///
/// Writes the result, or an error object, to standard output, and exits 0 or 1.
pub fn main() -> ExitCode {
    let env = |name: &str| std::env::var(name).unwrap_or_default();
    let mut input = String::new();
    let read = std::io::stdin()
        .take(STDIN_MAX)
        .read_to_string(&mut input)
        .map_err(|error| Error(format!("cannot read the network configuration: {error}")));
    let command = env("CNI_COMMAND");
    let answer = read.map_err(|error| (UNDECODABLE, error)).and_then(|_| {
        let call = Call {
            netns: env("CNI_NETNS"),
            args: env("CNI_ARGS"),
        };
        run(&command, &input, &call)
    });
    let (text, code) = match answer {
        Ok(None) => return ExitCode::SUCCESS,
        Ok(Some(result)) => (result, ExitCode::SUCCESS),
        Err((code, error)) => {
            Log::default().fail(&error);
            let object = json!({
                "cniVersion": "1.0.0", "code": code, "msg": "linkerd-cni", "details": error.0,
            });
            (object, ExitCode::FAILURE)
        }
    };
    match std::io::stdout().write_all(text.to_string().as_bytes()) {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

struct Call {
    netns: String,
    args: String,
}

type Answer = Result<Option<Value>, (u32, Error)>;

fn run(command: &str, input: &str, call: &Call) -> Answer {
    let failed = |error| (FAILED, error);
    let parsed = || NetConf::parse(input).map_err(|error| (UNDECODABLE, error));
    match command {
        "VERSION" => Ok(Some(
            json!({"cniVersion": "1.0.0", "supportedVersions": VERSIONS}),
        )),
        "ADD" => {
            let conf = parsed()?;
            add(&conf, call).map_err(failed)?;
            Ok(Some(conf.result()))
        }
        "CHECK" => check(&parsed()?, call).map_err(failed).map(|()| None),
        // The rules end with the pod's namespace.
        "DEL" | "GC" | "STATUS" => Ok(None),
        other => Err((
            FAILED,
            Error(format!(
                "CNI_COMMAND={other:?}: expected ADD, CHECK, DEL or VERSION"
            )),
        )),
    }
}

fn add(conf: &NetConf, call: &Call) -> Result<(), Error> {
    let Some(settings) = wanted(conf, call)? else {
        return Ok(());
    };
    let log = Log {
        format: settings.log_format,
        level: settings.log_level,
    };
    crate::redirect(&settings, &log)
}

fn check(conf: &NetConf, call: &Call) -> Result<(), Error> {
    let Some(settings) = wanted(conf, call)? else {
        return Ok(());
    };
    kernel::enter(&call.netns)?;
    if kernel::present(Family::Ipv4)? {
        return Ok(());
    }
    Err(Error(format!(
        "network namespace {} has no redirect rules to port {}",
        call.netns, settings.outgoing_proxy_port
    )))
}

/// What the pod of this call needs; `None` when it has no proxy or redirects by itself.
fn wanted(conf: &NetConf, call: &Call) -> Result<Option<crate::settings::Settings>, Error> {
    let Some((namespace, name)) = pod_name(&call.args) else {
        return Ok(None);
    };
    let api = api::Api::from_kubeconfig(&conf.kubeconfig)?;
    let pod = api.get(&format!("/api/v1/namespaces/{namespace}/pods/{name}"))?;
    if !decide::is_ours(&pod) {
        return Ok(None);
    }
    let namespace = api.get(&format!("/api/v1/namespaces/{namespace}"))?;
    let api_ports = if decide::is_control_plane(&pod) {
        decide::service_ports(&api.get("/api/v1/namespaces/default/services/kubernetes")?)
    } else {
        Vec::new()
    };
    decide::settings(conf, &pod, &namespace, &api_ports)
        .map(|mut settings| {
            settings.netns = Some(call.netns.clone());
            Some(settings)
        })
        .map_err(|error| Error(format!("pod {name}: {error}")))
}

/// Namespace and name out of `CNI_ARGS`; `None` when another orchestrator than Kubernetes calls.
fn pod_name(args: &str) -> Option<(&str, &str)> {
    let find = |key: &str| {
        let value = args
            .split(';')
            .filter_map(|pair| pair.split_once('='))
            .find_map(|(name, value)| (name == key).then_some(value))?;
        // It becomes part of a path.
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
        (!value.is_empty() && value.chars().all(plain)).then_some(value)
    };
    Some((find("K8S_POD_NAMESPACE")?, find("K8S_POD_NAME")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_named_by_the_arguments_of_kubernetes() {
        for (args, expected) in [
            (
                "IgnoreUnknown=1;K8S_POD_NAMESPACE=emojivoto;K8S_POD_NAME=web-1;K8S_POD_UID=x",
                Some(("emojivoto", "web-1")),
            ),
            ("K8S_POD_NAMESPACE=emojivoto", None),
            ("K8S_POD_NAMESPACE=a/../b;K8S_POD_NAME=web", None),
            ("", None),
        ] {
            assert_eq!(expected, pod_name(args), "{args}");
        }
    }

    #[test]
    fn commands_without_a_pod_answer_by_themselves() {
        let call = || Call {
            netns: String::new(),
            args: String::new(),
        };
        let conf = r#"{"cniVersion":"1.0.0","name":"k8s","type":"linkerd-cni",
                       "prevResult":{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.2/24"}]},
                       "kubernetes":{"kubeconfig":"/none"},"linkerd":{}}"#;
        let version = run("VERSION", "", &call()).expect("always").expect("json");
        assert_eq!("1.1.0", version["supportedVersions"][6]);
        let added = run("ADD", conf, &call()).expect("no pod").expect("json");
        assert_eq!("10.0.0.2/24", added["ips"][0]["address"]);
        assert_eq!(Ok(None), run("DEL", conf, &call()));
        assert_eq!(
            UNDECODABLE,
            run("ADD", "{", &call()).expect_err("no JSON").0
        );
        assert_eq!(FAILED, run("PUT", conf, &call()).expect_err("unknown").0);
    }
}
