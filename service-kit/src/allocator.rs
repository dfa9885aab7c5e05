//! The allocator of every service: a request or an event is some dozens of small allocations that are given back at once,
//! often by another thread, and glibc spends a fifth of a gateway's time on them.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
