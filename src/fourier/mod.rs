//! Fourier transforms, windows, shells and filters in the conventions of the field.
