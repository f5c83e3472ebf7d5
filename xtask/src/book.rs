//! `cargo xtask book`: the manual, built with a pinned mdBook, and every link of the repository's pages followed.
//!
//! Three questions are asked, the first two without anything being built or fetched:
//!
//! * does every relative link of every Markdown file lead to a file that is there, and to a heading that is there?
//! * is every page in `docs/` in the book's table of contents?
//! * do the links of the rendered book lead somewhere?
//!
//! Links to the outside are not followed: whether another's page is up is no property of this repository.

mod html;
mod markdown;

use crate::workspace::{cargo, root, run as run_to_its_end, say, target};
use anyhow::{Context, Result, bail};
use html::Rendered;
use markdown::Page;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, ExitCode};

/// The one version of mdBook that the book is built with.
const MDBOOK_VERSION: &str = "0.5.4";

/// Where the book's sources are.
const SOURCES: &str = "docs";

/// Its table of contents.
const CONTENTS: &str = "docs/SUMMARY.md";

/// Pages in `docs/` that the table of contents leaves out, each with a reason.
const LEFT_OUT: &[(&str, &str)] = &[(CONTENTS, "it is the table of contents")];

/// Folders that hold what was built or fetched.
const NOT_OURS: &[&str] = &["target", "node_modules", "dist"];

/// The options of `cargo xtask book`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only follow the links of the Markdown files: nothing is built or fetched
    #[arg(long)]
    links: bool,
}

/// Checks, builds, checks what was built. Prints one line of JSON.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let pages = pages_of(&root())?;
    let problems = problems(&root(), &pages);
    report(&problems)?;
    let links: usize = pages.values().map(|page| page.links.len()).sum();
    say(&format!("{} pages, {links} links: each leads somewhere", pages.len()));
    if arguments.links {
        println!("{}", json!({ "pages": pages.len(), "links": links }));
        return Ok(ExitCode::SUCCESS);
    }
    let folder = build()?;
    let rendered = rendered(&folder)?;
    say(&format!("{rendered} rendered pages: each link leads somewhere"));
    println!(
        "{}",
        json!({ "book": folder.join("index.html"), "pages": pages.len(), "links": links, "rendered": rendered })
    );
    Ok(ExitCode::SUCCESS)
}

fn report(problems: &[String]) -> Result<()> {
    for problem in problems {
        eprintln!("{problem}");
    }
    match problems.len() {
        0 => Ok(()),
        1 => bail!("1 link or page is wrong"),
        count => bail!("{count} links or pages are wrong"),
    }
}

/// Every Markdown file below `root`, by its path from there.
fn pages_of(root: &Path) -> Result<BTreeMap<PathBuf, Page>> {
    let mut pages = BTreeMap::new();
    for file in files(root, "md")? {
        let text = fs::read_to_string(root.join(&file))
            .with_context(|| format!("cannot read {}", file.display()))?;
        pages.insert(file, Page::read(&text));
    }
    Ok(pages)
}

/// The files below `root` with this extension, by their paths from there. Links are not followed, hidden folders and what
/// was built are left out.
fn files(root: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let (mut found, mut folders) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(folder) = folders.pop() {
        let read = || format!("cannot read {}", root.join(&folder).display());
        for entry in fs::read_dir(root.join(&folder)).with_context(read)? {
            let entry = entry.with_context(read)?;
            let (kind, path) = (entry.file_type()?, folder.join(entry.file_name()));
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if kind.is_dir() && !name.starts_with('.') && !NOT_OURS.contains(&&*name) {
                folders.push(path);
            } else if kind.is_file() && path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// All that is wrong with the pages, in sentences that name file and line.
fn problems(root: &Path, pages: &BTreeMap<PathBuf, Page>) -> Vec<String> {
    let mut problems = Vec::new();
    for (file, page) in pages {
        for link in &page.links {
            if let Err(why) = follow(root, pages, file, &link.to) {
                problems.push(format!("{}:{}: {}: {why}", file.display(), link.line, link.to));
            }
        }
    }
    problems.extend(not_in_the_book(pages));
    problems
}

/// Whether a link from `file` leads somewhere.
fn follow(root: &Path, pages: &BTreeMap<PathBuf, Page>, file: &Path, to: &str) -> Result<(), String> {
    if is_external(to) {
        return Ok(());
    }
    let (path, anchor) = split(to);
    let target = if path.is_empty() {
        file.to_owned()
    } else {
        resolve(file, path).ok_or("leads out of the repository")?
    };
    if !root.join(&target).exists() {
        return Err(format!("there is no {}", target.display()));
    }
    let Some(anchor) = anchor else { return Ok(()) };
    let page = pages.get(&target).ok_or_else(|| format!("{} has no headings", target.display()))?;
    if page.anchors.contains(anchor) {
        return Ok(());
    }
    Err(format!("{} has no heading #{anchor}", target.display()))
}

/// Pages in `docs/` that nobody who reads the book finds.
fn not_in_the_book(pages: &BTreeMap<PathBuf, Page>) -> Vec<String> {
    let contents = Path::new(CONTENTS);
    let Some(summary) = pages.get(contents) else { return vec![format!("there is no {CONTENTS}")] };
    let mut in_the_book: BTreeSet<_> =
        summary.links.iter().filter_map(|link| resolve(contents, split(&link.to).0)).collect();
    in_the_book.extend(LEFT_OUT.iter().map(|(file, _)| PathBuf::from(file)));
    let missing = pages.keys().filter(|file| file.starts_with(SOURCES) && !in_the_book.contains(*file));
    missing.map(|file| format!("{}: {CONTENTS} does not have it", file.display())).collect()
}

/// Whether a link leads to the outside, by a scheme (RFC 3986 section 3.1) or another host.
fn is_external(to: &str) -> bool {
    let scheme = to.split_once(':').map(|(scheme, _)| scheme);
    let is_scheme = |text: &str| {
        text.starts_with(|first: char| first.is_ascii_alphabetic())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    };
    to.starts_with("//") || scheme.is_some_and(is_scheme)
}

/// The path of a link, and its anchor.
fn split(to: &str) -> (&str, Option<&str>) {
    to.split_once('#').map_or((to, None), |(path, anchor)| (path, Some(anchor)))
}

/// The path that a link from `file` names, from the same root; none if it leads out of that.
fn resolve(file: &Path, path: &str) -> Option<PathBuf> {
    let mut resolved = file.parent().map(Path::to_owned).unwrap_or_default();
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) => resolved.push(name),
            Component::CurDir => {}
            Component::ParentDir if resolved.pop() => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(resolved)
}

/// Builds the book; says in which folder it is.
fn build() -> Result<PathBuf> {
    let mdbook = install()?;
    let folder = target().join("book");
    say("building the book");
    // What an earlier build left is no page of this one.
    let _ = fs::remove_dir_all(&folder);
    let mut build = Command::new(mdbook);
    build.arg("build").arg(root().join(SOURCES)).arg("--dest-dir").arg(&folder);
    run_to_its_end(build.env("RUST_LOG", "warn").stdout(std::io::stderr()))?;
    Ok(folder)
}

/// mdBook in the target folder, so that nobody's own tools are touched. It is built without optimisation, and without its
/// server: it runs for seconds.
fn install() -> Result<PathBuf> {
    let folder = target().join("tools").join(format!("mdbook-{MDBOOK_VERSION}"));
    let program = folder.join("bin/mdbook");
    if program.exists() {
        return Ok(program);
    }
    say(&format!("building mdBook {MDBOOK_VERSION}"));
    let mut install = cargo();
    install
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
        .args(["install", "--quiet", "--locked", "--no-default-features", "--root"])
        .arg(&folder)
        .args(["--version", &format!("={MDBOOK_VERSION}"), "mdbook"]);
    run_to_its_end(&mut install)?;
    Ok(program)
}

/// Turns what leads from the rendered book into the repository towards the checkout that it was built in, then follows every
/// link. Says how many pages there are.
fn rendered(folder: &Path) -> Result<usize> {
    let mut pages = BTreeMap::new();
    for file in files(folder, "html")? {
        let text = fs::read_to_string(folder.join(&file))?;
        let text = Rendered::with_links_changed(&text, |to| into_the_repository(&file, to));
        fs::write(folder.join(&file), &text)?;
        pages.insert(file, Rendered::read(&text));
    }
    let mut problems = Vec::new();
    for (file, page) in &pages {
        for to in &page.links {
            if let Err(why) = follow_rendered(folder, &pages, file, to) {
                problems.push(format!("{}: {to}: {why}", folder.join(file).display()));
            }
        }
    }
    report(&problems)?;
    Ok(pages.len())
}

/// What a link of the rendered book that leaves it should be: mdBook takes every `….md` for one of its own pages.
fn into_the_repository(file: &Path, to: &str) -> Option<String> {
    if is_external(to) || resolve(file, split(to).0).is_some() {
        return None;
    }
    let (path, anchor) = split(to);
    let source = Path::new(SOURCES).join(file);
    let named = |path: &str| resolve(&source, path).filter(|target| root().join(target).exists());
    let target = named(path).or_else(|| named(&format!("{}.md", path.strip_suffix(".html")?)))?;
    // From target/book, and the page's own folder in it.
    let up = "../".repeat(file.components().count() + 1);
    let anchor = anchor.map(|anchor| format!("#{anchor}")).unwrap_or_default();
    Some(format!("{up}{}{anchor}", target.display()))
}

fn follow_rendered(
    folder: &Path,
    pages: &BTreeMap<PathBuf, Rendered>,
    file: &Path,
    to: &str,
) -> Result<(), String> {
    let (path, anchor) = split(to);
    if is_external(to) || anchor == Some("") {
        return Ok(());
    }
    let Some(target) = (if path.is_empty() { Some(file.to_owned()) } else { resolve(file, path) }) else {
        let beside = folder.join(file.parent().unwrap_or(file)).join(path);
        return if beside.exists() { Ok(()) } else { Err("leads out of the book, to nothing".to_owned()) };
    };
    if !folder.join(&target).exists() {
        return Err(format!("the book has no {}", target.display()));
    }
    match (anchor, pages.get(&target)) {
        (Some(anchor), Some(page)) if !page.ids.contains(anchor) => {
            Err(format!("{} has no #{anchor}", target.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
