//! The users' page: read once, served as it was read.
//!
//! All files are in memory before the first request comes, so a path in a request is looked up in a table and never in a
//! folder: there is no way out of it, and what is served does not change while the relay runs.

use crate::headers;
use crate::refusal::NotCarried;
use axum::extract::Extension;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use data_encoding::BASE64;
use sha2::{Digest, Sha384};
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The kinds of file that a page has, by the ends of their names.
const KINDS: &[(&str, &str)] = &[
    ("html", "text/html; charset=utf-8"),
    ("js", "text/javascript; charset=utf-8"),
    ("css", "text/css; charset=utf-8"),
    ("json", "application/json"),
    ("webmanifest", "application/manifest+json"),
    ("svg", "image/svg+xml"),
    ("png", "image/png"),
    ("ico", "image/x-icon"),
    ("woff2", "font/woff2"),
    ("wasm", "application/wasm"),
    ("txt", "text/plain; charset=utf-8"),
];

/// The most files of a page.
const FILES_MAX: usize = 256;

/// All files of a page together, in bytes.
const PAGE_MAX_BYTES: u64 = 16 * 1024 * 1024;

/// How deep folders may lie in each other.
const DEPTH_MAX: usize = 4;

struct File {
    kind: &'static str,
    /// `"sha384-…"`, as an entity tag (RFC 9110 section 8.8.3).
    tag: HeaderValue,
    bytes: Vec<u8>,
}

/// A page, in memory.
pub struct Page {
    folder: PathBuf,
    files: BTreeMap<String, File>,
    left_out: Vec<PathBuf>,
    bytes: u64,
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// Why a folder is not served.
#[derive(Debug)]
pub enum PageError {
    /// Something in it cannot be read.
    Unreadable(PathBuf, io::Error),
    /// It has no `index.html`.
    NoIndex(PathBuf),
    /// It is larger than any page.
    TooLarge(PathBuf),
}

impl fmt::Display for PageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(path, why) => write!(f, "cannot read {}: {why}", path.display()),
            Self::NoIndex(folder) => write!(f, "{} holds no page: it has no index.html", folder.display()),
            Self::TooLarge(folder) => write!(
                f,
                "{} is no page: it has more than {FILES_MAX} files, {PAGE_MAX_BYTES} bytes, or folders {DEPTH_MAX} deep",
                folder.display()
            ),
        }
    }
}

impl std::error::Error for PageError {}

impl Page {
    /// Reads a folder: plain files of known kinds. Links, hidden files and all else are left out.
    pub fn read(folder: &Path) -> Result<Self, PageError> {
        let folder = folder.canonicalize().map_err(|why| PageError::Unreadable(folder.to_owned(), why))?;
        let mut page =
            Self { folder: folder.clone(), files: BTreeMap::new(), left_out: Vec::new(), bytes: 0 };
        page.read_folder(&folder, "/", DEPTH_MAX)?;
        if page.files.contains_key("/index.html") { Ok(page) } else { Err(PageError::NoIndex(folder)) }
    }

    /// The folder, without links.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// How many files it has.
    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// What lies in the folder and is not served.
    pub fn left_out(&self) -> &[PathBuf] {
        &self.left_out
    }

    /// SHA-384 of each file, as subresource integrity writes it (`sha384-` and Base64), by its path on the page.
    pub fn hashes(&self) -> BTreeMap<&str, String> {
        self.files.iter().map(|(path, file)| (path.as_str(), integrity(&file.bytes))).collect()
    }

    fn read_folder(&mut self, folder: &Path, at: &str, depth: usize) -> Result<(), PageError> {
        let unreadable = |why| PageError::Unreadable(folder.to_owned(), why);
        for entry in std::fs::read_dir(folder).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            // Of the entry itself: a link is not followed.
            let is = entry.file_type().map_err(unreadable)?;
            let (path, name) = (entry.path(), entry.file_name());
            match name.to_str().filter(|name| is_plain(name)) {
                Some(name) if is.is_dir() && depth > 0 => {
                    self.read_folder(&path, &format!("{at}{name}/"), depth - 1)?;
                }
                Some(_) if is.is_dir() => return Err(PageError::TooLarge(self.folder.clone())),
                Some(name) if is.is_file() && kind_of(name).is_some() => {
                    self.read_file(&path, format!("{at}{name}"))?;
                }
                _ => self.left_out.push(path),
            }
        }
        Ok(())
    }

    fn read_file(&mut self, path: &Path, served_at: String) -> Result<(), PageError> {
        let unreadable = |why| PageError::Unreadable(path.to_owned(), why);
        let mut bytes = Vec::new();
        let left = PAGE_MAX_BYTES - self.bytes;
        let file = std::fs::File::open(path).map_err(unreadable)?;
        file.take(left + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > left || self.files.len() >= FILES_MAX {
            return Err(PageError::TooLarge(self.folder.clone()));
        }
        self.bytes += bytes.len() as u64;
        let tag =
            HeaderValue::try_from(format!("\"{}\"", integrity(&bytes))).expect("Base64 is visible ASCII");
        let kind = kind_of(&served_at).expect("its kind was asked before");
        self.files.insert(served_at, File { kind, tag, bytes });
        Ok(())
    }
}

fn integrity(bytes: &[u8]) -> String {
    format!("sha384-{}", BASE64.encode(&Sha384::digest(bytes)))
}

/// Names that stand in a URL as they are, and hide nothing.
fn is_plain(name: &str) -> bool {
    !name.starts_with('.') && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

fn kind_of(name: &str) -> Option<&'static str> {
    let (_, end) = name.rsplit_once('.')?;
    KINDS.iter().find(|(known, _)| *known == end).map(|(_, kind)| *kind)
}

/// Answers whatever has no other answer, from the page.
pub(crate) async fn get(
    Extension(page): Extension<Arc<Page>>,
    method: Method,
    uri: Uri,
    request: HeaderMap,
) -> Response {
    if method != Method::GET && method != Method::HEAD {
        return headers::of_an_answer(NotCarried::Method.into_response());
    }
    let path = if uri.path() == "/" { "/index.html" } else { uri.path() };
    let Some(file) = page.files.get(path) else {
        return headers::of_an_answer(NotCarried::NotFound.into_response());
    };
    let tag = [(header::ETAG, file.tag.clone())];
    if request.get(header::IF_NONE_MATCH) == Some(&file.tag) {
        return headers::of_the_page((StatusCode::NOT_MODIFIED, tag).into_response());
    }
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static(file.kind))];
    headers::of_the_page((tag, kind, file.bytes.clone()).into_response())
}
