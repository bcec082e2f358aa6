//! Model versions in an object store that speaks as Azure's does: what `stores` tries on one that speaks as Amazon's.

use std::path::Path;
use std::thread;

use e2e::PATIENCE;
use e2e::azure::Azure;
use e2e::process::{Finished, Process};
use e2e::scene::{Kind, Scene};
use e2e::versions::{MODEL, Versions};
use e2e::{paths, scene};
use serde_json::Value;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn model(scene: &Scene, azure: &Azure, machine: &str, arguments: &[&str]) -> Finished {
    let mut command = scene.command("model");
    azure.tell(&mut command, &scene.folder.join(format!("cache-{machine}")));
    command.args(arguments);
    Process::run("model", command, PATIENCE)
}

fn done(finished: Finished) -> String {
    assert_eq!(finished.code, Some(0), "{finished:?}");
    finished.stdout
}

#[test]
#[ignore = "wants Azurite, a download: make test-more"]
fn versions_are_published_promoted_pulled_served_and_deleted_on_azurite() {
    let scene = Scene::on(Kind::Embedded);
    let (azure, versions) = (Azure::start(&scene.folder), Versions::new(&scene));
    versions.publish(MODEL, 2);
    let (url, root, weights) = (azure.url(), text(versions.root()).to_owned(), paths::weights());
    let author = |arguments: &[&str]| model(&scene, &azure, "author", arguments);
    for version in ["1", "2"] {
        done(author(&["publish", MODEL, version, "--to", &url, "--weights", &root]));
    }
    // In three parts.
    done(author(&["publish", "bird", "1", "--to", &url, "--weights", text(&weights)]));
    let again = done(author(&["publish", MODEL, "2", "--to", &url, "--weights", &root, "--json"]));
    assert!(again.contains(r#""already":true,"production":false"#), "{again}");

    let set = format!("models.root={url}");
    let mut command = scene.worker_command("w1", &["--set", &set]);
    azure.tell(&mut command, &scene.folder.join("cache-worker"));
    let _worker = scene::Worker::start("w1", command);
    let promote = ["promote", MODEL, "2", "--weights", &url, "--force", "--reason", "a test", "--by", "ada"];
    done(author(&promote));
    e2e::wait_until("version 2 is announced", PATIENCE, || {
        let shown = done(scene.client(&["models", "--json"]));
        let rows: Vec<Value> = shown.lines().map(|row| serde_json::from_str(row).unwrap()).collect();
        let is_served = rows.iter().any(|row| row["model"] == MODEL && row["version"] == 2);
        if is_served { Ok(()) } else { Err(shown) }
    });
    done(author(&["rollback", MODEL, "--weights", &url]));

    let pulled = scene.folder.join("pulled");
    done(model(&scene, &azure, "other", &["pull", "bird", "--from", &url, "--weights", text(&pulled)]));
    for file in ["manifest.yaml", "model.safetensors"] {
        let read = |root: &Path| std::fs::read(root.join("bird/1").join(file)).unwrap();
        assert!(read(&pulled) == read(&weights), "{file} is another");
    }
    let in_service = author(&["delete", MODEL, "1", "--weights", &url]);
    assert_eq!(in_service.code, Some(2), "{in_service:?}");
    done(author(&["delete", MODEL, "2", "--weights", &url]));
    let left = done(author(&["list", MODEL, "--weights", &url, "--json"]));
    assert_eq!(left.lines().count(), 1, "{left}");
}

#[test]
#[ignore = "wants Azurite, a download: make test-more"]
fn of_eight_programs_that_publish_under_one_number_on_azurite_one_does() {
    let scene = Scene::on(Kind::Embedded);
    let azure = Azure::start(&scene.folder);
    let url = azure.url();
    let published: Vec<_> = thread::scope(|threads| {
        let publishers: Vec<_> = (0..8)
            .map(|publisher| {
                let (scene, azure, url) = (&scene, &azure, &url);
                threads.spawn(move || {
                    let versions = Versions::of_its_own(scene, &format!("weights-{publisher}"));
                    let publish = ["publish", MODEL, "1", "--to", url, "--weights", text(versions.root())];
                    (publisher, model(scene, azure, &publisher.to_string(), &publish))
                })
            })
            .collect();
        publishers.into_iter().map(|publisher| publisher.join().unwrap()).collect()
    });
    let (winners, others): (Vec<_>, Vec<_>) =
        published.into_iter().partition(|(_, ended)| ended.code == Some(0));
    let [(winner, _)] = &winners[..] else {
        panic!("{winners:?} published under one number, {others:?} did not")
    };
    // That the claim was another's, not that it was taken away from them.
    for (_, ended) in others {
        let said = &ended.stderr;
        let told = said.contains("is being published by somebody else") || said.contains("exists already");
        assert!(ended.code == Some(2) && told, "{ended:?}");
    }
    let shown = done(model(&scene, &azure, "reader", &["show", MODEL, "--weights", &url]));
    assert!(shown.contains(&format!("origin: weights-{winner}\n")), "{shown}");
}
