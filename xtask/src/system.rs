//! Programs and headers that come from the system. On Debian and Ubuntu, as root, what is missing is installed; elsewhere
//! it is named in one line.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};

use crate::{
    process::{run, succeeds, which},
    progress::step,
};

/// What a set-up is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, clap::ValueEnum)]
pub(crate) enum Purpose {
    /// Building and running.
    Demo,
    /// Training and measuring the clothes model.
    Data,
    /// The whole test suite too.
    Test,
    /// And what takes longer.
    More,
}

struct Need {
    what: &'static str,
    purpose: Purpose,
    /// Debian's packages of which one brings it; the first that this release has is taken.
    debian: &'static [&'static str],
    present: fn() -> bool,
}

const NEEDS: &[Need] = &[
    Need { what: "a C compiler (cc)", purpose: Purpose::Demo, debian: &["gcc"], present: || program("cc") },
    Need {
        what: "a C++ compiler (c++)",
        purpose: Purpose::Demo,
        debian: &["g++"],
        present: || program("c++"),
    },
    Need {
        what: "the C library's headers",
        purpose: Purpose::Demo,
        debian: &["libc6-dev"],
        present: || preprocesses("stdio.h"),
    },
    Need { what: "make", purpose: Purpose::Demo, debian: &["make"], present: || program("make") },
    Need {
        what: "pkg-config",
        purpose: Purpose::Demo,
        debian: &["pkg-config"],
        present: || program("pkg-config"),
    },
    // Without it the JPEG decoder is built from C alone, and is slower.
    Need {
        what: "an assembler (nasm)",
        purpose: Purpose::Demo,
        debian: &["nasm"],
        present: || program("nasm"),
    },
    Need {
        what: "OpenSSL's headers",
        purpose: Purpose::Demo,
        debian: &["libssl-dev"],
        present: || succeeds(Command::new("pkg-config").args(["--exists", "openssl"])),
    },
    Need { what: "python3", purpose: Purpose::Demo, debian: &["python3"], present: || program("python3") },
    Need {
        what: "pip for python3",
        purpose: Purpose::Demo,
        debian: &["python3-pip"],
        present: || succeeds(Command::new("python3").args(["-m", "pip", "--version"])),
    },
    Need {
        what: "venv for python3",
        purpose: Purpose::Test,
        debian: &["python3-venv"],
        present: || succeeds(Command::new("python3").args(["-c", "import venv, ensurepip"])),
    },
    Need {
        what: "Java with its compiler (javac), version 17 or later",
        purpose: Purpose::Test,
        debian: &["openjdk-17-jdk-headless", "openjdk-21-jdk-headless", "openjdk-25-jdk-headless"],
        present: || java_is_recent() && program("javac"),
    },
    Need {
        what: "openssl, which makes certificates for tests",
        purpose: Purpose::Test,
        debian: &["openssl"],
        present: || program("openssl"),
    },
    Need { what: "Maven (mvn)", purpose: Purpose::Test, debian: &["maven"], present: || program("mvn") },
    Need { what: "kcat", purpose: Purpose::Test, debian: &["kcat", "kafkacat"], present: || program("kcat") },
    Need { what: "curl", purpose: Purpose::Test, debian: &["curl"], present: || program("curl") },
    Need {
        what: "Node.js (node), version 18 or later",
        purpose: Purpose::Test,
        debian: &["nodejs"],
        present: || program("node"),
    },
    Need {
        what: "npm, which fetches Azurite and what drives a browser",
        purpose: Purpose::More,
        debian: &["npm"],
        present: || program("npm") && program("node"),
    },
    Need {
        what: "wrk, which sends requests by HTTP as fast as they are answered",
        purpose: Purpose::More,
        debian: &["wrk"],
        present: || program("wrk"),
    },
    Need {
        what: "Chromium (chromium)",
        purpose: Purpose::More,
        debian: &["chromium"],
        present: || program("chromium"),
    },
    Need {
        what: "the Fashion-MNIST images in /usr/share/datasets/fashion-mnist",
        purpose: Purpose::Data,
        debian: &["dataset-fashion-mnist"],
        present: || Path::new("/usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz").is_file(),
    },
];

/// Returns when everything is there.
pub(crate) fn ensure(purpose: Purpose) -> Result<()> {
    let missing = missing(purpose);
    if missing.is_empty() {
        return Ok(());
    }
    if !is_debian() || !nix::unistd::geteuid().is_root() {
        bail!(advice(&missing));
    }
    step("system packages", || install(&missing))?;
    let still = self::missing(purpose);
    if !still.is_empty() {
        bail!(advice(&still));
    }
    Ok(())
}

fn missing(purpose: Purpose) -> Vec<&'static Need> {
    NEEDS.iter().filter(|need| need.purpose <= purpose && !(need.present)()).collect()
}

/// One line, since it may be all that a stranger reads.
fn advice(missing: &[&Need]) -> String {
    let what: Vec<_> = missing.iter().map(|need| need.what).collect();
    let packages: Vec<_> = missing.iter().map(|need| need.debian[0]).collect();
    format!(
        "missing: {}; install them and try again (on Debian and Ubuntu: sudo apt-get install {})",
        what.join(", "),
        packages.join(" ")
    )
}

fn install(missing: &[&Need]) -> Result<()> {
    let apt = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").args(["-q", "-y", "-o", "Dpkg::Use-Pty=0"]);
        command
    };
    run(apt().args(["-q", "update"]))?;
    let known = |package: &&&str| succeeds(Command::new("apt-cache").args(["show", package]));
    let packages = missing.iter().map(|need| need.debian.iter().find(known).unwrap_or(&need.debian[0]));
    run(apt().args(["install", "--no-install-recommends"]).args(packages))
}

fn is_debian() -> bool {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    release_is_debian(&release) && program("apt-get")
}

fn release_is_debian(release: &str) -> bool {
    release
        .lines()
        .filter_map(|line| line.split_once('='))
        .filter(|(key, _)| matches!(*key, "ID" | "ID_LIKE"))
        .any(|(_, value)| {
            value.trim_matches('"').split_whitespace().any(|id| matches!(id, "debian" | "ubuntu"))
        })
}

fn program(name: &str) -> bool {
    which(name).is_some()
}

fn preprocesses(header: &str) -> bool {
    let text = format!("#include <{header}>\n");
    let Ok(folder) = tempfile::tempdir() else { return false };
    let source: PathBuf = folder.path().join("a.c");
    std::fs::write(&source, text).is_ok() && succeeds(Command::new("cc").arg("-E").arg(source))
}

fn java_is_recent() -> bool {
    Command::new("java")
        .arg("-version")
        .output()
        .is_ok_and(|output| java_major(&String::from_utf8_lossy(&output.stderr)) >= Some(17))
}

/// The 17 of `openjdk version "17.0.9" 2023-10-17`.
fn java_major(banner: &str) -> Option<u32> {
    let version = banner.split('"').nth(1)?;
    version.split(['.', '-', '+']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advice_is_one_line_that_names_all() {
        let all: Vec<_> = NEEDS.iter().collect();
        let text = advice(&all);
        assert!(!text.contains('\n'));
        for need in NEEDS {
            assert!(text.contains(need.what) && text.contains(need.debian[0]), "{} is not named", need.what);
        }
    }

    #[test]
    fn the_demo_needs_no_java() {
        let demo: Vec<_> = NEEDS.iter().filter(|need| need.purpose <= Purpose::Demo).collect();
        assert!(demo.iter().all(|need| !need.debian[0].contains("openjdk") && need.debian[0] != "maven"));
        assert!(demo.len() < NEEDS.len());
    }

    #[test]
    fn java_versions_are_read() {
        assert_eq!(java_major("openjdk version \"17.0.9\" 2023-10-17\n"), Some(17));
        assert_eq!(java_major("openjdk version \"21\" 2023-09-19\n"), Some(21));
        assert_eq!(java_major("java version \"1.8.0_392\"\n"), Some(1));
        assert_eq!(java_major("no java"), None);
    }

    #[test]
    fn releases_of_the_family_are_known() {
        assert!(release_is_debian("ID=debian\n"));
        assert!(release_is_debian("NAME=\"Linux Mint\"\nID=linuxmint\nID_LIKE=\"ubuntu debian\"\n"));
        assert!(!release_is_debian("ID=fedora\nPRETTY_NAME=\"not debian\"\n"));
    }
}
