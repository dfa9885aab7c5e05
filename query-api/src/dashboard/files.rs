//! Where the dashboard's files come from: a directory, read anew for each request, so that a new build shows without a
//! restart; or this binary. Of each file there may be packed variants beside it (`app.js.br`, `app.js.gz`).

use super::PAGE;
use axum::http::HeaderValue;
use axum::http::header::GetAll;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// Longest file that is served from a directory.
const LONGEST: u64 = 64 * 1024 * 1024;

/// The files of the build, by path below its folder. See `build.rs`.
static EMBEDDED: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/dashboard.rs"));

/// How a variant is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// `.br`
    Brotli,
    /// `.gz`
    Gzip,
}

impl Encoding {
    /// Both, the smaller first.
    const ALL: [Self; 2] = [Self::Brotli, Self::Gzip];

    /// As HTTP calls it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }

    const fn suffix(self) -> &'static str {
        match self {
            Self::Brotli => ".br",
            Self::Gzip => ".gz",
        }
    }

    /// Those that a client takes (RFC 9110, section 12.5.3), in our order.
    pub(crate) fn accepted(headers: GetAll<'_, HeaderValue>) -> Vec<Self> {
        let (mut named, mut any) = (BTreeMap::new(), false);
        for part in headers.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')) {
            let mut words = part.split(';').map(str::trim);
            let name = words.next().unwrap_or_default().to_ascii_lowercase();
            let is_refused = words.any(|word| word.strip_prefix("q=").is_some_and(|q| q.parse::<f32>().is_ok_and(|q| q <= 0.0)));
            if name == "*" {
                any = !is_refused;
            } else {
                named.insert(name, !is_refused);
            }
        }
        Self::ALL.into_iter().filter(|encoding| named.get(encoding.name()).copied().unwrap_or(any)).collect()
    }
}

/// A file as it is to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) bytes: Bytes,
    /// Weak: the same for every variant.
    pub(crate) tag: String,
    pub(crate) media: &'static str,
    pub(crate) encoding: Option<Encoding>,
}

/// The files.
#[derive(Debug)]
pub(crate) enum Files {
    /// Below this directory.
    Directory(PathBuf),
    /// In this binary, with their tags.
    Embedded(BTreeMap<&'static str, (&'static [u8], String)>),
}

impl Files {
    /// Those in this binary; `None` where it was built without a dashboard.
    pub(crate) fn embedded() -> Option<Self> {
        Self::of(EMBEDDED)
    }

    fn of(files: &'static [(&'static str, &'static [u8])]) -> Option<Self> {
        files.iter().any(|(path, _)| *path == PAGE).then(|| Self::Embedded(files.iter().map(|(p, b)| (*p, (*b, tag_of(b)))).collect()))
    }

    /// The file of that path (percent-encoded as in a request), packed as the client takes it where there is a variant.
    pub(crate) async fn find(&self, path: &str, accepted: &[Encoding]) -> Option<Found> {
        let path = decoded(path)?;
        let plain = self.get(&path).await?;
        let media = media_of(&path);
        for encoding in accepted {
            if let Some((bytes, _)) = self.get(&format!("{path}{}", encoding.suffix())).await {
                return Some(Found { bytes, tag: plain.1, media, encoding: Some(*encoding) });
            }
        }
        Some(Found { bytes: plain.0, tag: plain.1, media, encoding: None })
    }

    async fn get(&self, path: &str) -> Option<(Bytes, String)> {
        match self {
            Self::Embedded(files) => files.get(path).map(|(bytes, tag)| (Bytes::from_static(bytes), tag.clone())),
            Self::Directory(directory) => {
                let file = directory.join(path);
                let about = tokio::fs::metadata(&file).await.ok()?;
                if !about.is_file() || about.len() > LONGEST {
                    return None;
                }
                let bytes = tokio::fs::read(&file).await.ok()?;
                let tag = tag_of(&bytes);
                Some((bytes.into(), tag))
            }
        }
    }
}

/// A path that stays below its folder; `None` for any other, and for hidden files.
fn decoded(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        bytes.push((digit(rest.next())? * 16 + digit(rest.next())?) as u8);
    }
    let path = String::from_utf8(bytes).ok()?;
    let is_plain = |part: Component<'_>| matches!(part, Component::Normal(name) if !name.to_string_lossy().starts_with('.'));
    (!path.contains(['\\', '\0', ':']) && Path::new(&path).components().all(is_plain)).then_some(path)
}

fn tag_of(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes)[..12].iter().map(|b| format!("{b:02x}")).collect();
    format!("W/\"{hex}\"")
}

/// The media type that a file's name tells.
fn media_of(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, end)| end) {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "avif" => "image/avif",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "woff" => "font/woff",
        "wasm" => "application/wasm",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderMap;
    use axum::http::header::ACCEPT_ENCODING;

    const BUILT: &[(&str, &[u8])] = &[
        ("assets/app-1a2b.js", b"plain"),
        ("assets/app-1a2b.js.br", b"brotli"),
        ("assets/app-1a2b.js.gz", b"gzip"),
        ("index.html", b"page"),
    ];

    fn accepted(value: &'static str) -> Vec<Encoding> {
        let headers: HeaderMap = [(ACCEPT_ENCODING, HeaderValue::from_static(value))].into_iter().collect();
        Encoding::accepted(headers.get_all(ACCEPT_ENCODING))
    }

    #[test]
    fn a_client_says_what_it_unpacks() {
        use Encoding::{Brotli, Gzip};
        for (value, encodings) in [
            ("gzip, deflate, br, zstd", vec![Brotli, Gzip]),
            ("GZIP;q=0.5", vec![Gzip]),
            ("br;q=0, gzip", vec![Gzip]),
            ("*", vec![Brotli, Gzip]),
            ("*, br;q=0", vec![Gzip]),
            ("identity", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(accepted(value), encodings, "{value}");
        }
    }

    #[tokio::test]
    async fn files_in_the_binary_are_found_in_the_form_that_the_client_takes() {
        let files = Files::of(BUILT).expect("a dashboard");
        let plain = files.find("assets/app-1a2b.js", &[]).await.expect("a file");
        assert_eq!((&plain.bytes[..], plain.media, plain.encoding), (&b"plain"[..], "text/javascript; charset=utf-8", None));
        let packed = files.find("assets/app-1a2b.js", &accepted("gzip, br")).await.expect("a file");
        assert_eq!((&packed.bytes[..], packed.encoding), (&b"brotli"[..], Some(Encoding::Brotli)));
        assert_eq!((&packed.tag, packed.media), (&plain.tag, plain.media));
        assert_eq!(files.find("index.html", &accepted("br")).await.expect("a file").encoding, None);
        assert!(files.find("assets/none.js", &[]).await.is_none());
    }

    #[test]
    fn without_its_page_there_is_no_dashboard() {
        assert!(Files::of(&BUILT[..3]).is_none() && Files::of(&[]).is_none());
    }

    #[test]
    fn no_path_leads_out_of_the_folder() {
        for path in ["../x", "a/../../x", "%2e%2e/x", "..%2fx", "%2fetc/passwd", "a\\b", "%00", ".git/config", "a/.env", "%zz", "%f", "%ff"]
        {
            assert_eq!(decoded(path), None, "{path}");
        }
        assert_eq!(decoded("a%20b/c.js"), Some("a b/c.js".into()));
    }
}
