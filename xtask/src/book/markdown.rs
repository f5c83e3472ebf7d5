//! A page in Markdown: where it leads, and what in it can be led to.

use super::html::Rendered;
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use std::collections::BTreeSet;

/// A link or an image.
#[derive(Debug, PartialEq)]
pub(super) struct Link {
    /// The line that it begins in, from 1.
    pub(super) line: usize,
    /// What it names, as it is written.
    pub(super) to: String,
}

/// What is known of a page.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// Links and images, those in HTML included; what stands in code is none.
    pub(super) links: Vec<Link>,
    /// The headings' names, and the ids in HTML.
    pub(super) anchors: BTreeSet<String>,
}

impl Page {
    /// Reads `CommonMark` with GitHub's tables.
    pub(super) fn read(text: &str) -> Self {
        let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_FOOTNOTES;
        let (mut page, mut heading) = (Self::default(), None::<String>);
        for (event, range) in Parser::new_ext(text, options).into_offset_iter() {
            let line = text[..range.start].matches('\n').count() + 1;
            match event {
                Event::Start(Tag::Link { dest_url: to, .. } | Tag::Image { dest_url: to, .. }) => {
                    page.links.push(Link { line, to: to.into_string() });
                }
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => page.add_heading(&heading.take().unwrap_or_default()),
                Event::Text(part) | Event::Code(part) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&part);
                    }
                }
                Event::Html(html) | Event::InlineHtml(html) => {
                    let Rendered { links, ids } = Rendered::read(&html);
                    page.links.extend(links.into_iter().map(|to| Link { line, to }));
                    page.anchors.extend(ids);
                }
                _ => {}
            }
        }
        page
    }

    /// A heading that is there already gets a number.
    fn add_heading(&mut self, heading: &str) {
        let slug = slug(heading);
        let numbered = (1..).map(|number| format!("{slug}-{number}"));
        let free = std::iter::once(slug.clone()).chain(numbered).find(|name| !self.anchors.contains(name));
        self.anchors.extend(free);
    }
}

/// The name that GitHub gives a heading: lower case; letters, digits, `_` and `-` stay, a space becomes `-`, the rest goes.
fn slug(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect::<String>().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anchors(text: &str) -> Vec<String> {
        Page::read(text).anchors.into_iter().collect()
    }

    fn links(text: &str) -> Vec<(usize, String)> {
        Page::read(text).links.into_iter().map(|link| (link.line, link.to)).collect()
    }

    #[test]
    fn a_headings_name_is_githubs() {
        for (heading, name) in [
            ("One signature, one code", "one-signature-one-code"),
            (
                "`countersign log prove DIR --index N` and `--from SIZE`",
                "countersign-log-prove-dir---index-n-and---from-size",
            ),
            ("Java's KeyStore: (JDK 17)", "javas-keystore-jdk-17"),
            ("NVRAM (3584 bytes; 3805 with the fuses)", "nvram-3584-bytes-3805-with-the-fuses"),
            ("`plugin/measurements.toml`", "pluginmeasurementstoml"),
            ("C_Sign, *then* **Größe** – ok", "c_sign-then-größe--ok"),
        ] {
            assert_eq!(anchors(&format!("## {heading}\n")), [name], "{heading}");
        }
    }

    #[test]
    fn headings_of_one_name_are_told_apart() {
        assert_eq!(anchors("# Form\n## Form\n## Form\n"), ["form", "form-1", "form-2"]);
        // The second "Form" would be "form-1", which is taken.
        assert_eq!(anchors("# Form 1\n# Form\n# Form\n"), ["form", "form-1", "form-2"]);
    }

    #[test]
    fn links_and_images_are_found_with_their_lines() {
        let text = "[a](one.md#x)\n\n| t |\n| --- |\n| ![p](two.svg) |\n\n[r]\n\n<img alt=\"\" src=\"three.svg\">\n\n[r]: four.md\n";
        let found = [(1, "one.md#x"), (5, "two.svg"), (7, "four.md"), (9, "three.svg")];
        assert_eq!(links(text), found.map(|(line, to)| (line, to.to_owned())));
    }

    #[test]
    fn what_stands_in_code_is_no_link_and_no_heading() {
        assert_eq!(
            links("`[a](b.md)`\n\n```md\n[c](d.md)\n# Not\n<a href=\"e.md\">\n```\n\n    [f](g.md)\n"),
            []
        );
        assert!(anchors("```sh\n# a comment\n```\n").is_empty());
    }
}
