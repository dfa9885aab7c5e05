//! The local log's own tests, and the suite on it.
