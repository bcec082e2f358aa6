//! Versions on all three engines in one worker, under load: each answer is the one that `model predict` gives for that version, and no
//! engine's fault stops another's.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use e2e::account::{Account, Expect};
use e2e::images::{clothes, plain_bmp};
use e2e::layout::Layout;
use e2e::process::{Finished, Process};
use e2e::scene::{Kind, Scene, Worker};
use e2e::traffic::{Acknowledged, Record, Sender};
use e2e::{PATIENCE, paths, wait_until};
use registry::{Registry, Select};
use serde_json::Value;
use wire::{Encoding, ErrorCode, Outcome, Request};

use crate::http::{get, metric};

/// A model version and what computes it.
struct Served {
    model: &'static str,
    version: u32,
    engine: &'static str,
    /// It takes images of clothes, else colours.
    clothes: bool,
    /// It can't compute an image that is red.
    fails_on_red: bool,
}

const fn colours(version: u32, engine: &'static str, fails_on_red: bool) -> Served {
    Served { model: "colours", version, engine, clothes: false, fails_on_red }
}

const SERVED: [Served; 5] = [
    Served { model: "fashion-mnist", version: 1, engine: "libtorch", clothes: true, fails_on_red: false },
    // The same net as ONNX.
    Served { model: "fashion-mnist", version: 2, engine: "openvino", clothes: true, fails_on_red: false },
    // Its code throws.
    colours(1, "torchscript", true),
    // Four images at once and no other number.
    colours(2, "openvino", false),
    // Its outputs are no numbers.
    colours(3, "openvino", true),
];

const RED: &str = "red.bmp";

/// A folder of model versions and of images, made once for all tests of this file.
#[derive(Clone)]
struct Material {
    weights: PathBuf,
    nets: PathBuf,
    colours: PathBuf,
}

fn material() -> &'static Material {
    static MATERIAL: OnceLock<Material> = OnceLock::new();
    MATERIAL.get_or_init(|| {
        let folder = paths::scratch().join("engines");
        let [weights, nets, colours] = ["weights", "nets", "colours"].map(|name| folder.join(name));
        for made in [&weights, &nets, &colours] {
            fs::create_dir_all(made).unwrap();
        }
        for (name, colour) in [
            (RED, [255, 0, 0]),
            ("green.bmp", [0, 255, 0]),
            ("blue.bmp", [9, 7, 240]),
            ("dark.bmp", [5, 0, 2]),
        ] {
            fs::write(colours.join(name), plain_bmp(colour)).unwrap();
        }
        let tests = paths::root().join("model/tests");
        let mut python = Command::new(paths::python());
        let written = Process::run(
            "python",
            {
                python.arg(tests.join("onnx/write.py")).arg(&nets);
                python
            },
            PATIENCE,
        );
        assert_eq!(written.code, Some(0), "{written:?}");
        for net in ["faulty.pt", "pair.pt"] {
            fs::copy(tests.join("torchscript").join(net), nets.join(net)).unwrap();
        }

        copy_version("fashion-mnist", &weights);
        let fashion = nets.join("fashion.onnx");
        let export = ["export", "fashion-mnist", "1", "--format", "onnx", "--output", text(&fashion)];
        done(&model(&weights, &export));
        let names = Registry::open(&weights).unwrap().load("fashion-mnist", &Select::Version(1)).unwrap();
        let mut names: Vec<_> = names.manifest.classes.labels.into_iter().map(|class| class.label).collect();
        // The last output is for what is none of them.
        names.push("none of these".to_owned());
        fs::write(nets.join("clothes.txt"), names.join("\n")).unwrap();
        fs::write(nets.join("four.txt"), "red\ngreen\nblue\ndark\n").unwrap();
        let many: Vec<_> = (0..1000).map(|class| format!("class {class}")).collect();
        fs::write(nets.join("many.txt"), many.join("\n")).unwrap();
        let likes = colours.join("green.bmp");
        let material = Material { weights, nets, colours };
        let clothes = ["--mean", "72.93", "--std", "90.015", "--fit", "stretch"];
        material.import("fashion-mnist", "fashion.onnx", "clothes.txt", &clothes);
        let plain = ["--mean", "0", "--std", "255", "--samples", text(&likes)];
        material.import(
            "colours",
            "faulty.pt",
            "four.txt",
            &[&plain[..], &["--input", "3x8x8", "--allow-torchscript"]].concat(),
        );
        material.import("colours", "fixed.onnx", "four.txt", &plain);
        material.import("colours", "roots.onnx", "four.txt", &plain);
        // Seven times the work of the bird net, which makes no difference to what it takes to read an image.
        material.import("slow", "densenet121.onnx", "many.txt", &plain);
        material
    })
}

/// Version 1 of a shipped model, its weights alone.
fn copy_version(name: &str, into: &Path) {
    let version = into.join(name).join("1");
    fs::create_dir_all(&version).unwrap();
    for file in ["manifest.yaml", "model.safetensors"] {
        fs::copy(paths::weights().join(name).join("1").join(file), version.join(file)).unwrap();
    }
    fs::write(into.join(name).join("production"), "1\n").unwrap();
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn model(weights: &Path, arguments: &[&str]) -> Finished {
    let mut command = Command::new(paths::executable("model"));
    command.current_dir(paths::root()).args(arguments).arg("--weights").arg(weights);
    Process::run("model", command, PATIENCE)
}

fn done(finished: &Finished) {
    assert_eq!(finished.code, Some(0), "{finished:?}");
}

impl Material {
    fn import(&self, name: &str, net: &str, labels: &str, more: &[&str]) {
        let (net, labels) = (self.nets.join(net), self.nets.join(labels));
        let arguments = ["import", text(&net), "--name", name, "--labels", text(&labels), "--yes"];
        done(&model(&self.weights, &[&arguments, more].concat()));
    }

    /// The images that a version is asked about, by their names.
    fn images(&self, served: &Served) -> Vec<(String, PathBuf)> {
        let named = |path: PathBuf| (path.file_name().unwrap().to_str().unwrap().to_owned(), path);
        if served.clothes {
            return clothes().into_iter().map(|sample| named(sample.path)).collect();
        }
        let mut files: Vec<_> =
            fs::read_dir(&self.colours).unwrap().map(|entry| named(entry.unwrap().path())).collect();
        files.sort();
        files
    }
}

/// What a version says of an image: its digest, and of each label the name, the index and the probability.
type Said = (String, Vec<(String, Option<u64>, f64)>);

fn said(digest: &Value, predictions: &Value) -> Said {
    let prediction = |of: &Value| {
        let label = of["label"].as_str().unwrap().to_owned();
        (label, of["index"].as_u64(), of["probability"].as_f64().unwrap())
    };
    (digest.as_str().unwrap().to_owned(), predictions.as_array().unwrap().iter().map(prediction).collect())
}

/// What `model predict` says of each image of each version; nothing of what it can't compute.
fn predicted(material: &Material) -> BTreeMap<(usize, String), Said> {
    let mut all = BTreeMap::new();
    for (place, served) in SERVED.iter().enumerate() {
        let mut images = material.images(served);
        images.retain(|(name, _)| !(served.fails_on_red && name == RED));
        let version = served.version.to_string();
        let mut arguments = vec!["predict", "--json", "--model", served.model, "--model-version", &version];
        arguments.extend(["--engine", served.engine, "--allow-torchscript"]);
        arguments.extend(images.iter().map(|(_, path)| text(path)));
        let finished = model(&material.weights, &arguments);
        done(&finished);
        let lines: Vec<Value> =
            finished.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), images.len(), "{finished:?}");
        for ((name, _), line) in images.into_iter().zip(lines) {
            assert_eq!(line["model"]["engine"], served.engine, "{line}");
            all.insert((place, name), said(&line["model"]["digest"], &line["predictions"]));
        }
    }
    all
}

/// A worker that serves all of them, and another.
fn worker(scene: &Scene, name: &str, material: &Material, another: Option<&str>, flags: &[&str]) -> Worker {
    let serve = SERVED.iter().map(|Served { model, version, engine, .. }| {
        format!("{{name: {model}, version: {version}, engine: {engine}}}")
    });
    let serve: Vec<_> = serve.chain(another.map(str::to_owned)).collect();
    let count = serve.len();
    let root = format!("models.root={}", text(&material.weights));
    let serve = format!("models.serve=[{}]", serve.join(", "));
    let all = ["--set", &root, "--set", &serve, "--set", "models.allow_torchscript=true"];
    let worker = scene.worker(name, &[&all[..], flags].concat());
    assert_eq!(worker.ready["models"].as_array().map(Vec::len), Some(count), "{}", worker.ready);
    worker
}

/// What was asked: of each request the version and the image.
#[derive(Default)]
struct Asked {
    account: Account,
    of: BTreeMap<String, (usize, String)>,
}

impl Asked {
    /// Several senders at once, each asking about every image of every version so many times, in an order of its own.
    fn send(&mut self, scene: &Scene, material: &Material, times: usize) {
        const SENDERS: usize = 4;
        let all: Vec<_> = SERVED
            .iter()
            .enumerate()
            .flat_map(|(place, served)| material.images(served).into_iter().map(move |image| (place, image)))
            .collect();
        let sent = std::thread::scope(|scope| {
            let threads = (0..SENDERS).map(|sender| {
                let sends = Sender::new(&scene.bootstrap_servers, &scene.topics.requests);
                let all = &all;
                scope.spawn(move || {
                    let mut records = Vec::new();
                    for turn in 0..times * all.len() {
                        // Neighbours are of different versions; a stride that has no factor in common with them meets all.
                        let (place, (name, path)) = &all[(turn * 7 + sender * 5) % all.len()];
                        let Served { model, version, .. } = &SERVED[*place];
                        let request = Request {
                            model: Some((*model).to_owned()),
                            model_version: Some(*version),
                            ..Request::new(fs::read(path).unwrap())
                        };
                        records.push((
                            Record::of(&request, Encoding::ALL[(turn + sender) % 3]),
                            *place,
                            name.clone(),
                        ));
                    }
                    let only: Vec<_> = records.iter().map(|(record, ..)| record.clone()).collect();
                    let acknowledged = sends.send(&only);
                    (records, acknowledged)
                })
            });
            let threads: Vec<_> = threads.collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        for (records, acknowledged) in sent {
            self.note(records, acknowledged);
        }
    }

    fn note(&mut self, records: Vec<(Record, usize, String)>, acknowledged: Vec<Acknowledged>) {
        let only: Vec<_> = records.iter().map(|(record, ..)| record.clone()).collect();
        self.account.sent(&only, acknowledged, |at| {
            let (_, place, name) = &records[at];
            if SERVED[*place].fails_on_red && name == RED {
                Expect::Error { code: ErrorCode::Internal, dead: false }
            } else {
                Expect::Success
            }
        });
        self.of
            .extend(records.into_iter().map(|(record, place, name)| (record.id().unwrap(), (place, name))));
    }

    /// Each answer is the one that `model predict` gives.
    fn assert_as_predicted(&self, predicted: &BTreeMap<(usize, String), Said>) {
        for (id, of) in &self.of {
            for answer in self.account.answers_to(id) {
                let Outcome::Success(success) = &answer.outcome else {
                    assert!(!predicted.contains_key(of), "{of:?}: {answer:?}");
                    continue;
                };
                let Served { model, version, .. } = &SERVED[of.0];
                assert_eq!(
                    (success.model.name.as_str(), success.model.version),
                    (*model, *version),
                    "{of:?}"
                );
                let (digest, expected) = &predicted[of];
                assert_eq!(&success.model.digest, digest, "{of:?}");
                assert_eq!(success.predictions.len(), expected.len(), "{of:?}");
                for (found, (label, index, probability)) in success.predictions.iter().zip(expected) {
                    let close = (f64::from(found.probability) - probability).abs() < 1e-5;
                    let same = found.label == *label && found.index.map(u64::from) == *index;
                    assert!(
                        close && same,
                        "{of:?}: {found:?}, and `model predict` says {label} {probability}"
                    );
                }
            }
        }
    }
}

#[test]
fn each_answer_is_the_one_that_model_predict_gives_and_memory_does_not_grow() {
    const SLACK: u64 = 30_000_000;
    let material = material();
    let predicted = predicted(material);
    let scene = Scene::on(Kind::Kafka);
    let worker = worker(&scene, "w1", material, None, &[]);
    let mut asked = Asked::default();
    let held = [(); 4].map(|()| {
        asked.send(&scene, material, 5);
        scene.settle(&mut asked.account);
        worker.process.resident_bytes()
    });
    asked.account.assert_whole(0);
    asked.assert_as_predicted(&predicted);
    assert!(held[2..].iter().all(|bytes| *bytes < held[1] + SLACK), "after each round: {held:?}");
}

#[test]
fn a_kill_amid_all_engines_loses_nothing() {
    let material = material();
    let predicted = predicted(material);
    let scene = Scene::on(Kind::Kafka);
    let mut first = worker(&scene, "w1", material, None, &[]);
    let mut asked = Asked::default();
    asked.send(&scene, material, 20);
    let mut results = scene.results();
    results.read_count(100, PATIENCE);
    first.process.kill();
    let before = scene.offsets();
    let repeated = asked.account.uncommitted(&before);
    let _second = worker(&scene, "w2", material, None, &[]);
    scene.settle(&mut asked.account);
    let repeated = asked.account.answered_by("w1", &repeated);
    asked.account.assert_whole_but_for(&repeated);
    assert!(asked.account.shares().len() == 2, "{:?}", asked.account.shares());
    asked.assert_as_predicted(&predicted);
}

/// A slow version of one engine has more waiting than it can do; those of the others have their turns.
#[test]
fn a_flooded_version_does_not_keep_the_others_waiting() {
    // With the others below what a worker takes at once, so that all of them wait in it.
    const FLOOD: usize = 60;
    const ROUNDS: usize = 4;
    const BEHIND: usize = 25;
    // As many as are computed at once where nothing else is set.
    const BATCH: usize = 8;
    let material = material();
    let scene = Scene::laid_out(Kind::Kafka, &Layout { partitions: 1, ..Layout::default() });
    let slow = "{name: slow, version: 1, engine: openvino}";
    // Else one that decodes slowly stops taking at what waits to be decoded.
    let takes_all =
        ["--set=queue.backpressure.low_requests=120", "--set=queue.backpressure.low_bytes=60000000"];
    let worker = worker(&scene, "w1", material, Some(slow), &takes_all);
    let sandal = &clothes()[0].bytes;
    let flood =
        (0..FLOOD).map(|i| Record::bytes(&format!("flood-{i}"), sandal.clone()).header("ce_model", "slow"));
    let others = (0..ROUNDS).flat_map(|round| SERVED.iter().map(move |served| (round, served)));
    let others = others.map(|(round, served)| {
        let (name, path) = material.images(served).remove(0);
        let Served { model, version, .. } = served;
        Record::bytes(&format!("{name}-{round}-{model}-{version}"), fs::read(path).unwrap())
            .header("ce_model", *model)
            .header("ce_modelversion", version.to_string())
    });
    let records: Vec<_> = flood.chain(others).collect();
    // Nothing is computed before all of them wait, but for a batch that lies ready.
    let halted = worker.process.halt_thread("infer-0");
    drop(scene.sender().send(&records));
    wait_until("all of them in the worker", PATIENCE, || {
        let waiting = metric(worker.http(), "nv_inference_pending_request_count");
        if waiting >= (records.len() - BATCH) as f64 { Ok(()) } else { Err(format!("{waiting} wait")) }
    });
    drop(halted);
    let mut results = scene.results();
    results.read_count(records.len(), PATIENCE);
    let is_other = |id: Option<String>| id.is_some_and(|id| !id.starts_with("flood"));
    let last = results.seen.iter().rposition(|result| is_other(result.id())).unwrap();
    assert!(last + BEHIND < records.len(), "the last one was answered as number {last} of {}", records.len());
}

/// Found in the folder and not named: what can't be read or not be computed is skipped, and the others are served.
#[test]
fn what_can_not_be_loaded_or_computed_is_skipped_and_said_and_the_others_are_served() {
    let material = material();
    let root = paths::scratch().join("skipped");
    copy_version("fashion-mnist", &root);
    let plain = ["--mean", "0", "--std", "255", "--samples", text(&material.colours.join("green.bmp"))]
        .map(str::to_owned);
    let plain: Vec<_> = plain.iter().map(String::as_str).collect();
    let into = Material { weights: root.clone(), ..material.clone() };
    into.import("tampered", "plain.onnx", "four.txt", &plain);
    let file = root.join("tampered/1/model.onnx");
    let mut bytes = fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(file, bytes).unwrap();
    // Its code gives something else than outputs, which shows when it runs.
    let registry = Registry::open(&material.weights).unwrap();
    let mut pair = registry.load("colours", &Select::Version(1)).unwrap().manifest;
    pair.name = "pair".to_owned();
    let pair_file = fs::read(material.nets.join("pair.pt")).unwrap();
    Registry::at(&root).unwrap().publish(pair, &[("model.pt", &pair_file)]).unwrap();
    // No fault: it has no numbers for images that are dark, as those with which an engine is warmed up.
    into.import("shadows", "shadows.onnx", "four.txt", &plain);

    let scene = Scene::on(Kind::Kafka);
    let root = format!("models.root={}", text(&root));
    let worker = scene.worker("w1", &["--set", &root, "--set", "models.allow_torchscript=true"]);
    assert_eq!(worker.ready["models"].to_string(), r#"["fashion-mnist/1","shadows/1"]"#);
    let announced = scene.client(&["models", "--json"]);
    done(&announced);
    let announced: Value = serde_json::from_str(announced.stdout.lines().next().unwrap()).unwrap();
    let reasons: Vec<_> =
        announced["skipped"].as_array().unwrap().iter().map(|s| s["reason"].as_str().unwrap()).collect();
    let [pair, tampered] = reasons[..] else { panic!("{reasons:?}") };
    assert!(pair.starts_with("pair is not served: ") && pair.contains("could not be computed"), "{pair}");
    assert!(
        tampered.starts_with("tampered is not served: ") && tampered.contains("tampered with"),
        "{tampered}"
    );

    let images: BTreeMap<_, _> = material.images(&SERVED[2]).into_iter().collect();
    let ask = |model: &str, image: &str| {
        Record::bytes(&format!("{model} {image}"), fs::read(&images[image]).unwrap())
            .header("ce_model", model)
    };
    let error = |code| Expect::Error { code, dead: false };
    let expected = [
        (ask("pair", "green.bmp"), error(ErrorCode::Unavailable)),
        (ask("tampered", "green.bmp"), error(ErrorCode::Unavailable)),
        (ask("shadows", "green.bmp"), Expect::Label("green".to_owned())),
        (ask("fashion-mnist", "green.bmp"), Expect::Success),
    ];
    let records: Vec<_> = expected.iter().map(|(record, _)| record.clone()).collect();
    let mut account = Account::default();
    account.sent(&records, scene.sender().send(&records), |at| expected[at].1.clone());
    scene.settle(&mut account);
    account.assert_whole(0);
}

/// Makes a file that throws for red one that never comes back: a loop stands where it threw.
const ENDLESS: &str = r#"
import sys, zipfile
throws = b'ops.prim.RaiseException("red is too much", "builtins.ValueError")'
with zipfile.ZipFile(sys.argv[1]) as source, zipfile.ZipFile(sys.argv[2], "w") as endless:
    for name in source.namelist():
        loop = b"for _3 in range(9223372036854775807):\n        means = torch.mul(means, 1.)"
        endless.writestr(name, source.read(name).replace(throws, loop))
"#;

/// A request that a version never comes back from hangs the worker that takes it. It is said which version it is, who asked is answered,
/// and the next worker goes on behind it; nothing is lost.
#[test]
#[ignore = "a room hangs after a minute: make test-more"]
fn a_version_that_hangs_is_named_and_does_not_stop_the_next_worker() {
    let into = Material { weights: paths::scratch().join("hangs"), ..material().clone() };
    copy_version("fashion-mnist", &into.weights);
    let mut python = Command::new(paths::python());
    python.args(["-c", ENDLESS]).arg(into.nets.join("faulty.pt")).arg(into.nets.join("endless.pt"));
    done(&Process::run("python", python, PATIENCE));
    let green = into.colours.join("green.bmp");
    let more =
        ["--mean", "0", "--std", "255", "--samples", text(&green), "--input", "3x8x8", "--allow-torchscript"];
    into.import("endless", "endless.pt", "four.txt", &more);

    let scene = Scene::on(Kind::Kafka);
    let root = format!("models.root={}", text(&into.weights));
    let start = |name: &str| scene.worker(name, &["--set", &root, "--set", "models.allow_torchscript=true"]);
    let mut first = start("w1");
    let red = fs::read(into.colours.join(RED)).unwrap();
    let mut records = vec![Record::bytes("endless", red).header("ce_model", "endless")];
    let sandal = &clothes()[0];
    records.extend((0..50).map(|i| Record::bytes(&format!("sandal-{i}"), sandal.bytes.clone())));
    let mut account = Account::default();
    account.sent(&records, scene.sender().send(&records), |at| match at {
        0 => Expect::Error { code: ErrorCode::Internal, dead: false },
        _ => Expect::Label(sandal.label.clone()),
    });
    let mut results = scene.results();
    results.read_until("an answer", PATIENCE, |seen| {
        let came = seen.iter().any(|result| result.id().as_deref() == Some("endless"));
        if came { Ok(()) } else { Err(format!("{} others came", seen.len())) }
    });
    wait_until("its commit", PATIENCE, || match scene.offsets() {
        offsets if account.uncommitted(&offsets).contains("endless") => Err(format!("{offsets:?}")),
        _ => Ok(()),
    });
    let (code, said) = get(first.http(), "/livez");
    assert!(code == 503 && said.contains(": a batch of 1 for endless 1"), "{code} {said}");
    first.process.kill();
    let second = start("w2");
    scene.settle(&mut account);
    account.assert_whole(records.len());
    assert_eq!(get(second.http(), "/livez").0, 200);
}

/// A version that `model quantize` made, through a worker, answers as `model predict` does; where the processor can't compute it, nobody makes it.
#[test]
fn a_version_of_integers_is_served_as_model_predict_answers() {
    let folder = paths::scratch().join("integers");
    let [weights, data] = ["weights", "data"].map(|name| folder.join(name));
    copy_version("fashion-mnist", &weights);
    fs::create_dir_all(&data).unwrap();
    let samples = clothes();
    for copy in 0..260_usize.div_ceil(samples.len()) {
        for (place, sample) in samples.iter().enumerate() {
            fs::write(data.join(format!("{copy}-{place}.png")), &sample.bytes).unwrap();
        }
    }
    let arguments = ["quantize", "fashion-mnist", "1", "--images", "40", "--min-agreement", "95", "--data"];
    let made = model(&weights, &[&arguments[..], &[text(&data)]].concat());
    if !is_x86_feature_detected!("avx512vnni") && !is_x86_feature_detected!("avxvnni") {
        assert!(made.code == Some(1) && made.stderr.contains("it has no VNNI"), "{made:?}");
        return;
    }
    done(&made);

    let files: Vec<_> = samples.iter().map(|sample| text(&sample.path)).collect();
    let predict = ["predict", "--json", "--model", "fashion-mnist", "--model-version", "2"];
    let predicted = model(&weights, &[&predict[..], &files].concat());
    done(&predicted);
    let scene = Scene::on(Kind::Embedded);
    let root = format!("models.root={}", text(&weights));
    let serve = "models.serve=[{name: fashion-mnist, version: 2}]";
    let _worker = scene.worker("w1", &["--set", &root, "--set", serve]);
    let send =
        ["send", "--wait", "--json", "--model", "fashion-mnist", "--model-version", "2", "--top-k", "5"];
    let sent = scene.client(&[&send[..], &files].concat());
    done(&sent);
    let answers = |stdout: &str| -> BTreeMap<String, Said> {
        let lines = stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines
            .map(|line| (line["file"].to_string(), said(&line["model"]["digest"], &line["predictions"])))
            .collect()
    };
    let (sent, predicted) = (answers(&sent.stdout), answers(&predicted.stdout));
    assert_eq!((sent.len(), predicted.len()), (samples.len(), samples.len()));
    for (file, (digest, expected)) in &predicted {
        let (as_digest, found) = &sent[file];
        assert_eq!((as_digest, found.len()), (digest, expected.len()), "{file}");
        for ((label, index, probability), (as_label, as_index, as_sure)) in expected.iter().zip(found) {
            assert_eq!((as_label, as_index), (label, index), "{file}");
            assert!((as_sure - probability).abs() < 1e-5, "{file}: {as_sure}, not {probability}");
        }
    }
}
