//! Numbers of a column that the method will calculate with: finite, and within bounds.

use crate::error::Result;
use crate::formats::star::Block;
use crate::formats::star::Column;

/// A column of real numbers, or its default where the file has none.
pub(super) struct Reals<'a> {
    column: Option<Column<'a>>,
    default: f64,
}

impl<'a> Reals<'a> {
    pub fn optional(block: &'a Block, label: &str, default: f64) -> Self {
        Self { column: block.column(label), default }
    }

    pub fn required(block: &'a Block, label: &str) -> Result<Self> {
        Ok(Self { column: Some(block.require(label)?), default: 0.0 })
    }

    pub fn is_present(&self) -> bool {
        self.column.is_some()
    }

    /// The finite number of a row.
    pub fn at(&self, row: usize) -> Result<f64> {
        let Some(column) = &self.column else { return Ok(self.default) };
        column.finite(row, "Correct the value or remove the row.")
    }

    /// The number of a row, refused with `wanted` ("a positive voltage in kV") unless `is_good`.
    pub fn checked(&self, row: usize, wanted: &str, is_good: impl Fn(f64) -> bool) -> Result<f64> {
        let value = self.at(row)?;
        match &self.column {
            Some(column) if !is_good(value) => {
                Err(column.error(row, format!("`{}` is not {wanted}", column.str(row)), "Correct the value."))
            }
            _ => Ok(value),
        }
    }
}

/// Whole numbers of an optional column between `least` and `most`; `default` in every row where there is none.
pub(super) fn whole_numbers(block: &Block, label: &str, default: i64, least: i64, most: i64) -> Result<Vec<i64>> {
    let Some(column) = block.column(label) else { return Ok(vec![default; block.rows()]) };
    (0..column.len())
        .map(|row| {
            let value = column.i64(row)?;
            if (least..=most).contains(&value) {
                return Ok(value);
            }
            Err(column.error(row, format!("`{value}` is not between {least} and {most}"), "Correct the value."))
        })
        .collect()
}
