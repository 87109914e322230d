//! What the engine needs of its host: clock, tasks, `Send`. Only this folder, the stores, the GPU upload and the web
//! facade know which host they run on.

mod window;
pub use window::Window;

#[cfg(not(target_arch = "wasm32"))]
mod memory;
#[cfg(not(target_arch = "wasm32"))]
mod native;
#[cfg(not(target_arch = "wasm32"))]
mod pages;
#[cfg(not(target_arch = "wasm32"))]
mod remembered;
#[cfg(not(target_arch = "wasm32"))]
mod usage;
#[cfg(not(target_arch = "wasm32"))]
pub use memory::available_memory_bytes;
#[cfg(not(target_arch = "wasm32"))]
pub use native::*;
#[cfg(not(target_arch = "wasm32"))]
pub use pages::PageMemory;
#[cfg(not(target_arch = "wasm32"))]
pub use remembered::{REMEMBERS, recall, recall_bytes, remember, remember_bytes, user_cache_dir};
#[cfg(not(target_arch = "wasm32"))]
pub use usage::*;

#[cfg(target_arch = "wasm32")]
mod web;
#[cfg(target_arch = "wasm32")]
pub use web::*;
