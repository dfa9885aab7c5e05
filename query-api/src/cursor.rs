//! Cursors: where the next page begins, opaque to the client, and bound to the question they came from.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use schemas::problem::FieldError;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use service_kit::problem::ApiError;
use sha2::{Digest as _, Sha256};

#[derive(Serialize, Deserialize)]
struct Envelope<P> {
    /// Of the question.
    q: String,
    /// Where to go on.
    p: P,
}

/// The text of a cursor for `question` (any text that tells questions apart).
pub(crate) fn encode<P: Serialize>(question: &str, position: &P) -> String {
    let json = serde_json::to_vec(&Envelope { q: digest(question), p: position }).expect("positions are plain data");
    URL_SAFE_NO_PAD.encode(json)
}

/// Reads a cursor back; refuses what is none, or one of another question.
pub(crate) fn decode<P: DeserializeOwned>(question: &str, text: &str) -> Result<P, ApiError> {
    let envelope = URL_SAFE_NO_PAD.decode(text).ok().and_then(|json| serde_json::from_slice::<Envelope<P>>(&json).ok());
    match envelope {
        Some(envelope) if envelope.q == digest(question) => Ok(envelope.p),
        Some(_) => Err(refusal("belongs to another question: send it with the parameters of the answer it came with")),
        None => Err(refusal("is not a cursor of this path: send the next_key of an answer, unchanged")),
    }
}

/// A refusal that names the cursor.
pub(crate) fn refusal(detail: &str) -> ApiError {
    ApiError::unprocessable(format!("cursor: {detail}"), vec![FieldError { index: 0, field: "cursor".into(), detail: detail.into() }])
}

fn digest(question: &str) -> String {
    URL_SAFE_NO_PAD.encode(&Sha256::digest(question.as_bytes())[..9])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_only_good_for_its_own_question() {
        let text = encode("a", &("key".to_owned(), 3));
        assert_eq!(decode::<(String, i32)>("a", &text).expect("its own"), ("key".to_owned(), 3));
        for (question, text) in [("b", text.as_str()), ("a", "e30"), ("a", "%%%"), ("a", "")] {
            assert_eq!(decode::<(String, i32)>(question, text).expect_err("foreign").problem.status, 422);
        }
    }
}
