//! The refinement loops: refine3d and class3d.
