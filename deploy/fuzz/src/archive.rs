//! The folder that `agent-tally import` reads: its list of hashes, its manifest and its files of rows.
//!
//! An input is a file of rows (Avro); or `hashes` and a line feed and the list; or `manifest` and a line feed and the
//! manifest, whose hashes and sizes are put right, since whoever means harm can compute them.
//!
//! What must hold: an export that is damaged is refused; one that is not names files of its own folder only; a row that is
//! read is written so that it is read as the same again.

use agent_tally::archive::{Archive, Content, FORMAT, FileEntry, HASHES, MANIFEST, Manifest};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

/// Name of the file of rows.
const ROWS: &str = "events-00001.avro";

/// See the module.
pub fn check(bytes: &[u8]) {
    let folder = crate::local_log::scratch();
    if let Some(hashes) = bytes.strip_prefix(b"hashes\n") {
        write(folder.path(), &manifest(&[]), &[]);
        put(folder.path(), HASHES, hashes);
        let is_right = std::fs::read(folder.path().join(MANIFEST)).is_ok_and(|manifest| {
            let hash = hex::encode(Sha256::digest(manifest));
            hashes.windows(hash.len()).any(|part| part == hash.as_bytes())
        });
        assert!(Archive::open(folder.path(), |_| ()).is_err() || is_right, "a manifest without its hash");
    } else if let Some(text) = bytes.strip_prefix(b"manifest\n") {
        check_manifest(folder.path(), text);
    } else {
        write(folder.path(), &manifest(bytes), bytes);
        let archive = Archive::open(folder.path(), |_| ()).expect("the files are as they were written");
        check_rows(&archive);
    }
}

fn check_manifest(folder: &Path, text: &[u8]) {
    let rows = b"rows";
    put(folder, ROWS, rows);
    let inner = folder.join("inner");
    std::fs::create_dir(&inner).expect("a folder");
    put(&inner, ROWS, rows);
    let manifest = match serde_json::from_slice::<Manifest>(text) {
        Ok(mut manifest) => {
            for file in &mut manifest.files {
                file.bytes = rows.len() as u64;
                file.sha256 = hex::encode(Sha256::digest(rows));
            }
            serde_json::to_vec(&manifest).expect("JSON")
        }
        Err(_) => text.to_vec(),
    };
    let named = serde_json::from_slice::<Manifest>(&manifest).map(|manifest| manifest.files).unwrap_or_default();
    put(&inner, MANIFEST, &manifest);
    let mut hashes = format!("{}  {MANIFEST}\n", hex::encode(Sha256::digest(&manifest)));
    for file in &named {
        writeln!(hashes, "{}  {}", file.sha256, file.name).expect("memory");
    }
    put(&inner, HASHES, hashes.as_bytes());
    if let Ok(archive) = Archive::open(&inner, |_| ()) {
        assert_eq!(archive.manifest.format, FORMAT);
        assert!(archive.manifest.files.iter().all(|file| file.name == ROWS), "{:?}", archive.manifest.files);
    }
}

fn check_rows(archive: &Archive) {
    use schemas::export::{ITEMS, RECORDS, is_same, item_of_avro, item_to_avro, record_of_avro, record_to_avro};
    for file in &archive.manifest.files {
        let Ok(rows) = archive.rows(file) else { continue };
        for row in rows.map_while(Result::ok) {
            if let Some(record) = record_of_avro(row.clone()) {
                let written = record_to_avro(&record);
                assert!(written.validate(&RECORDS));
                assert_eq!(record_of_avro(written), Some(record));
            }
            if let Some(item) = item_of_avro(row) {
                let written = item_to_avro(&item).expect("known types");
                assert!(written.validate(&ITEMS));
                let again = item_of_avro(written).expect("an item");
                assert!(again == item && is_same(&again, &again.clone()));
            }
        }
    }
}

fn manifest(rows: &[u8]) -> Manifest {
    Manifest {
        format: FORMAT,
        id: "export".to_owned(),
        created_at: "2026-11-23T12:00:00.000000Z".to_owned(),
        created_by: "agent-tally".to_owned(),
        epoch: 0,
        log_id: "log".to_owned(),
        partitions: Vec::new(),
        counts: BTreeMap::new(),
        files: vec![FileEntry {
            name: ROWS.to_owned(),
            content: Content::Events,
            rows: 1,
            bytes: rows.len() as u64,
            sha256: hex::encode(Sha256::digest(rows)),
        }],
    }
}

fn write(folder: &Path, manifest: &Manifest, rows: &[u8]) {
    let text = serde_json::to_vec(manifest).expect("JSON");
    put(folder, MANIFEST, &text);
    put(folder, ROWS, rows);
    let hash = |bytes: &[u8]| hex::encode(Sha256::digest(bytes));
    put(folder, HASHES, format!("{}  {MANIFEST}\n{}  {ROWS}\n", hash(&text), hash(rows)).as_bytes());
}

fn put(folder: &Path, name: &str, bytes: &[u8]) {
    std::fs::write(folder.join(name), bytes).expect("room for a small file");
}
