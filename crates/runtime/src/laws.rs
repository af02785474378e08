//! The laws that every set of reconcilers must keep.
