//! MRC maps and MRCS stacks.
