//! Tensors in bytes, as both REST (extension `binary_tensor_data`) and gRPC (raw contents) carry them: elements one behind the
//! other, little-endian; of BYTES each behind its length in 4 bytes.

use crate::problem::Problem;

/// The datatype of images and labels.
pub const BYTES: &str = "BYTES";
/// The datatype of probabilities.
pub const FP32: &str = "FP32";

/// An output.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Its name.
    pub name: &'static str,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its elements in row-major order.
    pub data: Data,
}

/// The elements of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// Probabilities.
    Fp32(Vec<f32>),
    /// Texts.
    Bytes(Vec<Vec<u8>>),
}

impl Tensor {
    /// The name of its datatype.
    #[must_use]
    pub fn datatype(&self) -> &'static str {
        match self.data {
            Data::Fp32(_) => FP32,
            Data::Bytes(_) => BYTES,
        }
    }

    /// Its shape as the protocol counts.
    #[must_use]
    pub fn dimensions(&self) -> Vec<i64> {
        self.shape.iter().map(|size| i64::try_from(*size).unwrap_or(i64::MAX)).collect()
    }

    /// Its elements in bytes.
    #[must_use]
    pub fn raw(&self) -> Vec<u8> {
        match &self.data {
            Data::Fp32(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Data::Bytes(elements) => {
                let length =
                    |element: &Vec<u8>| u32::try_from(element.len()).unwrap_or(u32::MAX).to_le_bytes();
                elements.iter().flat_map(|element| [&length(element)[..], element].concat()).collect()
            }
        }
    }
}

/// The elements of a BYTES tensor; no more than `most`.
///
/// # Errors
/// Where the lengths do not add up.
pub fn elements(mut raw: &[u8], most: usize) -> Result<Vec<Vec<u8>>, Problem> {
    let mut elements = Vec::new();
    while !raw.is_empty() {
        if elements.len() == most {
            return Err(Problem::bad_request(format!(
                "there are more images than the {most} that are taken at once"
            )));
        }
        let broken = || {
            Problem::bad_request(format!(
                "the bytes of the input do not add up behind element {}: each is its length in 4 bytes, little-endian, and so many bytes",
                elements.len()
            ))
        };
        let (length, rest) = raw.split_first_chunk::<4>().ok_or_else(broken)?;
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| broken())?;
        let (element, rest) = rest.split_at_checked(length).ok_or_else(broken)?;
        elements.push(element.to_vec());
        raw = rest;
    }
    Ok(elements)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_are_the_protocol_s_bytes() {
        let data = Data::Fp32(vec![1.0, -0.5]);
        let tensor = Tensor { name: "p", shape: vec![1, 2], data };
        assert_eq!(tensor.raw(), [0, 0, 0x80, 0x3f, 0, 0, 0, 0xbf]);
        assert_eq!((tensor.datatype(), tensor.dimensions()), ("FP32", vec![1, 2]));
        let data = Data::Bytes(vec![b"ab".to_vec(), Vec::new()]);
        let tensor = Tensor { name: "l", shape: vec![2], data };
        assert_eq!(tensor.raw(), [2, 0, 0, 0, b'a', b'b', 0, 0, 0, 0]);
        assert_eq!(elements(&tensor.raw(), 2).unwrap(), [b"ab".to_vec(), Vec::new()]);
        assert_eq!(elements(&[], 2).unwrap(), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn bytes_that_do_not_add_up_are_refused() {
        for raw in
            [&[1, 0, 0][..], &[2, 0, 0, 0, b'a'], &[0xff, 0xff, 0xff, 0xff, b'a'], &[1, 0, 0, 0, b'a', 7]]
        {
            assert!(elements(raw, 9).unwrap_err().detail().contains("do not add up"), "{raw:?}");
        }
        assert!(elements(&[0; 12], 2).unwrap_err().detail().contains("more images than the 2"));
    }
}
