//! Mask, FSC with randomised phases, sharpening.
