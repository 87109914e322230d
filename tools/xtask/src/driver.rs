//! The tests that meet the GPU, on a second Vulkan driver: SwiftShader, which Chromium brings. It has other limits than Mesa's
//! drivers in software, and computes otherwise. Khronos' validation layer looks on, and has to say nothing.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::checks::run_tests;
use crate::process::{cargo, root, without_desktop};
use crate::setup;

/// What a driver gets to see: each kernel, a model's logits, and tiles that travel.
const SUITES: [&str; 3] = ["kernels::", "parity::", "streaming::"];
/// The driver's manifest, beside the browser's libraries.
const MANIFEST: &str = "vk_swiftshader_icd.json";
/// Where distributions and Google put them.
const BROWSERS: [&str; 4] =
    ["/usr/lib/chromium", "/usr/lib64/chromium-browser", "/usr/lib/chromium-browser", "/opt/google/chrome"];
const LAYER: &str = "VK_LAYER_KHRONOS_validation";
/// Characters of the layer's messages that are shown.
const SHOWN: usize = 2000;

/// Runs the suites.
///
/// # Errors
/// Where a test fails, or the layer says something.
pub fn check() -> Result<String> {
    if !cfg!(target_os = "linux") {
        return Ok("only on Linux".into());
    }
    let Some(manifest) = manifest(&setup::node::browser()?) else {
        return Ok(format!("not run: no {MANIFEST} beside the browser"));
    };
    setup::vulkan::set_up_validation()?;
    let folder = root().join("target/validation");
    let messages = folder.join("messages.txt");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let _ = fs::remove_file(&messages);
    let settings = format!(
        "khronos_validation.debug_action = VK_DBG_LAYER_ACTION_LOG_MSG\n\
         khronos_validation.report_flags = error,warn\n\
         khronos_validation.log_filename = {}\n",
        messages.display()
    );
    fs::write(folder.join("vk_layer_settings.txt"), settings).context("cannot write the layer's settings")?;
    let mut tests = cargo();
    tests.args(["test", "--workspace", "--locked", "--no-fail-fast", "--test", "engine", "--"]).args(SUITES);
    tests.env("VK_DRIVER_FILES", &manifest).env("VK_INSTANCE_LAYERS", LAYER).env("VK_LAYER_SETTINGS_PATH", &folder);
    // Layers of 2023 do not know the name of WGSL, which debug information holds.
    tests.env("WGPU_DEBUG", "0");
    let counts = run_tests(without_desktop(&mut tests))?;
    // Without a message some layers make no file.
    let said = fs::read_to_string(&messages).unwrap_or_default();
    if !said.trim().is_empty() {
        let shown: String = said.chars().take(SHOWN).collect();
        bail!("{LAYER} says something, in {}:\n{shown}", messages.display());
    }
    Ok(format!("{counts}; the validation layer is silent"))
}

fn manifest(browser: &Path) -> Option<PathBuf> {
    let own = fs::canonicalize(browser).ok().and_then(|path| path.parent().map(Path::to_owned));
    let folders = own.into_iter().chain(BROWSERS.map(PathBuf::from));
    folders.map(|folder| folder.join(MANIFEST)).find(|path| path.is_file())
}
