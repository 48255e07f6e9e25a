//! What names a policy object in metrics and logs.

/// The object that a policy, route or backend came from.
///
/// Defaults have group `""` and kind `"default"`; both are what Linkerd's labels show for them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Meta {
    /// API group; `core` for Services, empty for defaults.
    pub group: String,
    /// Kind in lower or camel case as the control plane sent it; `default` for defaults.
    pub kind: String,
    /// Object name, or the name of the default (`all-unauthenticated`, `http`, …).
    pub name: String,
    /// Namespace, empty if unknown.
    pub namespace: String,
    /// Section (listener, route rule) name, empty if none.
    pub section: String,
    /// Port, 0 if none.
    pub port: u16,
}

impl Meta {
    /// Names an implicit configuration.
    pub fn default_named(name: &str) -> Self {
        Self {
            kind: "default".into(),
            name: name.into(),
            ..Self::default()
        }
    }

    /// The port as a label value: empty when there is none.
    pub fn port_label(&self) -> String {
        if self.port == 0 {
            String::new()
        } else {
            self.port.to_string()
        }
    }
}
