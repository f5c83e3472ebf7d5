//! The pages of a small repository, one thing wrong with each; and the real ones.

use super::*;

/// A repository of these files.
fn repository(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (file, text) in files {
        let file = folder.path().join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    folder
}

fn problems_of(files: &[(&str, &str)]) -> Vec<String> {
    let folder = repository(files);
    problems(folder.path(), &pages_of(folder.path()).unwrap())
}

const SUMMARY: (&str, &str) = (CONTENTS, "- [One](one.md)\n");

#[test]
fn what_leads_somewhere_is_taken() {
    let one =
        "# One, two\n[self](#one-two) [up](../README.md#top) [code](../src) [out](https://example.org/x#y)\n";
    assert_eq!(
        problems_of(&[SUMMARY, ("docs/one.md", one), ("README.md", "# Top\n"), ("src/a.rs", "")]),
        [""; 0]
    );
}

#[test]
fn a_link_that_leads_nowhere_is_found() {
    for (link, why) in [
        ("two.md", "there is no docs/two.md"),
        ("one.md#two", "docs/one.md has no heading #two"),
        ("#One", "docs/one.md has no heading #One"),
        ("../src/a.rs#L1", "src/a.rs has no headings"),
        ("../../x", "leads out of the repository"),
        ("/etc/passwd", "leads out of the repository"),
    ] {
        let one = format!("# One\n\nsee [this]({link})\n");
        let found = problems_of(&[SUMMARY, ("docs/one.md", &one), ("src/a.rs", "")]);
        assert_eq!(found, [format!("docs/one.md:3: {link}: {why}")]);
    }
}

#[test]
fn a_page_that_the_contents_do_not_have_is_found() {
    let found = problems_of(&[SUMMARY, ("docs/one.md", ""), ("docs/a/two.md", ""), ("src/three.md", "")]);
    assert_eq!(found, ["docs/a/two.md: docs/SUMMARY.md does not have it"]);
    assert_eq!(problems_of(&[("docs/one.md", "")]), ["there is no docs/SUMMARY.md"]);
}

#[test]
fn what_was_built_or_fetched_is_nobodys_page() {
    let broken = "[x](y)";
    let elsewhere = [("target/x.md", broken), ("a/node_modules/x.md", broken), (".git/x.md", broken)];
    assert_eq!(problems_of(&[&[SUMMARY, ("docs/one.md", "")], &elsewhere[..]].concat()), [""; 0]);
}

#[test]
fn a_rendered_link_out_of_the_book_leads_into_the_checkout() {
    let to = |file, to| into_the_repository(Path::new(file), to);
    assert_eq!(
        to("pkcs11.html", "../SECURITY.html#scope-and-state").unwrap(),
        "../../SECURITY.md#scope-and-state"
    );
    assert_eq!(to("manual/users/a.html", "../../../plugin/src").unwrap(), "../../../../plugin/src");
    assert_eq!(to("pkcs11.html", "cli.html"), None);
    assert_eq!(to("pkcs11.html", "../there-is-no-such.html"), None);
    assert_eq!(to("pkcs11.html", "https://example.org/"), None);
}

#[test]
fn a_rendered_link_that_leads_nowhere_is_found() {
    let page = "<h1 id=\"top\"><a href=\"#top\">x</a></h1>";
    let folder = repository(&[("index.html", page), ("a/b.html", page), ("a/c.svg", "")]);
    let read = |file: &str| (PathBuf::from(file), Rendered::read(page));
    let pages = BTreeMap::from([read("index.html"), read("a/b.html")]);
    let follow = |to: &str| follow_rendered(folder.path(), &pages, Path::new("a/b.html"), to);
    for to in ["#top", "#", "c.svg", "../index.html#top", "b.html", "https://example.org/#x"] {
        assert_eq!(follow(to), Ok(()), "{to}");
    }
    assert_eq!(follow("d.html"), Err("the book has no a/d.html".to_owned()));
    assert_eq!(follow("../index.html#form"), Err("index.html has no #form".to_owned()));
    assert_eq!(follow("#form"), Err("a/b.html has no #form".to_owned()));
    assert_eq!(follow("../../there-is-no-such.md"), Err("leads out of the book, to nothing".to_owned()));
}

#[test]
fn every_link_of_the_repository_leads_somewhere() {
    assert_eq!(problems(&root(), &pages_of(&root()).unwrap()), [""; 0]);
}
