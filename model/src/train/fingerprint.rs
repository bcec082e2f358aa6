//! Which images a run has learned from.

use registry::{Data, FileEntry};

use crate::dataset::Dataset;

/// The SHA-256 of the data set's two files, as they are when unpacked: `zcat train-images-idx3-ubyte.gz | sha256sum` gives it too.
pub(super) fn fingerprint(data: &Dataset) -> Vec<Data> {
    let file = |name: &str, magic: u32, shape: &[usize], bytes: &[u8]| {
        // The format's lengths are of 32 bits, and the reader has taken them from there.
        let words = [magic].into_iter().chain(shape.iter().map(|&length| length as u32));
        let mut file: Vec<u8> = words.flat_map(u32::to_be_bytes).collect();
        file.extend_from_slice(bytes);
        Data { name: name.into(), sha256: FileEntry::of_bytes(&file).sha256 }
    };
    vec![
        file("train-images-idx3-ubyte", 0x803, &[data.len(), data.rows, data.columns], &data.pixels),
        file("train-labels-idx1-ubyte", 0x801, &[data.len()], &data.labels),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_unpacked_files_and_changes_with_a_label() {
        let mut data = Dataset { rows: 1, columns: 2, pixels: vec![1, 2, 3, 4], labels: vec![5, 6] };
        let found = fingerprint(&data);
        // printf '\0\0\10\3\0\0\0\2\0\0\0\1\0\0\0\2\1\2\3\4' | sha256sum
        assert_eq!(found[0].sha256, "ffa40123e1211233f22e53aaceaae2cae4a3b44771c7bb3bd20a6e2fb900058b");
        data.labels[1] = 7;
        let other = fingerprint(&data);
        assert!(found[0] == other[0] && found[1] != other[1]);
    }
}
