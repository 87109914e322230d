//! What the engine needs of its host: clock, tasks, `Send`. Only this folder, the stores, the GPU upload and the web
//! facade know which host they run on.

mod window;
pub use window::Window;

#[cfg(not(target_arch = "wasm32"))]
mod native;
#[cfg(not(target_arch = "wasm32"))]
mod remembered;
#[cfg(not(target_arch = "wasm32"))]
pub use native::*;
#[cfg(not(target_arch = "wasm32"))]
pub use remembered::{REMEMBERS, recall, recall_bytes, remember, remember_bytes, user_cache_dir};

#[cfg(target_arch = "wasm32")]
mod web;
#[cfg(target_arch = "wasm32")]
pub use web::*;
