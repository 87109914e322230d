//! The system's package manager, and the right to use it.

use anyhow::{Result, bail};

use crate::process::{command, display, find_program, output_of, run, succeeds};

/// One of the package managers of Linux distributions.
pub struct Manager {
    pub program: &'static str,
    /// Refreshes the lists; a fresh machine has none.
    refresh: Option<&'static [&'static str]>,
    install: &'static [&'static str],
    /// A Vulkan loader, and a driver that also runs on a CPU.
    pub vulkan: &'static [&'static str],
    /// Khronos' validation layer.
    pub validation: &'static [&'static str],
}

const MANAGERS: &[Manager] = &[
    Manager {
        program: "apt-get",
        refresh: Some(&["update"]),
        install: &["install", "-y", "--no-install-recommends"],
        vulkan: &["libvulkan1", "mesa-vulkan-drivers"],
        validation: &["vulkan-validationlayers"],
    },
    Manager {
        program: "dnf",
        refresh: None,
        install: &["install", "-y"],
        vulkan: &["vulkan-loader", "mesa-vulkan-drivers"],
        validation: &["vulkan-validation-layers"],
    },
    Manager {
        program: "pacman",
        refresh: None,
        install: &["-S", "--needed", "--noconfirm"],
        vulkan: &["vulkan-icd-loader", "vulkan-swrast"],
        validation: &["vulkan-validation-layers"],
    },
    Manager {
        program: "zypper",
        refresh: None,
        install: &["--non-interactive", "install"],
        vulkan: &["libvulkan1", "libvulkan_lvp"],
        validation: &["vulkan-validationlayers"],
    },
    Manager {
        program: "apk",
        refresh: Some(&["update"]),
        install: &["add"],
        vulkan: &["vulkan-loader", "mesa-vulkan-swrast"],
        validation: &["vulkan-validation-layers"],
    },
];

/// The package manager of this machine.
pub fn manager() -> Option<&'static Manager> {
    MANAGERS.iter().find(|manager| find_program(&[manager.program]).is_some())
}

impl Manager {
    /// Installs packages, as root or through a `sudo` that asks for nothing.
    ///
    /// # Errors
    /// With the command to type where neither may be, or with the command that failed.
    pub fn install(&self, packages: &[&str]) -> Result<()> {
        let sudo = self.sudo(packages)?;
        if let Some(refresh) = self.refresh {
            // Old lists often still do: whether they did is seen below.
            if let Err(error) = run(&mut self.command(sudo, refresh)) {
                println!("setup: {error:#}; going on with the package lists that are here");
            }
        }
        let mut install = self.command(sudo, self.install);
        run(install.args(packages))
    }

    /// Whether `sudo` is needed.
    fn sudo(&self, packages: &[&str]) -> Result<bool> {
        if output_of(command("id").arg("-u")).as_deref() == Some("0") {
            return Ok(false);
        }
        if succeeds(command("sudo").args(["-n", "true"])) {
            return Ok(true);
        }
        bail!("installing {} needs root; run this, then try again:\n  {}", packages.join(" "), self.to_type(packages))
    }

    /// What a person types to install the packages.
    pub fn to_type(&self, packages: &[&str]) -> String {
        let line = |arguments: &[&str]| display(command("sudo").arg(self.program).args(arguments));
        let install = line(&[self.install, packages].concat());
        self.refresh.map_or(install.clone(), |refresh| format!("{} && {install}", line(refresh)))
    }

    fn command(&self, sudo: bool, arguments: &[&str]) -> std::process::Command {
        let mut call = if sudo { command("sudo") } else { command(self.program) };
        if sudo {
            call.args(["-n", "env", "DEBIAN_FRONTEND=noninteractive", self.program]);
        } else {
            call.env("DEBIAN_FRONTEND", "noninteractive");
        }
        call.args(arguments).stdin(std::process::Stdio::null());
        call
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_to_type_is_whole() {
        let apt = &MANAGERS[0];
        assert_eq!(
            apt.to_type(&["one", "two"]),
            "sudo apt-get update && sudo apt-get install -y --no-install-recommends one two"
        );
        assert_eq!(MANAGERS[1].to_type(&["one"]), "sudo dnf install -y one");
    }

    #[test]
    fn every_manager_knows_a_loader_and_a_driver() {
        for manager in MANAGERS {
            assert_eq!(manager.vulkan.len(), 2, "{}", manager.program);
        }
    }
}
