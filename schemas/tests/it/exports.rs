//! Files that a release exported: whoever has a backup of it can still bring it in.

use apache_avro::types::Value;
use apache_avro::{Codec, DeflateSettings, Reader, Schema, Writer};
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use schemas::export::{ExportedRecord, ITEMS, RECORDS, item_of_avro, item_to_avro, record_of_avro, record_to_avro};
use schemas::item::{AGENT_ID, Item, n, s};
use std::path::PathBuf;

fn golden(name: &str, schema: &Schema, value: impl FnOnce() -> Value) -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden").join(name);
    if std::env::var_os("BLESS").is_some() && !path.exists() {
        let mut writer = Writer::with_codec(schema, Vec::new(), Codec::Deflate(DeflateSettings::default())).unwrap();
        writer.append_value(value()).unwrap();
        std::fs::write(&path, writer.into_inner().unwrap()).unwrap();
    }
    let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    Reader::new(bytes.as_slice()).unwrap().next().unwrap().unwrap()
}

#[test]
fn committed_items_are_read() {
    let nested = Item::from([("list".to_owned(), AttributeValue::L(vec![s("x"), AttributeValue::Null(true)]))]);
    let item: Item = [
        (AGENT_ID, s("team/bot")),
        ("n", n("-1.5")),
        ("b", AttributeValue::B(Blob::new([0, 255]))),
        ("bool", AttributeValue::Bool(true)),
        ("ss", AttributeValue::Ss(vec!["a".into()])),
        ("ns", AttributeValue::Ns(vec!["1".into()])),
        ("bs", AttributeValue::Bs(vec![Blob::new([1])])),
        ("m", AttributeValue::M(nested)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    let read = golden("exported_item.1.avro", &ITEMS, || item_to_avro(&item).unwrap());
    assert_eq!(item_of_avro(read), Some(item));
}

#[test]
fn committed_records_are_read() {
    let record = ExportedRecord { key: b"0-1-2".to_vec(), value: vec![0xC3, 1], headers: vec![("reason".into(), b"invalid".to_vec())] };
    let read = golden("exported_record.1.avro", &RECORDS, || record_to_avro(&record));
    assert_eq!(record_of_avro(read), Some(record));
}
