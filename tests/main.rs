//! The tests of the whole engine, as one program: they share a device and both cores. `huge` and `reads` are programs of
//! their own, because they look at what belongs to a process: its memory, its environment.

mod checkpoints;
mod common;
mod converted;
mod devices;
mod embeddings;
mod experts;
mod families;
mod fuzz_corpus;
mod gemma3;
mod gemma4;
mod gguf;
mod grammars;
mod http;
mod kernels;
mod models_page;
mod parity;
mod plans;
mod prefixes;
mod quantized;
mod ram;
mod recovery;
mod recurrent;
mod rounded;
mod scheduler;
mod shaders;
mod smollm2;
mod streaming;
mod tokenizers;
mod trace;
