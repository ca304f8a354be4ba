//! Values of RELION's lists and tables: finite numbers, with defaults where older versions lack a label.

use crate::error::Error;
use crate::error::Result;
use crate::formats::star::Block;
use crate::formats::star::Column;

/// RELION's word for a file that is not used.
const NONE: &str = "None";
/// What to do about a number that is none.
const WENT_WRONG: &str = "Import an earlier iteration: the job went wrong in this one.";

/// A block whose values are checked when they are asked for.
#[derive(Clone, Copy)]
pub struct Rows<'a>(pub &'a Block);

impl<'a> Rows<'a> {
    /// A number that must be there.
    pub fn real(&self, label: &str) -> Result<f64> {
        self.column(label)?.finite(0, WENT_WRONG)
    }

    pub fn real_or(&self, label: &str, default: f64) -> Result<f64> {
        self.0.column(label).map_or(Ok(default), |column| column.finite(0, WENT_WRONG))
    }

    /// A whole number that must be there, 0 or more.
    pub fn count(&self, label: &str) -> Result<usize> {
        let column = self.column(label)?;
        usize::try_from(column.i64(0)?).map_err(|_| {
            column.error(0, format!("{} is less than 0", column.str(0)), "Restore the file from RELION's job.")
        })
    }

    pub fn whole_or(&self, label: &str, default: i64) -> Result<i64> {
        self.0.column(label).map_or(Ok(default), |column| column.i64(0))
    }

    /// 1 or 0; false without the label.
    pub fn flag(&self, label: &str) -> Result<bool> {
        Ok(self.whole_or(label, 0)? != 0)
    }

    /// A file name, or `None` where RELION says so.
    pub fn file(&self, label: &str) -> Option<&'a str> {
        let name = self.0.column(label)?.str(0);
        Some(name).filter(|name| !name.is_empty() && *name != NONE)
    }

    /// A column with at least one row.
    pub fn column(&self, label: &str) -> Result<Column<'a>> {
        let column = self.0.require(label)?;
        if column.is_empty() {
            return Err(Error::bad_data(
                self.0.place(),
                format!("{label} has no value"),
                "Restore the file from RELION's job.",
            ));
        }
        Ok(column)
    }

    /// All numbers of a column.
    pub fn reals(&self, label: &str) -> Result<Vec<f64>> {
        let column = self.0.require(label)?;
        (0..column.len()).map(|row| column.finite(row, WENT_WRONG)).collect()
    }

    /// As [`Self::reals`]; `default` in each row without the label.
    pub fn reals_or(&self, label: &str, default: f64) -> Result<Vec<f64>> {
        if self.0.has(label) { self.reals(label) } else { Ok(vec![default; self.0.rows()]) }
    }
}
