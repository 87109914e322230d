//! The tests of the command, as one program. `memory` and `signals` are programs of their own, because a test beside them
//! would take the time and the memory that they look at.

mod bad_input;
mod bench;
mod chat;
mod cli;
mod context;
mod courtesies;
mod damaged;
mod host;
mod hub;
#[path = "../../../tests/http/hub_server.rs"]
mod hub_server;
mod ignoring;
mod prompts;
mod remedies;
mod remote;
mod serve;
#[path = "../../../tests/http/server.rs"]
#[allow(dead_code, reason = "the store's own tests use the rest")]
mod server;
mod shell;
