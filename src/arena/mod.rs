//! Scratch memory with four lifetimes (Run > Iteration > Batch > Tile), last in first out, that cannot fragment.
