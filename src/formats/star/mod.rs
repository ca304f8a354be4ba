//! STAR files in every dialect RELION wrote.

/// A STAR file: its blocks in file order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StarFile {}
