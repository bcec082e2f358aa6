//! An object store, SeaweedFS, which speaks as Amazon S3 does: one for all tests of this process, with a place in its bucket for each that
//! asks.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::apache::free_ports;
use crate::process::Process;
use crate::{PATIENCE, paths, wait_until};

const BUCKET: &str = "models";
/// Who may do everything.
const KEY: &str = "mlaas-tests";
/// Nothing else is kept safe by it.
pub const SECRET: &str = "no-secret-outside-of-these-tests";

struct Server {
    port: u16,
    _process: Process,
}

/// A place in the store that no other test uses.
pub struct Objects {
    prefix: String,
    port: u16,
}

impl Objects {
    /// Where nothing is.
    ///
    /// # Panics
    /// Where the store does not start.
    #[must_use]
    pub fn new() -> Self {
        static SHARED: OnceLock<Server> = OnceLock::new();
        let port = SHARED.get_or_init(Server::start).port;
        Self { prefix: uuid::Uuid::new_v4().simple().to_string(), port }
    }

    /// Where model versions are there.
    #[must_use]
    pub fn url(&self) -> String {
        format!("s3://{BUCKET}/{}/weights", self.prefix)
    }

    /// Where the store listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Tells a program of ours where the store is and who asks, in Amazon's words, and where to keep copies.
    pub fn tell(&self, command: &mut Command, port: u16, cache: &std::path::Path) {
        command
            .env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{port}"))
            .env("AWS_ACCESS_KEY_ID", KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET)
            .env("MLAAS_CACHE", cache);
    }
}

impl Default for Objects {
    fn default() -> Self {
        Self::new()
    }
}

impl Server {
    fn start() -> Self {
        let weed = paths::root().join(".deps/seaweedfs/weed");
        assert!(
            weed.is_file(),
            "{} is missing: run `make test` or `cargo xtask setup` first",
            weed.display()
        );
        let folder = paths::scratch().join("seaweedfs");
        fs::create_dir_all(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        let config = folder.join("s3.json");
        let identity = serde_json::json!({
            "name": "tests",
            "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        });
        let text = serde_json::json!({ "identities": [identity] }).to_string();
        fs::write(&config, text).unwrap_or_else(|e| panic!("{}: {e}", config.display()));
        let parts = ["master", "volume", "filer", "s3"];
        let ports = free_ports(2 * parts.len());
        let mut command = Command::new(weed);
        command
            .current_dir(&folder)
            .args([
                "server",
                "-ip=127.0.0.1",
                "-ip.bind=127.0.0.1",
                "-filer",
                "-s3",
                "-master.telemetry=false",
            ])
            .args([
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
                "-volume.max=20",
                "-master.volumeSizeLimitMB=256",
            ])
            .arg(format!("-dir={}", folder.display()))
            .arg(format!("-s3.config={}", config.display()));
        for (part, ports) in parts.iter().zip(ports.chunks(2)) {
            command.arg(format!("-{part}.port={}", ports[0])).arg(format!("-{part}.port.grpc={}", ports[1]));
        }
        let process = Process::spawn("seaweedfs", command);
        let (filer, s3) = (ports[4], ports[6]);
        wait_until("the object store is ready", PATIENCE, || match ask(s3, "GET /healthz") {
            Some(200) => Ok(()),
            other => Err(format!("{other:?}")),
        });
        let made = ask(filer, &format!("POST /buckets/{BUCKET}/"));
        assert!(made.is_some_and(|code| (200..300).contains(&code)), "no bucket {BUCKET}: {made:?}");
        Self { port: s3, _process: process }
    }
}

/// The status of the answer; none where there was no answer.
fn ask(port: u16, request: &str) -> Option<u16> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    write!(
        stream,
        "{request} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split(' ').nth(1)?.parse().ok()
}
