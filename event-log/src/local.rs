//! The log in one local directory.
