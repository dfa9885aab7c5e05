//! Writes a span's fields as the JSON that the log's lines take them from. `tracing_subscriber`'s own way collects them in a
//! map first and, for a field that comes later, reads what it wrote again: a tenth of a gateway's time, mostly for requests
//! of which nothing is logged.

use std::fmt::{self, Debug, Write};
use tracing::field::{Field, Visit};
use tracing::span::Record;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FormatFields, FormattedFields};

/// The fields as one JSON object.
#[derive(Clone, Copy, Debug)]
pub(super) struct JsonFields;

impl<'writer> FormatFields<'writer> for JsonFields {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'writer>, fields: R) -> fmt::Result {
        writer.write_char('{')?;
        let mut members = Members { out: &mut writer, is_first: true, outcome: Ok(()) };
        fields.record(&mut members);
        members.outcome?;
        writer.write_char('}')
    }

    fn add_fields(&self, current: &'writer mut FormattedFields<Self>, fields: &Record<'_>) -> fmt::Result {
        let text = &mut current.fields;
        if text.pop().is_none() {
            text.push('{');
        }
        let is_first = text.len() <= 1;
        let mut members = Members { out: text, is_first, outcome: Ok(()) };
        fields.record(&mut members);
        members.outcome?;
        text.write_char('}')
    }
}

struct Members<'a, W: Write> {
    out: &'a mut W,
    is_first: bool,
    outcome: fmt::Result,
}

impl<W: Write> Members<'_, W> {
    /// A member's name, and its value as `value` writes it.
    fn member(&mut self, field: &Field, value: impl FnOnce(&mut W) -> fmt::Result) {
        if self.outcome.is_err() {
            return;
        }
        let comma = if std::mem::take(&mut self.is_first) { "" } else { "," };
        self.outcome = write!(self.out, "{comma}\"{}\":", field.name()).and_then(|()| value(self.out));
    }
}

impl<W: Write> Visit for Members<'_, W> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.member(field, |out| write_text(out, value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.member(field, |out| write!(out, "{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.member(field, |out| write!(out, "{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.member(field, |out| write!(out, "{value}"));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON knows no infinity.
        self.member(field, |out| if value.is_finite() { write!(out, "{value}") } else { write_text(out, &value.to_string()) });
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.member(field, |out| write_text(out, &format!("{value:?}")));
    }
}

fn write_text(out: &mut impl Write, text: &str) -> fmt::Result {
    out.write_char('"')?;
    let mut written = 0;
    for (i, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.write_str(&text[written..i])?;
        match byte {
            b'"' | b'\\' => write!(out, "\\{}", char::from(byte))?,
            _ => write!(out, "\\u{byte:04x}")?,
        }
        written = i + 1;
    }
    out.write_str(&text[written..])?;
    out.write_char('"')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::io;
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::layer::SubscriberExt as _;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("held by nobody").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is logged within a span with these fields.
    fn logged(span: impl FnOnce() -> tracing::Span) -> Value {
        let lines = Lines::default();
        let writer = lines.clone();
        let layer = tracing_subscriber::fmt::layer().json().flatten_event(true).with_span_list(false).fmt_fields(JsonFields);
        let subscriber = tracing_subscriber::registry().with(layer.with_writer(move || writer.clone()));
        tracing::subscriber::with_default(subscriber, || span().in_scope(|| tracing::info!(status = 202, "answered")));
        let line = lines.0.lock().expect("held by nobody").clone();
        serde_json::from_slice(&line).expect("a line of JSON")
    }

    #[test]
    fn every_kind_of_value_arrives_as_it_is() {
        let text = "a \"quote\", a \\, a\nline and \u{1f600}";
        let line = logged(
            || tracing::info_span!("request", text, count = 7_u64, less = -7, share = 0.5, none = f64::NAN, is_so = true, debug = ?[1, 2], later = tracing::field::Empty),
        );
        let want =
            json!({"name": "request", "text": text, "count": 7, "less": -7, "share": 0.5, "none": "NaN", "is_so": true, "debug": "[1, 2]"});
        assert_eq!(line["span"], want);
        assert_eq!((&line["status"], &line["message"]), (&json!(202), &json!("answered")));
    }

    #[test]
    fn fields_that_come_later_are_added() {
        let line = logged(|| {
            let span = tracing::info_span!("request", first = 1, second = tracing::field::Empty, third = tracing::field::Empty);
            span.record("second", "two");
            span.record("third", 3);
            span
        });
        assert_eq!(line["span"], json!({"name": "request", "first": 1, "second": "two", "third": 3}));
        let line = logged(|| {
            let span = tracing::info_span!("request", only = tracing::field::Empty);
            span.record("only", true);
            span
        });
        assert_eq!(line["span"], json!({"name": "request", "only": true}));
    }
}
