//! Typed access to one column, with errors that name file, line, column and value.

use crate::error::Error;
use crate::error::Result;
use crate::formats::star::block::Block;
use crate::formats::star::block::Layout;
use crate::formats::star::block::Values;

/// The values of one label, as text until asked.
#[derive(Clone, Copy)]
pub struct Column<'a> {
    pub(super) block: &'a Block,
    pub(super) values: &'a Values,
}

impl<'a> Column<'a> {
    pub fn label(&self) -> &'a str {
        &self.values.label
    }

    pub fn len(&self) -> usize {
        self.values.cells.len()
    }

    pub fn is_empty(&self) -> bool {
        self.values.cells.is_empty()
    }

    /// The text of a value, without quotes.
    ///
    /// # Panics
    /// When the row does not exist (rows are counted by [`Block::rows`]).
    pub fn str(&self, row: usize) -> &'a str {
        self.values.get(&self.block.source, row)
    }

    pub fn strs(&self) -> impl Iterator<Item = &'a str> {
        (0..self.len()).map(|row| self.str(row))
    }

    /// A real number; `nan` and `inf` are numbers here.
    pub fn f64(&self, row: usize) -> Result<f64> {
        let text = self.str(row);
        text.parse().map_err(|_| self.error(row, format!("`{text}` is not a number"), "Write a decimal number."))
    }

    /// A real number that is neither `nan` nor `inf`; `fix` says what to do about one that is.
    pub fn finite(&self, row: usize, fix: &str) -> Result<f64> {
        let value = self.f64(row)?;
        if value.is_finite() {
            return Ok(value);
        }
        Err(self.error(row, format!("`{}` is not a finite number", self.str(row)), fix))
    }

    /// A whole number; `3.000000` is one, `3.5` is not.
    pub fn i64(&self, row: usize) -> Result<i64> {
        // Reals up to 2^53 hold every whole number exactly.
        const LARGEST_EXACT: f64 = 9_007_199_254_740_992.0;
        let text = self.str(row);
        if let Ok(value) = text.parse() {
            return Ok(value);
        }
        match text.parse::<f64>() {
            Ok(value) if value.fract() == 0.0 && value.abs() <= LARGEST_EXACT => Ok(value as i64),
            _ => Err(self.error(row, format!("`{text}` is not a whole number"), "Write a whole number.")),
        }
    }

    pub fn f64s(&self) -> Result<Vec<f64>> {
        (0..self.len()).map(|row| self.f64(row)).collect()
    }

    pub fn i64s(&self) -> Result<Vec<i64>> {
        (0..self.len()).map(|row| self.i64(row)).collect()
    }

    /// Line of the file a value was read from, 1-based; `None` for a value that was set.
    pub fn line(&self, row: usize) -> Option<usize> {
        let cell = self.values.cells[row];
        (!cell.is_own()).then(|| {
            1 + self.block.source.text.as_bytes()[..cell.offset()].iter().filter(|&&byte| byte == b'\n').count()
        })
    }

    /// `particles.star, line 31, column rlnDefocusU`.
    pub fn place(&self, row: usize) -> String {
        let at = match (self.line(row), self.block.layout) {
            (Some(line), _) => format!("{}, line {line}", self.block.source.name),
            (None, Layout::Table) => format!("{}, row {}", self.block.place(), row + 1),
            (None, Layout::List) => self.block.place(),
        };
        format!("{at}, column {}", self.values.label)
    }

    /// An error about one value.
    pub fn error(&self, row: usize, problem: impl Into<String>, fix: impl Into<String>) -> Error {
        Error::bad_data(self.place(row), problem, fix)
    }
}
