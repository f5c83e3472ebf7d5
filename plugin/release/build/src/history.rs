//! What git remembers of `plugin/measurements.toml`: the line of a release, once committed, stays as it was and where it was.
//!
//! The lines decide whose state a new image may take over. So today's must begin with those of every commit that led here, and
//! must not contradict those of the main branch, as far as either is known.

use crate::record::{RECORD, Record};
use crate::text;
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::{Command, Stdio};

/// Branches that others build on, by the names that they usually have.
const MAIN_BRANCHES: [&str; 4] =
    ["refs/remotes/origin/HEAD", "refs/remotes/origin/main", "refs/remotes/origin/master", "refs/heads/main"];

/// What the record was compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remembered {
    /// These sources are in no git repository, or in one without a commit.
    Nothing,
    /// So many commits that changed the record, and branches.
    Commits(usize),
}

/// The line of a release: every field, as it stands there.
type Release = toml::Table;

/// Refuses a record in which a release that was committed once is changed, moved or gone.
pub fn refuse_changed_releases(source: &Path) -> Result<Remembered> {
    let Some(commits) = commits(source)? else {
        return Ok(Remembered::Nothing);
    };
    let path = Record::path(source);
    let now = if path.exists() { releases(&text(&path)?) } else { Vec::new() };
    for commit in &commits {
        if let Some(lost) = first_lost(&recorded_at(source, commit)?, &now) {
            bail!(
                "{RECORD} does not hold {lost} as it did in commit {commit}; lines of releases are never changed, moved or \
                 removed: put it back as it was (git show {commit}:{RECORD})"
            );
        }
    }
    let branches: Vec<_> = MAIN_BRANCHES.into_iter().filter(|name| resolves(source, name)).collect();
    for branch in &branches {
        let theirs = recorded_at(source, branch)?;
        // One may be ahead of the other.
        if let (Some(lost), Some(_)) = (first_lost(&theirs, &now), first_lost(&now, &theirs)) {
            bail!("{RECORD} contradicts that of {branch}, which holds {lost} there; merge that branch first");
        }
    }
    Ok(Remembered::Commits(commits.len() + branches.len()))
}

/// Every commit that led here and changed the record, on whichever side of a merge; `None` if nothing is known.
fn commits(source: &Path) -> Result<Option<Vec<String>>> {
    if !resolves(source, "HEAD") {
        if source.ancestors().any(|folder| folder.join(".git").exists()) {
            // A repository without a commit answers this; one that git does not open is not passed over.
            git(source, &["rev-parse", "--git-dir"])?;
        }
        return Ok(None);
    }
    let listed = git(source, &["rev-list", "--full-history", "HEAD", "--", RECORD])?;
    Ok(Some(listed.lines().map(str::to_owned).collect()))
}

fn resolves(source: &Path, name: &str) -> bool {
    git(source, &["rev-parse", "--quiet", "--verify", &format!("{name}^{{commit}}")]).is_ok()
}

/// The releases that were recorded in that commit.
fn recorded_at(source: &Path, commit: &str) -> Result<Vec<Release>> {
    if git(source, &["ls-tree", commit, "--", RECORD])?.is_empty() {
        return Ok(Vec::new());
    }
    // Relative to the sources, which need not be the root of the repository.
    git(source, &["show", &format!("{commit}:./{RECORD}")]).map(|text| releases(&text))
}

/// The releases in a record of whichever time: its fields may have been others. What is no record holds none.
fn releases(text: &str) -> Vec<Release> {
    let record: toml::Table = text.parse().unwrap_or_default();
    let images = record.get("image").and_then(toml::Value::as_array);
    let tables = images.into_iter().flatten().filter_map(toml::Value::as_table);
    tables.filter(|one| field(one, "channel") == "release").cloned().collect()
}

fn field<'a>(release: &'a Release, name: &str) -> &'a str {
    release.get(name).and_then(toml::Value::as_str).unwrap_or("?")
}

/// The first release of `then` that `now` does not hold in the same place, by its name.
fn first_lost(then: &[Release], now: &[Release]) -> Option<String> {
    let lost = then.iter().enumerate().find(|(at, release)| now.get(*at) != Some(release));
    lost.map(|(_, release)| {
        format!("the release {} for {}", field(release, "version"), field(release, "target"))
    })
}

fn git(source: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new("git")
        .args(arguments)
        .current_dir(source)
        .stdin(Stdio::null())
        .output()
        .context("cannot start git")?;
    if !output.status.success() {
        bail!("git {} failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    String::from_utf8(output.stdout).context("git did not print text")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::line;
    use countersign_release::Channel;

    /// A repository whose record holds these releases, by version and measurement.
    struct Repository(tempfile::TempDir);

    impl Repository {
        fn new() -> Self {
            let repository = Self(tempfile::tempdir().unwrap());
            std::fs::create_dir(repository.0.path().join("plugin")).unwrap();
            repository.git(&["init", "--quiet", "--initial-branch", "work"]);
            repository
        }

        fn git(&self, arguments: &[&str]) {
            let who = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"];
            git(self.0.path(), &[&who, arguments].concat()).unwrap();
        }

        fn record(&self, releases: &[(u32, u8)]) {
            let image =
                releases.iter().map(|(version, byte)| line(Channel::Release, *version, *byte)).collect();
            let mut record = Record { image };
            record.add(line(Channel::Development, 9, 9)).unwrap();
            record.write(self.0.path()).unwrap();
        }

        fn commit(&self, releases: &[(u32, u8)]) {
            self.record(releases);
            self.git(&["add", "."]);
            self.git(&["commit", "--quiet", "--allow-empty", "-m", "recorded"]);
        }

        fn check(&self) -> Result<Remembered> {
            refuse_changed_releases(self.0.path())
        }
    }

    #[test]
    fn a_release_that_was_committed_is_never_changed_moved_or_removed() {
        let repository = Repository::new();
        assert_eq!(repository.check().unwrap(), Remembered::Nothing, "no commit");
        repository.commit(&[(1, 1)]);
        repository.commit(&[(1, 1), (2, 2)]);
        repository.record(&[(1, 1), (2, 2), (3, 3)]);
        assert_eq!(repository.check().unwrap(), Remembered::Commits(2));
        for bad in [&[(1, 1)][..], &[(1, 1), (2, 9)], &[(2, 2), (1, 1)], &[(1, 1), (3, 3)], &[]] {
            repository.record(bad);
            let said = repository.check().unwrap_err().to_string();
            assert!(said.contains("the release ") && said.contains("put it back"), "{bad:?}: {said}");
            repository.commit(bad);
            assert!(repository.check().is_err(), "{bad:?} is committed, and no better for it");
            repository.git(&["reset", "--quiet", "--hard", "HEAD^"]);
        }
        std::fs::remove_file(Record::path(repository.0.path())).unwrap();
        assert!(repository.check().is_err(), "the whole record is gone");
    }

    #[test]
    fn a_branch_may_be_behind_the_main_one_and_may_not_contradict_it() {
        let repository = Repository::new();
        repository.commit(&[(1, 1)]);
        repository.git(&["branch", "feature"]);
        repository.commit(&[(1, 1), (2, 2)]);
        repository.git(&["update-ref", "refs/remotes/origin/main", "HEAD"]);
        repository.git(&["checkout", "--quiet", "feature"]);
        assert_eq!(repository.check().unwrap(), Remembered::Commits(2), "behind");
        repository.record(&[(1, 1), (2, 2), (3, 3)]);
        assert!(repository.check().is_ok(), "ahead");
        repository.record(&[(1, 1), (2, 7)]);
        let said = repository.check().unwrap_err().to_string();
        assert!(said.contains("origin/main") && said.contains("2.0.0"), "{said}");
    }

    #[test]
    fn a_merge_does_not_hide_a_release_of_either_side() {
        let repository = Repository::new();
        repository.commit(&[]);
        repository.git(&["checkout", "--quiet", "-b", "side"]);
        repository.commit(&[(1, 1)]);
        repository.git(&["checkout", "--quiet", "work"]);
        repository.git(&["commit", "--quiet", "--allow-empty", "-m", "more"]);
        repository.git(&["merge", "--quiet", "--strategy", "ours", "-m", "merged", "side"]);
        assert!(repository.check().unwrap_err().to_string().contains("1.0.0"));
    }

    #[test]
    fn sources_outside_git_have_no_history() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(refuse_changed_releases(folder.path()).unwrap(), Remembered::Nothing);
        std::fs::create_dir(folder.path().join(".git")).unwrap();
        assert!(refuse_changed_releases(folder.path()).is_err(), "a repository that git does not open");
    }
}
