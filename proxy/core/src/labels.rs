//! Label sets, rendered once and then carried around as text.

use std::fmt::Write;

/// Appends `value` with the exposition format's escapes (`\\`, `\"`, `\n`).
pub fn escape_into(out: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
}

/// A rendered label set: `a="1",b="2"`, without braces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Labels(String);

impl Labels {
    /// The empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one label; the caller keeps names unique.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.push(name, value);
        self
    }

    /// Adds one label whose value is formatted.
    pub fn with_display(self, name: &str, value: impl std::fmt::Display) -> Self {
        let mut text = String::new();
        write!(text, "{value}").expect("writing to a String cannot fail");
        self.with(name, &text)
    }

    /// Adds one label in place.
    pub fn push(&mut self, name: &str, value: &str) {
        if !self.0.is_empty() {
            self.0.push(',');
        }
        self.0.push_str(name);
        self.0.push_str("=\"");
        escape_into(&mut self.0, value);
        self.0.push('"');
    }

    /// Adds all labels of `other`.
    pub fn and(mut self, other: &Labels) -> Self {
        if !self.0.is_empty() && !other.0.is_empty() {
            self.0.push(',');
        }
        self.0.push_str(&other.0);
        self
    }

    /// The rendered text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Turns any text into a valid label name: other characters than `[A-Za-z0-9_]` become `_`.
pub fn label_name(prefix: &str, name: &str) -> String {
    let mut out = String::with_capacity(prefix.len() + name.len());
    out.push_str(prefix);
    out.extend(
        name.chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }),
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_escaped() {
        let labels = Labels::new().with("a", "x\"y\\z\n").with("b", "");
        assert_eq!(r#"a="x\"y\\z\n",b="""#, labels.as_str());
    }

    #[test]
    fn names_keep_to_the_grammar() {
        assert_eq!(
            "dst_app_kubernetes_io_name",
            label_name("dst_", "app.kubernetes.io/name")
        );
    }
}
