//! scratch
pub mod body;
pub mod config;
pub mod fields;
pub mod identify;
pub mod metadata;
pub mod metrics;
pub mod prepare;
pub mod publish;
pub mod registry;
pub mod split;
pub mod validate;
