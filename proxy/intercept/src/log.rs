//! Standard error as `plain` or `json` lines: what all programs of this crate say.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use crate::settings::{LogFormat, LogLevel};
use crate::Error;

/// Where a program of this crate writes what it did.
#[derive(Clone, Copy, Default)]
pub(crate) struct Log {
    pub(crate) format: LogFormat,
    pub(crate) level: LogLevel,
}

impl Log {
    pub(crate) fn info(&self, message: &str, fields: &[(&str, &str)]) {
        self.write(LogLevel::Info, message, fields);
    }

    pub(crate) fn warn(&self, message: &str, fields: &[(&str, &str)]) {
        self.write(LogLevel::Warn, message, fields);
    }

    pub(crate) fn write(&self, level: LogLevel, message: &str, fields: &[(&str, &str)]) {
        if level > self.level {
            return;
        }
        let line = match self.format {
            LogFormat::Plain => plain_line(level, message, fields),
            LogFormat::Json => json_line(level, message, fields),
        };
        // Nothing is left to tell anyone when standard error is gone.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }

    pub(crate) fn fail(&self, error: &Error) -> ExitCode {
        self.write(LogLevel::Error, &error.0, &[]);
        ExitCode::FAILURE
    }
}

fn plain_line(level: LogLevel, message: &str, fields: &[(&str, &str)]) -> String {
    let mut line = format!("{:<5} {message}", level.name().to_uppercase());
    for (key, value) in fields {
        let _ = write!(line, " {key}={value}");
    }
    line.push('\n');
    line
}

fn json_line(level: LogLevel, message: &str, fields: &[(&str, &str)]) -> String {
    let text = |text: &str| serde_json::Value::from(text).to_string();
    let mut line = format!("{{\"level\":\"{}\",\"msg\":{}", level.name(), text(message));
    for (key, value) in fields {
        let _ = write!(line, ",{}:{}", text(key), text(value));
    }
    line.push_str("}\n");
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_carry_level_message_and_fields() {
        assert_eq!(
            "INFO  rules set family=ip\n",
            plain_line(LogLevel::Info, "rules set", &[("family", "ip")])
        );
        assert_eq!(
            "{\"level\":\"error\",\"msg\":\"bad \\\"x\\\"\\n\",\"k\":\"v\"}\n",
            json_line(LogLevel::Error, "bad \"x\"\n", &[("k", "v")])
        );
    }
}
