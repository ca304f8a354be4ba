//! What a person or a program sees: text or JSON, colour only on a terminal, and no complaint about a closed pipe.

use std::io::IsTerminal;
use std::io::Write;

use serde::Serialize;

use crate::error::Error;
use crate::error::Result;

/// Where results and messages go: results to standard output, the rest to standard error.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    json: bool,
    colour: bool,
}

impl Screen {
    pub fn new(json: bool) -> Self {
        let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { json, colour }
    }

    pub fn is_json(&self) -> bool {
        self.json
    }

    /// One line or text of a result. A reader that has gone away (`| head`) is no error.
    pub fn print(&self, text: &str) -> Result<()> {
        self.show(text).map(drop)
    }

    /// The same; false when the reader has gone away, so that there is no use in going on.
    pub fn show(&self, text: &str) -> Result<bool> {
        let end = if text.ends_with('\n') { "" } else { "\n" };
        self.copy(format!("{text}{end}").as_bytes())
    }

    /// Bytes of a result as they are; false when the reader has gone away.
    pub fn copy(&self, bytes: &[u8]) -> Result<bool> {
        let mut out = std::io::stdout().lock();
        match out.write_all(bytes).and_then(|()| out.flush()) {
            Ok(()) => Ok(true),
            Err(cause) if cause.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
            Err(cause) => Err(Error::writing(std::path::Path::new("standard output"), &cause)),
        }
    }

    /// A result as one line of JSON.
    pub fn print_json(&self, value: &impl Serialize) -> Result<()> {
        self.show_json(value).map(drop)
    }

    /// The same; false when the reader has gone away.
    pub fn show_json(&self, value: &impl Serialize) -> Result<bool> {
        let text = serde_json::to_string(value).map_err(|cause| Error::internal(format!("result: {cause}")))?;
        self.show(&text)
    }

    /// Something the user should know; not a result.
    pub fn warning(&self, text: &str) {
        if self.json {
            self.message(&serde_json::json!({ "warning": text }).to_string());
        } else {
            self.message(&format!("{}: {text}", self.painted("warning", "33")));
        }
    }

    pub fn error(&self, error: &Error) {
        if self.json {
            self.message(&error_json(error));
        } else {
            self.message(&format!("{}: {error}", self.painted("error", "31")));
        }
    }

    /// A line on standard error. When even that is closed there is nobody to tell.
    pub fn message(&self, text: &str) {
        let _ = writeln!(std::io::stderr(), "{text}");
    }

    fn painted(&self, word: &str, colour: &str) -> String {
        if self.colour { format!("\x1b[1;{colour}m{word}\x1b[0m") } else { word.to_string() }
    }
}

/// An error as one line of JSON.
pub fn error_json(error: &Error) -> String {
    serde_json::json!({ "error": error_value(error) }).to_string()
}

/// The parts of an error.
pub fn error_value(error: &Error) -> serde_json::Value {
    serde_json::json!({
        "code": error.code as u8,
        "place": error.place,
        "problem": error.problem,
        "fix": error.fix,
    })
}

/// `1 thread`, `2 threads`.
pub fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Seconds for people: `42 s`, `3 min 05 s`, `2 h 07 min`.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0..60 if seconds < 10.0 => format!("{:.1} s", seconds.max(0.0)),
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        for (seconds, text) in
            [(0.04, "0.0 s"), (9.96, "10.0 s"), (42.2, "42 s"), (185.0, "3 min 05 s"), (7620.0, "2 h 07 min")]
        {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn errors_are_one_line_of_json() {
        let error = Error::bad_data("a.star, line 3", "\"quoted\"\nproblem", "fix");
        let text = error_json(&error);
        assert_eq!(text.lines().count(), 1);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["error"]["code"], 65);
        assert_eq!(value["error"]["problem"], "\"quoted\"\nproblem");
    }
}
