//! Lets a page run the table of kernels, one case at a time.

#[path = "../../kernel_table/mod.rs"]
mod kernel_table;

use std::cell::RefCell;

use kernel_table::CASES;
use tilestream::internals::gpu::Device;
use wasm_bindgen::prelude::*;

/// The device of all cases.
async fn device() -> Device {
    thread_local! {
        static DEVICE: RefCell<Option<Device>> = const { RefCell::new(None) };
    }
    if let Some(device) = DEVICE.with_borrow(Clone::clone) {
        return device;
    }
    let opened = Device::open(None, None).await.expect("an adapter");
    DEVICE.set(Some(opened.clone()));
    opened
}

/// Makes a panic an error of the page, with its message. To be called once.
#[wasm_bindgen]
pub fn prepare() {
    std::panic::set_hook(Box::new(|info| wasm_bindgen::throw_str(&info.to_string())));
}

/// Whether devices come with subgroups, without which half of the cases' variants are not run.
#[wasm_bindgen]
pub async fn subgroups() -> bool {
    device().await.features().contains(wgpu::Features::SUBGROUP)
}

/// The names of the cases.
#[wasm_bindgen]
pub fn names() -> Vec<String> {
    CASES.iter().map(|(name, _)| (*name).to_owned()).collect()
}

/// Runs a case. A failure is an error of the page; the promise then stays open.
#[wasm_bindgen]
pub async fn run(name: String) {
    let case = CASES.iter().find(|(known, _)| *known == name);
    let (_, run) = case.unwrap_or_else(|| wasm_bindgen::throw_str("there is no such case"));
    run().await;
}
