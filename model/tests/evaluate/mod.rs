//! `model evaluate` as its users run it, on the tiny version: folders beside idx files, figures held to the answers that they are made of,
//! what is wrong with a folder, and the page.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::tiny::{SIDE, lines, model, objects, stderr};
use crate::trained;

const EVALUATE: [&str; 3] = ["evaluate", "--model", "tiny"];
const LIMIT: Duration = Duration::from_secs(60);
/// Fashion-MNIST's, which the tiny version has, as folders can be called.
const FOLDERS: [&str; 10] = [
    "T-shirt_top",
    "trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "ankle-boot",
];

fn evaluate(more: &[&str]) -> Value {
    lines(trained(), &[&EVALUATE[..], &["--json"], more].concat()).remove(0)
}

fn refused(more: &[&str]) -> (Option<i32>, String) {
    let output = model(trained(), &[&EVALUATE[..], more].concat());
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    (output.status.code(), stderr(&output))
}

/// The test images as files in a folder for each class.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let data = trained().join("data");
    let pixels = fs::read(data.join("t10k-images-idx3-ubyte")).unwrap();
    let labels = fs::read(data.join("t10k-labels-idx1-ubyte")).unwrap();
    for (number, (pixels, &label)) in pixels[16..].chunks_exact(SIDE * SIDE).zip(&labels[8..]).enumerate() {
        let class = folder.path().join(FOLDERS[usize::from(label)]);
        fs::create_dir_all(&class).unwrap();
        let file = class.join(format!("{number:03}.png"));
        image::save_buffer(file, pixels, SIDE as u32, SIDE as u32, image::ColorType::L8).unwrap();
    }
    folder
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn black(path: PathBuf) {
    image::GrayImage::new(28, 28).save(path).unwrap();
}

#[test]
fn a_folder_comes_to_what_its_images_come_to_as_idx_files() {
    let (folder, answers) = (folder(), tempfile::NamedTempFile::new().unwrap());
    let mut idx = evaluate(&["--data", "data"]);
    let more = ["--data", text(folder.path()), "--predictions", text(answers.path())];
    let mut files = evaluate(&more);
    assert_eq!((idx["images"].as_u64(), &idx["failed"]), (Some(50), &serde_json::json!([])));
    // Sums are of another order.
    for report in [&mut idx, &mut files] {
        assert!(report["loss"].take().is_f64());
        for when in ["before", "after"] {
            let reliability = &mut report["calibration"][when];
            assert!(reliability["error"].take().is_f64() && reliability["loss"].take().is_f64());
            reliability["bins"].take();
        }
        report["data"].take();
    }
    assert_eq!(idx, files);
    assert_eq!(fs::read_to_string(answers.path()).unwrap().lines().count(), 50);
    // Of half of a folder each class has its part.
    let half = evaluate(&["--data", text(folder.path()), "--images", "20"]);
    let images: Vec<&Value> =
        half["classes"].as_array().unwrap().iter().map(|class| &class["images"]).collect();
    assert_eq!(images, [2; 10]);
}

#[test]
fn figures_are_those_of_the_answers_that_are_written() {
    let (folder, answers) = (folder(), tempfile::NamedTempFile::new().unwrap());
    // Some labels are wrong, so that there are mistakes.
    let moved = folder.path().join("Sandal");
    for entry in fs::read_dir(folder.path().join("Bag")).unwrap() {
        let path = entry.unwrap().path();
        fs::rename(&path, moved.join(path.file_name().unwrap())).unwrap();
    }
    let more = ["--data", text(folder.path()), "--predictions", text(answers.path())];
    let report = evaluate(&more);
    let written = fs::read_to_string(answers.path()).unwrap();
    let answers: Vec<Value> = written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let first = |answer: &Value| answer["predictions"][0].clone();
    let right = answers.iter().filter(|answer| first(answer)["label"] == answer["label"]).count();
    assert_eq!(answers.iter().filter(|answer| answer["correct"] == true).count(), right);
    assert_eq!((report["correct"].as_u64(), answers.len()), (Some(right as u64), 50));
    assert!(right < 50 && report["accuracy"] == right as f64 / 50.0, "{report}");
    let among = |answer: &&Value| {
        answer["predictions"].as_array().unwrap().iter().any(|p| p["label"] == answer["label"])
    };
    assert_eq!(report["top5"], answers.iter().filter(among).count() as f64 / 50.0);
    // Each cell of the matrix, and precision and recall by counting.
    let classes = report["classes"].as_array().unwrap();
    for (row, class) in classes.iter().enumerate() {
        let own: Vec<&Value> = answers.iter().filter(|answer| answer["label"] == class["label"]).collect();
        for (column, other) in classes.iter().enumerate() {
            let count = own.iter().filter(|answer| first(answer)["label"] == other["label"]).count();
            assert_eq!(report["confusion"][row][column], count, "{class} {other}");
        }
        let named = answers.iter().filter(|answer| first(answer)["label"] == class["label"]).count();
        let hits = own.iter().filter(|answer| first(answer)["label"] == class["label"]).count();
        let share = |of: usize| if of > 0 { Value::from(hits as f64 / of as f64) } else { Value::Null };
        assert_eq!((&class["recall"], &class["precision"]), (&share(own.len()), &share(named)), "{class}");
    }
    // The expected calibration error, over fifteen bins.
    let mut bins = [(0.0, 0.0); 15];
    for answer in &answers {
        let sure = first(answer)["probability"].as_f64().unwrap();
        let bin = &mut bins[((sure * 15.0).ceil() as usize).clamp(1, 15) - 1];
        *bin = (bin.0 + sure, bin.1 + f64::from(u8::from(answer["correct"] == true)));
    }
    let error = bins.iter().map(|(sure, right)| f64::abs(sure - right)).sum::<f64>() / 50.0;
    // Answers are written as they are served, by the manifest's temperature.
    let found = report["calibration"]["after"]["error"].as_f64().unwrap();
    assert!((found - error).abs() < 1e-6, "{found}, not {error}");
}

#[test]
fn none_of_these_is_counted_among_the_classes_and_among_others() {
    let folder = folder();
    let others = tempfile::tempdir().unwrap();
    fs::create_dir(others.path().join("deeper")).unwrap();
    black(others.path().join("black.png"));
    black(others.path().join("deeper/black.png"));
    let a_shoe = fs::read_dir(folder.path().join("Sneaker")).unwrap().next().unwrap().unwrap().path();
    fs::copy(a_shoe, others.path().join("shoe.png")).unwrap();
    black(folder.path().join("Bag/black.png"));
    let report = evaluate(&["--data", text(folder.path()), "--other", text(others.path())]);
    assert_eq!((&report["images"], &report["rejected"]["images"]), (&51.into(), &1.into()));
    assert_eq!((&report["others"]["images"], &report["others"]["of"]), (&2.into(), &3.into()));
    assert_eq!(report["confusion"][8][10], 1, "{report}");
    // A folder that is named as that answer holds such.
    fs::create_dir(folder.path().join("nothing")).unwrap();
    black(folder.path().join("nothing/black.png"));
    let report = evaluate(&["--data", text(folder.path())]);
    assert_eq!((&report["others"]["images"], &report["others"]["of"]), (&1.into(), &1.into()));
}

#[test]
fn what_is_wrong_with_a_folder_is_said() {
    let folder = folder();
    let data = text(folder.path()).to_owned();
    let (code, said) = refused(&["--data", &data, "--split", "validation"]);
    assert!(code == Some(2) && said.contains("--split goes with idx files"), "{code:?} {said}");
    let empty = tempfile::tempdir().unwrap();
    let (code, said) = refused(&["--data", text(empty.path())]);
    assert!(code == Some(2) && said.contains("holds no image of a class"), "{code:?} {said}");
    let (code, said) = refused(&["--data", &data, "--other", text(empty.path())]);
    assert!(code == Some(2) && said.contains("holds no file"), "{code:?} {said}");

    // Files that can't be read are told one by one, and the others go on.
    fs::write(folder.path().join("Bag/notes.txt"), "no image").unwrap();
    fs::create_dir(folder.path().join("Bag/more")).unwrap();
    let output = model(trained(), &[&EVALUATE[..], &["--data", &data, "--json"]].concat());
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
    assert!(stderr(&output).contains("Bag/notes.txt: ") && stderr(&output).contains("Bag/more: "));
    let report = &objects(&output)[0];
    assert_eq!((&report["images"], report["failed"].as_array().map(Vec::len)), (&50.into(), Some(2)));

    fs::create_dir(folder.path().join("hat\n")).unwrap();
    fs::create_dir(folder.path().join("glove")).unwrap();
    let (code, said) = refused(&["--data", &data]);
    assert_eq!(code, Some(2), "{said}");
    for words in [r#"the folders "glove", "hat\n" are named as no class"#, "--other", "\"Trouser\""] {
        assert!(said.contains(words), "{said}");
    }
}

/// The tiny version with other labels, as version 1 of `tiny` in a folder.
fn relabelled(label: &str) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let copy = root.path().join("tiny/1");
    fs::create_dir_all(&copy).unwrap();
    let from = trained().join("weights/tiny/1");
    for entry in fs::read_dir(&from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, copy.join(path.file_name().unwrap())).unwrap();
    }
    let manifest = fs::read_to_string(copy.join("manifest.yaml")).unwrap();
    assert!(manifest.contains("label: Bag"));
    let quoted = serde_json::to_string(label).unwrap();
    fs::write(copy.join("manifest.yaml"), manifest.replace("label: Bag", &format!("label: {quoted}")))
        .unwrap();
    root
}

/// That every element is closed where it should be; what stands in the page's attributes, by name.
fn attributes(page: &str) -> Vec<(String, String)> {
    const VOID: [&str; 4] = ["meta", "br", "img", "!doctype"];
    let (mut open, mut found) = (Vec::new(), Vec::new());
    let mut rest = page;
    while let Some(start) = rest.find('<') {
        rest = &rest[start + 1..];
        let end = rest.find('>').unwrap();
        let (tag, after) = (&rest[..end], &rest[end + 1..]);
        let (name, mut given) = tag.split_once(' ').unwrap_or((tag, ""));
        let name = name.to_lowercase();
        if let Some(name) = name.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "{}", &page[page.len() - after.len()..]);
        } else if !VOID.contains(&name.as_str()) {
            open.push(name.clone());
        }
        while let Some((attribute, value)) = given.split_once("=\"") {
            let (value, more) = value.split_once('"').unwrap();
            found.push((format!("{name} {}", attribute.trim()), value.to_owned()));
            given = more;
        }
        rest = after;
    }
    assert!(open.is_empty(), "{open:?}");
    found
}

#[test]
fn the_page_holds_all_and_loads_nothing_whatever_labels_and_files_are_called() {
    let (folder, weights) = (folder(), relabelled("<script>alert(1)</script>\"'&"));
    // A folder can't be called so, but for its letters.
    fs::rename(folder.path().join("Bag"), folder.path().join("script alert 1 script")).unwrap();
    let hostile = folder.path().join("Coat/\"><img src=x onerror=alert(2)>\n.png");
    fs::copy(folder.path().join("Dress/003.png"), hostile).unwrap();
    fs::write(folder.path().join("Coat/<b>broken.png"), "no image").unwrap();
    black(folder.path().join("Coat/black.png"));
    let page = weights.path().join("page.html");
    let weights = text(weights.path()).to_owned();
    let data = text(folder.path());
    let more = ["--weights", &weights, "--model-version", "1", "--data", data, "--report", text(&page)];
    let output = model(trained(), &[&EVALUATE[..], &more].concat());
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
    let html = fs::read_to_string(&page).unwrap();

    let given = attributes(&html);
    for (name, value) in &given {
        let event = name.split(' ').nth(1).is_some_and(|name| name.starts_with("on"));
        assert!(!event, "{name}={value}");
        if name.ends_with(" src") || name.ends_with(" href") {
            assert!(value.starts_with("data:image/"), "{name}={value}");
        }
    }
    for absent in [
        "<script",
        "<link",
        "<iframe",
        "<b>broken",
        "<img src=x",
        "onerror=alert(2)>",
        "url(",
        "@import",
        "http",
    ] {
        assert!(!html.replace("http-equiv", "").contains(absent), "{absent}");
    }
    assert!(html.contains("&lt;script&gt;alert(1)&lt;/script&gt;&quot;"));
    assert!(html.contains("Content-Security-Policy") && html.contains("default-src 'none'"));
    let values = |wanted: &str| {
        given.iter().filter(|(name, _)| name == wanted).map(|(_, value)| value).collect::<Vec<_>>()
    };
    let pictures = values("img src");
    assert_eq!((pictures.len(), values("img alt").len()), (pictures.len(), pictures.len()));
    assert!(pictures.len() >= 2 && values("svg aria-label").len() == 2, "{}", pictures.len());
    assert!(values("th scope").len() >= 20);
    for words in [
        "95 % interval",
        "Calibration error",
        "Confusion matrix",
        "The worst mistakes",
        "Called nothing, and should have been named",
        "Images that could not be answered",
    ] {
        assert!(html.contains(words), "{words}");
    }
    // No draft is left beside it.
    let beside = fs::read_dir(page.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name());
    let mut beside: Vec<_> = beside.collect();
    beside.sort();
    assert_eq!(beside, ["page.html", "tiny"]);
}

#[test]
fn where_no_page_can_be_written_is_said_before_the_work() {
    let folder = tempfile::tempdir().unwrap();
    let path = text(folder.path());
    let deeper = format!("{path}/no/page.html");
    for (option, file, words) in [
        ("--report", path, "it is a folder"),
        ("--report", &deeper, "there is no folder"),
        ("--predictions", path, "it is a folder"),
    ] {
        let (code, said) = refused(&["--data", "nowhere", option, file]);
        assert!(code == Some(2) && said.contains(words), "{code:?} {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    for (file, words) in [("/dev/full", "No space left on device"), ("/proc/page.html", "/proc/page.html: ")]
    {
        let (code, said) = refused(&["--data", "data", "--report", file]);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("cannot write") && said.contains(words), "{said}");
    }
}

#[test]
fn a_temperature_is_fitted_and_the_version_stays() {
    let manifest = trained().join("weights/tiny/1/manifest.yaml");
    let before = fs::read(&manifest).unwrap();
    let report = evaluate(&["--data", "data", "--split", "validation", "--fit-temperature"]);
    let calibration = &report["calibration"];
    let (fitted, plain) = (&calibration["fitted"], &calibration["before"]);
    assert!(fitted["temperature"].as_f64().is_some_and(|t| (0.05..=20.0).contains(&t)), "{calibration}");
    assert!(fitted["loss"].as_f64() <= plain["loss"].as_f64(), "{calibration}");
    assert_eq!(fs::read(&manifest).unwrap(), before);
    let output = model(trained(), &[&EVALUATE[..], &["--data", "data", "--fit-temperature"]].concat());
    assert!(String::from_utf8_lossy(&output.stdout).contains("fitted on these images"));
    let (code, said) = refused(&["--data", "data", "--fit-temperature", "--variants"]);
    assert!(code == Some(2) && said.contains("--variants"), "{said}");
}

#[test]
fn ended_by_a_signal_it_leaves_no_half_of_a_page() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    // 20,000 images: the 50, over and over.
    for (name, header) in [("t10k-images-idx3-ubyte", 16), ("t10k-labels-idx1-ubyte", 8)] {
        let mut bytes = fs::read(trained().join("data").join(name)).unwrap();
        bytes[4..8].copy_from_slice(&20_000_u32.to_be_bytes());
        let rest = bytes.split_off(header);
        fs::write(data.join(name), [bytes, rest.repeat(400)].concat()).unwrap();
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_model"));
    command.env_clear().current_dir(trained()).args(EVALUATE).args(["--data", text(&data)]);
    let page = folder.path().join("page.html");
    let mut child =
        command.arg("--report").arg(&page).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(said.next().unwrap().unwrap().contains("computed by"));
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    let since = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if since.elapsed() > LIMIT {
            child.kill().unwrap();
            panic!("it did not end");
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    assert_eq!(status.code(), Some(130));
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["data"]);
}
