//! Labelled images in the idx format of MNIST (<http://yann.lecun.com/exdb/mnist/>), plain or gzipped, read whole and checked.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;

/// Where Debian's package dataset-fashion-mnist puts its four files.
pub const DEBIAN_FASHION_MNIST: &str = "/usr/share/datasets/fashion-mnist";

/// Fashion-MNIST's classes, in the order of their numbers (<https://arxiv.org/abs/1708.07747>).
pub const FASHION_MNIST_LABELS: [&str; 10] = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
];

const IMAGES_MAGIC: u32 = 0x0000_0803;
const LABELS_MAGIC: u32 = 0x0000_0801;
/// MNIST's largest relative holds 814,255 images of 784 bytes; a header that claims more than this is damaged.
const MAX_BYTES: u64 = 1 << 30;

/// Why a data set could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// Neither the plain file nor its gzipped form is there.
    #[error(
        "{folder} holds neither {name} nor {name}.gz; install Debian's package dataset-fashion-mnist or name a folder with the idx files by --data"
    )]
    Missing {
        /// The folder looked in.
        folder: PathBuf,
        /// The file's name without `.gz`.
        name: String,
    },
    /// The file could not be read to its end.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not what its name says.
    #[error("{path} is no usable idx file: {reason}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// Which half of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// `train-*`: 60,000 images in Fashion-MNIST.
    Train,
    /// `t10k-*`: 10,000 images in Fashion-MNIST.
    Test,
}

impl Split {
    fn prefix(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Test => "t10k",
        }
    }
}

/// Grey images of one size with a label each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    /// Pixels down.
    pub rows: usize,
    /// Pixels across.
    pub columns: usize,
    /// All images one after another, row by row, 0 black to 255 white.
    pub pixels: Vec<u8>,
    /// One class number for each image.
    pub labels: Vec<u8>,
}

impl Dataset {
    /// Reads `<prefix>-images-idx3-ubyte[.gz]` and `<prefix>-labels-idx1-ubyte[.gz]` from a folder.
    ///
    /// # Errors
    /// A missing, unreadable or malformed file, or counts that disagree.
    pub fn read(folder: &Path, split: Split) -> Result<Self, DatasetError> {
        let (path, reader) = open(folder, &format!("{}-images-idx3-ubyte", split.prefix()))?;
        let (shape, pixels) = idx(&path, reader, IMAGES_MAGIC, 3)?;
        let (rows, columns) = (shape[1], shape[2]);
        if pixels.is_empty() {
            return Err(format_error(&path, "it holds no image"));
        }
        let (path, reader) = open(folder, &format!("{}-labels-idx1-ubyte", split.prefix()))?;
        let (counts, labels) = idx(&path, reader, LABELS_MAGIC, 1)?;
        if counts[0] != shape[0] {
            return Err(format_error(
                &path,
                format!("it labels {} images, and there are {}", counts[0], shape[0]),
            ));
        }
        Ok(Self { rows, columns, pixels, labels })
    }

    /// Number of images.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Keeps the first `images` only.
    pub fn truncate(&mut self, images: usize) {
        self.labels.truncate(images);
        self.pixels.truncate(images.saturating_mul(self.rows * self.columns));
    }

    /// Those images, in that order. A place beyond the last image is passed over.
    #[must_use]
    pub fn select(&self, places: impl IntoIterator<Item = usize>) -> Self {
        let (rows, columns) = (self.rows, self.columns);
        let mut selected = Self { rows, columns, pixels: Vec::new(), labels: Vec::new() };
        for place in places {
            let pixels = self.pixels.get(place * rows * columns..(place + 1) * rows * columns);
            if let (Some(pixels), Some(&label)) = (pixels, self.labels.get(place)) {
                selected.pixels.extend_from_slice(pixels);
                selected.labels.push(label);
            }
        }
        selected
    }

    /// The images one after another, `rows * columns` bytes each.
    pub fn images(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.pixels.chunks_exact(self.rows * self.columns)
    }
}

fn open(folder: &Path, name: &str) -> Result<(PathBuf, Box<dyn Read>), DatasetError> {
    for (file, gzipped) in [(name.to_owned(), false), (format!("{name}.gz"), true)] {
        let path = folder.join(file);
        match File::open(&path) {
            Ok(file) if gzipped => return Ok((path, Box::new(GzDecoder::new(BufReader::new(file))))),
            Ok(file) => return Ok((path, Box::new(BufReader::new(file)))),
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(DatasetError::Read { path, source }),
        }
    }
    Err(DatasetError::Missing { folder: folder.to_owned(), name: name.to_owned() })
}

/// A magic number, one big-endian length for each dimension, then exactly that many bytes.
fn idx(
    path: &Path,
    mut reader: Box<dyn Read>,
    magic: u32,
    dimensions: usize,
) -> Result<(Vec<usize>, Vec<u8>), DatasetError> {
    let found = be_u32(path, &mut reader)?;
    if found != magic {
        return Err(format_error(path, format!("it begins with {found:#010x} instead of {magic:#010x}")));
    }
    let mut shape = Vec::with_capacity(dimensions);
    let mut total = 1_u64;
    for _ in 0..dimensions {
        let length = be_u32(path, &mut reader)?;
        total = total.saturating_mul(u64::from(length));
        shape.push(length as usize);
    }
    if total > MAX_BYTES {
        return Err(format_error(path, format!("its header claims {total} bytes")));
    }
    let mut data = Vec::new();
    // One byte more than claimed is asked for, so that what is too long is seen too.
    reader
        .take(total + 1)
        .read_to_end(&mut data)
        .map_err(|source| DatasetError::Read { path: path.to_owned(), source })?;
    let found = data.len() as u64;
    if found < total {
        let reason =
            format!("it is truncated: its header claims {total} bytes of data, and it holds {found}");
        return Err(format_error(path, reason));
    }
    if found > total {
        return Err(format_error(
            path,
            format!("it holds more than the {total} bytes that its header claims"),
        ));
    }
    Ok((shape, data))
}

fn be_u32(path: &Path, reader: &mut dyn Read) -> Result<u32, DatasetError> {
    let mut bytes = [0; 4];
    match reader.read_exact(&mut bytes) {
        Ok(()) => Ok(u32::from_be_bytes(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
            Err(format_error(path, "it ends within its header"))
        }
        Err(source) => Err(DatasetError::Read { path: path.to_owned(), source }),
    }
}

fn format_error(path: &Path, reason: impl Into<String>) -> DatasetError {
    DatasetError::Format { path: path.to_owned(), reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn idx_file(magic: u32, shape: &[u32], data: &[u8]) -> Vec<u8> {
        let header = std::iter::once(&magic).chain(shape).flat_map(|word| word.to_be_bytes());
        header.chain(data.iter().copied()).collect()
    }

    fn folder(images: &[u8], labels: &[u8]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("t10k-images-idx3-ubyte"), images).unwrap();
        std::fs::write(folder.path().join("t10k-labels-idx1-ubyte"), labels).unwrap();
        folder
    }

    fn refusal(images: &[u8], labels: &[u8]) -> String {
        let folder = folder(images, labels);
        Dataset::read(folder.path(), Split::Test).unwrap_err().to_string()
    }

    const PIXELS: [u8; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];

    fn images() -> Vec<u8> {
        idx_file(IMAGES_MAGIC, &[2, 2, 3], &PIXELS)
    }

    fn labels() -> Vec<u8> {
        idx_file(LABELS_MAGIC, &[2], &[7, 9])
    }

    #[test]
    fn reads_images_row_by_row_with_their_labels() {
        let folder = folder(&images(), &labels());
        let data = Dataset::read(folder.path(), Split::Test).unwrap();
        assert_eq!((data.len(), data.rows, data.columns), (2, 2, 3));
        assert_eq!(data.labels, [7, 9]);
        assert_eq!(data.images().nth(1).unwrap(), [6, 7, 8, 9, 10, 11]);
    }

    #[test]
    fn reads_the_same_from_gzipped_files() {
        let plain = folder(&images(), &labels());
        let gzipped = tempfile::tempdir().unwrap();
        for (name, content) in [("images-idx3", images()), ("labels-idx1", labels())] {
            let file = File::create(gzipped.path().join(format!("t10k-{name}-ubyte.gz"))).unwrap();
            let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
            encoder.write_all(&content).unwrap();
            encoder.finish().unwrap();
        }
        assert_eq!(
            Dataset::read(gzipped.path(), Split::Test).unwrap(),
            Dataset::read(plain.path(), Split::Test).unwrap()
        );
        // Cut off in the middle, gzip itself says so.
        let path = gzipped.path().join("t10k-images-idx3-ubyte.gz");
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 9]).unwrap();
        let error = Dataset::read(gzipped.path(), Split::Test).unwrap_err();
        assert!(matches!(&error, DatasetError::Read { path: named, .. } if *named == path), "{error}");
    }

    #[test]
    fn says_what_is_wrong_with_a_file() {
        let cut = |bytes: Vec<u8>, by: usize| bytes[..bytes.len() - by].to_vec();
        let error = refusal(&cut(images(), 1), &labels());
        assert!(error.contains("t10k-images") && error.contains("truncated"), "{error}");
        assert!(error.contains("12 bytes") && error.contains("holds 11"), "{error}");
        assert!(refusal(&images()[..9], &labels()).contains("ends within its header"));
        assert!(refusal(b"", &labels()).contains("ends within its header"));
        assert!(refusal(&labels(), &labels()).contains("begins with 0x00000801 instead of 0x00000803"));
        let error = refusal(&images(), &[labels(), vec![0]].concat());
        assert!(error.contains("t10k-labels") && error.contains("more than"), "{error}");
        let one = idx_file(LABELS_MAGIC, &[1], &[7]);
        assert!(refusal(&images(), &one).contains("it labels 1 images, and there are 2"));
        let none = idx_file(IMAGES_MAGIC, &[0, 28, 28], &[]);
        assert!(refusal(&none, &idx_file(LABELS_MAGIC, &[0], &[])).contains("no image"));
        // Asked for before anything is allocated.
        let huge = idx_file(IMAGES_MAGIC, &[u32::MAX, u32::MAX, u32::MAX], &PIXELS);
        assert!(refusal(&huge, &labels()).contains("its header claims"));
    }

    #[test]
    fn a_missing_file_is_named_with_the_package_that_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let error = Dataset::read(folder.path(), Split::Train).unwrap_err().to_string();
        assert!(
            error.contains("train-images-idx3-ubyte") && error.contains("dataset-fashion-mnist"),
            "{error}"
        );
    }
}
