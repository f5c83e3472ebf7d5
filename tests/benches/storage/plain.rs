//! Records appended to segment files; where the newest version of each lies is known in memory. A segment's live
//! records are moved to the end when little of it is live, and its file is removed.

use crate::{RECORD_BYTES, Store};
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const SEGMENT_BYTES: u64 = 8 * 1024 * 1024;

/// A segment with a smaller part of live records than this is emptied.
const LIVE_MIN_PERCENT: u64 = 75;

pub(crate) struct Plain {
    folder: PathBuf,
    segments: BTreeMap<u64, Segment>,
    /// Segment and offset of the newest version of each record.
    places: HashMap<u64, (u64, u64)>,
    newest: u64,
}

struct Segment {
    file: File,
    length_bytes: u64,
    live_bytes: u64,
}

impl Plain {
    pub(crate) fn create(folder: &Path) -> Self {
        let mut plain =
            Self { folder: folder.to_owned(), segments: BTreeMap::new(), places: HashMap::new(), newest: 0 };
        plain.begin_segment();
        plain
    }

    fn begin_segment(&mut self) {
        self.newest += 1;
        let path = self.path(self.newest);
        let file =
            OpenOptions::new().read(true).write(true).create_new(true).open(path).expect("a new segment");
        File::open(&self.folder).and_then(|folder| folder.sync_all()).expect("its name is durable");
        self.segments.insert(self.newest, Segment { file, length_bytes: 0, live_bytes: 0 });
    }

    fn path(&self, segment: u64) -> PathBuf {
        self.folder.join(format!("{segment:08}"))
    }

    fn append(&mut self, records: &[(u64, Vec<u8>)]) {
        if self.segments[&self.newest].length_bytes >= SEGMENT_BYTES {
            self.begin_segment();
        }
        let newest = self.newest;
        let segment = self.segments.get_mut(&newest).expect("the newest segment is there");
        let mut at = segment.length_bytes;
        let bytes: Vec<u8> = records.iter().flat_map(|(_, record)| record.iter().copied()).collect();
        segment.file.write_all_at(&bytes, at).expect("the disk takes it");
        segment.file.sync_data().expect("the disk syncs");
        segment.length_bytes += bytes.len() as u64;
        segment.live_bytes += bytes.len() as u64;
        for (id, record) in records {
            if let Some((before, _)) = self.places.insert(*id, (newest, at)) {
                let before = self.segments.get_mut(&before).expect("a live record's segment is there");
                before.live_bytes -= record.len() as u64;
            }
            at += record.len() as u64;
        }
    }
}

impl Store for Plain {
    fn name(&self) -> &'static str {
        "plain segment files"
    }

    fn commit(&mut self, records: &[(u64, Vec<u8>)]) {
        self.append(records);
    }

    fn read(&self, id: u64) -> Vec<u8> {
        let (segment, offset) = self.places[&id];
        let mut record = vec![0; RECORD_BYTES];
        self.segments[&segment].file.read_exact_at(&mut record, offset).expect("the disk gives it back");
        record
    }

    fn folder(&self) -> &Path {
        &self.folder
    }

    fn settle(&mut self) {
        let sparse = |(_, segment): &(&u64, &Segment)| {
            segment.live_bytes * 100 < segment.length_bytes * LIVE_MIN_PERCENT
        };
        let closed = self.segments.range(..self.newest);
        let sparse: Vec<u64> = closed.filter(sparse).map(|(number, _)| *number).collect();
        for number in sparse {
            let live = self.places.iter().filter(|(_, (segment, _))| *segment == number).map(|(id, _)| *id);
            let live: Vec<u64> = live.collect();
            self.append(&live.into_iter().map(|id| (id, self.read(id))).collect::<Vec<_>>());
            self.segments.remove(&number);
            fs::remove_file(self.path(number)).expect("an empty segment can be removed");
        }
    }
}
