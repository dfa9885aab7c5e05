//! The query API as its clients see it.

mod agents;
mod contract;
mod conversations;
mod dashboard;
mod errors;
mod events;
mod fixture;
mod live;
mod numbers;
mod pipeline;
mod spans;
