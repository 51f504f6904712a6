//! The running kernel's version, for what it alone decides and nothing else tells.

use anyhow::{Context as _, Result};

/// Whether the running kernel is of this line or a later one.
pub(crate) fn at_least(major: u32, minor: u32) -> Result<bool> {
    let name = nix::sys::utsname::uname().context("uname")?;
    let release = name.release().to_string_lossy();
    let line = line(&release).with_context(|| format!("a kernel called {release}"))?;
    Ok(line >= (major, minor))
}

fn line(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn the_line_is_the_first_two_numbers() {
        assert_eq!(line("6.1.0-56-cloud-amd64"), Some((6, 1)));
        assert_eq!(line("7.3.4+deb13-cloud-amd64"), Some((7, 3)));
        assert_eq!(line("7.4-rc1"), Some((7, 4)));
        assert_eq!(line("x"), None);
    }
}
