//! One block: labels and cells. A list is a table with one row.

use std::sync::Arc;

use crate::error::Error;
use crate::error::Result;
use crate::formats::star::TABLE_VERSION;
use crate::formats::star::column::Column;
use crate::formats::star::write::format_f64;

/// How a block is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `_label value` lines: one row.
    List,
    /// `loop_`, labels, rows.
    Table,
}

/// The text cells point into.
#[derive(Debug)]
pub(super) struct Source {
    /// File name for messages.
    pub name: String,
    pub text: String,
}

/// Place of a value: bit 63 says which text (1 = the column's own), 39 bits of offset, 24 bits of length.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell(u64);

const LENGTH_BITS: u32 = 24;
const OWN: u64 = 1 << 63;

impl Cell {
    pub const LONGEST: usize = (1 << LENGTH_BITS) - 1;
    pub const FARTHEST: usize = (1 << 39) - 1;

    /// Callers keep `offset` and `length` in bounds (the parser refuses, setters assert).
    pub fn in_source(offset: usize, length: usize) -> Self {
        debug_assert!(offset <= Self::FARTHEST && length <= Self::LONGEST);
        Self((offset as u64) << LENGTH_BITS | length as u64)
    }

    fn in_own(offset: usize, length: usize) -> Self {
        assert!(offset <= Self::FARTHEST && length <= Self::LONGEST, "a value or column is too large for a STAR cell");
        Self(OWN | (offset as u64) << LENGTH_BITS | length as u64)
    }

    pub fn is_own(self) -> bool {
        self.0 & OWN != 0
    }

    pub fn offset(self) -> usize {
        ((self.0 & !OWN) >> LENGTH_BITS) as usize
    }

    pub fn range(self) -> std::ops::Range<usize> {
        self.offset()..self.offset() + (self.0 & ((1 << LENGTH_BITS) - 1)) as usize
    }
}

/// The cells of one label, and the text of those that were set by us.
#[derive(Clone, Debug)]
pub(super) struct Values {
    pub label: String,
    pub cells: Vec<Cell>,
    pub own: String,
}

impl Values {
    pub fn new(label: &str) -> Self {
        Self { label: label.to_owned(), cells: Vec::new(), own: String::new() }
    }

    fn push(&mut self, value: &str) {
        self.cells.push(Cell::in_own(self.own.len(), value.len()));
        self.own.push_str(value);
    }

    pub fn get<'a>(&'a self, source: &'a Source, row: usize) -> &'a str {
        let cell = self.cells[row];
        if cell.is_own() { &self.own[cell.range()] } else { &source.text[cell.range()] }
    }
}

/// A list or a table. Labels are without their leading underscore.
#[derive(Clone, Debug)]
pub struct Block {
    /// What follows `data_`; may be empty.
    pub name: String,
    /// The `# version` line above the block; a block without one counts as 30000.
    pub version: Option<u32>,
    /// Other comment lines between the block before and this one, each with its `#` or `;`.
    pub comments: Vec<String>,
    pub layout: Layout,
    pub(super) source: Arc<Source>,
    pub(super) columns: Vec<Values>,
}

impl PartialEq for Block {
    /// Same content, wherever it came from and however it was spaced or quoted.
    fn eq(&self, other: &Self) -> bool {
        let same_head = self.name == other.name
            && self.version == other.version
            && self.comments == other.comments
            && self.layout == other.layout
            && self.rows() == other.rows()
            && self.labels().eq(other.labels());
        same_head
            && self
                .columns
                .iter()
                .zip(&other.columns)
                .all(|(a, b)| (0..self.rows()).all(|row| a.get(&self.source, row) == b.get(&other.source, row)))
    }
}

impl Block {
    fn empty(name: &str, layout: Layout) -> Self {
        let source = Arc::new(Source { name: String::new(), text: String::new() });
        Self {
            name: name.to_owned(),
            version: Some(TABLE_VERSION),
            comments: Vec::new(),
            layout,
            source,
            columns: Vec::new(),
        }
    }

    /// An empty list to be filled with `push_*`.
    pub fn list(name: &str) -> Self {
        Self::empty(name, Layout::List)
    }

    /// An empty table to be filled with `set_*`; the first column decides the number of rows.
    pub fn table(name: &str) -> Self {
        Self::empty(name, Layout::Table)
    }

    /// Number of rows; 1 for a list with values.
    pub fn rows(&self) -> usize {
        self.columns.first().map_or(0, |values| values.cells.len())
    }

    pub fn labels(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|values| values.label.as_str())
    }

    pub fn has(&self, label: &str) -> bool {
        self.labels().any(|present| present == label)
    }

    pub fn column(&self, label: &str) -> Option<Column<'_>> {
        self.columns.iter().find(|values| values.label == label).map(|values| Column { block: self, values })
    }

    /// As [`Self::column`], and an error that names the block and the label.
    pub fn require(&self, label: &str) -> Result<Column<'_>> {
        self.column(label).ok_or_else(|| {
            Error::bad_data(
                self.place(),
                format!("column {label} is missing"),
                format!("Add a column _{label} to the block."),
            )
        })
    }

    /// `particles.star, block data_optics`, for messages about the block as a whole.
    pub fn place(&self) -> String {
        match self.source.name.as_str() {
            "" => format!("block data_{}", self.name),
            name => format!("{name}, block data_{}", self.name),
        }
    }

    /// Replaces or appends a column.
    ///
    /// # Panics
    /// When the block has other columns and another number of rows.
    pub fn set_str<S: AsRef<str>>(&mut self, label: &str, values: &[S]) {
        self.set_with(label, values.len(), |column, row| column.push(values[row].as_ref()));
    }

    /// As [`Self::set_str`], formatted as RELION formats real numbers: six decimals, or exponents.
    pub fn set_f64(&mut self, label: &str, values: &[f64]) {
        let mut text = String::new();
        self.set_with(label, values.len(), |column, row| {
            text.clear();
            format_f64(&mut text, values[row]);
            column.push(&text);
        });
    }

    /// As [`Self::set_str`].
    pub fn set_i64(&mut self, label: &str, values: &[i64]) {
        self.set_with(label, values.len(), |column, row| column.push(&values[row].to_string()));
    }

    fn set_with(&mut self, label: &str, rows: usize, mut push: impl FnMut(&mut Values, usize)) {
        let position = self.columns.iter().position(|values| values.label == label);
        let only = self.columns.is_empty() || (self.columns.len() == 1 && position.is_some());
        assert!(only || rows == self.rows(), "column {label}: {rows} values for {} rows", self.rows());
        let mut column = Values::new(label);
        column.cells.reserve(rows);
        (0..rows).for_each(|row| push(&mut column, row));
        match position {
            Some(at) => self.columns[at] = column,
            None => self.columns.push(column),
        }
    }

    /// Sets one value of a list.
    pub fn push_str(&mut self, label: &str, value: &str) {
        self.set_str(label, &[value]);
    }

    pub fn push_f64(&mut self, label: &str, value: f64) {
        self.set_f64(label, &[value]);
    }

    pub fn push_i64(&mut self, label: &str, value: i64) {
        self.set_i64(label, &[value]);
    }

    /// Written as 1 or 0.
    pub fn push_bool(&mut self, label: &str, value: bool) {
        self.set_i64(label, &[i64::from(value)]);
    }

    /// Drops a column; does nothing when there is none.
    pub fn remove(&mut self, label: &str) {
        self.columns.retain(|values| values.label != label);
    }

    /// Gives a column another label, keeping its place.
    pub fn rename(&mut self, label: &str, new_label: &str) {
        if let Some(values) = self.columns.iter_mut().find(|values| values.label == label) {
            values.label = new_label.to_owned();
        }
    }

    /// The same table with the given rows, in the given order.
    ///
    /// # Panics
    /// When a row does not exist.
    pub fn select(&self, rows: &[u32]) -> Self {
        let mut selected = self.clone();
        for (values, all) in selected.columns.iter_mut().zip(&self.columns) {
            values.cells = rows.iter().map(|&row| all.cells[row as usize]).collect();
        }
        selected
    }
}
