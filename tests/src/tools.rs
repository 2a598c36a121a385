//! The programs that tests run, found where `tests/setup.sh` puts them or on the `PATH`.
//!
//! A program that is missing fails the test that needs it: a check that was skipped looks the same
//! as one that passed.

use std::env;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The top of the repository.
pub fn root() -> &'static Path {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests
        .parent()
        .expect("the tests crate is a folder of the repository")
}

/// The path of a program.
///
/// # Panics
/// If it is not installed.
pub fn tool(name: &str) -> PathBuf {
    let own = ["target/tools/bin", "target/tools/venv/bin"].map(|dir| root().join(dir));
    let path = env::var_os("PATH").unwrap_or_default();
    // Debian keeps servers where the PATH of most users does not look.
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    own.into_iter()
        .chain(env::split_paths(&path))
        .chain(system)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
        .unwrap_or_else(|| panic!("`{name}` is not installed: run tests/setup.sh"))
}

/// How a run of a program ended.
#[derive(Debug)]
pub struct Run {
    command: String,
    success: bool,
    stdout: String,
    stderr: String,
}

impl Run {
    /// Runs a program to its end, with `file` as its last argument.
    pub fn on_file(name: &str, args: &[&str], file: &Path) -> Self {
        let mut command = Command::new(tool(name));
        command.args(args).arg(file);
        Self::finish(command, "")
    }

    /// Runs a program to its end, with `input` as its standard input.
    pub fn on_input(name: &str, args: &[&str], input: &str) -> Self {
        let mut command = Command::new(tool(name));
        command.args(args);
        Self::finish(command, input)
    }

    fn finish(mut command: Command, input: &str) -> Self {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program was just found");
        let mut stdin = child.stdin.take().expect("standard input is a pipe");
        let (written, output) = std::thread::scope(|scope| {
            // Beside the reading: the program may fill its output before it has read everything.
            let writer = scope.spawn(move || stdin.write_all(input.as_bytes()));
            let output = child.wait_with_output();
            (writer.join().expect("writing does not panic"), output)
        });
        // A program that does not care for its input may close it.
        written.ok();
        let output = output.expect("a child can be waited for");
        Self {
            command: format!("{command:?}"),
            success: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Asserts that the program was content, and gives what it printed.
    #[track_caller]
    pub fn accepts(self) -> String {
        assert!(self.success, "refused:\n{}", self.report());
        self.stdout
    }

    /// Asserts that the program failed and said why.
    #[track_caller]
    pub fn refuses(self, why: &str) {
        let said = self.stdout.contains(why) || self.stderr.contains(why);
        assert!(
            !self.success && said,
            "not refused for {why:?}:\n{}",
            self.report()
        );
    }

    fn report(&self) -> String {
        format!("{}\n{}{}", self.command, self.stdout, self.stderr)
    }
}
