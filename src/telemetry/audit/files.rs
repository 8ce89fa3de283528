//! The log and the files that rotation made of it.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::chain::{LINE_BYTES_MAX, seq_of};

/// Files of one log that are looked at. Stops a directory that something else fills from being read whole.
const FILES_MAX: usize = 1000;

/// The files beside `path` whose names go on from its own (`audit.log.1`, `audit.log-20261121`), by the number of
/// their first line. Compressed ones hold no line that can be read and are left out.
pub(super) fn of(path: &Path) -> io::Result<Vec<PathBuf>> {
    let (Some(dir), Some(name)) = (
        path.parent(),
        path.file_name().and_then(|name| name.to_str()),
    ) else {
        return Err(io::ErrorKind::InvalidFilename.into());
    };
    let dir = if dir.as_os_str().is_empty() {
        Path::new(".")
    } else {
        dir
    };
    let mut rotated = Vec::new();
    let entries = match fs::read_dir(dir) {
        // Nothing was written yet.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![path.to_owned()]),
        entries => entries?,
    };
    for entry in entries.take(FILES_MAX) {
        let entry = entry?;
        let other = entry.file_name();
        let is_rotated = other.to_str().is_some_and(|other| {
            let rest = other.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with(['.', '-']))
        });
        if is_rotated
            && entry.file_type()?.is_file()
            && let Some(seq) = first_seq(&entry.path())?
        {
            rotated.push((seq, entry.path()));
        }
    }
    rotated.sort();
    let mut files: Vec<PathBuf> = rotated.into_iter().map(|(_, path)| path).collect();
    files.push(path.to_owned());
    Ok(files)
}

/// The number of the first whole line.
fn first_seq(path: &Path) -> io::Result<Option<u64>> {
    let mut lines = Lines::open(path)?;
    while let Some(line) = lines.next()? {
        if let Some(seq) = seq_of(&line.bytes) {
            return Ok(Some(seq));
        }
        if line.bytes.first() != Some(&b'{') {
            return Ok(None);
        }
    }
    Ok(None)
}

/// One line of a file.
pub(super) struct Line {
    /// Without its newline.
    pub(super) bytes: Vec<u8>,
    /// From 1.
    pub(super) number: usize,
}

/// Reads a file line by line, none of them longer than there are.
pub(super) struct Lines {
    from: BufReader<File>,
    number: usize,
}

impl Lines {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            from: BufReader::new(File::open(path)?),
            number: 0,
        })
    }

    pub(super) fn next(&mut self) -> io::Result<Option<Line>> {
        let mut bytes = Vec::new();
        let most = LINE_BYTES_MAX as u64 + 1;
        io::Read::take(&mut self.from, most).read_until(b'\n', &mut bytes)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        let is_ended = bytes.last() == Some(&b'\n');
        if is_ended {
            bytes.pop();
        }
        Ok(Some(Line {
            bytes,
            number: self.number,
        }))
    }
}
