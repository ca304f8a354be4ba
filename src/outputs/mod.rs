//! Maps and STAR files with RELION's names and schema.
