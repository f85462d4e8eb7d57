//! Runs `kubectl`, `helm` and other programs, as a person would.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// The default deadline. Nothing takes longer, unless it hangs.
const DEADLINE: Duration = Duration::from_secs(600);

/// A program with its arguments, before it runs.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    words: Vec<String>,
    input: Option<String>,
    deadline: Duration,
}

impl Program {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            words: vec![name.to_owned()],
            input: None,
            deadline: DEADLINE,
        }
    }

    /// The command line of a setting. It is split at spaces, and arguments may be added.
    pub(crate) fn of_words(line: &str) -> Result<Self> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        if words.is_empty() {
            bail!("a command is empty");
        }
        Ok(Self { words, ..Self::new("") })
    }

    pub(crate) fn arg(mut self, word: impl Into<String>) -> Self {
        self.words.push(word.into());
        self
    }

    pub(crate) fn args<W: Into<String>>(mut self, words: impl IntoIterator<Item = W>) -> Self {
        self.words.extend(words.into_iter().map(Into::into));
        self
    }

    /// Sets what the program reads from its standard input.
    pub(crate) fn input(mut self, text: impl Into<String>) -> Self {
        self.input = Some(text.into());
        self
    }

    pub(crate) fn within(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// A command for a program that runs in the background. It ends when its handle is dropped.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Runs the program. Returns its standard output, or an error with all its output.
    pub(crate) async fn run(&self) -> Result<String> {
        let (succeeded, output, complaint) = self.outcome().await?;
        if !succeeded {
            bail!("{self} failed:\n{}{}", output.trim_end(), complaint.trim_end());
        }
        Ok(output)
    }

    /// Runs the program. Returns its standard output and standard error, whether it succeeded or not.
    pub(crate) async fn output(&self) -> Result<String> {
        let (_, output, complaint) = self.outcome().await?;
        Ok(output + &complaint)
    }

    async fn outcome(&self) -> Result<(bool, String, String)> {
        let mut command = self.command();
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        if self.input.is_some() {
            command.stdin(Stdio::piped());
        }
        let mut child = command
            .spawn()
            .with_context(|| format!("can't run {}", self.words[0]))?;
        if let (Some(input), Some(mut pipe)) = (&self.input, child.stdin.take()) {
            // A program that ends before it has read everything reports the reason itself.
            let _ = pipe.write_all(input.as_bytes()).await;
        }
        let output = tokio::time::timeout(self.deadline, child.wait_with_output())
            .await
            .with_context(|| format!("{self} did not end within {:?}", self.deadline))??;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok((output.status.success(), text(&output.stdout), text(&output.stderr)))
    }
}

impl std::fmt::Display for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.words.join(" "))
    }
}

pub(crate) fn kubectl() -> Program {
    Program::new("kubectl")
}

pub(crate) fn helm() -> Program {
    Program::new("helm")
}
