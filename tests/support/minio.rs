//! A real MinIO with one empty bucket.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use super::http::Http;
use super::poll_until;
use super::ports::free_address;
use super::process::Process;

const USER: &str = "marigram-test";
const PASSWORD: &str = "only-for-this-test";
const BUCKET: &str = "metrics";

/// A MinIO, running or not.
pub(crate) struct Minio {
    binary: PathBuf,
    folder: PathBuf,
    address: String,
    process: Option<Process>,
}

impl Minio {
    /// Starts one with its data and log in `folder`.
    pub(crate) fn start(binary: &Path, folder: &Path) -> Minio {
        // A folder below MinIO's own is a bucket.
        fs::create_dir_all(folder.join("minio").join(BUCKET)).unwrap();
        let mut minio = Minio { binary: binary.into(), folder: folder.into(), address: free_address(), process: None };
        minio.start_again();
        minio
    }

    /// Starts it again on the same data and at the same address.
    pub(crate) fn start_again(&mut self) {
        let mut command = Command::new(&self.binary);
        command.args(["server", "--quiet", "--address", &self.address, "--console-address", &free_address()]);
        command.arg(self.folder.join("minio"));
        command.env("MINIO_ROOT_USER", USER).env("MINIO_ROOT_PASSWORD", PASSWORD);
        // It looks for its own updates otherwise.
        command.env("MINIO_UPDATE", "off").env("HOME", &self.folder);
        let mut process = Process::start("minio", &mut command, &self.folder.join("minio.log"));
        let http = Http::with_timeout(&self.address, Duration::from_secs(5));
        poll_until("minio to be ready", || {
            assert!(process.runs(), "minio has ended:\n{}", process.output());
            http.get("/minio/health/ready").ok().filter(|answer| answer.status == 200)
        });
        self.process = Some(process);
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.process.take().expect("minio runs").kill();
    }

    /// SIGSTOP: connections stay open, nothing is answered.
    pub(crate) fn pause(&self) {
        self.process.as_ref().expect("minio runs").signal(Signal::STOP);
    }

    /// SIGCONT.
    pub(crate) fn resume(&self) {
        self.process.as_ref().expect("minio runs").signal(Signal::CONT);
    }

    /// The URL of a prefix in the bucket, as `--bucket` takes it.
    pub(crate) fn url(&self) -> String {
        format!("s3://{BUCKET}/cluster")
    }

    /// The variables with which it is reached.
    pub(crate) fn variables(&self) -> Vec<(String, String)> {
        let variables = [
            ("AWS_ENDPOINT_URL", format!("http://{}", self.address)),
            ("AWS_ACCESS_KEY_ID", USER.into()),
            ("AWS_SECRET_ACCESS_KEY", PASSWORD.into()),
            ("AWS_REGION", "us-east-1".into()),
        ];
        variables.map(|(name, value)| (name.into(), value)).into()
    }
}
