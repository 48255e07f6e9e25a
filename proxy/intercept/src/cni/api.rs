//! The few requests to the Kubernetes API that the plugin needs, over a connection of their own.
//!
//! Requests are HTTP/1.0, so that an answer ends with its connection: a plugin lives for one pod.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{json, Value};

use crate::Error;

const TIMEOUT: Duration = Duration::from_secs(10);
/// A pod's object has at most 1.5 MiB in etcd; a node's list of pods has many.
const RESPONSE_MAX: usize = 64 << 20;

/// An API server and who asks it.
pub(crate) struct Api {
    host: String,
    port: u16,
    token: String,
    tls: Arc<ClientConfig>,
}

impl Api {
    /// Takes server, token and the path of the CA out of a kubeconfig that [`kubeconfig`] wrote.
    pub(crate) fn from_kubeconfig(path: &str) -> Result<Self, Error> {
        let wrong = |what: &str| Error(format!("kubeconfig {path}: {what}"));
        let value: Value =
            serde_json::from_str(&read(path)?).map_err(|error| wrong(&error.to_string()))?;
        let cluster = &value["clusters"][0]["cluster"];
        let text = |value: &Value, name| {
            let text = value.as_str().ok_or_else(|| wrong(&format!("no {name}")))?;
            Ok::<_, Error>(text.to_owned())
        };
        Self::new(
            &text(&cluster["server"], "server")?,
            text(&value["users"][0]["user"]["token"], "token")?,
            &read(&text(
                &cluster["certificate-authority"],
                "certificate-authority",
            )?)?,
        )
    }

    /// An API server by URL, `https://host:port`, trusted by the certificates in `ca_pem`.
    pub(crate) fn new(server: &str, token: String, ca_pem: &str) -> Result<Self, Error> {
        let (host, port) = server
            .strip_prefix("https://")
            .and_then(|address| address.trim_end_matches('/').rsplit_once(':'))
            .and_then(|(host, port)| Some((host.trim_matches(['[', ']']), port.parse().ok()?)))
            .ok_or_else(|| Error(format!("server {server:?}: expected https://host:port")))?;
        let mut roots = RootCertStore::empty();
        let certificates: Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(ca_pem.as_bytes()).collect();
        let certificates =
            certificates.map_err(|error| Error(format!("API server's CA: {error}")))?;
        if roots.add_parsable_certificates(certificates).0 == 0 {
            return Err(Error("API server's CA: no usable certificate".to_owned()));
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Error(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            host: host.to_owned(),
            port,
            token,
            tls: Arc::new(tls),
        })
    }

    /// Reads one object or list.
    pub(crate) fn get(&self, path: &str) -> Result<Value, Error> {
        self.request("GET", path, None)
    }

    /// Sends `method` with an optional body and returns the answer; any status but 2xx is an error.
    pub(crate) fn request(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Error> {
        let failed = |what: &dyn std::fmt::Display| {
            let Self { host, port, .. } = self;
            Error(format!("{method} https://{host}:{port}{path}: {what}"))
        };
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = format!(
            "{method} {path} HTTP/1.0\r\nhost: {}\r\nauthorization: Bearer {}\r\n\
             connection: close\r\naccept: application/json\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            self.host,
            self.token.trim(),
            body.len(),
        );
        let answer = self.exchange(&request).map_err(|error| failed(&error))?;
        let (status, content) = parse(&answer).ok_or_else(|| failed(&"no HTTP answer"))?;
        let value: Value = serde_json::from_slice(content).unwrap_or(Value::Null);
        if !(200..300).contains(&status) {
            let reason = value["message"].as_str().unwrap_or("no reason given");
            return Err(failed(&format!("{status}: {reason}")));
        }
        Ok(value)
    }

    fn exchange(&self, request: &str) -> std::io::Result<Vec<u8>> {
        let mut addresses = (self.host.as_str(), self.port).to_socket_addrs()?;
        let address = addresses.next().ok_or(std::io::ErrorKind::NotFound)?;
        let tcp = TcpStream::connect_timeout(&address, TIMEOUT)?;
        tcp.set_read_timeout(Some(TIMEOUT))?;
        tcp.set_write_timeout(Some(TIMEOUT))?;
        let name = ServerName::try_from(self.host.clone()).map_err(std::io::Error::other)?;
        let connection =
            ClientConnection::new(self.tls.clone(), name).map_err(std::io::Error::other)?;
        let mut stream = StreamOwned::new(connection, tcp);
        stream.write_all(request.as_bytes())?;
        stream.flush()?;
        let mut answer = Vec::new();
        let mut buffer = vec![0; 1 << 16];
        while !has_its_length(&answer) && answer.len() < RESPONSE_MAX {
            match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => answer.extend_from_slice(&buffer[..length]),
                // A server that ends the connection without TLS's goodbye.
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => break,
                Err(error) => return Err(error),
            }
        }
        Ok(answer)
    }
}

/// The kubeconfig that the plugin reads on the node; JSON, which is YAML too.
pub(crate) fn kubeconfig(server: &str, token: &str, ca_path: &str) -> String {
    let context = "linkerd-cni-context";
    let value = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "local", "cluster": {"server": server, "certificate-authority": ca_path}}],
        "users": [{"name": "linkerd-cni", "user": {"token": token.trim()}}],
        "contexts": [{"name": context, "context": {"cluster": "local", "user": "linkerd-cni"}}],
        "current-context": context,
    });
    format!("{value:#}\n")
}

fn read(path: &str) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|error| Error(format!("cannot read {path}: {error}")))
}

/// Status, announced length and content of an answer; `None` while its head is not whole.
fn split(answer: &[u8]) -> Option<(u16, Option<usize>, &[u8])> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.")?.split(' ').nth(1)?;
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok());
    Some((status.parse().ok()?, length, &answer[end + 4..]))
}

fn has_its_length(answer: &[u8]) -> bool {
    matches!(split(answer), Some((_, Some(length), content)) if content.len() >= length)
}

/// Status and content of an answer; `None` when it is cut short or no HTTP.
fn parse(answer: &[u8]) -> Option<(u16, &[u8])> {
    let (status, length, content) = split(answer)?;
    length
        .is_none_or(|length| length == content.len())
        .then_some((status, content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_whole_or_none() {
        let answer: &[u8] = b"HTTP/1.0 404 Not Found\r\nContent-Length: 2\r\nX: y\r\n\r\n{}";
        assert_eq!(Some((404, &b"{}"[..])), parse(answer));
        for cut in 0..answer.len() {
            assert_eq!(None, parse(&answer[..cut]), "{cut}");
        }
        let unsized_answer = b"HTTP/1.1 200 OK\r\n\r\n[1]";
        assert_eq!(Some((200, &b"[1]"[..])), parse(unsized_answer));
    }

    #[test]
    fn servers_are_https_urls_with_a_port() {
        for server in ["http://a:1", "https://a", "https://a:x", ""] {
            let error = Api::new(server, String::new(), "").err().expect("unusable");
            assert!(error.0.contains("expected https://host:port"), "{server}");
        }
        let error = Api::new("https://[fd00::1]:443", String::new(), "");
        assert_eq!(
            "API server's CA: no usable certificate",
            error.err().expect("no CA").0
        );
    }
}
