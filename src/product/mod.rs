//! All matrix products of the E-step: fixed shapes, same bits at every position.
