//! Text to blocks, one line at a time.

use std::sync::Arc;

use crate::error::Error;
use crate::error::Result;
use crate::formats::star::block::Block;
use crate::formats::star::block::Cell;
use crate::formats::star::block::Layout;
use crate::formats::star::block::Source;
use crate::formats::star::block::Values;

/// Where the line before left us.
#[derive(Clone, Copy, PartialEq)]
enum State {
    /// Before the first `data_`.
    Outside,
    /// After `data_`, before a label or `loop_`.
    Header,
    List,
    /// Between `loop_` and the first row.
    Labels,
    Rows,
    /// After the empty line that ends a table.
    Closed,
}

pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\x0b' | b'\x0c')
}

/// The blocks of a file, and the comments after the last one.
pub(super) fn parse(source: &Arc<Source>) -> Result<(Vec<Block>, Vec<String>)> {
    if source.text.len() > Cell::FARTHEST {
        return Err(Error::bad_data(&source.name, "larger than 512 GB", "Split the file."));
    }
    let mut parser =
        Parser { source, state: State::Outside, line: 0, blocks: Vec::new(), comments: Vec::new(), version: None };
    // A byte order mark is not part of the first line.
    let mut start = if source.text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let bytes = source.text.as_bytes();
    while start < bytes.len() {
        let end = bytes[start..].iter().position(|&byte| byte == b'\n').map_or(bytes.len(), |length| start + length);
        parser.line += 1;
        parser.take_line(start, end)?;
        start = end + 1;
    }
    Ok((parser.blocks, parser.comments))
}

struct Parser<'a> {
    source: &'a Arc<Source>,
    state: State,
    /// 1-based.
    line: usize,
    blocks: Vec<Block>,
    /// Waiting for the block they belong to.
    comments: Vec<String>,
    version: Option<u32>,
}

impl Parser<'_> {
    fn take_line(&mut self, start: usize, end: usize) -> Result<()> {
        let bytes = self.source.text.as_bytes();
        let Some(first) = (start..end).find(|&at| !is_space(bytes[at])) else {
            if self.state == State::Rows {
                self.state = State::Closed;
            }
            return Ok(());
        };
        if self.state == State::Rows && bytes[first] != b'#' && bytes[first] != b'd' {
            return self.take_row(first, end);
        }
        let line = self.source.text[first..end].trim_end_matches(|c: char| c.is_ascii() && is_space(c as u8));
        if line.starts_with('#') {
            self.take_comment(line);
            return Ok(());
        }
        if let Some(name) = self.block_name(line) {
            self.begin_block(name);
            return Ok(());
        }
        match self.state {
            State::Rows => self.take_row(first, end),
            _ if line.starts_with(';') => {
                self.comments.push(line.to_owned());
                Ok(())
            }
            State::Closed => Err(self.error(
                "text after the empty line that ends the table",
                "Remove the empty line inside the table, or begin the text with `#`.",
            )),
            State::Outside => Err(self.error(
                "text before the first `data_` line: this does not look like a STAR file",
                "Name a STAR file (not the image stack or map it describes).",
            )),
            State::Header | State::List if line.starts_with("loop_") => self.begin_table(line),
            State::Header | State::List if line.starts_with('_') => self.take_list_value(first, end),
            State::Labels if line.starts_with('_') => self.take_label(line),
            State::Labels => {
                if self.block().columns.is_empty() {
                    return Err(
                        self.error("a row without labels", "Write `_label` lines between `loop_` and the rows.")
                    );
                }
                self.state = State::Rows;
                self.take_row(first, end)
            }
            State::Header | State::List => Err(self.error(
                format!("expected `_label value`, `loop_` or `data_`, found `{}`", shortened(line)),
                "Begin a table with `loop_`; quote values that hold spaces.",
            )),
        }
    }

    /// The name when the line is `data_<name>` and nothing else, or a comment.
    fn block_name<'t>(&self, line: &'t str) -> Option<&'t str> {
        let (token, rest) = split_token(line);
        let name = token.strip_prefix("data_")?;
        // Within the rows of a one-column table such a line is a value; we quote those when we write them.
        let is_value = self.state == State::Rows && self.blocks.last().is_some_and(|block| block.columns.len() == 1);
        (!is_value && (rest.is_empty() || rest.starts_with('#'))).then_some(name)
    }

    fn begin_block(&mut self, name: &str) {
        self.blocks.push(Block {
            name: name.to_owned(),
            version: self.version.take(),
            comments: std::mem::take(&mut self.comments),
            layout: Layout::List,
            source: Arc::clone(self.source),
            columns: Vec::new(),
        });
        self.state = State::Header;
    }

    fn begin_table(&mut self, line: &str) -> Result<()> {
        let (token, rest) = split_token(line);
        if token != "loop_" || !(rest.is_empty() || rest.starts_with('#')) {
            return Err(self.error(
                format!("expected `loop_` alone, found `{}`", shortened(line)),
                "Begin a new line after `loop_`.",
            ));
        }
        if self.state == State::List {
            return Err(
                self.error("`loop_` in a block that already holds a list", "Give the table a `data_` line of its own.")
            );
        }
        self.block().layout = Layout::Table;
        self.state = State::Labels;
        Ok(())
    }

    /// Comments belong to the block that follows; a version line is not kept as a comment.
    fn take_comment(&mut self, line: &str) {
        let text = line.trim_start_matches('#').trim();
        match text.strip_prefix("version ").and_then(|number| number.trim().parse().ok()) {
            Some(version) => self.version = Some(version),
            None => self.comments.push(line.to_owned()),
        }
    }

    fn block(&mut self) -> &mut Block {
        self.blocks.last_mut().expect("a state other than Outside has a block")
    }

    fn add_label(&mut self, token: &str) -> Result<()> {
        let label = &token[1..];
        if label.is_empty() {
            return Err(self.error("a label without a name", "Write `_name`."));
        }
        if self.block().has(label) {
            return Err(
                self.error(format!("label _{label} appears twice in this block"), "Remove or rename one of the two.")
            );
        }
        self.block().columns.push(Values::new(label));
        Ok(())
    }

    fn take_label(&mut self, line: &str) -> Result<()> {
        let (token, rest) = split_token(line);
        if !(rest.is_empty() || rest.starts_with('#')) {
            return Err(self.error(
                format!("text after label {token}: `{}`", shortened(rest)),
                "Write one `_label #n` a line; quote the first value of a row when it begins with `_`.",
            ));
        }
        self.add_label(token)
    }

    fn take_list_value(&mut self, start: usize, end: usize) -> Result<()> {
        self.state = State::List;
        let line = &self.source.text[start..end];
        let (token, rest) = split_token(line);
        self.add_label(token)?;
        let label = &token[1..];
        let mut at = end - rest.len();
        let Some(cell) = self.next_value(&mut at, end)? else {
            return Err(self.error(format!("label _{label} has no value"), "Write a value, `\"\"` for an empty one."));
        };
        if self.next_value(&mut at, end)?.is_some() {
            return Err(self.error(
                format!("label _{label} has more than one value: `{}`", shortened(rest)),
                "Quote a value that holds spaces.",
            ));
        }
        self.block().columns.last_mut().expect("just added").cells.push(cell);
        Ok(())
    }

    fn take_row(&mut self, start: usize, end: usize) -> Result<()> {
        let mut at = start;
        let mut count = 0;
        while let Some(cell) = self.next_value(&mut at, end)? {
            match self.block().columns.get_mut(count) {
                Some(values) => values.cells.push(cell),
                None => return Err(self.too_many(cell)),
            }
            count += 1;
        }
        let labels = self.block().columns.len();
        if count == 0 || count == labels {
            return Ok(());
        }
        if labels == 2 {
            // Job files of RELION 3 leave out the empty second value.
            self.block().columns[1].cells.push(Cell::in_source(at, 0));
            return Ok(());
        }
        let missing = self.block().columns[count].label.clone();
        Err(Error::bad_data(
            format!("{}, line {}, column {missing}", self.source.name, self.line),
            format!("the row ends after {count} values, the table has {labels} labels"),
            "Add the missing values; write `\"\"` for an empty one.",
        ))
    }

    fn too_many(&mut self, cell: Cell) -> Error {
        let labels = self.block().columns.len();
        let value = &self.source.text[cell.range()];
        Error::bad_data(
            format!("{}, line {}, column {}", self.source.name, self.line, labels + 1),
            format!("`{}` is one value more than the table has labels ({labels})", shortened(value)),
            "Remove the value, add a label, or quote values that hold spaces.",
        )
    }

    /// The next value of a line at or after `at`; `None` at its end or at a comment.
    #[inline]
    fn next_value(&self, at: &mut usize, end: usize) -> Result<Option<Cell>> {
        let bytes = &self.source.text.as_bytes()[..end];
        while *at < end && is_space(bytes[*at]) {
            *at += 1;
        }
        if *at == end || bytes[*at] == b'#' {
            return Ok(None);
        }
        let quote = bytes[*at];
        let (from, to) = if quote == b'"' || quote == b'\'' {
            let from = *at + 1;
            let closes = |&here: &usize| bytes[here] == quote && (here + 1 == end || is_space(bytes[here + 1]));
            let Some(to) = (from..end).find(closes) else {
                return Err(self.error(
                    format!("a value begins with {} and is not closed", quote as char),
                    "End the value with the same quote, followed by a space.",
                ));
            };
            *at = to + 1;
            (from, to)
        } else {
            let from = *at;
            while *at < end && !is_space(bytes[*at]) {
                *at += 1;
            }
            (from, *at)
        };
        if to - from > Cell::LONGEST {
            return Err(self.error("a value is longer than 16 MB", "Check that this is a STAR file."));
        }
        Ok(Some(Cell::in_source(from, to - from)))
    }

    fn error(&self, problem: impl Into<String>, fix: &str) -> Error {
        Error::bad_data(format!("{}, line {}", self.source.name, self.line), problem, fix)
    }
}

/// First token of a line that begins with one, and what follows the spaces after it.
fn split_token(line: &str) -> (&str, &str) {
    let length = line.bytes().position(is_space).unwrap_or(line.len());
    let rest = line[length..].trim_start_matches(|c: char| c.is_ascii() && is_space(c as u8));
    (&line[..length], rest)
}

/// A value short enough for a message.
fn shortened(text: &str) -> String {
    const LONGEST: usize = 60;
    if text.chars().count() <= LONGEST {
        text.to_owned()
    } else {
        text.chars().take(LONGEST).chain("...".chars()).collect()
    }
}
