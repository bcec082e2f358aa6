//! What the end-to-end tests in `tests/tests/` stand on: real brokers, the real `worker` and `client` executables, and an
//! account of every record sent and every answer read.
//!
//! - [`paths`]: where the checkout, the executables, the samples and the broker's jars are.
//! - [`process`]: a child process whose output is kept, shown when its test fails, and which never outlives the test.
//! - [`halt`]: one of its threads that stands still.
//! - [`current_test`]: a time limit for each test, and which broker it ran on.
//! - [`apache`]: Apache Kafka from its jars, one node or three, restartable in place, with TLS, users and access rules.
//! - [`scene`]: one test's stage: a broker, topics and a group of its own, workers, clients.
//! - [`layout`]: partitions and settings of its topics.
//! - [`traffic`]: sends records and reads answers with a plain Kafka client.
//! - [`stream`]: a steady flow of requests, for things to go wrong in the middle of.
//! - [`timing`]: how long answers took, for what measures.
//! - [`account`]: "nothing lost", as a measurement.
//! - [`versions`]: a folder of model versions, to publish into and to promote in.
//! - [`images`]: image files made on the spot.
//! - [`gateway`]: a gateway on a scene.
//! - [`mlserver`]: MLServer, for what measures.
//! - [`page`]: the examples of `docs/protocol.md` and `docs/http.md`, the commands of `README.md`.

pub mod account;
pub mod apache;
pub mod azure;
pub mod current_test;
pub mod gateway;
pub mod halt;
pub mod images;
pub mod layout;
pub mod mlserver;
pub mod objects;
pub mod page;
pub mod paths;
pub mod process;
mod report;
pub mod scene;
mod shared;
pub mod stream;
pub mod timing;
pub mod traffic;
pub mod versions;
pub mod way;

use std::time::{Duration, Instant};

/// How long anything is waited for before its test fails. Generous: it is reached only when something is broken.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Asks again and again, a few times a second, until the answer is `Some`.
///
/// # Panics
/// After `limit`, with `what` and what `state` has to say.
pub fn wait_until<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Result<T, String>) -> T {
    current_test::note();
    let end = Instant::now() + limit;
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(state) => {
                assert!(Instant::now() < end, "waited {limit:?} for {what}: {state}");
            }
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
