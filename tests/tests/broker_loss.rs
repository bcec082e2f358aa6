//! The broker goes away in the middle and comes back.

use e2e::apache::Apache;
use e2e::scene::{Kind, Scene};
use e2e::stream::Stream;
use e2e::{PATIENCE, wait_until};
use nix::sys::signal::Signal;

use crate::FASHION_ONLY;
use crate::http::get;

/// Has some hundred requests under way, and says how far each partition is committed and where it ends.
fn in_the_middle(scene: &Scene, stream: &mut Stream<'_>) -> Vec<(i64, i64)> {
    stream.flow_until("300 answers", |s| s.answered() >= 300);
    assert!(stream.account.sent_count() > stream.answered(), "some are under way");
    scene.offsets()
}

/// One node, killed: while it is gone nobody can do anything, and then everybody goes on.
#[test]
fn a_restart_of_the_only_node_loses_nothing() {
    let mut cluster = Apache::start(1);
    let scene = Scene::on_cluster(&cluster);
    let mut worker = scene.worker("w1", FASHION_ONLY);
    let mut stream = Stream::new(&scene);
    let gone = in_the_middle(&scene, &mut stream);
    let servers = cluster.bootstrap_servers();
    cluster.stop(Signal::SIGKILL);
    cluster.resume();
    assert_eq!(cluster.bootstrap_servers(), servers);
    let from = stream.answered();
    stream.flow_until("300 more answers", |s| s.answered() >= from + 300);
    assert!(worker.process.is_running(), "it is the same worker as before");
    // What was under way and not committed when the broker went may be answered again.
    let uncommitted = stream.account.uncommitted(&gone);
    stream.settle().assert_whole_but_for(&uncommitted);
}

/// Three nodes, of which one is killed: the other two go on.
#[test]
fn three_nodes_go_on_without_one() {
    let mut cluster = Apache::start(3);
    let scene = Scene::on_cluster(&cluster);
    let _worker = scene.worker("w1", FASHION_ONLY);
    let mut stream = Stream::new(&scene);
    let gone = in_the_middle(&scene, &mut stream);
    cluster.kill_node(0);
    let from = stream.answered();
    stream.flow_until("300 more answers", |s| s.answered() >= from + 300);
    // If the lost node led the group, nothing is committed until another does, and what was answered meanwhile may be repeated.
    let back = scene.offsets();
    let between =
        gone.iter().zip(&back).map(|((committed, _), (_, end))| (*committed, *end)).collect::<Vec<_>>();
    cluster.resume();
    let uncommitted = stream.account.uncommitted(&between);
    stream.settle().assert_whole_but_for(&uncommitted);
}

/// The embedded broker drops all connections and takes none for a while; what it held, it holds still.
#[test]
fn an_absence_of_the_embedded_broker_loses_nothing() {
    let scene = Scene::on(Kind::Embedded);
    let mut worker = scene.worker("w1", FASHION_ONLY);
    let http = worker.http().to_owned();
    let readyz = |wanted: u16| {
        wait_until(&format!("{wanted} from /readyz"), PATIENCE, || match get(&http, "/readyz") {
            (code, _) if code == wanted => Ok(()),
            (code, body) => Err(format!("{code} {body}")),
        });
    };
    let mut stream = Stream::new(&scene);
    let gone = in_the_middle(&scene, &mut stream);
    scene.embedded_down();
    readyz(503);
    assert_eq!(get(&http, "/livez").0, 200, "it waits, and need not be restarted");
    scene.embedded().broker_up().unwrap();
    readyz(200);
    let from = stream.answered();
    stream.flow_until("300 more answers", |s| s.answered() >= from + 300);
    assert!(worker.process.is_running(), "it is the same worker as before");
    let uncommitted = stream.account.uncommitted(&gone);
    stream.settle().assert_whole_but_for(&uncommitted);
}
