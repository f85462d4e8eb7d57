//! How the stand-in is installed, tested with a fake cargo.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// A machine without `mongod`: its own PATH, an empty cache, and a cargo whose "install" takes a second and leaves a server that does not
/// start.
struct Machine {
    directory: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let machine = Self {
            directory: tempfile::tempdir().expect("a directory"),
        };
        fs::create_dir(machine.path("bin")).expect("a folder");
        for tool in ["sh", "rm", "sleep", "mkdir", "chmod", "printf"] {
            let found = std::env::split_paths(&std::env::var_os("PATH").expect("a PATH"))
                .map(|folder| folder.join(tool))
                .find(|path| path.exists());
            symlink(
                found.unwrap_or_else(|| panic!("this machine has {tool}")),
                machine.path("bin").join(tool),
            )
            .expect("a link");
        }
        for tool in ["cc", "make", "cmake"] {
            machine.script(tool, "exit 0");
        }
        machine.script(
            "cargo",
            "echo \"$*\" >>\"$CALLS\"
             sleep 1
             while [ \"$1\" != --root ]; do shift; done
             mkdir -p \"$2/bin\"
             printf '#!/bin/sh\\necho no, not me >&2\\nexit 1\\n' >\"$2/bin/secantusd-rs\"
             chmod +x \"$2/bin/secantusd-rs\"",
        );
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn script(&self, name: &str, body: &str) {
        let path = self.path("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{body}\n")).expect("a script");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its mode");
    }

    fn run(&self) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_with-mongodb"));
        command.args(["--", "sh", "-c", "exit 0"]).env_clear();
        command
            .env("PATH", self.path("bin"))
            .env("CARGO", self.path("bin/cargo"));
        command
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("CALLS", self.path("calls"));
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("with-mongodb runs")
    }
}

fn said(child: Child) -> String {
    let output = child.wait_with_output().expect("its output");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).expect("text")
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path)
        .expect("the calls")
        .lines()
        .map(str::to_owned)
        .collect()
}

#[test]
fn two_that_need_it_at_once_install_it_once_and_say_what_they_do() {
    let machine = Machine::new();
    let (one, two) = (machine.run(), machine.run());
    let (one, two) = (said(one), said(two));
    let calls = lines(&machine.path("calls"));
    assert_eq!(calls.len(), 1, "{calls:?}");
    assert!(
        calls[0].starts_with("install secantus-mdb --version 0.5.3-beta.196 --locked"),
        "{calls:?}"
    );
    let (installer, waiter) = if one.contains("This happens once") {
        (&one, &two)
    } else {
        (&two, &one)
    };
    assert!(installer.contains("takes five to eight minutes"), "{installer}");
    assert!(waiter.contains("Another process is installing"), "{waiter}");
    // The output of a server that does not start is shown.
    assert!(one.contains("no, not me") && two.contains("no, not me"), "{one}\n{two}");
}

#[test]
fn an_old_mongod_is_left_alone() {
    let machine = Machine::new();
    machine.script("mongod", "echo 'db version v6.0.9'");
    let said = said(machine.run());
    assert!(
        said.contains("version 6, and Microblog needs MongoDB 7 or newer"),
        "{said}"
    );
    assert_eq!(lines(&machine.path("calls")).len(), 1);
}
