//! Model versions in an object store, which programs on several machines share.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use e2e::images::clothes;
use e2e::objects::{Objects, SECRET};
use e2e::process::{Finished, Process};
use e2e::scene::{Kind, Scene, Worker};
use e2e::versions::{MODEL, Versions};
use e2e::way::{Trouble, Way};
use e2e::{PATIENCE, paths, wait_until};
use serde_json::Value;

use crate::http::get;

/// The object store as one machine sees it.
struct Machine<'a> {
    scene: &'a Scene,
    objects: &'a Objects,
    port: u16,
    cache: PathBuf,
}

impl<'a> Machine<'a> {
    fn new(scene: &'a Scene, objects: &'a Objects, name: &str) -> Self {
        Self { scene, objects, port: objects.port(), cache: scene.folder.join(format!("cache-{name}")) }
    }

    fn by(self, way: &Way) -> Self {
        Self { port: way.port(), ..self }
    }

    fn model(&self, arguments: &[&str]) -> Finished {
        Process::run("model", self.model_command(arguments), PATIENCE)
    }

    fn model_command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = self.scene.command("model");
        self.objects.tell(&mut command, self.port, &self.cache);
        command.args(arguments);
        command
    }

    fn worker_command(&self, name: &str) -> std::process::Command {
        let root = format!("models.root={}", self.objects.url());
        let mut command = self.scene.worker_command(name, &["--set", &root]);
        self.objects.tell(&mut command, self.port, &self.cache);
        command
    }

    fn worker(&self, name: &str) -> Worker {
        Worker::start(name, self.worker_command(name))
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn done(finished: Finished) -> String {
    assert_eq!(finished.code, Some(0), "{finished:?}");
    finished.stdout
}

/// Which version answered one image.
fn version_that_answers(scene: &Scene) -> u64 {
    let asked = done(scene.client(&["send", "--wait", "--json", text(&clothes()[0].path)]));
    let answer: Value = serde_json::from_str(asked.lines().next().unwrap()).unwrap();
    answer["model"]["version"].as_u64().unwrap()
}

/// Each of those workers serves that version and no other.
fn wait_until_all_serve(scene: &Scene, workers: &[&str], version: u64) {
    wait_until("all serve that version", PATIENCE, || {
        let shown = done(scene.client(&["models", "--json"]));
        let rows: Vec<Value> = shown.lines().map(|row| serde_json::from_str(row).unwrap()).collect();
        let mut serving: Vec<_> = rows
            .iter()
            .map(|row| (row["worker"].as_str().unwrap(), row["version"].as_u64().unwrap()))
            .collect();
        serving.sort_unstable();
        let wanted: Vec<_> = workers.iter().map(|worker| (*worker, version)).collect();
        if serving == wanted { Ok(()) } else { Err(format!("{serving:?}")) }
    });
}

#[test]
fn workers_on_two_machines_serve_what_is_published_and_promoted_in_a_store() {
    let scene = Scene::on(Kind::Kafka);
    let (objects, versions) = (Objects::new(), Versions::new(&scene));
    versions.publish(MODEL, 2);
    let (url, root) = (objects.url(), text(versions.root()).to_owned());
    let author = Machine::new(&scene, &objects, "author");
    let copied = done(author.model(&["publish", MODEL, "1", "--to", &url, "--weights", &root, "--json"]));
    let copied: Value = serde_json::from_str(&copied).unwrap();
    assert_eq!((&copied["production"], &copied["already"]), (&Value::Bool(true), &Value::Bool(false)));
    done(author.model(&["publish", MODEL, "2", "--to", &url, "--weights", &root]));
    let again = done(author.model(&["publish", MODEL, "2", "--to", &url, "--weights", &root, "--json"]));
    assert!(again.contains(r#""already":true,"production":false"#), "{again}");

    let _workers = [
        Machine::new(&scene, &objects, "one").worker("w1"),
        Machine::new(&scene, &objects, "two").worker("w2"),
    ];
    wait_until_all_serve(&scene, &["w1", "w2"], 1);
    assert_eq!(version_that_answers(&scene), 1);
    let promote = ["promote", MODEL, "2", "--weights", &url, "--force", "--reason", "a test", "--by", "ada"];
    done(author.model(&promote));
    wait_until_all_serve(&scene, &["w1", "w2"], 2);
    assert_eq!(version_that_answers(&scene), 2);
    done(author.model(&["rollback", MODEL, "--weights", &url, "--by", "bob"]));
    wait_until_all_serve(&scene, &["w1", "w2"], 1);
    let history = done(author.model(&["history", MODEL, "--weights", &url, "--json"]));
    let who: Vec<Value> = history.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let who: Vec<_> =
        who.iter().map(|change| (change["by"].as_str().unwrap(), change["to"].as_u64().unwrap())).collect();
    assert_eq!(who[1..], [("ada", 2), ("bob", 1)]);
    let in_service = author.model(&["delete", MODEL, "1", "--weights", &url]);
    assert_eq!(in_service.code, Some(2), "{in_service:?}");
    done(author.model(&["delete", MODEL, "2", "--weights", &url]));
    let left = done(author.model(&["list", "--weights", &url, "--json"]));
    assert_eq!(left.lines().count(), 1, "{left}");
}

#[test]
fn while_the_store_is_away_serving_goes_on_and_who_starts_uses_its_copies() {
    let scene = Scene::on(Kind::Embedded);
    let (objects, versions) = (Objects::new(), Versions::new(&scene));
    let (url, root) = (objects.url(), text(versions.root()).to_owned());
    let author = Machine::new(&scene, &objects, "author");
    versions.publish(MODEL, 2);
    for version in ["1", "2"] {
        done(author.model(&["publish", MODEL, version, "--to", &url, "--weights", &root]));
    }
    let way = Way::to(objects.port());
    let machine = Machine::new(&scene, &objects, "worker").by(&way);
    let worker = machine.worker("w1");
    assert_eq!(version_that_answers(&scene), 1);

    way.is(Trouble::Away);
    let noted = |worker: &Worker| {
        wait_until("a note on the store", PATIENCE, || match get(worker.http(), "/readyz") {
            (200, said) if said.contains("the models are those that were last seen: cannot ") => Ok(()),
            said => Err(format!("{said:?}")),
        });
    };
    noted(&worker);
    done(author.model(&["promote", MODEL, "2", "--weights", &url, "--force", "--reason", "a test"]));
    assert_eq!(version_that_answers(&scene), 1);
    drop(worker);
    let worker = machine.worker("w1");
    noted(&worker);
    assert_eq!(version_that_answers(&scene), 1);
    // Who has no copies waits, and says for what.
    let mut new =
        Process::spawn("worker w2", Machine::new(&scene, &objects, "new").by(&way).worker_command("w2"));
    wait_until("what it waits for", PATIENCE, || {
        let said = |line: &str| line.contains("waiting for the models: cannot list s3://").then_some(());
        new.stderr.find(said).ok_or_else(|| "nothing".to_owned())
    });
    assert!(new.is_running());

    way.is(Trouble::None);
    let _new = Worker::ready(new);
    wait_until_all_serve(&scene, &["w1", "w2"], 2);
    assert_eq!(version_that_answers(&scene), 2);
    wait_until("no note any more", PATIENCE, || match get(worker.http(), "/readyz") {
        (200, said) if !said.contains("last seen") => Ok(()),
        said => Err(format!("{said:?}")),
    });
}

/// The large model: its file goes in three parts.
#[test]
fn a_publisher_that_is_killed_leaves_nothing_to_see_and_goes_on_where_it_was() {
    const PART: u64 = 8 << 20;
    let scene = Scene::on(Kind::Embedded);
    let objects = Objects::new();
    let (url, weights) = (objects.url(), paths::weights());
    let (way, other) = (Way::to(objects.port()), Machine::new(&scene, &objects, "other"));
    let author = Machine::new(&scene, &objects, "author").by(&way);
    let publish = ["publish", "bird", "1", "--to", &url, "--weights", text(&weights)];
    way.is(Trouble::Slow(8_000_000));
    let mut killed = Process::spawn("model publish", author.model_command(&publish));
    wait_until("more than a part has gone", PATIENCE, || match way.sent() {
        sent if sent > PART + PART / 2 => Ok(()),
        sent => Err(format!("{sent} bytes")),
    });
    killed.kill();
    way.is(Trouble::None);
    let seen = other.model(&["list", "--weights", &url, "--json"]);
    assert_eq!((seen.code, seen.stdout.as_str()), (Some(0), ""), "{seen:?}");
    // Nobody else publishes something else under that number meanwhile.
    let others = Versions::new(&scene);
    others.publish("bird", 1);
    let refused = other.model(&["publish", "bird", "1", "--to", &url, "--weights", text(others.root())]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("is being published by somebody else"), "{refused:?}");

    let before = way.sent();
    done(author.model(&publish));
    let size = weights.join("bird/1/model.safetensors").metadata().unwrap().len();
    let onnx = weights.join("bird/1/model.onnx").metadata().map_or(0, |found| found.len());
    let sent = way.sent() - before;
    assert!(sent < size + onnx - PART / 2, "{sent} bytes of {size} and {onnx}");
    let pulled = scene.folder.join("pulled");
    done(other.model(&["pull", "bird", "--from", &url, "--weights", text(&pulled)]));
    for file in ["manifest.yaml", "model.safetensors"] {
        let read = |root: &Path| std::fs::read(root.join("bird/1").join(file)).unwrap();
        assert!(read(&pulled) == read(&weights), "{file} is another");
    }
}

#[test]
fn a_copy_that_is_cut_again_and_again_comes_whole_and_one_with_another_byte_never() {
    let scene = Scene::on(Kind::Embedded);
    let (objects, versions) = (Objects::new(), Versions::new(&scene));
    let (url, root) = (objects.url(), text(versions.root()).to_owned());
    done(Machine::new(&scene, &objects, "author").model(&[
        "publish",
        MODEL,
        "1",
        "--to",
        &url,
        "--weights",
        &root,
    ]));
    let way = Way::to(objects.port());
    let pull = |machine: &str, trouble| {
        way.is(trouble);
        let folder = scene.folder.join(machine);
        let pull = ["pull", MODEL, "--from", &url, "--weights", text(&folder)];
        (Machine::new(&scene, &objects, machine).by(&way).model(&pull), folder.clone())
    };
    let (flipped, folder) = pull("flipped", Trouble::Flip(300_000));
    assert_eq!(flipped.code, Some(1), "{flipped:?}");
    assert!(flipped.stderr.contains("was tampered with or is another file"), "{flipped:?}");
    assert!(!folder.join(MODEL).join("1").exists());
    let (cut, folder) = pull("cut", Trouble::Cut(250_000));
    done(cut);
    let read = |root: &Path| std::fs::read(root.join(MODEL).join("1/model.safetensors")).unwrap();
    assert!(read(&folder) == read(versions.root()), "it is another");
    assert_eq!(version_that_is_named(&folder), "1");
}

fn version_that_is_named(root: &Path) -> String {
    std::fs::read_to_string(root.join(MODEL).join("production")).unwrap().trim().to_owned()
}

#[test]
fn of_ten_programs_that_publish_under_one_number_one_does() {
    let scene = Scene::on(Kind::Embedded);
    let objects = Objects::new();
    let url = objects.url();
    let published: Vec<_> = thread::scope(|threads| {
        let publishers: Vec<_> = (0..10)
            .map(|publisher| {
                let (scene, objects, url) = (&scene, &objects, &url);
                threads.spawn(move || {
                    let versions = Versions::of_its_own(scene, &format!("weights-{publisher}"));
                    let machine = Machine::new(scene, objects, &publisher.to_string());
                    let publish = ["publish", MODEL, "1", "--to", url, "--weights", text(versions.root())];
                    (publisher, machine.model(&publish))
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
    for (_, ended) in others {
        let said = &ended.stderr;
        let told = said.contains("is being published by somebody else") || said.contains("exists already");
        assert!(ended.code == Some(2) && told, "{ended:?}");
    }
    let shown = done(Machine::new(&scene, &objects, "reader").model(&["show", MODEL, "--weights", &url]));
    assert!(shown.contains(&format!("origin: weights-{winner}\n")), "{shown}");
}

#[test]
fn who_is_not_let_in_is_told_at_once_and_no_secret_is_shown() {
    let scene = Scene::on(Kind::Embedded);
    let objects = Objects::new();
    let machine = Machine::new(&scene, &objects, "stranger");
    let url = objects.url();
    let mut list = machine.model_command(&["list", "--weights", &url]);
    list.env("AWS_SECRET_ACCESS_KEY", "wrong");
    let mut worker = machine.worker_command("w1");
    worker.env("AWS_SECRET_ACCESS_KEY", "wrong");
    for (name, command) in [("model", list), ("worker", worker)] {
        let refused = Process::run(name, command, Duration::from_secs(60));
        assert!(refused.code.is_some_and(|code| code != 0), "{refused:?}");
        assert!(refused.stderr.contains("it answers 403, SignatureDoesNotMatch"), "{refused:?}");
        let all = format!("{refused:?}");
        assert!(!all.contains("wrong") && !all.contains(SECRET), "{all}");
    }
}
