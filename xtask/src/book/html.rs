//! Links and ids in HTML: as mdBook writes it, and as it stands in Markdown.

use std::collections::BTreeSet;
use std::ops::Range;

/// What is known of a page.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Rendered {
    /// `href` and `src`, as they are written.
    pub(super) links: Vec<String>,
    /// `id`.
    pub(super) ids: BTreeSet<String>,
}

impl Rendered {
    /// Reads the tags alone, those in comments and scripts left out.
    pub(super) fn read(html: &str) -> Self {
        let mut page = Self::default();
        for (name, value) in attributes(html) {
            let value = html[value].replace("&amp;", "&");
            match name {
                "href" | "src" => page.links.push(value),
                "id" => _ = page.ids.insert(value),
                _ => {}
            }
        }
        page
    }

    /// The same text with the links that `change` gives another value for.
    pub(super) fn with_links_changed(html: &str, change: impl Fn(&str) -> Option<String>) -> String {
        let (mut changed, mut copied) = (String::new(), 0);
        for (name, value) in attributes(html) {
            if let ("href" | "src", Some(new)) = (name, change(&html[value.clone()])) {
                changed.push_str(&html[copied..value.start]);
                changed.push_str(&new);
                copied = value.end;
            }
        }
        changed + &html[copied..]
    }
}

/// The attributes of all tags, each with the place of its value. Values stand in double quotes: others are not ours.
fn attributes(html: &str) -> Vec<(&str, Range<usize>)> {
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(start) = html[at..].find('<').map(|offset| at + offset) {
        let rest = &html[start..];
        let is_comment = rest.starts_with("<!--");
        at = if is_comment { start } else { tag(html, start, &mut found) + 1 };
        // What these hold is text, whatever it looks like.
        let text = [("<!--", "-->"), ("<script", "</script"), ("<style", "</style")];
        let ends = text.iter().find(|(opens, _)| rest.starts_with(opens));
        match ends.map_or(Some(0), |(_, closes)| html[at..].find(closes)) {
            Some(length) => at += length,
            None => break,
        }
    }
    found
}

/// Adds the attributes of the tag that begins at `start`; says where it ends.
fn tag<'a>(html: &'a str, start: usize, found: &mut Vec<(&'a str, Range<usize>)>) -> usize {
    let mut at = start + 1;
    loop {
        let Some(next) = html[at..].find(['"', '>']).map(|offset| at + offset) else { return html.len() - 1 };
        if html.as_bytes()[next] == b'>' {
            return next;
        }
        let Some(end) = html[next + 1..].find('"').map(|offset| next + 1 + offset) else { return next };
        let before = html[at..next].strip_suffix('=').unwrap_or_default();
        let name = before.rsplit(|c: char| c.is_whitespace()).next().unwrap_or_default();
        found.push((name, next + 1..end));
        at = end + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_read_and_what_only_looks_like_one_is_not() {
        let page = Rendered::read(concat!(
            "<h2 id=\"form\"><a class=\"header\" href=\"#form\">Form</a></h2>\n",
            "<p title=\"a > b\"><img alt=\"\" src=\"a.svg\"> x &lt;a href=\"no.html\"&gt; <br></p>",
            "<!-- <a href=\"no.html\"> --><script src=\"book.js\">if (a < b) { x = '<a href=\"no.html\">'; }</script>",
            "<a href=\"b.html?x&amp;y\">b</a>",
        ));
        assert_eq!(page.links, ["#form", "a.svg", "book.js", "b.html?x&y"]);
        assert_eq!(page.ids, BTreeSet::from(["form".to_owned()]));
    }

    #[test]
    fn links_are_changed_and_nothing_else() {
        let html = "<a href=\"../x.html\">../x.html</a><img src=\"y.svg\">";
        let changed =
            Rendered::with_links_changed(html, |to| (to == "../x.html").then(|| "../../x.md".to_owned()));
        assert_eq!(changed, "<a href=\"../../x.md\">../x.html</a><img src=\"y.svg\">");
    }

    #[test]
    fn html_that_breaks_off_is_read_as_far_as_it_goes() {
        for html in ["<", "<a", "<a href=", "<a href=\"", "<a href=\"x", "<!--", "<script", "é<é href=\"é"]
        {
            let _ = Rendered::read(html);
        }
        assert_eq!(Rendered::read("<a href=\"x\"").links, ["x"]);
    }
}
