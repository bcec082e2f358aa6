//! MLServer, the Python server that others run, with a model that does no work (`tests/peers/mlserver`): what benchmarks measure beside.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::{fs, io};

use crate::paths;
use crate::scene::Scene;

/// What starts it, and the address where it will serve HTTP. Its settings are MLServer's own, without `MLSERVER_`.
///
/// # Panics
/// Where it is not installed.
#[must_use]
pub fn command(scene: &Scene, settings: &[(&str, &str)]) -> (Command, String) {
    let folder = scene.folder.join("mlserver");
    copy(&paths::root().join("tests/peers/mlserver"), &folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let program = paths::root().join(".deps/mlserver/bin/mlserver");
    assert!(
        program.is_file(),
        "{} is missing: `cargo xtask setup --only mlserver` makes it",
        program.display()
    );
    let mut command = Command::new(program);
    command.arg("start").arg(&folder).current_dir(&folder).envs(std::env::vars_os());
    let [http, grpc, metrics] = free_ports();
    let own = [
        ("HOST", "127.0.0.1"),
        ("HTTP_PORT", &http),
        ("GRPC_PORT", &grpc),
        ("METRICS_PORT", &metrics),
        ("DEBUG", "false"),
        // All in the one process whose time is taken.
        ("PARALLEL_WORKERS", "0"),
    ];
    for (key, value) in own.iter().chain(settings) {
        command.env(format!("MLSERVER_{key}"), value);
    }
    (command, format!("127.0.0.1:{http}"))
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        if path.is_file() {
            fs::copy(&path, to.join(path.file_name().unwrap_or_default()))?;
        }
    }
    Ok(())
}

fn free_ports() -> [String; 3] {
    let held =
        [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap_or_else(|e| panic!("no free port: {e}")));
    held.map(|port| port.local_addr().map(|address| address.port().to_string()).unwrap_or_default())
}
