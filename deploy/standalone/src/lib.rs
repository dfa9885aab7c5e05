//! Agent Tally on one machine: all services in one process, the local log and an embedded DynamoDB engine, and
//! the commands around them. It must not know how events are validated, counted or shown.

pub mod archive;
pub mod control;
pub mod data_dir;
pub mod dead_letters;
pub mod delete;
pub mod demo;
pub mod duration;
pub mod engine;
pub mod export;
mod first_page;
pub mod import;
pub mod import_tables;
pub mod keys;
pub mod rebuild;
pub mod serve;
pub mod server;
mod silence;
pub mod verify;
