//! A Chromium without a screen, driven over the pipes of `--remote-debugging-pipe`: one JSON object after the other, each ended by a
//! zero byte (the Chrome `DevTools` Protocol).

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// Nothing that is asked of the browser takes as long.
const PATIENCE: Duration = Duration::from_mins(1);

/// The browser reads commands from descriptor 3 and answers on 4.
const PIPES: &str = r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1"#;

const OPTIONS: [&str; 9] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
];

/// A browser with one page.
pub(crate) struct Chromium {
    child: Child,
    commands: Option<ChildStdin>,
    answers: Receiver<Value>,
    session: Option<String>,
    number: u64,
    said: Vec<String>,
    requests: Vec<String>,
    loaded: bool,
    _profile: tempfile::TempDir,
}

impl Chromium {
    /// Starts a browser with an empty page.
    pub(crate) fn start(program: &Path) -> Result<Self> {
        let profile = tempfile::tempdir()?;
        let mut child = Command::new("sh")
            .args(["-c", PIPES])
            .arg(program)
            .args(OPTIONS)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let (send, answers) = channel();
        let mut from = BufReader::new(child.stdout.take().context("the browser's answers")?);
        std::thread::spawn(move || {
            let mut message = Vec::new();
            while from.read_until(0, &mut message).is_ok_and(|length| length > 0) {
                message.pop();
                let Ok(value) = serde_json::from_slice(&message) else { break };
                if send.send(value).is_err() {
                    break;
                }
                message.clear();
            }
        });
        let commands = child.stdin.take();
        let mut chromium = Self {
            child,
            commands,
            answers,
            session: None,
            number: 0,
            said: Vec::new(),
            requests: Vec::new(),
            loaded: false,
            _profile: profile,
        };
        let target = chromium.send("Target.createTarget", &json!({"url": "about:blank"}))?;
        let target = json!({"targetId": target["targetId"], "flatten": true});
        let session = chromium.send("Target.attachToTarget", &target)?;
        chromium.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            chromium.send(&format!("{domain}.enable"), &json!({}))?;
        }
        Ok(chromium)
    }

    /// Starts a browser and opens a page.
    pub(crate) fn open(program: &Path, page: &Path) -> Result<Self> {
        let mut chromium = Self::start(program)?;
        chromium.navigate(page)?;
        Ok(chromium)
    }

    /// Opens a page and waits until it is loaded.
    pub(crate) fn navigate(&mut self, page: &Path) -> Result<()> {
        self.loaded = false;
        self.send("Page.navigate", &json!({"url": format!("file://{}", page.display())}))?;
        while !self.loaded {
            let message = self.next()?;
            self.note(&message);
        }
        Ok(())
    }

    /// The value of an expression in the page.
    pub(crate) fn ask(&mut self, expression: &str) -> Result<Value> {
        let mut answer = self
            .send("Runtime.evaluate", &json!({"expression": expression, "returnByValue": true, "userGesture": true}))?;
        if let Some(error) = answer.get("exceptionDetails") {
            bail!("{expression}: {error}");
        }
        Ok(answer["result"]["value"].take())
    }

    /// Has the page think that its reader prefers dark.
    pub(crate) fn dark(&mut self, dark: bool) -> Result<()> {
        let value = if dark { "dark" } else { "light" };
        self.send(
            "Emulation.setEmulatedMedia",
            &json!({"features": [{"name": "prefers-color-scheme", "value": value}]}),
        )
        .map(drop)
    }

    /// Has the page be as wide and high as a phone's, say.
    pub(crate) fn size(&mut self, width: u32, height: u32) -> Result<()> {
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": true});
        self.send("Emulation.setDeviceMetricsOverride", &metrics).map(drop)
    }

    /// Presses a key.
    pub(crate) fn press(&mut self, key: &str) -> Result<()> {
        for kind in ["rawKeyDown", "keyUp"] {
            self.send("Input.dispatchKeyEvent", &json!({"type": kind, "key": key, "code": key}))?;
        }
        Ok(())
    }

    /// What the console says: errors, warnings, everything.
    pub(crate) fn said(&self) -> &[String] {
        &self.said
    }

    /// Every address that was asked for.
    pub(crate) fn requests(&self) -> &[String] {
        &self.requests
    }

    fn send(&mut self, method: &str, parameters: &Value) -> Result<Value> {
        self.number += 1;
        let mut command = json!({"id": self.number, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            command["sessionId"] = json!(session);
        }
        let mut bytes = serde_json::to_vec(&command)?;
        bytes.push(0);
        let commands = self.commands.as_mut().context("the browser takes no more commands")?;
        commands.write_all(&bytes).with_context(|| format!("cannot send {method}"))?;
        loop {
            let mut message = self.next().with_context(|| format!("no answer to {method}"))?;
            if message["id"] == json!(self.number) {
                if let Some(error) = message.get("error") {
                    bail!("{method}: {error}");
                }
                return Ok(message["result"].take());
            }
            self.note(&message);
        }
    }

    fn next(&self) -> Result<Value> {
        self.answers.recv_timeout(PATIENCE).context("the browser is silent")
    }

    /// Keeps in mind what the browser tells unasked.
    fn note(&mut self, message: &Value) {
        let told = &message["params"];
        match message["method"].as_str() {
            Some("Page.loadEventFired") => self.loaded = true,
            Some("Runtime.exceptionThrown") => self.said.push(told["exceptionDetails"].to_string()),
            Some("Runtime.consoleAPICalled") => self.said.push(told["args"].to_string()),
            Some("Log.entryAdded") => self.said.push(told["entry"].to_string()),
            Some("Page.javascriptDialogOpening") => self.said.push(format!("a dialog: {}", told["message"])),
            Some("Network.requestWillBeSent") => {
                let address = told["request"]["url"].as_str().unwrap_or_default();
                if !address.starts_with("data:") {
                    self.requests.push(address.to_owned());
                }
            }
            _ => {}
        }
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // It ends with its pipe; whether it does so in time is not this test's matter.
        drop(self.commands.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
