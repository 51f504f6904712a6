//! The guest's file tree: the init, a shell, the programs under test with their shared libraries, and the plan.

use std::fs::{self, File};
use std::io::{BufWriter, Seek as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::exec;
use crate::setup::busybox::Busybox;
use crate::vm::cpio::Archive;
use crate::vm::kernel::Kernel;
use crate::vm::plan::{MODULES_PATH, PLAN_PATH, Plan};

/// What goes into a guest.
#[derive(Default)]
pub(crate) struct Contents {
    /// The static guest agent.
    pub(crate) init: PathBuf,
    /// Programs that become `/bin/NAME`, with the libraries they load.
    pub(crate) programs: Vec<PathBuf>,
    /// Other files: where they lie on the host and in the guest.
    pub(crate) files: Vec<(PathBuf, String)>,
    /// A shell and its tools.
    pub(crate) busybox: Option<Busybox>,
}

impl Contents {
    /// Writes the tree into an unlinked file, which nothing need remove.
    pub(crate) fn write(&self, kernel: &Kernel, plan: &Plan) -> Result<File> {
        let out = tempfile::tempfile().context("cannot create a temporary file for the initramfs")?;
        let mut archive = Archive::new(BufWriter::new(out));
        self.fill(&mut archive, plan)?;
        for module in kernel.modules()? {
            let name = module.file_name().unwrap_or_default().to_string_lossy().into_owned();
            archive
                .file(&format!("{MODULES_PATH}/{name}"), 0o644, &read(&module)?)
                .context("cannot write the initramfs")?;
        }
        let out = archive.finish().context("cannot write the initramfs")?;
        let mut file = out.into_inner().context("cannot write the initramfs")?;
        file.rewind().context("cannot rewind the initramfs")?;
        Ok(file)
    }

    fn fill(&self, archive: &mut Archive<BufWriter<File>>, plan: &Plan) -> Result<()> {
        let told = "cannot write the initramfs";
        for directory in ["proc", "sys", "dev", "tmp", "run", "work", "root", "etc", "var/run"] {
            archive.directory(directory).context(told)?;
        }
        archive.file("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\n").context(told)?;
        archive.file("etc/hosts", 0o644, b"127.0.0.1 localhost\n::1 localhost\n").context(told)?;
        let plan = serde_json::to_vec(plan).context("cannot encode the plan")?;
        archive.file(PLAN_PATH, 0o644, &plan).context(told)?;
        archive.file("init", 0o755, &read(&self.init)?).context(told)?;
        archive.symlink("bin/guest", "/init").context(told)?;
        for program in &self.programs {
            add_program(archive, program)?;
        }
        for (host, guest) in &self.files {
            add_tree(archive, host, guest)?;
        }
        if let Some(busybox) = &self.busybox {
            archive.file("bin/busybox", 0o755, &read(&busybox.program)?).context(told)?;
            for applet in &busybox.applets {
                archive.symlink(&format!("bin/{applet}"), "busybox").context(told)?;
            }
        }
        Ok(())
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn add_program(archive: &mut Archive<BufWriter<File>>, program: &Path) -> Result<()> {
    let name = program.file_name().with_context(|| format!("{} names no program", program.display()))?;
    let told = "cannot write the initramfs";
    archive.file(&format!("bin/{}", name.to_string_lossy()), 0o755, &read(program)?).context(told)?;
    for library in shared_libraries(program)? {
        if !archive.contains(&library) {
            archive.file(&library, 0o755, &read(Path::new(&library))?).context(told)?;
        }
    }
    Ok(())
}

/// Adds a file, or a directory with everything below it.
fn add_tree(archive: &mut Archive<BufWriter<File>>, host: &Path, guest: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let meta = fs::metadata(host).with_context(|| format!("cannot read {}", host.display()))?;
    if !meta.is_dir() {
        return archive
            .file(guest, meta.permissions().mode(), &read(host)?)
            .with_context(|| format!("cannot add {} to the initramfs", host.display()));
    }
    archive.directory(guest).context("cannot write the initramfs")?;
    for entry in fs::read_dir(host).with_context(|| format!("cannot list {}", host.display()))? {
        let entry = entry.with_context(|| format!("cannot list {}", host.display()))?;
        add_tree(archive, &entry.path(), &format!("{guest}/{}", entry.file_name().to_string_lossy()))?;
    }
    Ok(())
}

/// The shared libraries of a program as the dynamic linker finds them; none for a static program or a script.
fn shared_libraries(program: &Path) -> Result<Vec<String>> {
    let done = exec::captured(Command::new("ldd").arg(program).env("LC_ALL", "C"))?;
    let said = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    libraries_in(&said).with_context(|| format!("cannot pack {} for the guest", program.display()))
}

/// The absolute paths in what `ldd` prints.
fn libraries_in(said: &str) -> Result<Vec<String>> {
    let mut paths = Vec::new();
    for line in said.lines().map(str::trim) {
        if line.ends_with("=> not found") {
            bail!("its shared library is missing on this machine: {line}");
        }
        let place = line.split_once("=> ").map_or(line, |(_, place)| place);
        let Some((path, address)) = place.rsplit_once(' ') else {
            continue;
        };
        if path.starts_with('/') && address.starts_with("(0x") {
            paths.push(path.to_owned());
        }
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::libraries_in;

    #[test]
    fn ldd_lines_become_paths_and_the_vdso_is_left_out() {
        let said = "\tlinux-vdso.so.1 (0x00007ffc)\n\
                    \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f00)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f01)\n";
        assert_eq!(libraries_in(said).unwrap(), ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"]);
    }

    #[test]
    fn static_programs_and_scripts_have_no_libraries() {
        assert!(libraries_in("\tstatically linked\n").unwrap().is_empty());
        assert!(libraries_in("\tnot a dynamic executable\n").unwrap().is_empty());
    }

    #[test]
    fn a_missing_library_is_named() {
        let error = libraries_in("\tlibzz.so.1 => not found\n").unwrap_err();
        assert!(error.to_string().contains("libzz.so.1"));
    }
}
