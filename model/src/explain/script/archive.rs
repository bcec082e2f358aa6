//! A TorchScript file from the outside: a zip archive with the source of its classes, which can be written again with other sources.

use std::collections::BTreeMap;
use std::io::{Cursor, Read as _, Write as _};

use zip::read::{ArchiveOffset, Config};
use zip::result::{ZipError, ZipResult};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// The longest source that is read; a whole net's is a few hundred kilobytes.
const LONGEST: u64 = 16 << 20;

/// A file, with its sources read.
pub(super) struct Archive<'a> {
    bytes: &'a [u8],
    /// By their names below the archive's one folder: `code/__torch__.py`.
    pub(super) sources: BTreeMap<String, String>,
    /// The class that the file is one of: `__torch__.Net`.
    pub(super) class: String,
}

impl<'a> Archive<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> ZipResult<Self> {
        let mut archive = opened(bytes)?;
        let mut sources = BTreeMap::new();
        let mut class = None;
        for index in 0..archive.len() {
            let member = archive.by_index(index)?;
            let name = below(&member.name()?).to_owned();
            if is_source(&name) {
                sources.insert(name, text(member)?);
            } else if name == "data.pkl" {
                class = first_class(member)?;
            }
        }
        let class = class.ok_or(ZipError::InvalidArchive("it holds no object of a class".into()))?;
        Ok(Self { bytes, sources, class })
    }

    /// The file again, with these in place of its own sources. Their positions, which are for messages, are left out.
    pub(super) fn with(&self, sources: &BTreeMap<String, String>) -> ZipResult<Vec<u8>> {
        let mut archive = opened(self.bytes)?;
        let mut writer = ZipWriter::new(Cursor::new(Vec::with_capacity(self.bytes.len())));
        for index in 0..archive.len() {
            let member = archive.by_index_raw(index)?;
            let name = member.name()?.into_owned();
            let of = name.strip_suffix(".debug_pkl").unwrap_or(&name);
            match sources.get(below(of)) {
                Some(source) if of == name => {
                    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
                    writer.start_file(name, options)?;
                    writer.write_all(source.as_bytes())?;
                }
                Some(_) => {}
                None => writer.raw_copy_file(member)?,
            }
        }
        Ok(writer.finish()?.into_inner())
    }
}

/// It begins where the file does. Left to find that out, the reader takes another member's entry for the first, where a name has a certain length.
fn opened(bytes: &[u8]) -> ZipResult<ZipArchive<Cursor<&[u8]>>> {
    let config = Config { archive_offset: ArchiveOffset::Known(0) };
    ZipArchive::with_config(config, Cursor::new(bytes))
}

/// A member's name without the folder that all are in.
fn below(name: &str) -> &str {
    name.split_once('/').map_or(name, |(_, name)| name)
}

fn is_source(name: &str) -> bool {
    name.starts_with("code/") && name.ends_with(".py")
}

fn text(member: impl std::io::Read) -> ZipResult<String> {
    let mut text = String::new();
    member.take(LONGEST).read_to_string(&mut text)?;
    Ok(text)
}

/// The class of the object that a pickle holds: its first words are the object's class.
fn first_class(member: impl std::io::Read) -> ZipResult<Option<String>> {
    let mut beginning = Vec::new();
    member.take(4096).read_to_end(&mut beginning)?;
    // Protocol 2, then "global", module and name by lines.
    let Some(words) = beginning.strip_prefix(b"\x80\x02c") else { return Ok(None) };
    let mut lines = words.split(|&byte| byte == b'\n').map(std::str::from_utf8);
    Ok(match (lines.next(), lines.next()) {
        (Some(Ok(module)), Some(Ok(name))) => Some(format!("{module}.{name}")),
        _ => None,
    })
}
