//! wrk, which keeps so many connections busy, each with the next request as soon as the last is answered.

use std::process::Command;
use std::time::Duration;

use e2e::PATIENCE;
use e2e::process::Process;
use e2e::scene::Scene;

use crate::{COUNTED, Figures, WARM};

/// Has that posted again and again, on as many connections as that, and looks at the processor time of what serves it.
pub(crate) fn measure(
    scene: &Scene,
    server: &Process,
    connections: usize,
    url: &str,
    content_type: &str,
    body: &[u8],
) -> Figures {
    let (file, script) = (scene.folder.join("body"), scene.folder.join("post.lua"));
    let text = format!(
        "wrk.method = 'POST'\nwrk.headers['content-type'] = '{content_type}'\nlocal file = io.open('{}', 'rb')\nwrk.body = file:read('*a')\nfile:close()\n",
        file.display()
    );
    for (path, bytes) in [(&file, body), (&script, text.as_bytes())] {
        std::fs::write(path, bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }
    let run = |time: Duration| {
        let mut wrk = Command::new("wrk");
        wrk.args(["--threads", "1", "--latency", "--connections", &connections.to_string()]);
        wrk.args(["--duration", &format!("{}s", time.as_secs()), "--script"]).arg(&script).arg(url);
        let done = Process::run("wrk", wrk, PATIENCE);
        assert_eq!(done.code, Some(0), "{done:?}");
        done.stdout
    };
    run(WARM);
    let before = server.cpu_time();
    let said = run(COUNTED);
    let cpu = server.cpu_time() - before;
    read(&said, cpu)
        .unwrap_or_else(|| panic!("requests failed, or wrk says something else than is known: {said}"))
}

/// None where a request failed.
fn read(said: &str, cpu: Duration) -> Option<Figures> {
    if said.contains("Non-2xx") || said.contains("Socket errors") {
        return None;
    }
    let word = |after: &str| {
        let line = said.lines().find(|line| line.trim_start().starts_with(after))?;
        line.trim_start().strip_prefix(after)?.split_whitespace().next()
    };
    let (all, _) = said.split_once(" requests in ")?;
    let requests: f64 = all.lines().last()?.trim().parse().ok()?;
    Some(Figures {
        rate: word("Requests/sec:")?.parse().ok()?,
        p50_ms: milliseconds(word("50%")?)?,
        p99_ms: milliseconds(word("99%")?)?,
        cpu_ms: cpu.as_secs_f64() * 1000.0 / requests,
    })
}

/// As wrk writes a time: `812.00us`, `1.23ms`, `1.02s`.
fn milliseconds(text: &str) -> Option<f64> {
    let at = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(at);
    let factor = match unit {
        "us" => 0.001,
        "ms" => 1.0,
        "s" => 1000.0,
        _ => return None,
    };
    number.parse::<f64>().ok().map(|number| number * factor)
}
