//! The coherent link of cachee.
