//! The labelled images that a version is shown: those of idx files, or of a folder, `folder/<class>/*`, whose folders are named as the
//! version's classes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use registry::{Classes, Manifest};

use super::EvaluateError;
use super::judge::Truth;
use crate::dataset::Dataset;
use crate::transfer::folder;
use crate::variants::{Grey, Variant};

/// An image, before it is read.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its file's path, or `<idx file>/<number>` for one of a data set, as people read it.
    pub name: String,
    /// What it shows.
    pub truth: Truth,
    place: Place,
}

#[derive(Debug, Clone)]
enum Place {
    File(PathBuf),
    /// Its number in the data set, from 0.
    Idx(usize),
}

/// The images to show.
#[derive(Debug, Clone)]
pub struct Images<'a> {
    list: Vec<Image>,
    data: Option<&'a Dataset>,
    variant: Variant,
    seed: u64,
    /// Folders in which there is no image.
    empty: Vec<PathBuf>,
}

impl<'a> Images<'a> {
    /// The images of idx files, in their order; a label is the number of a class. `name` is the file's.
    ///
    /// # Errors
    /// A label for which the version has no class.
    pub fn of_dataset(data: &'a Dataset, name: &str, classes: &Classes) -> Result<Self, EvaluateError> {
        let places: HashMap<u32, usize> =
            classes.labels.iter().enumerate().map(|(place, class)| (class.index, place)).collect();
        let image = |(image, &label): (usize, &u8)| {
            let truth = places.get(&u32::from(label)).copied().map(Truth::Class);
            let truth = truth.ok_or(EvaluateError::Label { image, label })?;
            Ok(Image { name: format!("{name}/{image}"), truth, place: Place::Idx(image) })
        };
        let list = data.labels.iter().enumerate().map(image).collect::<Result<_, EvaluateError>>()?;
        Ok(Self { list, data: Some(data), variant: Variant::Raw, seed: 0, empty: Vec::new() })
    }

    /// The files of `root/<class>/*`, by class and name; what begins with a dot is passed over. A folder's name is a class's if it is its
    /// label, or but for case and for what is neither letter nor digit; one named as the version's "none of these" holds others.
    ///
    /// # Errors
    /// A folder that cannot be listed, that is named as no class, or none at all.
    pub fn in_folder(root: &Path, manifest: &Manifest) -> Result<Self, EvaluateError> {
        let names = Names::of(&manifest.classes);
        let (mut list, mut empty, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
        for folder::Listed { name, path, files } in folder::listed(root)? {
            let Some(truth) = names.truth(&name) else {
                unknown.push(name);
                continue;
            };
            if files.is_empty() {
                empty.push(path);
            }
            list.extend(files.into_iter().map(|file| Image::file(file, truth)));
        }
        if !unknown.is_empty() {
            return Err(EvaluateError::Unknown {
                root: root.to_owned(),
                model: format!("{} version {}", manifest.name, manifest.version),
                folders: some(unknown.iter().map(String::as_str)),
                classes: some(manifest.classes.labels.iter().map(|class| class.label.as_str())),
            });
        }
        if !list.iter().any(|image: &Image| image.truth != Truth::Other) {
            return Err(EvaluateError::NoImage { root: root.to_owned() });
        }
        Ok(Self { list, data: None, variant: Variant::Raw, seed: 0, empty })
    }

    /// The same images in other clothes; `seed` fixes what is drawn for each. For those of idx files alone.
    #[must_use]
    pub fn dressed(&self, variant: Variant, seed: u64) -> Self {
        Self { variant, seed, ..self.clone() }
    }

    /// Adds the files of a folder, and of the folders in it, that show none of the classes.
    ///
    /// # Errors
    /// A folder that cannot be listed, or in which there is no file.
    pub fn add_others(&mut self, root: &Path) -> Result<(), EvaluateError> {
        let before = self.list.len();
        let folders = folder::listed(root)?.into_iter().flat_map(|listed| listed.files);
        let beside = folder::entries(root)?.into_iter().filter(|path| !path.is_dir());
        self.list.extend(beside.chain(folders).map(|file| Image::file(file, Truth::Other)));
        if self.list.len() == before { Err(EvaluateError::NoOther { root: root.to_owned() }) } else { Ok(()) }
    }

    /// Keeps `count` of them: of idx files the first, of a folder such as are spread evenly over all.
    pub fn keep(&mut self, count: usize) {
        let all = self.list.len();
        if self.data.is_some() || count >= all {
            self.list.truncate(count);
            return;
        }
        let chosen: Vec<Image> = (0..count).map(|place| self.list[place * all / count].clone()).collect();
        self.list = chosen;
    }

    /// All of them.
    #[must_use]
    pub fn list(&self) -> &[Image] {
        &self.list
    }

    /// The folders of classes in which there is nothing.
    #[must_use]
    pub fn empty(&self) -> &[PathBuf] {
        &self.empty
    }

    /// Whether they are images of idx files.
    #[must_use]
    pub fn is_dataset(&self) -> bool {
        self.data.is_some()
    }

    /// An image's file.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub fn file(&self, image: &Image) -> Result<Vec<u8>, String> {
        match (&image.place, self.data) {
            (Place::File(path), _) => folder::read(path),
            (&Place::Idx(number), Some(data)) => {
                let size = data.rows * data.columns;
                let pixels = data.pixels.get(number * size..(number + 1) * size);
                let pixels = pixels.ok_or("the data set has fewer images")?;
                let grey = Grey { pixels, width: data.columns as u32, height: data.rows as u32 };
                self.variant
                    .file(grey, self.seed, number)
                    .map_err(|error| format!("it cannot be written as a file: {error}"))
            }
            (Place::Idx(_), None) => Err("there is no data set".into()),
        }
    }
}

impl Image {
    fn file(path: PathBuf, truth: Truth) -> Self {
        Self { name: path.display().to_string(), truth, place: Place::File(path) }
    }
}

/// What folders may be called.
struct Names {
    exact: HashMap<String, Truth>,
    /// By their [`plain`] names; none where two classes have the same.
    plain: HashMap<String, Option<Truth>>,
}

impl Names {
    fn of(classes: &Classes) -> Self {
        let labels =
            classes.labels.iter().enumerate().map(|(place, class)| (&class.label, Truth::Class(place)));
        let none = classes.reject.iter().map(|reject| (&reject.label, Truth::Other));
        let (mut exact, mut plainly) = (HashMap::new(), HashMap::new());
        for (label, truth) in labels.chain(none) {
            exact.entry(label.clone()).or_insert(truth);
            // Of what has no word nothing else is the same.
            if plain(label).is_empty() {
                continue;
            }
            plainly.entry(plain(label)).and_modify(|found| *found = None).or_insert(Some(truth));
        }
        Self { exact, plain: plainly }
    }

    fn truth(&self, name: &str) -> Option<Truth> {
        self.exact.get(name).copied().or_else(|| self.plain.get(&plain(name)).copied().flatten())
    }
}

/// Words in lower case with one blank between them: a folder can't have each character of a label.
fn plain(label: &str) -> String {
    let words = label.split(|character: char| !character.is_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ").to_lowercase()
}

/// The first of these names, and how many more there are.
fn some<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    const SAID: usize = 5;
    let more = names.len().saturating_sub(SAID);
    let said: Vec<String> = names.take(SAID).map(|name| format!("{name:?}")).collect();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    said.join(", ") + &more
}

#[cfg(test)]
mod tests {
    use registry::{Activation, Class, Reject};

    use super::*;

    #[test]
    fn a_folder_is_a_class_by_its_words_unless_two_are_alike() {
        let labels = ["T-shirt/top", "Bag", "bag", "great grey owl"];
        let labels = labels.into_iter().zip(0..).map(|(label, index)| Class { index, label: label.into() });
        let names = Names::of(&Classes {
            outputs: 4,
            activation: Activation::Softmax,
            labels: labels.collect(),
            reject: Some(Reject { label: "not a thing".into(), threshold: 0.5 }),
            calibration: None,
        });
        for (name, expected) in [
            ("t_shirt__top", Some(Truth::Class(0))),
            ("Bag", Some(Truth::Class(1))),
            ("bag", Some(Truth::Class(2))),
            ("BAG", None),
            ("Great-Grey_Owl", Some(Truth::Class(3))),
            ("not_a_thing", Some(Truth::Other)),
            ("owl", None),
            ("_", None),
        ] {
            assert_eq!(names.truth(name), expected, "{name}");
        }
    }

    #[test]
    fn of_many_names_some_are_said() {
        assert_eq!(some(["a", "b\"c"].into_iter()), r#""a", "b\"c""#);
        assert_eq!(some(["a"; 7].into_iter()), r#""a", "a", "a", "a", "a" and 2 more"#);
    }
}
