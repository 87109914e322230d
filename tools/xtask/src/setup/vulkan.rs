//! Finds a Vulkan driver the way the loader does, and installs Mesa's where there is none.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use serde_json::Value;

use super::{packages, say};
use crate::process::{command, output_of};

/// Where explicit layers are described.
const LAYERS: &str = "/usr/share/vulkan/explicit_layer.d";

/// Makes sure of a Vulkan loader and a driver that this machine can use.
///
/// # Errors
/// Where none is found and none can be installed, with what to type.
pub fn set_up() -> Result<()> {
    if !cfg!(target_os = "linux") {
        say("graphics: this system brings its own interface (Metal or DX12)");
        return Ok(());
    }
    let missing = match look() {
        Ok(found) => {
            say(&found);
            return Ok(());
        }
        Err(missing) => missing,
    };
    let Some(manager) = packages::manager() else {
        bail!("{missing}, and no known package manager is here: install a Vulkan loader and Mesa's Vulkan drivers");
    };
    say(&format!("{missing}: installing {} with {}", manager.vulkan.join(" "), manager.program));
    manager.install(manager.vulkan)?;
    match look() {
        Ok(found) => say(&found),
        Err(missing) => bail!(
            "{missing}, although {} are installed; where VK_DRIVER_FILES is set, it must name a driver that is there",
            manager.vulkan.join(" ")
        ),
    }
    Ok(())
}

/// Makes sure of Khronos' validation layer.
///
/// # Errors
/// Where it is not there and cannot be installed.
pub fn set_up_validation() -> Result<()> {
    let manifest = Path::new(LAYERS).join("VkLayer_khronos_validation.json");
    if manifest.is_file() {
        return Ok(());
    }
    let Some(manager) = packages::manager() else {
        bail!("no Vulkan validation layer: install Khronos' into {LAYERS}")
    };
    say(&format!("validation: installing {} with {}", manager.validation.join(" "), manager.program));
    manager.install(manager.validation)?;
    if manifest.is_file() { Ok(()) } else { bail!("{} is still not there", manifest.display()) }
}

/// What was found, or what is missing, in words.
fn look() -> Result<String, String> {
    let libraries = Libraries::of_system();
    if !libraries.has("libvulkan.so.1") {
        return Err("no Vulkan loader (libvulkan.so.1)".into());
    }
    let devices = ["/dev/dri", "/dev/nvidiactl", "/dev/dxg", "/dev/kfd", "/dev/mali0"];
    let has_gpu = devices.iter().any(|device| Path::new(device).exists());
    let manifests = manifests();
    let driver = manifests.iter().find(|manifest| usable(manifest, &libraries, has_gpu));
    match driver {
        Some(driver) => Ok(format!("Vulkan: found a driver, {}", driver.display())),
        None if manifests.is_empty() => Err("no Vulkan driver".into()),
        None => Err("no Vulkan driver that fits this machine's devices".into()),
    }
}

/// Whether a driver's manifest names a library that is here, and a device for it: a driver for a GPU is of no use
/// where there is none.
fn usable(manifest: &Path, libraries: &Libraries, has_gpu: bool) -> bool {
    let Some(library) = driver_library(manifest) else { return false };
    let software = ["lvp", "lavapipe", "swiftshader"].iter().any(|name| library.contains(name));
    let there = if library.contains('/') {
        let folder = manifest.parent().unwrap_or(Path::new("/"));
        folder.join(&library).exists()
    } else {
        libraries.has(&library)
    };
    there && (software || has_gpu)
}

fn driver_library(manifest: &Path) -> Option<String> {
    let json: Value = serde_json::from_str(&fs::read_to_string(manifest).ok()?).ok()?;
    Some(json["ICD"]["library_path"].as_str()?.to_owned())
}

/// The drivers' manifests, in the loader's order: what the user names, or all that lie in the known folders.
fn manifests() -> Vec<PathBuf> {
    for variable in ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"] {
        if let Some(named) = env::var_os(variable).filter(|value| !value.is_empty()) {
            return env::split_paths(&named)
                .flat_map(|path| if path.is_dir() { json_in(&path) } else { vec![path] })
                .collect();
        }
    }
    let home = |tail: &str| env::var_os("HOME").map(|home| Path::new(&home).join(tail));
    let shared = env::var_os("XDG_DATA_DIRS").unwrap_or_else(|| "/usr/local/share:/usr/share".into());
    let folders = home(".config")
        .into_iter()
        .chain(["/etc/xdg", "/usr/local/etc", "/etc"].map(PathBuf::from))
        .chain(home(".local/share"))
        .chain(env::split_paths(&shared))
        .chain(["/run/opengl-driver/share".into(), "/usr/share".into()]);
    folders.flat_map(|folder| json_in(&folder.join("vulkan/icd.d"))).collect()
}

fn json_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<_> =
        entries.map(|entry| entry.path()).filter(|p| p.extension().is_some_and(|e| e == "json")).collect();
    files.sort();
    files
}

/// Which shared libraries the system's linker finds.
struct Libraries {
    cached: String,
    folders: Vec<PathBuf>,
}

impl Libraries {
    fn of_system() -> Self {
        let listed = ["ldconfig", "/sbin/ldconfig", "/usr/sbin/ldconfig"];
        let cached = listed.iter().find_map(|program| output_of(command(program).arg("-p"))).unwrap_or_default();
        let multiarch = format!("/usr/lib/{}-linux-gnu", env::consts::ARCH);
        let usual = ["/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib", multiarch.as_str(), "/run/opengl-driver/lib"];
        let mut folders: Vec<PathBuf> = usual.iter().map(PathBuf::from).collect();
        folders.extend(env::var_os("LD_LIBRARY_PATH").iter().flat_map(env::split_paths));
        Self { cached, folders }
    }

    fn has(&self, name: &str) -> bool {
        self.cached.lines().any(|line| line.split_whitespace().next() == Some(name))
            || self.folders.iter().any(|folder| folder.join(name).exists())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(name: &str, text: &str) -> PathBuf {
        let folder = crate::process::root().join("target/xtask-tests");
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn a_driver_needs_its_library_and_its_device() {
        let libraries =
            Libraries { cached: "\tlibvulkan_lvp.so (libc6) => x\n\tlibgpu.so (libc6) => y".into(), folders: vec![] };
        let icd = |library: &str| format!(r#"{{"ICD": {{"library_path": "{library}"}}}}"#);
        let cases = [
            ("software.json", icd("libvulkan_lvp.so"), false, true),
            ("gpu.json", icd("libgpu.so"), true, true),
            ("gpu-without-device.json", icd("libgpu.so"), false, false),
            ("gone.json", icd("libgone.so"), true, false),
            ("gone-path.json", icd("/nowhere/libvulkan_lvp.so"), true, false),
            ("broken.json", "{".into(), true, false),
        ];
        for (name, text, has_gpu, expected) in cases {
            assert_eq!(usable(&manifest(name, &text), &libraries, has_gpu), expected, "{name}");
        }
    }
}
