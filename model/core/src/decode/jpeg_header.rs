//! A JPEG file's markers (ITU-T T.81, annex B), read without decoding anything: what the decoder will need is known before it is
//! asked, and a file that is cut off is told from one with something behind its end.

use image::metadata::Orientation;

use super::ImageError;

/// More scans than this are no photograph: encoders make about ten, and each is a walk over the whole picture.
const MAX_SCANS: usize = 100;

/// What a JPEG file says of itself before its first scan.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) components: Vec<Component>,
    /// Whether the picture comes in several scans, so that all of its coefficients are kept until the last.
    pub(super) several_scans: bool,
    pub(super) orientation: Orientation,
    /// Where the first scan begins.
    scan: usize,
}

/// One plane of the picture.
#[derive(Clone, Copy, Debug)]
pub(super) struct Component {
    /// Its samples across for each unit of the picture ...
    pub(super) across: u64,
    /// ... and down.
    pub(super) down: u64,
}

/// A marker, what its segment holds, and where the next one may begin.
struct Segment<'a> {
    marker: u8,
    data: &'a [u8],
    end: usize,
}

const START_OF_IMAGE: u8 = 0xd8;
const END_OF_IMAGE: u8 = 0xd9;
const START_OF_SCAN: u8 = 0xda;
const EXIF: u8 = 0xe1;
const TEMPORARY: u8 = 0x01;

impl Header {
    /// Reads up to the first scan.
    ///
    /// # Errors
    /// If there is none, or it is of a kind that is not decoded here.
    pub(super) fn read(file: &[u8]) -> Result<Self, ImageError> {
        let mut frame = None;
        let mut orientation = Orientation::NoTransforms;
        let mut at = 2;
        loop {
            let segment = segment(file, at).ok_or_else(cut_off)?;
            at = segment.end;
            match segment.marker {
                0xc0..=0xc2 => frame = Some((segment.marker == 0xc2, segment.data)),
                // Define Huffman tables, define arithmetic coding: no frames.
                0xc4 | 0xcc => {}
                0xc3 | 0xc5..=0xc7 | 0xcb | 0xcd..=0xcf => {
                    return Err(unsupported("a lossless or hierarchical JPEG"));
                }
                0xc8..=0xca => return Err(unsupported("a JPEG with arithmetic coding")),
                EXIF => {
                    let block = segment.data.strip_prefix(b"Exif\0\0");
                    // A block that makes no sense is no reason to refuse the picture.
                    orientation = block.and_then(Orientation::from_exif_chunk).unwrap_or(orientation);
                }
                END_OF_IMAGE => return Err(ImageError::broken("the JPEG ends before its picture")),
                START_OF_SCAN => {
                    let (progressive, frame) =
                        frame.ok_or_else(|| ImageError::broken("the JPEG has a scan and no frame"))?;
                    let in_scan = usize::from(segment.data.first().copied().unwrap_or(0));
                    return Self::of_frame(frame, progressive, in_scan, orientation, at);
                }
                _ => {}
            }
        }
    }

    fn of_frame(
        frame: &[u8],
        progressive: bool,
        in_scan: usize,
        orientation: Orientation,
        scan: usize,
    ) -> Result<Self, ImageError> {
        let [precision, h0, h1, w0, w1, count, components @ ..] = frame else {
            return Err(ImageError::broken("the JPEG's frame header is too short"));
        };
        if *precision != 8 {
            return Err(unsupported(&format!("a JPEG of {precision} bits a sample")));
        }
        let components: Vec<Component> = components
            .chunks_exact(3)
            .take((*count).into())
            .map(|c| Component { across: u64::from(c[1] >> 4), down: u64::from(c[1] & 15) })
            .collect();
        let samples = |c: &Component| (1..=4).contains(&c.across) && (1..=4).contains(&c.down);
        if components.len() != usize::from(*count) || !components.iter().all(samples) {
            return Err(ImageError::broken("the JPEG's frame header contradicts itself"));
        }
        if !matches!(components.len(), 1 | 3 | 4) {
            return Err(unsupported(&format!("a JPEG of {count} components")));
        }
        Ok(Self {
            width: u16::from_be_bytes([*w0, *w1]).into(),
            height: u16::from_be_bytes([*h0, *h1]).into(),
            several_scans: progressive || in_scan < components.len(),
            components,
            orientation,
            scan,
        })
    }

    /// Bytes of all coefficients: two for each sample, in whole blocks of 64 and whole units of the interleaved scan.
    pub(super) fn coefficients(&self) -> u64 {
        let most = |side: fn(&Component) -> u64| self.components.iter().map(side).max().unwrap_or(1);
        let units_across = u64::from(self.width).div_ceil(8 * most(|c| c.across));
        let units_down = u64::from(self.height).div_ceil(8 * most(|c| c.down));
        let blocks = self.components.iter().map(|c| units_across * c.across * units_down * c.down);
        128 * blocks.sum::<u64>()
    }

    /// Walks over the scans up to the end marker. What comes behind it (a film, a depth map, another picture) is nobody's concern.
    ///
    /// # Errors
    /// If the file ends before, which the decoder would pass over, making the rest grey; or it has more scans than any encoder
    /// makes.
    pub(super) fn check_end(&self, file: &[u8]) -> Result<(), ImageError> {
        let mut at = self.scan;
        for _ in 0..MAX_SCANS {
            at = loop {
                let segment = segment(file, scan_end(file, at).ok_or_else(cut_off)?).ok_or_else(cut_off)?;
                match segment.marker {
                    END_OF_IMAGE => return Ok(()),
                    START_OF_SCAN => break segment.end,
                    _ => at = segment.end,
                }
            };
        }
        Err(ImageError::broken(format!("the JPEG has more than {MAX_SCANS} scans")))
    }
}

/// The first marker at or behind `at`, as decoders look for it: what is no marker is passed over.
fn segment(file: &[u8], mut at: usize) -> Option<Segment<'_>> {
    loop {
        at += memchr::memchr(0xff, file.get(at..)?)? + 1;
        // Any number of fill bytes may stand before the marker itself.
        while *file.get(at)? == 0xff {
            at += 1;
        }
        let marker = file[at];
        at += 1;
        if marker != 0 {
            if matches!(marker, TEMPORARY | START_OF_IMAGE | END_OF_IMAGE | 0xd0..=0xd7) {
                return Some(Segment { marker, data: &[], end: at });
            }
            let length = usize::from(u16::from_be_bytes([*file.get(at)?, *file.get(at + 1)?]));
            let data = file.get(at + 2..at + length.max(2))?;
            return Some(Segment { marker, data, end: at + length.max(2) });
        }
    }
}

/// Where the coded data from `at` on ends: at the first marker that is neither a stuffed zero nor a restart.
fn scan_end(file: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += memchr::memchr(0xff, file.get(at..)?)?;
        match file.get(at + 1)? {
            0 | 0xd0..=0xd7 => at += 2,
            0xff => at += 1,
            _ => return Some(at),
        }
    }
}

fn cut_off() -> ImageError {
    ImageError::broken("the JPEG is cut off: its end is missing")
}

fn unsupported(reason: &str) -> ImageError {
    ImageError::Unsupported { reason: reason.into() }
}
