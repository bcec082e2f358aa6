//! Image files made on the spot: BMP, because anyone can write one in ten lines, and the shipped samples with what they show.

use std::path::{Path, PathBuf};

use crate::paths;

/// An uncompressed 24-bit BMP of noise; another seed, another image.
#[must_use]
pub fn noise_bmp(width: u32, height: u32, seed: u64) -> Vec<u8> {
    let (mut file, end) = empty_bmp(width, height);
    // xorshift64: noise needs no library.
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while file.len() < end {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let left = end - file.len();
        file.extend(&state.to_le_bytes()[..left.min(8)]);
    }
    file
}

/// An uncompressed 24-bit BMP of 16 x 16 pixels of one colour.
#[must_use]
pub fn plain_bmp([red, green, blue]: [u8; 3]) -> Vec<u8> {
    let (mut file, end) = empty_bmp(16, 16);
    while file.len() < end {
        file.extend([blue, green, red]);
    }
    file
}

/// A BMP's header, and how long the file is with its pixels.
fn empty_bmp(width: u32, height: u32) -> (Vec<u8>, usize) {
    let row = (width as usize * 3).next_multiple_of(4);
    let pixels = row * height as usize;
    let mut file = Vec::with_capacity(54 + pixels);
    let word = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
    file.extend(b"BM");
    file.extend(word(54 + pixels));
    file.extend([0; 4]);
    file.extend(word(54));
    file.extend(word(40));
    file.extend(width.to_le_bytes());
    file.extend(height.to_le_bytes());
    file.extend([1, 0, 24, 0]);
    file.extend([0; 4]);
    file.extend(word(pixels));
    file.extend([0; 16]);
    (file, 54 + pixels)
}

/// The first bytes of a PNG that declares 60,000 x 60,000 pixels: 10 GB, were anyone to believe it.
#[must_use]
pub fn bomb_png() -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    let header =
        [&b"IHDR"[..], &60_000u32.to_be_bytes(), &60_000u32.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
    chunk(&mut file, &header);
    chunk(&mut file, &[&b"IDAT"[..], &[0x78, 0x01, 0x01, 0x00, 0x00, 0xff, 0xff, 0, 0, 0, 1]].concat());
    chunk(&mut file, b"IEND");
    file
}

fn chunk(file: &mut Vec<u8>, kind_and_data: &[u8]) {
    let length = u32::try_from(kind_and_data.len().saturating_sub(4)).unwrap_or(u32::MAX);
    file.extend(length.to_be_bytes());
    file.extend(kind_and_data);
    let mut crc = u32::MAX;
    for byte in kind_and_data {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    file.extend((!crc).to_be_bytes());
}

/// A sample that ships, and the label it should get.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The file.
    pub path: PathBuf,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The label.
    pub label: String,
}

/// One sample of each class of Fashion-MNIST; the number in a file's name is its class.
///
/// # Panics
/// Where they are not all there.
#[must_use]
pub fn clothes() -> Vec<Sample> {
    let labels = fashion_labels();
    let folder = paths::samples();
    let files = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let class = |path: &Path| path.file_stem()?.to_str()?.chars().last()?.to_digit(10);
    let mut samples = files
        .flatten()
        .filter_map(|entry| {
            let path = entry.path();
            let label = labels.get(class(&path)? as usize)?.clone();
            Some(Sample { bytes: read(&path), path, label })
        })
        .collect::<Vec<_>>();
    samples.sort_by(|a, b| a.path.cmp(&b.path));
    assert_eq!(samples.len(), 10, "{} should hold one sample of each class", folder.display());
    samples
}

/// Two birds that the bird model knows, and a sandal, which is none.
#[must_use]
pub fn birds() -> Vec<Sample> {
    [("scarlet_macaw.webp", "macaw"), ("hen.webp", "hen"), ("sandal5.png", "not a bird")]
        .into_iter()
        .map(|(file, label)| {
            let path = paths::sample(file);
            Sample { bytes: read(&path), path, label: label.to_owned() }
        })
        .collect()
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn fashion_labels() -> Vec<String> {
    let registry = registry::Registry::open(paths::weights()).unwrap_or_else(|e| panic!("{e}"));
    let version = registry
        .load("fashion-mnist", &registry::Select::Latest)
        .unwrap_or_else(|e| panic!("the model can't be loaded: {e}"));
    version.manifest.classes.labels.into_iter().map(|class| class.label).collect()
}
