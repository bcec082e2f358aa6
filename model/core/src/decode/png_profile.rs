//! EXIF in a PNG as ImageMagick and others write it: hexadecimal text in a text chunk, from before PNG had a chunk for it.

use std::io::Read as _;

use flate2::bufread::ZlibDecoder;

/// What the text is called; a zero byte ends the name.
const NAMES: [&[u8]; 2] = [b"Raw profile type exif\0", b"Raw profile type APP1\0"];
/// No more text is read: an EXIF block is at most 64 KiB, twice that in hexadecimal.
const MAX_TEXT: u64 = 160 << 10;

/// The EXIF block, without its `Exif` marker, if the file has one in this way. A damaged one is none.
pub(super) fn exif(file: &[u8]) -> Option<Vec<u8>> {
    let mut rest = file.get(8..)?;
    loop {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let (name, after) = after.split_first_chunk::<4>()?;
        let (data, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        let text = NAMES.iter().find_map(|name| data.strip_prefix(*name));
        match (name, text) {
            (b"tEXt", Some(text)) => return block(text),
            (b"zTXt", Some([0, packed @ ..])) => {
                let mut text = Vec::new();
                ZlibDecoder::new(packed).take(MAX_TEXT).read_to_end(&mut text).ok()?;
                return block(&text);
            }
            (b"IEND", _) => return None,
            // Each is followed by its check sum.
            _ => rest = after.get(4..)?,
        }
    }
}

/// The text is a line with the profile's name, a line with its length, and lines of hexadecimal digits.
fn block(text: &[u8]) -> Option<Vec<u8>> {
    let mut words = text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let (_name, _length) = (words.next()?, words.next()?);
    let digit = |digit: &u8| char::from(*digit).to_digit(16).map(|digit| digit as u8);
    let digits = words.flatten().map(digit).collect::<Option<Vec<u8>>>()?;
    let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    bytes.strip_prefix(b"Exif\0\0").map(<[u8]>::to_vec)
}
